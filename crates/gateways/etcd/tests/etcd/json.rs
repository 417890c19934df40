//! The API as JSON.

use crate::world::World;

/// `hello` and `world` in base64.
const HELLO: &str = "aGVsbG8=";
const WORLD: &str = "d29ybGQ=";

#[tokio::test]
async fn values_go_in_and_out_as_grpc_gateway_has_them() {
    let world = World::new();
    let put = format!("{{\"key\":\"{HELLO}\",\"value\":\"{WORLD}\"}}");
    let (status, body) = world.post("/v3/kv/put", &put).await;
    assert_eq!(status, 200);
    assert!(body.starts_with("{\"header\":{\"cluster_id\":\""), "{body}");
    assert!(body.contains("\"revision\":\"2\",\"raft_term\":\"3\"}"), "{body}");

    let (status, body) = world.post("/v3/kv/range", &format!("{{\"key\":\"{HELLO}\"}}")).await;
    assert_eq!(status, 200);
    let kv = format!(
        "\"kvs\":[{{\"key\":\"{HELLO}\",\"create_revision\":\"2\",\"mod_revision\":\"2\",\
         \"version\":\"1\",\"value\":\"{WORLD}\"}}],\"count\":\"1\"}}"
    );
    assert!(body.ends_with(&kv), "{body}");

    // Numbers may be numbers, names may be lowerCamelCase, and unknown fields are nothing.
    let request = "{\"key\":\"AA==\",\"rangeEnd\":\"AA==\",\"limit\":1,\"x\":{}}";
    let (status, body) = world.post("/v3/kv/range", request).await;
    assert_eq!(status, 200, "{body}");
    let (_, body) = world
        .post("/v3/kv/deleterange", &format!("{{\"key\":\"{HELLO}\",\"prev_kv\":true}}"))
        .await;
    assert!(body.contains("\"deleted\":\"1\",\"prev_kvs\":[{\"key\""), "{body}");
}

#[tokio::test]
async fn a_transaction_has_its_variants_by_name() {
    let world = World::new();
    let txn = format!(
        "{{\"compare\":[{{\"result\":\"EQUAL\",\"target\":\"CREATE\",\"key\":\"{HELLO}\",\
         \"create_revision\":\"0\"}}],\
         \"success\":[{{\"request_put\":{{\"key\":\"{HELLO}\",\"value\":\"{WORLD}\"}}}}],\
         \"failure\":[{{\"request_range\":{{\"key\":\"{HELLO}\"}}}}]}}"
    );
    let (_, body) = world.post("/v3/kv/txn", &txn).await;
    assert!(
        body.ends_with(
            "\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{\"revision\":\"2\"}}}]}"
        ),
        "{body}"
    );
    let (_, body) = world.post("/v3/kv/txn", &txn).await;
    assert!(!body.contains("succeeded") && body.contains("\"response_range\""), "{body}");
}

#[tokio::test]
async fn errors_have_grpcs_code_and_https_status() {
    let world = World::new();
    let empty = "{\"error\":\"etcdserver: key is not provided\",\"code\":3,\
                 \"message\":\"etcdserver: key is not provided\"}";
    assert_eq!(world.post("/v3/kv/range", "{}").await, (400, empty.to_owned()));
    assert_eq!(world.post("/v3/kv/range", "").await, (400, empty.to_owned()));
    assert_eq!(world.post("/v3/kv/range", "{\"key\":").await.0, 400);
    assert_eq!(world.post("/v3/kv/range", "{\"key\":\"!\"}").await.0, 400);
    assert_eq!(world.post("/v3/kv/range", "[]").await.0, 400);
    let future = format!("{{\"key\":\"{HELLO}\",\"revision\":\"9\"}}");
    let (status, body) = world.post("/v3/kv/range", &future).await;
    assert!(status == 400 && body.contains("\"code\":11"), "{body}");
    let lease = format!("{{\"key\":\"{HELLO}\",\"lease\":\"9\"}}");
    assert_eq!(world.post("/v3/kv/put", &lease).await.0, 404);
    assert_eq!(world.post("/v3/nothing", "{}").await.0, 404);
    assert_eq!(world.send("GET", "/v3/kv/range", &[], "").await.0, 405);
    let (status, body) = world.post("/v3/maintenance/snapshot", "").await;
    assert!(status == 200 && body.starts_with("{\"result\":{\"header\":"), "{body}");
    let large = format!("{{\"key\":\"{}\"}}", "A".repeat(200_000));
    let (status, body) = world.post("/v3/kv/range", &large).await;
    assert!(status == 400 && body.contains("too large"), "{body}");
}

#[tokio::test]
async fn a_fence_is_a_header() {
    let world = World::new();
    let put = format!("{{\"key\":\"{HELLO}\"}}");
    let (status, body) = world.send("POST", "/v3/kv/put", &[("cairn-fence", "lock@1")], &put).await;
    assert!(status == 400 && body.contains("fencing token"), "{body}");
    let locked = world.put("lock", "").await;
    let fence = format!("lock@{locked}");
    assert_eq!(world.send("POST", "/v3/kv/put", &[("cairn-fence", &fence)], &put).await.0, 200);
}

#[tokio::test]
async fn members_and_status() {
    let world = World::new();
    let (status, body) = world.post("/v3/cluster/member/list", "{}").await;
    assert_eq!(status, 200);
    assert!(body.contains("\"members\":[{\"ID\":\"") && body.contains("\"peerURLs\":["), "{body}");
    let add = "{\"peerURLs\":[\"http://10.0.0.4:9000\"],\"isLearner\":true}";
    let (status, body) = world.post("/v3/cluster/member/add", add).await;
    assert!(status == 200 && body.contains("\"isLearner\":true"), "{body}");
    let (status, body) = world.post("/v3/cluster/member/remove", "{\"ID\":\"7\"}").await;
    assert!(status == 404 && body.contains("etcdserver: member not found"), "{body}");
    let (_, body) = world.post("/v3/maintenance/status", "").await;
    assert!(body.contains("\"version\":\"3.6.0\",\"dbSize\":\"1000\""), "{body}");
}

#[tokio::test]
async fn version_and_health() {
    let world = World::new();
    let version = "{\"etcdserver\":\"3.6.0\",\"etcdcluster\":\"3.6.0\"}";
    assert_eq!(world.send("GET", "/version", &[], "").await, (200, version.to_owned()));
    let healthy = "{\"health\":\"true\",\"reason\":\"\"}";
    assert_eq!(world.send("GET", "/health", &[], "").await, (200, healthy.to_owned()));
}
