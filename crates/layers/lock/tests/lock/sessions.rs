//! Sessions: kept alive, and given up in time.

use std::time::Duration;

use layer_lock::{Lost, Session};
use tokio::time::Instant;
use wire::{Op, Put, Txn};

use crate::store::Store;

const TTL: Duration = Duration::from_secs(9);

#[tokio::test(start_paused = true)]
async fn a_session_lives_as_long_as_it_is_kept() {
    let store = Store::start();
    let (client, _) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    tokio::time::sleep(TTL * 20).await;
    assert_eq!(session.is_lost(), None);
    assert!(session.reliable_until() > Instant::now() + TTL / 2);
    let lease = session.lease();
    session.close().await.unwrap();
    assert!(client.lease(lease, false).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn it_is_given_up_before_the_cluster_ends_the_lease() {
    let store = Store::start();
    let (client, way) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    let put = Put {
        key: "k".into(),
        value: Some("v".into()),
        lease: Some(session.lease()),
        previous: false,
    };
    client.txn(Txn::always(vec![Op::Put(put)])).await.unwrap();
    tokio::time::sleep(TTL * 3 + Duration::from_secs(1)).await;
    way.cut(true);
    let until = session.reliable_until();
    assert_eq!(session.lost().await, Lost::Silence);
    assert!(Instant::now() >= until);
    assert!(Instant::now() <= until + Duration::from_millis(5), "it is told at once");
    assert!(store.get("k").await.is_some(), "the cluster has not ended it yet");
    // What comes too late revives nothing.
    way.cut(false);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(session.is_lost(), Some(Lost::Silence));
    assert!(store.get("k").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_short_silence_is_survived() {
    let store = Store::start();
    let (client, way) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(TTL).await;
        way.cut(true);
        tokio::time::sleep(TTL / 3).await;
        way.cut(false);
    }
    assert_eq!(session.is_lost(), None);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lease_is_told_at_the_next_keep_alive() {
    let store = Store::start();
    let (client, _) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    let (other, _) = store.client();
    other.revoke(session.lease()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(session.lost().await, Lost::Ended);
    assert!(begun.elapsed() <= TTL / 3 + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_there_can_be_adopted() {
    let store = Store::start();
    let (client, _) = store.client();
    let lease = client.grant(TTL).await.unwrap();
    let session = Session::adopt(&client, lease).await.unwrap();
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(session.is_lost(), None);
    assert!(Session::adopt(&client, lease + 1).await.is_err());
}
