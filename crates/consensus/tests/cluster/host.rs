//! One replica's host: a disk that writes late, a state machine, and the barrier contract kept
//! to the letter.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use consensus::{
    Config, Durable, Entry, Epoch, HardState, Input, LogIndex, Membership, Message, News, Output,
    Payload, PersistId, Position, ReadId, Replica, ReplicaId, Restored, Role, Time,
};

/// What a step gave that concerns more than its own host.
pub(crate) enum Event {
    Send { to: ReplicaId, message: Message },
    Applied { entries: Vec<Entry> },
    Served { reads: Vec<ReadId>, at: LogIndex },
    Accepted,
    Refused { reads: Vec<ReadId> },
    Leads { epoch: Epoch },
    Ready { epoch: Epoch },
    Fetch { from: ReplicaId, at_least: Position },
    DoubtResolved,
}

/// What a disk's writes add up to.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) base: Position,
    pub(crate) membership: Option<Arc<Membership>>,
    pub(crate) entries: Vec<Entry>,
}

impl Disk {
    pub(crate) fn write(&mut self, durable: &Durable) {
        if let Some(hard_state) = durable.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(base) = durable.base {
            self.rebase(base);
        }
        if durable.membership.is_some() {
            self.membership.clone_from(&durable.membership);
        }
        if let Some(first) = durable.entries.first() {
            let keep = first.position.index.0 - self.base.index.0 - 1;
            let keep = usize::try_from(keep).expect("small");
            assert!(keep <= self.entries.len(), "a write leaves no gap");
            self.entries.truncate(keep);
            self.entries.extend(durable.entries.iter().cloned());
        }
    }

    /// Whether the log holds this value, or begins after it.
    pub(crate) fn covers(&self, protocol: Protocol, position: Position) -> bool {
        position.index <= self.base.index || {
            let held = self.entries.iter().map(protocol.read);
            held.filter(|held| held.accepted.is_some()).any(|held| held.value.position == position)
        }
    }

    fn rebase(&mut self, base: Position) {
        if self.entries.iter().any(|entry| entry.position == base) {
            self.entries.retain(|entry| entry.position.index > base.index);
        } else if self.base != base {
            self.entries.clear();
        }
        self.base = base;
    }
}

/// All entries applied so far, without their bytes' meaning.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Machine {
    pub(crate) applied: Vec<(Position, Payload)>,
}

impl Machine {
    pub(crate) fn position(&self) -> Position {
        self.applied.last().map_or_else(Position::default, |(position, _)| *position)
    }

    /// The last membership among what was applied.
    pub(crate) fn membership(&self) -> Option<&Arc<Membership>> {
        self.applied.iter().rev().find_map(|(_, payload)| match payload {
            Payload::Membership(membership) => Some(membership),
            Payload::Noop | Payload::Command(_) => None,
        })
    }
}

/// A replica that can be copied and told from others.
pub(crate) trait Subject: Replica {
    fn copy(&self) -> Box<dyn Subject>;
    fn hash_into(&self, hasher: &mut dyn Hasher);
}

impl<R: Replica + Clone + Hash + 'static> Subject for R {
    fn copy(&self) -> Box<dyn Subject> {
        Box::new(self.clone())
    }

    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

impl Clone for Box<dyn Subject> {
    fn clone(&self) -> Self {
        (**self).copy()
    }
}

/// The protocol under test.
#[derive(Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) name: consensus::Protocol,
    /// Makes a replica of it.
    pub(crate) make: fn(Config, Restored, Time) -> Box<dyn Subject>,
    /// What an entry on its disk says.
    pub(crate) read: fn(&Entry) -> Held,
    /// Whether logs that agree at one position agree at all before it.
    pub(crate) logs_match: bool,
    /// Whether a witness may have to lead.
    pub(crate) witnesses_lead: bool,
    /// Whether quorums may be drawn that are no majorities.
    pub(crate) flexible: bool,
}

/// What a replica holds in a place of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Under whose leadership it came here; none if nothing did.
    pub(crate) accepted: Option<Epoch>,
    /// The entry by the name that all replicas have for it.
    pub(crate) value: Entry,
}

#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) replica: Box<dyn Subject>,
    protocol: Protocol,
    config: Config,
    /// The membership with which the group began.
    first: Arc<Membership>,
    /// All that ever reached the disk.
    history: Vec<Durable>,
    pub(crate) disk: Disk,
    /// Writes asked for that are not on disk yet.
    queue: VecDeque<Durable>,
    durable: PersistId,
    /// Sends that wait for a write.
    held: Vec<(PersistId, ReplicaId, Message)>,
    pub(crate) machine: Machine,
    /// The durable image of the machine.
    image: Machine,
    /// Whether it keeps the log alone, and what it was handed of that last.
    witness: Option<Position>,
    pub(crate) in_doubt: bool,
}

impl Host {
    pub(crate) fn new(protocol: Protocol, config: Config, now: Time) -> Self {
        let witness = config.witnesses.contains(&config.id).then(Position::default);
        Self {
            replica: (protocol.make)(config.clone(), Restored::default(), now),
            protocol,
            first: Arc::new(config.first_membership()),
            config,
            history: Vec::new(),
            disk: Disk::default(),
            queue: VecDeque::new(),
            durable: PersistId(0),
            held: Vec::new(),
            machine: Machine::default(),
            image: Machine::default(),
            witness,
            in_doubt: false,
        }
    }

    /// How far it has applied its log; a witness, how far it was handed it.
    pub(crate) fn applied(&self) -> LogIndex {
        self.witness.unwrap_or_else(|| self.machine.position()).index
    }

    /// The log as the replica sees it: the disk with all that is still on its way.
    pub(crate) fn log_in_memory(&self) -> Disk {
        let mut log = self.disk.clone();
        self.queue.iter().for_each(|durable| log.write(durable));
        log
    }

