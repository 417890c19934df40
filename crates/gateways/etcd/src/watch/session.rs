//! What moves the hub: streams of requests, the feed, and the reads of those behind.
//!
//! The hub's lock is held for its turns alone, never while something is waited for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Error, Guard, Watch};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Status};
use wire::{Consistency, Principal, Projection, Query, Refusal, Revision};

use super::catchup::{Read, ReadEnd};
use super::feed::FeedQuestion;
use super::hub::{Hub, Limits, StreamId};
use super::judge::Judge;
use super::outlet::{Message, Outlet};
use crate::auth::Asker;
use crate::errors;
use crate::header::HeaderOf;
use crate::pb::etcdserverpb::WatchRequest;
use crate::pb::etcdserverpb::watch_request::RequestUnion;

/// How long the feed waits for a change before it asks again.
const FEED_WAIT: Duration = Duration::from_secs(10);

/// How long a read for somebody behind waits, should its revision not be there yet: the node that
/// answers may itself be behind.
const READ_WAIT: Duration = Duration::from_secs(1);

/// The pause after nobody has answered; twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What it takes to send one response. Until all of a batch are sent the feed rests: more changes come
/// meanwhile, and a thousand watchers are told of them by one message each instead of several. Asked at
/// once, the feed would only queue what can't leave yet.
const RESPONSE_TIME: Duration = Duration::from_micros(3);

/// What is shorter is no rest: the clock is not so fine.
const SHORTEST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(5);

/// Requests of one stream that are looked at together: they share one question for the newest revision.
const TOGETHER: usize = 256;

/// A key to ask for when only the answer's revision matters.
const ANY_KEY: Bytes = Bytes::from_static(b"\0");

/// All watches of a gateway.
pub(crate) struct Watching {
    /// In the name of the node itself: it reads for all. What each of them may see is asked in his own
    /// name, when he begins and whenever users or their rights have changed.
    client: Client,
    pub(super) guard: Arc<dyn Guard>,
    hub: Mutex<Hub>,
    /// The feed shall ask anew.
    kick: Notify,
    progress: Duration,
}

impl Watching {
    pub(crate) fn new(
        client: &Client,
        guard: Arc<dyn Guard>,
        limits: Limits,
        progress: Duration,
        header: HeaderOf,
    ) -> Arc<Self> {
        let hub = Mutex::new(Hub::new(limits, header));
        let client = client.in_name_of(Some(Principal::node_itself()));
        Arc::new(Self { client, guard, hub, kick: Notify::new(), progress })
    }

    /// A stream of requests, and what answers it.
    pub(crate) fn open<S>(self: &Arc<Self>, requests: S, asker: Asker) -> Result<Answers, Status>
    where
        S: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin + 'static,
    {
        let opened = self.lock().open();
        let (id, outlet) = opened.ok_or_else(errors::too_many_requests)?;
        let watching = Arc::clone(self);
        let outlet_of_session = Arc::clone(&outlet);
        let judge = Judge { watching: Arc::clone(self), id, outlet: Arc::clone(&outlet), asker };
        let session = Session {
            watching,
            id,
            outlet: outlet_of_session,
            requests: Some(requests),
            judge,
            seen: 0,
        };
        let session = tokio::spawn(session.run()).abort_handle();
        Ok(Answers { watching: Arc::clone(self), id, outlet, session })
    }

    /// Does something to the hub, and then what the hub wants done.
    pub(super) fn with<T>(self: &Arc<Self>, act: impl FnOnce(&mut Hub) -> T) -> T {
        let mut hub = self.lock();
        if self.guard.is_enabled() {
            hub.heed(self.guard.changes());
        }
        let result = act(&mut hub);
        let wants = hub.take_wants();
        if wants.start {
            tokio::spawn(Arc::clone(self).feed());
        }
        if wants.kick {
            self.kick.notify_one();
        }
        while let Some(read) = hub.next_read() {
            tokio::spawn(Arc::clone(self).read(read));
        }
        result
    }

    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> usize {
        self.lock().used_bytes()
    }

