//! The simulation can fail: each mistake that can be planted is found, in so many seeds as
//! `docs/testing.md` allows it.
//!
//! `cargo test --release -p sim --features planted --test planted`
#![cfg(feature = "planted")]

use std::collections::BTreeSet;
use std::io::Write as _;

use sim::{Options, Planted, run};

const PAGE: &str = include_str!("../../../docs/testing.md");

/// A row of the page's table.
struct Row {
    name: &'static str,
    after: &'static str,
    /// Seeds that it may take.
    bound: u64,
    /// The faults that bring it out; the seed's own if empty.
    faults: Vec<String>,
}

/// `| name | named after | found by | at most | with |`
fn rows() -> Vec<Row> {
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| mistake | named after |"));
    let lines = table.skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| row(line).unwrap_or_else(|| panic!("a row of five cells: {line}"))).collect()
}

fn row(line: &'static str) -> Option<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, after, _, bound, with] = cells[..] else { return None };
    let faults = with.trim_matches('`').split(',').filter(|fault| !fault.is_empty());
    let faults = faults.map(str::to_owned).collect();
    Some(Row { name: name.trim_matches('`'), after, bound: bound.parse().ok()?, faults })
}

/// Runs seeds until the mistake is found, and fails if that takes more than its row says.
fn found(name: &str) {
    let planted = Planted::named(name).expect("a known mistake");
    let rows = rows();
    let row = rows.iter().find(|row| row.name == name).expect("each mistake has its row");
    let faults = (!row.faults.is_empty()).then(|| row.faults.clone());
    let protocol = planted.protocol();
    let options = |seed, planted| {
        let faults = faults.clone();
        Options { seed, planted, faults, protocol, ..Options::default() }
    };
    let fails = |seed, planted| !run(&options(seed, planted)).violations.is_empty();
    // A seed that fails without the mistake, too, proves nothing.
    let first = (1..=row.bound).find(|&seed| fails(seed, Some(planted)) && !fails(seed, None));
    let bound = row.bound;
    let first = first.unwrap_or_else(|| panic!("{name} was not found in {bound} seeds"));
    // Said at once, and not only when something fails.
    let _gone = writeln!(std::io::stderr(), "{name}: found by seed {first} of at most {bound}");
}

macro_rules! planted {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                found($name);
            }
        )*

        const TESTED: &[&str] = &[$($name),*];
    };
}

planted! {
    commit_old_term_by_counting: "commit-old-term-by-counting",
    vote_before_durable: "vote-before-durable",
    ack_before_durable: "ack-before-durable",
    no_election_restriction: "no-election-restriction",
    read_without_quorum: "read-without-quorum",
    read_before_term_commit: "read-before-term-commit",
    old_answer_confirms_reads: "old-answer-confirms-reads",
    always_truncate: "always-truncate",
    commit_beyond_match: "commit-beyond-match",
    stale_append_accepted: "stale-append-accepted",
    vote_counted_twice: "vote-counted-twice",
    match_from_other_term: "match-from-other-term",
    paxos_promise_before_durable: "paxos-promise-before-durable",
    paxos_ack_before_durable: "paxos-ack-before-durable",
    paxos_accept_below_promise: "paxos-accept-below-promise",
    paxos_first_value_heard: "paxos-first-value-heard",
    paxos_own_values_only: "paxos-own-values-only",
    paxos_promise_stops_at_gap: "paxos-promise-stops-at-gap",
    paxos_same_value_not_written: "paxos-same-value-not-written",
    paxos_learns_older_ballots: "paxos-learns-older-ballots",
    paxos_quorums_do_not_meet: "paxos-quorums-do-not-meet",
    paxos_read_without_quorum: "paxos-read-without-quorum",
    paxos_read_before_ready: "paxos-read-before-ready",
    paxos_base_drops_acceptances: "paxos-base-drops-acceptances",
    zab_promise_before_durable: "zab-promise-before-durable",
    zab_lower_epoch_accepted: "zab-lower-epoch-accepted",
    zab_elected_without_comparing: "zab-elected-without-comparing",
    zab_sync_without_truncate: "zab-sync-without-truncate",
    zab_commit_before_new_leader: "zab-commit-before-new-leader",
    zab_ack_before_durable: "zab-ack-before-durable",
    zab_own_ack_before_durable: "zab-own-ack-before-durable",
    zab_stale_proposal_accepted: "zab-stale-proposal-accepted",
    zab_gap_accepted: "zab-gap-accepted",
    zab_read_before_established: "zab-read-before-established",
    zab_promise_in_doubt: "zab-promise-in-doubt",
    lease_under_wild_clocks: "lease-under-wild-clocks",
    ignore_sync_failure: "ignore-sync-failure",
    retry_sync_failure: "retry-sync-failure",
    torn_record_taken_whole: "torn-record-taken-whole",
    damaged_middle_as_torn_tail: "damaged-middle-as-torn-tail",
    recycled_records_believed: "recycled-records-believed",
    applied_not_atomic: "applied-not-atomic",
    compaction_drops_live: "compaction-drops-live",
    answer_before_commit: "answer-before-commit",
    forget_requests: "forget-requests",
    snapshot_loses_requests: "snapshot-loses-requests",
    believe_other_clusters: "believe-other-clusters",
    watch_skips_revision: "watch-skips-revision",
    watch_forgets_restart: "watch-forgets-restart",
    watch_repeats_revision: "watch-repeats-revision",
    unbounded_queue: "unbounded-queue",
    ignore_barriers: "ignore-barriers",
    stale_expiry_believed: "stale-expiry-believed",
    renewal_not_recorded: "renewal-not-recorded",
    renewal_without_quorum: "renewal-without-quorum",
    renewal_ignored: "renewal-ignored",
    lease_begins_anew: "lease-begins-anew",
    lessor_begins_early: "lessor-begins-early",
    snapshot_loses_leases: "snapshot-loses-leases",
    expiry_leaves_keys: "expiry-leaves-keys",
    expiry_not_atomic: "expiry-not-atomic",
    key_stays_on_lease: "key-stays-on-lease",
    fence_ignored: "fence-ignored",
    previous_from_batch_start: "previous-from-batch-start",
    watch_jumps_compaction: "watch-jumps-compaction",
    nested_always_holds: "nested-always-holds",
    judged_before_the_log: "judged-before-the-log",
    revoked_right_still_read: "revoked-right-still-read",
    range_end_not_judged: "range-end-not-judged",
    nested_not_judged: "nested-not-judged",
    comparison_not_judged: "comparison-not-judged",
    proof_outlives_password: "proof-outlives-password",
    watch_not_rejudged: "watch-not-rejudged",
    snapshot_keeps_old_rights: "snapshot-keeps-old-rights",
    restart_forgets_rights: "restart-forgets-rights",
    snapshot_loses_members: "snapshot-loses-members",
}

#[test]
fn every_mistake_has_a_row_and_a_test() {
    let known: Vec<(&str, &str)> =
        Planted::all().into_iter().map(|planted| (planted.name(), planted.after())).collect();
    let rows: Vec<(&str, &str)> = rows().iter().map(|row| (row.name, row.after)).collect();
    assert_eq!(known, rows, "the table in docs/testing.md lists all mistakes, in their order");
    let known: BTreeSet<&str> = known.into_iter().map(|(name, _)| name).collect();
    assert_eq!(known, TESTED.iter().copied().collect(), "each mistake has its test");
}
