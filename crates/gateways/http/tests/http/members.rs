//! Nodes that come and go.

use crate::world::World;

#[tokio::test]
async fn a_node_is_added_changed_and_removed() {
    let world = World::new();
    let body = r#"{"peer_address":"10.0.0.3:9000","learner":true}"#;
    let added = world.post("/v1/members", body).await;
    assert_eq!(added.status, 201);
    assert_eq!(
        added.text(),
        r#"{"node":3,"client_address":"","peer_address":"10.0.0.3:9000","part":"learner","priority":5}"#
    );
    let promoted = world.post("/v1/members/3", r#"{"promote":true}"#).await;
    assert_eq!((promoted.status, &promoted.json()["part"]), (200, &"voter".into()));
    let again = world.post("/v1/members/3", r#"{"promote":true}"#).await;
    assert_eq!(again.fault(), (409, "member_not_learner".into(), "not done".into()));
    let taken = world.post("/v1/members", body).await;
    assert_eq!(taken.fault(), (409, "member_address_taken".into(), "not done".into()));
    let listed = world.get("/v1/members").await.json();
    assert_eq!((listed["members"].as_array().unwrap().len(), &listed["next_node"]), (3, &4.into()));
    let left = world.send("DELETE", "/v1/members/3?force=true", &[], "").await;
    assert_eq!((left.status, left.json()["members"].as_array().unwrap().len()), (200, 2));
    let gone = world.send("DELETE", "/v1/members/3", &[], "").await;
    assert_eq!(gone.fault(), (404, "member_not_found".into(), "not done".into()));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::new();
    for body in [
        "",
        "{}",
        r#"{"peer_address":""}"#,
        r#"{"peer_address":"10.0.0.3"}"#,
        r#"{"peer_address":"10.0.0.3:0"}"#,
        r#"{"peer_address":"::1:9000"}"#,
        r#"{"peer_address":"a:1","client_address":"b"}"#,
        r#"{"peer_address":"a:1","learner":true,"replaces":2}"#,
        r#"{"peer_address":"a:1","voter":true}"#,
    ] {
        assert_eq!(world.post("/v1/members", body).await.status, 400, "{body}");
    }
    for body in ["{}", r#"{"promote":false}"#, r#"{"promote":true,"peer_address":"a:1"}"#] {
        assert_eq!(world.post("/v1/members/2", body).await.status, 400, "{body}");
    }
    for path in ["/v1/members/", "/v1/members/0", "/v1/members/x"] {
        assert_eq!(world.send("DELETE", path, &[], "").await.fault().0, 400, "{path}");
    }
}
