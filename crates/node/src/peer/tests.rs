use consensus::ReplicaId;
use wire::{Frame, FrameKind};

use super::*;

fn position(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round, proposer: 0 } }
}

fn term(round: u64) -> Epoch {
    Epoch { round, proposer: 0 }
}

/// One of each.
fn messages() -> Vec<PeerMessage> {
    use raft::Message as M;
    let entries = vec![
        Entry { position: position(8, 3), payload: Payload::Noop },
        Entry { position: position(9, 4), payload: Payload::Command(Bytes::from_static(b"put")) },
    ];
    let link = Link { session: 5, nonce: 6 };
    let reply = |outcome| M::AppendReply(AppendReply { term: term(4), round: 2, link, outcome });
    let append = Append {
        term: term(4),
        prev: position(7, 3),
        entries,
        commit: LogIndex(7),
        round: 2,
        last: LogIndex(9),
        link,
    };
    let raft = vec![
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
        M::Commit { term: term(4), position: position(9, 4) },
        M::Snapshot { term: term(4), position: position(7, 3), round: 2, last: LogIndex(9), link },
        M::TimeoutNow { term: term(4) },
        M::TermQuery { term: term(4), nonce: 300 },
        M::TermReply { term: term(4), nonce: 300, in_doubt: false },
        M::TermReply { term: term(4), nonce: 300, in_doubt: true },
    ];
    let group = GroupId(1);
    let consensus = |message| PeerMessage::Consensus { group, message: Message::Raft(message) };
    let mut messages: Vec<PeerMessage> = raft.into_iter().map(consensus).collect();
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
         02\
         030000\
         04000103707574"
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
