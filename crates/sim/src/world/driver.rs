//! The driver: hands to nodes what comes in, and carries out what they ask for, as the production
//! driver does.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::CallError;
use consensus::{Role, Time};
use journal::LogId;
use node::{Effect, Event, GROUP, News, PeerEnvelope, Ticket};
use wire::{Frame, FrameKind, Reader, Refusal, Reply, Request, split_frame};

use super::{Happening, ProcessStep, World};
use crate::ledger::Contradiction;
use crate::machine::{Caller, Process, Task};
use crate::words;

impl World {
    // What comes in.

    /// A frame from the network. What makes no sense is dropped, as a connection would be.
    pub(super) fn receive_peer(&mut self, to: usize, bytes: Bytes) {
        let size = bytes.len();
        let Some(Frame { kind: FrameKind::Peer, body, .. }) = unframe(bytes) else { return };
        let Ok(envelope) = PeerEnvelope::decode(&mut Reader::new(body)) else { return };
        if self.trace.keeps_lines() {
            let text = words::envelope(&envelope);
            self.line(&self.machines[to].id(), format_args!("<- {} {text}", envelope.from));
        }
        let limits = self.plan.inbox;
        if let Some(process) = &mut self.machines[to].process {
            process.inbox.message(Event::Peer(envelope), size, limits);
            self.plan_turn(to);
        }
    }

    pub(super) fn receive_request(&mut self, to: usize, client: usize, call: u64, bytes: Bytes) {
        let endpoint = self.endpoint_of(client);
        let Some(process) = &mut self.machines[to].process else {
            if self.net.passes(to, endpoint) {
                let error = CallError::NotSent { target: String::new(), why: "refused".into() };
                self.plan_news(Happening::CallFails { client, call, error });
            }
            return;
        };
        let frame = unframe(bytes).expect("clients send whole frames");
        let request = Request::decode(&mut Reader::new(frame.body)).expect("clients are of ours");
        process.next_ticket += 1;
        let ticket = Ticket(process.next_ticket);
        process.callers.insert(ticket, Caller { client, call });
        if !process.inbox.takes_request(self.plan.inbox) {
            let what = "too many requests are waiting for the node".to_owned();
            return self.reply(to, ticket, &Err(Refusal::Busy { what }));
        }
        process.inbox.request(Event::Request { ticket, request });
        self.plan_turn(to);
    }

    /// A client has closed its connection: nobody waits for the answer any more.
    pub(super) fn hung_up(&mut self, machine: usize, client: usize, call: u64) {
        let Some(process) = &mut self.machines[machine].process else { return };
        let waits = Caller { client, call };
        let ticket = process.callers.iter().find(|(_, caller)| **caller == waits);
        if let Some(ticket) = ticket.map(|(ticket, _)| *ticket) {
            process.callers.remove(&ticket);
            process.cancelled.insert(ticket);
            self.report(machine, Event::Cancel(ticket));
        }
    }

    pub(super) fn lose_peer(&mut self, machine: usize, peer: usize) {
        let peer = self.machines[peer].id();
        self.report(machine, Event::PeerLost(peer));
    }

    /// Something from the node's own threads.
    pub(super) fn report(&mut self, machine: usize, event: Event) {
        if let Some(process) = &mut self.machines[machine].process {
            process.report(event);
            self.plan_turn(machine);
        }
    }

    /// Plans something that somebody hears of over the network.
    pub(super) fn plan_news(&mut self, what: Happening) {
        let (low, high) = self.plan.latency;
        let after = self.rng.duration(low, high);
        self.plan_after(after, what);
    }

    fn plan_turn(&mut self, machine: usize) {
        let (low, high) = self.plan.turn;
        let (now, sloth) = (self.now, self.machines[machine].sloth);
        let process = self.process(machine);
        if !process.turns {
            process.turns = true;
            let after = process.rng.duration(low, high) * sloth;
            let after = after.max(process.busy_until.since(now));
            self.plan_step(machine, after, ProcessStep::Turn);
        }
    }

    pub(super) fn plan_step(&mut self, machine: usize, after: Duration, step: ProcessStep) {
        let life = self.machines[machine].life;
        self.plan_after(after, Happening::Process { machine, life, step });
    }

    pub(super) fn process(&mut self, machine: usize) -> &mut Process {
        self.machines[machine].process.as_mut().expect("only live processes do anything")
    }

    // Turns.

