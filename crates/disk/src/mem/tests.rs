//! Each promise of the disk kept, each fault striking as it says.

use std::io::ErrorKind;

use super::*;

const KIB: u64 = 1024;

fn disk_with(seed: u64, path: &str, bytes: &[u8]) -> MemDisk {
    let disk = MemDisk::new(seed);
    disk.create_dir("d").unwrap();
    let file = disk.open(path, Open::New).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    disk
}

fn contents(disk: &MemDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, Open::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read_across_pages() {
    let disk = disk_with(1, "d/a", &[]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    let bytes: Vec<u8> = (0..10_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    file.write_all_at(&bytes, 3000).unwrap();
    assert_eq!(file.len().unwrap(), 13_000);
    let all = contents(&disk, "d/a");
    assert!(all[..3000].iter().all(|byte| *byte == 0));
    assert_eq!(all[3000..], bytes);
    let beyond = file.read_exact_at(&mut [0; 2], 12_999).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_cut_file_grows_again_with_zeros() {
    let disk = disk_with(1, "d/a", &[7; 9000]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    file.set_len(100).unwrap();
    file.set_len(9000).unwrap();
    let all = contents(&disk, "d/a");
    assert!(all[..100].iter().all(|byte| *byte == 7));
    assert!(all[100..].iter().all(|byte| *byte == 0));
    disk.crash_losing_all();
    assert_eq!(contents(&disk, "d/a"), [7; 9000]);
}

#[test]
fn open_keeps_to_its_rule() {
    let disk = disk_with(1, "d/a", &[1]);
    assert_eq!(disk.open("d/a", Open::New).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.open("d/b", Open::Existing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.open("none/b", Open::New).unwrap_err().kind(), ErrorKind::NotFound);
    disk.open("d/b", Open::OrCreate).unwrap();
    disk.create_dir("d/deep/er").unwrap();
    assert_eq!(disk.list("d").unwrap(), ["a", "b", "deep"]);
    assert_eq!(disk.list("d/deep").unwrap(), ["er"]);
    assert!(disk.list("none").unwrap().is_empty());
}

#[test]
fn synced_bytes_survive_every_crash() {
    for seed in 0..50 {
        let disk = disk_with(seed, "d/a", &[3; 5000]);
        disk.crash();
        assert_eq!(contents(&disk, "d/a"), [3; 5000]);
    }
}

#[test]
fn unsynced_sectors_are_old_or_new_and_never_half() {
    let mut mixed = 0;
    for seed in 0..100 {
        let disk = disk_with(seed, "d/a", &[1; 8192]);
        disk.open("d/a", Open::Existing).unwrap().write_all_at(&[2; 8192], 0).unwrap();
        disk.crash();
        let all = contents(&disk, "d/a");
        let sectors: Vec<u8> = all.chunks(512).map(|sector| sector[0]).collect();
        assert!(all.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        mixed += u32::from(sectors.contains(&1) && sectors.contains(&2));
    }
    assert!(mixed > 20, "only {mixed} crashes of 100 tore anything");
}

#[test]
fn an_unsynced_length_is_old_or_new() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = disk_with(seed, "d/a", &[1; 100]);
        disk.open("d/a", Open::Existing).unwrap().set_len(5000).unwrap();
        disk.crash();
        seen.insert(contents(&disk, "d/a").len());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [100, 5000]);
}

#[test]
fn a_new_file_needs_its_directory_synced() {
    let disk = MemDisk::new(1);
    disk.create_dir("d").unwrap();
    let file = disk.open("d/a", Open::New).unwrap();
    file.write_all_at(&[1], 0).unwrap();
    file.sync_data().unwrap();
    disk.crash_losing_all();
    assert!(disk.list("d").unwrap().is_empty());
}

#[test]
fn name_changes_survive_as_a_prefix_and_renames_are_atomic() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = disk_with(seed, "d/a", &[1]);
        disk.rename("d/a", "d/b").unwrap();
        disk.open("d/c", Open::New).unwrap();
        disk.remove("d/b").unwrap();
        disk.crash();
        seen.insert(disk.list("d").unwrap().join(" "));
    }
    let seen: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, ["a", "b", "b c", "c"]);
}

#[test]
fn syncing_one_directory_takes_what_it_rests_upon_from_another() {
    let disk = disk_with(1, "d/a", &[9]);
    disk.create_dir("e").unwrap();
    disk.rename("d/a", "d/b").unwrap();
    disk.open("d/later", Open::New).unwrap();
    disk.rename("d/b", "e/a").unwrap();
    disk.open("d/unrelated", Open::New).unwrap();
    disk.sync_dir("e").unwrap();
    disk.crash_losing_all();
    assert_eq!(disk.list("e").unwrap(), ["a"]);
    assert_eq!(contents(&disk, "e/a"), [9]);
    assert!(!disk.list("d").unwrap().contains(&"a".to_owned()));
}

#[test]
fn a_removed_file_lives_as_long_as_its_handle() {
    let disk = disk_with(1, "d/a", &[5; 10]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    disk.remove("d/a").unwrap();
    disk.sync_dir("d").unwrap();
    file.read_exact_at(&mut [0; 10], 0).unwrap();
    drop(file);
    disk.sync_dir("d").unwrap();
    assert!(disk.lock().files.is_empty());
}

#[test]
fn handles_die_with_their_life() {
    let disk = disk_with(1, "d/a", &[5; 10]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    disk.crash();
    assert!(file.len().is_err());
    assert!(file.write_all_at(&[1], 0).is_err());
    assert!(file.sync_data().is_err());
    assert_eq!(contents(&disk, "d/a"), [5; 10]);
}

#[test]
fn crash_after_stops_everything_at_the_nth_change() {
    let disk = disk_with(1, "d/a", &[5; 10]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    disk.crash_after(2);
    file.write_all_at(&[1], 0).unwrap();
    assert!(!disk.crashed());
    assert!(file.sync_data().is_err());
    assert!(disk.crashed());
    assert!(file.read_exact_at(&mut [0], 0).is_err());
    assert!(disk.list("d").is_err());
    assert!(disk.open("d/a", Open::Existing).is_err());
    disk.crash();
    assert!(!disk.crashed());
    assert_eq!(contents(&disk, "d/a")[1..], [5; 9]);
}

#[test]
fn a_write_may_be_cut_in_its_middle() {
    let mut partial = 0;
    for seed in 0..100 {
        let disk = disk_with(seed, "d/a", &[1; 4096]);
        let file = disk.open("d/a", Open::Existing).unwrap();
        disk.crash_after(1);
        file.write_all_at(&[2; 4096], 0).unwrap_err();
        disk.crash();
        let all = contents(&disk, "d/a");
        partial += u32::from(all.contains(&1) && all.contains(&2));
    }
    assert!(partial > 10, "only {partial} of 100 writes were cut");
}

#[test]
fn a_failed_sync_loses_what_it_calls_clean() {
    let disk = disk_with(1, "d/a", &[1; 1024]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    file.write_all_at(&[2; 1024], 0).unwrap();
    disk.fail_next_sync("elsewhere/");
    file.sync_data().unwrap();
    file.write_all_at(&[3; 1024], 0).unwrap();
    disk.fail_next_sync("d/");
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(contents(&disk, "d/a"), [3; 1024], "the cache still shows it");
    file.write_all_at(&[4; 10], 0).unwrap();
    file.sync_data().unwrap();
    disk.crash_losing_all();
    let all = contents(&disk, "d/a");
    assert_eq!(all[..10], [4; 10], "a sector that was written again is synced again");
    assert_eq!(all[10..512], [3; 502]);
    assert_eq!(all[512..], [2; 512], "the other one is gone");
}

#[test]
fn failing_reads_fail_until_healed() {
    let disk = disk_with(1, "d/a", &[1; 10]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    disk.fail_reads("d/");
    assert!(file.read_exact_at(&mut [0; 10], 0).is_err());
    disk.heal_reads();
    file.read_exact_at(&mut [0; 10], 0).unwrap();
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = disk_with(1, "d/a", &[1; 1000]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    disk.set_capacity(Some(4 * KIB));
    let refused = file.write_all_at(&[2; 8192], 0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 4 * KIB, "what fitted was written");
    assert_eq!(file.set_len(5000).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.open("d/b", Open::New).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(&[3; 4096], 0).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(disk.used(), 10);
    disk.fill();
    assert!(file.write_all_at(&[1], 10).is_err());
    disk.set_capacity(None);
    file.write_all_at(&[1], 10).unwrap();
}

#[test]
fn flipped_bits_are_at_rest_before_and_after_a_crash() {
    let disk = disk_with(1, "d/a", &[0; 2000]);
    disk.flip_bits("d/a", 700, 0x81);
    assert_eq!(contents(&disk, "d/a")[700], 0x81);
    disk.open("d/a", Open::Existing).unwrap().write_all_at(&[0xFF; 10], 600).unwrap();
    disk.flip_bits("d/a", 700, 0x01);
    disk.crash_losing_all();
    assert_eq!(contents(&disk, "d/a")[700], 0x80);
}

#[test]
fn a_random_flip_says_where_it_was() {
    let disk = disk_with(1, "d/a", &[1; 2000]);
    assert_eq!(disk.flip_random_bit("other"), None);
    let (path, offset) = disk.flip_random_bit("d/").unwrap();
    assert_eq!(path, "d/a");
    let all = contents(&disk, "d/a");
    let changed: Vec<_> = (0..2000_u64).zip(&all).filter(|(_, byte)| **byte != 1).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].0, offset);
}

#[test]
fn a_misdirected_write_lands_whole_sectors_away() {
    for seed in 0..20 {
        let disk = disk_with(seed, "d/a", &[1; 4096]);
        let file = disk.open("d/a", Open::Existing).unwrap();
        disk.misdirect_next_write("d/");
        file.write_all_at(&[2; 8], 520).unwrap();
        let all = contents(&disk, "d/a");
        let at = all.iter().position(|byte| *byte == 2).unwrap();
        assert_ne!(at, 520);
        assert_eq!(at % 512, 8);
        assert_eq!(all.len(), 4096);
    }
}

#[test]
fn a_lost_write_is_acknowledged_and_gone() {
    let disk = disk_with(1, "d/a", &[1; 100]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    disk.lose_next_write("d/");
    file.write_all_at(&[2; 100], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(contents(&disk, "d/a"), [1; 100]);
    file.write_all_at(&[2; 100], 0).unwrap();
    assert_eq!(contents(&disk, "d/a"), [2; 100], "only the next one is lost");
}

#[test]
fn a_corrupt_read_leaves_the_bytes_whole() {
    let disk = disk_with(1, "d/a", &[0; 100]);
    disk.corrupt_next_read("d/");
    let wrong: u32 = contents(&disk, "d/a").iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(wrong, 1);
    assert_eq!(contents(&disk, "d/a"), [0; 100]);
}

#[test]
fn counters_follow_the_paths() {
    let disk = disk_with(1, "d/a", &[0; 100]);
    let other = disk.open("d/b", Open::New).unwrap();
    other.write_all_at(&[1; 7], 0).unwrap();
    assert_eq!(disk.counters("d/"), Counters { reads: 0, writes: 2, bytes_written: 107, syncs: 1 });
    assert_eq!(disk.counters("d/b").bytes_written, 7);
    assert_eq!(disk.counters("x"), Counters::default());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = disk_with(seed, "d/a", &[1; 8192]);
        let file = disk.open("d/a", Open::Existing).unwrap();
        file.write_all_at(&[2; 8192], 0).unwrap();
        disk.crash();
        (disk.fingerprint(), disk.dump())
    };
    assert_eq!(run(7), run(7));
    assert!((0..10).any(|seed| run(seed) != run(7)));
}

#[test]
fn zeros_cost_nothing() {
    let disk = disk_with(1, "d/a", &[]);
    let file = disk.open("d/a", Open::Existing).unwrap();
    let zeros = vec![0; 1 << 20];
    for at in 0..64 {
        file.write_all_at(&zeros, at << 20).unwrap();
    }
    assert_eq!(file.len().unwrap(), 64 << 20);
    assert!(disk.dump().contains(" 0 dirty"));
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = disk_with(1, "d/a", &[1; 1000]);
    disk.open("d/a", Open::Existing).unwrap().write_all_at(&[2; 1000], 0).unwrap();
    let fork = disk.fork(2);
    assert_eq!(fork.fingerprint(), disk.fingerprint());
    fork.crash_losing_all();
    assert_eq!(contents(&fork, "d/a"), [1; 1000]);
    assert_eq!(contents(&disk, "d/a"), [2; 1000]);
}

// Damage at rest.

#[test]
fn damage_at_rest_needs_no_sync_and_outlives_a_crash() {
    let disk = MemDisk::new(9);
    let file = disk.open("a", Open::New).expect("a new file");
    file.write_all_at(&[7; 2000], 0).expect("room");
    file.sync_data().expect("a good sync");
    disk.sync_dir("").expect("a good sync");
    // Unsynced bytes stand over a part of what is damaged.
    file.write_all_at(&[8; 600], 0).expect("room");
    disk.patch("a", 500, &[1, 2, 3]);
    disk.truncate("a", 1000);
    let seen = disk.bytes("a").expect("it is there");
    assert_eq!((seen.len(), &seen[499..504]), (1000, &[8, 1, 2, 3, 8][..]));
    disk.crash_losing_all();
    let kept = disk.bytes("a").expect("it is there");
    assert_eq!((kept.len(), &kept[499..504]), (1000, &[7, 1, 2, 3, 7][..]));
    assert_eq!(disk.files(""), [("a".to_owned(), 1000)]);
}

#[test]
fn a_patch_beyond_the_end_is_cut_off() {
    let disk = MemDisk::new(9);
    let file = disk.open("a", Open::New).expect("a new file");
    file.write_all_at(&[7; 10], 0).expect("room");
    disk.patch("a", 8, &[1, 2, 3]);
    disk.patch("a", 80, &[1]);
    assert_eq!(disk.bytes("a").expect("it is there"), [7, 7, 7, 7, 7, 7, 7, 7, 1, 2]);
}

#[test]
fn too_many_open_files_are_refused_until_it_is_over() {
    let disk = MemDisk::new(9);
    let file = disk.open("a", Open::New).expect("a new file");
    disk.fail_opens();
    assert!(disk.open("a", Open::Existing).is_err());
    file.write_all_at(&[1], 0).expect("what is open stays open");
    disk.heal_opens();
    disk.open("a", Open::Existing).expect("it is over");
    assert_eq!(disk.strikes(), 1);
}
