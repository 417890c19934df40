//! Locks.

use std::future::pending;
use std::time::Duration;

use client::Client;
use layer_lock::{Error, Held, Lock, Session};
use wire::{Op, Put, Refusal, Txn};

use crate::store::{Store, fenced_put};

const TTL: Duration = Duration::from_secs(10);

async fn acquire(client: &Client, name: &'static str, lease: u64) -> Result<Held, Error> {
    let held = Lock::new(client, name).acquire(lease, pending()).await?;
    Ok(held.expect("nobody gave up"))
}

#[tokio::test(start_paused = true)]
async fn a_free_lock_is_had_at_once_under_etcds_key() {
    let store = Store::start();
    let (client, _) = store.client();
    client.grant_as(0x694d, TTL).await.unwrap();
    let held = acquire(&client, "jobs", 0x694d).await.unwrap();
    assert_eq!(held.key(), "jobs/694d");
    let item = store.get("jobs/694d").await.unwrap();
    assert_eq!((item.created, item.lease), (held.sequencer().token, 0x694d));

    let again = acquire(&client, "jobs", 0x694d).await.unwrap();
    assert_eq!(again.sequencer(), held.sequencer(), "who holds it holds it");

    held.release().await.unwrap();
    held.release().await.unwrap();
    assert_eq!(store.get("jobs/694d").await, None);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_and_tokens_rise() {
    let store = Store::start();
    let (client, _) = store.client();
    let first = client.grant(TTL * 100).await.unwrap();
    let mut held = acquire(&client, "l", first).await.unwrap();
    let mut waiters = Vec::new();
    for n in 2..=6 {
        let (client, _) = store.client();
        let lease = client.grant(TTL * 100).await.unwrap();
        waiters.push(tokio::spawn(async move { acquire(&client, "l", lease).await }));
        store.until_queued("l/", n).await;
    }
    // One in the middle loses patience; those behind it must not notice.
    waiters.remove(2).abort();
    let gone = store.queue("l/").await[3].key.clone();
    client.delete(wire::KeyRange::single(gone)).await.unwrap();
    for waiter in waiters {
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(!waiter.is_finished(), "the lock is held");
        let before = held.sequencer();
        held.release().await.unwrap();
        held = waiter.await.unwrap().unwrap();
        assert!(held.sequencer().token > before.token);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_wakes_one_waiter_and_not_the_herd() {
    let store = Store::start();
    let (client, _) = store.client();
    let lease = client.grant(TTL * 100).await.unwrap();
    let held = acquire(&client, "l", lease).await.unwrap();
    for n in 2..=20 {
        let (client, _) = store.client();
        let lease = client.grant(TTL * 100).await.unwrap();
        tokio::spawn(async move { acquire(&client, "l", lease).await });
        store.until_queued("l/", n).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = store.reads();
    held.release().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.reads() - before, 1, "only the next one looks");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_no_key_behind() {
    let store = Store::start();
    let (client, _) = store.client();
    let lease = client.grant(TTL * 100).await.unwrap();
    let _held = acquire(&client, "l", lease).await.unwrap();
    let (other, _) = store.client();
    let waiting = other.grant(TTL * 100).await.unwrap();
    let lock = Lock::new(&other, "l");
    assert!(lock.try_acquire(waiting).await.unwrap().is_none());
    assert_eq!(store.queue("l/").await.len(), 1);
    let patience = tokio::time::sleep(Duration::from_secs(3));
    assert!(lock.acquire(waiting, patience).await.unwrap().is_none());
    assert_eq!(store.queue("l/").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_lease_ends_is_told() {
    let store = Store::start();
    let (client, _) = store.client();
    let lease = client.grant(TTL * 100).await.unwrap();
    let _held = acquire(&client, "l", lease).await.unwrap();
    let short = client.grant(TTL).await.unwrap();
    assert_eq!(acquire(&client, "l", short).await.unwrap_err(), Error::Gone);
    let none = acquire(&client, "l", short).await.unwrap_err();
    let refused = Error::from(client::Error::from(Refusal::LeaseNotFound { lease: short }));
    assert_eq!(none, refused, "nor does it get a place");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_lets_go_when_its_time_is_over() {
    let store = Store::start();
    let (client, _) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    let held = acquire(&client, "l", session.lease()).await.unwrap();
    let (other, _) = store.client();
    let lease = other.grant(TTL * 100).await.unwrap();
    let waiter = tokio::spawn(async move { acquire(&other, "l", lease).await });
    tokio::time::sleep(TTL * 5).await;
    assert!(!waiter.is_finished(), "a live holder holds");
    // As if the process were killed: nothing is said to anybody.
    drop(session);
    let begun = tokio::time::Instant::now();
    let next = waiter.await.unwrap().unwrap();
    assert!(begun.elapsed() <= TTL + Duration::from_secs(1));
    assert!(next.sequencer().token > held.sequencer().token);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_killed_at_any_line_is_in_nobodys_way_for_long() {
    let store = Store::start();
    for after in 0..20 {
        let (client, _) = store.client();
        let doomed = tokio::spawn(async move {
            let session = Session::open(&client, TTL).await.unwrap();
            let held = acquire(&client, "l", session.lease()).await.unwrap();
            held.release().await.unwrap();
            session.close().await.unwrap();
        });
        tokio::time::sleep(Duration::from_millis(after)).await;
        doomed.abort();
        let (client, _) = store.client();
        let lease = client.grant(TTL * 3).await.unwrap();
        let begun = tokio::time::Instant::now();
        let held = acquire(&client, "l", lease).await.unwrap();
        assert!(begun.elapsed() <= TTL + Duration::from_secs(1), "killed after {after} ms");
        held.release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_paused_writes_in_vain() {
    let store = Store::start();
    let (client, way) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    let first = acquire(&client, "l", session.lease()).await.unwrap();
    fenced_put(&client, first.sequencer().into(), "state", "first").await.unwrap();
    way.cut(true);
    session.lost().await;

    let (other, _) = store.client();
    let lease = other.grant(TTL * 100).await.unwrap();
    let second = acquire(&other, "l", lease).await.unwrap();
    fenced_put(&other, second.sequencer().into(), "state", "second").await.unwrap();

    way.cut(false);
    let late = fenced_put(&client, first.sequencer().into(), "state", "late").await;
    let Err(client::Error::Refused(Refusal::Fenced { created, current, .. })) = late else {
        panic!("a stale token was taken: {late:?}");
    };
    assert_eq!((created, current), (first.sequencer().token, None));
    assert_eq!(store.get("state").await.unwrap().value, "second");
    // Nor does the late one's release touch what is another's.
    first.release().await.unwrap();
    fenced_put(&other, second.sequencer().into(), "state", "third").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_created_anew_is_another_place() {
    let store = Store::start();
    let (client, _) = store.client();
    let lease = client.grant(TTL * 100).await.unwrap();
    let old = acquire(&client, "l", lease).await.unwrap();
    old.release().await.unwrap();
    let new = acquire(&client, "l", lease).await.unwrap();
    assert_eq!(old.key(), new.key());
    old.release().await.unwrap();
    assert!(store.get(new.key().clone()).await.is_some(), "the old one has nothing to release");
    let stale = fenced_put(&client, old.sequencer().into(), "state", "x").await.unwrap_err();
    let current = Some(new.sequencer().token);
    assert!(
        matches!(&stale, client::Error::Refused(Refusal::Fenced { current: c, .. }) if *c == current)
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_client_with_etcds_scheme_stands_in_the_same_queue() {
    let store = Store::start();
    let (client, _) = store.client();
    let foreign = client.grant(TTL).await.unwrap();
    let put = Put {
        key: format!("l/{foreign:x}").into(),
        value: Some("".into()),
        lease: Some(foreign),
        previous: false,
    };
    client.txn(Txn::always(vec![Op::Put(put)])).await.unwrap();
    let lease = client.grant(TTL * 100).await.unwrap();
    assert!(Lock::new(&client, "l").try_acquire(lease).await.unwrap().is_none());
    acquire(&client, "l", lease).await.unwrap();
    assert!(client.lease(foreign, false).await.is_err(), "not before the other's lease had ended");
}
