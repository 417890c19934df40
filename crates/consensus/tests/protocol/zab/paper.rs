//! One test for each claim of the papers. "Zab §" is Junqueira, Reed & Serafini (DSN 2011), "Medeiros §"
//! is *ZooKeeper's atomic broadcast protocol* (2012).

use std::time::Duration;

use consensus::zab::{Ack, AckEpoch, Link, Message, Outcome, Propose};
use consensus::{Config, Epoch, LogIndex, Position, Protocol, ReplicaId, Role};

use super::position;
use crate::cluster::{Cluster, Mail};

const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);
const R3: ReplicaId = ReplicaId(3);

fn epoch(round: u64) -> Epoch {
    Epoch { round, proposer: 0 }
}

fn heartbeat(round: u64, prev: Position) -> Message {
    Message::Propose(Propose {
        epoch: epoch(round),
        prev,
        entries: Vec::new(),
        commit: LogIndex(0),
        round: 0,
        last: prev.index,
        link: Link::default(),
    })
}

fn ack(round: u64, matched: u64) -> Message {
    let outcome = Outcome::Accepted { matched: LogIndex(matched) };
    let (link, grant) = (Link::default(), Duration::ZERO);
    Message::Ack(Ack { epoch: epoch(round), round: 0, link, outcome, grant })
}

fn hand_in(cluster: &mut Cluster, from: ReplicaId, to: ReplicaId, message: Message) {
    cluster.hand_in(Mail { from, to, message: consensus::Message::Zab(message) });
}

/// What `to` says to `from` when it gets this message.
fn answer(cluster: &mut Cluster, from: ReplicaId, to: ReplicaId, message: Message) -> Vec<Message> {
    cluster.mail.clear();
    hand_in(cluster, from, to, message);
    let answers = cluster.mail.drain(..).filter(|mail| mail.to == from);
    let unwrap = |mail: Mail| {
        let consensus::Message::Zab(message) = mail.message else { panic!("they speak Zab") };
        message
    };
    answers.map(unwrap).collect()
}

/// A cluster of three that r3 leads in epoch 1, and all is quiet.
fn led(adjust: impl Fn(&mut Config)) -> Cluster {
    let mut cluster = Cluster::of(Protocol::Zab, 3, adjust);
    cluster.settle();
    assert_eq!(cluster.status(R3).role, Role::Leader);
    cluster
}

/// r3 has died, and r1 follows r2, which has not proposed an epoch yet.
fn r1_joins_r2(adjust: impl Fn(&mut Config)) -> Cluster {
    let mut cluster = led(adjust);
    cluster.crash(R3);
    for peer in [R1, R2] {
        cluster.input(peer, consensus::Input::Unreachable { peer: R3 });
    }
    cluster.timeout(R1);
    cluster.settle();
    cluster.timeout(R1);
    assert_eq!(cluster.status(R1).leader, Some(R2));
    cluster
}

fn promises(answers: &[Message]) -> bool {
    matches!(answers, [Message::AckEpoch(AckEpoch { promised: true, .. })])
}

/// Zab §IV.A, phase 1: a follower acknowledges an epoch that is later than any that it has.
#[test]
fn phase_1_a_later_epoch_is_promised() {
    let mut cluster = r1_joins_r2(|_| {});
    let answers = answer(&mut cluster, R2, R1, Message::NewEpoch { epoch: epoch(2), nonce: 7 });
    assert!(promises(&answers), "{answers:?}");
    assert_eq!(cluster.disk(R1).0.epoch, epoch(2), "a promise is written");
}

/// A lower epoch is refused, and the leader told what it must be above.
#[test]
fn phase_1_a_lower_epoch_is_refused() {
    let mut cluster = r1_joins_r2(|_| {});
    let answers = answer(&mut cluster, R2, R1, Message::NewEpoch { epoch: epoch(0), nonce: 7 });
    let expected = Message::FollowerInfo { epoch: epoch(1), in_doubt: false };
    assert_eq!(answers, [expected]);
}

