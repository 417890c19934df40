//! The node's thread: takes in all that is waiting, settles once, carries the effects out.
//!
//! That is how proposals become batches and reads share a quorum round: nothing is waited for, and
//! what came while the last batch was worked on goes together.
//!
//! The node is one task of a runtime that has this thread alone. The connections to the other nodes are
//! tasks beside it: a message goes from the socket to the node, or from the node to the socket, without
//! waking a thread, and each wake saved is some 20 µs of a lone write. Between two batches all sockets
//! have their turn.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consensus::Time;
use engine::Job;
use node::{Effect, Event, News, Node, PeerEnvelope, ScrubTask, Ticket};
use tokio::runtime::Runtime;
use wire::{NodeId, Refusal, Reply, Request};

use super::answers::{Answers, Parcel, ReplyTo};
use super::clock::{self, Clock};
use super::journal_thread::Task;
use super::mailbox::{Batch, Mailbox};
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::passwords::Passwords;
use super::published::Published;
use super::queue::Queue;
use super::readers::Read;
use super::roster::Roster;
use super::stages::observe;
use super::{news, threads};
use crate::errors::Fault;

/// How old a published status may get while things happen.
const STATUS_AGE: Duration = Duration::from_millis(200);

/// Where effects go.
#[derive(Debug)]
pub(crate) struct Ports {
    /// To the disk.
    pub(crate) journal: Arc<Queue<Task>>,
    /// To the storage worker.
    pub(crate) jobs: Arc<Queue<Job>>,
    /// To the readers.
    pub(crate) reads: Arc<Queue<Read>>,
    /// To the thread that scrubs.
    pub(crate) scrubs: Arc<Queue<ScrubTask>>,
    /// To clients.
    pub(crate) answers: Answers,
    /// To the other nodes.
    pub(crate) roster: Arc<Roster>,
    /// To where passwords are compared.
    pub(crate) passwords: Passwords,
    /// To whoever looks.
    pub(crate) published: Arc<Published>,
}

/// How long a leader looks for an heir.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Starts the thread, which runs `runtime`. It ends when the mailbox is closed.
pub(crate) fn start(
    runtime: Runtime,
    node: Node,
    own: NodeId,
    clock: Clock,
    mailbox: Arc<Mailbox>,
    ports: Ports,
    metrics: Metrics,
) -> Result<JoinHandle<()>, Fault> {
    let driver = Driver {
        node,
        own,
        clock,
        mailbox,
        ports,
        metrics,
        outboxes: BTreeMap::new(),
        roster_version: 0,
        waiting: BTreeMap::new(),
        gathered: Parcel::default(),
        oldest: None,
        shown: None,
        stale: true,
        retired: None,
    };
    threads::start("node", move || {
        // As a task: to wake the future of `block_on` is a system call even from the same thread.
        if let Err(error) = runtime.block_on(async { tokio::spawn(driver.run()).await }) {
            resume_unwind(error.into_panic());
        }
        // A look-up of a peer's name may hang for long on a thread of its own; nobody waits for it.
        runtime.shutdown_background();
    })
}

/// Someone who waits for an answer.
struct Waiting {
    reply_to: ReplyTo,
    /// When a write was taken in.
    since: Option<Time>,
}

struct Driver {
    node: Node,
    own: NodeId,
    clock: Clock,
    mailbox: Arc<Mailbox>,
    ports: Ports,
    metrics: Metrics,
    /// What waits for each other node, as the roster of this version has it: a look-up in it locks.
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
    roster_version: u64,
    /// Who waits for which answer.
    waiting: BTreeMap<Ticket, Waiting>,
    /// For clients, of this batch.
    gathered: Parcel,
    /// When the oldest write that this batch answers was taken in.
    oldest: Option<Time>,
    /// When the status was last published.
    shown: Option<Time>,
    /// Something happened since then.
    stale: bool,
    /// Since when it takes no more work.
    retired: Option<Time>,
}

impl Driver {
    async fn run(mut self) {
        let mut batch = Batch::default();
        let mut effects = Vec::new();
        loop {
            self.mailbox.ready(self.patience()).await;
            self.mailbox.take(&mut batch);
            self.ports.published.busy();
            if batch.closed {
                return;
            }
            let begun = clock::instant();
            self.take_in(&mut batch);
            self.oldest = None;
            // Disk and network first: they work while the node applies what is committed.
            self.node.hand_on(self.clock.now(), &mut effects);
            self.carry_out(&mut effects);
            self.node.apply(self.clock.now(), &mut effects);
            self.carry_out(&mut effects);
            self.ports.answers.send(&mut self.gathered);
            self.publish();
            self.measure(begun, &batch);
            self.ports.published.idle();
        }
    }

    /// Tells what this batch took.
    fn measure(&self, begun: Instant, batch: &Batch) {
        let (ended, stages) = (clock::instant(), &self.metrics.stages);
        if let Some(since) = batch.since {
            observe(&stages.wait, begun.saturating_duration_since(since));
        }
        if let Some(synced) = batch.synced {
            observe(&stages.journal_return, begun.saturating_duration_since(synced));
        }
        observe(&stages.batch, ended - begun);
        if let Some(oldest) = self.oldest {
            observe(&stages.commit, self.clock.now().since(oldest));
        }
    }

    /// How long there is nothing to do, if nothing comes.
    fn patience(&self) -> Option<Duration> {
        let due = if self.stale { self.shown.map(|shown| shown + STATUS_AGE) } else { None };
        let next = [self.node.deadline(), due].into_iter().flatten().min()?;
        Some(next.since(self.clock.now()))
    }

