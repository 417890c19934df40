//! One state of the model: three hosts, what is under way between them, and what may still go wrong.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Config, Input, Message, ProposalId, ReadId, ReplicaId, Role, Status, Time};

use super::Bounds;
use super::digest::{CLOCK_START, Digest};
use crate::checks::Checks;
use crate::host::{Disk, Event, Host, Protocol};

const ELECTION_TIMEOUT: Duration = Duration::from_millis(600);

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The oldest message arrives.
    Deliver,
    /// The oldest message is held back. It arrives at any later time, or never.
    Delay,
    /// The oldest message arrives, and may come once more.
    Double,
    /// One of those that were held back arrives.
    Late(u8),
    /// Time passes until this replica's timer runs out.
    Timeout(ReplicaId),
    /// This replica is cut off: all that is on its way to it or from it is lost.
    Cut(ReplicaId),
    Heal,
    /// All writes of this replica reach the disk.
    Sync(ReplicaId),
    /// The process ends and starts again; so many of its writes under way had reached the disk.
    Crash(ReplicaId, u8),
    Propose(ReplicaId),
    Read(ReplicaId),
}

/// An act, and whether the disk stalls at what it makes its replica write: nothing more reaches the disk
/// until [`Act::Sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) act: Act,
    pub(super) stalls: bool,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Letter {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    pub(super) message: Message,
}

#[derive(Clone)]
pub(super) struct World {
    protocol: Protocol,
    hosts: Vec<Rc<Host>>,
    now: Time,
    /// What is under way, in the order in which it was sent.
    queue: VecDeque<Rc<Letter>>,
    /// What was held back.
    late: Vec<Rc<Letter>>,
    cut: Option<ReplicaId>,
    checks: Rc<Checks>,
    /// What may still happen.
    left: Bounds,
    lives: u64,
}

impl World {
    /// A group of three that was just started.
    pub(super) fn new(protocol: Protocol, bounds: Bounds, adjust: impl Fn(&mut Config)) -> Self {
        let voters: BTreeSet<_> = (1..=3).map(ReplicaId).collect();
        let now = Time::from_nanos(CLOCK_START);
        let host = |id: &ReplicaId| {
            let mut config = Config::new(*id, voters.clone(), 0);
            config.election_timeout = ELECTION_TIMEOUT;
            // One entry in a message, so that a follower may have one and not the next.
            config.max_append_bytes = 1;
            adjust(&mut config);
            Rc::new(Host::new(protocol, config, now))
        };
        let mut world = Self {
            protocol,
            hosts: voters.iter().map(host).collect(),
            now,
            queue: VecDeque::new(),
            late: Vec::new(),
            cut: None,
            checks: Rc::default(),
            left: bounds,
            lives: 0,
        };
        for id in voters {
            world.step(id, Input::Tick, false);
        }
        world
    }

    pub(super) fn digest(&self) -> u128 {
        let mut digest = Digest::new(self.now, ELECTION_TIMEOUT);
        for host in &self.hosts {
            digest.add(host);
        }
        digest.add(&(&self.queue, &self.late, self.cut, &self.checks, self.left, self.lives));
        digest.finish()
    }

