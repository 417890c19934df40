//! Whether leadership is in the right hands: what a leader sees of itself and of its followers, and when it
//! does better to hand over.
//!
//! There are two reasons. Another voter has a higher **priority**, is healthy and has caught up. Or the leader
//! is **slow**: it works, its followers hear it, and everybody waits for it; no timeout ends that (a gray
//! failure). Of its own pace a leader sees how long its journal takes for a write, and how late it is called
//! at times that it has asked for; of a follower's, how long it takes from the sending of entries to the word
//! that they are on its disk, the network included. How long the leader itself has let the answer wait is a part
//! of that, and is taken off. The medians of a window are compared.
//!
//! This decides and does nothing: the group tells it what happens, and acts on its word.
//!
//! # Invariants
//!
//! * A leader hands over for neither reason before it has led for a cool-down. So a cluster has one such
//!   hand-over at most in a cool-down, whoever leads, and nobody need be told of another's.
//! * For slowness it hands over only to a voter that is [`RATIO`] times as fast as itself, the way to it
//!   included. So two nodes that are slow for good do not pass leadership to and fro: each would have to be
//!   that much faster than the other.
//! * Where slowness comes with the office (too much load for any node), or a preferred node is worth less than
//!   its priority says, leadership does move again. Then whoever has given it away and gets it back soon
//!   keeps it for twice as long, each time, up to 2^[`MOST_DOUBLINGS`] cool-downs.
//! * What is kept does not grow with the load: one write is measured at a time, here and for each follower.
//!
//! What it decides is never a matter of safety: a hand-over is a request to consensus, which refuses what would
//! harm.
//!
//! # Reference
//!
//! Huang et al., *Gray Failure: The Achilles' Heel of Cloud-Scale Systems* (`HotOS` 2017); Ongaro,
//! *Consensus: Bridging Theory and Practice* (2014), §3.10, for the hand-over and its uses.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consensus::{Input, LogIndex, PersistId, ReplicaId, Role, Time};
use wire::{Member, NodeId, Part};

use crate::News;
use crate::group::{Group, node_of, replica_of};
use crate::members::CAUGHT_UP_ENTRIES;
use crate::shared::Shared;

/// How many times as slow as a follower a leader is that hands over to it.
const RATIO: u32 = 5;

/// A leader that takes less than this is not slow, whatever its followers do.
const FLOOR: Duration = Duration::from_millis(50);

/// A voter that takes more than this, and is [`RATIO`] times as slow as the leader, is not preferred for its
/// priority. More than [`FLOOR`]: it may just be far away, and that is no fault of its disk.
const FAR: Duration = Duration::from_millis(250);

/// How many times its median lateness a leader lets an answer wait, at most: see [`Own`].
const WAITS: u32 = 3;

/// Windows in a row in which a leader must have been slow.
const SLOW_WINDOWS: u32 = 3;

/// Windows in a row in which a voter must have been fit to lead, to be preferred for its priority.
const FIT_WINDOWS: u32 = 5;

/// A voter that was seen to be slow is not preferred for so many cool-downs.
const DISTRUST: u32 = 10;

/// Looks in a window.
const LOOKS: u32 = 10;

/// Writes of one disk that are measured in a window, at most.
const MOST_SAMPLES: usize = 50;

/// See the invariants.
const MOST_DOUBLINGS: u32 = 5;

/// How fast a leader judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What is seen within this time is judged together.
    pub window: Duration,
    /// How long a leader leads before it hands over by itself.
    pub cool_down: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: Duration::from_secs(1), cool_down: Duration::from_secs(30) }
    }
}

/// What a leader knows of its group when it judges.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// Whether it may hand over at all.
    pub(crate) may: bool,
    /// Its own priority.
    pub(crate) priority: u8,
    /// The other voters.
    pub(crate) voters: Vec<Voter>,
}

/// A voter, as its leader sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voter {
    pub(crate) node: NodeId,
    pub(crate) priority: u8,
    /// Whether it answers and has caught up.
    pub(crate) fit: bool,
}

