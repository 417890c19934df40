//! Simulated clients: they do what their workloads say, through the client crate's own rules of
//! routing and retrying ([`client::Attempt`]), and write down what they saw.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use client::{Attempt, Kind, PATIENCE, Target};
use consensus::Time;
use wire::{
    Body, Command, Compare, Consistency, Fence, Hidden, KeyRange, NodeId, Op, OpResult, Operand,
    Operator, Outcome as Known, Principal, Projection, Put, Query, Refusal, Reply, Request,
    RequestId, Revision, Txn, TxnResult,
};

use crate::history::{Action, Hang, OpId, Outcome, Seen, Write};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::workload::{self, Situation, Workload};

/// How often a workload's turn comes, among those of the run.
const WEIGHTS: [(&str, u64); 10] = [
    ("registers", 60),
    ("set", 25),
    ("tally", 30),
    ("pairs", 25),
    ("scans", 8),
    ("watches", 10),
    ("leases", 40),
    ("locks", 40),
    ("admin", 2),
    ("auth", 60),
];

/// Stands for a workload where the referee chose.
const ORDERED: usize = usize::MAX;

/// One client: a thread of somebody's program that does one thing after another.
pub(crate) struct SimClient {
    pub(crate) rng: Rng,
    /// Drawn anew when the client dies and another one takes its place.
    pub(crate) id: u128,
    /// Its writes so far.
    pub(crate) number: u64,
    /// A log index that it knows was committed; `None` before it has met the cluster.
    pub(crate) since: Option<u64>,
    /// A write was refused because `since` lay too far back: the node that it had met lags.
    pub(crate) outdated: bool,
    pub(crate) situation: Situation,
    pub(crate) leader: Option<NodeId>,
    workloads: Vec<(u64, Box<dyn Workload>)>,
    chosen: usize,
    pub(crate) current: Option<Current>,
    /// Counts wake-ups that are planned, so that stale ones are known.
    pub(crate) wakes: u64,
    pub(crate) calls: u64,
    /// What the referee wants done, before anything else.
    pub(crate) orders: VecDeque<Action>,
    /// Whether it does only what the referee wants.
    pub(crate) obedient: bool,
    /// How often it has connected anew for that.
    pub(crate) renewals: u32,
}

/// What a client is doing.
pub(crate) struct Current {
    pub(crate) op: OpId,
    pub(crate) action: Action,
    pub(crate) request: Bytes,
    pub(crate) attempt: Attempt,
    pub(crate) began: Time,
    /// The question that waits for an answer, and who was asked.
    pub(crate) call: Option<(u64, NodeId)>,
    /// A copy of the request went to another node: then a refusal proves nothing.
    pub(crate) doubled: bool,
}

impl SimClient {
    pub(crate) fn new(index: usize, plan: &Plan, seed: &Rng) -> Self {
        let mut rng = seed.fork_number(index as u64);
        let weight = |name: &str| {
            let known = WEIGHTS.iter().find(|(known, _)| *known == name);
            known.expect("every workload has a weight").1
        };
        let workloads = plan.workloads.iter().map(|name| (weight(name), workload::named(name)));
        let id = draw_id(&mut rng);
        Self {
            id,
            number: 0,
            since: None,
            outdated: false,
            situation: Situation {
                client: index,
                turn: 0,
                now: Time::default(),
                alarms: 0,
                seen: Revision(0),
                guarded: plan.is_guarded(),
                nodes: plan.nodes + plan.spares,
                longest_value: plan.longest_value,
            },
            leader: None,
            workloads: workloads.collect(),
            chosen: 0,
            current: None,
            wakes: 0,
            calls: 0,
            orders: VecDeque::new(),
            obedient: false,
            renewals: 0,
            rng,
        }
    }

    /// Whether what it is at was wanted by the referee.
    pub(crate) fn is_ordered(&self) -> bool {
        self.chosen == ORDERED
    }

    /// As whom it does what it has just chosen.
    pub(crate) fn principal(&self) -> Option<Principal> {
        let chosen = self.workloads.get(self.chosen);
        chosen.map_or_else(|| self.situation.root(), |(_, own)| own.principal(&self.situation))
    }

