use consensus::raft::Link;
use consensus::{Epoch, LogIndex, Position, ReplicaId};
use wire::{Frame, FrameKind};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Entry, Membership, Payload};

use super::*;

fn position(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round, proposer: 0 } }
}

fn term(round: u64) -> Epoch {
    Epoch { round, proposer: 0 }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry { position: position(8, 3), payload: Payload::Noop },
        Entry { position: position(9, 4), payload: Payload::Command(Bytes::from_static(b"put")) },
        Entry { position: position(10, 4), payload: Payload::Membership(membership()) },
    ]
}

fn membership() -> Arc<Membership> {
    let set = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect();
    let context = Bytes::from_static(b"ctx");
    let (voters, outgoing, learners) = (set(&[1, 2, 300]), set(&[1]), set(&[4]));
    let witnesses = set(&[2]);
    Arc::new(Membership { voters, outgoing, learners, witnesses, context })
}

fn raft() -> Vec<Message> {
    use consensus::raft::{Append, AppendReply, Cause, Message as M, Outcome};
    let link = Link { session: 5, nonce: 6 };
    let granting = |outcome, grant| {
        M::AppendReply(AppendReply { term: term(4), round: 2, link, outcome, grant })
    };
    let reply = |outcome| granting(outcome, Duration::ZERO);
    let append = Append {
        term: term(4),
        prev: position(7, 3),
        entries: entries(),
        commit: LogIndex(7),
        round: 2,
        last: LogIndex(9),
        link,
    };
    let messages = vec![
        M::PreVote { term: term(4), last: position(9, 3) },
        M::PreVoteReply { term: term(4), asked: term(5), granted: true },
        M::Vote { term: term(4), last: position(9, 3), cause: Cause::Silence, nonce: 300 },
        M::Vote { term: term(4), last: position(9, 3), cause: Cause::Transfer, nonce: 300 },
        M::VoteReply { term: term(4), granted: false, nonce: 300 },
        M::Append(append),
        reply(Outcome::Accepted { matched: LogIndex(9) }),
        reply(Outcome::Rejected { prev: LogIndex(9), hint: position(3, 1) }),
        reply(Outcome::Fetching),
        reply(Outcome::InDoubt { nonce: 77 }),
        reply(Outcome::Stale),
        granting(Outcome::Fetching, Duration::from_millis(600)),
        M::Commit { term: term(4), position: position(9, 4) },
        M::Snapshot {
            term: term(4),
            position: position(7, 3),
            round: 2,
            last: LogIndex(9),
            link,
            skip: None,
        },
        M::TimeoutNow { term: term(4) },
        M::TermQuery { term: term(4), nonce: 300 },
        M::TermReply { term: term(4), nonce: 300, in_doubt: false, membership: membership() },
        M::TermReply { term: term(4), nonce: 300, in_doubt: true, membership: Arc::default() },
    ];
    messages.into_iter().map(Message::Raft).collect()
}

fn ballot(round: u64) -> Epoch {
    Epoch { round, proposer: 3 }
}

fn paxos() -> Vec<Message> {
    use consensus::paxos::{
        Accept, AcceptReply, Acceptance, Base, Cause, Message as M, Outcome, Promise,
    };
    let link = Link { session: 5, nonce: 6 };
    let ballot = ballot(4);
    let base = Base { position: position(7, 3), under: ballot };
    let granting =
        |outcome, grant| M::AcceptReply(AcceptReply { ballot, round: 2, link, outcome, grant });
    let reply = |outcome| granting(outcome, Duration::ZERO);
    let accepted = entries().into_iter().map(|entry| Acceptance { ballot, entry });
    let messages = vec![
        M::PrePrepare { ballot },
        M::PrePromise { ballot, asked: self::ballot(3), granted: true, base },
        M::Prepare { ballot, from: LogIndex(8), cause: Cause::Silence, nonce: 300 },
        M::Prepare {
            ballot,
            from: LogIndex(8),
            cause: Cause::Transfer { of: self::ballot(3) },
            nonce: 300,
        },
        M::Promise(Promise {
            ballot,
            nonce: 300,
            from: LogIndex(8),
            base,
            chosen: LogIndex(7),
            accepted: accepted.collect(),
            more: true,
        }),
        M::Nack { ballot, asked: self::ballot(3) },
        M::Accept(Accept {
            ballot,
            first: LogIndex(8),
            entries: entries(),
            commit: LogIndex(7),
            round: 2,
            last: LogIndex(9),
            link,
        }),
        reply(Outcome::Accepted { matched: LogIndex(9) }),
        reply(Outcome::Gap {
            matched: LogIndex(3),
            first: LogIndex(8),
            last: LogIndex(9),
            missing: LogIndex(4),
        }),
        reply(Outcome::Fetching),
        reply(Outcome::InDoubt { nonce: 77 }),
        reply(Outcome::Stale),
        granting(Outcome::Fetching, Duration::from_millis(600)),
        M::Commit { ballot, index: LogIndex(9) },
        M::Snapshot { ballot, base, round: 2, last: LogIndex(9), link, skip: None },
        M::TakeOver { ballot },
        M::BallotQuery { ballot, nonce: 300 },
        M::BallotReply { ballot, nonce: 300, in_doubt: false, membership: membership() },
    ];
    messages.into_iter().map(Message::Paxos).collect()
}