/// Leadership is to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) to: NodeId,
    pub(crate) why: Why,
}

/// Why a leader hands over by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The other one has a higher priority.
    Priority {
        /// The leader's.
        own: u8,
        /// The other one's.
        its: u8,
    },
    /// The leader's journal is slow.
    Journal {
        /// How long it takes for a write.
        own: Duration,
        /// How long the other one takes, the way there and back included.
        its: Duration,
    },
    /// The leader is called late: its processor is slow, or it gets too little of it.
    Starved {
        /// How late.
        own: Duration,
        /// How long the other one takes for a write, the way there and back included.
        its: Duration,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = Duration::as_millis;
        match self {
            Self::Priority { own, its } => write!(f, "its priority is {its}, and {own} here"),
            Self::Journal { own, its } => {
                write!(f, "a write took the disk here {} ms, and {} ms there", ms(own), ms(its))
            }
            Self::Starved { own, its } => {
                write!(f, "this process was {} ms late, and {} ms there", ms(own), ms(its))
            }
        }
    }
}

/// Times that were seen within a window.
#[derive(Debug, Default)]
struct Samples(Vec<Duration>);

impl Samples {
    fn add(&mut self, sample: Duration) {
        if self.0.len() < MOST_SAMPLES {
            self.0.push(sample);
        }
    }

    /// The median of what was seen, which is forgotten.
    fn take(&mut self) -> Option<Duration> {
        self.0.sort_unstable();
        let median = self.0.get(self.0.len() / 2).copied();
        self.0.clear();
        median
    }
}

/// How long one disk took within a window.
#[derive(Clone, Copy, Debug)]
struct Measure {
    time: Duration,
    /// Whether any write came to its end; else `time` is how long the one under way has lasted.
    is_whole: bool,
}

/// Measures one write after the other.
#[derive(Debug, Default)]
struct Meter {
    /// What is waited for, and since when.
    under_way: Option<(u64, Time)>,
    /// No other one is measured before.
    next: Time,
    samples: Samples,
}

impl Meter {
    /// The write `number` begins.
    fn begins(&mut self, number: u64, now: Time, spacing: Duration) {
        if self.under_way.is_none() && now >= self.next {
            self.under_way = Some((number, now));
            self.next = now + spacing;
        }
    }

    /// All writes up to `number` are on disk.
    fn ends(&mut self, number: u64, now: Time) {
        if let Some((_, since)) = self.under_way.take_if(|(awaited, _)| *awaited <= number) {
            self.samples.add(now.since(since));
        }
    }

    /// What the window has shown. A write that does not come to its end is no reason to say nothing.
    fn close(&mut self, now: Time) -> Option<Measure> {
        let is_whole = !self.samples.0.is_empty();
        let lasts = self.under_way.map(|(_, since)| now.since(since));
        if let Some(lasts) = lasts.filter(|lasts| *lasts >= FLOOR) {
            self.samples.add(lasts);
        }
        self.samples.take().map(|time| Measure { time, is_whole })
    }
}

/// What a leader keeps of a follower.
#[derive(Debug, Default)]
struct Follower {
    meter: Meter,
    /// It was seen to be slow: not before this time is it preferred again.
    distrusted_until: Time,
}

/// What is kept while this replica leads.
#[derive(Debug)]
struct Office {
    /// When to be called; how much later that is, is a sample of lateness.
    next_look: Time,
    /// When the window ends.
    closes: Time,
    /// Not before this time does it hand over for slowness, and for priority.
    quiet: (Time, Time),
    own: Meter,
    late: Samples,
    followers: BTreeMap<NodeId, Follower>,
    /// Windows in a row in which it was slow.
    slow: u32,
    /// Whom it prefers, and for how many windows.
    preferred: Option<(NodeId, u32)>,
}

/// How often leadership was given away and soon came back.
#[derive(Debug, Default)]
struct Returns {
    doublings: u32,
    /// When it was given away last.
    given: Option<Time>,
    /// Whether it has not come back since.
    is_away: bool,
}

