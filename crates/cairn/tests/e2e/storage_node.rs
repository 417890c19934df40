//! The storage-node API, to the byte, on every node, whichever leads.

use crate::support::alone;
use crate::support::cluster::Cluster;

const STORED: &str = r#"{"status":"success","message":"Data stored successfully"}"#;
const DELETED: &str = r#"{"status":"success","message":"Data deleted successfully"}"#;
const NOT_FOUND: &str = r#"{"status":"error","message":"Data not found"}"#;
const INVALID: &str = r#"{"status":"error","message":"Invalid request type"}"#;

#[test]
fn every_node_answers_to_the_byte() {
    let _alone = alone();
    let cluster = Cluster::start(3);
    let fetched = r#"{"status":"success","message":"Data fetched successfully","value":"world"}"#;
    for writer in cluster.numbers() {
        let check = |node: u16, request: &str, status: u16, body: &str| {
            let answer = cluster.ask(node, "POST", "/", request.as_bytes()).unwrap();
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (status, body),
                "node {node}: {request}"
            );
            assert_eq!(answer.header("content-type"), Some("application/json"));
        };
        check(writer, r#"{"type":"store","key":"hello","value":"world"}"#, 200, STORED);
        for reader in cluster.numbers() {
            check(reader, r#"{"type":"fetch","key":"hello"}"#, 200, fetched);
        }
        check(writer, r#"{"type":"delete","key":"hello"}"#, 200, DELETED);
        for reader in cluster.numbers() {
            check(reader, r#"{"type":"fetch","key":"hello"}"#, 404, NOT_FOUND);
            check(reader, r#"{"type":"delete","key":"hello"}"#, 404, NOT_FOUND);
            check(reader, r#"{"type":"move","key":"hello"}"#, 400, INVALID);
        }
    }
}

#[test]
fn values_of_any_bytes_come_back_as_they_were() {
    let _alone = alone();
    let cluster = Cluster::start(3);
    let value: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let put = cluster.ask(1, "PUT", "/v1/kv/a/%00%ff", &value).unwrap();
    assert_eq!(put.status / 100, 2, "{}", put.text());
    for node in cluster.numbers() {
        let got = cluster.ask(node, "GET", "/v1/kv/a/%00%ff", b"").unwrap();
        assert_eq!(got.status, 200);
        assert!(got.body == value, "node {node} gives back {} bytes", got.body.len());
    }
}
