//! A model of a cluster: one store behind three nodes, whose requests and answers can be lost by
//! script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, CallError, CallFuture, Client, Config, Transport};
use wire::{
    Body, Change, Command, Event, Header, Item, NodeId, NodeStatus, Op, OpResult, Page, Put, Query,
    Refusal, Reply, Request, RequestId, Revision, TxnResult, WatchBatch,
};

pub(crate) const PAGE_ITEMS: usize = 4;

/// What becomes of one call.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It goes well.
    Fine,
    /// It never leaves.
    NotSent,
    /// It leaves and is lost; known when the time is over.
    LoseRequest,
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// It is refused.
    Refuse(Refusal),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) store: Store,
    /// The fates of the calls to come; fine if there are none.
    pub(crate) fates: VecDeque<Fate>,
    /// What was asked of whom, status questions left out.
    pub(crate) calls: Vec<(u64, Request)>,
    /// Clients made so far.
    pub(crate) clients: u128,
}

/// The versioned store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) revision: u64,
    pub(crate) applied: u64,
    pub(crate) leader: u64,
    pub(crate) versions: BTreeMap<u64, BTreeMap<Bytes, Item>>,
    pub(crate) events: Vec<Event>,
    pub(crate) remembered: BTreeMap<RequestId, TxnResult>,
    pub(crate) chunks: Vec<wire::RestoreChunk>,
}

/// The way to it.
#[derive(Clone)]
pub(crate) struct Fake(pub Arc<Mutex<State>>);

impl Fake {
    pub(crate) fn new() -> Self {
        let mut state = State::default();
        state.store.leader = 1;
        state.store.applied = 7;
        Self(Arc::new(Mutex::new(state)))
    }

    /// A client of its own; the first one is `0xc11e`.
    pub(crate) fn client(&self) -> Client {
        let count = self.with(|state| {
            state.clients += 1;
            state.clients
        });
        Client::new(Arc::new(self.clone()), Config::new(0xc11d + count, 1))
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().expect("no panic in here"))
    }

    pub(crate) fn fates(&self, fates: impl IntoIterator<Item = Fate>) {
        self.with(|state| state.fates.extend(fates));
    }

    pub(crate) fn commands(&self) -> Vec<Command> {
        self.with(|state| {
            let writes = state.calls.iter().filter_map(|(_, request)| match request {
                Request::Write(bytes) => Some(bytes.clone()),
                _ => None,
            });
            writes.map(|bytes| Command::decode(bytes).expect("a command")).collect()
        })
    }

    pub(crate) fn asked(&self) -> Vec<u64> {
        self.with(|state| state.calls.iter().map(|(node, _)| *node).collect())
    }
}

impl Transport for Fake {
    fn nodes(&self) -> Vec<NodeId> {
        [1, 2, 3].map(NodeId).to_vec()
    }

    fn since(&self) -> u64 {
        0
    }

    fn call(&self, to: NodeId, request: Request, timeout: Duration) -> CallFuture {
        let this = self.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let fate = this.with(|state| {
                if request == Request::Status {
                    return Fate::Fine;
                }
                state.calls.push((to.0, request.clone()));
                state.fates.pop_front().unwrap_or(Fate::Fine)
            });
            let target = to.to_string();
            let why = "by script".to_owned();
            match fate {
                Fate::Fine => loop {
                    let answer = this.with(|state| state.store.answer(to.0, &request));
                    let Request::Watch { wait_ms, .. } = request else { return Ok(answer) };
                    let empty = matches!(&answer, Ok((_, Reply::Events(b))) if b.events.is_empty());
                    if wait_ms == 0 || !empty {
                        return Ok(answer);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                },
                Fate::NotSent => Err(CallError::NotSent { target, why }),
                Fate::LoseRequest => {
                    tokio::time::sleep(timeout).await;
                    Err(CallError::Lost { target, why })
                }
                Fate::LoseAnswer => {
                    let _ = this.with(|state| state.store.answer(to.0, &request));
                    Err(CallError::Lost { target, why })
                }
                Fate::Refuse(refusal) => Ok(Err(refusal)),
            }
        })
    }
}

impl Store {
    pub(crate) fn answer(&mut self, node: u64, request: &Request) -> Answer {
        let needs_leader = client::Target::of(request) == client::Target::Leader;
        if needs_leader && node != self.leader {
            return Err(Refusal::NotLeader { leader: Some(NodeId(self.leader)) });
        }
        let mut revision = self.revision;
        let reply = match request {
            Request::Read { query, .. } => {
                revision = query.revision.map_or(revision, |r| r.0);
                Reply::Page(self.page(query))
            }
            Request::Write(bytes) => {
                let result = self.write(&Command::decode(bytes.clone()).expect("a command"))?;
                revision = self.revision;
                Reply::Written(result)
            }
            Request::Watch { range, from, .. } => {
                let from = if from.0 == 0 { Revision(revision + 1) } else { *from };
                let seen = |e: &&Event| e.revision >= from && range.contains(e.key());
                let events = self.events.iter().filter(seen).cloned().collect();
                let next = from.max(Revision(revision + 1));
                Reply::Events(WatchBatch { events, next })
            }
            Request::KeepAlive { .. }
            | Request::Lease { .. }
            | Request::Leases
            | Request::Members
            | Request::Scrub
            | Request::ChangeMembers(_)
            | Request::Auth(_)
            | Request::Authenticate { .. }
            | Request::As { .. } => Reply::Leases(Vec::new()),
            Request::Status => Reply::Status(Box::new(self.status(node))),
            Request::Transfer { to } => {
                self.leader = to.0;
                Reply::Transferring
            }
        };
        Ok((self.header(node, revision), reply))
    }

