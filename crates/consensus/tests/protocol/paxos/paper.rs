//! One test for each claim that a script would not show better. "PMS §" is Lamport, *Paxos Made Simple*
//! (2001); "PMMC §" is van Renesse & Altinbuken, *Paxos Made Moderately Complex* (2015).

use std::time::Duration;

use consensus::paxos::{Accept, AcceptReply, Base, Link, MAX_GAP, Message, Outcome};
use consensus::quorum::Quorums;
use consensus::{
    Config, Entry, Epoch, LogIndex, Membership, Payload, Position, Protocol, ReplicaId, Role,
};

use crate::cluster::{Cluster, DiskMode, Mail};

const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);
const R3: ReplicaId = ReplicaId(3);
const R4: ReplicaId = ReplicaId(4);
const R5: ReplicaId = ReplicaId(5);

fn ballot(round: u64, proposer: u64) -> Epoch {
    Epoch { round, proposer }
}

fn new(size: u64, adjust: impl Fn(&mut Config)) -> Cluster {
    Cluster::of(Protocol::Paxos, size, adjust)
}

/// A cluster of three that r1 leads, and all is quiet.
fn led() -> Cluster {
    let mut cluster = new(3, |_| {});
    cluster.elect(R1);
    cluster
}

fn mail(from: ReplicaId, to: ReplicaId, message: Message) -> Mail {
    Mail { from, to, message: consensus::Message::Paxos(message) }
}

/// What `to` answers to a message of `from`.
fn answer(cluster: &mut Cluster, from: ReplicaId, to: ReplicaId, message: Message) -> Vec<Message> {
    cluster.mail.clear();
    cluster.hand_in(mail(from, to, message));
    let of_paxos = |mail: Mail| {
        let consensus::Message::Paxos(message) = mail.message else { panic!("{mail:?}") };
        message
    };
    cluster.mail.drain(..).map(of_paxos).collect()
}

fn accept(ballot: Epoch, first: u64, count: u64) -> Message {
    let entry = |index| Entry {
        position: Position { index: LogIndex(index), epoch: ballot },
        payload: Payload::Noop,
    };
    let entries: Vec<_> = (first..first + count).map(entry).collect();
    let (first, last) = (LogIndex(first), LogIndex(first + count - 1));
    let (commit, round, link) = (LogIndex(0), 0, Link::default());
    Message::Accept(Accept { ballot, first, entries, commit, round, last, link })
}

fn reply(ballot: Epoch, outcome: Outcome) -> Message {
    let (link, grant) = (Link::default(), Duration::ZERO);
    Message::AcceptReply(AcceptReply { ballot, round: 0, link, outcome, grant })
}

fn matched(cluster: &Cluster, leader: ReplicaId, peer: ReplicaId) -> LogIndex {
    let peers = cluster.status(leader).peers;
    peers.into_iter().find(|progress| progress.peer == peer).expect("a peer").matched
}

/// PMS §2.2, P1: an acceptor accepts the first proposal that it receives.
#[test]
fn pms_2_2_an_acceptor_accepts_the_first_proposal_that_it_receives() {
    let mut cluster = new(3, |_| {});
    let replies = answer(&mut cluster, R1, R3, accept(ballot(1, 1), 1, 1));
    let outcome = Outcome::Accepted { matched: LogIndex(1) };
    assert_eq!(replies, [reply(ballot(1, 1), outcome)]);
}

/// PMS §2.2, P1a: an acceptor accepts a proposal if and only if it has not promised a higher one.
#[test]
fn pms_2_2_nothing_is_accepted_below_the_promise() {
    let mut cluster = new(3, |_| {});
    answer(&mut cluster, R2, R3, accept(ballot(2, 2), 1, 1));
    let replies = answer(&mut cluster, R1, R3, accept(ballot(2, 1), 2, 1));
    assert_eq!(replies, [reply(ballot(2, 2), Outcome::Stale)]);
    assert_eq!(cluster.status(R3).last.index, LogIndex(1));
    cluster.crash(R3);
    cluster.restart(R3, false);
    let replies = answer(&mut cluster, R1, R3, accept(ballot(2, 1), 2, 1));
    assert_eq!(replies, [reply(ballot(2, 2), Outcome::Stale)], "a restart forgets no promise");
}

