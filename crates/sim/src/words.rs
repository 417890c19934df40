//! Messages and effects in one line each, for the trace.

use std::fmt::Write;

use consensus::Message;
use journal::Record;
use node::{Effect, PeerEnvelope, PeerMessage};
use wire::{Refusal, Reply, Request};

/// Longest text of one thing.
const LONGEST: usize = 400;

pub(crate) fn envelope(envelope: &PeerEnvelope) -> String {
    match &envelope.message {
        PeerMessage::Consensus { message, .. } => consensus(message),
        PeerMessage::FetchChunk { fetch, sequence, at_least, .. } => {
            format!("fetch {fetch} chunk {sequence} of a snapshot at {at_least} or later")
        }
        PeerMessage::Chunk { fetch, applied, chunk, .. } => {
            let last = if chunk.last { ", the last" } else { "" };
            let (sequence, bytes) = (chunk.sequence, chunk.bytes.len());
            format!("fetch {fetch} chunk {sequence} at {applied}: {bytes} bytes{last}")
        }
        PeerMessage::NoChunk { fetch, .. } => format!("fetch {fetch} can't go on"),
    }
}

fn consensus(message: &Message) -> String {
    let (entries, bytes) = message.load();
    // What entries carry says nothing that their positions don't say.
    let mut text = cut(format!("{:?}", message.head()));
    if entries > 0 {
        let _ = write!(text, " with {entries} entries of {bytes} bytes");
    }
    text
}

pub(crate) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Send(message) => format!("-> {} {}", message.to, envelope(message)),
        Effect::Reply { ticket, answer } => format!("answers #{}: {}", ticket.0, words(answer)),
        Effect::Read { ticket, task } => cut(format!("serves #{}: {task:?}", ticket.0)),
        Effect::Verify { ticket, .. } => format!("compares a password for #{}", ticket.0),
        Effect::ReadChunk(task) => format!("reads {task:?}"),
        Effect::Scrub(task) => format!("begins: {task:?}"),
        Effect::Journal { write, records } => {
            let mut text = format!("journals {}:", write.0);
            for record in records {
                text.push_str(&self::record(record));
            }
            cut(text)
        }
        Effect::Work(job) => cut(format!("works: {job:?}")),
        Effect::Members(members) => cut(format!("members: {members:?}")),
        Effect::DamageRepaired => "has repaired its journal's damage".to_owned(),
        Effect::News(news) => cut(format!("news: {news:?}")),
        Effect::Stop { why } => format!("stops: {why}"),
    }
}

fn record(record: &Record) -> String {
    match record {
        Record::Entry { entry, .. } => format!(" {}", entry.position),
        Record::Base { base, .. } => format!(" base {base}"),
        Record::HardState { hard_state, .. } => match hard_state.vote {
            Some(vote) => format!(" term {} vote {vote}", hard_state.epoch),
            None => format!(" term {}", hard_state.epoch),
        },
        Record::Membership { membership, .. } => format!(" members {:?}", membership.voters),
        Record::Forget { log } => format!(" forget {log}"),
    }
}

fn words(answer: &Result<(wire::Header, Reply), Refusal>) -> String {
    match answer {
        Ok((header, reply)) => cut(format!("at {} {reply:?}", header.revision)),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

pub(crate) fn request(request: &Request) -> String {
    match request {
        Request::Write(bytes) => match wire::Command::decode(bytes.clone()) {
            Ok(command) => match command.principal {
                Some(by) => cut(format!("{} as {} {:?}", command.id, by.user, command.body)),
                None => cut(format!("{} {:?}", command.id, command.body)),
            },
            Err(error) => error.to_string(),
        },
        other => cut(format!("{other:?}")),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
