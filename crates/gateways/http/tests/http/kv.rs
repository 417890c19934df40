//! One key: values, entity tags, conditions, consistency.

use wire::Refusal;

use crate::memory::Trouble;
use crate::world::{VALUE_LIMIT_BYTES, World};

#[tokio::test(start_paused = true)]
async fn a_value_is_put_read_and_deleted() {
    let world = World::new();
    let told = world.put("/v1/kv/a", "1").await;
    assert_eq!((told.status, told.text()), (201, r#"{"revision":1,"created":true}"#));
    assert_eq!((told.header("etag"), told.header("cairn-revision")), ("\"1\"", "1"));
    let told = world.put("/v1/kv/a", "22").await;
    assert_eq!((told.status, told.text()), (200, r#"{"revision":2,"created":false}"#));

    let told = world.get("/v1/kv/a").await;
    assert_eq!((told.status, told.text()), (200, "22"));
    assert_eq!(told.header("content-type"), "application/octet-stream");
    let headers = ["etag", "cairn-revision", "cairn-created", "cairn-version"];
    assert_eq!(headers.map(|name| told.header(name)), ["\"2\"", "2", "1", "2"]);

    let told = world.send("HEAD", "/v1/kv/a", &[], "").await;
    assert_eq!((told.status, told.text(), told.header("content-length")), (200, "", "2"));
    assert_eq!(told.header("etag"), "\"2\"");

    let told = world.send("DELETE", "/v1/kv/a", &[], "").await;
    assert_eq!((told.status, told.text()), (200, r#"{"revision":3,"deleted":1}"#));
    let told = world.send("DELETE", "/v1/kv/a", &[], "").await;
    assert_eq!(told.fault(), (404, "not_found".into(), "not done".into()));
    let told = world.get("/v1/kv/a").await;
    assert_eq!(told.fault().1, "not_found");
    assert_eq!(told.header("cairn-revision"), "3");
    assert_eq!(world.send("HEAD", "/v1/kv/a", &[], "").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn keys_are_any_bytes() {
    let world = World::new();
    for (path, same) in [
        ("/v1/kv/a/b", "/v1/kv/a%2fb"),
        ("/v1/kv/%ff%00", "/v1/kv/%FF%00"),
        ("/v1/kv/a+b", "/v1/kv/a%2Bb"),
        ("/v1/kv//", "/v1/kv/%2f"),
        ("/v1/kv/%E7%9F%B3", "/v1/kv/%e7%9f%b3"),
    ] {
        world.put(path, path).await;
        assert_eq!(world.get(same).await.text(), path);
    }
    assert_eq!(world.get("/v1/kv/a%20b").await.status, 404, "a plus is a plus in a path");
    for (path, status) in
        [("/v1/kv/", 400), ("/v1/kv/%", 400), ("/v1/kv/%f", 400), ("/v1/kv/%xy", 400)]
    {
        assert_eq!(world.get(path).await.fault().0, status, "{path}");
    }
    let long = format!("/v1/kv/{}", "k".repeat(8193));
    assert_eq!(world.put(&long, "").await.fault(), (413, "too_large".into(), "not done".into()));
}

#[tokio::test(start_paused = true)]
async fn a_put_keeps_to_its_conditions() {
    let world = World::new();
    let put = async |name: &str, value: &str| {
        let told = world.send("PUT", "/v1/kv/a", &[(name, value)], "x").await;
        (told.status, told.header("etag").to_owned())
    };
    assert_eq!(put("If-Match", "*").await, (412, String::new()));
    assert_eq!(put("If-Match", "\"1\"").await, (412, String::new()));
    assert_eq!(put("If-None-Match", "*").await, (201, "\"1\"".into()));
    assert_eq!(put("If-None-Match", "*").await, (412, "\"1\"".into()));
    assert_eq!(put("If-None-Match", "\"1\"").await, (412, "\"1\"".into()));
    assert_eq!(put("If-None-Match", "\"7\", \"8\"").await, (200, "\"2\"".into()));
    assert_eq!(put("If-Match", "\"1\"").await, (412, "\"2\"".into()));
    assert_eq!(put("If-Match", "\"2\"").await, (200, "\"3\"".into()));
    assert_eq!(put("If-Match", "W/\"3\"").await, (200, "\"4\"".into()));
    assert_eq!(put("If-Match", "*").await, (200, "\"5\"".into()));
    for nonsense in ["\"0\"", "5", "\"five\"", "\"4\", \"5\"", "", "\"", "*, \"5\""] {
        assert_eq!(put("If-Match", nonsense).await.0, 400, "{nonsense}");
    }
    assert_eq!(put("If-None-Match", "\"0\"").await.0, 400);
    assert_eq!(world.get("/v1/kv/a").await.header("etag"), "\"5\"", "nothing else was done");
}

#[tokio::test(start_paused = true)]
async fn a_failed_condition_says_so() {
    let world = World::new();
    world.put("/v1/kv/a", "1").await;
    let told = world.send("PUT", "/v1/kv/a", &[("If-None-Match", "*")], "2").await;
    assert_eq!(told.fault(), (412, "precondition_failed".into(), "not done".into()));
    assert_eq!(told.json()["error"]["current"], 1);
    let told = world.send("DELETE", "/v1/kv/a", &[("If-Match", "\"9\"")], "").await;
    assert_eq!((told.fault().0, told.header("etag")), (412, "\"1\""));
    let told = world.send("DELETE", "/v1/kv/a", &[("If-Match", "\"1\"")], "").await;
    assert_eq!(told.status, 200);
    let told = world.send("DELETE", "/v1/kv/a", &[("If-Match", "*")], "").await;
    assert_eq!(told.fault().0, 412);
}

#[tokio::test(start_paused = true)]
async fn a_read_keeps_to_its_conditions() {
    let world = World::new();
    world.put("/v1/kv/a", "1").await;
    for (name, value, status) in [
        ("If-None-Match", "\"1\"", 304),
        ("If-None-Match", "W/\"1\"", 304),
        ("If-None-Match", "\"other\", \"1\"", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"2\"", 200),
        ("If-Match", "\"1\"", 200),
        ("If-Match", "\"2\"", 412),
    ] {
        let told = world.send("GET", "/v1/kv/a", &[(name, value)], "").await;
        assert_eq!((told.status, told.header("etag")), (status, "\"1\""), "{name}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn past_states_are_read_until_they_are_compacted() {
    let world = World::new();
    for value in ["1", "2", "3"] {
        world.put("/v1/kv/a", value).await;
    }
    assert_eq!(world.get("/v1/kv/a?revision=2").await.text(), "2");
    let told = world.get("/v1/kv/a?revision=4").await;
    assert_eq!(told.fault(), (400, "future_revision".into(), "not done".into()));
    assert_eq!(told.json()["error"]["newest"], 3);
    assert_eq!(
        world.post("/v1/compact", r#"{"before":3}"#).await.text(),
        r#"{"revision":3,"oldest":3}"#
    );
    let told = world.get("/v1/kv/a?revision=2").await;
    assert_eq!(told.fault(), (410, "compacted".into(), "not done".into()));
    assert_eq!(told.json()["error"]["oldest"], 3);
    assert_eq!(world.get("/v1/kv/a?revision=0").await.fault().0, 400);
}

#[tokio::test(start_paused = true)]
async fn consistency_is_chosen_by_query_or_session() {
    let world = World::new();
    world.put("/v1/kv/a", "1").await;
    for (uri, header, status) in [
        ("/v1/kv/a?consistency=linearizable", "", 200),
        ("/v1/kv/a?consistency=eventual", "", 200),
        ("/v1/kv/a?consistency=session&session=1", "", 200),
        ("/v1/kv/a?session=1", "", 200),
        ("/v1/kv/a", "1", 200),
        ("/v1/kv/a?session=9", "", 503),
        ("/v1/kv/a", "9", 503),
        ("/v1/kv/a?consistency=eventual", "9", 200),
        ("/v1/kv/a?consistency=session", "", 400),
        ("/v1/kv/a?consistency=eventual&session=1", "", 400),
        ("/v1/kv/a?consistency=strong", "", 400),
        ("/v1/kv/a?session=one", "", 400),
        ("/v1/kv/a", "one", 400),
    ] {
        let headers = [("Cairn-Session", header)];
        let headers = if header.is_empty() { &headers[..0] } else { &headers[..] };
        let told = world.send("GET", uri, headers, "").await;
        assert_eq!(told.status, status, "{uri} {header}: {}", told.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_id_gives_a_retry_the_first_answer() {
    let world = World::new();
    let id = [("Request-Id", "a-1")];
    for _ in 0..2 {
        let told = world.send("PUT", "/v1/kv/a", &id, "1").await;
        assert_eq!((told.status, told.text()), (201, r#"{"revision":1,"created":true}"#));
    }
    let told = world.send("DELETE", "/v1/kv/a", &id, "").await;
    assert_eq!(told.fault(), (409, "request_id_reused".into(), "not done".into()));
    assert_eq!(world.get("/v1/kv/a").await.text(), "1");
    let long = "x".repeat(129);
    for nonsense in ["", "two words", &long[..]] {
        let told = world.send("PUT", "/v1/kv/a", &[("Request-Id", nonsense)], "1").await;
        assert_eq!(told.fault().0, 400, "{nonsense}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_are_named() {
    let world = World::new();
    assert_eq!(world.put("/v1/kv/a", vec![b'v'; VALUE_LIMIT_BYTES]).await.status, 201);
    let told = world.put("/v1/kv/a", vec![b'v'; VALUE_LIMIT_BYTES + 1]).await;
    assert_eq!(told.fault(), (413, "too_large".into(), "not done".into()));
    assert_eq!(told.json()["error"]["limit"], VALUE_LIMIT_BYTES);
    assert_eq!(told.json()["error"]["flag"], "--max-value");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept() {
    let world = World::new();
    let busy = || Trouble::Refuse(Refusal::Busy { what: "200 proposals wait".into() });
    world.memory.trouble((0..2000).map(|_| busy()));
    let begun = tokio::time::Instant::now();
    let told = world.send("GET", "/v1/kv/a", &[("Cairn-Timeout", "500ms")], "").await;
    assert_eq!((told.fault().0, told.header("retry-after")), (503, "1"));
    assert!(begun.elapsed().as_millis() <= 500, "it took {:?}", begun.elapsed());
    for nonsense in ["", "0ms", "61s", "1", "1.5s", "-1s", "ms", "99999999999999999999s"] {
        let told = world.send("GET", "/v1/kv/a", &[("Cairn-Timeout", nonsense)], "").await;
        assert_eq!(told.fault().0, 400, "{nonsense}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_unknown() {
    let world = World::new();
    world.memory.trouble((0..2000).map(|_| Trouble::LoseAnswer));
    let told = world.put("/v1/kv/a", "1").await;
    assert_eq!(told.fault(), (504, "unknown".into(), "unknown".into()));
}