/// PMS §2.2: acceptances of an earlier ballot choose nothing in a later one.
#[test]
fn pms_2_2_an_acknowledgement_of_an_older_ballot_counts_for_nothing() {
    assert_eq!(match_after_an_old_acknowledgement(|_| {}), LogIndex(0));
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn pms_2_2_an_old_acknowledgement_that_counts_is_found() {
    let mistake = consensus::paxos::Planted::CountsOlderBallots;
    let matched = match_after_an_old_acknowledgement(|config| {
        config.planted = Some(consensus::Planted::Paxos(mistake));
    });
    assert_eq!(matched, LogIndex(2));
}

/// PMS §2.2, P2b: what was chosen under a ballot is what every higher one proposes. So an acceptor learns from
/// where another's slots begin, and needs no image that perhaps nobody has.
#[test]
fn pms_2_2_what_was_accepted_under_the_ballot_of_a_base_was_chosen() {
    assert_eq!(learned_from_base(ballot(1, 1), |_| {}), (LogIndex(3), false));
    let fetches = (LogIndex(0), true);
    assert_eq!(learned_from_base(ballot(1, 2), |_| {}), fetches, "chosen under a higher ballot");
    assert_eq!(learned_from_base(Epoch::default(), |_| {}), fetches, "nobody knows under which");
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn pms_2_2_that_any_ballot_will_do_is_found() {
    let mistake = consensus::paxos::Planted::AnyBallotBelowBase;
    let learned = learned_from_base(ballot(1, 2), |config| {
        config.planted = Some(consensus::Planted::Paxos(mistake));
    });
    assert_eq!(learned, (LogIndex(3), false));
}

/// What r3 knows to be chosen after it has accepted three slots under 1.1, and was told that r2's slots begin after
/// them, which were chosen `under` this ballot; and whether it fetches a snapshot.
fn learned_from_base(under: Epoch, adjust: impl Fn(&mut Config)) -> (LogIndex, bool) {
    let mut cluster = new(3, adjust);
    answer(&mut cluster, R1, R3, accept(ballot(1, 1), 1, 3));
    let position = Position { index: LogIndex(3), epoch: ballot(1, 1) };
    let (base, last) = (Base { position, under }, LogIndex(3));
    let snapshot = Message::Snapshot {
        ballot: ballot(2, 2),
        base,
        round: 0,
        last,
        link: Link::default(),
        skip: None,
    };
    let replies = answer(&mut cluster, R2, R3, snapshot);
    let fetches = replies == [reply(ballot(2, 2), Outcome::Fetching)];
    assert!(fetches || replies == [reply(ballot(2, 2), Outcome::Accepted { matched: last })]);
    (cluster.status(R3).commit, fetches)
}

/// What r1 believes of r2 after r2's answer to an earlier ballot of r1 has come late.
fn match_after_an_old_acknowledgement(adjust: impl Fn(&mut Config)) -> LogIndex {
    let mut cluster = new(3, adjust);
    cluster.elect(R1);
    cluster.propose(R1, &["a"]);
    cluster.deliver(|mail| mail.to == R2);
    let old = cluster.take(|mail| mail.from == R2);
    cluster.mail.clear();
    cluster.pass(Duration::from_millis(800), &[R1, R2, R3]);
    assert_eq!(cluster.status(R1).role, Role::Follower, "it has lost its quorum");
    cluster.timeout(R1);
    while cluster.status(R1).role != Role::Leader {
        cluster.deliver(|mail| mail.from != R2 && mail.to != R2);
    }
    cluster.mail.clear();
    for mail in old {
        cluster.hand_in(mail);
    }
    matched(&cluster, R1, R2)
}

/// PMS §2.2: a value that is accepted under another ballot is accepted anew, though it is the same.
#[test]
fn pms_2_2_a_value_is_accepted_anew_under_each_ballot() {
    let (chosen, later) = slot_2_of_two_leaders(|_| {});
    assert_eq!(chosen, Payload::Command("a".into()));
    assert_eq!(later, chosen);
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn pms_2_2_a_value_that_is_not_written_anew_is_found() {
    let mistake = consensus::paxos::Planted::SameValueNotWritten;
    let (chosen, later) = slot_2_of_two_leaders(|config| {
        config.planted = Some(consensus::Planted::Paxos(mistake));
    });
    assert_ne!(later, chosen);
}

/// The value of slot 2 that r1 has chosen, and the one that r5 finds later. It is accepted in ballot 1 by
/// r1 and r2; another in ballot 2 by r5 alone; and the first one is chosen in ballot 3, by r1, r2 and r3.
/// Of these r5 can ask only r2, which has been started again.
fn slot_2_of_two_leaders(adjust: impl Fn(&mut Config)) -> (Payload, Payload) {
    let mut cluster = new(5, adjust);
    cluster.elect(R1);
    cluster.propose(R1, &["a"]);
    cluster.deliver(|mail| mail.to == R2);
    cluster.crash(R1);
    forget_leader(&mut cluster);
    cluster.timeout(R5);
    while cluster.status(R5).role != Role::Leader {
        cluster.deliver(|mail| mail.to != R2);
    }
    cluster.crash(R5);
    cluster.restart(R1, false);
    forget_leader(&mut cluster);
    cluster.timeout(R1);
    cluster.settle_without(&[R4, R5]);
    let chosen = cluster.applied(R1)[1].payload.clone();
    for id in [R1, R2, R3] {
        cluster.crash(id);
    }
    cluster.restart(R2, false);
    cluster.restart(R5, false);
    forget_leader(&mut cluster);
    cluster.timeout(R5);
    cluster.settle_without(&[R1, R3]);
    (chosen, cluster.applied(R5)[1].payload.clone())
}

/// Lets so much time pass that nobody hears a leader any more, and nobody of anybody.
fn forget_leader(cluster: &mut Cluster) {
    cluster.mail.clear();
    cluster.pass(Duration::from_millis(700), &[R1, R2, R3, R4, R5]);
    cluster.mail.clear();
}

/// PMS §2.4: with two proposers that go on and on, progress needs that one of them leads alone. Here a
/// random wait sees to that.
#[test]
fn pms_2_4_a_duel_ends() {
    let mut cluster = new(5, |_| {});
    for id in 1..=5 {
        cluster.timeout(ReplicaId(id));
    }
    cluster.pass(Duration::from_secs(4), &[]);
    let roles = (1..=5).map(|id| cluster.status(ReplicaId(id)).role);
    assert_eq!(roles.filter(|role| *role == Role::Leader).count(), 1);
}

/// PMMC §3: a leader that works is not preempted by one that was cut off and comes back.
#[test]
fn pmmc_3_an_isolated_replica_opens_no_ballot() {
    let mut cluster = led();
    cluster.pass(Duration::from_secs(10), &[R3]);
    assert_eq!(cluster.status(R3).epoch, ballot(1, 1));
    cluster.pass(Duration::from_secs(1), &[]);
    assert_eq!(cluster.status(R3).leader, Some(R1));
    assert_eq!(cluster.status(R1).epoch, ballot(1, 1));
}

/// A leader that no quorum of phase 2 answers steps down; with a small one it goes on for longer.
#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = led();
    cluster.pass(Duration::from_millis(500), &[R2, R3]);
    assert_eq!(cluster.status(R1).role, Role::Leader);
    cluster.pass(Duration::from_millis(300), &[R2, R3]);
    assert_ne!(cluster.status(R1).role, Role::Leader);
    let quorums = Quorums { phase1: 3, phase2: 1 };
    let mut cluster = new(3, |config| config.quorums = Some(quorums));
    cluster.elect(R1);
    cluster.pass(Duration::from_secs(3), &[R2, R3]);
    assert_eq!(cluster.status(R1).role, Role::Leader, "it may go on alone");
    cluster.propose(R1, &["a"]);
    assert_eq!(cluster.status(R1).commit, LogIndex(2), "and choose");
}

#[test]
#[should_panic(expected = "do not meet")]
fn quorums_that_do_not_meet_are_refused() {
    let quorums = Quorums { phase1: 3, phase2: 2 };
    new(5, |config| config.quorums = Some(quorums));
}

/// A leader may choose what is on a quorum's disks before it is on its own, but counts itself for
/// nothing that is not.
#[test]
fn the_leaders_disk_is_one_of_many() {
    let mut cluster = led();
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
    assert_eq!(cluster.applied(R3).len(), 4, "what was chosen survives its leader");
}

/// PMS §3 lets a leader run ahead by so many slots; here the acceptor says what is too far, for it
/// writes each gap to its disk. The leader goes back and begins with what is lacking.
#[test]
fn pms_3_a_gap_has_a_limit() {
    let mut cluster = led();
    let count = usize::try_from(MAX_GAP).expect("small");
    cluster.propose(R1, &vec!["lost"; count]);
    cluster.mail.retain(|mail| mail.to != R2);
    cluster.propose(R1, &["too far"]);
    cluster.deliver(|mail| mail.to == R2);
    assert_eq!(cluster.status(R2).last.index, LogIndex(1), "it does not take what is so far ahead");
    cluster.settle();
    assert_eq!(matched(&cluster, R1, R2), LogIndex(MAX_GAP + 2));
    cluster.propose(R1, &vec!["lost"; count - 1]);
    cluster.mail.retain(|mail| mail.to != R2);
    cluster.propose(R1, &["just near enough"]);
    cluster.deliver(|mail| mail.to == R2);
    assert_eq!(cluster.status(R2).last.index, LogIndex(2 * MAX_GAP + 2));
    cluster.settle();
    assert_eq!(cluster.status(R2).commit, LogIndex(2 * MAX_GAP + 2));
}

/// What a follower says it lacks it is sent again, also if it had acknowledged it: after a restart it
/// may no longer know that the values of an older ballot were chosen.
#[test]
fn what_a_follower_lacks_it_is_sent_whatever_it_had_acknowledged() {
    let mut cluster = led();
    cluster.propose(R1, &["a", "b"]);
    cluster.settle();
    assert_eq!(matched(&cluster, R1, R2), LogIndex(3));
    let (matched, missing, first, last) = (LogIndex(1), LogIndex(2), LogIndex(4), LogIndex(3));
    let gap = reply(ballot(1, 1), Outcome::Gap { matched, missing, first, last });
    let sent = answer(&mut cluster, R2, R1, gap);
    let [Message::Accept(accept)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((accept.first, accept.entries.len()), (LogIndex(2), 2));
}

/// A value keeps its origin, whoever has it chosen: a proposal comes out where it was taken in.
#[test]
fn a_value_keeps_its_position_under_later_ballots() {
    let mut cluster = led();
    cluster.propose(R1, &["a"]);
    cluster.deliver(|mail| mail.to == R2);
    cluster.crash(R1);
    cluster.mail.clear();
    cluster.pass(Duration::from_secs(3), &[]);
    cluster.restart(R1, false);
    cluster.pass(Duration::from_secs(1), &[]);
    let at = Position { index: LogIndex(2), epoch: ballot(1, 1) };
    for id in [R1, R2, R3] {
        assert_eq!(cluster.applied(id)[1].position, at, "{id}");
        assert!(cluster.status(id).epoch > at.epoch, "it was chosen under a later ballot");
    }
}

/// An acceptor's whole log can be written anew and read back: what is restored is what was held.
#[test]
fn what_was_written_in_any_order_is_restored() {
    let mut cluster = led();
    for command in ["a", "b", "c", "d"] {
        cluster.propose(R1, &[command]);
    }
    let mut accepts = cluster.take(|mail| mail.to == R2);
    accepts.reverse();
    for mail in accepts {
        cluster.hand_in(mail);
        let before = cluster.status(R2);
        cluster.crash(R2);
        cluster.restart(R2, false);
        let after = cluster.status(R2);
        assert_eq!((after.last, after.log_bytes), (before.last, before.log_bytes));
    }
    cluster.pass(Duration::from_millis(500), &[]);
    assert_eq!(cluster.status(R2).commit, LogIndex(5));
}

/// Ongaro's thesis, §4.3: while the voters change, a majority of the old ones and one of the new must agree.
#[test]
fn thesis_4_3_new_voters_alone_choose_nothing_while_they_join() {
    assert_eq!(chosen_by_new_voters(|_| {}), LogIndex(2));
}

/// The test above would find the mistake.
#[cfg(feature = "planted")]
#[test]
fn thesis_4_3_new_voters_that_choose_alone_are_found() {
    let mistake = consensus::paxos::Planted::NewVotersAlone;
    let chosen = chosen_by_new_voters(|config| {
        config.planted = Some(consensus::Planted::Paxos(mistake));
    });
    assert_eq!(chosen, LogIndex(4));
}

/// How far r1 believes all to be chosen when it has begun to replace r2 and r3, which hear nothing of it, by
/// r4 and r5.
fn chosen_by_new_voters(adjust: impl Fn(&mut Config)) -> LogIndex {
    let members = |voters: &[ReplicaId], learners: &[ReplicaId]| Membership {
        learners: learners.iter().copied().collect(),
        ..Membership::of(voters.iter().copied().collect())
    };
    let mut cluster = new(3, adjust);
    cluster.elect(R1);
    cluster.join(R4);
    cluster.join(R5);
    cluster.change(R1, members(&[R1, R2, R3], &[R4, R5]));
    cluster.settle();
    cluster.change(R1, members(&[R1, R4, R5], &[]));
    cluster.settle_without(&[R2, R3]);
    cluster.status(R1).commit
}
