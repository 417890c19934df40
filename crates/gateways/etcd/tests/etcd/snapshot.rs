//! Snapshots in etcd's form: what stands in the file, and what is refused.

use bolt::Database;
use gateway_etcd::Config;
use gateway_etcd::pb::etcdserverpb::lease_client::LeaseClient;
use gateway_etcd::pb::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, PutRequest, SnapshotRequest, SnapshotResponse,
};
use gateway_etcd::pb::mvccpb::KeyValue;
use prost::Message;
use ring::digest::{SHA256, digest};
use tonic::codegen::Bytes;
use tonic::{Code, Streaming};

use crate::world::{World, put, range, told};

async fn begin(world: &World) -> Streaming<SnapshotResponse> {
    world.maintenance().snapshot(SnapshotRequest {}).await.unwrap().into_inner()
}

/// The whole file, its sum cut off; what is told with it holds.
async fn file(mut parts: Streaming<SnapshotResponse>) -> Vec<u8> {
    let mut messages = Vec::new();
    while let Some(message) = parts.message().await.unwrap() {
        messages.push(message);
    }
    let mut left: u64 = messages.iter().map(|message| message.blob.len() as u64).sum();
    for message in &messages {
        left -= message.blob.len() as u64;
        assert_eq!(message.remaining_bytes, left);
    }
    let mut file: Vec<u8> = messages.into_iter().flat_map(|message| message.blob).collect();
    assert_eq!(file.len() % 512, 32, "clients look for the sum by the file's length");
    let sum = file.split_off(file.len() - 32);
    assert_eq!(digest(&SHA256, &file).as_ref(), sum);
    file
}

fn entries(file: &[u8], bucket: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut database = Database::open(file).unwrap();
    let bucket = database.bucket(bucket).unwrap().unwrap();
    let mut walk = database.walk(&bucket);
    let mut all = Vec::new();
    while let Some(entry) = walk.next().unwrap() {
        all.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    all
}

#[tokio::test]
async fn a_snapshot_has_every_key_under_its_revision() {
    let world = World::new();
    world.fill(40).await;
    for key in ["a30", "a03", "a17"] {
        world.put(key, "again").await;
    }
    let gone = DeleteRangeRequest { key: "a05".into(), ..DeleteRangeRequest::default() };
    let gone = world.kv().delete_range(gone).await.unwrap().into_inner();
    let file = file(begin(&world).await).await;

    let mut expected = world.range(range("a", "b")).await.unwrap().kvs;
    expected.sort_by_key(|item| item.mod_revision);
    let keys = entries(&file, b"key");
    let items: Vec<KeyValue> =
        keys.iter().map(|(_, value)| KeyValue::decode(&value[..]).unwrap()).collect();
    assert_eq!(items, expected);
    for ((key, _), item) in keys.iter().zip(&items) {
        let main = u64::try_from(item.mod_revision).unwrap();
        assert_eq!(key[..], [&main.to_be_bytes()[..], b"_", &0_u64.to_be_bytes()].concat());
    }
    // The newest change was a deletion: only this tells the revision.
    let revision = u64::try_from(gone.header.unwrap().revision).unwrap();
    let meta = entries(&file, b"meta");
    assert_eq!(meta[0].0, b"finishedCompactRev");
    assert_eq!(meta[0].1[..8], revision.to_be_bytes());
    assert!(entries(&file, b"authUsers").is_empty());
}

#[tokio::test]
async fn leases_come_along_with_their_whole_time() {
    let world = World::new();
    let mut leases = LeaseClient::new(world.direct());
    for (id, ttl) in [(7, 60), (9, 1234)] {
        leases.lease_grant(LeaseGrantRequest { id, ttl }).await.unwrap();
    }
    world.kv().put(PutRequest { lease: 7, ..put("k", "v") }).await.unwrap();
    let file = file(begin(&world).await).await;
    let lease =
        |id: u8, ttl: &[u8]| (vec![0, 0, 0, 0, 0, 0, 0, id], [&[8, id, 16][..], ttl].concat());
    assert_eq!(entries(&file, b"lease"), [lease(7, &[60]), lease(9, &[0xd2, 0x09])]);
    let item = KeyValue::decode(&entries(&file, b"key")[0].1[..]).unwrap();
    assert_eq!((item.key, item.lease), (Bytes::from_static(b"k"), 7));
}

#[tokio::test]
async fn an_empty_store_has_a_snapshot_too() {
    let file = file(begin(&World::new()).await).await;
    assert!(entries(&file, b"key").is_empty());
    assert_eq!(entries(&file, b"meta")[0].1[..8], 1_u64.to_be_bytes());
}

#[tokio::test]
async fn it_stays_at_its_revision_whatever_is_written_meanwhile() {
    let world = World::new();
    world.fill(30).await;
    let expected = world.range(range("a", "b")).await.unwrap().kvs.len();
    let parts = begin(&world).await;
    world.put("a99", "later").await;
    world.put("a00", "later").await;
    let file = file(parts).await;
    let keys = entries(&file, b"key");
    assert_eq!(keys.len(), expected);
    assert!(keys.iter().all(|(_, value)| !value.ends_with(b"later")));
}

#[tokio::test]
async fn one_is_made_at_a_time_and_of_so_many_keys_at_most() {
    let world = World::with(Config { snapshot_keys: 3, ..Config::default() });
    world.fill(3).await;
    let first = begin(&world).await;
    let (code, _) = told(world.maintenance().snapshot(SnapshotRequest {}).await);
    assert_eq!(code, Code::ResourceExhausted);
    drop(first);
    assert_eq!(entries(&file(begin(&world).await).await, b"key").len(), 3);
    world.put("one more", "").await;
    let (code, text) = told(world.maintenance().snapshot(SnapshotRequest {}).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.contains("3 keys at most, here are 4"), "{text}");
}
