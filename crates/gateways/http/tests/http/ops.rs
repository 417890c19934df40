//! What operators ask, and what holds for all paths.

use gateway_http::Config;
use serde_json::json;

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn the_state_of_nodes_is_told() {
    let world = World::new();
    let status = world.get("/v1/status").await.json();
    assert_eq!(status["role"], "leader");
    assert_eq!(status["members"][0]["client_address"], "127.0.0.1:8001");
    assert_eq!(
        status["peers"][0],
        json!({"node":2,"match_index":3,"state":"replicate","active":true})
    );
    assert_eq!(world.get("/v1/status?all=true").await.json(), json!({ "nodes": [status] }));
    assert_eq!(world.get("/v1/status?all=yes").await.fault().0, 400);
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over() {
    let world = World::new();
    let told = world.post("/v1/leader", r#"{"node":1}"#).await;
    assert_eq!((told.status, told.text()), (202, r#"{"transferring":true,"node":1}"#));
    for body in [r#"{"node":9}"#, r#"{"node":0}"#, "{}", r#"{"node":1,"now":true}"#, ""] {
        assert_eq!(world.post("/v1/leader", body).await.fault().0, 400, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn compaction_is_bounded_by_what_there_is() {
    let world = World::new();
    world.put("/v1/kv/a", "").await;
    assert_eq!(world.post("/v1/compact", r#"{"before":2}"#).await.fault().1, "future_revision");
    assert_eq!(world.post("/v1/compact", r#"{"before":"1"}"#).await.fault().0, 400);
    assert_eq!(world.post("/v1/compact", r#"{"before":1}"#).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_process_tells_about_itself() {
    let world = World::new();
    assert_eq!(world.get("/healthz").await.text(), "ok");
    let told = world.get("/readyz").await;
    assert_eq!((told.status, told.text()), (503, "no leader is known"));
    let told = world.get("/metrics").await;
    assert_eq!(told.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(told.text().starts_with("# HELP cairn_elections"));
    let accept = [("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.3")];
    let told = world.send("GET", "/metrics", &accept, "").await;
    assert!(told.header("content-type").starts_with("application/openmetrics-text"));
    assert!(world.get("/").await.text().contains("/openapi.json"));
    let told = world.send("HEAD", "/", &[], "").await;
    assert_eq!(told.header("content-length"), world.get("/").await.body.len().to_string());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_told_with_what_does() {
    let world = World::new();
    for path in ["/v2", "/v1", "/v1/", "/v1/kvs", "/v1/txn/", "/favicon.ico", "/healthz/"] {
        let told = world.get(path).await;
        assert_eq!(told.fault(), (404, "no_such_path".into(), "not done".into()));
        assert!(told.message().contains("/v1/kv/{key}"), "{}", told.message());
    }
    for (method, path, allow) in [
        ("POST", "/v1/kv/a", "GET, HEAD, PUT, DELETE"),
        ("GET", "/v1/txn", "POST"),
        ("PATCH", "/", "GET, HEAD, POST"),
        ("POST", "/v1/watch", "GET"),
        ("OPTIONS", "/v1/kv", "GET, HEAD"),
    ] {
        let told = world.send(method, path, &[], "").await;
        assert_eq!(told.fault().0, 405);
        assert_eq!(told.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_parameters_are_told_with_the_known() {
    let world = World::new();
    let told = world.get("/v1/kv/a?revison=3").await;
    assert_eq!(
        told.message(),
        "unknown query parameter `revison`; this path takes revision, consistency, session"
    );
    let told = world.put("/v1/kv/a?ttl=3", "").await;
    assert_eq!(told.message(), "unknown query parameter `ttl`; this path takes lease");
    let told = world.post("/?x", "{}").await;
    assert_eq!((told.status, &told.json()["status"]), (400, &json!("error")));
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_refused_but_probes_are_not() {
    let world = World::with(Config { requests: 0, ..Config::default() });
    let told = world.get("/v1/kv/a").await;
    assert_eq!(
        (told.fault().0, told.fault().1, told.header("retry-after")),
        (503, "busy".into(), "1")
    );
    assert_eq!(world.get("/healthz").await.status, 200);
}
