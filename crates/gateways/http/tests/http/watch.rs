//! Watches as Server-Sent Events.

use std::time::Duration;

use gateway_http::Config;
use tokio::time::Instant;

use crate::world::{World, next_piece};

#[tokio::test(start_paused = true)]
async fn changes_come_a_revision_at_a_time() {
    let world = World::new();
    world.put("/v1/kv/before", "").await;
    let mut answer = world.open("GET", "/v1/watch?prefix=a", &[], "").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cairn-revision"], "1");
    // All of this happens before the body is first polled, and none of it is missed.
    let txn = r#"{"then":[{"put":{"key":"a1","value":"1"}},{"put":{"key":"b","value":"2"}},{"put":{"key":"a2","value_base64":"/w=="}}]}"#;
    world.post("/v1/txn", txn).await;
    world.put("/v1/kv/other", "").await;
    world.send("DELETE", "/v1/kv/a1", &[], "").await;
    assert_eq!(next_piece(&mut answer).await.unwrap(), ": watching from revision 2\nid: 1\n\n");
    assert_eq!(
        next_piece(&mut answer).await.unwrap(),
        concat!(
            "event: change\nid: 2\ndata: {\"revision\":2,\"events\":[",
            r#"{"type":"put","key":"a1","value":"1","created":2,"modified":2,"version":1},"#,
            r#"{"type":"put","key":"a2","value_base64":"/w==","created":2,"modified":2,"version":1}"#,
            "]}\n\n"
        )
    );
    assert_eq!(
        next_piece(&mut answer).await.unwrap(),
        "event: change\nid: 4\ndata: {\"revision\":4,\"events\":[{\"type\":\"delete\",\"key\":\"a1\"}]}\n\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_behind_the_last_id() {
    let world = World::new();
    for key in ["a", "b", "c"] {
        world.put(&format!("/v1/kv/{key}"), "").await;
    }
    for (uri, last, first) in [
        ("/v1/watch?revision=2", None, "id: 2"),
        ("/v1/watch?revision=1", Some("2"), "id: 3"),
        ("/v1/watch", Some("0"), "id: 1"),
        ("/v1/watch?key=c&revision=1", None, "id: 3"),
        ("/v1/watch?from=b&to=c&revision=1", Some(""), "id: 2"),
    ] {
        let headers: Vec<_> = last.map(|last| ("Last-Event-ID", last)).into_iter().collect();
        let mut answer = world.open("GET", uri, &headers, "").await;
        next_piece(&mut answer).await.unwrap();
        let piece = next_piece(&mut answer).await.unwrap();
        assert!(piece.contains(first), "{uri}: {piece}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_says_that_it_lives_and_where_it_is() {
    let world = World::new();
    let mut answer = world.open("GET", "/v1/watch?prefix=a", &[], "").await;
    next_piece(&mut answer).await.unwrap();
    world.put("/v1/kv/other", "").await;
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(next_piece(&mut answer).await.unwrap(), ": still watching\nid: 1\n\n");
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    world.put("/v1/kv/a", "").await;
    assert!(next_piece(&mut answer).await.unwrap().contains("id: 2"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_says_why_and_ends() {
    let world = World::new();
    for value in ["1", "2", "3"] {
        world.put("/v1/kv/a", value).await;
    }
    world.post("/v1/compact", r#"{"before":3}"#).await;
    let mut answer = world.open("GET", "/v1/watch?revision=1", &[], "").await;
    next_piece(&mut answer).await.unwrap();
    assert_eq!(
        next_piece(&mut answer).await.unwrap(),
        concat!(
            "event: error\ndata: {\"error\":{\"code\":\"compacted\",\"message\":\"revision 1 is compacted ",
            "away; the oldest that can be read is 3\",\"outcome\":\"not done\",\"asked\":1,\"oldest\":3}}\n\n"
        )
    );
    assert_eq!(next_piece(&mut answer).await, None);
    assert_eq!(next_piece(&mut answer).await, None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_ahead_of_a_slow_reader() {
    let world = World::new();
    for key in ["a", "b"] {
        world.put(&format!("/v1/kv/{key}"), "").await;
    }
    let mut answer = world.open("GET", "/v1/watch?revision=1", &[], "").await;
    next_piece(&mut answer).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.memory.watched(), 0);
    next_piece(&mut answer).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    next_piece(&mut answer).await.unwrap();
    assert_eq!(world.memory.watched(), 1, "two revisions of one batch");
}

#[tokio::test(start_paused = true)]
async fn watches_are_bounded_and_give_their_place_back() {
    let world = World::with(Config { watches: 2, ..Config::default() });
    let first = world.open("GET", "/v1/watch", &[], "").await;
    let _second = world.open("GET", "/v1/watch", &[], "").await;
    assert_eq!(world.get("/v1/watch").await.fault(), (503, "busy".into(), "not done".into()));
    drop(first);
    assert_eq!(world.open("GET", "/v1/watch", &[], "").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_refused_before_the_stream_begins() {
    let world = World::new();
    for uri in
        ["/v1/watch?revision=0", "/v1/watch?key=a&prefix=b", "/v1/watch?key=", "/v1/watch?all"]
    {
        assert_eq!(world.get(uri).await.fault().0, 400, "{uri}");
    }
    for last in ["x", "-1", "18446744073709551615"] {
        let told = world.send("GET", "/v1/watch", &[("Last-Event-ID", last)], "").await;
        assert_eq!(told.fault().0, 400, "{last}");
    }
    assert_eq!(world.send("HEAD", "/v1/watch", &[], "").await.status, 405);
    let newest = "/v1/watch?revision=18446744073709551615";
    let mut answer = world.open("GET", newest, &[], "").await;
    for _ in 0..3 {
        next_piece(&mut answer).await.unwrap();
    }
}
