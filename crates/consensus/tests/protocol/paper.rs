//! One test for each claim of the papers. "§" alone is Ongaro & Ousterhout, *In Search of an
//! Understandable Consensus Algorithm* (extended version, 2014); "thesis §" is Ongaro,
//! *Consensus: Bridging Theory and Practice* (2014).

use std::time::Duration;

use consensus::Config;
use consensus::raft::{Append, Cause, Link, Message, Outcome};
use consensus::{Epoch, LogIndex, Position, ReplicaId, Role};

use crate::cluster::{Cluster, DiskMode, Mail};

const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);
const R3: ReplicaId = ReplicaId(3);

fn term(round: u64) -> Epoch {
    Epoch { round, proposer: 0 }
}

fn position(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: term(round) }
}

fn heartbeat(round: u64, prev: Position) -> Message {
    Message::Append(Append {
        term: term(round),
        prev,
        entries: Vec::new(),
        commit: LogIndex(0),
        round: 0,
        last: prev.index,
        link: Link::default(),
    })
}

fn vote(round: u64, last: Position) -> Message {
    Message::Vote { term: term(round), last, cause: Cause::Silence, nonce: 0 }
}

fn granted(message: &Message) -> bool {
    matches!(message, Message::VoteReply { granted: true, .. })
}

/// What `to` answers to a message of `from`.
fn answer(cluster: &mut Cluster, from: ReplicaId, to: ReplicaId, message: Message) -> Vec<Message> {
    cluster.mail.clear();
    cluster.hand_in(Mail::raft(from, to, message));
    cluster.mail.drain(..).map(|mail| mail.as_raft().clone()).collect()
}

/// §5.1: if a candidate or leader discovers that its term is out of date, it reverts to follower.
#[test]
fn s5_1_a_leader_of_an_old_term_becomes_a_follower() {
    let mut cluster = Cluster::led();
    cluster.hand_in(Mail::raft(R2, R1, heartbeat(2, position(1, 1))));
    let status = cluster.status(R1);
    assert_eq!((status.role, status.epoch, status.leader), (Role::Follower, term(2), Some(R2)));
    assert_eq!(cluster.disk(R1).0.epoch, term(2), "a term that was adopted is written");
}