/// An epoch that was promised to one is not promised to another, who may be followed all the same.
#[test]
fn phase_1_an_epoch_is_promised_once() {
    assert!(!promises_epoch_1_again(|_| {}));
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn phase_1_an_epoch_that_is_promised_twice_is_found() {
    let mistake = consensus::Planted::Zab(consensus::zab::Planted::EpochPromisedTwice);
    assert!(promises_epoch_1_again(|config| config.planted = Some(mistake)));
}

/// r1 has promised epoch 1 to r3: does it promise it to r2?
fn promises_epoch_1_again(adjust: impl Fn(&mut Config)) -> bool {
    let mut cluster = r1_joins_r2(adjust);
    let answers = answer(&mut cluster, R2, R1, Message::NewEpoch { epoch: epoch(1), nonce: 7 });
    assert!(matches!(answers[..], [Message::AckEpoch(_)]), "{answers:?}");
    promises(&answers)
}

/// The proposed epoch is later than all that a quorum has accepted.
#[test]
fn phase_1_a_new_epoch_is_above_a_quorums() {
    let mut cluster = Cluster::of_logs(Protocol::Zab, &[&[1], &[1, 4], &[1]]);
    cluster.settle_without(&[R3]);
    cluster.timeout(R1);
    cluster.settle_without(&[R3]);
    let status = cluster.status(R2);
    assert_eq!((status.role, status.epoch), (Role::Leader, epoch(5)));
}

/// Medeiros §4.1: a prospective leader that finds a follower ahead of itself gives up.
#[test]
fn phase_1_who_is_behind_a_follower_does_not_lead() {
    let mut cluster = Cluster::of(Protocol::Zab, 3, |_| {});
    while cluster.status(R3).epoch != epoch(1) {
        let first = cluster.mail.pop_front().expect("it comes to that");
        cluster.hand_in(first);
    }
    assert_eq!(cluster.status(R3).role, Role::Candidate);
    let proposals = cluster.take(|mail| mail.from == R3);
    let nonce = proposals.iter().find_map(|mail| match mail.message {
        consensus::Message::Zab(Message::NewEpoch { nonce, .. }) => Some(nonce),
        _ => None,
    });
    let (nonce, last) = (nonce.expect("r3 has proposed an epoch"), position(1, 1));
    let ahead = AckEpoch { epoch: epoch(1), nonce, promised: true, last, binding: last, doubt: 0 };
    hand_in(&mut cluster, R1, R3, Message::AckEpoch(ahead));
    assert_eq!(cluster.status(R3).role, Role::PreCandidate);
}

/// Zab §IV.A, phase 1: of the histories of a quorum, that of the greatest (current epoch, zxid) is chosen.
#[test]
fn phase_1_the_latest_epoch_comes_before_the_longest_log() {
    let mut cluster = Cluster::of_logs(Protocol::Zab, &[&[1, 2], &[1, 1, 1, 1], &[1, 1]]);
    cluster.settle();
    assert_eq!(cluster.status(R1).role, Role::Leader);
    for id in [R1, R2, R3] {
        assert_eq!(cluster.disk(id).1, [1, 2, 3], "{id}'s log is the leader's");
    }
}

/// Zab §IV.A, phase 2: nothing of earlier epochs is committed before a quorum has acknowledged NEWLEADER.
#[test]
fn phase_2_nothing_is_committed_before_new_leader_is() {
    let mut cluster = Cluster::of_logs(Protocol::Zab, &[&[1, 1], &[1], &[1, 1]]);
    cluster.settle_without(&[R2]);
    cluster.timeout(R1);
    cluster.deliver(|mail| mail.to != R2);
    while cluster.status(R3).role != Role::Leader {
        cluster.deliver(|mail| mail.to != R2);
    }
    // It has epoch 1 like ours, but not our NEWLEADER.
    hand_in(&mut cluster, R1, R3, ack(2, 2));
    assert_eq!(cluster.status(R3).commit, LogIndex(0));
    hand_in(&mut cluster, R1, R3, ack(2, 3));
    assert_eq!(cluster.status(R3).commit, LogIndex(3));
}

/// Zab §IV.A, phase 2: a follower's history becomes the leader's, whatever it was.
#[test]
fn phase_2_histories_become_the_leaders() {
    let logs: [&[u64]; 7] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut cluster = Cluster::of_logs(Protocol::Zab, &logs);
    cluster.settle();
    cluster.pass(Duration::from_secs(2), &[]);
    let expected = cluster.disk(ReplicaId(4)).1;
    assert_eq!(expected, [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6, 7]);
    for id in 1..=7 {
        assert_eq!(cluster.disk(ReplicaId(id)).1, expected, "r{id}");
    }
}

/// Zab §IV.A, phase 3: only acknowledgements of the leader's own epoch count.
#[test]
fn phase_3_an_acknowledgement_of_another_epoch_counts_for_nothing() {
    assert_eq!(commit_after_an_old_acknowledgement(|_| {}), LogIndex(1));
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn phase_3_an_old_acknowledgement_that_counts_is_found() {
    let mistake = consensus::Planted::Zab(consensus::zab::Planted::AckOfOtherEpoch);
    let commit = commit_after_an_old_acknowledgement(|config| config.planted = Some(mistake));
    assert_eq!(commit, LogIndex(2));
}

/// What r3 has committed when a late acknowledgement, given in an earlier epoch, covers its proposal.
fn commit_after_an_old_acknowledgement(adjust: impl Fn(&mut Config)) -> LogIndex {
    let mut cluster = led(adjust);
    cluster.propose(R3, &["a"]);
    cluster.mail.clear();
    hand_in(&mut cluster, R1, R3, ack(0, 2));
    let commit = cluster.status(R3).commit;
    hand_in(&mut cluster, R1, R3, ack(1, 2));
    assert_eq!(cluster.status(R3).commit, LogIndex(2));
    commit
}

/// Zab §IV.A, phase 3: a follower takes nothing from a leader whose epoch is over.
#[test]
fn phase_3_a_stale_proposal_is_refused_with_the_accepted_epoch() {
    let mut cluster = led(|_| {});
    let answers = answer(&mut cluster, R2, R1, heartbeat(0, Position::default()));
    let [Message::Ack(ack)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((ack.epoch, ack.outcome), (epoch(1), Outcome::Stale));
}

/// Zab §III (primary integrity): a leader proposes nothing before it is established.
#[test]
fn primary_integrity_nothing_is_proposed_before_new_leader_is_acknowledged() {
    let mut cluster = Cluster::of(Protocol::Zab, 3, |_| {});
    while cluster.status(R3).role != Role::Leader {
        cluster.deliver(|_| true);
    }
    cluster.propose(R3, &["early"]);
    assert_eq!(cluster.status(R3).last, position(1, 1));
    cluster.settle();
    cluster.propose(R3, &["in time"]);
    assert_eq!(cluster.status(R3).last, position(2, 1));
}

/// An epoch has one leader. Two that claim it stop a replica.
#[test]
#[should_panic(expected = "two leaders in epoch 1")]
fn two_leaders_in_an_epoch_stop_a_replica() {
    let mut cluster = led(|_| {});
    hand_in(&mut cluster, R2, R1, heartbeat(1, position(1, 1)));
}

/// What a leader has said of its own history it does not take back.
#[test]
#[should_panic(expected = "a leader contradicts itself")]
fn a_leader_that_contradicts_itself_stops_a_replica() {
    let mut cluster = Cluster::of_logs(Protocol::Zab, &[&[1, 1], &[1, 1], &[1, 1]]);
    cluster.settle();
    hand_in(&mut cluster, R3, R1, heartbeat(2, position(2, 2)));
}

/// Any message may come twice.
#[test]
fn everything_may_arrive_twice() {
    let mut cluster = led(|_| {});
    cluster.propose(R3, &["a", "b"]);
    for _ in 0..20 {
        let mail: Vec<_> = cluster.mail.iter().cloned().collect();
        cluster.mail.clear();
        for one in mail {
            cluster.hand_in(one.clone());
            cluster.hand_in(one);
        }
    }
    for id in [R1, R2, R3] {
        assert_eq!(cluster.applied(id).len(), 3, "{id}");
    }
}

/// Thesis §6.4: an answer that was given before a round began does not confirm it.
#[test]
fn reads_are_not_confirmed_by_old_answers() {
    assert!(!serves_after_an_old_answer(|_| {}));
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn reads_that_are_confirmed_by_old_answers_are_found() {
    let mistake = consensus::Planted::Zab(consensus::zab::Planted::OldAnswerConfirmsReads);
    assert!(serves_after_an_old_answer(|config| config.planted = Some(mistake)));
}

/// r3 has been cut off and replaced, without knowing it. An old answer reaches it: does it serve?
fn serves_after_an_old_answer(adjust: impl Fn(&mut Config)) -> bool {
    let mut cluster = led(adjust);
    cluster.timeout(R3);
    cluster.deliver(|mail| mail.from == R3);
    let old = cluster.take(|mail| mail.to == R3);
    for peer in [R1, R2] {
        cluster.input(peer, consensus::Input::Unreachable { peer: R3 });
    }
    cluster.timeout(R1);
    cluster.settle_without(&[R3]);
    cluster.timeout(R1);
    cluster.settle_without(&[R3]);
    assert_eq!(cluster.status(R2).role, Role::Leader);
    cluster.read(R3, 1);
    cluster.mail.clear();
    cluster.trace.clear();
    for mail in old {
        cluster.hand_in(mail);
    }
    cluster.trace.iter().any(|line| line.contains("serve reads=[1]"))
}