    pub(super) fn step_process(&mut self, machine: usize, life: u64, step: ProcessStep) {
        let this = &self.machines[machine];
        if this.life != life || !this.is_up() {
            return;
        }
        if this.is_paused(self.now) {
            // Nothing runs in a stopped process; all its threads go on later.
            return self.process(machine).postponed.push(step);
        }
        match step {
            ProcessStep::Turn => self.turn(machine),
            ProcessStep::Deadline => self.deadline(machine),
            ProcessStep::Sync => self.sync_journal(machine),
            ProcessStep::AppendAgain => self.append(machine),
            ProcessStep::Work => self.work(machine),
            ProcessStep::Task(task) => self.run_task(machine, task),
        }
    }

    /// What a machine's clock shows.
    pub(super) fn local_time(&self, machine: usize) -> Time {
        self.machines[machine].clock.at(self.now)
    }

    /// A machine's clock was touched: its deadlines come at other times now.
    pub(crate) fn clock_changed(&mut self, machine: usize) {
        if let Some(process) = &mut self.machines[machine].process {
            process.deadline = None;
            self.plan_deadline(machine);
        }
    }

    fn deadline(&mut self, machine: usize) {
        let now = self.local_time(machine);
        let process = self.process(machine);
        process.deadline = None;
        if process.node.deadline().is_some_and(|deadline| deadline <= now) {
            self.report(machine, Event::Tick);
        } else {
            self.plan_deadline(machine);
        }
    }

    fn plan_deadline(&mut self, machine: usize) {
        let (world, clock) = (self.now, self.machines[machine].clock);
        let process = self.process(machine);
        let Some(deadline) = process.node.deadline() else { return };
        if process.deadline.is_none_or(|planned| deadline < planned)
            && let Some(due) = clock.when(world, deadline)
        {
            process.deadline = Some(deadline.max(clock.at(world)));
            self.plan_step(machine, due.since(world), ProcessStep::Deadline);
        }
    }

    /// The node takes in some or all of what is waiting, and lets out what follows.
    fn turn(&mut self, machine: usize) {
        let (now, world) = (self.local_time(machine), self.now);
        let process = self.process(machine);
        process.turns = false;
        let waiting = process.inbox.len();
        let some = waiting > 1 && process.rng.chance(200);
        let taken = if some { 1 + process.rng.index(waiting) } else { waiting };
        for _ in 0..taken {
            if let Some(event) = process.inbox.next() {
                process.node.handle(now, event);
            }
        }
        let mut effects = std::mem::take(&mut process.effects);
        process.node.settle(now, &mut effects);
        let spent = self.machines[machine].turn_time(taken);
        self.process(machine).busy_until = world + spent;
        let (taken, led_to) = (taken as u64, effects.len() as u64);
        self.trace.mix(&[1, machine as u64, world.as_nanos(), taken, led_to]);
        self.check_bounds(machine);
        self.overhear(machine, &effects);
        for effect in effects.drain(..) {
            if self.survives(machine) {
                self.carry_out(machine, effect);
            }
            self.survives(machine);
        }
        let Some(process) = &mut self.machines[machine].process else { return };
        process.effects = effects;
        if process.inbox.len() > 0 {
            self.plan_turn(machine);
        }
        self.plan_deadline(machine);
    }

    /// What waits within a node is within the bounds that its configuration names, whatever is asked
    /// of it.
    fn check_bounds(&mut self, machine: usize) {
        let tuning = &self.plan.tuning;
        let (waiting_limit, bytes_limit) = (tuning.waiting_limit, tuning.inflight_limit_bytes);
        // One command is always taken, however large it is; and the node has one of its own.
        let bytes_limit = bytes_limit.max(tuning.command_limit_bytes) + 256;
        let metrics = self.process(machine).node.metrics();
        let (waiting, bytes) = (metrics.waiting_requests.get(), metrics.inflight_bytes.get());
        let id = self.machines[machine].id();
        if waiting > waiting_limit as u64 {
            let what = format!("{waiting} requests wait in {id}, which may hold {waiting_limit}");
            self.violate("bounded queues", what);
        }
        if bytes > bytes_limit as u64 {
            let what = format!("{bytes} bytes of commands are in {id}, of {bytes_limit} at most");
            self.violate("bounded queues", what);
        }
    }