    /// Completions first: they let out what waits for them. Cancellations last: what they cancel may have
    /// come with them.
    ///
    /// The clock is read when all of them have come, here and again before the node settles: where leaders serve
    /// reads by a lease, a read that came after a pause may not be judged by the time before it. A message from a
    /// leader has come before its receiver's lease for it begins, for the same reason.
    fn take_in(&mut self, batch: &mut Batch) {
        let now = self.clock.now();
        self.stale |=
            !(batch.events.is_empty() && batch.messages.is_empty() && batch.requests.is_empty());
        if self.node.deadline().is_some_and(|deadline| deadline <= now) {
            self.stale = true;
            self.node.handle(now, Event::Tick);
        }
        let mut cancelled = Vec::new();
        for event in batch.events.drain(..) {
            if let Event::Cancel(ticket) = event {
                cancelled.push(ticket);
                continue;
            }
            if matches!(event, Event::Retire) {
                self.retired = Some(now);
            }
            self.node.handle(now, event);
        }
        for message in batch.messages.drain(..) {
            self.node.handle(now, Event::Peer(message));
        }
        for incoming in batch.requests.drain(..) {
            let since = matches!(incoming.request, Request::Write(_)).then_some(now);
            let waiting = Waiting { reply_to: incoming.reply_to, since };
            let replaced = self.waiting.insert(incoming.ticket, waiting);
            assert!(replaced.is_none(), "a ticket is never used twice");
            let (ticket, request) = (incoming.ticket, incoming.request);
            self.node.handle(now, Event::Request { ticket, request });
        }
        for ticket in cancelled {
            self.waiting.remove(&ticket);
            self.node.handle(now, Event::Cancel(ticket));
        }
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        // Whoever hears of what came after a change of rights can know of the change.
        self.ports.published.set_guarding(self.node.guarding());
        let version = self.ports.roster.version();
        if self.roster_version != version {
            self.roster_version = version;
            self.outboxes.clear();
        }
        for effect in effects.drain(..) {
            self.carry_out_one(effect);
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send(message) => {
                if !self.send(message) {
                    self.metrics.peer_dropped.inc();
                }
            }
            Effect::Members(members) => {
                self.ports.roster.set(members);
                self.outboxes.clear();
                self.shown = None;
            }
            // Of a cancelled request nobody wants to know.
            Effect::Reply { ticket, mut answer } => {
                if let Ok((_, Reply::Status(status))) = &mut answer {
                    self.ports.published.add_trouble(status);
                }
                if let Some(Waiting { reply_to, since }) = self.waiting.remove(&ticket) {
                    self.oldest = self.oldest.or(since);
                    self.gathered.push((reply_to, answer));
                }
            }
            Effect::Read { ticket, task } => {
                if let Some(Waiting { reply_to, .. }) = self.waiting.remove(&ticket) {
                    self.ports.reads.push(Read::Answer { reply_to, task });
                }
            }
            Effect::Verify { ticket, task } => {
                if let Some(Waiting { reply_to, .. }) = self.waiting.remove(&ticket) {
                    let refused = self.ports.passwords.verify(reply_to, task);
                    self.gathered.extend(refused);
                }
            }
            Effect::ReadChunk(task) => self.ports.reads.push(Read::Chunk(task)),
            Effect::Scrub(task) => self.ports.scrubs.push(task),
            Effect::Journal { write, records } => {
                let since = clock::instant();
                self.ports.journal.push(Task::Write { write, records, since });
            }
            Effect::Work(job) => self.ports.jobs.push(job),
            Effect::DamageRepaired => self.ports.journal.push(Task::ClearDamage),
            Effect::News(event) => {
                news::log(self.own, &event);
                if let News::Role { leader, .. } = event {
                    self.ports.published.set_leader(leader);
                }
                self.shown = None;
            }
            Effect::Stop { why } => Fault::Stopped { why }.end_process(),
        }
    }

    /// Puts a message where it waits for its node; `false` if it was dropped. Who has left, or has not
    /// come yet, may still be answered by a node that does not know.
    fn send(&mut self, message: PeerEnvelope) -> bool {
        let to = message.to;
        if let Some(outbox) = self.outboxes.get(&to) {
            return outbox.push(message);
        }
        let Some(outbox) = self.ports.roster.outbox(to) else { return false };
        let pushed = outbox.push(message);
        self.outboxes.insert(to, outbox);
        pushed
    }

    fn publish(&mut self) {
        let now = self.clock.now();
        if self.retired.is_some_and(|since| self.has_finished(now.since(since))) {
            self.ports.published.set_quiet();
        }
        let fresh = self.shown.is_some_and(|shown| now.since(shown) < STATUS_AGE);
        if self.stale && !fresh {
            self.ports.published.show(self.node.status());
            self.shown = Some(now);
            self.stale = false;
        }
    }

    /// Whether the process may end. When all nodes end together, the last leader finds no heir; it
    /// then only has to have answered.
    fn has_finished(&self, retired_for: Duration) -> bool {
        let answered = self.node.metrics().inflight_bytes.get() == 0;
        self.node.is_quiet() || (answered && retired_for >= HAND_OVER)
    }
}

impl Drop for Driver {
    /// Whoever still waits is told that nobody will answer.
    fn drop(&mut self) {
        let why = "the node stopped".to_owned();
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            self.gathered.push((waiting.reply_to, Err(Refusal::Unanswered { why: why.clone() })));
        }
        self.ports.answers.send(&mut self.gathered);
    }
}
