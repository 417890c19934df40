//! A store in memory, for the tests of gateways, behind the client's [`Transport`]: one node that never fails unless told to, with
//! all that the contract of commands says. Every past state is kept whole, so that reads of the past
//! are a look-up. Leases live until they are revoked: there is no clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, CallError, CallFuture, Transport};
use tokio::sync::Notify;
use wire::{
    Body, Change, Command, Compare, Consistency, Event, Fence, Header, Item, KeyRange, LeaseStatus,
    Member, MemberChange, MemberDenial, Members, NewPart, NodeId, NodeStatus, Op, OpResult,
    Operand, Operator, Page, Part, PeerStatus, Projection, Put, Query, Refusal, Reply, Request,
    RequestId, Revision, Txn, TxnResult, WatchBatch,
};

type Keys = BTreeMap<Bytes, Item>;

/// What shall go wrong with the next read or write.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The node refuses it.
    Refuse(Refusal),
    /// It is done, and the answer is lost.
    LoseAnswer,
}

pub(crate) struct Memory {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    /// The state after each revision, from 0 on.
    states: Vec<Keys>,
    compacted: u64,
    events: Vec<Event>,
    answers: BTreeMap<RequestId, Result<TxnResult, Refusal>>,
    /// What each lease lives, in milliseconds.
    leases: BTreeMap<u64, u64>,
    members: Members,
    troubles: VecDeque<Trouble>,
    value_limit_bytes: usize,
    page_items: usize,
    queries: Vec<(Query, Consistency)>,
    /// Questions of watches that arrived.
    watched: u64,
    /// Reads and writes that arrived.
    asked: u64,
}

impl Memory {
    /// An empty store, at the revision `empty_at`.
    pub(crate) fn new(value_limit_bytes: usize, page_items: usize, empty_at: usize) -> Arc<Self> {
        let state = State {
            states: vec![Keys::new(); empty_at + 1],
            compacted: 0,
            events: Vec::new(),
            answers: BTreeMap::new(),
            leases: BTreeMap::new(),
            members: Members::first(&[member(1, 8001), member(2, 8002)]),
            troubles: VecDeque::new(),
            value_limit_bytes,
            page_items,
            queries: Vec::new(),
            watched: 0,
            asked: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Has the next reads and writes go wrong, one trouble each.
    pub(crate) fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.state.lock().unwrap().troubles.extend(troubles);
    }

    /// The reads that arrived since the last call.
    pub(crate) fn queries(&self) -> Vec<(Query, Consistency)> {
        std::mem::take(&mut self.state.lock().unwrap().queries)
    }

    /// How many reads and writes arrived.
    pub(crate) fn asked(&self) -> u64 {
        self.state.lock().unwrap().asked
    }

    /// How many questions of watches arrived.
    pub(crate) fn watched(&self) -> u64 {
        self.state.lock().unwrap().watched
    }

    /// How the one node is.
    pub(crate) fn status(&self) -> NodeStatus {
        self.state.lock().unwrap().status()
    }
}

/// A handle that is a transport: the trait wants futures that own what they need.
pub(crate) struct Wire(pub(crate) Arc<Memory>);

impl Transport for Wire {
    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1)]
    }

    fn since(&self) -> u64 {
        1
    }

    fn call(&self, _to: NodeId, request: Request, _timeout: Duration) -> CallFuture {
        let memory = Arc::clone(&self.0);
        Box::pin(async move {
            match request.bare().clone() {
                Request::Watch { range, from, wait_ms, previous } => {
                    let wait = Duration::from_millis(wait_ms.into());
                    Ok(memory.watch(range, from, wait, previous).await)
                }
                other => memory.answer(other),
            }
        })
    }
}