    /// What it does next, if anything, and how long a node may wait with the answer.
    pub(crate) fn choose(&mut self, now: Time) -> Option<(Action, Duration)> {
        self.situation.turn += 1;
        self.situation.now = now;
        if let Some(action) = self.orders.pop_front() {
            self.chosen = ORDERED;
            return Some((action, Duration::ZERO));
        }
        if self.obedient {
            return None;
        }
        // What must be done in time comes before what is drawn.
        for (at, (_, workload)) in self.workloads.iter_mut().enumerate() {
            if let Some(action) = workload.urgent(&self.situation) {
                self.chosen = at;
                return Some((action, Duration::ZERO));
            }
        }
        let total = self.workloads.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.rng.below(total);
        for (at, (weight, workload)) in self.workloads.iter_mut().enumerate() {
            if drawn < *weight {
                self.chosen = at;
                let action = workload.next(&mut self.rng, &self.situation);
                return Some((action, workload.wait()));
            }
            drawn -= *weight;
        }
        unreachable!("the draw is below the sum of all weights")
    }

    /// Somebody else takes its place, with no memory of what was under way.
    pub(crate) fn is_replaced(&mut self) {
        self.id = draw_id(&mut self.rng);
        self.number = 0;
        self.since = None;
        self.outdated = false;
        self.situation.seen = Revision(0);
        self.current = None;
        for (_, workload) in &mut self.workloads {
            workload.replaced(&mut self.rng);
        }
    }

    pub(crate) fn learn(&mut self, action: &Action, outcome: &Outcome) {
        // What it knows of the cluster is too old to write with: it connects anew.
        if crate::world::is_expired(outcome) {
            self.since = None;
            self.outdated = true;
        }
        if let Outcome::Done(header, _) = outcome {
            self.situation.seen = self.situation.seen.max(header.revision);
        }
        if let Some((_, workload)) = self.workloads.get_mut(self.chosen) {
            workload.ended(action, outcome);
        }
    }

    /// The request for an action, and what its attempt has to go by.
    pub(crate) fn request(
        &mut self,
        action: &Action,
        principal: Option<Principal>,
        wait: Duration,
    ) -> (Request, Kind) {
        let (request, kind) = match action {
            Action::Write(write) => return self.command(Body::Txn(txn(write)), principal),
            Action::Compact { before } => {
                return self.command(Body::Compact { before: *before }, principal);
            }
            Action::Scrub { id } => return self.command(Body::Scrub { id: *id }, principal),
            Action::Grant { lease, ttl_ms } => {
                return self.command(Body::Grant { lease: *lease, ttl_ms: *ttl_ms }, principal);
            }
            Action::Revoke { lease } => {
                return self.command(Body::Revoke { lease: *lease }, principal);
            }
            Action::Change(change) => return self.command(Body::Auth(change.clone()), principal),
            Action::Transfer { to } => (Request::Transfer { to: *to }, Kind::Cluster),
            Action::Read { key, level } => {
                (read(KeyRange::single(key.clone()), *level), Kind::Read)
            }
            Action::Scan { prefix, level } => {
                (read(KeyRange::prefix(prefix.clone()), *level), Kind::Read)
            }
            Action::Watch { range, from, previous } => {
                let wait_ms = u32::try_from(wait.as_millis()).expect("a short wait");
                let (range, previous) = (range.clone(), *previous);
                (Request::Watch { range, from: *from, wait_ms, previous }, Kind::Read)
            }
            Action::KeepAlive { lease } => (Request::KeepAlive { lease: *lease }, Kind::Read),
            Action::Lease { lease } => (Request::Lease { lease: *lease, keys: true }, Kind::Read),
            Action::Leases => (Request::Leases, Kind::Read),
            Action::Login { user, password } => {
                let (user, password) = (user.clone(), Hidden(password.clone()));
                (Request::Authenticate { user, password }, Kind::Read)
            }
            Action::Ask(question) => (Request::Auth(question.clone()), Kind::Read),
        };
        match principal {
            Some(principal) => (request.by(principal), kind),
            None => (request, kind),
        }
    }

    fn command(&mut self, body: Body, principal: Option<Principal>) -> (Request, Kind) {
        self.number += 1;
        let id = RequestId { client: self.id, number: self.number };
        // What ended as unknown is never repeated, so this is the only one that is not settled.
        let since = self.since.expect("it has met the cluster");
        let command = Command { id, done_below: self.number, since, principal, body };
        (Request::Write(command.encode()), Kind::Write(id))
    }

    /// An attempt at a request that was just made.
    pub(crate) fn attempt(
        &mut self,
        request: &Request,
        kind: Kind,
        limit: Duration,
        wait: Duration,
    ) -> Attempt {
        let target = Target::of(request);
        let mut nodes: Vec<NodeId> = (1..=self.situation.nodes as u64).map(NodeId).collect();
        self.rng.shuffle(&mut nodes);
        let patience = (PATIENCE + wait).min(limit);
        let seed = self.rng.draw();
        let (leader, limit) = (self.leader, limit + wait);
        Attempt::new(client::Plan { target, kind, nodes, leader, limit, patience, seed })
    }
}

