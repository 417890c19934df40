//! The storage-node API, byte for byte.

use wire::{Refusal, Revision};

use crate::memory::Trouble;
use crate::world::{VALUE_LIMIT_BYTES, World};

/// Sends each body and compares status and bytes.
async fn script(world: &World, steps: &[(&str, u16, &str)]) {
    for (body, status, answer) in steps {
        let told = world.post("/", body).await;
        assert_eq!((told.status, told.text()), (*status, *answer), "to {body}");
        assert_eq!(told.header("content-type"), "application/json", "to {body}");
    }
}

const STORED: &str = r#"{"status":"success","message":"Data stored successfully"}"#;
const DELETED: &str = r#"{"status":"success","message":"Data deleted successfully"}"#;
const NOT_FOUND: &str = r#"{"status":"error","message":"Data not found"}"#;
const INVALID_TYPE: &str = r#"{"status":"error","message":"Invalid request type"}"#;

#[tokio::test(start_paused = true)]
async fn stores_fetches_and_deletes() {
    let world = World::new();
    let fetch = r#"{"type":"fetch","key":"hello"}"#;
    let delete = r#"{"type":"delete","key":"hello"}"#;
    let hello = r#"{"status":"success","message":"Data fetched successfully","value":"world"}"#;
    let empty = r#"{"status":"success","message":"Data fetched successfully","value":""}"#;
    script(
        &world,
        &[
            (fetch, 404, NOT_FOUND),
            (delete, 404, NOT_FOUND),
            (r#"{"type":"store","key":"hello","value":"world"}"#, 200, STORED),
            (fetch, 200, hello),
            (" { \"key\" : \"hello\" ,\n \"type\" : \"fetch\" } \n", 200, hello),
            (r#"{"value":"","key":"hello","type":"store"}"#, 200, STORED),
            (fetch, 200, empty),
            (delete, 200, DELETED),
            (delete, 404, NOT_FOUND),
            (fetch, 404, NOT_FOUND),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn text_of_any_kind_comes_back_as_it_was() {
    let world = World::new();
    let text = "naïve \u{1f5ff} \"quoted\" \\ \n\t\u{0}\u{7f} 石";
    let store = serde_json::json!({ "type": "store", "key": text, "value": text }).to_string();
    assert_eq!(world.post("/", &store).await.text(), STORED);
    let fetch = serde_json::json!({ "type": "fetch", "key": text }).to_string();
    assert_eq!(world.post("/", &fetch).await.json()["value"], text);
    let escaped = r#"{"type":"store","key":"\u0061","value":"\ud83d\uddff"}"#;
    assert_eq!(world.post("/", escaped).await.text(), STORED);
    assert_eq!(world.get("/v1/kv/a").await.text(), "\u{1f5ff}");
}

#[tokio::test(start_paused = true)]
async fn any_other_type_is_invalid() {
    let types = [r#""get""#, r#""Store""#, r#""""#, r#""store ""#, "1", "null", "[]", "{}"];
    let mut steps: Vec<(String, u16, &str)> = Vec::new();
    for kind in types {
        steps.push((format!(r#"{{"type":{kind},"key":"a","x":1}}"#), 400, INVALID_TYPE));
    }
    steps.push(("{}".into(), 400, INVALID_TYPE));
    let steps: Vec<_> =
        steps.iter().map(|(body, status, told)| (&body[..], *status, *told)).collect();
    script(&World::new(), &steps).await;
}

#[tokio::test(start_paused = true)]
async fn other_faults_are_named() {
    let world = World::new();
    for (body, status, message) in [
        (r#"{"type":"fetch"}"#, 400, "missing field `key`"),
        (r#"{"type":"store","key":"a"}"#, 400, "missing field `value`"),
        (r#"{"type":"fetch","key":1}"#, 400, "field `key` must be a string, not a number"),
        (
            r#"{"type":"store","key":"a","value":null}"#,
            400,
            "field `value` must be a string, not null",
        ),
        (r#"{"type":"fetch","key":""}"#, 400, "the key is empty; a key has 1 to 8192 bytes"),
        (
            r#"{"type":"fetch","key":"a","value":"b"}"#,
            400,
            "unknown field `value` in a fetch request; it takes `type` and `key`",
        ),
        (
            r#"{"type":"fetch","key":"a","key":"b"}"#,
            400,
            "the body is not the JSON that is taken here: field `key` stands there twice at line 1 column 31",
        ),
        (
            r#"{"type":"fetch","key":"a""#,
            400,
            "the body is not the JSON that is taken here: EOF while parsing an object at line 1 column 25",
        ),
        (
            "[]",
            400,
            "the body is not the JSON that is taken here: invalid type: sequence, expected an object at line 1 column 0",
        ),
        (
            "",
            400,
            "the body is empty; it must be JSON such as {\"type\":\"fetch\",\"key\":\"hello\"}",
        ),
    ] {
        let told = world.post("/", body).await;
        assert_eq!(
            (told.status, told.json()["message"].as_str()),
            (status, Some(message)),
            "to {body}"
        );
        assert_eq!(told.json()["status"], "error");
    }
    let told = world.send("POST", "/", &[], &b"{\"type\":\"fetch\",\"key\":\"\xff\"}"[..]).await;
    assert_eq!(
        told.text(),
        r#"{"status":"error","message":"the body is not UTF-8 from byte 23 on"}"#
    );
    assert_eq!(world.memory.asked(), 0, "what makes no sense never reaches the cluster");
}

#[tokio::test(start_paused = true)]
async fn limits_are_named_with_their_flag() {
    let world = World::new();
    let store = |key: usize, value: usize| {
        format!(r#"{{"type":"store","key":"{}","value":"{}"}}"#, "k".repeat(key), "v".repeat(value))
    };
    assert_eq!(world.post("/", &store(8192, VALUE_LIMIT_BYTES)).await.text(), STORED);
    let told = world.post("/", &store(8193, 1)).await;
    assert_eq!(
        (told.status, told.text()),
        (
            413,
            r#"{"status":"error","message":"key of 8193 bytes is over the limit of 8192 bytes"}"#
        )
    );
    let told = world.post("/", &store(1, VALUE_LIMIT_BYTES + 1)).await;
    assert_eq!(
        (told.status, told.text()),
        (
            413,
            r#"{"status":"error","message":"value of 1001 bytes is over the limit of 1000 bytes (set by --max-value)"}"#
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_text_is_pointed_to() {
    let world = World::new();
    world.put("/v1/kv/raw", &b"\xff\x00"[..]).await;
    let told = world.post("/", r#"{"type":"fetch","key":"raw"}"#).await;
    assert_eq!(told.status, 409);
    assert!(told.text().contains("GET /v1/kv/{key}"), "{}", told.text());
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_cluster_says_what_holds() {
    let world = World::new();
    let no_quorum =
        || Trouble::Refuse(Refusal::Unavailable { why: "2 of 3 nodes are gone".into() });
    world.memory.trouble((0..2000).map(|_| no_quorum()));
    let told = world.post("/", r#"{"type":"store","key":"a","value":"b"}"#).await;
    assert_eq!((told.status, told.header("retry-after")), (503, "1"));
    assert!(told.text().contains("not done"), "{}", told.text());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_said_to_be_unknown() {
    let world = World::new();
    let unanswered = || Trouble::Refuse(Refusal::Unanswered { why: "the leader changed".into() });
    world.memory.trouble((0..2000).map(|_| unanswered()));
    let told = world.post("/", r#"{"type":"store","key":"a","value":"b"}"#).await;
    assert_eq!(told.status, 504);
    assert!(told.text().ends_with("(outcome: unknown)\"}"), "{}", told.text());

    let world = World::new();
    // Of one whose first answer was lost.
    let expired = Refusal::Expired { id: "x".into() };
    world.memory.trouble([Trouble::LoseAnswer, Trouble::Refuse(expired)]);
    let told = world.post("/", r#"{"type":"delete","key":"a"}"#).await;
    assert!(told.text().ends_with("(outcome: unknown)\"}"), "{}", told.text());

    let forgotten = Refusal::AnswerForgotten { revision: Revision(3) };
    world.memory.trouble([Trouble::Refuse(forgotten)]);
    let told = world.post("/", r#"{"type":"delete","key":"a"}"#).await;
    assert!(told.text().ends_with("(outcome: done)\"}"), "{}", told.text());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again() {
    let world = World::new();
    world.put("/v1/kv/a", "1").await;
    world.memory.trouble([Trouble::LoseAnswer]);
    let told = world.post("/", r#"{"type":"delete","key":"a"}"#).await;
    assert_eq!((told.status, told.text()), (200, DELETED), "done once, and told so");
}

#[tokio::test(start_paused = true)]
async fn a_request_id_makes_a_retry_harmless() {
    let world = World::new();
    world.put("/v1/kv/a", "1").await;
    let delete = r#"{"type":"delete","key":"a"}"#;
    let id = [("Request-Id", "order-17")];
    for _ in 0..3 {
        assert_eq!(world.send("POST", "/", &id, delete).await.text(), DELETED);
    }
    let store = r#"{"type":"store","key":"a","value":"2"}"#;
    let told = world.send("POST", "/", &id, store).await;
    assert_eq!(told.status, 409);
    assert!(told.text().contains("Request-Id"), "{}", told.text());
}
