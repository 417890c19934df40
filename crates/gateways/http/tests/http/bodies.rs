//! Bodies that are too long, too slow or broken; and how much of them is held at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gateway_http::Config;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};

use crate::world::{VALUE_LIMIT_BYTES, World};

/// A body that is held while others come.
static HELD: [u8; 200_000] = [b'v'; 200_000];

enum Step {
    Data(&'static [u8]),
    Break,
    Stall,
}

/// A body that does as it is told, and then ends.
struct Scripted(VecDeque<Step>);

impl Body for Scripted {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
            Some(Step::Break) => Poll::Ready(Some(Err("connection reset".into()))),
            Some(Step::Stall) => {
                self.0.push_front(Step::Stall);
                Poll::Pending
            }
        }
    }
}

async fn put(world: &World, steps: impl IntoIterator<Item = Step>) -> (u16, String) {
    let body = Scripted(steps.into_iter().collect());
    let request = Request::builder().method("PUT").uri("/v1/kv/a").body(body).unwrap();
    let answer = world.gateway.handle(request).await;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn pieces_are_put_together() {
    let world = World::new();
    let steps = [&b""[..], b"one ", b"", b"two ", b"three"].map(Step::Data);
    assert_eq!(put(&world, steps).await.0, 201);
    assert_eq!(world.get("/v1/kv/a").await.text(), "one two three");
    assert_eq!(put(&world, []).await.0, 200);
    assert_eq!(world.get("/v1/kv/a").await.text(), "");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_while_it_arrives() {
    let world = World::new();
    let piece: &[u8] = &[b'v'; VALUE_LIMIT_BYTES];
    let (status, told) = put(&world, [Step::Data(piece), Step::Data(b"!"), Step::Stall]).await;
    assert_eq!(status, 413);
    assert!(told.contains("value of 1001 bytes is over the limit of 1000 bytes"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_announced_length_over_the_limit_is_refused_unread() {
    let world = World::new();
    let announce = [("Content-Length", "1001")];
    let told = world.send("PUT", "/v1/kv/a", &announce, "").await;
    assert_eq!(told.fault().0, 413);
    assert_eq!(told.json()["error"]["size"], 1001);
}

#[tokio::test(start_paused = true)]
async fn slow_and_broken_bodies_are_told_so() {
    let world = World::new();
    let begun = tokio::time::Instant::now();
    let (status, told) = put(&world, [Step::Data(b"half"), Step::Stall]).await;
    assert_eq!((status, begun.elapsed()), (408, Duration::from_secs(10)), "{told}");
    let (status, told) = put(&world, [Step::Data(b"half"), Step::Break]).await;
    assert_eq!(status, 400);
    assert!(told.contains("connection reset") && told.contains("not done"), "{told}");
    assert_eq!(world.get("/v1/kv/a").await.status, 404, "half a value is no value");
}

#[tokio::test(start_paused = true)]
async fn the_bodies_of_all_requests_share_one_room() {
    let config = Config { value_limit_bytes: 200_000, body_room_bytes: 0, ..Config::default() };
    let world = World::with(config);
    // The room is at least what one JSON body may have: (200000 + 8192) * 6 + 65536.
    let held = Scripted([Step::Data(&HELD), Step::Stall].into_iter().collect());
    let held = || Request::builder().method("PUT").uri("/v1/kv/a").body(held).unwrap();
    let request = held();
    let mut waiting = Box::pin(world.gateway.handle(request));
    let idle = tokio::time::timeout(Duration::from_secs(1), &mut waiting).await;
    assert!(idle.is_err(), "the body has not ended");
    let room = (200_000 + 8192) * 6 + 65_536;
    let big = vec![b' '; room - 200_000];
    assert_eq!(
        world.send("POST", "/v1/txn", &[], [&big[..], b"{}"].concat()).await.fault().1,
        "busy"
    );
    assert_eq!(world.send("POST", "/v1/txn", &[], [&big[2..], b"{}"].concat()).await.status, 200);
    drop(waiting);
    assert_eq!(world.send("POST", "/v1/txn", &[], [&big[..], b"{}"].concat()).await.status, 200);
}

/// The binary moves a request's future between threads: it must be `Send`.
#[test]
fn a_request_may_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    fn share<T: Send + Sync>() {}
    let world = World::new();
    let body = Scripted(VecDeque::new());
    let answer = world.gateway.handle(Request::new(body));
    check(&answer);
    share::<gateway_http::Gateway>();
}
