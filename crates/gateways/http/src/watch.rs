//! `/v1/watch`: changes as they happen, as Server-Sent Events.
//!
//! All changes of a revision are one message, whose id is the revision: a client that comes back with
//! `Last-Event-ID` gets all of the next one, and never half of any. When nothing happens, a heartbeat
//! moves the id on, so that a quiet client does not fall behind what is compacted.
//!
//! The cluster is asked again only when everything has been read out of the body: a slow reader costs
//! one batch of memory, whatever happens meanwhile.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use client::Watch;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wire::{Consistency, Event, KeyRange, Projection, Query, Revision, WatchBatch};

use crate::call::Call;
use crate::errors::Fault;
use crate::json::EventJson;
use crate::params::{brief, header_text};
use crate::ranges::Named;
use crate::reply::{self, Answer, CAIRN_REVISION};

/// How long the stream may be silent: for longer, it looks dead to proxies and clients.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// `GET`: a stream of changes. Without a revision it begins behind the newest at this moment.
pub(crate) async fn watch(call: &Call<'_>, places: &Arc<Semaphore>) -> Result<Answer, Fault> {
    let range = Named::in_query(&call.params).range()?.unwrap_or_else(KeyRange::all);
    let from = match start(call)? {
        Some(from) => from,
        None => newest(call).await?.next(),
    };
    let Ok(place) = places.clone().try_acquire_owned() else {
        return Err(Fault::busy("as many watches as this node allows are open"));
    };
    let body = WatchBody {
        greeting: Some(format!(": watching from revision {from}\nid: {}\n\n", from.0 - 1)),
        ready: VecDeque::new(),
        from,
        asking: Some(ask(call.store.watch(range, from))),
        _place: place,
    };
    let mut answer = Response::new(body.boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply::set_number(headers, CAIRN_REVISION, from.0 - 1);
    Ok(answer)
}

/// Where to begin, if the request says it. A client that comes back repeats its first URL, so what
/// it has seen since counts for more than `revision`.
fn start(call: &Call<'_>) -> Result<Option<Revision>, Fault> {
    let from_query = call.params.number("revision")?.map(Revision);
    let Some(text) = header_text(call.headers, "last-event-id")?.filter(|text| !text.is_empty())
    else {
        return Ok(from_query);
    };
    match text.parse::<u64>().ok().and_then(|last| last.checked_add(1)) {
        Some(from) => Ok(Some(Revision(from))),
        None => Err(Fault::invalid(format!(
            "`Last-Event-ID` must be the id of an earlier event, a revision, not `{}`",
            brief(text)
        ))),
    }
}

/// The newest revision: asking for a count of one key is the cheapest read that tells it.
async fn newest(call: &Call<'_>) -> Result<Revision, Fault> {
    let any_key = Query::key(Bytes::from_static(b"0"));
    let query = Query { projection: Projection::CountOnly, ..any_key };
    let (header, _) = call.store.read(query, Consistency::Linearizable).await?;
    Ok(header.revision)
}

/// The stream of one watch.
struct WatchBody {
    /// Said first, so that the headers leave at once and the client knows where it stands.
    greeting: Option<String>,
    /// What is known and not yet said.
    ready: VecDeque<Event>,
    /// Everything before this revision is said, once `ready` is.
    from: Revision,
    /// The cluster's next batch; `None` once the watch is over.
    asking: Option<Asking>,
    _place: OwnedSemaphorePermit,
}

type Asking = Pin<Box<dyn Future<Output = (Watch, Heard)> + Send>>;

/// What came of asking for the next changes.
enum Heard {
    Changes(WatchBatch),
    Silence,
    Failure(client::Error),
}

/// Does nothing before it is first polled, so no batch is fetched ahead of a slow reader.
fn ask(mut watch: Watch) -> Asking {
    Box::pin(async move {
        // Dropping a watch's `next` loses nothing.
        let heard = match timeout(HEARTBEAT, watch.next()).await {
            Ok(Ok(batch)) => Heard::Changes(batch),
            Ok(Err(error)) => Heard::Failure(error),
            Err(_) => Heard::Silence,
        };
        (watch, heard)
    })
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_message(context)
            .map(|message| message.map(|message| Ok(Frame::data(Bytes::from(message)))))
    }
}

impl WatchBody {
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(greeting));
        }
        loop {
            if let Some(message) = self.next_revision() {
                return Poll::Ready(Some(message));
            }
            let Some(asking) = &mut self.asking else { return Poll::Ready(None) };
            let (watch, heard) = ready!(asking.as_mut().poll(context));
            assert!(watch.position() >= self.from, "a watch went back in time");
            self.from = watch.position();
            match heard {
                Heard::Changes(batch) => self.ready = batch.events.into(),
                Heard::Silence => {
                    self.asking = Some(ask(watch));
                    return Poll::Ready(Some(self.heartbeat()));
                }
                Heard::Failure(error) => {
                    self.asking = None;
                    return Poll::Ready(Some(failure(&Fault::from(error))));
                }
            }
            self.asking = Some(ask(watch));
        }
    }

    /// The next message: all that is ready of one revision. A batch has all of each.
    fn next_revision(&mut self) -> Option<String> {
        let revision = self.ready.front()?.revision;
        let len = self.ready.iter().take_while(|event| event.revision == revision).count();
        let events: Vec<Event> = self.ready.drain(..len).collect();
        Some(changes(revision, &events))
    }

    /// A comment for whoever looks, and an id without data: clients remember it and show nothing.
    fn heartbeat(&self) -> String {
        assert!(self.ready.is_empty(), "a heartbeat would skip changes");
        format!(": still watching\nid: {}\n\n", self.from.0 - 1)
    }
}

#[derive(Serialize)]
struct Changes<'a> {
    revision: u64,
    events: Vec<EventJson<'a>>,
}

fn changes(revision: Revision, events: &[Event]) -> String {
    let changes = Changes { revision: revision.0, events: events.iter().map(EventJson).collect() };
    let data = serde_json::to_string(&changes).expect("our events have string keys");
    format!("event: change\nid: {revision}\ndata: {data}\n\n")
}

/// Said last: why the stream ends.
fn failure(fault: &Fault) -> String {
    let data = serde_json::to_string(&fault.json()).expect("a fault has string keys");
    format!("event: error\ndata: {data}\n\n")
}