    /// All that can happen in this world.
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut acts = Vec::new();
        let left = &self.left;
        if !self.queue.is_empty() {
            acts.push(Act::Deliver);
            if left.allows(left.delays) {
                acts.push(Act::Delay);
            }
            if left.allows(left.doubles) {
                acts.push(Act::Double);
            }
        }
        acts.extend((0..self.late.len()).map(|at| Act::Late(u8::try_from(at).expect("few"))));
        // While messages arrive no time passes, and clients wait: see the header of `model`.
        let is_quiet = self.queue.is_empty();
        if is_quiet && self.cut.is_some() {
            acts.push(Act::Heal);
        }
        for host in &self.hosts {
            self.moves_of(host, is_quiet, &mut acts);
        }
        let may_stall = left.allows(left.stalls);
        let with_disk = |act: Act| {
            let stalls = may_stall && act.steps();
            [Some(Move { act, stalls: false }), stalls.then_some(Move { act, stalls: true })]
        };
        acts.into_iter().flat_map(with_disk).flatten().collect()
    }

    fn moves_of(&self, host: &Host, is_quiet: bool, acts: &mut Vec<Act>) {
        let left = &self.left;
        let Status { id, role, .. } = host.replica.status();
        if is_quiet && left.timeouts > 0 && host.replica.deadline().is_some() {
            acts.push(Act::Timeout(id));
        }
        if self.cut != Some(id) && left.allows(left.cuts) {
            acts.push(Act::Cut(id));
        }
        let writes = u8::try_from(host.writes_under_way()).expect("few");
        if writes > 0 {
            acts.push(Act::Sync(id));
        }
        if left.allows(left.crashes) {
            acts.extend((0..=writes).map(|lucky| Act::Crash(id, lucky)));
        }
        if is_quiet && role == Role::Leader {
            acts.extend((left.commands > 0).then_some(Act::Propose(id)));
            acts.extend((left.reads > 0).then_some(Act::Read(id)));
        }
    }

    /// The world after this move; none if its disk had nothing to stall at.
    ///
    /// # Panics
    ///
    /// When something does not hold that must.
    pub(super) fn after(&self, Move { act, stalls }: Move) -> Option<Self> {
        let mut world = self.clone();
        world.left.spend(act, stalls);
        let stalled = world.act(act, stalls);
        (stalled || !stalls).then_some(world)
    }

    fn act(&mut self, act: Act, stalls: bool) -> bool {
        match act {
            Act::Deliver => {
                let letter = self.queue.pop_front().expect("one is under way");
                return self.deliver(&letter, stalls);
            }
            Act::Delay => self.late.extend(self.queue.pop_front()),
            Act::Double => {
                let letter = self.queue.pop_front().expect("one is under way");
                self.late.push(Rc::clone(&letter));
                return self.deliver(&letter, stalls);
            }
            Act::Late(at) => {
                let letter = self.late.remove(usize::from(at));
                return self.deliver(&letter, stalls);
            }
            Act::Timeout(id) => {
                let deadline = self.host(id).replica.deadline().expect("it has a timer");
                self.now = self.now.max(deadline);
                return self.step(id, Input::Tick, stalls);
            }
            Act::Cut(id) => {
                self.cut = Some(id);
                self.queue.retain(|letter| letter.from != id && letter.to != id);
            }
            Act::Heal => self.cut = None,
            Act::Sync(id) => self.sync(id),
            Act::Crash(id, lucky) => {
                self.lives += 1;
                let (now, seed) = (self.now, self.lives);
                let host = self.host_mut(id);
                host.crash(usize::from(lucky));
                host.restart(now, seed);
                return self.step(id, Input::Tick, stalls);
            }
            Act::Propose(id) => {
                let number = u64::from(self.left.commands);
                let bytes = Bytes::copy_from_slice(&[b'a' + self.left.commands]);
                return self.step(id, Input::Propose(vec![(ProposalId(number), bytes)]), stalls);
            }
            Act::Read(id) => {
                let read = ReadId(u64::from(self.left.reads));
                Rc::make_mut(&mut self.checks).read_begins(read);
                return self.step(id, Input::Read(vec![read]), stalls);
            }
        }
        false
    }

    fn deliver(&mut self, letter: &Letter, stalls: bool) -> bool {
        let Letter { from, to, message } = letter.clone();
        self.step(to, Input::Receive { from, message }, stalls)
    }

    /// Lets a replica take in an input. Unless its disk stalls, all that it writes is on disk at once.
    /// Tells whether the disk stalls now and did not before.
    fn step(&mut self, id: ReplicaId, input: Input, stalls: bool) -> bool {
        let now = self.now;
        let stalled_before = self.host(id).writes_under_way() > 0;
        let mut events = Vec::new();
        self.host_mut(id).step(now, input, &mut events);
        self.take(id, events);
        if !stalls && !stalled_before {
            self.sync(id);
        }
        !stalled_before && self.host(id).writes_under_way() > 0
    }

    fn sync(&mut self, id: ReplicaId) {
        let now = self.now;
        while self.host(id).writes_under_way() > 0 {
            let mut events = Vec::new();
            self.host_mut(id).flush(now, usize::MAX, &mut events);
            self.take(id, events);
        }
    }

    fn take(&mut self, id: ReplicaId, events: Vec<Event>) {
        for event in events {
            let host = Rc::clone(&self.hosts[offset(id)]);
            match event {
                Event::Send { to, message } => {
                    if self.cut != Some(id) && self.cut != Some(to) {
                        self.queue.push_back(Rc::new(Letter { from: id, to, message }));
                    }
                }
                Event::Applied { entries } => {
                    let epoch = host.replica.status().epoch;
                    self.checks_mut().applied(id, epoch, &entries);
                }
                Event::Served { reads, at } => self.checks_mut().served(&reads, at),
                Event::Refused { reads } => self.checks_mut().refused(&reads),
                Event::Leads { epoch } => {
                    let (protocol, log) = (self.protocol, host.log_in_memory());
                    self.checks_mut().leads(protocol, id, epoch, &log);
                }
                Event::Ready { epoch } => {
                    self.checks_mut().ready(epoch, host.machine.position().index);
                }
                Event::Fetch { .. } => unreachable!("nothing is compacted here"),
                Event::Accepted => {}
                Event::DoubtResolved => unreachable!("no journal is damaged here"),
            }
        }
    }

    /// What must hold between the logs of every world.
    pub(super) fn check(&self) {
        let logs: Vec<Disk> = self.hosts.iter().map(|host| host.log_in_memory()).collect();
        Checks::logs_match(self.protocol, &logs);
    }

    pub(super) fn statuses(&self) -> Vec<Status> {
        self.hosts.iter().map(|host| host.replica.status()).collect()
    }

    /// The letter that an act brings or holds back.
    pub(super) fn letter(&self, act: Act) -> Option<&Letter> {
        match act {
            Act::Deliver | Act::Delay | Act::Double => self.queue.front().map(Rc::as_ref),
            Act::Late(at) => self.late.get(usize::from(at)).map(Rc::as_ref),
            Act::Timeout(_)
            | Act::Cut(_)
            | Act::Heal
            | Act::Sync(_)
            | Act::Crash(..)
            | Act::Propose(_)
            | Act::Read(_) => None,
        }
    }

    fn checks_mut(&mut self) -> &mut Checks {
        Rc::make_mut(&mut self.checks)
    }

    fn host(&self, id: ReplicaId) -> &Host {
        &self.hosts[offset(id)]
    }

    fn host_mut(&mut self, id: ReplicaId) -> &mut Host {
        Rc::make_mut(&mut self.hosts[offset(id)])
    }
}