    pub(crate) fn step(&mut self, now: Time, input: Input, events: &mut Vec<Event>) {
        let mut out = Vec::new();
        self.replica.step(now, input, &mut out);
        let mut barrier = PersistId(0);
        for output in out {
            match output {
                Output::Persist(durable) => {
                    barrier = barrier.max(durable.id);
                    self.queue.push_back(durable);
                }
                Output::Await(id) => barrier = barrier.max(id),
                Output::Send { to, message } if barrier <= self.durable => {
                    events.push(Event::Send { to, message });
                }
                Output::Send { to, message } => self.held.push((barrier, to, message)),
                Output::Apply(entries) => self.apply(entries, events),
                Output::Serve { reads, at } => events.push(Event::Served { reads, at }),
                Output::Refused { reads, .. } => events.push(Event::Refused { reads }),
                Output::FetchSnapshot { from, at_least } => {
                    events.push(Event::Fetch { from, at_least });
                }
                Output::News(news) => self.news(&news, events),
                Output::Accepted(_) => events.push(Event::Accepted),
                Output::Members(_) => {}
            }
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, events: &mut Vec<Event>) {
        if let Some(position) = &mut self.witness {
            let first = entries.first().map_or(LogIndex(0), |entry| entry.position.index);
            assert!(first > position.index, "a witness is handed nothing twice");
            *position = entries.last().map_or(*position, |entry| entry.position);
            return events.push(Event::Applied { entries });
        }
        for entry in &entries {
            let last = self.machine.position();
            assert_eq!(entry.position.index, last.index.next(), "applied without a gap");
            self.machine.applied.push((entry.position, entry.payload.clone()));
        }
        events.push(Event::Applied { entries });
    }

    fn news(&mut self, news: &News, events: &mut Vec<Event>) {
        match news {
            News::Role { role: Role::Leader, epoch, .. } => {
                events.push(Event::Leads { epoch: *epoch });
            }
            News::LeaderReady { epoch } => events.push(Event::Ready { epoch: *epoch }),
            News::DoubtResolved => {
                self.in_doubt = false;
                events.push(Event::DoubtResolved);
            }
            News::Dropped { reason, .. } => {
                panic!("a correct replica's message was dropped: {reason}")
            }
            News::Role { .. } | News::Truncated { .. } => {}
        }
    }

    /// Writes the next `count` queued writes and reports the last of them.
    pub(crate) fn flush(&mut self, now: Time, count: usize, events: &mut Vec<Event>) {
        for _ in 0..count {
            let Some(durable) = self.queue.pop_front() else { break };
            self.durable = durable.id;
            self.disk.write(&durable);
            self.history.push(durable);
        }
        let (ready, held) = self.held.drain(..).partition(|(id, _, _)| *id <= self.durable);
        self.held = held;
        let ready: Vec<_> = ready;
        events.extend(ready.into_iter().map(|(_, to, message)| Event::Send { to, message }));
        self.step(now, Input::Persisted(self.durable), events);
    }

    /// How many writes were asked for that are not on disk yet.
    pub(crate) fn writes_under_way(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn checkpoint(&mut self, now: Time, events: &mut Vec<Event>) {
        self.image = self.machine.clone();
        let through = self.applied();
        self.step(now, Input::Checkpointed { through }, events);
    }

    /// Installs another host's image, if it is further than ours.
    pub(crate) fn install(&mut self, now: Time, image: &Machine, events: &mut Vec<Event>) {
        let position = image.position();
        if position.index <= self.machine.position().index {
            return self.step(now, Input::SnapshotFailed, events);
        }
        self.machine = image.clone();
        self.image = image.clone();
        let membership = image.membership().unwrap_or(&self.first).clone();
        self.step(now, Input::SnapshotInstalled { position, membership }, events);
    }

    /// Stops without notice: of the queued writes some may have reached the disk unreported.
    pub(crate) fn crash(&mut self, lucky_writes: usize) {
        for _ in 0..lucky_writes.min(self.queue.len()) {
            let durable = self.queue.pop_front().expect("counted");
            self.disk.write(&durable);
            self.history.push(durable);
        }
        self.queue.clear();
        self.held.clear();
        self.machine = self.image.clone();
        // Its log begins where it has nothing else to know.
        self.witness = self.witness.map(|_| self.disk.base);
    }

    /// Loses the last writes of its journal, and knows that it did.
    pub(crate) fn damage(&mut self, lost_writes: usize) {
        self.history.truncate(self.history.len().saturating_sub(lost_writes));
        self.disk = Disk::default();
        self.history.iter().for_each(|durable| self.disk.write(durable));
        self.in_doubt = true;
    }

    pub(crate) fn restart(&mut self, now: Time, seed: u64) {
        self.config.seed = seed;
        self.durable = PersistId(0);
        let (config, restored) = self.restored();
        self.witness = self.witness.map(|_| restored.applied);
        self.replica = (self.protocol.make)(config, restored, now);
    }

    /// What its next life begins with.
    pub(crate) fn restored(&self) -> (Config, Restored) {
        let Disk { hard_state, base, membership, entries } = self.disk.clone();
        let applied = self.witness.map_or_else(|| self.image.position(), |_| self.disk.base);
        let in_doubt = self.in_doubt;
        let image = self.image.membership().cloned();
        let restored = Restored { hard_state, base, membership, entries, applied, image, in_doubt };
        (self.config.clone(), restored)
    }
}

/// All that its future depends on; what its disk once held is left out.
impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.replica.hash_into(state);
        (&self.disk, &self.queue, self.durable, &self.held).hash(state);
        (&self.machine, &self.image, self.witness, self.in_doubt).hash(state);
    }
}
