//! The clients' side of the network.

use std::time::Duration;

use bytes::Bytes;
use client::{CallError, Next};
use wire::{Frame, FrameKind, NodeId, Reader, Reply};

use super::driver::unframe;
use super::{Happening, World};
use crate::clients::{Current, outcome_of};
use crate::history::Outcome;

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
        let limit = self.plan.patience;
        let this = &mut self.clients[client];
        let Some((action, wait)) = this.choose() else { return };
        let limit = if this.obedient { crate::run::QUIESCE } else { limit };
        let (request, kind) = this.request(&action, wait);
        let attempt = this.attempt(&request, kind, limit, wait);
        if self.trace.keeps_lines() {
            let text = crate::words::request(&request);
            self.line(&format_args!("c{client}"), format_args!("begins {text}"));
        }
        let name = u32::try_from(client).expect("few clients");
        let op = self.history.begin(name, action.clone(), self.now);
        let request = Frame::encode(FrameKind::Request, 0, |out| request.encode(out)).into();
        let began = self.now;
        let current = Current { op, action, request, attempt, began, call: None, doubled: false };
        self.clients[client].current = Some(current);
        self.go_on(client);
    }

    /// A client that connects learns how far the node that it reaches has come.
    fn meets_cluster(&mut self, client: usize) -> bool {
        if self.clients[client].since.is_some() {
            return true;
        }
        let endpoint = self.endpoint_of(client);
        let met = self.machines.iter().find_map(|machine| {
            let reached = self.net.passes(endpoint, machine.index)
                && self.net.passes(machine.index, endpoint)
                && !machine.is_paused(self.now);
            let process = machine.process.as_ref().filter(|_| reached)?;
            Some(process.node.status().applied)
        });
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
        if !self.takes_answer(client, call) {
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
        if !self.takes_answer(client, call) {
            return;
        }
        let current = self.clients[client].current.as_mut().expect("its answer is waited for");
        current.attempt.failed(error);
        self.go_on(client);
    }

    /// Whether this is the question that the client waits for; then it waits no more.
    fn takes_answer(&mut self, client: usize, call: u64) -> bool {
        let Some(current) = &mut self.clients[client].current else { return false };
        if current.call.is_none_or(|(waits_for, _)| waits_for != call) {
            return false;
        }
        current.call = None;
        true
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
        self.history.end(current.op, outcome, now);
        let (low, high) = self.plan.think;
        let pause = self.clients[client].rng.duration(low, high);
        self.plan_wake(client, pause);
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
