//! Leases for reads: a leader that knows until when nobody else can be elected serves reads without asking.
//!
//! Each answer to a leader's message says for how long its sender will elect nobody else, counted from when
//! it had received the message: its *promise*. The leader counts from when it began the round that the
//! answer echoes, before it sent anything of it. What a quorum has promised, made shorter by how wrong
//! clocks may go, is the leader's lease. A round begins with each heartbeat, so a lease costs no message.
//!
//! ```text
//!   leader    │ begins round r        lease: promise × (1 − d) / (1 + d)     │
//!             ├──────────────────────────────────────────────────────────────┤ by its clock
//!             └─► r ─►┐     ┌─► r ─►
//!   voter             ├─────┴───────────────────────────────────────────────────────┤
//!                     │ elects nobody else for an election timeout, by its clock    │
//! ```
//!
//! Only the promise counts, never what the leader takes its followers to be configured for: a follower
//! without leases promises nothing, one with another election timeout promises that. So a group needs
//! no agreement on the option; while no quorum has it, reads take a round as before.
//!
//! # The assumption
//!
//! In any span of time each clock counts between 1 − d and 1 + d of it ([`ClockDrift`]); it neither stands
//! nor jumps. If that does not hold a read may be stale. Nothing else: what is elected and committed rests on no
//! clock, with leases or without.
//!
//! # Why no read is stale
//!
//! A read is served at once, at the commit index, if the leader is ready, in office, and its lease has not ended
//! at `now`, a time taken after the read had come. Suppose another leader was elected before that moment, and
//! take the first of a later epoch than ours. A quorum elected it. Each such quorum meets each that
//! confirms our rounds, by whatever memberships (that is what rounds rest on, too: see below). So
//! a voter elected it that had promised us not to, and whose promise, begun later and no shorter in true time
//! than our lease, had not ended. It broke its promise, and the rules of [`Grant`] leave one case only:
//! our leader itself had handed over. Then it had given up its lease before it said so.
//!
//! # Invariants of a voter
//!
//! * **A promise holds whatever happens to its giver.** A later epoch, the leader's silence, a broken connection
//!   do not end it. Until its time is over its giver votes for nobody else, and opens no epoch of its own.
//! * **A promise survives a restart.** It is not written down. A voter that starts again waits for as long
//!   as it could have promised, by its own clock, before it votes; who never had an epoch had no leader to promise
//!   anything. One whose disk has lost what it promised waits the same, whatever epoch it remembers.
//!   *A node that is to start with leases off, or with a shorter timeout, has to be down for the former
//!   election timeout*: it is configured anew, and does not know what it was.
//! * **Only the leader can set its voters free**: that it hands over is a word for its epoch, for ever. A voter
//!   is free of what it has promised in that epoch or an earlier one: the leader of that epoch was elected
//!   when the leases of all earlier ones were over or given up. A promise to a later leader stands, however
//!   late the word comes.
//!
//! # Invariants of a leader
//!
//! * It counts from when a round was begun, not from when its answer came.
//! * When it has handed over, or tried to, it has no lease again in its epoch: what it said may be acted on at any
//!   later time.
//! * When it appends a membership its lease is over, and answers to earlier rounds give none. So lease and
//!   round are counted by one membership. While it is the last in our log, all of which is either committed or one
//!   change beyond it, each membership that may elect another leader is that one, or one change away;
//!   and quorums of neighbours meet (see [`crate::Membership`]). A voter that has left promises in vain.
//! * Who is in doubt, or does not answer for this epoch, this session and this life, gives nothing.
//!
//! With Paxos' flexible quorums, rounds and leases take a quorum of phase 2, which meets each of phase 1.
//!
//! # Reference
//!
//! Ongaro's thesis §6.4.1; Gray & Cheriton, *Leases* (1989), §5 for clocks. The thesis' lease rests on all
//! servers having one election timeout, on none restarting, and says that a transfer must end it; ours is told
//! by each voter, as in Moraru, Andersen & Kaminsky, *Paxos Quorum Leases* (2014), and [`Grant`] has the rest.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Config, Epoch, ReplicaId, Time};

/// By how much a clock may be wrong, in thousandths: where a second passes it counts between
/// `1000 - d` and `1000 + d` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockDrift(u16);

/// A clock that is wronger than this is no clock.
const MAX_PER_MILLE: u16 = 500;

impl ClockDrift {
    /// So many thousandths: 1 to 500.
    pub const fn per_mille(thousandths: u16) -> Option<Self> {
        if thousandths >= 1 && thousandths <= MAX_PER_MILLE {
            Some(Self(thousandths))
        } else {
            None
        }
    }

    /// In thousandths.
    pub const fn as_per_mille(self) -> u16 {
        self.0
    }