/// §5.1: a request with a stale term is rejected.
#[test]
fn s5_1_a_stale_request_is_rejected_with_the_current_term() {
    let mut cluster = Cluster::led();
    let replies = answer(&mut cluster, R3, R2, heartbeat(0, Position::default()));
    let [Message::AppendReply(reply)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((reply.term, reply.outcome), (term(1), Outcome::Stale));
}

/// §5.1: what was acknowledged to the leader of an earlier term counts for nothing now.
#[test]
fn s5_1_an_acknowledgement_of_an_old_term_counts_for_nothing() {
    assert_eq!(match_after_an_old_acknowledgement(|_| {}), LogIndex(0));
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn s5_1_an_old_acknowledgement_that_counts_is_found() {
    let mistake = consensus::raft::Planted::MatchFromOtherTerm;
    let matched = match_after_an_old_acknowledgement(|config| {
        config.planted = Some(consensus::Planted::Raft(mistake));
    });
    assert_eq!(matched, LogIndex(2));
}

fn match_after_an_old_acknowledgement(adjust: impl Fn(&mut Config)) -> LogIndex {
    let mut cluster = Cluster::new(3, adjust);
    cluster.elect(R1);
    cluster.propose(R1, &["a"]);
    cluster.deliver(|mail| mail.to == R2);
    let old = cluster.take(|mail| mail.from == R2);
    cluster.settle_without(&[R1, R2, R3]);
    cluster.hand_in(Mail::raft(R3, R1, heartbeat(2, position(1, 1))));
    cluster.pass(Duration::from_millis(1300), &[R2, R3]);
    cluster.timeout(R1);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    assert_eq!(cluster.status(R1).role, Role::Leader);
    cluster.mail.clear();
    for mail in old {
        cluster.hand_in(mail);
    }
    cluster.status(R1).peers[0].matched
}

/// §5.2: each server will vote for at most one candidate in a given term, first come first served.
#[test]
fn s5_2_one_vote_in_a_term() {
    let mut cluster = Cluster::new(3, |_| {});
    let ask = |cluster: &mut Cluster, from| answer(cluster, from, R3, vote(1, Position::default()));
    assert!(granted(&ask(&mut cluster, R1)[0]));
    assert!(!granted(&ask(&mut cluster, R2)[0]));
    assert!(granted(&ask(&mut cluster, R1)[0]), "a repeated request gets the same answer");
    cluster.crash(R3);
    cluster.restart(R3, false);
    assert!(!granted(&ask(&mut cluster, R2)[0]), "a restart forgets no vote");
    assert!(granted(&ask(&mut cluster, R1)[0]));
}

/// §5.2: a candidate that hears of a leader whose term is at least its own becomes a follower.
#[test]
fn s5_2_a_candidate_gives_way_to_a_leader_of_its_term() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.timeout(R1);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    assert_eq!(cluster.status(R1).role, Role::Candidate);
    cluster.hand_in(Mail::raft(R2, R1, heartbeat(1, Position::default())));
    assert_eq!(cluster.status(R1).role, Role::Follower);
}

/// §5.2: election timeouts are chosen randomly from a fixed interval.
#[test]
fn s5_2_election_timeouts_are_random_within_bounds() {
    let timeout = Duration::from_millis(600);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut cluster = Cluster::new(3, |config| config.seed = seed * 7);
        // After a start it asks early, for that disturbs nobody.
        let first = cluster.deadline(R1).unwrap().since(cluster.now);
        assert!(first < timeout / 2, "{first:?}");
        cluster.timeout(R1);
        let wait = cluster.deadline(R1).unwrap().since(cluster.now);
        assert!((timeout..2 * timeout).contains(&wait), "{wait:?}");
        seen.insert(wait);
    }
    assert!(seen.len() > 45, "hardly random: {seen:?}");
}

/// §5.2: two leaders in one term are evidence that safety is lost: a replica stops.
#[test]
#[should_panic(expected = "two leaders in term")]
fn s5_2_two_leaders_in_a_term_stop_a_replica() {
    let mut cluster = Cluster::led();
    cluster.hand_in(Mail::raft(R3, R2, heartbeat(1, position(1, 1))));
}

/// §5.3: an entry is committed once it is on a majority; the leader tells the followers.
#[test]
fn s5_3_an_entry_on_a_majority_is_committed() {
    let mut cluster = Cluster::led();
    cluster.propose(R1, &["a"]);
    cluster.settle_without(&[R3]);
    assert_eq!(cluster.status(R1).commit, LogIndex(2));
    assert_eq!(cluster.applied(R2).len(), 2, "without waiting for a heartbeat");
    cluster.propose(R1, &["b"]);
    cluster.settle_without(&[R2, R3]);
    assert_eq!(cluster.status(R1).commit, LogIndex(2), "one of three is no majority");
}

/// §5.3, figure 7: whatever a follower's log holds or lacks, it becomes the leader's.
#[test]
fn s5_3_figure_7_logs_become_the_leaders() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for follower in followers {
        let mut cluster = Cluster::with_logs(&[leader, follower, leader]);
        cluster.timeout(R1);
        cluster.settle();
        // A voter of a later term is found out only by asking; the next attempt wins.
        while cluster.status(R1).role != Role::Leader {
            cluster.timeout(R1);
            cluster.settle_without(&[]);
        }
        assert_eq!(cluster.disk(R2), (cluster.disk(R2).0, cluster.disk(R1).1), "{follower:?}");
        assert_eq!(cluster.applied(R2).len(), leader.len() + 1);
    }
}

