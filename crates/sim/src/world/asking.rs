//! The clients' side of the network.

use std::time::Duration;

use bytes::Bytes;
use client::{CallError, Next};
use wire::{Frame, FrameKind, NodeId, Reader, Reply};

use super::driver::unframe;
use super::{Happening, World};
use crate::clients::{Current, outcome_of};
use crate::history::{Action, Outcome, Seen};

/// How often a client connects anew to do what the referee wants done.
pub(crate) const MOST_RENEWALS: u32 = 5;

/// How much longer it waits each time.
const RENEWAL_PAUSE: Duration = Duration::from_millis(100);

/// Whether a write was refused because the memory of requests does not reach back far enough.
pub(crate) fn is_expired(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown(why) if why == "expired")
}

/// How long a lease lives that was just granted or kept alive.
fn lives_for(action: &Action, outcome: &Outcome) -> Option<Duration> {
    match (action, outcome) {
        (Action::Grant { ttl_ms, .. }, Outcome::Done(..)) => Some(Duration::from_millis(*ttl_ms)),
        (Action::KeepAlive { .. }, Outcome::Done(_, Seen::Lease(status))) => {
            Some(Duration::from_millis(status.ttl_ms))
        }
        _ => None,
    }
}

impl World {
    pub(super) fn client_wakes(&mut self, client: usize, turn: u64) {
        if self.clients[client].wakes != turn {
            return;
        }
        if self.clients[client].current.is_some() {
            self.go_on(client);
        } else {
            self.begin(client);
        }
    }

    fn plan_wake(&mut self, client: usize, after: Duration) {
        let this = &mut self.clients[client];
        this.wakes += 1;
        let turn = this.wakes;
        self.plan_after(after, Happening::ClientWakes { client, turn });
    }

    /// Wakes a client that may have nothing to do any more.
    pub(crate) fn wake(&mut self, client: usize) {
        if self.clients[client].current.is_none() {
            self.plan_wake(client, Duration::ZERO);
        }
    }

    fn begin(&mut self, client: usize) {
        if !self.meets_cluster(client) {
            return self.plan_wake(client, Duration::from_millis(20));
        }
        let limit = self.patience_of(client);
        let now = self.now;
        let this = &mut self.clients[client];
        let Some((action, wait)) = this.choose(now) else { return };

        let principal = this.principal();
        let (request, kind) = this.request(&action, principal.clone(), wait);
        let attempt = this.attempt(&request, kind, limit, wait);
        if self.trace.keeps_lines() {
            let text = crate::words::request(&request);
            self.line(&format_args!("c{client}"), format_args!("begins {text}"));
        }
        let name = u32::try_from(client).expect("few clients");
        let op = self.history.begin((name, principal), action.clone(), self.now);
        let request = Frame::encode(FrameKind::Request, 0, |out| request.encode(out)).into();
        let began = self.now;
        let current = Current { op, action, request, attempt, began, call: None, doubled: false };
        self.clients[client].current = Some(current);
        self.go_on(client);
    }

    fn patience_of(&self, client: usize) -> Duration {
        if self.clients[client].obedient {
            crate::run::QUIESCE
        } else if client >= self.plan.clients {
            self.plan.crowd_patience
        } else {
            self.plan.patience
        }
    }

    /// A client that connects learns how far the node that it reaches has come. One that knew too
    /// little to write with asks the leader instead, as [`client::Client`] does: of those that it
    /// reaches, the one that has come furthest.
    fn meets_cluster(&mut self, client: usize) -> bool {
        if self.clients[client].since.is_some() {
            return true;
        }
        let endpoint = self.endpoint_of(client);
        let mut reached = self.machines.iter().filter_map(|machine| {
            let reached = self.net.passes(endpoint, machine.index)
                && self.net.passes(machine.index, endpoint)
                && !machine.is_paused(self.now);
            let process = machine.process.as_ref().filter(|_| reached)?;
            Some(process.node.status().applied)
        });
        let met = if self.clients[client].outdated { reached.max() } else { reached.next() };
        self.clients[client].since = met;
        met.is_some()
    }

    /// Does what the client's attempt says, until there is something to wait for.
    fn go_on(&mut self, client: usize) {
        let now = self.now;
        let this = &mut self.clients[client];
        let Some(current) = &mut this.current else { return };
        assert!(current.call.is_none(), "a client asks one question at a time");
        match current.attempt.next(now.since(current.began)) {
            Next::Ask(node, patience) => {
                this.calls += 1;
                let call = this.calls;
                current.call = Some((call, node));
                let request = current.request.clone();
                self.ask(client, call, node, request, patience);
            }
            Next::Wait(pause) => self.plan_wake(client, pause),
            Next::GiveUp(error) => self.end(client, Err(error)),
        }
    }