    #[cfg(test)]
    pub(super) fn watchers(&self) -> usize {
        self.lock().watchers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the synced watchers, as long as there are any.
    async fn feed(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut last: Option<(FeedQuestion, Watch)> = None;
        while let Some(question) = self.with(Hub::next_feed) {
            let mut watch = match last.take() {
                Some((before, watch)) if carries_on(&before, &watch, &question) => watch,
                _ => self.watch(&question),
            };
            let wait = if question.hurry { Duration::ZERO } else { FEED_WAIT };
            let heard = tokio::select! {
                heard = watch.next_within(wait) => heard,
                // Dropping the watch's question loses nothing.
                () = self.kick.notified() => continue,
            };
            match heard {
                Ok(batch) => {
                    pause = FIRST_PAUSE;
                    let told = self.with(|hub| hub.feed(&batch));
                    let rest = RESPONSE_TIME * u32::try_from(told).unwrap_or(u32::MAX);
                    if rest >= SHORTEST_REST {
                        sleep(rest.min(LONGEST_REST)).await;
                    }
                    if question.hurry && batch.next == question.from {
                        // The node that answers has not come so far itself.
                        sleep(FIRST_PAUSE).await;
                    }
                }
                Err(Error::Refused(Refusal::Compacted { .. })) => {
                    return self.with(Hub::feed_compacted);
                }
                Err(error @ Error::Fatal { .. }) => {
                    return self.with(|hub| hub.fail(&errors::of_client(&error)));
                }
                // The watchers wait until somebody answers, as they do where there is no change.
                Err(_) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            last = Some((question, watch));
        }
    }

    fn watch(&self, question: &FeedQuestion) -> Watch {
        let watch = self.client.watch(question.range.clone(), question.from);
        if question.previous { watch.with_previous() } else { watch }
    }

    /// Reads for somebody behind.
    async fn read(self: Arc<Self>, read: Read) {
        let mut watch = self.client.watch(read.range.clone(), read.from);
        if read.previous {
            watch = watch.with_previous();
        }
        let end = match watch.next_within(READ_WAIT).await {
            Ok(batch) => ReadEnd::Changes(batch),
            Err(Error::Refused(Refusal::Compacted { compacted, .. })) => {
                ReadEnd::Compacted(compacted)
            }
            Err(error @ Error::Fatal { .. }) => ReadEnd::Failed(errors::of_client(&error)),
            Err(_) => {
                sleep(LONGEST_PAUSE).await;
                ReadEnd::Nothing
            }
        };
        self.with(|hub| hub.read_done(&read, end));
    }

    /// The newest revision of the node that is asked: at least what it has acknowledged before.
    async fn newest(&self) -> Result<Revision, Error> {
        let query = Query { projection: Projection::CountOnly, ..Query::key(ANY_KEY) };
        Ok(self.client.read(query, Consistency::Eventual).await?.header.revision)
    }
}

/// Whether a watch that was asked `before` can be asked `now`.
fn carries_on(before: &FeedQuestion, watch: &Watch, now: &FeedQuestion) -> bool {
    before.range == now.range && before.previous == now.previous && watch.position() == now.from
}

/// One stream's requests.
struct Session<S> {
    watching: Arc<Watching>,
    id: StreamId,
    outlet: Arc<Outlet>,
    /// `None` when the client asks for nothing more.
    requests: Option<S>,
    judge: Judge,
    /// How many changes of users and rights it has seen.
    seen: u64,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin + 'static,
{
    /// Until the stream's answers are dropped.
    async fn run(mut self) {
        let period = self.watching.progress;
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Who asks without reading what it is told waits here.
            self.outlet.room().await;
            match self.next(&mut ticks).await {
                Next::Tick => self.watching.with(|hub| hub.tick(self.id)),
                Next::Requests(requests) => {
                    if let Err(error) = self.act(requests).await {
                        self.outlet.end(errors::of_client(&error));
                    }
                }
                Next::Judge(seen) => {
                    self.seen = seen;
                    self.judge.judge_all(seen).await;
                }
                Next::HalfClosed => {
                    self.requests = None;
                    self.watching.with(|hub| hub.half_close(self.id));
                }
                Next::Failed(status) => {
                    self.outlet.end(status);
                    return;
                }
            }
        }
    }

    /// What happens next; all requests that have come already, at once.
    async fn next(&mut self, ticks: &mut Interval) -> Next {
        let changed = self.watching.guard.changed(self.seen);
        let Some(requests) = &mut self.requests else {
            return tokio::select! {
                _ = ticks.tick() => Next::Tick,
                seen = changed => Next::Judge(seen),
            };
        };
        let first = std::future::poll_fn(|context| Pin::new(&mut *requests).poll_next(context));
        let first = tokio::select! {
            _ = ticks.tick() => return Next::Tick,
            seen = changed => return Next::Judge(seen),
            first = first => match first {
                None => return Next::HalfClosed,
                Some(Err(status)) => return Next::Failed(status),
                Some(Ok(first)) => first,
            },
        };
        let mut all = vec![first];
        let mut context = Context::from_waker(Waker::noop());
        while all.len() < TOGETHER
            && let Poll::Ready(Some(Ok(next))) = Pin::new(&mut *requests).poll_next(&mut context)
        {
            all.push(next);
        }
        Next::Requests(all)
    }

    async fn act(&mut self, requests: Vec<WatchRequest>) -> Result<(), Error> {
        let requests = requests.into_iter().filter_map(|request| request.request_union);
        let requests: Vec<RequestUnion> = requests.collect();
        let cancels = |request: &RequestUnion| matches!(request, RequestUnion::CancelRequest(_));
        let now =
            if requests.iter().all(cancels) { Revision(0) } else { self.watching.newest().await? };
        let mut judged = Vec::with_capacity(requests.len());
        for request in requests {
            let denial = match &request {
                RequestUnion::CreateRequest(create) => self.judge.judge_new(create).await?,
                RequestUnion::CancelRequest(_) | RequestUnion::ProgressRequest(_) => None,
            };
            judged.push((request, denial));
        }
        self.watching.with(|hub| {
            for (request, denial) in judged {
                match request {
                    RequestUnion::CreateRequest(create) => {
                        hub.create(self.id, create, now, denial.as_deref());
                    }
                    RequestUnion::CancelRequest(cancel) => hub.cancel(self.id, cancel.watch_id),
                    RequestUnion::ProgressRequest(_) => hub.request_progress(self.id, now),
                }
            }
        });
        Ok(())
    }
}

enum Next {
    Tick,
    /// So many changes of users and rights there have been.
    Judge(u64),
    Requests(Vec<WatchRequest>),
    HalfClosed,
    Failed(Status),
}

/// What a stream is answered. Dropped, it takes all of the stream with it.
pub(crate) struct Answers {
    watching: Arc<Watching>,
    id: StreamId,
    outlet: Arc<Outlet>,
    session: AbortHandle,
}

impl Stream for Answers {
    type Item = Result<Message, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.outlet.poll_take(context)) {
            Ok(taken) => {
                if taken.relieved {
                    self.watching.with(|hub| hub.relieved(self.id));
                }
                Poll::Ready(Some(Ok(taken.message)))
            }
            Err(status) if status.code() == Code::Ok => Poll::Ready(None),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.session.abort();
        let mut hub = self.watching.lock();
        hub.close(self.id);
        // Nothing is begun here: the runtime itself may be ending.
        if hub.take_wants().kick {
            self.watching.kick.notify_one();
        }
    }
}