/// §5.3: one rejection is enough to skip a whole term.
#[test]
fn s5_3_a_rejection_skips_a_term() {
    let leader: Vec<u64> = [vec![1; 10], vec![3; 90]].concat();
    let follower: Vec<u64> = [vec![1; 10], vec![2; 90]].concat();
    let mut cluster = Cluster::with_logs(&[&leader, &follower, &leader]);
    cluster.timeout(R1);
    cluster.settle();
    assert_eq!(cluster.disk(R2).1, cluster.disk(R1).1);
    let rejections = cluster.trace.iter().filter(|line| line.contains("rejected")).count();
    assert!(rejections <= 2, "{rejections} rejections for one term");
}

/// §5.4.1: a voter denies its vote if its own log is more up-to-date than the candidate's.
#[test]
fn s5_4_1_a_vote_needs_a_log_as_up_to_date() {
    let own = position(3, 2);
    let cases = [
        (position(3, 2), true),
        (position(4, 2), true),
        (position(1, 3), true),
        (position(2, 2), false),
        (position(9, 1), false),
    ];
    for (last, expected) in cases {
        let mut cluster = Cluster::with_logs(&[&[], &[], &[1, 2, 2]]);
        let replies = answer(&mut cluster, R1, R3, vote(4, last));
        assert_eq!(granted(&replies[0]), expected, "{last} asks a voter at {own}");
    }
}

/// §5.4.2: entries of earlier terms are committed only together with one of the leader's own.
#[test]
fn s5_4_2_old_terms_are_not_committed_by_counting() {
    let mut cluster = Cluster::with_logs(&[&[1, 1], &[1, 1], &[1]]);
    cluster.timeout(R1);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    cluster.deliver(|_| true);
    assert_eq!(cluster.status(R1).role, Role::Leader);
    // Its first entry reaches nobody, but a heartbeat shows that r2 holds entry 2.
    let mut reply = Message::AppendReply(consensus::raft::AppendReply {
        term: term(2),
        round: 0,
        link: Link::default(),
        outcome: Outcome::Accepted { matched: LogIndex(2) },
        grant: Duration::ZERO,
    });
    cluster.mail.clear();
    cluster.hand_in(Mail::raft(R2, R1, reply.clone()));
    assert_eq!(cluster.status(R1).commit, LogIndex(0));
    if let Message::AppendReply(reply) = &mut reply {
        reply.outcome = Outcome::Accepted { matched: LogIndex(3) };
    }
    cluster.hand_in(Mail::raft(R2, R1, reply));
    assert_eq!(cluster.status(R1).commit, LogIndex(3));
}

/// §5.4.3: a committed entry is never replaced: a replica that is told to stops.
#[test]
#[should_panic(expected = "contradicts the committed entry")]
fn s5_4_3_a_committed_entry_is_never_replaced() {
    let mut cluster = Cluster::led();
    let entry = consensus::Entry { position: position(1, 2), payload: consensus::Payload::Noop };
    let append = Append {
        term: term(2),
        prev: Position::default(),
        entries: vec![entry],
        commit: LogIndex(0),
        round: 0,
        last: LogIndex(1),
        link: Link::default(),
    };
    cluster.hand_in(Mail::raft(R3, R2, Message::Append(append)));
}

/// §5.5: requests are idempotent: everything may arrive twice.
#[test]
fn s5_5_everything_may_arrive_twice() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.timeout(R1);
    for step in 0..40 {
        let copies: Vec<_> = cluster.mail.iter().cloned().collect();
        if copies.len() < 50 {
            cluster.mail.extend(copies);
        }
        if step == 10 {
            cluster.propose(R1, &["a", "b"]);
        }
        cluster.deliver(|_| true);
    }
    for id in [R1, R2, R3] {
        assert_eq!(cluster.applied(id).len(), 3, "{id}");
    }
}

/// §8: a leader commits an entry without a command at the start of its term.
#[test]
fn s8_a_leader_begins_with_an_empty_entry() {
    let cluster = Cluster::led();
    assert!(cluster.applied(R1)[0].payload.is_empty());
    assert_eq!(cluster.status(R1).commit, LogIndex(1));
}

