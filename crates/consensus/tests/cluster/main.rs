//! Whole groups under loss, duplication, reordering, partitions, crashes that lose unwritten
//! data, and damaged journals. One thread, one seed. What is checked stands in `checks`.
//!
//! `CLUSTER_SEED=n cargo test -p consensus --test cluster` runs one seed;
//! `CLUSTER_RUNS=n` runs so many. This is a first net: the full simulation lives in `sim`.

mod alone;
mod checks;
mod host;
mod members;
mod model;
mod storm;

use consensus::paxos::{Paxos, Stamp};
use consensus::raft::Raft;
use consensus::zab::Zab;
use consensus::{Entry, Position};
use host::{Held, Protocol};
use storm::{Damage, Plan, Storm, Witnesses};

const RAFT: Protocol = Protocol {
    name: consensus::Protocol::Raft,
    make: |config, restored, now| Box::new(Raft::new(config, restored, now)),
    read: |entry| Held { accepted: Some(entry.position.epoch), value: entry.clone() },
    logs_match: true,
    witnesses_lead: true,
    flexible: false,
};

const ZAB: Protocol = Protocol {
    name: consensus::Protocol::Zab,
    make: |config, restored, now| Box::new(Zab::new(config, restored, now)),
    ..RAFT
};

const PAXOS: Protocol = Protocol {
    name: consensus::Protocol::Paxos,
    make: |config, restored, now| Box::new(Paxos::new(config, restored, now)),
    read: |entry| {
        let stamp = Stamp::unpack(entry.position.epoch);
        let position = Position { index: entry.position.index, epoch: stamp.origin };
        let value = Entry { position, payload: entry.payload.clone() };
        Held { accepted: (!stamp.is_gap()).then_some(stamp.ballot), value }
    },
    logs_match: false,
    witnesses_lead: false,
    flexible: true,
};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds, and says which one failed.
fn run(protocol: Protocol, plan: Plan) {
    let seeds = match number("CLUSTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CLUSTER_RUNS").unwrap_or(60),
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| Storm::new(protocol, seed, plan).run());
        if let Err(panic) = result {
            eprintln!("replay: CLUSTER_SEED={seed} cargo test -p consensus --test cluster");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Storms in which members come and go.
macro_rules! storms_of_members {
    ($name:ident, $protocol:expr, $planted:ident { $($test:ident: $mistake:ident,)* }) => {
        mod $name {
            use super::*;

            #[test]
            fn members_come_and_go() {
                let plan = Plan { crashes: true, damage: Damage::None, members: true, ..Plan::default() };
                run($protocol, plan);
            }

            /// Members come and go while journals are damaged: beyond what can heal, safety holds.
            #[test]
            fn members_come_and_go_with_damaged_journals() {
                run($protocol, Plan { crashes: true, damage: Damage::Any, members: true, ..Plan::default() });
            }

            /// Each mistake in changing members is found by some seed.
            #[cfg(feature = "planted")]
            mod planted {
                use super::*;
                use consensus::Planted::$planted;

                $(
                    #[test]
                    fn $test() {
                        let mistake = $planted(consensus::$name::Planted::$mistake);
                        let plan = Plan { crashes: true, damage: Damage::None, members: true, ..Plan::default() };
                        is_found_by($protocol, plan, mistake);
                    }
                )*
            }
        }
    };
}

mod members_of {
    use super::*;

    storms_of_members!(
        raft,
        RAFT,
        Raft {
            new_voters_alone: NewVotersAlone,
            changes_before_the_last_is_committed: ChangeBeforeCommit,
        }
    );

    storms_of_members!(
        zab,
        ZAB,
        Zab {
            new_voters_alone: NewVotersAlone,
            changes_before_the_last_is_committed: ChangeBeforeCommit,
            new_leader_without_the_outgoing: NewLeaderWithoutOutgoing,
            learners_counted: LearnersCounted,
        }
    );

    // That the new voters decide alone takes a rare storm, so it has a test of its own among the protocol's.
    storms_of_members!(
        paxos,
        PAXOS,
        Paxos {
            changes_before_the_last_is_chosen: ChangeBeforeChosen,
            changes_before_a_quorum_holds_what_is_before: ChangeBeforeHeld,
            members_that_promises_reveal_ignored: PromisedMembersIgnored,
        }
    );
}

/// Storms in which leaders serve reads by leases, under clocks as wrong as they may be.
macro_rules! storms_of_leases {
    ($name:ident, $protocol:expr, { $($test:ident: $mistake:ident,)* }) => {
        mod $name {
            use super::*;

            #[test]
            fn leases_serve_no_stale_read() {
                run($protocol, LEASES);
            }

            #[test]
            fn leases_serve_no_stale_read_while_members_come_and_go() {
                run($protocol, Plan { members: true, ..LEASES });
            }

            #[test]
            fn leases_serve_no_stale_read_by_damaged_voters() {
                run($protocol, Plan { damage: Damage::Any, ..LEASES });
                run($protocol, Plan { damage: Damage::Any, members: true, ..LEASES });
            }

            /// Each mistake in using leases is found by some seed.
            #[cfg(feature = "planted")]
            mod planted {
                use super::*;
                use consensus::{Planted, PlantedLease};

                $(
                    #[test]
                    fn $test() {
                        is_found_by($protocol, LEASES, Planted::Lease(PlantedLease::$mistake));
                    }
                )*
            }
        }
    };
}

/// Storms in which some of the voters are witnesses.
macro_rules! storms_of_witnesses {
    ($name:ident, $protocol:expr, $planted:ident { $($test:ident: $mistake:ident,)* }) => {
        mod $name {
            use super::*;

            const PLAN: Plan = Plan {
                crashes: true,
                damage: Damage::None,
                members: false,
                leases: false,
                witnesses: Witnesses::Some,
            };

            #[test]
            fn witnesses_vote_and_keep_the_log() {
                run($protocol, PLAN);
            }

            /// Whatever one data replica and the witnesses had committed, the others go on with.
            #[test]
            fn a_data_replica_is_lost_for_good() {
                run($protocol, Plan { witnesses: Witnesses::SomeAndLoss, ..PLAN });
            }

            #[test]
            fn witnesses_survive_a_damaged_journal() {
                run($protocol, Plan { damage: Damage::Minority, ..PLAN });
            }

            #[test]
            fn witnesses_come_and_go() {
                run($protocol, Plan { members: true, ..PLAN });
            }

            #[test]
            fn witnesses_come_and_go_with_damaged_journals() {
                run($protocol, Plan { members: true, damage: Damage::Any, ..PLAN });
            }

            /// Each mistake in what a witness does is found by some seed.
            #[cfg(feature = "planted")]
            mod planted {
                use super::*;
                use consensus::Planted::$planted;

                $(
                    #[test]
                    fn $test() {
                        let mistake = $planted(consensus::$name::Planted::$mistake);
                        is_found_by($protocol, Plan { witnesses: Witnesses::SomeAndLoss, ..PLAN }, mistake);
                    }
                )*
            }
        }
    };
}

mod leases_of {
    use super::*;

    const LEASES: Plan = Plan {
        crashes: true,
        damage: Damage::None,
        members: false,
        leases: true,
        witnesses: Witnesses::None,
    };

    storms_of_leases!(raft, RAFT, {
        a_broken_connection_ends_a_grant: HangUpEndsGrant,
        a_restart_ends_a_grant: RestartForgets,
        a_lease_outlives_a_transfer: KeptInTransfer,
        clocks_that_run_alike: DriftIgnored,
        a_lease_counted_from_the_answer: CountedFromAnswer,
    });

    storms_of_leases!(paxos, PAXOS, {
        a_broken_connection_ends_a_grant: HangUpEndsGrant,
        a_restart_ends_a_grant: RestartForgets,
        a_lease_outlives_a_transfer: KeptInTransfer,
        clocks_that_run_alike: DriftIgnored,
        a_lease_counted_from_the_answer: CountedFromAnswer,
    });

    // Its leader hears of the vote that it has blessed, mostly: that a lease outlives a transfer has a test of its
    // own among the protocols'.
    storms_of_leases!(zab, ZAB, {
        a_broken_connection_ends_a_grant: HangUpEndsGrant,
        a_restart_ends_a_grant: RestartForgets,
        clocks_that_run_alike: DriftIgnored,
        a_lease_counted_from_the_answer: CountedFromAnswer,
    });
}

mod witnesses_of {
    use super::*;

    storms_of_witnesses!(
        raft,
        RAFT,
        Raft {
            witnesses_serve: WitnessServes,
            witnesses_never_stand: WitnessNeverStands,
            witnesses_hand_over_early: WitnessHandsOverEarly,
            witnesses_acknowledge_before_it_is_durable: WitnessAckBeforeDurable,
        }
    );

    storms_of_witnesses!(
        zab,
        ZAB,
        Zab {
            witnesses_serve: WitnessServes,
            witnesses_never_stand: WitnessNeverStands,
            witnesses_hand_over_early: WitnessHandsOverEarly,
            witnesses_acknowledge_before_it_is_durable: WitnessAckBeforeDurable,
        }
    );

    storms_of_witnesses!(
        paxos,
        PAXOS,
        Paxos {
            witnesses_stand: WitnessStands,
            witnesses_acknowledge_before_it_is_durable: WitnessAckBeforeDurable,
        }
    );
}

/// The same storms for each protocol.
macro_rules! storms {
    ($name:ident, $protocol:expr, $planted:ident { $($test:ident: $mistake:ident,)* }) => {
        mod $name {
            use super::*;

            #[test]
            fn a_group_survives_loss_and_partitions() {
                run($protocol, Plan { crashes: false, damage: Damage::None, members: false, ..Plan::default() });
            }

            #[test]
            fn a_group_survives_crashes() {
                run($protocol, Plan { crashes: true, damage: Damage::None, members: false, ..Plan::default() });
            }

            #[test]
            fn a_group_survives_a_damaged_journal() {
                run($protocol, Plan { crashes: true, damage: Damage::Minority, members: false, ..Plan::default() });
            }

            /// Beyond what can heal, safety holds all the same.
            #[test]
            fn a_group_with_many_damaged_journals_is_at_worst_stuck() {
                run($protocol, Plan { crashes: true, damage: Damage::Any, members: false, ..Plan::default() });
            }

            #[test]
            fn the_same_seed_gives_the_same_run() {
                let plan = Plan { crashes: true, damage: Damage::Minority, members: false, ..Plan::default() };
                let run = || Storm::new($protocol, 7, plan).run();
                assert_eq!(run(), run());
            }

            /// Each mistake that can be planted is found by some seed.
            #[cfg(feature = "planted")]
            mod planted {
                use super::*;
                use consensus::Planted::$planted;

                $(
                    #[test]
                    fn $test() {
                        let mistake = consensus::$name::Planted::$mistake;
                        is_found($protocol, $planted(mistake));
                    }
                )*
            }
        }
    };
}

// What takes too rare a storm has a test of its own among those of the papers: that an acknowledgement
// counts which was given in another term or ballot, and that a value is not written anew under the next.
storms!(
    raft,
    RAFT,
    Raft {
        commits_of_an_old_term_by_counting: CommitOldTermByCounting,
        votes_before_they_are_durable: VoteBeforeDurable,
        acknowledgements_before_they_are_durable: AckBeforeDurable,
        elections_without_restriction: NoElectionRestriction,
        reads_without_a_quorum: ReadWithoutQuorum,
        reads_before_the_term_commits: ReadBeforeTermCommit,
        truncation_without_a_conflict: AlwaysTruncate,
        votes_counted_twice: VoteCountedTwice,
    }
);

storms!(
    paxos,
    PAXOS,
    Paxos {
        promises_before_they_are_durable: PromiseBeforeDurable,
        acknowledgements_before_they_are_durable: AckBeforeDurable,
        acceptances_below_the_promise: AcceptBelowPromise,
        the_first_value_heard_instead_of_the_highest: FirstValueHeard,
        only_own_values_proposed_anew: OwnValuesOnly,
        promises_that_stop_at_a_gap: PromiseStopsAtGap,
        values_of_older_ballots_learned: LearnsOlderBallots,
        quorums_that_do_not_meet: QuorumsDoNotMeet,
        reads_without_a_quorum: ReadWithoutQuorum,
        reads_before_the_leader_is_ready: ReadBeforeReady,
        acceptances_dropped_as_the_base_moves: BaseDropsAcceptances,
        slots_proved_by_an_image: ImageProvesSlots,
        slots_proved_by_any_base: AnyBallotBelowBase,
        the_dead_revived: RevivesTheDead,
    }
);

// That an epoch is promised twice, or that an old acknowledgement or answer counts, takes so rare a storm
// that it has a test of its own, among those of the papers.
storms!(
    zab,
    ZAB,
    Zab {
        promises_before_they_are_durable: PromiseBeforeDurable,
        lower_epochs_accepted: LowerEpochAccepted,
        promises_counted_twice: PromiseCountedTwice,
        leaders_elected_without_comparing_zxids: ElectedWithoutComparing,
        synchronisation_without_truncation: SyncWithoutTruncate,
        commits_before_new_leader_is_acknowledged: CommitBeforeNewLeader,
        commits_beyond_what_is_synchronised: CommitBeyondSync,
        acknowledgements_before_they_are_durable: AckBeforeDurable,
        own_acknowledgements_before_they_are_durable: OwnAckBeforeDurable,
        stale_proposals_accepted: StaleProposalAccepted,
        gaps_accepted: GapAccepted,
        reads_without_a_quorum: ReadWithoutQuorum,
        reads_before_the_leader_is_established: ReadBeforeEstablished,
        promises_in_doubt: PromiseInDoubt,
    }
);

#[cfg(feature = "planted")]
fn is_found(protocol: Protocol, mistake: consensus::Planted) {
    let in_doubt = consensus::Planted::Zab(consensus::zab::Planted::PromiseInDoubt);
    let damage = if mistake == in_doubt { Damage::Minority } else { Damage::None };
    is_found_by(
        protocol,
        Plan { crashes: true, damage, members: false, ..Plan::default() },
        mistake,
    );
}

#[cfg(feature = "planted")]
fn is_found_by(protocol: Protocol, plan: Plan, mistake: consensus::Planted) {
    let found = (0..10_000).find(|seed| {
        let storm = || Storm::with_mistake(protocol, *seed, plan, Some(mistake)).run();
        std::panic::catch_unwind(storm).is_err()
    });
    eprintln!("{mistake:?} was found by seed {found:?}");
    assert!(found.is_some(), "{mistake:?} was not found");
}
