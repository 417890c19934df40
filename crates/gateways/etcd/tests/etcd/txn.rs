//! Transactions.

use gateway_etcd::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use gateway_etcd::pb::etcdserverpb::request_op::Request;
use gateway_etcd::pb::etcdserverpb::response_op::Response;
use gateway_etcd::pb::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use tonic::{Code, Status};

use crate::world::{PAGE_ITEMS, World, bytes, keys, put, range, told};

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put_op(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(put(key, value)))
}

fn get_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestRange(range(key, end)))
}

fn delete_op(key: &str, end: &str) -> RequestOp {
    let (key, range_end) = (bytes(key), bytes(end));
    op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: true }))
}

fn txn_op(txn: TxnRequest) -> RequestOp {
    op(Request::RequestTxn(txn))
}

fn compare(key: &str, result: CompareResult, union: TargetUnion) -> Compare {
    let target = match union {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(key),
        range_end: bytes(""),
        target_union: Some(union),
    }
}

fn always(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..TxnRequest::default() }
}

async fn run(world: &World, txn: TxnRequest) -> Result<TxnResponse, Status> {
    world.kv().txn(txn).await.map(tonic::Response::into_inner)
}

async fn holds(world: &World, compare: Compare) -> bool {
    let txn = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
    run(world, txn).await.unwrap().succeeded
}

#[tokio::test]
async fn then_or_else_with_the_answers_of_what_was_done() {
    let world = World::new();
    world.fill(3).await;
    let txn = |version| TxnRequest {
        compare: vec![compare("a00", CompareResult::Equal, TargetUnion::Version(version))],
        success: vec![
            op(Request::RequestPut(PutRequest { prev_kv: true, ..put("a00", "new") })),
            delete_op("a01", "a03"),
            get_op("a", "b"),
        ],
        failure: vec![get_op("a00", "")],
    };
    let answer = run(&world, txn(1)).await.unwrap();
    assert!(answer.succeeded);
    assert_eq!(answer.header.unwrap().revision, 5);
    let [put, deleted, found] = &answer.responses[..] else { panic!("{answer:?}") };
    let Some(Response::ResponsePut(put)) = &put.response else { panic!("{put:?}") };
    assert_eq!(put.prev_kv.as_ref().unwrap().value, "v03");
    let Some(Response::ResponseDeleteRange(gone)) = &deleted.response else { panic!() };
    assert_eq!((gone.deleted, gone.prev_kvs.len()), (2, 2));
    let Some(Response::ResponseRange(found)) = &found.response else { panic!() };
    assert_eq!((keys(found), found.count), (vec!["a00"], 1), "a read sees what was done before");

    let answer = run(&world, txn(1)).await.unwrap();
    assert!(!answer.succeeded);
    assert_eq!(answer.responses.len(), 1);
    assert_eq!(answer.header.unwrap().revision, 5, "nothing was changed");
}

type Union = fn(i64) -> TargetUnion;

#[tokio::test]
async fn every_comparison_of_every_target() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let world = World::new();
    world.put("k", "m").await;
    world.put("k", "n").await;
    // The key has version 2, created 2, modified 3, no lease, and value n.
    let unions: [(Union, i64); 4] = [
        (TargetUnion::Version, 2),
        (TargetUnion::CreateRevision, 2),
        (TargetUnion::ModRevision, 3),
        (TargetUnion::Lease, 0),
    ];
    for (union, is) in unions {
        for (operand, equal, greater, less) in
            [(is - 1, false, true, false), (is, true, false, false), (is + 1, false, false, true)]
        {
            if union(0) == TargetUnion::Lease(0) && operand < 0 {
                continue;
            }
            assert_eq!(holds(&world, compare("k", Equal, union(operand))).await, equal);
            assert_eq!(holds(&world, compare("k", NotEqual, union(operand))).await, !equal);
            assert_eq!(holds(&world, compare("k", Greater, union(operand))).await, greater);
            assert_eq!(holds(&world, compare("k", Less, union(operand))).await, less);
        }
    }
    for (value, equal, greater, less) in
        [("m", false, true, false), ("n", true, false, false), ("o", false, false, true)]
    {
        let union = || TargetUnion::Value(bytes(value));
        assert_eq!(holds(&world, compare("k", Equal, union())).await, equal);
        assert_eq!(holds(&world, compare("k", NotEqual, union())).await, !equal);
        assert_eq!(holds(&world, compare("k", Greater, union())).await, greater);
        assert_eq!(holds(&world, compare("k", Less, union())).await, less);
    }
    // An absent key: numbers of 0, and no comparison of values.
    assert!(holds(&world, compare("absent", Equal, TargetUnion::Version(0))).await);
    assert!(holds(&world, compare("absent", Less, TargetUnion::ModRevision(1))).await);
    for result in [Equal, NotEqual, Greater, Less] {
        assert!(!holds(&world, compare("absent", result, TargetUnion::Value(bytes("")))).await);
    }
    // Negative numbers are below all of ours.
    for (result, held) in [(Equal, false), (NotEqual, true), (Greater, true), (Less, false)] {
        assert_eq!(holds(&world, compare("k", result, TargetUnion::ModRevision(-1))).await, held);
    }
    // A target without its operand means 0.
    let bare = Compare { target_union: None, ..compare("k", Greater, TargetUnion::Version(9)) };
    assert!(holds(&world, bare).await);
}