impl Returns {
    fn wait(&self, pace: Pace) -> Duration {
        pace.cool_down * 2_u32.pow(self.doublings.min(MOST_DOUBLINGS))
    }

    /// It leads again: for how long at least.
    fn begin(&mut self, now: Time, pace: Pace) -> Duration {
        let soon = self.wait(pace) * 4;
        if self.given.is_none_or(|given| now.since(given) > soon) {
            *self = Self::default();
        } else if self.is_away {
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
            self.is_away = false;
        }
        self.wait(pace)
    }

    fn give(&mut self, now: Time) {
        (self.given, self.is_away) = (Some(now), true);
    }
}

/// A replica's judgement of its leadership.
#[derive(Debug)]
pub(crate) struct Steward {
    /// None never hands over.
    pace: Option<Pace>,
    office: Option<Office>,
    for_load: Returns,
    for_priority: Returns,
    /// The last hand-over, and until when it is told.
    told: Option<(HandOver, Time)>,
}

impl Steward {
    pub(crate) fn new(pace: Option<Pace>) -> Self {
        let (for_load, for_priority) = (Returns::default(), Returns::default());
        Self { pace, office: None, for_load, for_priority, told: None }
    }

    /// This replica begins to lead, with others.
    pub(crate) fn begin(&mut self, now: Time) {
        let Some(pace) = self.pace else { return };
        let slow = now + self.for_load.begin(now, pace);
        let favour = now + self.for_priority.begin(now, pace);
        self.office = Some(Office {
            next_look: now + pace.window / LOOKS,
            closes: now + pace.window,
            quiet: (slow, favour),
            own: Meter::default(),
            late: Samples::default(),
            followers: BTreeMap::new(),
            slow: 0,
            preferred: None,
        });
    }

    /// It leads no more, or alone.
    pub(crate) fn end(&mut self) {
        self.office = None;
    }

    /// Whether there is anything to judge.
    pub(crate) fn has_office(&self) -> bool {
        self.office.is_some()
    }

    /// A write to the own journal begins.
    pub(crate) fn writes(&mut self, write: PersistId, now: Time) {
        if let (Some(office), Some(pace)) = (&mut self.office, self.pace) {
            office.own.begins(write.0, now, spacing(pace));
        }
    }

    /// This write, and all before it, are on the own disk.
    pub(crate) fn written(&mut self, write: PersistId, now: Time) {
        if let Some(office) = &mut self.office {
            office.own.ends(write.0, now);
        }
    }

    /// Entries up to `index` are sent to a follower.
    pub(crate) fn sends(&mut self, to: NodeId, index: LogIndex, now: Time) {
        if let (Some(office), Some(pace)) = (&mut self.office, self.pace) {
            let follower = office.followers.entry(to).or_default();
            follower.meter.begins(index.0, now, spacing(pace));
        }
    }

    /// A follower has entries up to `index` on its disk.
    pub(crate) fn acknowledged(&mut self, from: NodeId, index: LogIndex, now: Time) {
        let office = self.office.as_mut();
        if let Some(follower) = office.and_then(|office| office.followers.get_mut(&from)) {
            follower.meter.ends(index.0, now);
        }
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let look = self.office.as_ref().map(|office| office.next_look);
        look.into_iter().chain(self.told.map(|(_, until)| until)).min()
    }

    /// What an operator should know of the last hand-over.
    pub(crate) fn notice(&self) -> Option<String> {
        self.told.map(|(HandOver { to, why }, _)| {
            format!("it handed leadership to node {} by itself: {why}", to.0)
        })
    }

    /// Time has passed. Tells whether a window is over, and [`Steward::judge`] is to be called.
    pub(crate) fn look(&mut self, now: Time) -> bool {
        self.told.take_if(|(_, until)| *until <= now);
        let (Some(office), Some(pace)) = (&mut self.office, self.pace) else { return false };
        if now < office.next_look {
            return false;
        }
        office.late.add(now.since(office.next_look));
        office.next_look = now + pace.window / LOOKS;
        now >= office.closes
    }

