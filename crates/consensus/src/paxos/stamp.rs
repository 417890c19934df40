//! What is written beside the value of a slot: under which ballot it was accepted, who first proposed
//! it, and how far behind it the log was known to be chosen.
//!
//! # Why a value has an origin
//!
//! One value may be accepted under several ballots, and two acceptors may know it by different ones.
//! The state machine must not see that: the contract's [`Position`](crate::Position) is the same on
//! all replicas, and a proposal comes out where and as it was taken in. So a value keeps the ballot
//! under which it was *first* proposed, its origin, and that is the epoch of its position.
//!
//! # Why the log says how far it is chosen
//!
//! Paxos writes no commit index. Then a replica that starts again cannot tell a chosen value from one
//! that was merely accepted, not even below what its image has applied: the image may have come from
//! another replica. So each slot also tells how far behind it the log was chosen when it was written.
//! Writes reach the disk in order, hence all up to there is on the disk as well, and right.
//!
//! # Layout
//!
//! The disk gives a slot one [`Epoch`]; a stamp is packed into it. All zero is a gap.
//!
//! ```text
//! round     ballot.round: 32    origin.round: 32
//! proposer  ballot.proposer: 24 origin.proposer: 24  behind: 16
//! ```

use crate::{Epoch, LogIndex};

/// The highest round that is believed; it leaves room to count on. An election a second reaches it
/// after 17 years; what is packed stays below the numbers that a journal believes.
pub(super) const MAX_ROUND: u64 = 1 << 29;

/// The highest number that a proposer may bear.
pub(super) const MAX_PROPOSER: u64 = (1 << 24) - 1;

/// `behind` where nothing is known.
const UNKNOWN: u64 = 0xffff;

/// What is written beside a slot's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Under which ballot the value was accepted here; its default is "nothing was": a gap.
    pub ballot: Epoch,
    /// Under which ballot the value was first proposed. The proposer 0 marks a slot that a leader
    /// has filled with nothing, and the round is then that of the value before it.
    pub origin: Epoch,
    /// So many slots before this one the log was known to be chosen when this was written.
    pub behind: Option<u16>,
}

impl Stamp {
    /// The stamp of a slot in which nothing was accepted.
    pub const GAP: Self = Self {
        ballot: Epoch { round: 0, proposer: 0 },
        origin: Epoch { round: 0, proposer: 0 },
        behind: None,
    };

    /// For a value that is accepted at `index` while the log is chosen up to `chosen`.
    pub(super) fn new(ballot: Epoch, origin: Epoch, index: LogIndex, chosen: LogIndex) -> Self {
        let behind = index.0.saturating_sub(chosen.0);
        let behind = u16::try_from(behind).ok().filter(|behind| u64::from(*behind) != UNKNOWN);
        Self { ballot, origin, behind }
    }

    /// Whether nothing was accepted.
    pub fn is_gap(self) -> bool {
        self.ballot == Epoch::default()
    }

    /// As it stands on disk.
    pub fn pack(self) -> Epoch {
        if self.is_gap() {
            return Epoch::default();
        }
        for part in [self.ballot, self.origin] {
            assert!(u32::try_from(part.round).is_ok(), "a round fits into its field");
            assert!(part.proposer <= MAX_PROPOSER, "a proposer fits into its field");
        }
        let behind = self.behind.map_or(UNKNOWN, u64::from);
        Epoch {
            round: self.ballot.round << 32 | self.origin.round,
            proposer: self.ballot.proposer << 40 | self.origin.proposer << 16 | behind,
        }
    }

    /// Reads what [`Stamp::pack`] wrote.
    pub fn unpack(packed: Epoch) -> Self {
        if packed == Epoch::default() {
            return Self::GAP;
        }
        let (round, proposer) = (packed.round, packed.proposer);
        let behind = proposer & 0xffff;
        Self {
            ballot: Epoch { round: round >> 32, proposer: proposer >> 40 },
            origin: Epoch { round: round & 0xffff_ffff, proposer: proposer >> 16 & MAX_PROPOSER },
            behind: u16::try_from(behind).ok().filter(|_| behind != UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ballot() -> impl Strategy<Value = Epoch> {
        (1..=MAX_ROUND, 1..=MAX_PROPOSER).prop_map(|(round, proposer)| Epoch { round, proposer })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read(ballot in ballot(), origin in ballot(), behind: u16) {
            let index = LogIndex(u64::from(behind) + 7);
            let stamp = Stamp::new(ballot, origin, index, LogIndex(7));
            prop_assert_eq!(Stamp::unpack(stamp.pack()), stamp);
        }
    }

    #[test]
    fn a_gap_is_the_default_epoch() {
        assert_eq!(Stamp::GAP.pack(), Epoch::default());
        assert!(Stamp::unpack(Epoch::default()).is_gap());
    }

    #[test]
    fn what_is_too_far_behind_is_unknown() {
        let ballot = Epoch { round: 1, proposer: 1 };
        let behind = |index| Stamp::new(ballot, ballot, LogIndex(index), LogIndex(5)).behind;
        assert_eq!(behind(3), Some(0), "chosen when it was written");
        assert_eq!(behind(5 + 0xfffe), Some(0xfffe));
        assert_eq!(behind(5 + 0xffff), None);
        assert_eq!(behind(1 << 40), None);
    }
}
