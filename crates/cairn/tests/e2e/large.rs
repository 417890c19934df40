//! Values of some megabytes, by etcd's API over real sockets: whatever stands on their way has its own
//! limit, and none may be smaller than the configured one.

use gateway_etcd::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use gateway_etcd::pb::etcdserverpb::kv_client::KvClient;
use gateway_etcd::pb::etcdserverpb::request_op::Request as Op;
use gateway_etcd::pb::etcdserverpb::response_op::Response as OpAnswer;
use gateway_etcd::pb::etcdserverpb::watch_client::WatchClient;
use gateway_etcd::pb::etcdserverpb::watch_request::RequestUnion;
use gateway_etcd::pb::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use tonic::{Code, Streaming};

use crate::support::alone;
use crate::support::cluster::Cluster;
use crate::support::grpc::{Channel, run, sent_one_by_one, soon, told};

/// `max_value`, unless it is set.
const LIMIT: usize = 8 << 20;

const SIZES: [usize; 3] = [3 << 20, 5 << 20, LIMIT - 1];

/// What a client that wants large values allows itself; those of other languages have no limit.
const CLIENT_LIMIT: usize = 64 << 20;

/// A value in which it shows if a piece of it is lost or doubled.
fn value(size: usize) -> Vec<u8> {
    let words = (size..).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes());
    words.take(size).collect()
}

struct Keys(KvClient<Channel>);

impl Keys {
    async fn at(port: u16) -> Self {
        let channel = Channel::to(port).await;
        let origin = channel.origin();
        let client = KvClient::with_origin(channel, origin);
        Self(client.max_decoding_message_size(CLIENT_LIMIT))
    }

    async fn value(&mut self, key: &str) -> Vec<u8> {
        let request = RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let answer = soon(self.0.range(request)).await.unwrap().into_inner();
        answer.kvs[0].value.to_vec()
    }
}

fn put(key: &str, value: Vec<u8>) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() }
}

/// The values that a watch is told of, so many.
async fn told_values(heard: &mut Streaming<WatchResponse>, count: usize) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    while values.len() < count {
        let response = soon(heard.message()).await.unwrap().unwrap();
        assert!(!response.canceled, "{}", response.cancel_reason);
        values.extend(response.events.into_iter().map(|event| event.kv.unwrap().value.to_vec()));
    }
    values
}

#[test]
fn values_of_some_megabytes_go_every_way_up_to_the_limit() {
    let _alone = alone();
    let cluster = Cluster::start(3);
    run(async {
        let mut one = Keys::at(cluster.client_port(1)).await;
        let mut two = Keys::at(cluster.client_port(2)).await;
        let channel = Channel::to(cluster.client_port(3)).await;
        let origin = channel.origin();
        let mut watching =
            WatchClient::with_origin(channel, origin).max_decoding_message_size(CLIENT_LIMIT);
        let watch = |start_revision| {
            let (key, range_end) = ("l".into(), "m".into());
            let create =
                WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
            WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
        };
        let (ask, requests) = sent_one_by_one();
        ask.send(watch(0)).unwrap();
        let mut live = soon(watching.watch(requests)).await.unwrap().into_inner();
        let created = soon(live.message()).await.unwrap().unwrap();
        assert!(created.created);
        let first = created.header.unwrap().revision + 1;

        for size in SIZES {
            soon(one.0.put(put("l/put", value(size)))).await.unwrap();
            assert!(two.value("l/put").await == value(size), "{size} bytes, by another node");
        }
        let in_a_txn = value(LIMIT - 2);
        let compare = Compare {
            result: CompareResult::Greater.into(),
            target: CompareTarget::Version.into(),
            key: "l/put".into(),
            target_union: Some(TargetUnion::Version(0)),
            ..Default::default()
        };
        let ops = [
            Op::RequestPut(put("l/txn", in_a_txn.clone())),
            Op::RequestRange(RangeRequest { key: "l/txn".into(), ..Default::default() }),
        ];
        let success = ops.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
        let txn = TxnRequest { compare: vec![compare], success, ..Default::default() };
        let done = soon(two.0.txn(txn)).await.unwrap().into_inner();
        assert!(done.succeeded);
        let Some(OpAnswer::ResponseRange(read)) = &done.responses[1].response else {
            panic!("{done:?}")
        };
        assert!(read.kvs[0].value == in_a_txn, "what it has just written");
        assert!(one.value("l/txn").await == in_a_txn);

        let mut expected: Vec<_> = SIZES.map(value).into();
        expected.push(in_a_txn);
        assert!(told_values(&mut live, 4).await == expected, "as they happened");
        let (ask, requests) = sent_one_by_one();
        ask.send(watch(first)).unwrap();
        let mut past = soon(watching.watch(requests)).await.unwrap().into_inner();
        assert!(told_values(&mut past, 4).await == expected, "out of the past");

        for size in [LIMIT + 1, 2 * LIMIT, 4 * LIMIT] {
            let refused = soon(one.0.put(put("l/put", vec![7; size]))).await.unwrap_err();
            let words = "etcdserver: request is too large";
            assert_eq!(told(&refused), (Code::InvalidArgument, words), "{size} bytes");
        }
        assert!(one.value("l/txn").await.len() == LIMIT - 2, "the connection goes on");
    });
}
