//! Watches whose users change, or what these may do.

use client::Guarded;
use tokio::sync::watch;
use wire::{Denial, Header, Hidden, Principal, Refusal};

use super::store::JUDGING;
use super::*;

/// A guard that says how often there was a change, and knows nothing else.
struct Changes(watch::Sender<u64>);

impl Changes {
    fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(1)))
    }

    fn more(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Guard for Changes {
    fn verify(&self, _: &str) -> Guarded<Option<Principal>> {
        panic!("nobody has a token here")
    }

    fn is_enabled(&self) -> bool {
        true
    }

    fn changes(&self) -> u64 {
        *self.0.borrow()
    }

    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        let mut changes = self.0.subscribe();
        Box::pin(async move { *changes.wait_for(|count| *count > seen).await.unwrap() })
    }

    fn log_in(&self, _: String, _: Hidden) -> Guarded<Option<Principal>> {
        panic!("nobody logs in here")
    }

    fn issue(&self, _: &Principal, _: &Header) -> Result<String, Refusal> {
        Err(Denial::NotEnabled.into())
    }

    fn hash(&self, _: Hidden) -> Guarded<Hidden> {
        panic!("nobody has a password here")
    }

    fn draw_secret(&self) -> Hidden {
        Hidden::default()
    }
}

fn world() -> (World, Arc<Changes>) {
    let changes = Changes::new();
    (World::guarded(limits(), changes.clone()), changes)
}

impl World {
    fn talk_as(&self, user: &str) -> Talk {
        let client = self.client.in_name_of(Some(Principal::of_certificate(user)));
        self.talk_of(Asker::of(client, Arc::clone(&self.guard)))
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_permission_was_taken_is_not_told() {
    let (world, changes) = world();
    let (mut alice, mut bob) = (world.talk_as("alice"), world.talk_as("bob"));
    for talk in [&mut alice, &mut bob] {
        talk.begin(on("k")).await;
    }
    let before = signed(world.store.put(&["k"], "both see it"));
    let seen = |revision| [(0, revision, Bytes::from_static(b"k"))];
    assert_eq!(alice.changes(1).await, seen(before));
    assert_eq!(bob.changes(1).await, seen(before));
    // In one go, as a node that follows may learn them.
    world.store.bar("alice");
    changes.more();
    let after = signed(world.store.put(&["k"], "bob sees it"));
    let barred = alice.hear().await;
    assert!(barred.canceled && barred.events.is_empty(), "{barred:?}");
    assert!(barred.cancel_reason.contains("permission denied"), "{barred:?}");
    assert_eq!(bob.changes(1).await, seen(after), "and misses nothing");
    let later = signed(world.store.put(&["k"], "as ever"));
    assert_eq!(bob.changes(1).await, seen(later));
    alice.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_amidst_a_change_is_judged_once_more() {
    let (world, changes) = world();
    let mut alice = world.talk_as("alice");
    alice.create(on("k"));
    // The second of two questions was answered by what holds now, and that is not told yet.
    tokio::time::sleep(JUDGING * 3 / 2).await;
    world.store.bar("alice");
    changes.more();
    world.store.put(&["k"], "not for alice");
    let created = alice.hear().await;
    assert!(created.created && !created.canceled, "{created:?}");
    let barred = alice.hear().await;
    assert!(barred.canceled && barred.events.is_empty(), "{barred:?}");
}

#[tokio::test(start_paused = true)]
async fn those_who_catch_up_are_held_too() {
    let (world, changes) = world();
    for _ in 0..100 {
        world.store.put(&["k"], vec![0; 10_000]);
    }
    // More than fits: most of it waits for the client to read.
    let mut alice = world.talk_as("alice");
    let mut bob = world.talk_as("bob");
    for talk in [&mut alice, &mut bob] {
        talk.begin(since(2, on("k"))).await;
    }
    settle().await;
    world.store.bar("alice");
    changes.more();
    let last = signed(world.store.put(&["k"], "not for alice"));
    let revisions: Vec<_> = bob.changes(101).await.into_iter().map(|change| change.1).collect();
    assert_eq!(revisions, (2..=last).collect::<Vec<_>>());
    let mut told = Vec::new();
    loop {
        let heard = alice.hear().await;
        if heard.canceled {
            break;
        }
        told.extend(heard.events.into_iter().map(|event| event.kv.unwrap().mod_revision));
    }
    assert!(told.len() < 20, "what was on its way: {told:?}");
}