impl Memory {
    fn answer(&self, request: Request) -> Result<Answer, CallError> {
        let mut state = self.state.lock().unwrap();
        let trouble = match request {
            Request::Status | Request::Transfer { .. } | Request::Watch { .. } => None,
            _ => {
                state.asked += 1;
                state.troubles.pop_front()
            }
        };
        if let Some(Trouble::Refuse(refusal)) = trouble {
            return Ok(Err(refusal));
        }
        let answer = match request {
            Request::Read { query, consistency } => state.read(&query, consistency),
            Request::Write(command) => state.write(command),
            Request::Status => Ok(Reply::Status(Box::new(state.status()))),
            Request::Transfer { to: NodeId(1) } => Ok(Reply::Transferring),
            Request::Transfer { to } => {
                Err(Refusal::Invalid { what: format!("there is no node {to}") })
            }
            Request::KeepAlive { lease } => state.lease(lease, false),
            Request::Lease { lease, keys } => state.lease(lease, keys),
            Request::Leases => Ok(Reply::Leases(state.leases.keys().copied().collect())),
            Request::Members => Ok(Reply::Members { members: state.members.clone(), node: None }),
            Request::ChangeMembers(change) => state.change_members(change),
            Request::Watch { .. } => unreachable!("watches wait, and are answered elsewhere"),
            Request::Auth(_)
            | Request::Authenticate { .. }
            | Request::Scrub
            | Request::As { .. } => Err(wire::Denial::NotEnabled.into()),
        };
        let header = state.header();
        drop(state);
        self.changed.notify_waiters();
        match trouble {
            Some(Trouble::LoseAnswer) => {
                Err(CallError::Lost { target: "n1".into(), why: "the connection broke".into() })
            }
            _ => Ok(answer.map(|reply| (header, reply))),
        }
    }

    async fn watch(
        &self,
        range: KeyRange,
        from: Revision,
        wait: Duration,
        previous: bool,
    ) -> Answer {
        self.state.lock().unwrap().watched += 1;
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            let (header, batch) = self.state.lock().unwrap().watch(&range, from, previous)?;
            let late = tokio::time::Instant::now() >= deadline;
            if !batch.events.is_empty() || late {
                return Ok((header, Reply::Events(batch)));
            }
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }
}