    /// Judges what the window has shown that is over.
    pub(crate) fn judge(&mut self, now: Time, sight: &Sight) -> Option<HandOver> {
        let (Some(office), Some(pace)) = (&mut self.office, self.pace) else { return None };
        office.closes = now + pace.window;
        let word = office.judge(now, pace, sight)?;
        // It may not come about. That is no reason to try again at once.
        office.quiet = (now + pace.cool_down, now + pace.cool_down);
        match word.why {
            Why::Priority { .. } => self.for_priority.give(now),
            Why::Starved { .. } => self.for_load.give(now),
            // A slow disk does not come with the office.
            Why::Journal { .. } => {}
        }
        self.told = Some((word, now + pace.cool_down * DISTRUST));
        Some(word)
    }
}

/// Between two writes that are measured.
fn spacing(pace: Pace) -> Duration {
    pace.window / 50
}

/// A leader's own pace.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// How long its disk takes for a write, until it hears of it.
    time: Duration,
    /// How long it waits for its turn meanwhile, and so with every answer of a follower. Whoever gets a turn
    /// each 100 ms is 50 ms late by the median, at times that have nothing to do with its turns; but what
    /// answers to something that it did in its last turn waits for all of the 100 ms. So it is some times its
    /// lateness, and not more than its own journal takes, which answers in the same way.
    wait: Duration,
}

/// A voter, and how long it takes for a write.
type Paced = (Voter, Duration);

impl Office {
    /// What the window that ends now has shown.
    fn judge(&mut self, now: Time, pace: Pace, sight: &Sight) -> Option<HandOver> {
        let late = self.late.take().unwrap_or_default();
        let journal = self.own.close(now).map_or(late, |own| own.time);
        let own = Own { time: journal.max(late), wait: journal.min(late * WAITS) };
        let others = self.paces(now, pace, sight, own);
        let slow = self.is_slow(own.time, &others).then(|| heir(own, &others)).flatten();
        let favour = self.preferred(now, sight);
        let (slow_from, favour_from) = self.quiet;
        // Who is slow looks for a fast one, and not for a preferred one.
        let (word, from) = if self.slow > 0 { (slow, slow_from) } else { (favour, favour_from) };
        word.filter(|_| sight.may && now >= from)
    }

    /// How long those who could lead take for a write. Whoever is slow is remembered for it.
    fn paces(&mut self, now: Time, pace: Pace, sight: &Sight, own: Own) -> Vec<Paced> {
        self.followers.retain(|node, _| sight.voters.iter().any(|voter| voter.node == *node));
        let mut paces = Vec::new();
        for voter in &sight.voters {
            let Some(follower) = self.followers.get_mut(&voter.node) else { continue };
            let Some(measure) = follower.meter.close(now) else { continue };
            let time = measure.time.saturating_sub(own.wait);
            if time >= FAR && time >= own.time * RATIO {
                follower.distrusted_until = now + pace.cool_down * DISTRUST;
            }
            if voter.fit && measure.is_whole {
                paces.push((*voter, time));
            }
        }
        paces
    }

    /// Whether it was slow for long enough. A window without writes says nothing.
    fn is_slow(&mut self, own: Duration, others: &[Paced]) -> bool {
        if let Some(best) = others.iter().map(|(_, time)| *time).min() {
            let is_slow = own >= FLOOR && own >= best * RATIO;
            self.slow = if is_slow { (self.slow + 1).min(SLOW_WINDOWS) } else { 0 };
        }
        self.slow >= SLOW_WINDOWS
    }