    fn header(&self, node: u64, revision: u64) -> Header {
        Header {
            revision: Revision(revision),
            applied: self.applied,
            node: NodeId(node),
            leader: Some(NodeId(self.leader)),
        }
    }

    fn items_at(&self, revision: u64) -> BTreeMap<Bytes, Item> {
        self.versions.range(..=revision).next_back().map(|(_, v)| v.clone()).unwrap_or_default()
    }

    fn page(&self, query: &Query) -> Page {
        let items = self.items_at(query.revision.map_or(self.revision, |r| r.0));
        let mut found: Vec<Item> =
            items.into_values().filter(|i| query.range.contains(&i.key)).collect();
        let limit = if query.limit == 0 { PAGE_ITEMS } else { query.limit as usize };
        let more = found.len() > limit;
        found.truncate(limit);
        Page { count: found.len() as u64, items: found, more }
    }

    fn write(&mut self, command: &Command) -> Result<TxnResult, Refusal> {
        self.applied += 1;
        if let Some(result) = self.remembered.get(&command.id) {
            return Ok(result.clone());
        }
        let result = match &command.body {
            Body::Txn(txn) => self.txn(&txn.then),
            Body::Restore(chunk) => {
                if self.revision > 0 {
                    return Err(Refusal::NotEmpty { revision: Revision(self.revision) });
                }
                self.chunks.push(chunk.clone());
                if chunk.last {
                    let items = self.chunks.iter().flat_map(|c| c.items.clone());
                    let items = items.map(|i| (i.key.clone(), i)).collect();
                    self.revision = chunk.revision.0;
                    self.versions.insert(self.revision, items);
                }
                self.txn(&[])
            }
            Body::Compact { .. }
            | Body::Grant { .. }
            | Body::Revoke { .. }
            | Body::Expire(_)
            | Body::Checkpoint { .. }
            | Body::Auth(_)
            | Body::Scrub { .. } => self.txn(&[]),
        };
        self.remembered.insert(command.id, result.clone());
        Ok(result)
    }

    fn txn(&mut self, ops: &[Op]) -> TxnResult {
        let revision = Revision(self.revision + 1);
        let mut items = self.items_at(self.revision);
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for op in ops {
            match op {
                Op::Put(put) => {
                    let Put { key, value, lease, .. } = put;
                    let old = items.get(key);
                    let created = old.map_or(revision, |i| i.created);
                    let version = old.map_or(0, |i| i.version) + 1;
                    let (key, lease) = (key.clone(), lease.unwrap_or_default());
                    let value = value.clone().unwrap_or_default();
                    let item = Item { key, value, created, modified: revision, version, lease };
                    items.insert(item.key.clone(), item.clone());
                    changes.push(Change::Put(item));
                    results.push(OpResult::Put { previous: None });
                }
                Op::Delete { range, .. } => {
                    let keys: Vec<Bytes> =
                        items.keys().filter(|k| range.contains(k)).cloned().collect();
                    let count = keys.len() as u64;
                    results.push(OpResult::Deleted { count, previous: Vec::new() });
                    for key in keys {
                        items.remove(&key);
                        changes.push(Change::Delete { key });
                    }
                }
                Op::Read(query) => results.push(OpResult::Read(self.page(query))),
                Op::Txn(_) => unreachable!("this fake knows no transactions within others"),
            }
        }
        if !changes.is_empty() {
            self.revision = revision.0;
            self.versions.insert(revision.0, items);
            self.events.extend(changes.into_iter().map(|change| Event::new(revision, change)));
        }
        TxnResult { revision: Revision(self.revision), succeeded: true, results }
    }

    fn status(&self, node: u64) -> NodeStatus {
        NodeStatus {
            node: NodeId(node),
            cluster: "test".into(),
            version: "0.0.0".into(),
            role: if node == self.leader { "leader" } else { "follower" }.into(),
            protocol: "raft".into(),
            standing: "term 4".into(),
            epoch: 1,
            leader: Some(NodeId(self.leader)),
            revision: Revision(self.revision),
            compacted: Revision(0),
            applied: self.applied,
            commit: self.applied,
            last: self.applied,
            durable: self.applied,
            ready: true,
            trouble: None,
            notice: None,
            members: Vec::new(),
            peers: Vec::new(),
        }
    }
}
