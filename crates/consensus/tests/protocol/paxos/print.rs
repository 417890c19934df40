//! Paxos's messages and disk as one line each.
//!
//! A value is `slot@origin bytes`. Where it was accepted under another ballot than the one under which
//! it was first proposed, that stands before it: `3.2: 5@1.1 a`. A gap is `5 –`. An origin without a
//! proposer is that of a slot that was filled with nothing.

use std::fmt::Write as _;

use consensus::paxos::{Accept, AcceptReply, Base, Cause, Message, Outcome, Promise, Stamp};
use consensus::{Entry, Epoch, LogIndex, Position};

use crate::print::{entries, granted, tail, told_instead, verdict};

pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::PrePrepare { ballot } => format!("pre-prepare ballot={ballot}"),
        Message::PrePromise { ballot, asked, granted, base } => {
            format!(
                "pre-promise {} ballot={ballot} asked={asked}{}",
                verdict(*granted),
                after(*base)
            )
        }
        Message::Prepare { ballot, from, cause, .. } => {
            let cause = if *cause == Cause::Silence { "" } else { " transfer" };
            format!("prepare ballot={ballot} from={from}{cause}")
        }
        Message::Promise(promise) => self::promise(promise),
        Message::Nack { ballot, asked } => format!("nack ballot={ballot} asked={asked}"),
        Message::Accept(accept) => self::accept(accept),
        Message::AcceptReply(reply) => accept_reply(reply),
        Message::Commit { ballot, index } => format!("commit ballot={ballot} {index}"),
        Message::Snapshot { ballot, base, round, link, skip, .. } => {
            let Base { position, .. } = base;
            format!(
                "snapshot ballot={ballot} {position}{}{}",
                tail(*round, *link),
                told_instead(skip.as_deref())
            )
        }
        Message::TakeOver { ballot } => format!("take-over ballot={ballot}"),
        Message::BallotQuery { ballot, .. } => format!("ballot? ballot={ballot}"),
        Message::BallotReply { ballot, in_doubt, .. } => {
            format!("ballot! ballot={ballot}{}", if *in_doubt { " in-doubt" } else { "" })
        }
    }
}

fn after(base: Base) -> String {
    let base = base.position;
    if base.index == LogIndex(0) { String::new() } else { format!(" base={base}") }
}

fn promise(promise: &Promise) -> String {
    let Promise { ballot, from, base, chosen, more, .. } = promise;
    let mut line = format!("promise ballot={ballot} from={from}{}", after(*base));
    let told = promise.accepted.iter().map(|told| accepted(told.ballot, &told.entry));
    let _ = write!(line, " [{}]", told.collect::<Vec<_>>().join(", "));
    let _ = write!(line, "{} chosen={chosen}", if *more { "…" } else { "" });
    line
}

fn accept(accept: &Accept) -> String {
    let mut line = format!("accept ballot={}", accept.ballot);
    if accept.entries.is_empty() {
        let _ = write!(line, " next={}", accept.first);
    } else {
        let _ = write!(line, " [{}]", entries(&accept.entries));
    }
    let _ = write!(line, " commit={}{}", accept.commit, tail(accept.round, accept.link));
    line
}

fn accept_reply(reply: &AcceptReply) -> String {
    let outcome = match reply.outcome {
        Outcome::Accepted { matched } => format!("accepted matched={matched}"),
        Outcome::Gap { matched, missing, first, last } if first > last => {
            format!("gap matched={matched} missing={missing} before={first}")
        }
        Outcome::Gap { matched, missing, first, last } => {
            format!("gap matched={matched} missing={missing} has={first}..{last}")
        }
        Outcome::Fetching => "fetching".to_owned(),
        Outcome::InDoubt { .. } => "in-doubt".to_owned(),
        Outcome::Stale => "stale".to_owned(),
    };
    format!("{outcome} ballot={}{}", reply.ballot, granted(reply.round, reply.link, reply.grant))
}

/// A base as it was written to disk, with its origin for an epoch.
pub(crate) fn base(base: Position) -> Position {
    Position { epoch: Stamp::unpack(base.epoch).origin, ..base }
}

pub(crate) fn entries_on_disk(entries: &[Entry]) -> String {
    let all = entries.iter().map(|entry| {
        let stamp = Stamp::unpack(entry.position.epoch);
        if stamp.is_gap() {
            return format!("{} –", entry.position.index);
        }
        let position = Position { epoch: stamp.origin, ..entry.position };
        accepted(stamp.ballot, &Entry { position, payload: entry.payload.clone() })
    });
    all.collect::<Vec<_>>().join(", ")
}

fn accepted(ballot: Epoch, value: &Entry) -> String {
    let text = entries(std::slice::from_ref(value));
    if ballot == value.position.epoch { text } else { format!("{ballot}: {text}") }
}