    fn ask(&mut self, client: usize, call: u64, node: NodeId, bytes: Bytes, patience: Duration) {
        let to = usize::try_from(node.0).expect("few nodes") - 1;
        let endpoint = self.endpoint_of(client);
        let error = CallError::Lost { target: String::new(), why: "no answer in time".into() };
        self.plan_after(patience, Happening::CallFails { client, call, error });
        if self.stormy && self.net.asks_twice(self.machines.len()) {
            // A program that repeats a request elsewhere before the first try has ended.
            let other = self.clients[client].rng.index(self.machines.len());
            if let Some(current) = &mut self.clients[client].current {
                current.doubled = true;
            }
            let copy = bytes.clone();
            self.send_request(endpoint, other, client, 0, copy);
        }
        self.send_request(endpoint, to, client, call, bytes);
    }

    fn send_request(&mut self, from: usize, to: usize, client: usize, call: u64, bytes: Bytes) {
        // A connection never doubles a request, so the network must not.
        let doubling = std::mem::take(&mut self.net.doubling);
        self.send(from, to, bytes, |bytes| Happening::Request { to, client, call, bytes });
        self.net.doubling = doubling;
    }

    pub(super) fn receive_answer(&mut self, client: usize, call: u64, bytes: Bytes) {
        if self.takes_answer(client, call).is_none() {
            return;
        }
        let frame = unframe(bytes).expect("nodes send whole frames");
        let answer = Reply::decode_answer(&mut Reader::new(frame.body));
        let answer = answer.expect("nodes are of our release");
        let this = &mut self.clients[client];
        if let Ok((header, _)) = &answer {
            this.since = this.since.max(Some(header.applied));
            this.leader = header.leader.or(this.leader);
        }
        let current = this.current.as_mut().expect("its answer is waited for");
        match current.attempt.answered(answer) {
            Some(result) => self.end(client, result),
            None => self.go_on(client),
        }
    }

    pub(super) fn call_fails(&mut self, client: usize, call: u64, error: CallError) {
        let Some(node) = self.takes_answer(client, call) else { return };
        self.hang_up_on(client, call, node);
        let current = self.clients[client].current.as_mut().expect("its answer is waited for");
        current.attempt.failed(error);
        self.go_on(client);
    }

    /// A client that waits no more closes its connection; mostly its node hears of that.
    fn hang_up_on(&mut self, client: usize, call: u64, node: NodeId) {
        let machine = usize::try_from(node.0).expect("few nodes") - 1;
        if self.net.passes(self.endpoint_of(client), machine) && self.rng.chance(800) {
            self.plan_news(Happening::HungUp { machine, client, call });
        }
    }

    /// If this is the question that the client waits for, it waits no more. Tells whom it had asked.
    fn takes_answer(&mut self, client: usize, call: u64) -> Option<NodeId> {
        let current = self.clients.get_mut(client)?.current.as_mut()?;
        let (_, node) = current.call.take_if(|(waits_for, _)| *waits_for == call)?;
        Some(node)
    }

    fn end(&mut self, client: usize, result: Result<(wire::Header, Reply), client::Error>) {
        let now = self.now;
        let current = self.clients[client].current.take().expect("it has done something");
        let mut outcome = outcome_of(&current.action, result);
        if let (true, Outcome::NotDone(why)) = (current.doubled, &outcome) {
            outcome = Outcome::Unknown(format!("{why} to one of two"));
        }
        if self.trace.keeps_lines() {
            self.line(&format_args!("c{client}"), format_args!("ends: {outcome}"));
        }
        self.clients[client].learn(&current.action, &outcome);
        if let Some(ttl) = lives_for(&current.action, &outcome) {
            self.expiries.insert(current.began + ttl);
        }
        self.renew_order(client, &current.action, &outcome);
        self.history.end(current.op, outcome, now);
        if client >= self.plan.clients {
            // One of a crowd goes on at once, or goes home.
            if self.crowded {
                self.plan_wake(client, Duration::from_micros(100));
            }
            return;
        }
        let (low, high) = self.plan.think;
        let this = &mut self.clients[client];
        // Who must connect anew takes some time for it; others may be at their last writes, too.
        let pause = this.rng.duration(low, high) + RENEWAL_PAUSE * this.renewals;
        self.plan_wake(client, pause);
    }

    /// What the referee wants done is asked for again by a client that only knew too little of the
    /// cluster to write with, and connects anew.
    fn renew_order(&mut self, client: usize, action: &Action, outcome: &Outcome) {
        let this = &mut self.clients[client];
        if !this.is_ordered() || !is_expired(outcome) || this.renewals >= MOST_RENEWALS {
            return;
        }
        this.renewals += 1;
        if let Action::Write(write) = action {
            this.orders.push_front(write.with_other_values(this.renewals));
        }
    }

    /// A client dies in the middle of what it does; another one takes its place.
    pub(crate) fn replace_client(&mut self, client: usize) {
        if !self.clients[client].obedient {
            self.line(&format_args!("c{client}"), format_args!("is replaced"));
            self.clients[client].is_replaced();
            self.plan_wake(client, Duration::from_millis(100));
        }
    }
}
