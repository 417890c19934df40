//! What must hold in every run, whatever the protocol: the properties of Raft's figure 3, and
//! linearizable reads.

use std::collections::BTreeMap;

use consensus::{Entry, Epoch, LogIndex, Payload, Position, ReadId, ReplicaId};

use crate::host::Disk;

#[derive(Default)]
pub(crate) struct Checks {
    leaders: BTreeMap<Epoch, ReplicaId>,
    /// What anybody has applied, in order.
    pub(crate) chosen: Vec<(Position, Payload)>,
    /// For each read under way, what had been applied somewhere when it began.
    reads: BTreeMap<ReadId, LogIndex>,
    pub(crate) reads_served: u64,
}

impl Checks {
    fn committed(&self) -> LogIndex {
        LogIndex(self.chosen.len() as u64)
    }

    /// Election safety: an epoch has at most one leader. Leader completeness: it holds all that was
    /// committed in earlier epochs.
    pub(crate) fn leads(&mut self, who: ReplicaId, epoch: Epoch, log: &Disk) {
        let known = *self.leaders.entry(epoch).or_insert(who);
        assert_eq!(known, who, "election safety: two leaders in epoch {epoch}");
        for (position, _) in &self.chosen {
            assert!(
                position.epoch >= epoch || log.covers(*position),
                "leader completeness: {who} leads epoch {epoch} without {position}"
            );
        }
    }

    /// State machine safety: nobody applies another entry at the same index.
    pub(crate) fn applied(&mut self, who: ReplicaId, entries: &[Entry]) {
        for entry in entries {
            let offset = usize::try_from(entry.position.index.0 - 1).expect("small");
            if let Some((position, payload)) = self.chosen.get(offset) {
                assert!(
                    *position == entry.position && *payload == entry.payload,
                    "state machine safety: {who} applied {} where {position} was chosen",
                    entry.position
                );
            } else {
                assert_eq!(offset, self.chosen.len(), "{who} skipped an entry");
                self.chosen.push((entry.position, entry.payload.clone()));
            }
        }
    }

    pub(crate) fn read_begins(&mut self, read: ReadId) {
        self.reads.insert(read, self.committed());
    }

    /// Linearizability: a read sees all that had been applied anywhere when it began.
    pub(crate) fn served(&mut self, reads: &[ReadId], at: LogIndex) {
        for read in reads {
            let begun = self.reads.remove(read).expect("a read is answered once");
            assert!(at >= begun, "stale read: served at {at}, but {begun} was applied before");
            self.reads_served += 1;
        }
    }

    pub(crate) fn refused(&mut self, reads: &[ReadId]) {
        for read in reads {
            self.reads.remove(read).expect("a read is answered once");
        }
    }

    /// Log matching: logs that agree at one position agree at all before it.
    pub(crate) fn logs_match(logs: &[Disk]) {
        for (count, one) in logs.iter().enumerate() {
            for other in &logs[..count] {
                pair_matches(one, other);
            }
        }
    }
}

fn pair_matches(one: &Disk, other: &Disk) {
    let by_index: BTreeMap<_, _> = other.entries.iter().map(|e| (e.position.index, e)).collect();
    let pairs = one.entries.iter().filter_map(|e| Some((e, *by_index.get(&e.position.index)?)));
    let mut agreeing = false;
    for (mine, theirs) in pairs.rev() {
        agreeing |= mine.position == theirs.position;
        assert!(!agreeing || mine == theirs, "log matching: they differ at {}", mine.position);
    }
}
