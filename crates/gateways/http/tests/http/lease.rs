//! Leases, and locks that a write must still hold.

use crate::world::World;

#[tokio::test]
async fn a_lease_is_granted_shown_kept_alive_and_revoked() {
    let world = World::new();
    let granted = world.post("/v1/lease", r#"{"ttl_ms":5000}"#).await;
    assert_eq!(granted.status, 201);
    let lease = granted.json()["lease"].as_u64().unwrap();
    assert!(lease > 0 && lease < 1 << 53, "any reader of JSON keeps it whole");
    assert_eq!(world.put(&format!("/v1/kv/k?lease={lease}"), "v").await.status, 201);
    let path = format!("/v1/lease/{lease}");
    let shown = world.get(&format!("{path}?keys=true")).await.json();
    assert_eq!(
        (shown["ttl_ms"].as_u64(), shown["keys"][0]["key"].as_str()),
        (Some(5000), Some("k"))
    );
    assert!(world.get(&path).await.json().get("keys").is_none());
    assert_eq!(world.post(&path, "").await.json()["remaining_ms"], 5000);
    assert_eq!(world.get("/v1/lease").await.json()["leases"][0], lease);
    assert_eq!(world.get("/v1/kv/k").await.header("cairn-lease"), lease.to_string());
    assert_eq!(world.send("DELETE", &path, &[], "").await.status, 200);
    assert_eq!(world.get("/v1/kv/k").await.status, 404);
    assert_eq!(world.get("/v1/lease").await.text(), r#"{"leases":[]}"#);
}

#[tokio::test]
async fn what_is_no_lease_is_refused() {
    let world = World::new();
    for (method, path) in
        [("GET", "/v1/lease/7"), ("POST", "/v1/lease/7"), ("DELETE", "/v1/lease/7")]
    {
        let told = world.send(method, path, &[], "").await;
        assert_eq!(told.fault(), (404, "lease_not_found".into(), "not done".into()), "{method}");
    }
    assert_eq!(world.put("/v1/kv/k?lease=7", "v").await.status, 404);
    for path in ["/v1/lease/", "/v1/lease/0", "/v1/lease/x", "/v1/lease/7/x", "/v1/lease/-1"] {
        assert_eq!(world.get(path).await.fault().0, 400, "{path}");
    }
    for lease in ["0", "x", ""] {
        assert_eq!(world.put(&format!("/v1/kv/k?lease={lease}"), "v").await.status, 400, "{lease}");
    }
    for body in [
        "",
        "{}",
        r#"{"ttl_ms":0}"#,
        r#"{"ttl_ms":-1}"#,
        r#"{"ttl_ms":1,"lease":0}"#,
        r#"{"ttl":1}"#,
    ] {
        assert_eq!(world.post("/v1/lease", body).await.status, 400, "{body}");
    }
    world.post("/v1/lease", r#"{"ttl_ms":1,"lease":7}"#).await;
    let twice = world.post("/v1/lease", r#"{"ttl_ms":1,"lease":7}"#).await;
    assert_eq!(twice.fault(), (409, "lease_exists".into(), "not done".into()));
}

#[tokio::test]
async fn a_grant_that_is_repeated_names_the_same_lease() {
    let world = World::new();
    let mut told = Vec::new();
    for id in ["a", "a", "b"] {
        let headers = [("Request-Id", id)];
        told.push(
            world.send("POST", "/v1/lease", &headers, r#"{"ttl_ms":5000}"#).await.text().to_owned(),
        );
    }
    assert_eq!(told[0], told[1]);
    assert_ne!(told[0], told[2]);
}

#[tokio::test]
async fn a_write_that_bears_a_stale_token_is_refused() {
    let world = World::new();
    let lock = world.put("/v1/kv/lock%20a/1", "").await.json()["revision"].as_u64().unwrap();
    let fence = format!("lock%20a/1@{lock}");
    let good = [("Fence", &fence[..])];
    let stale = [("Fence", "lock%20a/1@1000")];
    let txn = r#"{"then":[{"put":{"key":"k","value":"v"}}]}"#;
    let writes = [("PUT", "/v1/kv/k", "v"), ("POST", "/v1/txn", txn), ("DELETE", "/v1/kv/k", "")];
    for (method, path, body) in writes {
        let refused = world.send(method, path, &stale, body).await;
        assert_eq!(refused.fault(), (412, "fenced".into(), "not done".into()), "{method}");
        assert_eq!(refused.json()["error"]["current"], lock);
        assert!(world.send(method, path, &good, body).await.status < 300, "{method}");
        let both = [good[0], stale[0]];
        assert_eq!(world.send(method, path, &both, body).await.status, 412, "each must hold");
    }
    for bad in ["x", "@1", "x@", "x@y"] {
        let told = world.send("PUT", "/v1/kv/k", &[("Fence", bad)], "v").await;
        assert_eq!(told.fault().0, 400, "{bad}");
        assert!(told.message().contains("KEY@TOKEN"));
    }
}

#[tokio::test]
async fn a_transaction_hangs_keys_on_leases() {
    let world = World::new();
    world.post("/v1/lease", r#"{"ttl_ms":1000,"lease":7}"#).await;
    let txn = r#"{"then":[{"put":{"key":"k","value":"v","lease":7}}]}"#;
    assert_eq!(world.post("/v1/txn", txn).await.status, 200);
    assert_eq!(world.get("/v1/kv/k").await.header("cairn-lease"), "7");
}