/// Thesis §3.10: a transfer needs no silence, and the target has all that was committed.
#[test]
fn thesis_3_10_leadership_is_handed_over_at_once() {
    let mut cluster = Cluster::led();
    cluster.propose(R1, &["a"]);
    let before = cluster.now;
    cluster.input(R1, consensus::Input::Transfer { to: R3 });
    cluster.settle();
    assert_eq!(cluster.status(R3).role, Role::Leader);
    assert_eq!(cluster.now, before);
    assert_eq!(cluster.applied(R3).len(), 3);
}

/// Thesis §4.2.3: a voter that hears a leader does not even adopt a candidate's term.
#[test]
fn thesis_4_2_3_a_candidate_does_not_disturb() {
    let mut cluster = Cluster::led();
    for id in [R1, R2] {
        assert!(answer(&mut cluster, R3, id, vote(7, position(9, 6))).is_empty());
        assert_eq!(cluster.status(id).epoch, term(1));
    }
}

/// Thesis §6.2: a leader steps down if an election timeout passes without hearing from a majority.
#[test]
fn thesis_6_2_a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::led();
    cluster.pass(Duration::from_millis(500), &[R2, R3]);
    assert_eq!(cluster.status(R1).role, Role::Leader);
    cluster.pass(Duration::from_millis(300), &[R2, R3]);
    assert_ne!(cluster.status(R1).role, Role::Leader);
    let mut cluster = Cluster::led();
    cluster.pass(Duration::from_secs(3), &[R3]);
    assert_eq!(cluster.status(R1).role, Role::Leader, "one follower is enough");
}

/// Thesis §6.4: a deposed leader that does not know it yet serves no read.
#[test]
fn thesis_6_4_a_deposed_leader_serves_no_read() {
    let mut cluster = Cluster::led();
    cluster.pass(Duration::from_millis(500), &[R1]);
    cluster.input(R2, consensus::Input::Unreachable { peer: R1 });
    cluster.input(R3, consensus::Input::Unreachable { peer: R1 });
    cluster.timeout(R2);
    cluster.settle_without(&[R1]);
    assert_eq!(cluster.status(R2).role, Role::Leader);
    cluster.read(R1, 1);
    cluster.settle();
    assert!(!cluster.trace.iter().any(|line| line.contains("serve")));
    assert!(cluster.trace.iter().any(|line| line.contains("refused proposals=[] reads=[1]")));
}

/// Thesis §9.6: an isolated replica's term stays.
#[test]
fn thesis_9_6_an_isolated_replica_opens_no_term() {
    let mut cluster = Cluster::led();
    cluster.pass(Duration::from_secs(10), &[R3]);
    assert_eq!(cluster.status(R3).epoch, term(1));
    cluster.pass(Duration::from_secs(1), &[]);
    assert_eq!(cluster.status(R3).leader, Some(R1));
    assert_eq!(cluster.status(R1).epoch, term(1));
}

/// Thesis §10.2.1: a leader may commit what is on a majority's disks before it is on its own, but
/// counts itself for nothing that is not.
#[test]
fn thesis_10_2_1_the_leaders_disk_is_one_of_many() {
    let mut cluster = Cluster::led();
    cluster.set_disk(R1, DiskMode::Manual);
    cluster.propose(R1, &["a"]);
    cluster.settle_without(&[R3]);
    assert_eq!(cluster.status(R1).commit, LogIndex(1));
    cluster.flush(R1);
    assert_eq!(cluster.status(R1).commit, LogIndex(2));
    cluster.propose(R1, &["b"]);
    cluster.settle();
    assert_eq!(cluster.status(R1).commit, LogIndex(3), "on both followers' disks, not its own");
    cluster.crash(R1);
    cluster.set_disk(R1, DiskMode::Auto);
    cluster.elect(R2);
    assert_eq!(cluster.applied(R3).len(), 4, "what was committed survives its leader");
}

/// Every configuration's defaults stand in their proper relation.
#[test]
fn defaults_are_consistent() {
    let config = Config::new(R1, [R1].into(), 0);
    assert!(config.heartbeat_interval * 3 <= config.election_timeout);
    assert!(config.max_append_bytes <= config.max_inflight_bytes);
}
