//! Reads of ranges.

use gateway_etcd::Config;
use gateway_etcd::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use gateway_etcd::pb::etcdserverpb::{CompactionRequest, RangeRequest, RangeResponse};
use tonic::Code;
use wire::{Consistency, Projection, Refusal, Revision};

use crate::memory::Trouble;
use crate::world::{PAGE_ITEMS, World, keys, range, told};

#[tokio::test]
async fn a_single_key_comes_with_all_that_is_known_of_it() {
    let world = World::new();
    world.put("k", "1").await;
    world.put("k", "2").await;
    let answer = world.range(range("k", "")).await.unwrap();
    let header = answer.header.unwrap();
    assert_eq!((header.revision, header.raft_term), (3, 3));
    assert!(header.cluster_id != 0 && header.member_id != 0);
    assert_eq!((answer.count, answer.more), (1, false));
    let kv = &answer.kvs[0];
    assert_eq!((&kv.key[..], &kv.value[..]), (&b"k"[..], &b"2"[..]));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (2, 3, 2, 0));

    let none = world.range(range("absent", "")).await.unwrap();
    assert_eq!((none.kvs.len(), none.count, none.more), (0, 0, false));
}

#[tokio::test]
async fn range_ends_are_those_of_the_protocol() {
    let world = World::new();
    for key in ["a", "a\0", "ab", "b", "c"] {
        world.put(key, "").await;
    }
    for (key, end, found) in [
        ("a", "", &["a"][..]),
        ("a", "b", &["a", "a\0", "ab"]),
        ("b", "\0", &["b", "c"]),
        ("\0", "\0", &["a", "a\0", "ab", "b", "c"]),
        ("b", "a", &[]),
        ("b", "b", &[]),
    ] {
        let answer = world.range(range(key, end)).await.unwrap();
        assert_eq!(keys(&answer), found, "{key:?} to {end:?}");
        assert_eq!(answer.count, i64::try_from(found.len()).unwrap());
    }
}

#[tokio::test]
async fn many_pages_are_one_answer_of_one_revision() {
    let world = World::new();
    let count = 3 * PAGE_ITEMS + 2;
    world.fill(count).await;
    world.memory.queries();
    let answer = world.range(range("a", "b")).await.unwrap();
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (count, 23, false));
    let queries = world.memory.queries();
    assert_eq!(queries.len(), 4);
    assert_eq!((queries[0].0.revision, queries[0].1), (None, Consistency::Linearizable));
    let pinned = Revision(1 + count as u64);
    for (query, consistency) in &queries[1..] {
        assert_eq!(query.revision, Some(pinned));
        assert_eq!(*consistency, Consistency::Session(pinned));
    }
}

#[tokio::test]
async fn a_limit_cuts_and_the_count_is_of_all() {
    let world = World::new();
    world.fill(20).await;
    for limit in [1, 7, 10, 19, 20, 21] {
        let request = RangeRequest { limit, ..range("a", "b") };
        let answer = world.range(request).await.unwrap();
        assert_eq!(answer.kvs.len(), usize::try_from(limit.min(20)).unwrap());
        assert_eq!((answer.count, answer.more), (20, limit < 20), "{limit}");
    }
    world.memory.queries();
    let request = RangeRequest { limit: 3, ..range("a", "b") };
    world.range(request).await.unwrap();
    let queries = world.memory.queries();
    assert_eq!(queries.len(), 2, "one page and the count");
    assert_eq!((queries[0].0.limit, queries[1].0.projection), (3, Projection::CountOnly));
}

#[tokio::test]
async fn keys_only_and_count_only() {
    let world = World::new();
    world.fill(9).await;
    let answer = world.range(RangeRequest { keys_only: true, ..range("a", "b") }).await.unwrap();
    assert_eq!(answer.kvs.len(), 9);
    assert!(answer.kvs.iter().all(|kv| kv.value.is_empty()));
    let request = RangeRequest { count_only: true, limit: 2, ..range("a", "b") };
    let answer = world.range(request).await.unwrap();
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (0, 9, false));
}

