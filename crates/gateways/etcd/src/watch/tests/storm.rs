//! Many watchers of all kinds, clients that read when they like, and a node that fails: each watcher
//! still gets what a look at the history says, in order, once, and no revision in halves.

use std::collections::BTreeMap;

use super::*;
use wire::KeyRange;

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// What one watcher was told.
struct Told {
    range: KeyRange,
    from: u64,
    /// Revision, key, and the revision of what was before, if that was asked for.
    changes: Vec<(u64, Bytes, Option<u64>)>,
    previous: bool,
}

struct Client {
    talk: Talk,
    asked: BTreeMap<i64, WatchCreateRequest>,
    told: BTreeMap<i64, Told>,
}

impl Client {
    fn take(&mut self, heard: WatchResponse) {
        let revision = u64::try_from(heard.header.unwrap().revision).unwrap();
        assert!(!heard.canceled, "{heard:?}");
        if heard.created {
            let request = &self.asked[&heard.watch_id];
            let range =
                KeyRange { start: request.key.clone(), end: Some(request.range_end.clone()) };
            let from = match request.start_revision {
                0 => revision + 1,
                start => u64::try_from(start).unwrap(),
            };
            let told = Told { range, from, changes: Vec::new(), previous: request.prev_kv };
            self.told.insert(heard.watch_id, told);
            return;
        }
        if heard.watch_id == -1 {
            for told in self.told.values() {
                told.is_complete_to(revision);
            }
            return;
        }
        let told = self.told.get_mut(&heard.watch_id).unwrap();
        let before = told.changes.last().map_or(0, |(at, ..)| *at);
        for event in heard.events {
            let kv = event.kv.unwrap();
            let at = u64::try_from(kv.mod_revision).unwrap();
            assert!(at > before, "a revision in halves");
            let previous = event.prev_kv.map(|kv| u64::try_from(kv.mod_revision).unwrap());
            told.changes.push((at, kv.key, previous));
        }
    }
}

impl Told {
    /// Set aside until the history is known: what was said to be complete.
    fn is_complete_to(&self, revision: u64) {
        let last = self.changes.last().map_or(0, |(at, ..)| *at);
        COMPLETE.with_borrow_mut(|complete| {
            complete.push((self.range.clone(), self.from, revision, self.changes.len(), last));
        });
    }
}

type Complete = (KeyRange, u64, u64, usize, u64);

thread_local! {
    static COMPLETE: std::cell::RefCell<Vec<Complete>> = const { std::cell::RefCell::new(Vec::new()) };
}

async fn storm(seed: u64) {
    let mut chance = Chance(seed);
    let stream_bytes = 500 + usize::try_from(chance.below(5000)).unwrap();
    let total_bytes = 2000 + usize::try_from(chance.below(20_000)).unwrap();
    let world = World::with(Limits { stream_bytes, total_bytes, reads: 2, ..limits() });
    let mut clients: Vec<Client> = (0..5)
        .map(|_| Client { talk: world.talk(), asked: BTreeMap::new(), told: BTreeMap::new() })
        .collect();
    for _ in 0..600 {
        match chance.below(10) {
            0..4 => {
                let letter = |n: u64| ["a", "b", "c", "d", "e", "f"][usize::try_from(n).unwrap()];
                let keys: Vec<&str> =
                    (0..=chance.below(3)).map(|_| letter(chance.below(6))).collect();
                world.store.put(&keys, vec![0; usize::try_from(chance.below(300)).unwrap()]);
            }
            4 => {
                let at = usize::try_from(chance.below(5)).unwrap();
                let client = &mut clients[at];
                let name = i64::try_from(client.asked.len()).unwrap() + 1;
                let start = b"abcdef"[usize::try_from(chance.below(6)).unwrap()];
                let end = start + 1 + u8::try_from(chance.below(3)).unwrap();
                let newest = world.store.revision();
                let start_revision = match chance.below(4) {
                    0 => signed(newest + chance.below(20)),
                    1 => signed(1 + chance.below(newest)),
                    2 => signed(newest.saturating_sub(3).max(1)),
                    _ => 0,
                };
                let request = WatchCreateRequest {
                    key: Bytes::copy_from_slice(&[start]),
                    range_end: Bytes::copy_from_slice(&[end]),
                    start_revision,
                    watch_id: name,
                    prev_kv: chance.below(3) == 0,
                    ..WatchCreateRequest::default()
                };
                client.asked.insert(name, request.clone());
                client.talk.create(request);
            }
            5 => world.store.fail(usize::try_from(chance.below(3)).unwrap()),
            6 => clients[usize::try_from(chance.below(5)).unwrap()].talk.progress(),
            7 => tokio::time::sleep(Duration::from_millis(chance.below(500))).await,
            _ => {
                // One reads for a while; some never do before the end.
                let client = &mut clients[usize::try_from(chance.below(4)).unwrap()];
                for _ in 0..chance.below(20) {
                    let heard = timeout(Duration::from_millis(1), client.talk.next()).await;
                    let Ok(heard) = heard else { break };
                    client.take(heard.unwrap().unwrap());
                }
            }
        }
    }
    let newest = world.store.revision();
    for _ in newest..newest + 25 {
        world.store.put(&["a", "b", "c", "d", "e", "f"], "last");
    }
    for client in &mut clients {
        while let Ok(heard) = timeout(Duration::from_secs(20), client.talk.next()).await {
            client.take(heard.unwrap().unwrap());
        }
        assert_eq!(client.told.len(), client.asked.len());
        for told in client.told.values() {
            let history = world.store.history(&told.range, told.from, told.previous);
            assert_eq!(told.changes, history, "seed {seed}");
        }
    }
    COMPLETE.with_borrow_mut(|complete| {
        for (range, from, revision, count, last) in complete.drain(..) {
            let known = world.store.history(&range, from, false);
            let due = known.iter().take_while(|(at, ..)| *at <= revision).count();
            assert!(count >= due, "seed {seed}: progress at {revision}, told up to {last}");
        }
    });
    assert_eq!(world.store.waiting(), 1, "all are synced again");
    drop(clients);
    settle().await;
    assert_eq!((world.watching.used_bytes(), world.watching.watchers()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_everything_in_any_storm() {
    for seed in 0..30 {
        storm(seed).await;
    }
}
