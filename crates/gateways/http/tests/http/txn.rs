//! Transactions in JSON.

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn a_transaction_takes_one_branch() {
    let world = World::new();
    let txn = r#"{"compare":[{"key":"a","target":"version","operator":"=","operand":0}],
        "then":[{"put":{"key":"a","value":"1"}},{"put":{"key":"b","value_base64":"/w=="}},{"get":{"prefix":""}}],
        "else":[{"get":{"key":"a","keys_only":true}},{"get":{"from":"a","count_only":true}},{"delete":{"prefix":""}}]}"#;
    let told = world.post("/v1/txn", txn).await;
    assert_eq!(
        (told.status, told.text()),
        (
            200,
            concat!(
                r#"{"revision":1,"succeeded":true,"results":[{"put":{}},{"put":{}},"#,
                r#"{"get":{"items":[{"key":"a","value":"1","created":1,"modified":1,"version":1},"#,
                r#"{"key":"b","value_base64":"/w==","created":1,"modified":1,"version":1}],"more":false,"count":2}}]}"#
            )
        )
    );
    assert_eq!(
        world.post("/v1/txn", txn).await.text(),
        concat!(
            r#"{"revision":2,"succeeded":false,"results":["#,
            r#"{"get":{"items":[{"key":"a","created":1,"modified":1,"version":1}],"more":false,"count":1}},"#,
            r#"{"get":{"items":[],"more":false,"count":2}},{"delete":{"deleted":2}}]}"#
        )
    );
}

#[tokio::test(start_paused = true)]
async fn every_comparison_can_be_made() {
    let world = World::new();
    world.put("/v1/kv/a", "m").await;
    world.put("/v1/kv/a", "m").await;
    for (target, operator, operand, holds) in [
        ("value", "=", r#""operand":"m""#, true),
        ("value", "<", r#""operand":"n""#, true),
        ("value", ">", r#""operand":"n""#, false),
        ("value", "!=", r#""operand_base64":"/w==""#, true),
        ("version", "=", r#""operand":2"#, true),
        ("version", "<", r#""operand":2"#, false),
        ("created", "=", r#""operand":1"#, true),
        ("modified", ">", r#""operand":1"#, true),
    ] {
        let body = format!(
            r#"{{"compare":[{{"key_base64":"YQ==","target":"{target}","operator":"{operator}",{operand}}}]}}"#
        );
        let told = world.post("/v1/txn", &body).await;
        assert_eq!(told.json()["succeeded"], holds, "{body}: {}", told.text());
    }
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_named_with_its_place() {
    let world = World::new();
    for (body, part) in [
        ("", "EOF"),
        ("[1]", "line 1 column"),
        (r#"{"when":[]}"#, "unknown field `when`"),
        (
            r#"{"then":[{"put":{"key":"a"}}]}"#,
            "then[0]: the field `value` (or `value_base64`) is missing",
        ),
        (r#"{"then":[{"put":{"key":"","value":""}}]}"#, "then[0]: the key is empty"),
        (r#"{"then":[{"put":{"key":"a","key":"b","value":""}}]}"#, "duplicate field `key`"),
        (r#"{"then":[{"put":{"key":"a","key_base64":"YQ==","value":""}}]}"#, "exclude each other"),
        (
            r#"{"then":[{"put":{"key":"a","value_base64":"?"}}]}"#,
            "`value_base64` is not padded base64",
        ),
        (r#"{"then":[{"move":{}}]}"#, "unknown variant `move`"),
        (r#"{"else":[{"get":{"key":"a"}},{"delete":{}}]}"#, "else[1]: which keys?"),
        (r#"{"then":[{"delete":{"key":"a","prefix":"b"}}]}"#, "three ways to name a range"),
        (
            r#"{"then":[{"get":{"key":"a","keys_only":true,"count_only":true}}]}"#,
            "exclude each other",
        ),
        (
            r#"{"compare":[{"key":"a","target":"value","operator":"=","operand":1}]}"#,
            "compare[0]: a `value` is compared with a string",
        ),
        (
            r#"{"compare":[{"key":"a","target":"version","operator":"=","operand":"1"}]}"#,
            "compared with a number",
        ),
        (
            r#"{"compare":[{"key":"a","target":"version","operator":"=","operand":-1}]}"#,
            "`operand` must be a string or a whole number",
        ),
        (
            r#"{"compare":[{"key":"a","target":"version","operator":"~","operand":1}]}"#,
            "unknown variant `~`",
        ),
        (r#"{"compare":[{"key":"a","target":"value","operator":"="}]}"#, "`operand`"),
    ] {
        let told = world.post("/v1/txn", body).await;
        assert_eq!(told.fault().0, 400, "{body}");
        assert!(told.message().contains(part), "{body}: {}", told.message());
    }
    assert_eq!(world.memory.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_has_limits() {
    let world = World::new();
    let get = r#"{"get":{"key":"a"}}"#;
    let gets = |count: usize| format!(r#"{{"then":[{}]}}"#, vec![get; count].join(","));
    assert_eq!(world.post("/v1/txn", &gets(1024)).await.status, 200);
    let told = world.post("/v1/txn", &gets(1025)).await;
    assert_eq!(told.fault().0, 400);
    assert!(told.message().contains("limit of 1024"));
    let put = format!(r#"{{"then":[{{"put":{{"key":"a","value":"{}"}}}}]}}"#, "v".repeat(1001));
    assert_eq!(world.post("/v1/txn", &put).await.fault().0, 413);
}

#[tokio::test(start_paused = true)]
async fn a_request_id_gives_a_retry_the_first_answer() {
    let world = World::new();
    let txn = r#"{"then":[{"put":{"key":"a","value":"1"}},{"get":{"key":"a"}}]}"#;
    let first = world.send("POST", "/v1/txn", &[("Request-Id", "t1")], txn).await;
    world.put("/v1/kv/a", "2").await;
    let again = world.send("POST", "/v1/txn", &[("Request-Id", "t1")], txn).await;
    assert_eq!(first.text(), again.text());
    assert_eq!(world.get("/v1/kv/a").await.text(), "2");
}
