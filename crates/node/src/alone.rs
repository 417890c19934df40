//! A node that goes on alone when the majority of its cluster is lost for good: what it has, and what it
//! writes. Why that is all it needs, and what is lost, says [`consensus::Alone`].

use consensus::{Membership, Position};
use engine::Engine;
use journal::{LogId, Record, Recovered};
use wire::{DecodeError, Member, Members, NodeId, Part};

use crate::group::{consensus_config, restored};
use crate::members::{encode, members_of};
use crate::shared::records_of;
use crate::state::{LoadError, State};
use crate::{Config, GROUP, SPACE, StartError};

/// A node whose cluster's majority is lost.
#[derive(Debug)]
pub struct Survivor {
    /// Its last log entry.
    pub last: Position,
    /// How far it knows its log to be committed, at least.
    pub applied: u64,
    /// How many entries it has whose fate it does not know. It keeps them.
    pub undecided: u64,
    /// The members that it knows of.
    pub members: Members,
    /// What makes it go on alone, once its journal has it.
    pub records: Vec<Record>,
}

impl Survivor {
    /// Looks at what a node has on its disk; `config` is the node's.
    ///
    /// # Errors
    ///
    /// [`StartError::DamagedAlone`] if its journal is damaged, and [`StartError::StateMissing`] if its engine
    /// lacks what its journal no longer has: nobody will be there to give it back. Others, if what it has can't
    /// be read.
    pub fn of(
        config: &Config,
        mut recovered: Recovered,
        engine: &dyn Engine,
    ) -> Result<Self, StartError> {
        if let Some(damage) = &recovered.damage {
            return Err(StartError::DamagedAlone { what: damage.to_string() });
        }
        let log = recovered.logs.remove(&LogId(GROUP.0)).unwrap_or_default();
        if engine.applied(GROUP).index < log.base.index {
            return Err(StartError::StateMissing);
        }
        let state = State::load(engine, GROUP, SPACE, config).map_err(|error| match error {
            LoadError::Read(source) => StartError::Engine { group: GROUP, source },
            LoadError::Format(what) => StartError::Format { group: GROUP, what },
        })?;
        let restored = restored(config, log, engine, GROUP, state.membership.clone(), false);
        let mut members = Members { list: Vec::new(), next: NodeId(0) };
        let mut misread = None;
        let alone = config.protocol.alone(consensus_config(config, GROUP), restored, |in_force| {
            match known(config, in_force) {
                Ok(known) => members = known,
                Err(error) => misread = Some(error),
            }
            encode(&only(&members, config.node))
        });
        if let Some(what) = misread {
            return Err(StartError::Format { group: GROUP, what });
        }
        let (last, applied) = (alone.before.last, alone.before.commit.0);
        let undecided = alone.undecided();
        let log = LogId(GROUP.0);
        let records = alone.writes.into_iter().flat_map(|write| records_of(log, write)).collect();
        Ok(Self { last, applied, undecided, members, records })
    }
}

impl Survivor {
    /// Whether no other member is known.
    pub fn is_alone(&self) -> bool {
        self.members.list.len() == 1
    }
}

/// The members when the cluster was last whole, as far as this node knows.
fn known(config: &Config, in_force: &Membership) -> Result<Members, DecodeError> {
    if in_force.context.is_empty() {
        return Ok(Members::first(&config.members));
    }
    members_of(in_force)
}

/// This node alone, with a vote. The numbers of the others stay given.
fn only(members: &Members, own: NodeId) -> Members {
    let known = members.find(own).cloned();
    let member = Member { part: Part::Voter, ..known.unwrap_or_else(|| Member::unknown(own)) };
    Members { next: members.next.max(NodeId(own.0 + 1)), list: vec![member] }
}
