//! Paxos: its scripts, one test for each claim of its papers, and garbage from its peers.

mod garbage;
mod paper;
pub(crate) mod print;

use std::time::Duration;

use consensus::paxos::{
    Accept, AcceptReply, Acceptance, Base, Cause, Link, Message, Outcome, Promise, Stamp,
};
use consensus::{Entry, Epoch, LogIndex, Payload, Position};

use crate::golden;

#[test]
fn scripts() {
    golden::check("tests/scripts/paxos");
}

/// What was promised when an entry with this epoch was written.
pub(crate) fn promise_of(epoch: Epoch) -> Epoch {
    Stamp::unpack(epoch).ballot
}

/// Messages that no correct replica sends, or not then.
pub(crate) fn forged(kind: &str, ballot: Epoch) -> Message {
    let at = |index| Position { index: LogIndex(index), epoch: ballot };
    let entry = |index| Entry { position: at(index), payload: Payload::Noop };
    let accept = |first, entries: Vec<Entry>, last| {
        let (commit, first, last) = (LogIndex(0), LogIndex(first), LogIndex(last));
        let link = Link::default();
        Message::Accept(Accept { ballot, first, entries, commit, round: 0, last, link })
    };
    let promise = |accepted| {
        let (from, base, chosen) = (LogIndex(1), Base::default(), LogIndex(0));
        Message::Promise(Promise { ballot, nonce: 0, from, base, chosen, accepted, more: false })
    };
    match kind {
        "prepare" => {
            let (from, cause) = (LogIndex(1), Cause::Silence);
            Message::Prepare { ballot, from, cause, nonce: 0 }
        }
        "take-over" => Message::TakeOver { ballot },
        "commit" => Message::Commit { ballot, index: LogIndex(99) },
        "accept-hole" => accept(1, vec![entry(1), entry(3)], 3),
        "accept-far" => accept(1 << 40, vec![entry(1 << 40)], 1 << 40),
        "accept-nowhere" => accept(0, Vec::new(), 0),
        "accept-beyond" => accept(1, vec![entry(1), entry(2)], 1),
        "promise-above" => {
            let above = Epoch { round: ballot.round + 1, ..ballot };
            promise(vec![Acceptance { ballot: above, entry: entry(1) }])
        }
        "promise-far" => promise(vec![Acceptance { ballot, entry: entry(1 << 40) }]),
        "gap" => {
            let outcome = Outcome::Gap {
                matched: LogIndex(3),
                missing: LogIndex(2),
                first: LogIndex(9),
                last: LogIndex(9),
            };
            let link = Link::default();
            Message::AcceptReply(AcceptReply {
                ballot,
                round: 0,
                link,
                outcome,
                grant: Duration::ZERO,
            })
        }
        "accepted" => {
            let outcome = Outcome::Accepted { matched: LogIndex(99) };
            let link = Link::default();
            Message::AcceptReply(AcceptReply {
                ballot,
                round: 0,
                link,
                outcome,
                grant: Duration::ZERO,
            })
        }
        other => panic!("no such forgery: {other}"),
    }
}
