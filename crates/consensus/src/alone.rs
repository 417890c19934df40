//! What the survivor of a lost majority writes, to go on as its group's only voter.
//!
//! A group whose majority is lost for good decides nothing more: that is what keeps it from contradicting
//! itself, and only who knows that the others will never come back may end it. Then the survivor's log
//! gets one more entry, in a new epoch: a membership of itself alone. It needs nobody's consent at
//! the next start, so the replica elects itself and commits all that it has.
//!
//! # What is kept, and what is not
//!
//! * All that the survivor has applied, and all else in its log, also what was never known to be committed:
//!   whoever waits for the outcome of such a command may find it done. By Paxos it is what this acceptor
//!   would propose if it were the only one: gaps are filled with nothing.
//! * What only the others had is gone, though they may have acknowledged it. Of several survivors the one
//!   whose last entry has the higher epoch, and if these are alike the higher index, has most.
//!
//! # What we rely on
//!
//! The host keeps the former members from this group for ever: to them the old membership is in force, and
//! together they are a majority of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::paxos::Paxos;
use crate::raft::Raft;
use crate::zab::Zab;
use crate::{
    Config, Durable, Entry, Epoch, HardState, Input, Membership, Output, Payload, PersistId,
    Position, Protocol, Replica, Restored, Status, Time,
};

/// What has to be written, and what there was before.
#[derive(Debug)]
pub struct Alone {
    /// The replica as the disk gave it back.
    pub before: Status,
    /// The writes, in order. The last of them makes the replica alone; before it is written, nothing has
    /// changed.
    pub writes: Vec<Durable>,
}

impl Protocol {
    /// Lets the replica that this disk holds be its group's only voter from its next start on. The host's
    /// part of its membership is made from what was in force.
    ///
    /// # Panics
    ///
    /// When the configuration or what was restored contradicts itself, or the group's quorums were chosen by
    /// hand.
    pub fn alone(
        self,
        config: Config,
        restored: Restored,
        context: impl FnOnce(&Membership) -> Bytes,
    ) -> Alone {
        assert!(config.quorums.is_none(), "quorums that were chosen by hand are of several");
        let now = Time::default();
        match self {
            Self::Raft => by_term(Raft::new(config, restored, now), context),
            Self::Zab => by_term(Zab::new(config, restored, now), context),
            Self::Paxos => {
                let mut replica = Paxos::new(config, restored, now);
                let (before, mut writes) = begin(&mut replica);
                let mut out = Vec::new();
                let (epoch, entries) = replica.decide_alone(alone(&before, context), &mut out);
                writes.extend(out.into_iter().filter_map(write));
                finish(before, writes, HardState { epoch, vote: None }, entries)
            }
        }
    }
}

/// Of a protocol whose log has no gaps: all of it counts as it is.
fn by_term(mut replica: impl Replica, context: impl FnOnce(&Membership) -> Bytes) -> Alone {
    let (before, writes) = begin(&mut replica);
    let epoch = Epoch { round: before.epoch.round + 1, ..Epoch::default() };
    let position = Position { index: before.last.index.next(), epoch };
    let entry = Entry { position, payload: alone(&before, context) };
    let vote = Some(before.id);
    finish(before, writes, HardState { epoch, vote }, vec![entry])
}

/// The first step writes what a restart has to mend.
fn begin(replica: &mut impl Replica) -> (Status, Vec<Durable>) {
    let mut out = Vec::new();
    replica.step(Time::default(), Input::Tick, &mut out);
    (replica.status(), out.into_iter().filter_map(write).collect())
}

fn write(output: Output) -> Option<Durable> {
    match output {
        Output::Persist(write) => Some(write),
        _ => None,
    }
}

fn alone(before: &Status, context: impl FnOnce(&Membership) -> Bytes) -> Payload {
    let context = context(&before.membership);
    Payload::Membership(Arc::new(Membership { context, ..Membership::of([before.id].into()) }))
}

fn finish(
    before: Status,
    mut writes: Vec<Durable>,
    hard_state: HardState,
    entries: Vec<Entry>,
) -> Alone {
    let id = writes.last().map_or(PersistId(1), |write| PersistId(write.id.0 + 1));
    let hard_state = Some(hard_state);
    writes.push(Durable { id, hard_state, entries, ..Durable::default() });
    Alone { before, writes }
}

impl Alone {
    /// How many entries stand in the log whose fate nobody knew: all after what was applied.
    pub fn undecided(&self) -> u64 {
        self.before.last.index.0.saturating_sub(self.before.commit.0)
    }
}
