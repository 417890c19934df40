//! A request to the gateway: method, target, headers and body, over a real store.
//!
//! Whatever is asked, the answer is well formed: a status that is not our own fault, JSON where JSON is
//! said, an error with code, message and outcome; a HEAD has no body; a watch greets. The gateway goes
//! on to serve.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::Client;
use gateway_http::{Config, Gateway, Introspect};
use http::Request;
use http_body_util::{BodyExt as _, Full};

use crate::door::{Door, runtime};
use crate::seeds;
use crate::solo::{Solo, VALUE_LIMIT_BYTES};

struct Fine;

impl Introspect for Fine {
    fn metrics(&self) -> String {
        "# EOF\n".into()
    }

    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Err("no leader is known".into())
    }
}

/// Input: a request as HTTP/1.1 writes it: `METHOD target`, headers, an empty line, the body.
pub(super) fn run(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    check(request);
}

fn parse(data: &[u8]) -> Option<Request<Full<Bytes>>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines.take(16) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).ok()
}

/// Sends one request to a gateway over a store with a few keys.
pub(super) fn check(request: Request<Full<Bytes>>) {
    let mut solo = Solo::new(1);
    for write in seeds::some_writes() {
        solo.ask(write).expect("a write that is in order");
    }
    let door = Door(Arc::new(Mutex::new(solo)));
    let client = Client::new(Arc::new(door), client::Config::new(7, 1));
    let config = Config { value_limit_bytes: VALUE_LIMIT_BYTES, ..Config::default() };
    let gateway = Gateway::new(client, Arc::new(client::Unguarded), Arc::new(Fine), config);
    runtime().block_on(async {
        answer(&gateway, request).await;
        let again = Request::get("/v1/kv/a").body(Full::<Bytes>::default());
        let status = gateway.handle(again.expect("a good request")).await.status();
        assert!(status.is_success() || status.as_u16() == 404, "it goes on to serve: {status}");
    });
}

async fn answer(gateway: &Gateway, request: Request<Full<Bytes>>) {
    let (is_head, is_watch) = (request.method() == "HEAD", request.uri().path() == "/v1/watch");
    let is_storage_node = request.method() == "POST" && request.uri().path() == "/";
    let (parts, mut body) = gateway.handle(request).await.into_parts();
    let status = parts.status.as_u16();
    assert_ne!(status, 500, "nothing here is our own fault");
    let media_type = parts.headers.get("content-type").map_or(&b""[..], |value| value.as_bytes());
    if media_type == b"text/event-stream" {
        assert!(is_watch, "an endless answer to something else");
        let frame = tokio::time::timeout(Duration::from_mins(1), body.frame()).await;
        assert!(frame.is_ok_and(|frame| frame.is_some()), "a watch greets");
        return;
    }
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    if is_head {
        assert!(body.is_empty(), "a HEAD has no body");
        return;
    }
    if media_type == b"application/json" {
        let json: serde_json::Value = serde_json::from_slice(&body).expect("it says JSON");
        assert!(json.is_object(), "{json}");
        if status >= 400 && !is_storage_node {
            for field in ["code", "message", "outcome"] {
                let text = json["error"][field].as_str();
                assert!(text.is_some_and(|text| !text.is_empty()), "{field} is missing: {json}");
            }
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    seeds::http()
}