impl State {
    fn newest(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn keys(&self) -> &Keys {
        self.states.last().expect("there is the empty state")
    }

    fn header(&self) -> Header {
        let revision = Revision(self.newest());
        Header { revision, applied: self.newest() + 1, node: NodeId(1), leader: Some(NodeId(1)) }
    }

    fn readable(&self, asked: Revision) -> Result<(), Refusal> {
        if asked.0 > self.newest() {
            return Err(Refusal::Future { asked, current: Revision(self.newest()) });
        }
        if asked.0 < self.compacted {
            return Err(Refusal::Compacted { asked, compacted: Revision(self.compacted) });
        }
        Ok(())
    }

    fn read(&mut self, query: &Query, consistency: Consistency) -> Result<Reply, Refusal> {
        self.queries.push((query.clone(), consistency));
        if let Consistency::Session(seen) = consistency
            && seen.0 > self.newest()
        {
            return Err(Refusal::Unavailable { why: format!("revision {seen} is not here yet") });
        }
        if let Some(revision) = query.revision {
            self.readable(revision)?;
        }
        let revision = query.revision.map_or(self.newest(), |revision| revision.0);
        let keys = &self.states[usize::try_from(revision).unwrap()];
        Ok(Reply::Page(page(keys, query, self.page_items)))
    }

    fn write(&mut self, bytes: Bytes) -> Result<Reply, Refusal> {
        let command = Command::decode(bytes).expect("the client sends what decodes");
        command.check(self.value_limit_bytes)?;
        if let Some(answer) = self.answers.get(&command.id) {
            return answer.clone().map(Reply::Written);
        }
        let answer = match command.body {
            Body::Txn(txn) => self.txn(&txn),
            Body::Compact { before } => self.compact(before),
            Body::Grant { lease, ttl_ms } => self.grant(lease, ttl_ms),
            Body::Revoke { lease } => self.revoke(lease),
            Body::Restore(_) | Body::Expire(_) | Body::Checkpoint { .. } | Body::Scrub { .. } => {
                Err(Refusal::Invalid { what: "nobody sends this".into() })
            }
            Body::Auth(_) => Err(Refusal::Invalid { what: "no users here".into() }),
        };
        self.answers.insert(command.id, answer.clone());
        answer.map(Reply::Written)
    }

    fn done(&self, succeeded: bool, results: Vec<OpResult>) -> TxnResult {
        TxnResult { revision: Revision(self.newest()), succeeded, results }
    }

    fn compact(&mut self, before: Revision) -> Result<TxnResult, Refusal> {
        self.readable(before)?;
        if before.0 <= self.compacted {
            let compacted = Revision(self.compacted);
            return Err(Refusal::Compacted { asked: before, compacted });
        }
        self.compacted = before.0;
        Ok(self.done(true, Vec::new()))
    }

    fn grant(&mut self, lease: u64, ttl_ms: u64) -> Result<TxnResult, Refusal> {
        if self.leases.contains_key(&lease) {
            return Err(Refusal::LeaseExists { lease });
        }
        self.leases.insert(lease, ttl_ms);
        Ok(self.done(true, Vec::new()))
    }

    fn revoke(&mut self, lease: u64) -> Result<TxnResult, Refusal> {
        self.leases.remove(&lease).ok_or(Refusal::LeaseNotFound { lease })?;
        let mut scope = self.scope();
        let hanging = self.keys().values().filter(|item| item.lease == lease);
        for item in hanging {
            scope.delete(&KeyRange::single(item.key.clone()));
        }
        let (keys, events) = (scope.keys, scope.events);
        self.commit(keys, events);
        Ok(self.done(true, Vec::new()))
    }

    fn lease(&self, lease: u64, keys: bool) -> Result<Reply, Refusal> {
        let &ttl_ms = self.leases.get(&lease).ok_or(Refusal::LeaseNotFound { lease })?;
        let hanging = self.keys().values().filter(|item| keys && item.lease == lease);
        let keys = hanging.map(|item| item.key.clone()).collect();
        Ok(Reply::Lease(LeaseStatus { lease, ttl_ms, remaining_ms: ttl_ms, keys }))
    }

    /// Nobody catches up here: who is added stays a learner, or votes at once.
    fn change_members(&mut self, change: MemberChange) -> Result<Reply, Refusal> {
        let denied = |denial| Refusal::Member { denial };
        let members = &mut self.members;
        let known = |members: &Members, node| {
            members.find(node).map(drop).ok_or(denied(MemberDenial::NotFound { node }))
        };
        let node = match change {
            MemberChange::Add { peer_address, client_address, part, priority } => {
                if let Some(other) = members.list.iter().find(|m| m.peer_address == peer_address) {
                    let node = other.node;
                    return Err(denied(MemberDenial::AddressTaken { node, address: peer_address }));
                }
                let node = members.next;
                members.next = NodeId(node.0 + 1);
                let joins = |witness| Part::Joining { replaces: None, witness };
                let part = match part {
                    NewPart::Learner => Part::Learner,
                    NewPart::Voter => joins(false),
                    NewPart::Witness => joins(true),
                };
                members.list.push(Member { node, client_address, peer_address, part, priority });
                node
            }
            MemberChange::Promote { node } => {
                known(members, node)?;
                let member = members.list.iter_mut().find(|member| member.node == node).unwrap();
                if member.part != Part::Learner {
                    return Err(denied(MemberDenial::NotLearner { node }));
                }
                member.part = Part::Voter;
                node
            }
            MemberChange::Remove { node, .. } => {
                known(members, node)?;
                members.list.retain(|member| member.node != node);
                node
            }
            MemberChange::Update { node, peer_address, client_address, priority } => {
                known(members, node)?;
                let member = members.list.iter_mut().find(|member| member.node == node).unwrap();
                for (old, new) in [
                    (&mut member.peer_address, peer_address),
                    (&mut member.client_address, client_address),
                ] {
                    if !new.is_empty() {
                        *old = new;
                    }
                }
                member.priority = priority.unwrap_or(member.priority);
                node
            }
            MemberChange::Replace { .. } => {
                return Err(Refusal::Invalid { what: "nobody replaces a node here".into() });
            }
        };
        Ok(Reply::Members { members: self.members.clone(), node: Some(node) })
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            keys: self.keys().clone(),
            events: BTreeMap::new(),
            before: self.keys(),
            revision: Revision(self.newest() + 1),
            leases: &self.leases,
            page_items: self.page_items,
        }
    }

