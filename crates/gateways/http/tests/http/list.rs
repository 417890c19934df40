//! Listings: ranges, pages of one state, and what is not text.

use serde_json::json;

use crate::world::World;

async fn filled() -> World {
    let world = World::new();
    for key in ["a/1", "a/2", "a/3", "b", "c"] {
        world.put(&format!("/v1/kv/{key}"), key.to_uppercase()).await;
    }
    world
}

async fn keys(world: &World, uri: &str) -> Vec<String> {
    let told = world.get(uri).await;
    assert_eq!(told.status, 200, "{uri}: {}", told.text());
    let items = told.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_exact() {
    let world = World::new();
    assert_eq!(world.get("/v1/kv").await.text(), r#"{"revision":0,"items":[],"more":false}"#);
    world.put("/v1/kv/a", "1").await;
    world.put("/v1/kv/b", &b"\xff"[..]).await;
    world.put("/v1/kv/%ff", "3").await;
    let told = world.get("/v1/kv").await;
    assert_eq!(
        told.text(),
        concat!(
            r#"{"revision":3,"items":["#,
            r#"{"key":"a","value":"1","created":1,"modified":1,"version":1},"#,
            r#"{"key":"b","value_base64":"/w==","created":2,"modified":2,"version":1},"#,
            r#"{"key_base64":"/w==","value":"3","created":3,"modified":3,"version":1}"#,
            r#"],"more":false}"#
        )
    );
    assert_eq!(told.header("cairn-revision"), "3");
    let told = world.get("/v1/kv?keys_only=true&limit=1&to=b").await;
    assert_eq!(
        told.text(),
        r#"{"revision":3,"items":[{"key":"a","created":1,"modified":1,"version":1}],"more":false}"#
    );
    assert_eq!(world.get("/v1/kv?count_only").await.text(), r#"{"revision":3,"count":3}"#);
}

#[tokio::test(start_paused = true)]
async fn ranges_are_named_in_three_ways() {
    let world = filled().await;
    assert_eq!(keys(&world, "/v1/kv").await, ["a/1", "a/2", "a/3", "b", "c"]);
    assert_eq!(keys(&world, "/v1/kv?prefix=").await.len(), 5);
    assert_eq!(keys(&world, "/v1/kv?prefix=a/").await, ["a/1", "a/2", "a/3"]);
    assert_eq!(keys(&world, "/v1/kv?prefix=a%2F2").await, ["a/2"]);
    assert_eq!(keys(&world, "/v1/kv?from=a/3").await, ["a/3", "b", "c"]);
    assert_eq!(keys(&world, "/v1/kv?from=a/3&to=c").await, ["a/3", "b"]);
    assert_eq!(keys(&world, "/v1/kv?to=a/2").await, ["a/1"]);
    assert_eq!(keys(&world, "/v1/kv?prefix=a&revision=2").await, ["a/1", "a/2"]);
    world.put("/v1/kv/x%20y", "").await;
    assert_eq!(keys(&world, "/v1/kv?prefix=x+y").await, ["x y"], "a plus is a space in a query");
    for query in [
        "prefix=a&from=b",
        "from=c&to=b",
        "from=b&to=b",
        "to=",
        "limit=0",
        "limit=-1",
        "limit=4294967296",
        "revision=0",
        "keys_only=1",
        "keys_only&count_only",
        "page=x",
        "page=",
        "prefix=%f",
        "prefix=a&prefix=a",
    ] {
        assert_eq!(world.get(&format!("/v1/kv?{query}")).await.fault().0, 400, "{query}");
    }
    let long = format!("/v1/kv?prefix={}", "k".repeat(8194));
    assert_eq!(world.get(&long).await.fault().0, 413);
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_state() {
    let world = filled().await;
    let mut seen = Vec::new();
    let mut uri = "/v1/kv?prefix=a&limit=1&keys_only".to_owned();
    loop {
        let told = world.get(&uri).await;
        assert_eq!((told.status, &told.json()["revision"]), (200, &json!(5)));
        for item in told.json()["items"].as_array().unwrap() {
            assert!(item.get("value").is_none(), "the token remembers `keys_only`");
            seen.push(item["key"].as_str().unwrap().to_owned());
        }
        let Some(next) = told.json()["next"].as_str().map(str::to_owned) else {
            assert_eq!(told.json()["more"], false);
            break;
        };
        assert_eq!(told.json()["more"], true);
        world.put("/v1/kv/a/25", "too late").await;
        uri = format!("/v1/kv?page={next}");
    }
    assert_eq!(seen, ["a/1", "a/2", "a/3"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_token_stands_alone() {
    let world = filled().await;
    let next = world.get("/v1/kv?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(keys(&world, &format!("/v1/kv?page={next}")).await, ["a/2"]);
    assert_eq!(keys(&world, &format!("/v1/kv?page={next}&limit=2")).await, ["a/2", "a/3"]);
    let told = world.get(&format!("/v1/kv?prefix=a&page={next}")).await;
    assert_eq!(told.fault().0, 400);
    assert!(told.message().contains("`prefix`"), "{}", told.message());
    world.post("/v1/compact", r#"{"before":5}"#).await;
    world.put("/v1/kv/z", "").await;
    world.post("/v1/compact", r#"{"before":6}"#).await;
    assert_eq!(world.get(&format!("/v1/kv?page={next}")).await.fault().1, "compacted");
}
