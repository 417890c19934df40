//! Which protocol a group keeps its log by: a choice that is made once, when the group begins.

use std::fmt;
use std::str::FromStr;

use crate::{Config, Position, Replica, Restored, Status, Time, paxos, raft, zab};

/// A consensus protocol. All replicas of a group use the same one, for ever: what one has promised and
/// written means nothing to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Ongaro and Ousterhout's Raft.
    #[default]
    Raft,
    /// Multi-Paxos, after Lamport, van Renesse and Altinbuken.
    Paxos,
    /// Junqueira, Reed and Serafini's Zab.
    Zab,
}

impl Protocol {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Raft, Self::Paxos, Self::Zab];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
            Self::Zab => "zab",
        }
    }

    /// Its own word for an [`crate::Epoch`].
    pub fn epoch_word(self) -> &'static str {
        match self {
            Self::Raft => "term",
            Self::Paxos => "ballot",
            Self::Zab => "epoch",
        }
    }

    /// Where a replica stands, in the protocol's own words, such as `term 4`.
    pub fn standing(self, status: &Status) -> String {
        match self {
            Self::Raft => format!("term {}", status.epoch),
            Self::Paxos => format!("ballot {}", status.epoch),
            // As ZooKeeper writes it: the epoch and the counter of the last change.
            Self::Zab => {
                let Position { index, epoch } = status.last;
                format!("zxid 0x{:x}:{:x}", epoch.round, index.0)
            }
        }
    }

    /// A replica that goes on with what its disk gave back.
    ///
    /// # Panics
    ///
    /// When the configuration or what was restored contradicts itself.
    pub fn replica(self, config: Config, restored: Restored, now: Time) -> Box<dyn Replica> {
        match self {
            Self::Raft => Box::new(raft::Raft::new(config, restored, now)),
            Self::Paxos => Box::new(paxos::Paxos::new(config, restored, now)),
            Self::Zab => Box::new(zab::Zab::new(config, restored, now)),
        }
    }
}

/// By its name; an error says which names there are.
impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.name() == name);
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
