//! Whatever is sent, the answer is well formed.

use std::time::Duration;

use gateway_http::ROUTES;
use http_body_util::BodyExt as _;
use proptest::prelude::*;

use crate::world::World;

/// Mostly what exists, with what comes near to it and what does not.
fn target() -> impl Strategy<Value = (String, String)> {
    let known: Vec<(String, String)> = ROUTES
        .iter()
        .flat_map(|route| route.verbs.iter().map(|verb| (verb.method, route.path)))
        .map(|(method, path)| (method.to_owned(), path.replace("{key}", "a%2f%ff")))
        .collect();
    prop_oneof![
        4 => prop::sample::select(known),
        1 => (method(), path()),
    ]
}

fn method() -> impl Strategy<Value = String> {
    let names = vec!["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"];
    prop::sample::select(names).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["/", "v1", "kv", "txn", "watch", "leader", "status"]);
    let piece = prop_oneof![word.prop_map(str::to_owned), "%[0-9a-fA-F]{0,2}", "[!-~]{0,5}"];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn query() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "prefix",
        "key",
        "from",
        "to",
        "limit",
        "revision",
        "keys_only",
        "count_only",
        "page",
        "consistency",
        "session",
        "all",
        "x",
    ]);
    let value = prop_oneof![
        "[0-9]{0,21}",
        "[a-zA-Z0-9_-]{0,40}",
        "(%[0-9a-f]{2}){0,4}",
        "%[g-z]?",
        prop::sample::select(vec!["true", "eventual", "session", "linearizable"])
            .prop_map(str::to_owned),
    ];
    let pair = (name, value).prop_map(|(name, value)| format!("{name}={value}"));
    prop_oneof![
        Just(String::new()),
        prop::collection::vec(pair, 0..3).prop_map(|pairs| pairs.join("&"))
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"key\"",
        "\"type\"",
        "\"store\"",
        "\"value\"",
        "\"then\"",
        "\"put\"",
        "\"get\"",
        "\"compare\"",
        "\"before\"",
        "\"node\"",
        "1",
        "-1",
        "1e999",
        "null",
        "true",
        "\\u0000",
        "\\ud800",
        "\u{1f5ff}",
    ]);
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..64),
        2 => prop::collection::vec(word, 0..24).prop_map(|words| words.concat().into_bytes()),
        2 => (any::<String>(), any::<String>()).prop_map(|(key, value)| {
            serde_json::json!({ "type": "store", "key": key, "value": value }).to_string().into()
        }),
        8 => txn().prop_map(|txn| txn.to_string().into_bytes()),
        2 => prop::sample::select(vec![r#"{"before":1}"#, r#"{"node":1}"#, r#"{"node":2}"#])
            .prop_map(|body| body.as_bytes().to_vec()),
        1 => Just(vec![b'['; 2000]),
    ]
}

/// Transactions that could be, whether or not their fields fit together.
fn txn() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(vec!["key", "prefix", "from", "to", "value", "value_base64"]);
    let fields = prop::collection::btree_map(name, "[a-z]{0,2}|YQ==", 0..3);
    let kind = prop::sample::select(vec!["put", "get", "delete"]);
    let op = (kind, fields).prop_map(|(kind, fields)| serde_json::json!({ kind: fields }));
    let target = prop::sample::select(vec!["value", "version", "created", "modified"]);
    let operand = prop_oneof![any::<u64>().prop_map(Into::into), "[a-z]?".prop_map(Into::into)];
    let compare = (target, operand).prop_map(|(target, operand): (_, serde_json::Value)| {
        serde_json::json!({ "key": "a", "target": target, "operator": "<", "operand": operand })
    });
    let ops = || prop::collection::vec(op.clone(), 0..3);
    (prop::collection::vec(compare, 0..2), ops(), ops()).prop_map(|(compare, then, otherwise)| {
        serde_json::json!({ "compare": compare, "then": then, "else": otherwise })
    })
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(vec![
        "If-Match",
        "If-None-Match",
        "Request-Id",
        "Cairn-Timeout",
        "Cairn-Session",
        "Last-Event-ID",
        "Accept",
    ]);
    let value =
        prop_oneof!["[ -~]{0,20}", "\"[0-9]{1,20}\"", "[0-9]{1,20}(ms|s)?", Just("*".to_owned())];
    prop_oneof![Just(Vec::new()), prop::collection::vec((name, value), 0..3)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_request_gets_a_well_formed_answer(
        (method, path) in target(),
        query in query(),
        headers in headers(),
        body in body(),
    ) {
        let uri = format!("{path}?{query}");
        prop_assume!(uri.parse::<http::Uri>().is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new();
            world.put("/v1/kv/a", "1").await;
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &value[..])).collect();
            check(&world, &method, &uri, &headers, body).await;
        });
    }
}

async fn check(world: &World, method: &str, uri: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let answer = world.open(method, uri, headers, body).await;
    let (parts, body) = answer.into_parts();
    let text = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
    if text("content-type") == "text/event-stream" {
        let mut body = body;
        let frame = tokio::time::timeout(Duration::from_mins(1), body.frame()).await;
        assert!(frame.unwrap().is_some(), "a watch greets");
        return;
    }
    let body = body.collect().await.unwrap().to_bytes();
    if method == "HEAD" {
        assert!(body.is_empty());
    } else if text("content-type") == "application/json" {
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        // Parsed, for "/#" is the root, too.
        let root = uri.parse::<http::Uri>().unwrap().path() == "/";
        let told = if parts.status.is_success() || method == "POST" && root {
            json.is_object()
        } else {
            json["error"]["outcome"].is_string()
        };
        assert!(told, "{json}");
    }
    assert!(parts.status.as_u16() != 500, "nothing here is our own fault");
}
