//! Which protocol a group keeps its log by: a choice that is made once, when the group begins.

use std::fmt;

use crate::{Config, Replica, Restored, Status, Time, raft};

/// A consensus protocol. All replicas of a group use the same one, for ever: what one has promised and
/// written means nothing to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Ongaro and Ousterhout's Raft.
    #[default]
    Raft,
}

impl Protocol {
    /// All that there are.
    pub const ALL: [Self; 1] = [Self::Raft];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
        }
    }

    /// The protocol of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// Its own word for an [`crate::Epoch`].
    pub fn epoch_word(self) -> &'static str {
        match self {
            Self::Raft => "term",
        }
    }

    /// Where a replica stands, in the protocol's own words, such as `term 4`.
    pub fn standing(self, status: &Status) -> String {
        match self {
            Self::Raft => format!("term {}", status.epoch),
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
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