#[tokio::test]
async fn a_comparison_of_a_range_holds_for_each_key() {
    let world = World::new();
    world.fill(3).await;
    let all =
        |key, end, result, union| Compare { range_end: bytes(end), ..compare(key, result, union) };
    let less = CompareResult::Less;
    assert!(holds(&world, all("a", "b", less, TargetUnion::ModRevision(5))).await);
    assert!(!holds(&world, all("a", "b", less, TargetUnion::ModRevision(4))).await);
    let not_equal = CompareResult::NotEqual;
    assert!(holds(&world, all("a", "\0", not_equal, TargetUnion::Value(bytes("x")))).await);
    assert!(!holds(&world, all("x", "y", not_equal, TargetUnion::Value(bytes("x")))).await);
    assert!(holds(&world, all("x", "y", CompareResult::Equal, TargetUnion::Version(0))).await);
}

#[tokio::test]
async fn transactions_within_transactions() {
    let world = World::new();
    let inner = TxnRequest {
        compare: vec![compare("k", CompareResult::Equal, TargetUnion::Value(bytes("outer")))],
        success: vec![put_op("inner", "seen"), get_op("k", "")],
        failure: vec![put_op("inner", "not seen")],
    };
    let answer = run(&world, always(vec![put_op("k", "outer"), txn_op(inner)])).await.unwrap();
    let Some(Response::ResponseTxn(inner)) = &answer.responses[1].response else { panic!() };
    assert!(inner.succeeded, "its comparisons see what was done before");
    let Some(Response::ResponseRange(found)) = &inner.responses[1].response else { panic!() };
    assert_eq!((found.kvs[0].value.clone(), found.kvs[0].mod_revision), (bytes("outer"), 2));
    assert_eq!(world.range(range("inner", "")).await.unwrap().kvs[0].value, "seen");

    let deep = (0..30).fold(always(vec![]), |txn, _| always(vec![txn_op(txn)]));
    assert_eq!(told(run(&world, deep).await).0, Code::InvalidArgument);
    let deepest = (0..wire::MAX_TXN_DEPTH).fold(always(vec![]), |txn, _| always(vec![txn_op(txn)]));
    run(&world, deepest).await.unwrap();
}