impl Act {
    /// Whether it makes a replica take in something, so that it may write.
    fn steps(self) -> bool {
        match self {
            Self::Deliver
            | Self::Double
            | Self::Late(_)
            | Self::Timeout(_)
            | Self::Crash(..)
            | Self::Propose(_) => true,
            Self::Delay | Self::Cut(_) | Self::Heal | Self::Sync(_) | Self::Read(_) => false,
        }
    }
}

impl Bounds {
    fn allows(&self, of_this_kind: u8) -> bool {
        self.faults > 0 && of_this_kind > 0
    }

    fn spend(&mut self, act: Act, stalls: bool) {
        match act {
            Act::Delay => fault(&mut self.delays, &mut self.faults),
            Act::Double => fault(&mut self.doubles, &mut self.faults),
            Act::Cut(_) => fault(&mut self.cuts, &mut self.faults),
            Act::Crash(..) => fault(&mut self.crashes, &mut self.faults),
            Act::Timeout(_) => self.timeouts -= 1,
            Act::Propose(_) => self.commands -= 1,
            Act::Read(_) => self.reads -= 1,
            Act::Deliver | Act::Late(_) | Act::Heal | Act::Sync(_) => {}
        }
        if stalls && self.faults > 0 {
            fault(&mut self.stalls, &mut self.faults);
        }
    }
}

fn fault(of_this_kind: &mut u8, of_all: &mut u8) {
    *of_this_kind -= 1;
    *of_all -= 1;
}

fn offset(id: ReplicaId) -> usize {
    usize::try_from(id.0 - 1).expect("small")
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.act {
            Act::Deliver => f.write_str("arrives")?,
            Act::Delay => f.write_str("is held back")?,
            Act::Double => f.write_str("arrives, and may come again")?,
            Act::Late(_) => f.write_str("arrives late")?,
            Act::Timeout(id) => write!(f, "{id}: its timer runs out")?,
            Act::Cut(id) => write!(f, "{id} is cut off")?,
            Act::Heal => f.write_str("nobody is cut off any more")?,
            Act::Sync(id) => write!(f, "{id}: its writes reach the disk")?,
            Act::Crash(id, 0) => write!(f, "{id} crashes and starts again")?,
            Act::Crash(id, lucky) => write!(f, "{id} crashes, {lucky} writes done, starts again")?,
            Act::Propose(id) => write!(f, "{id}: a client proposes")?,
            Act::Read(id) => write!(f, "{id}: a client reads")?,
        }
        if self.stalls { f.write_str("; its disk stalls") } else { Ok(()) }
    }
}
