//! A history of changes behind the client's transport: one node that can be told to fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, CallError, CallFuture, Transport};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use wire::{
    Change, Denial, Event, Header, Item, KeyRange, NodeId, Page, Refusal, Reply, Request, Revision,
    WatchBatch,
};

/// How long it takes to find out whether somebody may watch.
pub(super) const JUDGING: Duration = Duration::from_millis(300);

/// The most changes in one answer, but for those of one revision.
const BATCH: usize = 7;

#[derive(Default)]
pub(super) struct Store {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    events: Vec<Event>,
    revision: u64,
    compacted: u64,
    /// Questions of watches that were answered.
    answered: u64,
    /// Questions of watches that wait.
    waiting: usize,
    /// As many questions of watches fail next.
    failures: usize,
    /// May read nothing.
    barred: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        let (answered, waiting, failures) = (0, 0, 0);
        let (events, revision, compacted, barred) = (Vec::new(), 1, 0, None);
        Self { events, revision, compacted, answered, waiting, failures, barred }
    }
}

impl Store {
    /// A transaction that puts these keys; its revision.
    pub(super) fn put(&self, keys: &[&str], value: impl Into<Bytes>) -> u64 {
        let value = value.into();
        self.change(keys, |key, revision| {
            let (created, modified) = (Revision(revision), Revision(revision));
            let value = value.clone();
            Change::Put(Item { key, value, created, modified, version: 1, lease: 0 })
        })
    }

    pub(super) fn delete(&self, keys: &[&str]) -> u64 {
        self.change(keys, |key, _| Change::Delete { key })
    }

    fn change(&self, keys: &[&str], change: impl Fn(Bytes, u64) -> Change) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let revision = state.revision;
        for key in keys {
            let key = Bytes::copy_from_slice(key.as_bytes());
            let before = state.events.iter().rev().find(|event| event.key() == &key);
            let previous = before.and_then(|event| match &event.change {
                Change::Put(item) => Some(item.clone()),
                Change::Delete { .. } => None,
            });
            let change = change(key, revision);
            state.events.push(Event { revision: Revision(revision), change, previous });
        }
        drop(state);
        self.changed.notify_waiters();
        revision
    }

    pub(super) fn compact(&self, revision: u64) {
        let mut state = self.state.lock().unwrap();
        state.compacted = revision;
        state.events.retain(|event| event.revision.0 > revision);
    }

    pub(super) fn revision(&self) -> u64 {
        self.state.lock().unwrap().revision
    }

    pub(super) fn answered(&self) -> u64 {
        self.state.lock().unwrap().answered
    }

    pub(super) fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }

    pub(super) fn fail(&self, questions: usize) {
        self.state.lock().unwrap().failures = questions;
    }

    /// This user may read nothing any more.
    pub(super) fn bar(&self, user: &str) {
        self.state.lock().unwrap().barred = Some(user.to_owned());
    }

    /// Judges by what is so now; that it is told takes its time.
    async fn judge(&self, request: &Request) -> Result<(), Denial> {
        let Request::As { principal, .. } = request else { return Ok(()) };
        if principal.is_node_itself() {
            return Ok(());
        }
        let barred = self.state.lock().unwrap().barred.as_ref() == Some(&principal.user);
        sleep(JUDGING).await;
        if barred { Err(Denial::Forbidden) } else { Ok(()) }
    }

    /// What a watcher of a range must see: revision, key, and if `previous`, the revision of what was
    /// before.
    pub(super) fn history(
        &self,
        range: &KeyRange,
        from: u64,
        previous: bool,
    ) -> Vec<(u64, Bytes, Option<u64>)> {
        let state = self.state.lock().unwrap();
        let wanted = |e: &&Event| e.revision.0 >= from && range.contains(e.key());
        let told = |e: &Event| {
            let known = e.previous.as_ref().filter(|_| previous);
            (e.revision.0, e.key().clone(), known.map(|item| item.modified.0))
        };
        state.events.iter().filter(wanted).map(told).collect()
    }

    async fn watch(
        self: Arc<Self>,
        range: KeyRange,
        from: Revision,
        wait: Duration,
        previous: bool,
    ) -> Result<Answer, CallError> {
        let deadline = Instant::now() + wait;
        let _waits = Waits::begin(&self);
        loop {
            let changed = self.changed.notified();
            let late = Instant::now() >= deadline;
            if let Some(answer) = self.state.lock().unwrap().watch(&range, from, late, previous)? {
                return Ok(answer);
            }
            // Either way there is something to look at.
            let _ = timeout_at(deadline, changed).await;
        }
    }
}

/// Counts a question as long as it waits.
struct Waits(Arc<Store>);

impl Waits {
    fn begin(store: &Arc<Store>) -> Self {
        store.state.lock().unwrap().waiting += 1;
        Self(Arc::clone(store))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().waiting -= 1;
    }
}

impl State {
    fn header(&self) -> Header {
        let node = NodeId(1);
        Header { revision: Revision(self.revision), applied: 1, node, leader: Some(node) }
    }

    /// As a node does it: at once if there is a revision to look at, whatever is in it.
    fn watch(
        &mut self,
        range: &KeyRange,
        from: Revision,
        late: bool,
        previous: bool,
    ) -> Result<Option<Answer>, CallError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(CallError::Lost { target: "n1".into(), why: "told so".into() });
        }
        let from = if from == Revision(0) { Revision(self.revision + 1) } else { from };
        if from.0 <= self.compacted {
            let compacted = Revision(self.compacted);
            return Ok(Some(Err(Refusal::Compacted { asked: from, compacted })));
        }
        let mut events: Vec<Event> = Vec::new();
        let mut next = Revision(self.revision + 1).max(from);
        for event in &self.events {
            if event.revision < from || !range.contains(event.key()) {
                continue;
            }
            let begins = events.last().is_some_and(|last| last.revision < event.revision);
            if begins && events.len() >= BATCH {
                next = event.revision;
                break;
            }
            let known = event.previous.clone().filter(|_| previous);
            events.push(Event { previous: known, ..event.clone() });
        }
        if events.is_empty() && !late && from.0 > self.revision {
            return Ok(None);
        }
        self.answered += 1;
        Ok(Some(Ok((self.header(), Reply::Events(WatchBatch { events, next })))))
    }
}

/// The store as a transport.
pub(super) struct Wire(pub(super) Arc<Store>);

impl Transport for Wire {
    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1)]
    }

    fn since(&self) -> u64 {
        1
    }

    fn call(&self, _: NodeId, request: Request, _: Duration) -> CallFuture {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            if let Err(denial) = store.judge(&request).await {
                return Ok(Err(denial.into()));
            }
            match request.bare().clone() {
                Request::Watch { range, from, wait_ms, previous } => {
                    let wait = Duration::from_millis(wait_ms.into());
                    store.watch(range, from, wait, previous).await
                }
                Request::Read { .. } => {
                    let header = store.state.lock().unwrap().header();
                    Ok(Ok((header, Reply::Page(Page::default()))))
                }
                other => panic!("a watch asks for {other:?}"),
            }
        })
    }
}
