//! The client against a scripted cluster, in paused time.

use std::time::Duration;

use client::{Error, WriteOptions};
use tokio::time::Instant;
use wire::{
    Body, Command, Consistency, KeyRange, NodeId, Op, Outcome, Refusal, Request, RequestId,
    Revision, Txn,
};

use crate::fake::{Fake, Fate, PAGE_ITEMS};

fn put(key: &'static str) -> Body {
    let op = Op::put(key, "v");
    Body::Txn(Txn::always(vec![op]))
}

#[tokio::test(start_paused = true)]
async fn puts_gets_and_deletes() {
    let client = Fake::new().client();
    assert_eq!(client.put("a", "1").await, Ok(Revision(1)));
    assert_eq!(client.put("b", "2").await, Ok(Revision(2)));
    let found = client.get("a", Consistency::Linearizable).await.expect("a");
    assert_eq!(found.value.expect("it is there").value, "1");
    assert_eq!(found.header.revision, Revision(2));
    assert_eq!(client.get("x", Consistency::Eventual).await.expect("x").value, None);
    let deleted = client.delete(KeyRange::all()).await;
    assert_eq!(deleted, Ok((Revision(3), 2)));
    assert_eq!(client.delete(KeyRange::single("a".into())).await, Ok((Revision(3), 0)));
    assert_eq!(client.compact(Revision(2)).await, Ok(Revision(3)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_fetched_with_the_same_bytes_and_the_write_is_done_once() {
    let fake = Fake::new();
    fake.fates([Fate::LoseAnswer, Fate::LoseRequest, Fate::NotSent]);
    assert_eq!(fake.client().put("a", "1").await, Ok(Revision(1)));
    let commands = fake.commands();
    assert!(commands.len() >= 4, "{commands:?}");
    assert!(commands.iter().all(|command| *command == commands[0]));
}

#[tokio::test(start_paused = true)]
async fn a_command_bears_what_was_known_when_it_was_made() {
    let fake = Fake::new();
    let client = fake.client();
    client.put("a", "1").await.expect("a put");
    client.put("a", "2").await.expect("a put");
    let commands = fake.commands();
    let number = |number| RequestId { client: 0xc11e, number };
    // The client had not met the cluster: it asked for a log index first.
    assert_eq!((commands[0].id, commands[0].since, commands[0].done_below), (number(1), 7, 1));
    assert_eq!((commands[1].id, commands[1].since, commands[1].done_below), (number(2), 8, 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lags_learns_where_the_cluster_is() {
    let fake = Fake::new();
    let client = fake.client();
    client.put("a", "1").await.expect("a put");
    fake.with(|state| state.store.applied = 1000);
    let expired = Refusal::Expired { id: "by script".into() };
    fake.fates([Fate::Refuse(expired.clone())]);
    // Nobody had sent it before, and no answer was lost: it was not done, and is made anew.
    client.put("a", "2").await.expect("a put");
    let made = |command: &Command| (command.id.number, command.since, command.done_below);
    assert_eq!(fake.commands().last().map(made), Some((3, 1000, 3)));
    // Between the two the leader is asked where the cluster is.
    fake.fates([Fate::Refuse(expired.clone()), Fate::Fine, Fate::Refuse(expired)]);
    let error = client.put("a", "3").await.expect_err("it is made anew only once");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::NotDone);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_before_it_was_forgotten_is_not_made_anew() {
    let fake = Fake::new();
    let client = fake.client();
    let expired = Refusal::Expired { id: "by script".into() };
    fake.fates([Fate::LoseAnswer, Fate::Refuse(expired.clone())]);
    assert_eq!(client.put("a", "1").await, Err(Error::Refused(expired.clone())));
    // Nor what bears the id of an earlier attempt, of which nothing is known here.
    let id = RequestId { client: 0xf00, number: 1 };
    let options = WriteOptions { request_id: Some(id), ..WriteOptions::default() };
    fake.fates([Fate::Refuse(expired.clone())]);
    let error = client.execute(put("a"), options).await;
    assert_eq!(error.err(), Some(Error::Refused(expired)));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_found_no_end_is_unknown_and_can_be_repeated_under_its_id() {
    let fake = Fake::new();
    let client = fake.client().with_timeout(Duration::from_secs(3));
    fake.fates(std::iter::repeat_n(Fate::LoseRequest, 2));
    let begun = Instant::now();
    let error = client.put("a", "v").await.expect_err("all was lost");
    assert_eq!(begun.elapsed().as_secs(), 3);
    let Error::Unknown { request: Some(id), .. } = error else { panic!("{error}") };
    assert_eq!(id, RequestId { client: 0xc11e, number: 1 });
    client.put("b", "v").await.expect("a put");
    // Nobody knows what became of the first: its number is held open.
    assert_eq!(fake.commands().last().map(|c| c.done_below), Some(1));
    let options = WriteOptions { request_id: Some(id), ..WriteOptions::default() };
    client.execute(put("a"), options).await.expect("it is repeated");
    client.put("c", "v").await.expect("a put");
    assert_eq!(fake.commands().last().map(|c| c.done_below), Some(3));
}

#[tokio::test(start_paused = true)]
async fn an_id_of_the_users_choice_is_used_as_it_is() {
    let fake = Fake::new();
    let client = fake.client();
    let id = RequestId { client: 0xf00, number: 0 };
    let options = WriteOptions { request_id: Some(id), ..WriteOptions::default() };
    let first = client.execute(put("a"), options).await.expect("a put");
    let again = client.execute(put("a"), options).await.expect("the same put");
    assert_eq!(first.value, again.value);
    assert!(fake.commands().iter().all(|c| c.id == id && c.done_below == 0 && c.since > 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_write_is_held_open() {
    let fake = Fake::new();
    let client = fake.client();
    client.put("a", "1").await.expect("a put");
    fake.fates([Fate::LoseRequest]);
    let brief = Duration::from_millis(100);
    tokio::time::timeout(brief, client.put("a", "2")).await.expect_err("it was lost");
    client.put("a", "3").await.expect("a put");
    assert_eq!(fake.commands().last().map(|c| (c.id.number, c.done_below)), Some((3, 2)));
}

#[tokio::test(start_paused = true)]
async fn the_leader_is_remembered_and_forgotten() {
    let fake = Fake::new();
    let client = fake.client();
    client.transfer(NodeId(3)).await.expect("a transfer");
    client.put("a", "1").await.expect("a put");
    client.put("a", "2").await.expect("a put");
    // Node 1 answered the transfer and names node 3 already.
    assert_eq!(fake.asked(), [1, 3, 3]);
    fake.with(|state| state.store.leader = 2);
    client.put("a", "3").await.expect("a put");
    assert_eq!(fake.asked()[3..], [3, 2]);
    fake.fates([Fate::NotSent]);
    client.put("a", "4").await.expect("a put");
    assert_eq!(fake.asked()[5..8], [2, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_no_retry_changes_comes_at_once() {
    let fake = Fake::new();
    let client = fake.client();
    fake.fates([Fate::Refuse(Refusal::Invalid { what: "the key is empty".into() })]);
    let error = client.put("", "1").await.expect_err("an empty key");
    assert_eq!(error.outcome(), Outcome::NotDone);
    assert!(matches!(error, Error::Refused(Refusal::Invalid { .. })), "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_quorum_is_told_as_such_in_time() {
    let fake = Fake::new();
    let client = fake.client();
    client.put("a", "1").await.expect("a put");
    let why = "1 of 3 nodes".to_owned();
    fake.fates(std::iter::repeat_n(Fate::Refuse(Refusal::Unavailable { why }), 1000));
    let begun = Instant::now();
    let options = WriteOptions { timeout: Some(Duration::from_secs(2)), ..WriteOptions::default() };
    let error = client.execute(put("a"), options).await.expect_err("no quorum");
    assert!(matches!(&error, Error::Unavailable { why } if why.contains("1 of 3")), "{error}");
    assert!(begun.elapsed() <= Duration::from_secs(2));
    let tries = fake.asked().len();
    assert!(tries < 30, "{tries} tries");
}

#[tokio::test(start_paused = true)]
async fn a_scan_is_one_revision_however_long_it_takes() {
    let fake = Fake::new();
    let client = fake.client();
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        client.put(key, "1").await.expect("a put");
    }
    let mut scan = client.scan(KeyRange::all());
    let mut keys = Vec::new();
    while let Some(page) = scan.next().await.expect("a page") {
        assert!(page.value.items.len() <= PAGE_ITEMS);
        assert_eq!(page.header.revision, Revision(9));
        keys.extend(page.value.items.into_iter().map(|item| item.key));
        client.put("bb", "2").await.expect("a put");
        client.put("zz", "2").await.expect("a put");
    }
    assert_eq!(keys.concat(), b"abcdefghi");
    assert_eq!(scan.revision(), Some(Revision(9)));
    assert_eq!(scan.next().await, Ok(None));
    let consistencies = fake.with(|state| {
        let reads = state.calls.iter().filter_map(|(_, request)| match request {
            Request::Read { consistency, .. } => Some(*consistency),
            _ => None,
        });
        reads.collect::<Vec<_>>()
    });
    let pinned = Consistency::Session(Revision(9));
    assert_eq!(consistencies, [Consistency::Linearizable, pinned, pinned]);
}

#[tokio::test(start_paused = true)]
async fn a_scan_stops_at_its_limit() {
    let client = Fake::new().client();
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        client.put(key, "1").await.expect("a put");
    }
    for (limit, page_items, pages) in
        [(0, 0, vec![0]), (2, 0, vec![2]), (6, 0, vec![6]), (5, 3, vec![3, 2]), (9, 4, vec![4, 3])]
    {
        let mut scan = client.scan(KeyRange::all()).limit(limit).page_items(page_items);
        let mut found = Vec::new();
        while let Some(page) = scan.next().await.expect("a page") {
            found.push(page.value.items.len());
        }
        assert_eq!(found, pages, "limit {limit}, {page_items} to a page");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_neither_skips_nor_repeats_when_nodes_fail() {
    let fake = Fake::new();
    let client = fake.client();
    client.put("k", "before").await.expect("a put");
    let mut watch = client.watch(KeyRange::prefix("k".into()), Revision(0));
    assert_eq!(watch.begin().await, Ok(Revision(2)));
    let writer = client.clone();
    let writing = tokio::spawn(async move {
        for round in 0..20u32 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            writer.put("k", round.to_string()).await.expect("a put");
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 20 {
        // Each answer may be lost: its events must come again, and only once.
        fake.fates([Fate::Fine, Fate::LoseAnswer, Fate::NotSent, Fate::Fine]);
        let batch = watch.next().await.expect("changes");
        assert!(!batch.events.is_empty());
        assert_eq!(batch.next, watch.position());
        seen.extend(batch.events.iter().map(|event| event.revision.0));
    }
    writing.await.expect("the writer");
    assert_eq!(seen, (2..22).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_watch_stays_with_a_node_that_answers_and_survives_being_dropped_in_mid_wait() {
    let fake = Fake::new();
    let client = fake.client();
    client.put("a", "1").await.expect("a put");
    let mut watch = client.watch(KeyRange::all(), Revision(1));
    fake.fates([Fate::NotSent]);
    assert_eq!(watch.next().await.expect("changes").events.len(), 1);
    let brief = Duration::from_millis(100);
    tokio::time::timeout(brief, watch.next()).await.expect_err("nothing happens");
    client.put("a", "2").await.expect("a put");
    assert_eq!(watch.next().await.expect("changes").events.len(), 1);
    assert_eq!(watch.position(), Revision(3));
    // Put, refused watch, watch; then it stays with node 2.
    assert_eq!(fake.asked(), [1, 1, 2, 2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_compacted_revisions_says_so_and_stays() {
    let fake = Fake::new();
    let mut watch = fake.client().watch(KeyRange::all(), Revision(3));
    let (asked, compacted) = (Revision(3), Revision(9));
    fake.fates([Fate::Refuse(Refusal::Compacted { asked, compacted })]);
    let error = watch.next().await.expect_err("compacted");
    assert_eq!(error, Error::Refused(Refusal::Compacted { asked, compacted }));
    assert_eq!(watch.position(), Revision(3));
}

#[tokio::test(start_paused = true)]
async fn a_session_reads_its_own_writes_from_any_node() {
    let fake = Fake::new();
    let session = fake.client().session();
    assert_eq!(session.consistency(), Consistency::Session(Revision(0)));
    session.put("a", "1").await.expect("a put");
    assert_eq!(session.clone().seen(), Revision(1));
    session.get("a").await.expect("a");
    session.delete(KeyRange::all()).await.expect("a deletion");
    session.txn(Txn::default()).await.expect("a transaction");
    session.saw(Revision(1));
    assert_eq!(session.consistency(), Consistency::Session(Revision(2)));
    fake.with(|state| {
        let read = state.calls.iter().find(|(_, request)| matches!(request, Request::Read { .. }));
        let Some((_, Request::Read { consistency, .. })) = read else { panic!("no read") };
        assert_eq!(*consistency, Consistency::Session(Revision(1)));
    });
}

#[tokio::test(start_paused = true)]
async fn status_of_one_node_and_of_all() {
    let client = Fake::new().client();
    assert_eq!(client.status(Some(NodeId(2))).await.expect("n2").node, NodeId(2));
    assert_eq!(client.status(None).await.expect("any").cluster, "test");
    let error = client.status(Some(NodeId(9))).await.expect_err("there is no n9");
    assert_eq!(error.to_string(), "not done: there is no way to n9");
    let all = client.statuses().await;
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    assert!(all.iter().all(|(_, status)| status.is_ok()));
}