    fn commit(&mut self, keys: Keys, events: BTreeMap<Bytes, Event>) {
        if !events.is_empty() {
            self.states.push(keys);
            self.events.extend(events.into_values());
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnResult, Refusal> {
        let mut scope = self.scope();
        for Fence { key, created } in &txn.fences {
            let current = scope.keys.get(key).map(|item| item.created);
            if current != Some(*created) {
                return Err(Refusal::Fenced { key: key.clone(), created: *created, current });
            }
        }
        let (succeeded, results) = scope.txn(txn)?;
        let (keys, events) = (scope.keys, scope.events);
        self.commit(keys, events);
        Ok(self.done(succeeded, results))
    }

    fn watch(
        &self,
        range: &KeyRange,
        from: Revision,
        previous: bool,
    ) -> Result<(Header, WatchBatch), Refusal> {
        let next = Revision(self.newest() + 1);
        let from = if from == Revision(0) { next } else { from };
        if from.0 < self.compacted {
            return Err(Refusal::Compacted { asked: from, compacted: Revision(self.compacted) });
        }
        let wanted = self.events.iter().filter(|e| e.revision >= from && range.contains(e.key()));
        let events = wanted.map(|event| Event {
            previous: event.previous.clone().filter(|_| previous),
            ..event.clone()
        });
        Ok((self.header(), WatchBatch { events: events.collect(), next: next.max(from) }))
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            node: NodeId(1),
            cluster: "test".into(),
            version: "0.1.0".into(),
            role: "leader".into(),
            protocol: "raft".into(),
            standing: "term 4".into(),
            epoch: 3,
            leader: Some(NodeId(1)),
            revision: Revision(self.newest()),
            compacted: Revision(self.compacted),
            applied: self.newest() + 1,
            commit: self.newest() + 1,
            last: self.newest() + 1,
            durable: 0,
            ready: true,
            trouble: None,
            notice: None,
            members: self.members.list.clone(),
            peers: vec![PeerStatus {
                node: NodeId(2),
                matched: 3,
                state: "replicate".into(),
                active: true,
            }],
        }
    }
}

fn member(node: u64, port: u16) -> Member {
    Member {
        node: NodeId(node),
        client_address: format!("127.0.0.1:{port}"),
        peer_address: format!("127.0.0.1:{}", port + 1000),
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    }
}

/// A transaction under way.
struct Scope<'a> {
    keys: Keys,
    /// One event a key.
    events: BTreeMap<Bytes, Event>,
    before: &'a Keys,
    revision: Revision,
    leases: &'a BTreeMap<u64, u64>,
    page_items: usize,
}

