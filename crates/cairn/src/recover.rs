//! The survivor of a lost majority goes on alone, as a cluster of another name.
//!
//! The name is what keeps the two apart: nodes of the old cluster that were not lost after all refuse this
//! one, and it them. So it is changed first, and durably: a crash before the journal has its last entry leaves
//! a node that waits in the new cluster for others that will never come, until this is done again.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use journal::Journal;
use node::Survivor;
use wire::{Member, NodeId};

use crate::drivers::os_disk::OsDisk;
use crate::errors::{Fault, chain};
use crate::serve::data_dir::{self, Identity};
use crate::serve::storage::{JOURNAL, open_engine};

/// A journal opened with these takes whatever the node's own settings let into it.
const SEGMENT_BYTES: u64 = 1 << 30;

/// A stopped node's directory, in our hands.
pub(crate) struct Found {
    pub(crate) identity: Identity,
    pub(crate) survivor: Survivor,
    journal: Journal<OsDisk>,
    _lock: Option<File>,
}

/// Why nothing is found.
pub(crate) enum Refusal {
    /// Nothing of a node is there.
    NoDataDir,
    /// A node has it, or it can't be read.
    Fault(Fault),
    /// It was made by a release that is not this one.
    Unknown(String),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Found {
    /// Looks at the data directory `dir`. Changes no more in it than a start does.
    pub(crate) fn in_dir(dir: &Path) -> Result<Self, Refusal> {
        let Some(identity) = Identity::read(dir)? else { return Err(Refusal::NoDataDir) };
        if identity.witness {
            return Err(Refusal::Unknown("it is a witness's: there is no data in it".to_owned()));
        }
        let lock = data_dir::hold(dir)?;
        let disk = OsDisk::new(dir);
        let config = journal::Config {
            segment_bytes: SEGMENT_BYTES,
            max_record_bytes: SEGMENT_BYTES / 2,
            ..journal::Config::new(identity.journal_id())
        };
        let (journal, recovered) = Journal::open(disk.clone(), JOURNAL, config)
            .map_err(|error| Fault::JournalOpen { what: chain(&error) })?;
        let unknown = || Refusal::Unknown("it keeps its state in an unknown way".to_owned());
        let kind = identity.engine().ok_or_else(unknown)?;
        let (engine, _worker) = open_engine(kind, disk, engine::Config::default())?;
        let survivor = Survivor::of(&node_config(&identity)?, recovered, &*engine);
        let survivor = survivor.map_err(Fault::State)?;
        Ok(Self { identity, survivor, journal, _lock: lock })
    }

    /// Makes the node the only one of the cluster `cluster`, durably.
    pub(crate) fn go_on_alone(self, dir: &Path, cluster: &str) -> Result<Identity, Fault> {
        let Self { identity, survivor, mut journal, _lock } = self;
        let identity = identity.alone_in(cluster);
        identity.write(dir)?;
        let unwritable = |what: String| Fault::JournalOpen { what };
        journal.append(&survivor.records).map_err(|error| unwritable(chain(&error)))?;
        journal.close().map_err(|error| unwritable(chain(&error)))?;
        Ok(identity)
    }
}

/// As the node would be started, as far as its state depends on it.
fn node_config(identity: &Identity) -> Result<node::Config, Refusal> {
    let numbers: BTreeSet<u64> = identity.members.iter().copied().chain([identity.node]).collect();
    let members = numbers.into_iter().map(|number| Member::unknown(NodeId(number))).collect();
    Ok(node::Config {
        node: NodeId(identity.node),
        cluster: identity.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        members,
        joins: identity.joined,
        witness: false,
        protocol: identity.protocol().map_err(Refusal::Unknown)?,
        seed: 0,
        tuning: node::Tuning::default(),
        rare: node::Rare::closed(),
    })
}
