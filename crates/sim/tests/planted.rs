//! The simulation can fail: each mistake that can be planted is found, in so many seeds.
//!
//! `cargo test --release -p sim --features planted --test planted`
#![cfg(feature = "planted")]

use sim::{Options, Planted, run};

/// How many seeds it takes at most, with the faults that bring it out.
fn found_within(name: &str, seeds: u64, faults: Option<&[&str]>) {
    let planted = Some(Planted::named(name).expect("a known mistake"));
    let faults = faults.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let found = (1..=seeds).find(|&seed| {
        let options = Options { seed, planted, faults: faults.clone(), ..Options::default() };
        !run(&options).violations.is_empty()
    });
    assert!(found.is_some(), "{name} was not found in {seeds} seeds");
}

// Consensus.

/// Figure 8 of the Raft paper.
#[test]
fn commit_old_term_by_counting() {
    found_within("commit-old-term-by-counting", 500, None);
}

/// The same with the fault that is made for it.
#[test]
fn commit_old_term_by_counting_in_coups() {
    found_within("commit-old-term-by-counting", 100, Some(&["coups"]));
}

#[test]
fn vote_before_durable() {
    found_within("vote-before-durable", 300, None);
}

#[test]
fn ack_before_durable() {
    found_within("ack-before-durable", 300, None);
}

#[test]
fn no_election_restriction() {
    found_within("no-election-restriction", 200, None);
}

#[test]
fn read_without_quorum() {
    let faults = ["partition", "one-way", "pause", "clog"];
    found_within("read-without-quorum", 5_000, Some(&faults));
}

#[test]
fn read_before_term_commit() {
    found_within("read-before-term-commit", 1_000, None);
}

#[test]
fn always_truncate() {
    found_within("always-truncate", 500, None);
}

#[test]
fn vote_counted_twice() {
    let faults = ["doubling", "partition", "crash-leader", "delay"];
    found_within("vote-counted-twice", 3_000, Some(&faults));
}

// The journal.

#[test]
fn ignore_sync_failure() {
    found_within("ignore-sync-failure", 500, None);
}

#[test]
fn retry_sync_failure() {
    found_within("retry-sync-failure", 500, None);
}

#[test]
fn torn_record_taken_whole() {
    found_within("torn-record-taken-whole", 200, None);
}

#[test]
fn damaged_middle_as_torn_tail() {
    found_within("damaged-middle-as-torn-tail", 500, None);
}

// The engine.

#[test]
fn applied_not_atomic() {
    found_within("applied-not-atomic", 300, None);
}

#[test]
fn compaction_drops_live() {
    found_within("compaction-drops-live", 100, None);
}

// The node.

#[test]
fn answer_before_commit() {
    found_within("answer-before-commit", 50, None);
}

#[test]
fn forget_requests() {
    found_within("forget-requests", 200, None);
}

#[test]
fn snapshot_loses_requests() {
    found_within("snapshot-loses-requests", 300, None);
}

#[test]
fn believe_other_clusters() {
    found_within("believe-other-clusters", 200, None);
}

#[test]
fn watch_skips_revision() {
    found_within("watch-skips-revision", 50, None);
}

#[test]
fn ignore_barriers() {
    found_within("ignore-barriers", 300, None);
}