impl Scope<'_> {
    fn txn(&mut self, txn: &Txn) -> Result<(bool, Vec<OpResult>), Refusal> {
        let succeeded = txn.compares.iter().all(|compare| holds(&self.keys, compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let results: Result<Vec<_>, _> = ops.iter().map(|op| self.apply(op)).collect();
        Ok((succeeded, results?))
    }

    fn apply(&mut self, op: &Op) -> Result<OpResult, Refusal> {
        Ok(match op {
            Op::Put(put) => OpResult::Put { previous: self.put(put)?.filter(|_| put.previous) },
            Op::Delete { range, previous } => {
                let gone = self.delete(range);
                let count = gone.len() as u64;
                OpResult::Deleted { count, previous: if *previous { gone } else { Vec::new() } }
            }
            Op::Read(query) => OpResult::Read(page(&self.keys, query, self.page_items)),
            Op::Txn(txn) => {
                let (succeeded, results) = self.txn(txn)?;
                OpResult::Txn { succeeded, results }
            }
        })
    }

    fn put(&mut self, put: &Put) -> Result<Option<Item>, Refusal> {
        let Put { key, value, lease, .. } = put;
        let old = self.keys.get(key).cloned();
        let missing = || Refusal::KeyNotFound { key: key.clone() };
        let lease = match (lease, &old) {
            (Some(lease), _) => *lease,
            (None, old) => old.as_ref().ok_or_else(missing)?.lease,
        };
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Err(Refusal::LeaseNotFound { lease });
        }
        let value = match (value, &old) {
            (Some(value), _) => value.clone(),
            (None, old) => old.as_ref().ok_or_else(missing)?.value.clone(),
        };
        let item = Item {
            key: key.clone(),
            value,
            created: old.as_ref().map_or(self.revision, |old| old.created),
            modified: self.revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            lease,
        };
        self.event(key, Change::Put(item.clone()));
        self.keys.insert(key.clone(), item);
        Ok(old)
    }

    fn delete(&mut self, range: &KeyRange) -> Vec<Item> {
        let keys: Vec<Bytes> =
            self.keys.keys().filter(|key| range.contains(key)).cloned().collect();
        keys.into_iter()
            .filter_map(|key| {
                self.event(&key, Change::Delete { key: key.clone() });
                self.keys.remove(&key)
            })
            .collect()
    }

    fn event(&mut self, key: &Bytes, change: Change) {
        let previous = self.before.get(key).cloned();
        let event = Event { previous, ..Event::new(self.revision, change) };
        self.events.insert(key.clone(), event);
    }
}

fn page(keys: &Keys, query: &Query, page_items: usize) -> Page {
    let found: Vec<&Item> = keys.values().filter(|item| query.range.contains(&item.key)).collect();
    if query.projection == Projection::CountOnly {
        return Page { items: Vec::new(), more: false, count: found.len() as u64 };
    }
    let limit = match query.limit {
        0 => page_items,
        limit => page_items.min(limit as usize),
    };
    let shown = |item: &&Item| match query.projection {
        Projection::KeysOnly => Item { value: Bytes::new(), ..(*item).clone() },
        Projection::Full | Projection::CountOnly => (*item).clone(),
    };
    let items: Vec<Item> = found.iter().take(limit).map(shown).collect();
    Page { more: found.len() > items.len(), count: items.len() as u64, items }
}

/// It holds for each key of the range that exists, or, where none does, for an absent one.
fn holds(keys: &Keys, compare: &Compare) -> bool {
    let mut found = keys.values().filter(|item| compare.range.contains(&item.key)).peekable();
    if found.peek().is_none() {
        return holds_for(None, compare);
    }
    found.all(|item| holds_for(Some(item), compare))
}

fn holds_for(item: Option<&Item>, compare: &Compare) -> bool {
    let number = |of: fn(&Item) -> u64| item.map_or(0, of);
    let order = match &compare.operand {
        Operand::Value(value) => match item {
            None => return compare.operator == Operator::NotEqual,
            Some(item) => item.value.cmp(value),
        },
        Operand::Version(version) => number(|item| item.version).cmp(version),
        Operand::Created(revision) => number(|item| item.created.0).cmp(&revision.0),
        Operand::Modified(revision) => number(|item| item.modified.0).cmp(&revision.0),
        Operand::Lease(lease) => number(|item| item.lease).cmp(lease),
    };
    match compare.operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::Greater => order.is_gt(),
    }
}
