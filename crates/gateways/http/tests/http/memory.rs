//! A store in memory behind the client's [`Transport`]: one node that never fails unless told to.
//! Every past state is kept whole, so that reads of the past are a look-up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, CallError, CallFuture, Transport};
use tokio::sync::Notify;
use wire::{
    Body, Change, Command, Compare, Consistency, Denial, Event, Fence, Header, Item, KeyRange,
    LeaseStatus, Member, NodeId, NodeStatus, Op, OpResult, Operand, Operator, Page, PeerStatus,
    Projection, Put, Query, Refusal, Reply, Request, RequestId, Revision, Txn, TxnResult,
    WatchBatch,
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
    /// The state after each revision; the first is empty.
    states: Vec<Keys>,
    compacted: u64,
    events: Vec<Event>,
    answers: BTreeMap<RequestId, Result<TxnResult, Refusal>>,
    /// Leases and how long they live, in milliseconds. Here no time passes.
    leases: BTreeMap<u64, u64>,
    troubles: VecDeque<Trouble>,
    value_limit_bytes: usize,
    page_items: usize,
    asked: u64,
    watched: u64,
}

impl Memory {
    pub(crate) fn new(value_limit_bytes: usize) -> Arc<Self> {
        let state = State {
            states: vec![Keys::new()],
            compacted: 1,
            events: Vec::new(),
            answers: BTreeMap::new(),
            leases: BTreeMap::new(),
            troubles: VecDeque::new(),
            value_limit_bytes,
            page_items: 1000,
            asked: 0,
            watched: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Has the next reads and writes go wrong, one trouble each.
    pub(crate) fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.state.lock().unwrap().troubles.extend(troubles);
    }

    /// How many reads and writes arrived.
    pub(crate) fn asked(&self) -> u64 {
        self.state.lock().unwrap().asked
    }

    /// How many polls of watches arrived.
    pub(crate) fn watched(&self) -> u64 {
        self.state.lock().unwrap().watched
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

    fn call(&self, to: NodeId, request: Request, _timeout: Duration) -> CallFuture {
        let memory = Arc::clone(&self.0);
        Box::pin(async move {
            match request {
                Request::Watch { range, from, wait_ms, .. } => {
                    Ok(memory.watch(range, from, Duration::from_millis(wait_ms.into())).await)
                }
                other => memory.answer(to, other),
            }
        })
    }
}

impl Memory {
    fn answer(&self, node: NodeId, request: Request) -> Result<Answer, CallError> {
        let mut state = self.state.lock().unwrap();
        let trouble = match request {
            Request::Read { .. } | Request::Write(_) => {
                state.asked += 1;
                state.troubles.pop_front()
            }
            Request::Watch { .. }
            | Request::Status
            | Request::Transfer { .. }
            | Request::KeepAlive { .. }
            | Request::Lease { .. }
            | Request::Leases
            | Request::Auth(_)
            | Request::Authenticate { .. }
            | Request::As { .. } => None,
        };
        if let Some(Trouble::Refuse(refusal)) = trouble {
            return Ok(Err(refusal));
        }
        let answer = match request {
            Request::Read { query, consistency } => state.read(&query, consistency),
            Request::Write(command) => state.write(command),
            Request::Status => Ok(Reply::Status(Box::new(state.status(node)))),
            Request::Transfer { to: NodeId(1) } => Ok(Reply::Transferring),
            Request::Transfer { to } => {
                Err(Refusal::Invalid { what: format!("there is no node {to}") })
            }
            Request::Watch { .. } => unreachable!("watches wait, and are answered elsewhere"),
            Request::KeepAlive { lease } => state.lease(lease, false),
            Request::Lease { lease, keys } => state.lease(lease, keys),
            Request::Leases => Ok(Reply::Leases(state.leases.keys().copied().collect())),
            Request::Auth(_) | Request::Authenticate { .. } | Request::As { .. } => {
                Err(Denial::NotEnabled.into())
            }
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

    async fn watch(&self, range: KeyRange, from: Revision, wait: Duration) -> Answer {
        self.state.lock().unwrap().watched += 1;
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            let (header, batch) = self.state.lock().unwrap().watch(&range, from)?;
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

    fn read(&self, query: &Query, consistency: Consistency) -> Result<Reply, Refusal> {
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
            Body::Txn(txn) => self.refusal(&txn).map_or_else(|| Ok(self.txn(txn)), Err),
            Body::Compact { before } => self.compact(before),
            Body::Restore(_) => Err(Refusal::Invalid { what: "no restore here".into() }),
            Body::Grant { lease, .. } if self.leases.contains_key(&lease) => {
                Err(Refusal::LeaseExists { lease })
            }
            Body::Grant { lease, ttl_ms } => {
                self.leases.insert(lease, ttl_ms);
                Ok(self.nothing_changed())
            }
            Body::Revoke { lease } => self.revoke(lease),
            Body::Expire(_) | Body::Checkpoint { .. } => {
                Err(Refusal::Invalid { what: "the leader's alone".into() })
            }
            Body::Auth(_) => Err(Refusal::Invalid { what: "no users here".into() }),
        };
        self.answers.insert(command.id, answer.clone());
        answer.map(Reply::Written)
    }

    fn compact(&mut self, before: Revision) -> Result<TxnResult, Refusal> {
        self.readable(before)?;
        self.compacted = before.0;
        Ok(self.nothing_changed())
    }

    fn nothing_changed(&self) -> TxnResult {
        let revision = Revision(self.newest());
        TxnResult { revision, succeeded: true, results: Vec::new() }
    }

    fn lease(&self, lease: u64, keys: bool) -> Result<Reply, Refusal> {
        let ttl_ms = *self.leases.get(&lease).ok_or(Refusal::LeaseNotFound { lease })?;
        let keys = if keys { self.held(lease) } else { Vec::new() };
        Ok(Reply::Lease(LeaseStatus { lease, ttl_ms, remaining_ms: ttl_ms, keys }))
    }

    fn held(&self, lease: u64) -> Vec<Bytes> {
        let keys = self.states.last().expect("there is the empty state");
        keys.values().filter(|item| item.lease == lease).map(|item| item.key.clone()).collect()
    }

    fn revoke(&mut self, lease: u64) -> Result<TxnResult, Refusal> {
        self.leases.remove(&lease).ok_or(Refusal::LeaseNotFound { lease })?;
        let held = self.held(lease).into_iter();
        let deletes = held.map(|key| Op::delete(KeyRange::single(key))).collect();
        Ok(TxnResult { results: Vec::new(), ..self.txn(Txn::always(deletes)) })
    }

    /// Why a transaction is refused, if it is: a fence or a lease does not hold.
    fn refusal(&self, txn: &Txn) -> Option<Refusal> {
        let keys = self.states.last().expect("there is the empty state");
        for Fence { key, created } in &txn.fences {
            let current = keys.get(key).map(|item| item.created);
            if current != Some(*created) {
                return Some(Refusal::Fenced { key: key.clone(), created: *created, current });
            }
        }
        txn.then.iter().find_map(|op| match op {
            Op::Put(Put { lease: Some(lease), .. })
                if *lease != 0 && !self.leases.contains_key(lease) =>
            {
                Some(Refusal::LeaseNotFound { lease: *lease })
            }
            _ => None,
        })
    }

    fn txn(&mut self, txn: Txn) -> TxnResult {
        let mut keys = self.states.last().expect("there is the empty state").clone();
        let succeeded = txn.compares.iter().all(|compare| holds(&keys, compare));
        let revision = Revision(self.newest() + 1);
        let mut events = Vec::new();
        let ops = if succeeded { txn.then } else { txn.otherwise };
        let limit = self.page_items;
        let results =
            ops.into_iter().map(|op| apply(&mut keys, op, revision, &mut events, limit)).collect();
        if !events.is_empty() {
            self.states.push(keys);
            self.events.extend(events);
        }
        TxnResult { revision: Revision(self.newest()), succeeded, results }
    }

    fn watch(&self, range: &KeyRange, from: Revision) -> Result<(Header, WatchBatch), Refusal> {
        let next = Revision(self.newest() + 1);
        let from = if from == Revision(0) { next } else { from };
        if from.0 < self.compacted {
            return Err(Refusal::Compacted { asked: from, compacted: Revision(self.compacted) });
        }
        let wanted = |e: &&Event| e.revision >= from && range.contains(e.key());
        let events = self.events.iter().filter(wanted).cloned().collect();
        Ok((self.header(), WatchBatch { events, next: next.max(from) }))
    }

    fn status(&self, node: NodeId) -> NodeStatus {
        let member = Member {
            node,
            client_address: "127.0.0.1:8000".into(),
            peer_address: "127.0.0.1:9000".into(),
        };
        let peer =
            PeerStatus { node: NodeId(2), matched: 3, state: "replicate".into(), active: true };
        NodeStatus {
            node,
            cluster: "test".into(),
            version: "0.1.0".into(),
            role: "leader".into(),
            protocol: "raft".into(),
            standing: "term 4".into(),
            epoch: 1,
            leader: Some(node),
            revision: Revision(self.newest()),
            compacted: Revision(self.compacted),
            applied: self.newest() + 1,
            commit: self.newest() + 1,
            last: self.newest() + 1,
            durable: 0,
            ready: true,
            trouble: None,
            members: vec![member],
            peers: vec![peer],
        }
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

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let item = keys.get(&compare.range.start);
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

fn apply(
    keys: &mut Keys,
    op: Op,
    revision: Revision,
    events: &mut Vec<Event>,
    page_items: usize,
) -> OpResult {
    match op {
        Op::Put(Put { key, value, lease, .. }) => {
            let old = keys.get(&key);
            let item = Item {
                key: key.clone(),
                value: value.unwrap_or_default(),
                created: old.map_or(revision, |old| old.created),
                modified: revision,
                version: old.map_or(1, |old| old.version + 1),
                lease: lease.unwrap_or_default(),
            };
            events.push(Event::new(revision, Change::Put(item.clone())));
            keys.insert(key, item);
            OpResult::Put { previous: None }
        }
        Op::Delete { range, .. } => {
            let gone: Vec<Bytes> = keys.keys().filter(|key| range.contains(key)).cloned().collect();
            for key in &gone {
                keys.remove(key);
                events.push(Event::new(revision, Change::Delete { key: key.clone() }));
            }
            OpResult::Deleted { count: gone.len() as u64, previous: Vec::new() }
        }
        Op::Read(query) => OpResult::Read(page(keys, &query, page_items)),
        Op::Txn(_) => unreachable!("this gateway makes no transactions within others"),
    }
}
