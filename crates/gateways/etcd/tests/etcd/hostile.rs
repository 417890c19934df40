//! Bytes that no client sends.

use bytes::Bytes;
use gateway_etcd::pb::etcdserverpb::RangeRequest;
use gateway_etcd::{AnswerBody, Gateway};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;

use crate::world::{World, range};

/// Sends raw bytes as a call; the status in the headers or the trailers.
async fn call(world: &World, path: &str, body: impl Into<Bytes>) -> (String, String) {
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .body(Full::new(body.into()))
        .unwrap();
    assert!(Gateway::handles(&request));
    let (parts, body) = world.gateway.handle(request).await.into_parts();
    told(parts.headers, body).await
}

async fn told(headers: HeaderMap, body: AnswerBody) -> (String, String) {
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let of = |name: &str| {
        let value = headers.get(name).or_else(|| trailers.get(name));
        value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    (of("grpc-status"), of("grpc-message"))
}

fn frame(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap();
    [&[0][..], &len.to_be_bytes(), message].concat()
}

#[tokio::test]
async fn unknown_services_and_methods_are_unimplemented() {
    let world = World::new();
    for path in ["/nobody.Knows/Me", "/etcdserverpb.KV/Nothing", "/", "/etcdserverpb.KV"] {
        let (status, message) = call(&world, path, frame(&[])).await;
        assert_eq!(status, "12", "{path}: {message}");
    }
}

#[tokio::test]
async fn frames_that_are_none_are_refused() {
    let world = World::new();
    let good = frame(&range("k", "").encode_to_vec());
    assert_eq!(call(&world, "/etcdserverpb.KV/Range", good.clone()).await.0, "0");
    for cut in 0..good.len() {
        let (status, _) = call(&world, "/etcdserverpb.KV/Range", good[..cut].to_vec()).await;
        assert_ne!(status, "0", "cut at {cut}");
    }
    // A message of another kind, one that claims to be compressed, one that claims 4 GiB.
    for bad in [
        frame(&[0xff; 20]),
        [&[1][..], &good[1..]].concat(),
        [&[0][..], &u32::MAX.to_be_bytes()].concat(),
    ] {
        let (status, message) = call(&world, "/etcdserverpb.KV/Range", bad).await;
        assert!(status != "0" && !message.is_empty(), "{status} {message}");
    }
}

#[tokio::test]
async fn messages_that_nest_without_end_are_refused() {
    let world = World::new();
    // A transaction in a transaction in …: fields 2 (success) and 4 (request_txn), innermost first.
    let mut message = Vec::new();
    for _ in 0..2000 {
        for field in [0x22, 0x12] {
            let mut outer = vec![field];
            prost::encoding::encode_varint(message.len() as u64, &mut outer);
            outer.extend_from_slice(&message);
            message = outer;
        }
    }
    let (status, text) = call(&world, "/etcdserverpb.KV/Txn", frame(&message)).await;
    assert!(status != "0", "{status} {text}");
    let json = "{\"success\":[{\"request_txn\":".repeat(2000) + "{}";
    assert_eq!(world.post("/v3/kv/txn", &json).await.0, 400);
}

#[test]
fn what_is_handled_here_and_what_is_not() {
    let request = |path: &str, media_type: &str| {
        Request::post(path).header("content-type", media_type).body(()).unwrap()
    };
    for path in ["/v3/kv/range", "/version", "/health"] {
        assert!(Gateway::handles(&request(path, "application/json")));
    }
    assert!(Gateway::handles(&request("/any.Service/Method", "application/grpc+proto")));
    for path in ["/", "/v1/kv/version", "/healthz", "/metrics"] {
        assert!(!Gateway::handles(&request(path, "application/json")));
    }
}

#[test]
fn field_numbers_are_the_protocols() {
    // key 1, range_end 2, limit 3, revision 4, serializable 7, max_create_revision 13.
    let request = RangeRequest {
        limit: 5,
        revision: 6,
        serializable: true,
        max_create_revision: 9,
        ..range("k", "l")
    };
    let bytes = [0x0a, 1, b'k', 0x12, 1, b'l', 0x18, 5, 0x20, 6, 0x38, 1, 0x68, 9];
    assert_eq!(request.encode_to_vec(), bytes);
}
