//! Backups: there and back, and what is done with damaged ones.

use std::io::Cursor;

use client::backup::{BackupError, restore, save, verify};
use wire::{Outcome, Revision};

use crate::fake::{Fake, Fate};

async fn filled() -> Fake {
    let fake = Fake::new();
    let client = fake.client();
    for key in 0..11u8 {
        client.put(vec![key + 1], vec![key; 100]).await.expect("a put");
        client.put(vec![key + 1], vec![key; 10]).await.expect("a put");
    }
    fake
}

async fn saved(fake: &Fake) -> Vec<u8> {
    let mut file = Vec::new();
    save(&fake.client(), &mut file, &mut |_| {}).await.expect("a backup");
    file
}

#[tokio::test(start_paused = true)]
async fn there_and_back() {
    let old = filled().await;
    let mut file = Vec::new();
    let mut told = Vec::new();
    let summary =
        save(&old.client(), &mut file, &mut |p| told.push(p.items)).await.expect("a backup");
    assert_eq!((summary.items, summary.bytes, summary.revision), (11, 121, Revision(22)));
    assert_eq!((summary.cluster.as_str(), summary.file_bytes), ("test", file.len() as u64));
    assert_eq!(told, [4, 8, 11]);
    assert_eq!(verify(&file[..]).expect("it is whole"), summary);

    let new = Fake::new();
    // A lost answer must not put a chunk in twice.
    new.fates([Fate::LoseAnswer, Fate::Fine, Fate::NotSent]);
    let mut told = Vec::new();
    let restored =
        restore(&new.client(), Cursor::new(&file), &mut |p| told.push(p)).await.expect("a restore");
    assert_eq!(restored, summary);
    assert_eq!(told.iter().map(|p| p.items).collect::<Vec<_>>(), [4, 8, 11]);
    assert!(told.iter().all(|p| p.total == Some(11)));
    let state = |fake: &Fake| {
        fake.with(|s| (s.store.revision, s.store.versions.last_key_value().map(|(_, v)| v.clone())))
    };
    assert_eq!(state(&new), state(&old));
    new.with(|state| {
        let chunks = &state.store.chunks;
        assert_eq!(chunks.iter().map(|c| c.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(chunks.iter().map(|c| c.last).collect::<Vec<_>>(), [false, false, true]);
        assert!(chunks.iter().all(|c| c.restore == chunks[0].restore && c.restore != 0));
    });
}

#[tokio::test(start_paused = true)]
async fn a_store_without_keys_is_a_state_too() {
    let old = Fake::new();
    let client = old.client();
    client.put("a", "1").await.expect("a put");
    client.delete(wire::KeyRange::all()).await.expect("a deletion");
    let file = saved(&old).await;
    let new = Fake::new();
    let summary = restore(&new.client(), Cursor::new(&file), &mut |_| {}).await.expect("restored");
    assert_eq!((summary.items, summary.revision), (0, Revision(2)));
    new.with(|state| {
        assert_eq!(state.store.revision, 2);
        assert_eq!(state.store.chunks.len(), 1);
        assert!(state.store.chunks[0].last);
    });
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_empty_is_left_alone() {
    let fake = filled().await;
    let file = saved(&fake).await;
    let error = restore(&fake.client(), Cursor::new(&file), &mut |_| {}).await.expect_err("full");
    assert_eq!(error.outcome(), Outcome::NotDone);
    assert!(error.to_string().contains("empty store"), "{error}");
}

/// Each byte damaged in turn, and the file cut off at each: nothing is ever restored from it.
#[tokio::test(start_paused = true)]
async fn any_damage_is_found_before_anything_is_restored() {
    let file = saved(&filled().await).await;
    let new = Fake::new();
    let client = new.client();
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        for bad in [&damaged[..], &file[..at]] {
            let error =
                restore(&client, Cursor::new(bad), &mut |_| {}).await.expect_err("it is damaged");
            assert!(
                matches!(error, BackupError::Damaged { .. } | BackupError::Format { .. }),
                "at byte {at}: {error}"
            );
            assert_eq!(error.outcome(), Outcome::NotDone);
        }
    }
    assert_eq!(new.commands(), []);
    let mut longer = file.clone();
    longer.push(0);
    let error = verify(&longer[..]).expect_err("it is too long").to_string();
    assert!(error.contains(&format!("at byte {}", file.len())), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_with_its_place() {
    let file = saved(&filled().await).await;
    let say = |bytes: &[u8]| verify(bytes).expect_err("it is damaged").to_string();
    assert_eq!(say(b"PK\x03\x04 something else"), "the file is not a Cairn backup");
    assert_eq!(say(b""), "the file is not a Cairn backup");
    let mut newer = file.clone();
    newer[8] = 9;
    assert!(say(&newer).starts_with("the backup has format 9, this release reads 1"));
    let mut flipped = file.clone();
    flipped[100] ^= 1;
    let text = say(&flipped);
    assert!(text.starts_with("the backup is damaged at byte "), "{text}");
    assert!(text.ends_with("a block's checksum does not hold"), "{text}");
    assert!(say(&file[..file.len() - 1]).ends_with("the file is cut off"));
}
