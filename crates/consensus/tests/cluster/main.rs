//! Whole groups under loss, duplication, reordering, partitions, crashes that lose unwritten
//! data, and damaged journals. One thread, one seed. What is checked stands in `checks`.
//!
//! `CLUSTER_SEED=n cargo test -p consensus --test cluster` runs one seed;
//! `CLUSTER_RUNS=n` runs so many. This is a first net: the full simulation lives in `sim`.

mod checks;
mod host;
mod storm;

use consensus::raft::Raft;
use consensus::{Config, Replica, Restored, Time};
use storm::{Damage, Plan, Storm};

fn raft(config: Config, restored: Restored, now: Time) -> Box<dyn Replica> {
    Box::new(Raft::new(config, restored, now))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds, and says which one failed.
fn run(plan: Plan) {
    let seeds = match number("CLUSTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CLUSTER_RUNS").unwrap_or(60),
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| Storm::new(raft, seed, plan).run());
        if let Err(panic) = result {
            eprintln!("replay: CLUSTER_SEED={seed} cargo test -p consensus --test cluster");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_group_survives_loss_and_partitions() {
    run(Plan { crashes: false, damage: Damage::None });
}

#[test]
fn a_group_survives_crashes() {
    run(Plan { crashes: true, damage: Damage::None });
}

#[test]
fn a_group_survives_a_damaged_journal() {
    run(Plan { crashes: true, damage: Damage::Minority });
}

/// Beyond what can heal, safety holds all the same.
#[test]
fn a_group_with_many_damaged_journals_is_at_worst_stuck() {
    run(Plan { crashes: true, damage: Damage::Any });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let plan = Plan { crashes: true, damage: Damage::Minority };
    assert_eq!(Storm::new(raft, 7, plan).run(), Storm::new(raft, 7, plan).run());
}

/// Each mistake that can be planted is found by some seed. That a match of another term counts
/// takes so rare a storm that it has a test of its own, among those of the papers.
#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use consensus::raft::Planted;

    fn is_found(mistake: Planted) {
        let plan = Plan { crashes: true, damage: Damage::None };
        let found = (0..10_000).find(|seed| {
            let storm = || {
                Storm::with_mistake(raft, *seed, plan, Some(consensus::Planted::Raft(mistake)))
                    .run()
            };
            std::panic::catch_unwind(storm).is_err()
        });
        eprintln!("{mistake:?} was found by seed {found:?}");
        assert!(found.is_some(), "{mistake:?} was not found");
    }

    #[test]
    fn commits_of_an_old_term_by_counting() {
        is_found(Planted::CommitOldTermByCounting);
    }

    #[test]
    fn votes_before_they_are_durable() {
        is_found(Planted::VoteBeforeDurable);
    }

    #[test]
    fn acknowledgements_before_they_are_durable() {
        is_found(Planted::AckBeforeDurable);
    }

    #[test]
    fn elections_without_restriction() {
        is_found(Planted::NoElectionRestriction);
    }

    #[test]
    fn reads_without_a_quorum() {
        is_found(Planted::ReadWithoutQuorum);
    }

    #[test]
    fn reads_before_the_term_commits() {
        is_found(Planted::ReadBeforeTermCommit);
    }

    #[test]
    fn truncation_without_a_conflict() {
        is_found(Planted::AlwaysTruncate);
    }

    #[test]
    fn votes_counted_twice() {
        is_found(Planted::VoteCountedTwice);
    }
}
