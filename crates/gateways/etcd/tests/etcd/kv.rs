//! Puts and deletions.

use gateway_etcd::Config;
use gateway_etcd::pb::etcdserverpb::{DeleteRangeRequest, PutRequest};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use wire::Refusal;

use crate::memory::Trouble;
use crate::world::{VALUE_LIMIT_BYTES, World, bytes, put, range, told};

#[tokio::test]
async fn an_empty_store_is_at_revision_1_and_each_put_makes_one_more() {
    let world = World::new();
    let empty = world.range(range("k", "")).await.unwrap();
    assert_eq!(empty.header.unwrap().revision, 1);
    assert_eq!(world.put("k", "1").await, 2);
    assert_eq!(world.put("k", "1").await, 3);
}

#[tokio::test]
async fn a_put_tells_what_was_there() {
    let world = World::new();
    let mut kv = world.kv();
    let request = PutRequest { prev_kv: true, ..put("k", "1") };
    assert_eq!(kv.put(request.clone()).await.unwrap().into_inner().prev_kv, None);
    let previous = kv.put(request).await.unwrap().into_inner().prev_kv.unwrap();
    assert_eq!((&previous.value[..], previous.mod_revision), (&b"1"[..], 2));
    assert_eq!(kv.put(put("k", "2")).await.unwrap().into_inner().prev_kv, None);
}

#[tokio::test]
async fn a_put_may_keep_the_value_or_the_lease() {
    let world = World::new();
    let mut kv = world.kv();
    let keep_value = PutRequest { ignore_value: true, ..put("k", "") };
    let keep_lease = PutRequest { ignore_lease: true, ..put("k", "2") };
    let missing = (Code::InvalidArgument, "etcdserver: key not found".to_owned());
    assert_eq!(told(kv.put(keep_value.clone()).await), missing);
    assert_eq!(told(kv.put(keep_lease.clone()).await), missing);
    world.put("k", "1").await;
    kv.put(keep_value).await.unwrap();
    kv.put(keep_lease).await.unwrap();
    let found = world.range(range("k", "")).await.unwrap();
    assert_eq!((found.kvs[0].value.clone(), found.kvs[0].version), (bytes("2"), 3));

    let value = PutRequest { ignore_value: true, ..put("k", "1") };
    let text = "etcdserver: value is provided".to_owned();
    assert_eq!(told(kv.put(value).await), (Code::InvalidArgument, text));
    let lease = PutRequest { ignore_lease: true, lease: 1, ..put("k", "1") };
    let text = "etcdserver: lease is provided".to_owned();
    assert_eq!(told(kv.put(lease).await), (Code::InvalidArgument, text));
}

#[tokio::test]
async fn senseless_puts_are_refused_in_etcds_words() {
    let world = World::new();
    let mut kv = world.kv();
    let empty = (Code::InvalidArgument, "etcdserver: key is not provided".to_owned());
    assert_eq!(told(kv.put(put("", "1")).await), empty);
    assert_eq!(told(kv.delete_range(DeleteRangeRequest::default()).await), empty);
    let lease = PutRequest { lease: 77, ..put("k", "1") };
    let text = "etcdserver: requested lease not found".to_owned();
    assert_eq!(told(kv.put(lease).await), (Code::NotFound, text));
    let large = (Code::InvalidArgument, "etcdserver: request is too large".to_owned());
    // Over the nodes' limit, and over our own.
    assert_eq!(told(kv.put(put("k", &"x".repeat(VALUE_LIMIT_BYTES + 1))).await), large);
    assert_eq!(told(kv.put(put("k", &"x".repeat(2 * VALUE_LIMIT_BYTES))).await), large);
}

#[tokio::test]
async fn deletions_count_and_tell_what_was_there() {
    let world = World::new();
    world.fill(5).await;
    let mut kv = world.kv();
    let one = DeleteRangeRequest { key: bytes("a01"), ..DeleteRangeRequest::default() };
    let answer = kv.delete_range(one.clone()).await.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.prev_kvs.len()), (1, 0));
    assert_eq!(answer.header.unwrap().revision, 7);
    let answer = kv.delete_range(one).await.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.header.unwrap().revision), (0, 7));
    let rest = DeleteRangeRequest { key: bytes("a"), range_end: bytes("\0"), prev_kv: true };
    let answer = kv.delete_range(rest).await.unwrap().into_inner();
    assert_eq!(answer.deleted, 4);
    assert_eq!(answer.prev_kvs[3].key, bytes("a04"));
}

#[tokio::test]
async fn a_stale_fence_refuses_the_write() {
    let world = World::new();
    let locked = world.put("locks/a", "").await;
    let fenced = |fence: String| {
        let mut request = Request::new(put("k", "1"));
        request.metadata_mut().insert("cairn-fence", MetadataValue::try_from(fence).unwrap());
        request
    };
    let mut kv = world.kv();
    kv.put(fenced(format!("locks/a@{locked}"))).await.unwrap();
    let (code, text) = told(kv.put(fenced(format!("locks%2Fa@{}", locked - 1))).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(text.contains("fencing token"), "{text}");

    let key = DeleteRangeRequest { key: bytes("locks/a"), ..DeleteRangeRequest::default() };
    kv.delete_range(key.clone()).await.unwrap();
    assert_eq!(told(kv.put(fenced(format!("locks/a@{locked}"))).await).0, Code::FailedPrecondition);
    let mut request = Request::new(key);
    request.metadata_mut().insert("cairn-fence", MetadataValue::from_static("locks/a@2"));
    assert_eq!(told(kv.delete_range(request).await).0, Code::FailedPrecondition);
    let nonsense = fenced("locks/a".into());
    assert_eq!(told(kv.put(nonsense).await).0, Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_does_not_do_in_time_is_told_in_etcds_words() {
    let world = World::new();
    let busy = || Trouble::Refuse(Refusal::Busy { what: "all".into() });
    world.memory.trouble(std::iter::repeat_with(busy).take(10_000));
    let timed_out = (Code::Unavailable, "etcdserver: request timed out".to_owned());
    assert_eq!(told(world.kv().put(put("k", "1")).await), timed_out);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let world = World::new();
    world.memory.trouble([Trouble::LoseAnswer]);
    assert_eq!(world.put("k", "1").await, 2);
    assert_eq!(world.put("k", "2").await, 3);
}

#[tokio::test]
async fn beyond_the_bound_requests_are_refused_at_once() {
    let world = World::with(Config { requests: 0, ..Config::default() });
    let too_many = (Code::ResourceExhausted, "etcdserver: too many requests".to_owned());
    assert_eq!(told(world.kv().put(put("k", "1")).await), too_many);
    assert_eq!(told(world.range(range("k", "")).await), too_many);
}
