//! What is refused at the door: greetings, keys, commands that can never be done.

use bytes::Bytes;
use wire::{
    Body, Command, Compare, Hello, HelloError, Item, KeyRange, MAX_KEY_BYTES, MAX_TXN_DEPTH,
    NodeId, Op, Operand, Operator, Outcome, PROTOCOL_VERSION, Purpose, Query, Refusal, RequestId,
    RestoreChunk, Revision, Txn, check_key,
};

const VALUE_LIMIT: usize = 10;

fn check(body: Body) -> Result<(), Refusal> {
    let id = RequestId { client: 1, number: 1 };
    Command { id, done_below: 0, since: 0, principal: None, body }.check(VALUE_LIMIT)
}

fn put(key: &[u8], value_bytes: usize) -> Op {
    Op::put(Bytes::copy_from_slice(key), vec![0; value_bytes])
}

#[test]
fn keys_have_a_length() {
    assert!(check_key(b"k").is_ok());
    assert!(check_key(&vec![0; MAX_KEY_BYTES]).is_ok());
    assert!(matches!(check_key(b""), Err(Refusal::Invalid { .. })));
    let error = check_key(&vec![0; MAX_KEY_BYTES + 1]).expect_err("too long");
    assert_eq!(error.to_string(), "key of 8193 bytes is over the limit of 8192 bytes");
    assert_eq!((error.code(), error.outcome()), ("too_large", Outcome::NotDone));
}

#[test]
fn a_transaction_that_can_never_be_done_is_refused() {
    assert!(check(Body::Txn(Txn::always(vec![put(b"k", VALUE_LIMIT)]))).is_ok());
    let error = check(Body::Txn(Txn::always(vec![put(b"k", 11)]))).expect_err("too large");
    assert_eq!(
        error.to_string(),
        "value of 11 bytes is over the limit of 10 bytes (set by --max-value)"
    );
    let otherwise = Txn { otherwise: vec![put(b"", 1)], ..Txn::default() };
    assert!(check(Body::Txn(otherwise)).is_err());
    let (operator, operand) = (Operator::Equal, Operand::Version(0));
    let compares = vec![Compare::key(Bytes::new(), operator, operand)];
    assert!(check(Body::Txn(Txn { compares, ..Txn::default() })).is_err());
    let past = Query { revision: Some(Revision(1)), ..Query::range(KeyRange::all()) };
    assert!(check(Body::Txn(Txn::always(vec![Op::Read(past)]))).is_err());
    assert!(check(Body::Compact { before: Revision(9) }).is_ok());
    let within = |txn| Txn::always(vec![Op::Txn(txn)]);
    let deep = (0..MAX_TXN_DEPTH).fold(Txn::default(), |txn, _| within(txn));
    assert!(check(Body::Txn(deep.clone())).is_ok());
    assert!(check(Body::Txn(within(deep))).is_err());
    let inner = Txn::always(vec![put(b"k", 11)]);
    assert!(check(Body::Txn(within(inner))).is_err(), "what lies within is looked at, too");
}

#[test]
fn a_backup_from_the_future_is_refused() {
    let chunk = |created, modified| {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::new());
        let (created, modified) = (Revision(created), Revision(modified));
        let items = vec![Item { key, value, created, modified, version: 1, lease: 0 }];
        let revision = Revision(5);
        Body::Restore(RestoreChunk { restore: 1, sequence: 0, items, revision, last: true })
    };
    assert!(check(chunk(5, 5)).is_ok());
    assert!(check(chunk(5, 6)).is_err());
    assert!(check(chunk(5, 4)).is_err());
}

#[test]
fn greetings_are_checked() {
    let hello = |purpose, cluster: &str, node: Option<u64>, to: Option<u64>| Hello {
        version: PROTOCOL_VERSION,
        purpose,
        cluster: cluster.into(),
        node: node.map(NodeId),
        to: to.map(NodeId),
        consensus: if purpose == Purpose::Peer { "raft".into() } else { String::new() },
        address: String::new(),
        journal: 7,
    };
    let admits = |node: NodeId| match node.0 {
        0..=3 => Ok(()),
        4 => Err(HelloError::Stranger { node }),
        5 => Err(HelloError::Removed { node }),
        _ => Err(HelloError::Forgetful { node }),
    };
    let check = |hello: Hello| hello.check("prod", NodeId(1), "raft", admits);
    let (peer, client) = (Purpose::Peer, Purpose::Client);
    assert_eq!(check(hello(client, "", None, None)), Ok(()));
    assert_eq!(check(hello(client, "prod", Some(2), Some(1))), Ok(()));
    assert_eq!(check(hello(peer, "prod", Some(2), Some(1))), Ok(()));
    let stranger = |node| Err(HelloError::Stranger { node: NodeId(node) });
    assert_eq!(check(hello(peer, "prod", Some(4), None)), stranger(4));
    assert_eq!(check(hello(peer, "prod", Some(1), None)), stranger(1));
    let removed = Err(HelloError::Removed { node: NodeId(5) });
    assert_eq!(check(hello(peer, "prod", Some(5), None)), removed);
    let forgetful = Err(HelloError::Forgetful { node: NodeId(6) });
    assert_eq!(check(hello(peer, "prod", Some(6), None)), forgetful);
    assert_eq!(check(hello(peer, "prod", None, None)), stranger(0));
    let (wanted, actual) = (NodeId(2), NodeId(1));
    let wrong_node = Err(HelloError::Node { wanted, actual });
    assert_eq!(check(hello(client, "", None, Some(2))), wrong_node);
    for purpose in [peer, client] {
        let error = check(hello(purpose, "test", Some(2), None)).expect_err("another cluster");
        assert!(matches!(error, HelloError::Cluster { .. }), "{error}");
    }
    let other = Hello { consensus: "zab".into(), ..hello(peer, "prod", Some(2), Some(1)) };
    let error = check(other).expect_err("another protocol");
    assert!(error.to_string().contains("keeps its logs by zab, this node by raft"), "{error}");
    // Only a client may leave open which cluster it means.
    assert!(check(hello(peer, "", Some(2), None)).is_err());
    let newer = Hello { version: PROTOCOL_VERSION + 1, ..hello(client, "", None, None) };
    assert!(matches!(check(newer), Err(HelloError::Version { .. })));
}