#[tokio::test]
async fn every_order_and_target() {
    let world = World::new();
    // The keys' order, that of creation, of modification, of versions and of values all differ.
    for (key, value) in [("b", "4"), ("a", "2"), ("c", "3"), ("a", "1"), ("b", "5"), ("b", "2")] {
        world.put(key, value).await;
    }
    let sorted = async |target: SortTarget, order: SortOrder, limit| {
        let (sort_target, sort_order) = (target.into(), order.into());
        let request = RangeRequest { sort_target, sort_order, limit, ..range("a", "z") };
        world.range(request).await.unwrap()
    };
    for (target, ascending) in [
        (SortTarget::Key, ["a", "b", "c"]),
        (SortTarget::Version, ["c", "a", "b"]),
        (SortTarget::Create, ["b", "a", "c"]),
        (SortTarget::Mod, ["c", "a", "b"]),
        (SortTarget::Value, ["a", "b", "c"]),
    ] {
        let answer = sorted(target, SortOrder::Ascend, 0).await;
        assert_eq!(keys(&answer), ascending, "{target:?}");
        let answer = sorted(target, SortOrder::None, 0).await;
        assert_eq!(keys(&answer), ascending, "{target:?}");
        let mut descending = ascending;
        descending.reverse();
        let answer = sorted(target, SortOrder::Descend, 0).await;
        assert_eq!(keys(&answer), descending, "{target:?}");
        let answer = sorted(target, SortOrder::Descend, 2).await;
        assert_eq!(keys(&answer), descending[..2], "{target:?}");
        assert_eq!((answer.count, answer.more), (3, true));
    }
}

#[tokio::test]
async fn an_order_by_values_with_keys_only_still_orders() {
    let world = World::new();
    world.fill(10).await;
    let request = RangeRequest {
        sort_target: SortTarget::Value.into(),
        sort_order: SortOrder::Ascend.into(),
        keys_only: true,
        limit: 2,
        ..range("a", "b")
    };
    let answer = world.range(request).await.unwrap();
    assert_eq!(keys(&answer), ["a09", "a08"]);
    assert!(answer.kvs.iter().all(|kv| kv.value.is_empty()));
}

#[tokio::test]
async fn bounds_on_revisions_filter_before_the_limit() {
    let world = World::new();
    world.fill(20).await;
    world.put("a00", "again").await;
    let request = RangeRequest {
        min_mod_revision: 5,
        max_mod_revision: 15,
        min_create_revision: 6,
        max_create_revision: 14,
        limit: 4,
        ..range("a", "b")
    };
    let answer = world.range(request).await.unwrap();
    assert_eq!(keys(&answer), ["a04", "a05", "a06", "a07"]);
    assert_eq!((answer.count, answer.more), (20, true), "the count knows no filter");
    let request = RangeRequest { min_mod_revision: 22, ..range("a", "b") };
    assert_eq!(keys(&world.range(request).await.unwrap()), ["a00"]);
}

#[tokio::test]
async fn past_states_compacted_ones_and_those_to_come() {
    let world = World::new();
    for value in ["1", "2", "3", "4"] {
        world.put("k", value).await;
    }
    let at = async |revision| world.range(RangeRequest { revision, ..range("k", "") }).await;
    let answer = at(3).await.unwrap();
    assert_eq!(answer.kvs[0].value, "2");
    assert_eq!(answer.header.unwrap().revision, 5, "the header tells the newest");
    assert_eq!(at(-1).await.unwrap().kvs[0].value, "4");

    let future = "etcdserver: mvcc: required revision is a future revision".to_owned();
    assert_eq!(told(at(6).await), (Code::OutOfRange, future.clone()));
    let compact =
        async |revision| world.kv().compact(CompactionRequest { revision, physical: true }).await;
    assert_eq!(compact(4).await.unwrap().into_inner().header.unwrap().revision, 5);
    let compacted = "etcdserver: mvcc: required revision has been compacted".to_owned();
    assert_eq!(told(at(3).await), (Code::OutOfRange, compacted.clone()));
    assert_eq!(at(4).await.unwrap().kvs[0].value, "3");
    assert_eq!(told(compact(4).await), (Code::OutOfRange, compacted.clone()));
    assert_eq!(told(compact(-4).await), (Code::OutOfRange, compacted));
    assert_eq!(told(compact(6).await), (Code::OutOfRange, future));
}

#[tokio::test]
async fn a_serializable_read_asks_the_nearest_node() {
    let world = World::new();
    world.memory.queries();
    world.range(RangeRequest { serializable: true, ..range("k", "") }).await.unwrap();
    assert_eq!(world.memory.queries()[0].1, Consistency::Eventual);
}

