//! Outputs and messages as one line each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use consensus::raft::{Append, AppendReply, Cause, Link, Message, Outcome};
use consensus::{Durable, Entry, Membership, News, Output, Payload, Protocol, ReplicaId, Status};

use crate::{paxos, zab};

pub(crate) fn output(protocol: Protocol, who: ReplicaId, output: &Output) -> String {
    match output {
        Output::Persist(durable) => format!("{who}: persist {}", self::durable(protocol, durable)),
        Output::Await(id) => format!("{who}: await #{}", id.0),
        Output::Send { to, message } => {
            format!("{who} → {to}: {}", self::message(message))
        }
        Output::Accepted(accepted) => {
            let ids: Vec<_> = accepted.proposals.iter().map(|id| id.0.to_string()).collect();
            format!("{who}: accepted {} first={}", ids.join(" "), accepted.first)
        }
        Output::Refused { proposals, reads, leader } => {
            let proposals = list(proposals.iter().map(|id| id.0));
            let reads = list(reads.iter().map(|id| id.0));
            format!(
                "{who}: refused proposals={proposals} reads={reads} leader={}",
                or_none(*leader)
            )
        }
        Output::Apply(entries) => format!("{who}: apply {}", self::entries(entries)),
        Output::Serve { reads, at } => {
            format!("{who}: serve reads={} at={at}", list(reads.iter().map(|id| id.0)))
        }
        Output::FetchSnapshot { from, at_least } => {
            format!("{who}: fetch snapshot from={from} at-least={at_least}")
        }
        Output::Members(members) => format!("{who}: members {}", membership(members)),
        Output::News(news) => format!("{who}: {}", self::news(protocol, news)),
    }
}

pub(crate) fn message(message: &consensus::Message) -> String {
    match message {
        consensus::Message::Raft(message) => raft(message),
        consensus::Message::Paxos(message) => paxos::print::message(message),
        consensus::Message::Zab(message) => zab::print::message(message),
    }
}

fn raft(message: &Message) -> String {
    match message {
        Message::PreVote { term, last } => format!("pre-vote term={term} last={last}"),
        Message::PreVoteReply { term, asked, granted } => {
            format!("pre-vote {} term={term} asked={asked}", verdict(*granted))
        }
        Message::Vote { term, last, cause, .. } => {
            let cause = if *cause == Cause::Transfer { " transfer" } else { "" };
            format!("vote term={term} last={last}{cause}")
        }
        Message::VoteReply { term, granted, .. } => {
            format!("vote {} term={term}", verdict(*granted))
        }
        Message::Append(append) => self::append(append),
        Message::AppendReply(reply) => append_reply(reply),
        Message::Commit { term, position } => format!("commit term={term} {position}"),
        Message::Snapshot { term, position, round, link, skip, .. } => {
            format!(
                "snapshot term={term} {position}{}{}",
                tail(*round, *link),
                told_instead(skip.as_deref())
            )
        }
        Message::TimeoutNow { term } => format!("timeout-now term={term}"),
        Message::TermQuery { term, .. } => format!("term? term={term}"),
        Message::TermReply { term, in_doubt, .. } => {
            format!("term! term={term}{}", if *in_doubt { " in-doubt" } else { "" })
        }
    }
}

pub(crate) fn status(protocol: Protocol, status: &Status) -> String {
    let mut line = format!(
        "{}: {} {}={} leader={} base={} last={} commit={}",
        status.id,
        status.role,
        epoch_word(protocol),
        status.epoch,
        or_none(status.leader),
        status.base,
        status.last,
        status.commit
    );
    for peer in &status.peers {
        let (state, active) = (peer.state, if peer.active { "" } else { " silent" });
        let _ = write!(
            line,
            "\n  {} {state} matched={} next={}{active}",
            peer.peer, peer.matched, peer.next
        );
    }
    line
}

fn append(append: &Append) -> String {
    let mut line = format!("append term={} prev={}", append.term, append.prev);
    if !append.entries.is_empty() {
        let _ = write!(line, " [{}]", entries(&append.entries));
    }
    let _ = write!(line, " commit={}{}", append.commit, tail(append.round, append.link));
    line
}

