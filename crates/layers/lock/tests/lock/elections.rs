//! Elections.

use std::future::pending;
use std::time::Duration;

use client::Client;
use layer_lock::{Election, Error, Leadership, Session};
use wire::Refusal;

use crate::store::{Store, fenced_put};

const TTL: Duration = Duration::from_secs(10);

async fn campaign(client: &Client, lease: u64, value: &'static str) -> Leadership {
    let won = Election::new(client, "e").campaign(lease, value, pending()).await.unwrap();
    won.expect("nobody gave up")
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_proclaims_what_it_likes() {
    let store = Store::start();
    let (client, _) = store.client();
    let election = Election::new(&client, "e");
    assert_eq!(election.leader().await.unwrap().1, None);
    let lease = client.grant(TTL * 100).await.unwrap();
    let leader = campaign(&client, lease, "a").await;
    assert_eq!(election.leader().await.unwrap().1.unwrap().value, "a");
    leader.proclaim("b").await.unwrap();
    let seen = election.leader().await.unwrap().1.unwrap();
    assert_eq!((seen.value, seen.lease), ("b".into(), lease));
    // To stand again with another value is to proclaim it.
    let again = campaign(&client, lease, "c").await;
    assert_eq!(again.sequencer(), leader.sequencer());
    assert_eq!(election.leader().await.unwrap().1.unwrap().value, "c");
    leader.resign().await.unwrap();
    assert_eq!(leader.proclaim("d").await, Err(Error::NotLeader));
    assert_eq!(election.leader().await.unwrap().1, None);
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_when_the_leader_dies_and_the_old_one_has_no_say() {
    let store = Store::start();
    let (client, way) = store.client();
    let session = Session::open(&client, TTL).await.unwrap();
    let old = campaign(&client, session.lease(), "old").await;
    let (other, _) = store.client();
    let lease = other.grant(TTL * 100).await.unwrap();
    let standing = tokio::spawn(async move { campaign(&other, lease, "new").await });
    tokio::time::sleep(TTL * 2).await;
    assert!(!standing.is_finished());
    way.cut(true);
    let new = standing.await.unwrap();
    assert!(session.is_lost().is_some(), "the old one knew before the new one began");
    assert!(new.sequencer().token > old.sequencer().token);
    way.cut(false);
    assert_eq!(old.proclaim("again").await, Err(Error::NotLeader));
    let refused = fenced_put(&client, old.sequencer().into(), "state", "x").await;
    assert!(matches!(refused, Err(client::Error::Refused(Refusal::Fenced { .. }))));
    let (client, _) = store.client();
    fenced_put(&client, new.sequencer().into(), "state", "y").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_is_no_candidate() {
    let store = Store::start();
    let (client, _) = store.client();
    let lease = client.grant(TTL * 100).await.unwrap();
    let leader = campaign(&client, lease, "a").await;
    let other = client.grant(TTL * 100).await.unwrap();
    let patience = tokio::time::sleep(Duration::from_secs(3));
    let none = Election::new(&client, "e").campaign(other, "b", patience).await.unwrap();
    assert!(none.is_none());
    leader.resign().await.unwrap();
    assert_eq!(Election::new(&client, "e").leader().await.unwrap().1, None);
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_each_leader_and_what_it_proclaims() {
    let store = Store::start();
    let (client, _) = store.client();
    let mut observer = Election::new(&client, "e").observe();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..4 {
            let item = observer.next().await.unwrap().item;
            seen.push(String::from_utf8(item.value.to_vec()).unwrap());
        }
        seen
    });
    let pause = || tokio::time::sleep(Duration::from_secs(1));
    pause().await;
    let lease = client.grant(TTL * 100).await.unwrap();
    let first = campaign(&client, lease, "a").await;
    pause().await;
    first.proclaim("b").await.unwrap();
    first.proclaim("c").await.unwrap();
    pause().await;
    first.resign().await.unwrap();
    pause().await;
    let lease = client.grant(TTL * 100).await.unwrap();
    campaign(&client, lease, "d").await;
    assert_eq!(seen.await.unwrap(), ["a", "b", "c", "d"]);
}
