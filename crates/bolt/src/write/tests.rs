//! What is written is read again, and bbolt's own rules hold of it.

use std::collections::BTreeMap;

use super::*;
use crate::page::{BRANCH, Header, LEAF, branch_child};
use crate::{Database, Fault};

/// Items with their revisions, in the order of the store's keys, which is not that of revisions.
fn items(count: u64) -> Vec<(u64, Vec<u8>)> {
    let item = |n: u64| {
        // Three items of each revision; lengths from nothing to several pages.
        let revision = 2 + (n * 7919 % count.max(1)) / 3;
        let length = usize::try_from(n * 37 % 1500).unwrap();
        (revision, vec![u8::try_from(n % 251).unwrap(); length])
    };
    (0..count).map(item).collect()
}

fn others(leases: u64) -> Vec<Small> {
    let lease = |n: u64| (n.to_be_bytes().to_vec(), vec![8, 1, 16, 60]);
    vec![
        Small { name: b"lease", entries: (1..=leases).map(lease).collect() },
        Small { name: b"auth", entries: Vec::new() },
        Small { name: b"meta", entries: vec![(b"index".to_vec(), vec![7; 8])] },
    ]
}

fn file(items: &[(u64, Vec<u8>)], leases: u64) -> Vec<u8> {
    let mut layout = Layout::new(items.len(), items.len());
    for (revision, value) in items {
        layout.add(*revision, value.len()).unwrap();
    }
    let mut form = layout.form(b"key", others(leases));
    let mut out = Vec::new();
    while let Some(head) = form.head() {
        out.extend_from_slice(&head);
    }
    for (revision, value) in items {
        assert!(!form.is_complete());
        out.extend_from_slice(&form.leaf(*revision, value).unwrap());
    }
    assert!(form.is_complete());
    assert_eq!(out.len() as u64, form.bytes());
    out
}

fn entries(file: &[u8], name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut database = Database::open(file).unwrap();
    let bucket = database.bucket(name).unwrap().unwrap();
    let mut walk = database.walk(&bucket);
    let mut all = Vec::new();
    while let Some(entry) = walk.next().unwrap() {
        all.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    all
}

#[test]
fn items_come_back_in_the_order_of_their_revisions() {
    for count in [0, 1, 2, 123, 124, 246, 247, 20_000] {
        let items = items(count);
        let mut expected = BTreeMap::new();
        let mut subs = BTreeMap::new();
        for (revision, value) in &items {
            let sub = subs.entry(*revision).or_insert(0);
            expected.insert(key(*revision, *sub).to_vec(), value.clone());
            *sub += 1;
        }
        let file = file(&items, 3);
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(entries(&file, b"key"), expected, "{count} items");
        assert_eq!(entries(&file, b"meta"), [(b"index".to_vec(), vec![7; 8])]);
    }
}

#[test]
fn small_buckets_stand_within_the_root_or_in_trees_of_their_own() {
    for leases in [0, 1, 2, 200, 5000] {
        let file = file(&items(10), leases);
        let expected = others(leases).remove(0).entries;
        assert_eq!(entries(&file, b"lease"), expected, "{leases} leases");
        assert_eq!(entries(&file, b"auth"), []);
        assert_eq!(entries(&file, b"key").len(), 10);
    }
}

#[test]
fn every_page_is_used_once() {
    let file = file(&items(1000), 1000);
    let mut used = vec![0; file.len() / PAGE_BYTES];
    let mut waiting = vec![ROOT_PAGE];
    let mut take = |page: u64| {
        let at = usize::try_from(page).unwrap();
        let bytes = &file[at * PAGE_BYTES..];
        let header = Header::decode(bytes).unwrap();
        assert_eq!(header.id, page);
        let pages = usize::try_from(header.overflow).unwrap() + 1;
        used[at..at + pages].iter_mut().for_each(|count| *count += 1);
        (header, bytes[..pages * PAGE_BYTES].to_vec())
    };
    (0..ROOT_PAGE).for_each(|page| drop(take(page)));
    while let Some(page) = waiting.pop() {
        let (header, bytes) = take(page);
        if header.kind == BRANCH {
            waiting.extend((0..header.count).map(|index| branch_child(&bytes, index).unwrap()));
            continue;
        }
        assert_eq!(header.kind, LEAF);
        for index in 0..header.count {
            let element = crate::page::leaf_element(&bytes, index).unwrap();
            let root = crate::bytes::u64_at(&bytes, element.value.0).unwrap_or(0);
            waiting.extend((element.is_bucket && root != 0).then_some(root));
        }
    }
    assert!(used.iter().all(|count| *count == 1), "{used:?}");
}

#[test]
fn the_second_pass_must_be_the_first_one_again() {
    let mut layout = Layout::new(2, 0);
    layout.add(5, 100).unwrap();
    layout.add(3, 600).unwrap();
    assert_eq!(layout.add(9, 1), Err(TooMany { most: 2 }));
    let mut form = layout.form(b"key", Vec::new());
    assert_eq!(form.leaf(3, &[0; 600]), Err(Another));
    form.leaf(5, &[0; 700]).unwrap();
    assert_eq!(form.leaf(3, &[0; 600]), Err(Another), "the first was longer than before");
}

#[test]
fn a_file_that_was_cut_off_or_changed_does_no_harm() {
    let whole = file(&items(150), 150);
    for cut in [0, 79, 80, 600, whole.len() - 1] {
        let error = Database::open(&whole[..cut]).unwrap_err();
        assert!(matches!(error, Fault::NotBolt | Fault::Damaged { .. }), "{cut}: {error}");
    }
    // Whatever stands in the file: there is an end, and no panic.
    for at in (0..whole.len()).step_by(101) {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        let Ok(mut database) = Database::open(&changed[..]) else { continue };
        for name in [&b"key"[..], b"lease", b"meta"] {
            let Ok(Some(bucket)) = database.bucket(name) else { continue };
            let mut walk = database.walk(&bucket);
            while let Ok(Some(_)) = walk.next() {}
        }
    }
}
