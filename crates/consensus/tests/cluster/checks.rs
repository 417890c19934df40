//! What must hold in every run: the properties of Raft's figure 3, in a form that every protocol
//! satisfies, and linearizable reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use consensus::{Entry, Epoch, LogIndex, Membership, Payload, Position, ReadId, ReplicaId};

use crate::host::{Disk, Held, Protocol};

#[derive(Clone, Default, Hash)]
pub(crate) struct Checks {
    leaders: BTreeMap<Epoch, ReplicaId>,
    /// What anybody has applied, in order.
    pub(crate) chosen: Vec<(Position, Payload)>,
    /// In which epoch each of these was known to be chosen.
    known_in: Vec<Epoch>,
    /// Which leaders have known what was chosen, and what had been chosen then.
    ready: Vec<(Epoch, LogIndex)>,
    /// For each read under way, what had been applied somewhere when it began.
    reads: BTreeMap<ReadId, LogIndex>,
    pub(crate) reads_served: u64,
}

impl Checks {
    fn memberships(&self) -> impl DoubleEndedIterator<Item = &Arc<Membership>> {
        self.chosen.iter().filter_map(|(_, payload)| match payload {
            Payload::Membership(membership) => Some(membership),
            Payload::Noop | Payload::Command(_) => None,
        })
    }

    /// The last membership that was chosen.
    pub(crate) fn chosen_membership(&self) -> Option<&Arc<Membership>> {
        self.memberships().next_back()
    }

    /// Everybody who ever was a member by what was chosen, the first voters among them.
    pub(crate) fn former_members(&self, first: &BTreeSet<ReplicaId>) -> BTreeSet<ReplicaId> {
        let all = self.memberships().flat_map(|members| {
            members.all_voters().into_iter().chain(members.learners.iter().copied())
        });
        all.chain(first.iter().copied()).collect()
    }

    fn committed(&self) -> LogIndex {
        LogIndex(self.chosen.len() as u64)
    }

    /// Election safety: an epoch has at most one leader. Leader completeness: it holds all that was
    /// chosen in earlier epochs.
    pub(crate) fn leads(&mut self, protocol: Protocol, who: ReplicaId, epoch: Epoch, log: &Disk) {
        let known = *self.leaders.entry(epoch).or_insert(who);
        assert_eq!(known, who, "election safety: two leaders in epoch {epoch}");
        for ((position, _), known_in) in self.chosen.iter().zip(&self.known_in) {
            assert!(
                *known_in >= epoch || log.covers(protocol, *position),
                "leader completeness: {who} leads epoch {epoch} without {position}"
            );
        }
    }

    /// A leader says that it knows what is chosen, and has applied `commit`.
    pub(crate) fn ready(&mut self, epoch: Epoch, commit: LogIndex) {
        assert!(commit >= self.chosen_before(epoch), "epoch {epoch} is ready too early");
        self.ready.push((epoch, commit));
    }

    /// What was chosen in earlier epochs.
    fn chosen_before(&self, epoch: Epoch) -> LogIndex {
        let count = self.known_in.iter().rposition(|known_in| *known_in < epoch);
        LogIndex(count.map_or(0, |offset| offset as u64 + 1))
    }

    /// State machine safety: nobody applies another entry at the same index.
    pub(crate) fn applied(&mut self, who: ReplicaId, epoch: Epoch, entries: &[Entry]) {
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
                self.check_order(entry.position);
                if let Payload::Membership(membership) = &entry.payload {
                    membership.check().expect("a membership that can be one");
                    let natures = |before: &Arc<Membership>| before.keeps_natures(membership);
                    assert!(
                        self.memberships().all(natures),
                        "a witness, or a data replica, was turned"
                    );
                }
                self.chosen.push((entry.position, entry.payload.clone()));
                self.known_in.push(epoch);
            }
        }
    }

    /// Order of leaders: what comes after a ready leader's entries is not older than they are.
    fn check_order(&self, position: Position) {
        for (epoch, commit) in &self.ready {
            assert!(
                position.index <= *commit || position.epoch.round >= epoch.round,
                "order of leaders: {position} was chosen after epoch {epoch} was ready at {commit}"
            );
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

    /// What two logs may have in common: what came there in the same epoch is the same; and where the
    /// protocol promises so, logs that agree at one position agree at all before it (log matching).
    pub(crate) fn logs_match(protocol: Protocol, logs: &[Disk]) {
        for (count, one) in logs.iter().enumerate() {
            for other in &logs[..count] {
                pair_matches(protocol, one, other);
            }
        }
    }
}

fn pair_matches(protocol: Protocol, one: &Disk, other: &Disk) {
    let read = |disk: &Disk| -> BTreeMap<LogIndex, Held> {
        let held = disk.entries.iter().map(protocol.read);
        let held = held.filter(|held| held.accepted.is_some());
        held.map(|held| (held.value.position.index, held)).collect()
    };
    let (one, other) = (read(one), read(other));
    let pairs = one.iter().filter_map(|(index, mine)| Some((mine, other.get(index)?)));
    let mut agreeing = false;
    for (mine, theirs) in pairs.rev() {
        let index = mine.value.position.index;
        agreeing |= mine.accepted == theirs.accepted;
        let must_agree =
            if protocol.logs_match { agreeing } else { mine.accepted == theirs.accepted };
        assert!(!must_agree || mine.value == theirs.value, "log matching: they differ at {index}");
    }
}