    /// How long a lease may be counted by one clock that is over before another has counted `promised`.
    pub fn surely_within(self, promised: Duration) -> Duration {
        let drift = u128::from(self.0);
        let nanos = promised.as_nanos() * (1000 - drift) / (1000 + drift);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Most rounds of which a leader remembers when they began. An answer to an older one gives no lease.
const MAX_ROUNDS: usize = 64;

/// What a leader's lease is made from.
#[derive(Clone, Hash)]
pub(crate) struct Lease {
    drift: ClockDrift,
    /// No promise is believed to be longer.
    longest: Duration,
    /// When the last rounds began.
    begun: VecDeque<Time>,
    /// The number of the first of them.
    first: u64,
    /// It has handed over, or has tried to.
    is_given_up: bool,
    mistakes: Mistakes,
}

impl Lease {
    /// A new leader's, if it is to have one.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        config.lease.map(|drift| Self {
            drift,
            longest: config.election_timeout,
            begun: VecDeque::new(),
            first: 1,
            is_given_up: false,
            mistakes: Mistakes::of(config),
        })
    }

    /// Round `round` begins. All rounds are told, in their order.
    pub(crate) fn began(&mut self, round: u64, now: Time) {
        if self.begun.is_empty() {
            self.first = round;
        }
        assert!(round == self.first + self.begun.len() as u64, "rounds follow one another");
        self.begun.push_back(now);
        if self.begun.len() > MAX_ROUNDS {
            self.begun.pop_front();
            self.first += 1;
        }
    }

    /// Until when one elects nobody else that has promised this in its answer to `round`, which came `now`.
    pub(crate) fn until(&self, round: u64, promise: Duration, now: Time) -> Time {
        let begun = || {
            let offset = round.checked_sub(self.first)?;
            self.begun.get(usize::try_from(offset).ok()?).copied()
        };
        let Some(begun) = begun() else { return Time::default() };
        let begun = if self.mistakes.make(Planted::CountedFromAnswer) { now } else { begun };
        let promise = promise.min(self.longest);
        if self.mistakes.make(Planted::DriftIgnored) {
            return begun + promise;
        }
        if promise.is_zero() { Time::default() } else { begun + self.drift.surely_within(promise) }
    }

    /// Whether it may still count on what a quorum has promised it until `until`.
    pub(crate) fn holds(&self, until: Time, now: Time) -> bool {
        now < until && !self.is_given_up
    }

    /// Other members count from here on: answers to the rounds begun before give nothing. Tells whether what
    /// was promised until now is to be forgotten.
    pub(crate) fn members_change(&mut self) -> bool {
        if self.mistakes.make(Planted::KeptAcrossChange) {
            return false;
        }
        self.begun.clear();
        true
    }

    /// The leader is about to hand over.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up |= !self.mistakes.make(Planted::KeptInTransfer);
    }
}

/// What a voter has promised: to elect nobody but this leader for some time.
#[derive(Clone, Hash)]
pub(crate) struct Grant {
    /// None at the start: it may have promised anybody anything.
    to: Option<ReplicaId>,
    /// In which epoch; at the start, the highest in which it may have been.
    epoch: Epoch,
    until: Time,
    /// How long each of its promises is; zero if it makes none.
    length: Duration,
    mistakes: Mistakes,
}

impl Grant {
    /// At the start of a life with this epoch on its disk, at `now`.
    pub(crate) fn new(config: &Config, epoch: Epoch, in_doubt: bool, now: Time) -> Self {
        let length = if config.lease.is_some() { config.election_timeout } else { Duration::ZERO };
        let mistakes = Mistakes::of(config);
        let is_free = length.is_zero() || (epoch == Epoch::default() && !in_doubt);
        let forgets = is_free || mistakes.make(Planted::RestartForgets);
        let until = if forgets { Time::default() } else { now + length };
        // Of what a damaged disk has lost nothing is known.
        let epoch = if in_doubt { Epoch { round: u64::MAX, proposer: u64::MAX } } else { epoch };
        Self { to: None, epoch, until, length, mistakes }
    }

    /// Makes a promise to the leader of this epoch, whose message has just come; tells how long it is.
    pub(crate) fn give(&mut self, leader: ReplicaId, epoch: Epoch, now: Time) -> Duration {
        if self.length.is_zero() {
            return Duration::ZERO;
        }
        // What it had promised others, or may have before it started, is over or given up: this one leads.
        (self.to, self.epoch) = (Some(leader), epoch);
        self.until = self.until.max(now + self.length);
        self.length
    }

    /// Whether it may not help to elect `candidate` now.
    pub(crate) fn forbids(&self, candidate: ReplicaId, now: Time) -> bool {
        now < self.until && self.to != Some(candidate)
    }

    /// From when on it may stand itself, if it were to at `time`.
    pub(crate) fn after(&self, time: Time) -> Time {
        time.max(self.until)
    }

    /// The leader of `epoch` has handed over.
    pub(crate) fn release(&mut self, epoch: Epoch) {
        if self.epoch <= epoch {
            self.until = Time::default();
        }
    }

    /// The connection to whom it believes to lead is broken. That ends no promise.
    pub(crate) fn hung_up(&mut self) {
        if self.mistakes.make(Planted::HangUpEndsGrant) {
            self.until = Time::default();
        }
    }
}

/// A mistake in using leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "the module is public with the feature only")
)]
pub enum Planted {
    /// A voter whose connection to its leader breaks forgets what it has promised it.
    HangUpEndsGrant,
    /// A voter that starts again votes at once.
    RestartForgets,
    /// A leader that hands over goes on serving reads by its lease.
    KeptInTransfer,
    /// What was promised under other members still counts.
    KeptAcrossChange,
    /// A lease is as long as what was promised, as if all clocks ran alike.
    DriftIgnored,
    /// A lease is counted from when an answer came.
    CountedFromAnswer,
}

/// Which mistake is to be made: none without the feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mistakes {
    #[cfg(feature = "planted")]
    planted: Option<crate::Planted>,
}

impl Mistakes {
    #[cfg(feature = "planted")]
    fn of(config: &Config) -> Self {
        Self { planted: config.planted }
    }

    #[cfg(not(feature = "planted"))]
    fn of(_: &Config) -> Self {
        Self {}
    }

    #[cfg(feature = "planted")]
    fn make(self, mistake: Planted) -> bool {
        self.planted == Some(crate::Planted::Lease(mistake))
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "stands for the field that only the feature has")]
    fn make(self, _: Planted) -> bool {
        false
    }
}
