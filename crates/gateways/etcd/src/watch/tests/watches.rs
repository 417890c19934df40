//! What a watch promises, one by one.

use super::*;
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::mvccpb::event::EventType;

#[tokio::test(start_paused = true)]
async fn a_watch_begins_in_the_past_and_goes_on_without_gap_or_repetition() {
    let world = World::new();
    for n in 0..20 {
        world.store.put(&[["a", "b"][n % 2]], "old");
    }
    let mut talk = world.talk();
    let created = talk.begin(since(5, on("a"))).await;
    assert_eq!(created.header.unwrap().revision, 21);
    let past = talk.changes(8).await;
    assert_eq!(past.iter().map(|c| c.1).collect::<Vec<_>>(), [6, 8, 10, 12, 14, 16, 18, 20]);
    for _ in 0..3 {
        let revision = world.store.put(&["b", "a"], "new");
        assert_eq!(talk.changes(1).await, [(0, signed(revision), Bytes::from_static(b"a"))]);
    }
    talk.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_now_tells_where_it_begins_and_misses_nothing_after() {
    let world = World::new();
    let mut talk = world.talk();
    assert_eq!(talk.begin(under("k")).await.header.unwrap().revision, 1);
    world.store.put(&["k1"], "1");
    // The feed may not have seen that change yet, but this watch begins after it.
    talk.create(under("k"));
    let (mut created, mut changes) = (None, Vec::new());
    while created.is_none() || changes.len() < 3 {
        let heard = talk.hear().await;
        if heard.created {
            created = Some((heard.watch_id, heard.header.unwrap().revision));
            world.store.put(&["k2"], "2");
        }
        let told = heard.events.into_iter().map(|event| event.kv.unwrap().mod_revision);
        changes.extend(told.map(|at| (heard.watch_id, at)));
    }
    changes.sort_unstable();
    assert_eq!(created, Some((1, 2)));
    assert_eq!(changes, [(0, 2), (0, 3), (1, 3)]);
}

#[tokio::test(start_paused = true)]
async fn ranges_are_named_as_in_etcd() {
    let world = World::new();
    let mut talk = world.talk();
    let all = WatchCreateRequest { range_end: Bytes::from_static(b"\0"), ..on("") };
    let from = WatchCreateRequest { range_end: Bytes::from_static(b"\0"), ..on("m") };
    for request in [all, from, under("ab"), on("ab")] {
        talk.begin(request).await;
    }
    for (key, expected) in
        [("ab", &[0, 2, 3][..]), ("abc", &[0, 2]), ("m", &[0, 1]), ("z", &[0, 1])]
    {
        world.store.put(&[key], "");
        let mut told: Vec<i64> =
            talk.changes(expected.len()).await.iter().map(|(watch, ..)| *watch).collect();
        told.sort_unstable();
        assert_eq!(told, expected, "{key}");
    }
    let empty = WatchCreateRequest { range_end: Bytes::from_static(b"a"), ..on("b") };
    talk.create(empty);
    let refused = talk.hear().await;
    assert!(refused.created && refused.canceled);
    assert_eq!(
        (refused.watch_id, &refused.cancel_reason[..]),
        (-1, "mvcc: watcher range is empty")
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_the_clients_or_the_next_free_ones() {
    let world = World::new();
    let mut talk = world.talk();
    let named = |watch_id| WatchCreateRequest { watch_id, ..on("a") };
    for (wish, name) in [(1, 1), (0, 0), (0, 2), (77, 77), (0, 3)] {
        assert_eq!(talk.begin(named(wish)).await.watch_id, name);
    }
    talk.create(named(77));
    let refused = talk.hear().await;
    assert!(refused.created && refused.canceled);
    assert_eq!(refused.watch_id, -1);
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    // The one that had the name still has it.
    world.store.put(&["a"], "");
    assert_eq!(talk.changes(5).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_watch_says_so_and_is_silent() {
    let world = World::new();
    let mut talk = world.talk();
    talk.begin(on("a")).await;
    talk.begin(on("a")).await;
    talk.cancel(9);
    talk.cancel(0);
    let cancelled = talk.hear().await;
    assert!(cancelled.canceled && !cancelled.created);
    assert_eq!((cancelled.watch_id, cancelled.compact_revision), (0, 0));
    world.store.put(&["a"], "");
    assert_eq!(talk.changes(1).await[0].0, 1);
    talk.silence().await;
}

#[tokio::test(start_paused = true)]
async fn filters_and_previous_values_differ_from_watch_to_watch() {
    let world = World::new();
    world.store.put(&["a"], "first");
    let mut talk = world.talk();
    let puts = WatchCreateRequest { filters: vec![FilterType::Nodelete.into()], ..on("a") };
    let deletes = WatchCreateRequest { filters: vec![FilterType::Noput.into()], ..on("a") };
    let previous = WatchCreateRequest { prev_kv: true, ..on("a") };
    talk.begin(puts).await;
    talk.begin(deletes).await;
    settle().await;
    // Nobody has asked for previous values until now.
    talk.begin(previous).await;
    talk.begin(WatchCreateRequest { prev_kv: true, ..since(2, on("a")) }).await;
    let past = talk.hear().await;
    assert_eq!((past.watch_id, past.events.len(), past.events[0].prev_kv.as_ref()), (3, 1, None));
    world.store.put(&["a"], "second");
    world.store.delete(&["a"]);
    let mut told = Vec::new();
    while told.len() < 6 {
        let heard = talk.hear().await;
        for event in heard.events {
            let value = event.prev_kv.as_ref().map(|kv| kv.value.clone());
            told.push((heard.watch_id, event.r#type(), value));
        }
    }
    told.sort_by_key(|(watch, ..)| *watch);
    let (first, second) = (Some(Bytes::from_static(b"first")), Some(Bytes::from_static(b"second")));
    assert_eq!(
        told,
        [
            (0, EventType::Put, None),
            (1, EventType::Delete, None),
            (2, EventType::Put, first.clone()),
            (2, EventType::Delete, second.clone()),
            (3, EventType::Put, first),
            (3, EventType::Delete, second),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_the_future_waits_for_it() {
    let world = World::new();
    let mut talk = world.talk();
    talk.begin(since(5, on("a"))).await;
    talk.begin(on("b")).await;
    for _ in 2..=6 {
        world.store.put(&["a"], "");
    }
    let revisions: Vec<i64> = talk.changes(2).await.iter().map(|(_, at, _)| *at).collect();
    assert_eq!(revisions, [5, 6]);
    talk.silence().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_compacted_is_told_and_the_told_revision_works() {
    let world = World::new();
    for _ in 0..9 {
        world.store.put(&["a"], "");
    }
    world.store.compact(6);
    let mut talk = world.talk();
    for (start, told) in [(2, 6), (6, 7)] {
        let name = talk.begin(since(start, on("a"))).await.watch_id;
        let cancelled = talk.hear().await;
        assert!(cancelled.canceled && cancelled.events.is_empty());
        assert_eq!((cancelled.watch_id, cancelled.compact_revision), (name, told));
        assert_eq!(
            cancelled.cancel_reason,
            "etcdserver: mvcc: required revision has been compacted"
        );
    }
    talk.begin(since(7, on("a"))).await;
    assert_eq!(talk.changes(4).await[0].1, 7);
    talk.create(since(-1, on("a")));
    let refused = talk.hear().await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_lies_before_the_compaction_ends_for_those_who_need_it_only() {
    let world = World::new();
    let mut talk = world.talk();
    talk.begin(on("a")).await;
    talk.begin(since(100, on("a"))).await;
    settle().await;
    // The node is away for a while, and when it is back the feed's place is gone.
    world.store.fail(1);
    world.store.put(&["b"], "");
    settle().await;
    world.store.put(&["a"], "");
    world.store.compact(3);
    let cancelled = talk.hear().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled, cancelled.compact_revision), (0, true, 3));
    for _ in 4..=100 {
        world.store.put(&["a"], "");
    }
    assert_eq!(talk.changes(1).await, [(1, 100, Bytes::from_static(b"a"))]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_delays_and_loses_nothing() {
    let world = World::new();
    world.store.put(&["a"], "");
    world.store.fail(3);
    let mut talk = world.talk();
    talk.begin(since(2, on("a"))).await;
    assert_eq!(talk.changes(1).await[0].1, 2);
    for n in 0..5 {
        world.store.fail(n);
        let revision = world.store.put(&["a"], "");
        assert_eq!(talk.changes(1).await[0].1, signed(revision));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_when_asked_for_and_from_time_to_time() {
    let world = World::new();
    let mut talk = world.talk();
    talk.progress();
    talk.silence().await;
    talk.begin(on("a")).await;
    talk.begin(WatchCreateRequest { progress_notify: true, ..on("b") }).await;
    world.store.put(&["c"], "");
    talk.progress();
    let told = talk.hear().await;
    assert!(told.events.is_empty() && !told.created && !told.canceled);
    assert_eq!((told.watch_id, told.header.unwrap().revision), (-1, 2));
    // What was asked for comes behind what it speaks of.
    world.store.put(&["a"], "");
    talk.progress();
    assert_eq!(talk.hear().await.events.len(), 1);
    assert_eq!(talk.hear().await.header.unwrap().revision, 3);
    let begun = tokio::time::Instant::now();
    let told = timeout(Duration::from_mins(11), talk.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((told.watch_id, told.header.unwrap().revision), (1, 3));
    assert!(told.events.is_empty() && begun.elapsed() > Duration::from_mins(8));
}

#[tokio::test(start_paused = true)]
async fn progress_waits_for_those_behind() {
    let mut small = limits();
    small.stream_bytes = 2000;
    let world = World::with(small);
    let mut talk = world.talk();
    talk.begin(on("a")).await;
    for _ in 0..50 {
        world.store.put(&["a"], vec![0; 500]);
    }
    settle().await;
    talk.progress();
    settle().await;
    let mut last = 0;
    loop {
        let heard = talk.hear().await;
        let Some(event) = heard.events.last() else {
            assert_eq!((heard.watch_id, heard.header.unwrap().revision), (-1, 51));
            break;
        };
        last = event.kv.as_ref().unwrap().mod_revision;
    }
    assert_eq!(last, 51, "all was told before");
}

#[tokio::test(start_paused = true)]
async fn a_large_revision_comes_in_fragments_to_those_who_want_that() {
    let world = World::new();
    let mut talk = world.talk();
    talk.begin(WatchCreateRequest { fragment: true, ..under("k") }).await;
    talk.begin(under("k")).await;
    let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    world.store.put(&keys, vec![0; 500]);
    let (mut fragments, mut whole) = (Vec::new(), 0);
    while fragments.iter().sum::<usize>() + whole < 20 {
        let heard = talk.hear().await;
        if heard.watch_id == 0 {
            fragments.push(heard.events.len());
            assert_eq!(heard.fragment, fragments.iter().sum::<usize>() < 10);
        } else {
            whole += heard.events.len();
            assert!(!heard.fragment);
        }
    }
    assert!(fragments.len() > 2 && whole == 10);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_share_one_watch_of_the_cluster() {
    let world = World::new();
    let mut talks = Vec::new();
    for _ in 0..10 {
        let mut talk = world.talk();
        for _ in 0..100 {
            talk.create(under("k"));
        }
        for _ in 0..100 {
            assert!(talk.hear().await.created);
        }
        talks.push(talk);
    }
    settle().await;
    assert_eq!(world.store.waiting(), 1);
    let before = world.store.answered();
    for _ in 0..5 {
        let revision = world.store.put(&["k"], "");
        for talk in &mut talks {
            let changes = talk.changes(100).await;
            assert!(changes.iter().all(|(_, at, _)| *at == signed(revision)));
        }
    }
    assert_eq!(world.store.answered() - before, 5);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_costs_a_buffer_and_later_gets_everything() {
    let mut small = limits();
    small.stream_bytes = 10_000;
    let world = World::with(small);
    let (mut slow, mut quick) = (world.talk(), world.talk());
    slow.begin(under("k")).await;
    slow.begin(on("other")).await;
    quick.begin(under("k")).await;
    for n in 0..1000 {
        let revision = world.store.put(&["k"], vec![0; 1000]);
        assert_eq!(quick.changes(1).await[0].1, signed(revision));
        if n == 500 {
            world.store.put(&["other"], "");
        }
    }
    assert!(world.watching.used_bytes() <= 10_000 + 1500, "{}", world.watching.used_bytes());
    let answered = world.store.answered();
    let mut seen: (Vec<i64>, usize) = (Vec::new(), 0);
    while seen.0.len() + seen.1 < 1001 {
        for (watch, at, _) in slow.changes(1).await {
            if watch == 0 { seen.0.push(at) } else { seen.1 += 1 }
        }
    }
    assert!(seen.0.is_sorted() && seen.1 == 1);
    assert_eq!(seen.0.first(), Some(&2));
    assert!(world.store.answered() - answered < 1000);
    // It is one of the others again.
    settle().await;
    assert_eq!(world.store.waiting(), 1);
    world.store.put(&["k"], "");
    assert_eq!(slow.changes(1).await[0].1, 1003);
}

#[tokio::test(start_paused = true)]
async fn those_who_fell_behind_together_are_read_for_together() {
    let mut small = limits();
    small.stream_bytes = 10_000;
    let world = World::with(small);
    let mut talk = world.talk();
    for _ in 0..500 {
        talk.create(since(2, under("k")));
    }
    for _ in 0..500 {
        assert!(talk.hear().await.created);
    }
    let before = world.store.answered();
    for _ in 0..20 {
        world.store.put(&["k"], vec![0; 400]);
    }
    let mut last = vec![1; 500];
    let mut told = 0;
    while told < 20 * 500 {
        let heard = talk.hear().await;
        for event in heard.events {
            let at = event.kv.unwrap().mod_revision;
            let last = &mut last[usize::try_from(heard.watch_id).unwrap()];
            assert_eq!(at, *last + 1);
            *last = at;
            told += 1;
        }
    }
    let answered = world.store.answered() - before;
    assert!(answered < 1500, "{answered} reads for 500 watchers and 20 changes");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_watches_on_one_stream() {
    let world = World::with(Limits { stream_bytes: 1 << 20, ..limits() });
    let mut talk = world.talk();
    for n in 0..10_000 {
        talk.create(if n % 2 == 0 { on(&format!("k{n}")) } else { under(&format!("k{n}/")) });
    }
    for n in 0..10_000 {
        assert_eq!(talk.hear().await.watch_id, n);
    }
    for n in [0, 5, 5000, 9999] {
        world.store.put(&[&format!("k{n}"), &format!("k{n}/x")], "");
        assert_eq!(talk.changes(1).await[0].0, n);
    }
    talk.progress();
    assert_eq!(talk.hear().await.header.unwrap().revision, 5);
    for n in 0..10_000 {
        talk.cancel(n);
    }
    for n in 0..10_000 {
        assert_eq!(talk.hear().await.watch_id, n);
    }
    settle().await;
    assert_eq!((world.store.waiting(), world.watching.watchers()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_frees_everything() {
    let world = World::new();
    let mut gone = world.talk();
    gone.begin(on("a")).await;
    gone.begin(since(2, on("b"))).await;
    let mut stays = world.talk();
    stays.begin(on("a")).await;
    world.store.put(&["a"], vec![0; 1000]);
    settle().await;
    gone.answers = None;
    settle().await;
    assert_eq!(world.watching.watchers(), 1);
    assert_eq!(stays.changes(1).await[0].1, 2);
    assert_eq!(world.watching.used_bytes(), 0);
    stays.answers = None;
    settle().await;
    assert_eq!((world.store.waiting(), world.watching.watchers()), (0, 0));
    let mut again = world.talk();
    assert_eq!(again.begin(on("a")).await.header.unwrap().revision, 2);
    world.store.put(&["a"], "");
    assert_eq!(again.changes(1).await[0].1, 3);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_nothing_more_may_listen_on() {
    let world = World::new();
    let mut talk = world.talk();
    talk.begin(since(1, on("a"))).await;
    talk.requests = None;
    settle().await;
    world.store.put(&["a"], "");
    assert_eq!(talk.changes(1).await[0].1, 2);
    let mut idle = world.talk();
    idle.requests = None;
    assert!(timeout(Duration::from_secs(1), idle.next()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn streams_and_watches_are_bounded() {
    let world = World::with(Limits { streams: 2, watchers_per_stream: 3, ..limits() });
    let mut first = world.talk();
    let _second = world.talk();
    let (_, received) = mpsc::unbounded_channel();
    let refused = world.watching.open(Requests(received), world.asker()).err().unwrap();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    for _ in 0..3 {
        first.begin(on("a")).await;
    }
    first.create(on("a"));
    let refused = first.hear().await;
    assert!(refused.created && refused.canceled);
    assert_eq!(refused.cancel_reason, "etcdserver: too many requests");
}

/// Someone who asks and never reads is not listened to for ever.
#[tokio::test(start_paused = true)]
async fn who_asks_without_reading_waits() {
    let world = World::with(Limits { stream_bytes: 5000, ..limits() });
    let talk = world.talk();
    for _ in 0..100_000 {
        talk.create(on("a"));
    }
    settle().await;
    assert!(world.watching.watchers() < 1000, "{}", world.watching.watchers());
    assert!(world.watching.used_bytes() < 50_000);
}