fn append_reply(reply: &AppendReply) -> String {
    let outcome = match reply.outcome {
        Outcome::Accepted { matched } => format!("accepted matched={matched}"),
        Outcome::Rejected { prev, hint } => format!("rejected prev={prev} hint={hint}"),
        Outcome::Fetching => "fetching".to_owned(),
        Outcome::InDoubt { .. } => "in-doubt".to_owned(),
        Outcome::Stale => "stale".to_owned(),
    };
    format!("{outcome} term={}{}", reply.term, granted(reply.round, reply.link, reply.grant))
}

pub(crate) fn tail(round: u64, link: Link) -> String {
    let round = if round == 0 { String::new() } else { format!(" round={round}") };
    let nonce = if link.nonce == 0 { "" } else { "+nonce" };
    let link =
        if link.session == 0 { String::new() } else { format!(" session={}{nonce}", link.session) };
    round + &link
}

/// How an answer ends.
pub(crate) fn granted(round: u64, link: Link, grant: Duration) -> String {
    let grant =
        if grant.is_zero() { String::new() } else { format!(" grant={}ms", grant.as_millis()) };
    tail(round, link) + &grant
}

fn durable(protocol: Protocol, durable: &Durable) -> String {
    let mut line = format!("#{}", durable.id.0);
    if let Some(state) = durable.hard_state {
        let _ = match protocol {
            Protocol::Raft | Protocol::Zab => {
                write!(line, " term={} vote={}", state.epoch, or_none(state.vote))
            }
            Protocol::Paxos => write!(line, " promise={}", state.epoch),
        };
    }
    if let Some(base) = durable.base {
        let base = match protocol {
            Protocol::Raft | Protocol::Zab => base,
            Protocol::Paxos => paxos::print::base(base),
        };
        let _ = write!(line, " base={base}");
    }
    if !durable.entries.is_empty() {
        let entries = match protocol {
            Protocol::Raft | Protocol::Zab => entries(&durable.entries),
            Protocol::Paxos => paxos::print::entries_on_disk(&durable.entries),
        };
        let _ = write!(line, " [{entries}]");
    }
    line
}

pub(crate) fn entries(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| match &entry.payload {
        Payload::Noop => format!("{}", entry.position),
        Payload::Membership(members) => format!("{} {}", entry.position, membership(members)),
        Payload::Command(bytes) => {
            format!("{} {}", entry.position, String::from_utf8_lossy(bytes))
        }
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}

/// What a witness is told instead of fetching a snapshot.
pub(crate) fn told_instead(members: Option<&Membership>) -> String {
    members.map_or_else(String::new, |members| format!(" skip={}", membership(members)))
}

/// Voters; who voted before, if they change; learners; witnesses: `{1 2 3}<{1 2} +4 w3`.
pub(crate) fn membership(membership: &Membership) -> String {
    let list = |ids: &BTreeSet<ReplicaId>| {
        ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("{{{}}}", list(&membership.voters));
    if membership.is_joint() {
        let _ = write!(text, "<{{{}}}", list(&membership.outgoing));
    }
    if !membership.learners.is_empty() {
        let _ = write!(text, " +{}", list(&membership.learners));
    }
    if !membership.witnesses.is_empty() {
        let _ = write!(text, " w{}", list(&membership.witnesses));
    }
    text
}

fn news(protocol: Protocol, news: &News) -> String {
    let word = epoch_word(protocol);
    match news {
        News::Role { role, epoch, leader } => {
            format!("is {role} {word}={epoch} leader={}", or_none(*leader))
        }
        News::LeaderReady { epoch } => format!("is ready {word}={epoch}"),
        News::Truncated { from } => format!("truncated from={from}"),
        News::Dropped { from, reason } => format!("dropped a message of {from}: {reason}"),
        News::DoubtResolved => "doubt resolved".to_owned(),
    }
}

pub(crate) fn verdict(granted: bool) -> &'static str {
    if granted { "granted" } else { "denied" }
}

/// What a host's own lines call an epoch.
fn epoch_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Raft | Protocol::Zab => "term",
        Protocol::Paxos => "ballot",
    }
}

fn or_none(id: Option<ReplicaId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

fn list(ids: impl Iterator<Item = u64>) -> String {
    format!("[{}]", ids.map(|id| id.to_string()).collect::<Vec<_>>().join(" "))
}