fn zab() -> Vec<Message> {
    use consensus::zab::{
        Ack, AckEpoch, Message as M, Notification, Outcome, Propose, Standing, Truncate, Vote,
    };
    let link = Link { session: 5, nonce: 6 };
    let epoch = term(4);
    let granting = |outcome, grant| M::Ack(Ack { epoch, round: 2, link, outcome, grant });
    let reply = |outcome| granting(outcome, Duration::ZERO);
    let notification = |standing| M::Notification(Notification { round: 9, epoch, standing });
    let (from, to, last) = (position(9, 3), position(7, 3), LogIndex(9));
    let vote = Vote { last: position(9, 3), blessed: true, witness: true, leader: ReplicaId(2) };
    let messages = vec![
        notification(Standing::Looking(vote)),
        notification(Standing::Watching),
        notification(Standing::Following(ReplicaId(2))),
        notification(Standing::Leading),
        M::FollowerInfo { epoch, in_doubt: true },
        M::NewEpoch { epoch, nonce: 300 },
        M::AckEpoch(AckEpoch {
            epoch,
            nonce: 300,
            promised: true,
            last: from,
            binding: from,
            doubt: 7,
        }),
        M::Truncate(Truncate { epoch, from, to, round: 2, last, link }),
        M::Snapshot {
            epoch,
            position: position(7, 3),
            round: 2,
            last,
            link,
            skip: Some(membership()),
        },
        M::Propose(Propose {
            epoch,
            prev: position(7, 3),
            entries: entries(),
            commit: LogIndex(7),
            round: 2,
            last,
            link,
        }),
        reply(Outcome::Accepted { matched: LogIndex(9) }),
        reply(Outcome::Ends { prev: LogIndex(9), last: position(3, 1) }),
        reply(Outcome::Fetching),
        reply(Outcome::InDoubt { nonce: 77, last: position(3, 1) }),
        reply(Outcome::Stale),
        granting(Outcome::Fetching, Duration::from_millis(600)),
        M::Commit { epoch, position: position(9, 4) },
        M::HandOver { epoch },
        M::EpochQuery { epoch, nonce: 300 },
        M::EpochReply { epoch, nonce: 300, in_doubt: true, membership: membership() },
    ];
    messages.into_iter().map(Message::Zab).collect()
}

/// One of each.
fn messages() -> Vec<PeerMessage> {
    let group = GroupId(1);
    let all = raft().into_iter().chain(paxos()).chain(zab());
    let mut messages: Vec<PeerMessage> =
        all.map(|message| PeerMessage::Consensus { group, message }).collect();
    let chunk = Chunk { sequence: 2, bytes: Bytes::from_static(b"rows"), last: true };
    messages.extend([
        PeerMessage::FetchChunk { group, fetch: 9, sequence: 2, at_least: position(7, 3) },
        PeerMessage::Chunk { group, fetch: 9, applied: position(7, 3), chunk },
        PeerMessage::NoChunk { group, fetch: 9 },
    ]);
    messages
}

fn encode(message: PeerMessage) -> Bytes {
    let envelope =
        PeerEnvelope { cluster: fingerprint("c"), from: NodeId(1), to: NodeId(2), message };
    let mut out = Writer::new();
    envelope.encode(&mut out);
    out.finish()
}

#[test]
fn every_message_comes_back_as_it_was() {
    for message in messages() {
        let decoded = PeerEnvelope::decode(&mut Reader::new(encode(message.clone())));
        assert_eq!(decoded.map(|envelope| envelope.message), Ok(message));
    }
}

#[test]
fn truncated_messages_are_refused() {
    for message in messages() {
        let bytes = encode(message);
        for len in 0..bytes.len() {
            let cut = PeerEnvelope::decode(&mut Reader::new(bytes.slice(..len)));
            assert!(cut.is_err(), "{len} of {} bytes were enough", bytes.len());
        }
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    for message in messages() {
        let bytes = encode(message);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            drop(PeerEnvelope::decode(&mut Reader::new(Bytes::from(flipped))));
        }
    }
}

/// Formats are for ever: these bytes must mean this in every release.
#[test]
fn an_append_has_these_bytes() {
    let append = messages().into_iter().nth(5).expect("the sixth is an Append");
    let bytes = encode(append);
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(
        hex,
        "f2ef01864cde63af\
         0102\
         010101\
         05\
         0400\
         070300\
         070209\
         0506\
         03\
         030000\
         04000103707574\
         040002030102ac0201010104010203637478"
    );
}

#[test]
fn a_frame_carries_an_envelope() {
    let message = PeerMessage::NoChunk { group: GroupId(1), fetch: 9 };
    let frame = Frame::encode(FrameKind::Peer, 0, |out| {
        out.raw(&encode(message.clone()));
    });
    let mut buffer = bytes::BytesMut::from(&frame[..]);
    let frame = wire::split_frame(&mut buffer).expect("whole").expect("complete");
    let envelope = PeerEnvelope::decode(&mut Reader::new(frame.body)).expect("ours");
    assert_eq!(envelope.message, message);
    assert_eq!(ReplicaId(1), crate::group::replica_of(envelope.from));
}