fn draw_id(rng: &mut Rng) -> u128 {
    u128::from(rng.draw()) << 64 | u128::from(rng.draw()) | 1
}

fn read(range: KeyRange, consistency: Consistency) -> Request {
    Request::Read { query: query(range), consistency }
}

fn query(range: KeyRange) -> Query {
    Query { range, revision: None, limit: 0, projection: Projection::Full }
}

fn txn(write: &Write) -> Txn {
    let compare = |(key, value): &(Bytes, Option<Bytes>)| {
        let operand = value.clone().map_or(Operand::Version(0), Operand::Value);
        Compare::key(key.clone(), Operator::Equal, operand)
    };
    let lease = match write.hang {
        Hang::Nowhere => Some(0),
        Hang::On(lease) => Some(lease),
        Hang::AsBefore => None,
    };
    let change = |(key, value): &(Bytes, Option<Bytes>)| match value {
        Some(value) => {
            let (key, value) = (key.clone(), Some(value.clone()));
            Op::Put(Put { key, value, lease, previous: false })
        }
        None => Op::delete(KeyRange::single(key.clone())),
    };
    let observe = || write.observe.iter().map(|key| Op::Read(query(KeyRange::single(key.clone()))));
    let fence = |(key, created): &(Bytes, Revision)| Fence { key: key.clone(), created: *created };
    let fences = write.fence.iter().map(fence).collect();
    let inner = Txn {
        compares: write.expect.iter().map(compare).collect(),
        then: write.changes.iter().map(change).chain(observe()).collect(),
        otherwise: observe().collect(),
        fences: Vec::new(),
    };
    // Only the outermost may bear tokens.
    if write.nested {
        Txn { fences, then: vec![Op::Txn(inner)], ..Txn::default() }
    } else {
        Txn { fences, ..inner }
    }
}

/// What an answer means for the history.
pub(crate) fn outcome_of(
    action: &Action,
    result: Result<(wire::Header, Reply), client::Error>,
) -> Outcome {
    match result {
        Ok((header, reply)) => Outcome::Done(header, seen_in(reply)),
        Err(error) => match (error.outcome(), &error, action) {
            (Known::NotDone, ..) => Outcome::NotDone(error.code().to_owned()),
            (
                Known::Done,
                client::Error::Refused(Refusal::AnswerForgotten { revision }),
                Action::Write(Write { expect: None, observe: None, changes, .. }),
            ) => {
                let header =
                    wire::Header { revision: *revision, applied: 0, node: NodeId(0), leader: None };
                let (succeeded, observed) = (true, None);
                // Whether a removal found anything is part of what was forgotten.
                let changed = changes.iter().any(|(_, value)| value.is_some());
                let seen = Seen::Written { revision: *revision, succeeded, changed, observed };
                Outcome::Done(header, seen)
            }
            // Done, but what it saw is lost: no more is known than of an unknown one.
            (Known::Unknown | Known::Done, ..) => Outcome::Unknown(error.code().to_owned()),
        },
    }
}

fn seen_in(reply: Reply) -> Seen {
    match reply {
        Reply::Page(page) => Seen::Page { items: page.items, more: page.more },
        Reply::Written(result) => seen_in_result(result),
        Reply::Events(batch) => Seen::Events { events: batch.events, next: batch.next },
        Reply::Lease(status) => Seen::Lease(status),
        Reply::Leases(leases) => Seen::Leases(leases),
        Reply::Auth(answer) => Seen::Auth(answer),
        Reply::Authenticated(principal) => Seen::Proof(principal),
        Reply::Status(_) | Reply::Transferring | Reply::Members { .. } | Reply::Scrub(_) => {
            Seen::Nothing
        }
    }
}

fn seen_in_result(mut result: TxnResult) -> Seen {
    if let [OpResult::Txn { succeeded, results }] = &mut result.results[..] {
        (result.succeeded, result.results) = (*succeeded, std::mem::take(results));
    }
    let has_effect = |result: &OpResult| match result {
        OpResult::Put { .. } => true,
        OpResult::Deleted { count, .. } => *count > 0,
        OpResult::Read(_) | OpResult::Txn { .. } => false,
    };
    let changed = result.results.iter().any(has_effect);
    let observed = result.results.into_iter().find_map(|result| match result {
        OpResult::Read(page) => Some(page.items),
        OpResult::Put { .. } | OpResult::Deleted { .. } | OpResult::Txn { .. } => None,
    });
    Seen::Written { revision: result.revision, succeeded: result.succeeded, changed, observed }
}