    /// Who is to lead for its priority, if it was fit for long enough.
    fn preferred(&mut self, now: Time, sight: &Sight) -> Option<HandOver> {
        let distrusts = |voter: &Voter| {
            let follower = self.followers.get(&voter.node);
            follower.is_some_and(|follower| now < follower.distrusted_until)
        };
        let may =
            |voter: &&Voter| voter.fit && voter.priority > sight.priority && !distrusts(voter);
        let best = sight.voters.iter().filter(may);
        let best = best.max_by_key(|voter| (voter.priority, Reverse(voter.node)));
        self.preferred = best.map(|voter| match self.preferred {
            Some((node, windows)) if node == voter.node => (node, (windows + 1).min(FIT_WINDOWS)),
            _ => (voter.node, 1),
        });
        let (voter, (_, windows)) = (best?, self.preferred?);
        let why = Why::Priority { own: sight.priority, its: voter.priority };
        (windows >= FIT_WINDOWS).then_some(HandOver { to: voter.node, why })
    }
}

/// To whom a slow leader hands over: the fastest, but to one that shall not lead only if there is no other.
fn heir(own: Own, others: &[Paced]) -> Option<HandOver> {
    let better = others.iter().filter(|(_, time)| own.time >= *time * RATIO);
    let (voter, its) =
        better.min_by_key(|(voter, time)| (voter.priority == 0, *time, voter.node))?;
    let (to, its) = (voter.node, *its);
    let is_starved = own.wait * 2 >= own.time;
    let own = own.time;
    let why = if is_starved { Why::Starved { own, its } } else { Why::Journal { own, its } };
    Some(HandOver { to, why })
}

impl Group {
    /// Begins or ends to judge, with the leadership of others.
    pub(crate) fn take_office(&mut self, shared: &Shared, now: Time) {
        let leads_others = self.role == Role::Leader && !self.roll.is_alone(shared.config.node);
        if leads_others != self.steward.has_office() {
            if leads_others { self.steward.begin(now) } else { self.steward.end() }
        }
    }

    /// Judges whether another node does better to lead, and hands over to it. The leader's to do.
    pub(crate) fn tend_leadership(&mut self, shared: &mut Shared, now: Time) {
        self.take_office(shared, now);
        if !self.steward.look(now) {
            return;
        }
        let sight = self.sight(shared);
        if let Some(HandOver { to, why }) = self.steward.judge(now, &sight) {
            match why {
                Why::Priority { .. } => shared.metrics.priority_hand_overs.inc(),
                Why::Journal { .. } | Why::Starved { .. } => shared.metrics.slow_hand_overs.inc(),
            };
            shared.news(News::HandOver { group: self.id, to, why });
            self.step(shared, now, Input::Transfer { to: replica_of(to) });
        }
    }

    fn sight(&self, shared: &Shared) -> Sight {
        let status = self.core.status();
        let members = &self.roll.members;
        let changes = self.roll.is_changing() || !status.is_settled || status.membership.is_joint();
        let fit = |node: NodeId| {
            let last = status.last.index.0;
            status.peers.iter().any(|peer| {
                let lag = last.saturating_sub(peer.matched.0);
                let keeps_up = peer.state == "replicate" && lag <= CAUGHT_UP_ENTRIES;
                node_of(peer.peer) == node && peer.active && keeps_up
            })
        };
        let is_other =
            |member: &&Member| member.part == Part::Voter && member.node != shared.config.node;
        let voters = members.list.iter().filter(is_other).map(|member| Voter {
            node: member.node,
            priority: member.priority,
            fit: fit(member.node),
        });
        Sight {
            may: self.ready && !changes && !shared.retiring,
            priority: self.priority_of(shared.config.node),
            voters: voters.collect(),
        }
    }

    /// A member's priority as leader.
    pub(crate) fn priority_of(&self, node: NodeId) -> u8 {
        let member = self.roll.members.find(node);
        member.map_or(Member::DEFAULT_PRIORITY, |member| member.priority)
    }

    /// A message from another replica says how far that one is.
    pub(crate) fn hear_progress(
        &mut self,
        from: ReplicaId,
        message: &consensus::Message,
        now: Time,
    ) {
        if self.steward.has_office()
            && let Some(index) = message.acknowledges()
        {
            self.steward.acknowledged(node_of(from), index, now);
        }
    }
}

#[cfg(test)]
mod tests;