#[tokio::test]
async fn what_is_compacted_under_a_read_of_the_newest_is_read_anew() {
    let world = World::new();
    world.fill(2 * PAGE_ITEMS).await;
    let gone =
        || Trouble::Refuse(Refusal::Compacted { asked: Revision(9), compacted: Revision(10) });
    world.memory.trouble([gone(), gone()]);
    assert_eq!(world.range(range("a", "b")).await.unwrap().count, 14);
    world.memory.trouble([gone()]);
    let request = RangeRequest { revision: 9, ..range("a", "b") };
    assert_eq!(told(world.range(request).await).0, Code::OutOfRange);
}

#[tokio::test]
async fn senseless_ranges_are_refused() {
    let world = World::new();
    let refused = async |request| told(world.range(request).await);
    let empty = (Code::InvalidArgument, "etcdserver: key is not provided".to_owned());
    assert_eq!(refused(range("", "b")).await, empty);
    let sort = (Code::InvalidArgument, "etcdserver: invalid sort option".to_owned());
    assert_eq!(refused(RangeRequest { sort_order: 3, ..range("a", "") }).await, sort);
    assert_eq!(refused(RangeRequest { sort_target: -1, ..range("a", "") }).await, sort);
}

#[tokio::test]
async fn answers_beyond_the_budget_are_refused_and_streams_are_not() {
    let config = Config { answer_room_bytes: 5000, ..Config::default() };
    let world = World::with(config);
    let value = "x".repeat(1000);
    for n in 0..20 {
        world.put(&format!("a{n:02}"), &value).await;
    }
    let (code, text) = told(world.range(range("a", "b")).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.contains("RangeStream"), "{text}");
    // What was refused has given everything back.
    let request = RangeRequest { limit: 5, ..range("a", "b") };
    assert_eq!(world.range(request).await.unwrap().kvs.len(), 5);
    // Of an ordered read only what is within the limit counts in the end, but all of it is read.
    let parts = streamed(&world, range("a", "b")).await;
    assert_eq!(parts.iter().map(|part| part.kvs.len()).sum::<usize>(), 20);
}

async fn streamed(world: &World, request: RangeRequest) -> Vec<RangeResponse> {
    let mut stream = world.kv().range_stream(request).await.unwrap().into_inner();
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await.unwrap() {
        parts.push(part.range_response.unwrap());
    }
    parts
}

/// What a client does with the parts.
fn merged(parts: Vec<RangeResponse>) -> RangeResponse {
    let mut whole = RangeResponse::default();
    for part in parts {
        whole.header = part.header.or(whole.header);
        whole.kvs.extend(part.kvs);
        whole.more |= part.more;
        whole.count += part.count;
    }
    whole
}

#[tokio::test]
async fn a_stream_merged_is_what_range_answers() {
    let world = World::new();
    world.fill(45).await;
    let descending = SortOrder::Descend.into();
    for request in [
        range("a", "b"),
        range("a05", ""),
        range("x", "y"),
        RangeRequest { limit: 1, ..range("a", "b") },
        RangeRequest { limit: 30, ..range("a", "b") },
        RangeRequest { limit: 45, ..range("a", "b") },
        RangeRequest { revision: 20, ..range("a", "b") },
        RangeRequest { keys_only: true, ..range("a", "b") },
        RangeRequest { count_only: true, ..range("a", "b") },
        RangeRequest { sort_order: descending, limit: 4, ..range("a", "b") },
        RangeRequest { min_mod_revision: 30, ..range("a", "b") },
    ] {
        let parts = streamed(&world, request.clone()).await;
        let (last, before) = parts.split_last().unwrap();
        assert!(last.header.is_some());
        for part in before {
            assert_eq!((part.header, part.more, part.count), (None, false, 0));
        }
        let whole = world.range(request.clone()).await.unwrap();
        assert_eq!(merged(parts), whole, "{request:?}");
    }
}

#[tokio::test]
async fn a_stream_reads_one_revision_and_nothing_ahead() {
    let world = World::new();
    // So large that parts are not sent together.
    for n in 0..30 {
        world.put(&format!("a{n:02}"), &"x".repeat(5000)).await;
    }
    world.memory.queries();
    let mut stream = world.kv().range_stream(range("a", "b")).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().range_response.unwrap();
    assert_eq!(first.kvs.len(), PAGE_ITEMS);
    assert_eq!(world.memory.queries().len(), 1);
    world.put("a29", "later").await;
    world.put("a30", "later").await;
    let mut seen = first.kvs;
    while let Some(part) = stream.message().await.unwrap() {
        seen.extend(part.range_response.unwrap().kvs);
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(seen[29].value, "x".repeat(5000));
}