    /// An answer may stand before the journal write that it need not wait for: the ledger hears of
    /// the write first. A fault hears of a new leader before anything of it goes out.
    fn overhear(&mut self, machine: usize, effects: &[Effect]) {
        let id = self.machines[machine].id();
        for effect in effects {
            if let Effect::News(News::Role { role: Role::Leader, .. }) = effect {
                self.tell_faults_of_leader(machine);
            }
            if let Effect::Journal { records, .. } = effect {
                let heard = self.ledger.journals(id, records);
                self.contradicted(heard);
            }
        }
    }

    // What goes out.

    fn carry_out(&mut self, machine: usize, effect: Effect) {
        if self.trace.keeps_lines() {
            let text = words::effect(&effect);
            self.line(&self.machines[machine].id(), format_args!("{text}"));
        }
        match effect {
            Effect::Send(envelope) => self.send_peer(machine, &envelope),
            Effect::Reply { ticket, answer } => self.reply(machine, ticket, &answer),
            Effect::Read { ticket, task } => self.plan_task(machine, Task::Read(ticket, task)),
            // What a password is made into is the driver's own affair, and this one leaves it as it is.
            Effect::Verify { ticket, task } => {
                let is_right = task.stored() == Some(task.password());
                self.reply(machine, ticket, &task.finish(is_right));
            }
            Effect::Scrub(task) => self.plan_task(machine, Task::Scrub(task)),
            Effect::ReadChunk(task) => self.plan_task(machine, Task::Chunk(task)),
            Effect::Journal { write, records } => self.queue_journal(machine, write, records),
            Effect::Work(job) => self.queue_job(machine, job),
            // Every machine's address is known here.
            Effect::Members(members) => self.set_up(&members),
            Effect::DamageRepaired => self.clear_damage(machine),
            Effect::News(news) => self.hear(machine, &news),
            Effect::Stop { why } => self.fails(machine, &why),
        }
    }

    fn send_peer(&mut self, machine: usize, envelope: &PeerEnvelope) {
        let bytes = Bytes::from(Frame::encode(FrameKind::Peer, 0, |out| envelope.encode(out)));
        // A number may have been given to a machine that does not exist.
        let Some(to) = self.machine_of(envelope.to) else { return };
        assert!(to != machine, "a node writes to its peers");
        self.trace.mix(&[2, machine as u64, to as u64, checksum(&bytes)]);
        self.old_mail.copy(to, envelope, &bytes);
        self.send(machine, to, bytes, |bytes| Happening::Peer { to, bytes });
    }

    /// An answer goes back to who asked, if that is still known.
    pub(super) fn reply(&mut self, machine: usize, ticket: Ticket, answer: &node::Answer) {
        if let Ok((header, _)) = answer {
            let id = self.machines[machine].id();
            let heard = self.ledger.applies(id, LogId(GROUP.0), header.applied);
            self.contradicted(heard);
            let heard = self.ledger.answers(id, header.applied, header.revision.0);
            self.contradicted(heard);
        }
        let process = self.process(machine);
        let Some(Caller { client, call }) = process.callers.remove(&ticket) else {
            if !process.cancelled.remove(&ticket) {
                let what = format!("ticket {} was answered twice", ticket.0);
                self.violate("one answer", what);
            }
            return;
        };
        let frame = Frame::encode(FrameKind::Answer, call, |out| Reply::encode_answer(answer, out));
        let bytes = Bytes::from(frame);
        self.trace.mix(&[3, machine as u64, client as u64, checksum(&bytes)]);
        let endpoint = self.endpoint_of(client);
        self.send(machine, endpoint, bytes, |bytes| Happening::Answer { client, call, bytes });
    }

    fn hear(&mut self, machine: usize, news: &News) {
        if let News::Role { group, role: Role::Leader, epoch, .. } = news {
            let heard = self.ledger.leads(*group, *epoch, self.machines[machine].id());
            self.contradicted(heard);
        }
    }

    pub(super) fn contradicted(&mut self, heard: Result<(), Contradiction>) {
        if let Err((check, what)) = heard {
            self.violate(check, what);
        }
    }
}

/// The frame that a message was put in.
pub(super) fn unframe(bytes: Bytes) -> Option<Frame> {
    let mut buffer = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    split_frame(&mut buffer).ok().flatten()
}

/// A frame's checksum and length: they stand at its head.
fn checksum(frame: &Bytes) -> u64 {
    let head: [u8; 8] = frame[..8].try_into().expect("a frame has a head");
    u64::from_le_bytes(head)
}
