//! What is written beside the value of a slot: under which ballot it was accepted, who first proposed
//! it, and how far the log was known to be chosen then.
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
//! another replica. So each slot also tells how far the log was chosen when it was written. Writes
//! reach the disk in order, hence all up to there is on the disk as well, and right.
//!
//! That is told by its lower bits, in steps: slots written one after another mostly bear the same stamp,
//! and whoever keeps the epochs of a log keeps runs of them. Where a run under another ballot begins it is
//! told to the slot. So after a restart, too, each slot that is not known to be chosen was accepted under the
//! last ballot, but for what was never agreed with its leader; and where a witness's log begins under a ballot proves all
//! of them: see `snapshot`. In steps, the last slots before that run would be neither known to be chosen nor
//! proved, and a witness has no image to tell.
//!
//! # Layout
//!
//! The disk gives a slot one [`Epoch`]; a stamp is packed into it. All zero is a gap.
//!
//! ```text
//! round     ballot.round: 32    origin.round: 32
//! proposer  ballot.proposer: 24 origin.proposer: 24  chosen: 16
//! ```

use crate::{Epoch, LogIndex};

/// The highest round that is believed; it leaves room to count on. An election a second reaches it
/// after 17 years; what is packed stays below the numbers that a journal believes.
pub(super) const MAX_ROUND: u64 = 1 << 29;

/// The highest number that a proposer may bear.
pub(super) const MAX_PROPOSER: u64 = (1 << 24) - 1;

/// How far the log is chosen is told in multiples of this.
const STEP: u64 = 16;

/// From how far behind its slot it can be told.
const SPAN: u64 = 1 << 16;

/// Stands for how far the log is chosen where that is further behind. No multiple of a step.
const UNKNOWN: u64 = SPAN - 1;

/// The ballot of a base whose value is known from an image alone. Nobody's: it has no proposer.
pub(super) const OF_IMAGE: Epoch = Epoch { round: 1, proposer: 0 };

/// What is written beside a slot's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Under which ballot the value was accepted here; its default is "nothing was": a gap.
    pub ballot: Epoch,
    /// Under which ballot the value was first proposed. The proposer 0 marks a slot that a leader
    /// has filled with nothing, and the round is then that of the value before it.
    pub origin: Epoch,
    /// How far the log was known to be chosen when this was written; see [`Stamp::proves`].
    pub chosen: u16,
}

impl Stamp {
    /// The stamp of a slot in which nothing was accepted.
    pub const GAP: Self = Self {
        ballot: Epoch { round: 0, proposer: 0 },
        origin: Epoch { round: 0, proposer: 0 },
        chosen: 0,
    };

    /// For a value that is accepted at `index` while the log is chosen up to `chosen`.
    pub(super) fn new(ballot: Epoch, origin: Epoch, index: LogIndex, chosen: LogIndex) -> Self {
        let step = chosen.0.min(index.0) / STEP * STEP;
        let low = if index.0 - step < SPAN { step % SPAN } else { UNKNOWN };
        Self { ballot, origin, chosen: u16::try_from(low).expect("below the span") }
    }

    /// How far the log is chosen, by the stamp of the slot `index`.
    pub fn proves(self, index: LogIndex) -> Option<LogIndex> {
        let low = u64::from(self.chosen);
        if self.is_gap() || low == UNKNOWN {
            return None;
        }
        let behind = index.0.wrapping_sub(low) % SPAN;
        index.0.checked_sub(behind).map(LogIndex)
    }

    /// Whether nothing was accepted.
    pub fn is_gap(self) -> bool {
        self.ballot == Epoch::default()
    }

    /// The same, and it tells how far the log is chosen to the slot, if that can be told.
    pub(super) fn exact(ballot: Epoch, origin: Epoch, index: LogIndex, chosen: LogIndex) -> Self {
        let chosen = chosen.min(index);
        let low = chosen.0 % SPAN;
        if index.0 - chosen.0 >= SPAN || low == UNKNOWN {
            return Self::new(ballot, origin, index, chosen);
        }
        Self { ballot, origin, chosen: u16::try_from(low).expect("below the span") }
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
        let Epoch { round, proposer } = self.ballot;
        Epoch {
            round: round << 32 | self.origin.round,
            proposer: proposer << 40 | self.origin.proposer << 16 | u64::from(self.chosen),
        }
    }

    /// Reads what [`Stamp::pack`] wrote.
    pub fn unpack(packed: Epoch) -> Self {
        let chosen = u16::try_from(packed.proposer & 0xffff).expect("16 bits");
        Self { ballot: ballot_of(packed), origin: origin_of(packed), chosen }
    }
}

/// The ballot of a packed stamp; the default if it is a gap's.
pub(super) fn ballot_of(packed: Epoch) -> Epoch {
    Epoch { round: packed.round >> 32, proposer: packed.proposer >> 40 }
}

/// The origin of a packed stamp.
pub(super) fn origin_of(packed: Epoch) -> Epoch {
    let proposer = packed.proposer >> 16 & MAX_PROPOSER;
    Epoch { round: packed.round & 0xffff_ffff, proposer }
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
        fn what_is_packed_is_read(ballot in ballot(), origin in ballot(), index: u32, chosen: u32) {
            let (index, chosen) = (LogIndex(index.into()), LogIndex(chosen.into()));
            let stamp = Stamp::new(ballot, origin, index, chosen);
            prop_assert_eq!(Stamp::unpack(stamp.pack()), stamp);
        }

        /// To the slot, but for one of many.
        #[test]
        fn what_is_chosen_is_told_exactly(index in 1..1_u64 << 40, behind in 0..1_u64 << 18) {
            let (ballot, chosen) = (Epoch { round: 1, proposer: 1 }, index.saturating_sub(behind));
            let stamp = Stamp::exact(ballot, ballot, LogIndex(index), LogIndex(chosen));
            let proved = stamp.proves(LogIndex(index)).map(|proved| proved.0);
            let is_told = index - chosen < SPAN && chosen % SPAN != UNKNOWN;
            let roughly = Stamp::new(ballot, ballot, LogIndex(index), LogIndex(chosen));
            let expected = if is_told { Some(LogIndex(chosen)) } else { roughly.proves(LogIndex(index)) };
            prop_assert_eq!(proved, expected.map(|proved| proved.0));
        }

        /// Never more than was known, and at most a step less.
        #[test]
        fn what_is_chosen_is_told(index in 1..1_u64 << 40, behind in 0..1_u64 << 18) {
            let (ballot, chosen) = (Epoch { round: 1, proposer: 1 }, index.saturating_sub(behind));
            let stamp = Stamp::new(ballot, ballot, LogIndex(index), LogIndex(chosen));
            let proved = stamp.proves(LogIndex(index)).map(|proved| proved.0);
            let expected = chosen / STEP * STEP;
            prop_assert_eq!(proved, (index - expected < SPAN).then_some(expected));
        }
    }

    #[test]
    fn a_gap_is_the_default_epoch() {
        assert_eq!(Stamp::GAP.pack(), Epoch::default());
        assert_eq!(Stamp::unpack(Epoch::default()), Stamp::GAP);
        assert_eq!(Stamp::GAP.proves(LogIndex(99)), None);
    }

    #[test]
    fn slots_that_are_written_together_bear_the_same_stamp() {
        let ballot = Epoch { round: 1, proposer: 1 };
        let stamp = |index, chosen| Stamp::new(ballot, ballot, LogIndex(index), LogIndex(chosen));
        assert_eq!(stamp(20, 16), stamp(40, 31));
        assert_ne!(stamp(40, 31), stamp(41, 32));
    }
}