#[tokio::test]
async fn what_etcd_refuses_is_refused() {
    let world = World::new();
    let invalid = |text: &str| (Code::InvalidArgument, format!("etcdserver: {text}"));
    let refused = async |txn| told(run(&world, txn).await);
    let (key, duplicate) = ("key is not provided", "duplicate key given in txn request");
    for (txn, text) in [
        (always(vec![put_op("", "")]), key),
        (always(vec![get_op("", "")]), key),
        (always(vec![RequestOp { request: None }]), key),
        (
            TxnRequest {
                compare: vec![compare("", CompareResult::Equal, TargetUnion::Version(0))],
                ..TxnRequest::default()
            },
            key,
        ),
        (always(vec![put_op("k", "1"), put_op("k", "2")]), duplicate),
        (always(vec![delete_op("a", "z"), put_op("k", "2")]), duplicate),
        (always(vec![put_op("k", "2"), delete_op("k", "")]), duplicate),
        (always(vec![put_op("k", "1"), txn_op(always(vec![put_op("k", "2")]))]), duplicate),
        (always(vec![txn_op(always(vec![delete_op("k", "")])), put_op("k", "1")]), duplicate),
        (always(vec![delete_op("a", "z"), txn_op(always(vec![put_op("k", "2")]))]), duplicate),
        (
            TxnRequest { failure: vec![put_op("k", "1"), put_op("k", "2")], ..always(vec![]) },
            duplicate,
        ),
        (always(vec![get_op("k", ""); 129]), "too many operations in txn request"),
        (
            always(
                [vec![get_op("k", ""); 127], vec![txn_op(always(vec![get_op("k", ""); 2]))]]
                    .concat(),
            ),
            "too many operations in txn request",
        ),
    ] {
        assert_eq!(refused(txn.clone()).await, invalid(text), "{txn:?}");
    }
    // Only one of two branches is done; reads may repeat; deletions may overlap.
    let both = TxnRequest { failure: vec![put_op("k", "2")], ..always(vec![put_op("k", "1")]) };
    for txn in [
        both.clone(),
        always(vec![txn_op(both)]),
        always(vec![delete_op("a", "z"), delete_op("k", "")]),
        always(vec![get_op("k", ""); 128]),
        always(vec![delete_op("a", "\0"), put_op("k", "after")]),
    ] {
        run(&world, txn).await.unwrap();
    }
    assert_eq!(world.range(range("k", "")).await.unwrap().kvs[0].value, "after");
    let mut odd = compare("k", CompareResult::Equal, TargetUnion::Version(0));
    odd.target = 9;
    let txn = TxnRequest { compare: vec![odd], ..TxnRequest::default() };
    assert_eq!(refused(txn).await.0, Code::InvalidArgument);
}

#[tokio::test]
async fn reads_in_a_transaction_know_every_option() {
    let world = World::new();
    let count = 3 * PAGE_ITEMS;
    world.fill(count).await;
    let find = |request| op(Request::RequestRange(request));
    let requests = [
        range("a", "b"),
        RangeRequest { limit: 5, ..range("a", "b") },
        RangeRequest { limit: i64::try_from(2 * PAGE_ITEMS).unwrap(), ..range("a", "b") },
        RangeRequest { sort_order: 2, limit: 3, ..range("a", "b") },
        RangeRequest { count_only: true, ..range("a", "b") },
        RangeRequest { keys_only: true, min_mod_revision: 20, ..range("a", "b") },
        RangeRequest { revision: 10, limit: 4, ..range("a", "b") },
    ];
    let reading = always(requests.iter().cloned().map(find).collect());
    let answer = run(&world, reading).await.unwrap();
    for (request, response) in requests.iter().zip(&answer.responses) {
        let Some(Response::ResponseRange(found)) = &response.response else { panic!() };
        let alone = world.range(request.clone()).await.unwrap();
        assert_eq!((&found.kvs, found.more, found.count), (&alone.kvs, alone.more, alone.count));
    }
    // One that writes can't be read behind: what is cut says so, with the right count.
    let writing = always(vec![
        find(RangeRequest { limit: 2, ..range("a", "b") }),
        find(RangeRequest { revision: 5, ..range("a", "b") }),
        put_op("a99", ""),
        find(RangeRequest { limit: 2, ..range("a", "b") }),
    ]);
    let answer = run(&world, writing).await.unwrap();
    let counts = answer.responses.iter().filter_map(|response| match &response.response {
        Some(Response::ResponseRange(found)) => Some((found.kvs.len(), found.count, found.more)),
        _ => None,
    });
    assert_eq!(counts.collect::<Vec<_>>(), [(2, 21, true), (4, 4, false), (2, 22, true)]);
}

#[tokio::test]
async fn a_read_of_what_is_not_there_refuses_the_whole() {
    let world = World::new();
    let future = op(Request::RequestRange(RangeRequest { revision: 99, ..range("k", "") }));
    let (code, text) = told(run(&world, always(vec![put_op("k", "1"), future])).await);
    assert_eq!(code, Code::OutOfRange);
    assert!(text.ends_with("is a future revision"), "{text}");
    assert_eq!(world.range(range("k", "")).await.unwrap().count, 0, "nothing was done");
}
