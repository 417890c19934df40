//! Looking at a journal without opening it: every batch and record, valid or not, as it stands.
//!
//! Changes nothing, and needs no configuration: the journal's name is in its segments.

use disk::Disk;

use crate::errors::InspectError;
use crate::files::{Directory, segment_name};
use crate::layout::{
    ALIGNMENT, BATCH_HEADER_BYTES, HEADER_BYTES, Key, Link, Logged, SegmentHeader, read_batch,
};
use crate::{Config, LogId, Reason};

/// One thing that stands in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file's name in the journal's directory.
    pub file: String,
    /// Its sequence number.
    pub segment: u64,
    /// Where in the file it stands.
    pub offset: u64,
    /// Number of the batch that it belongs to, where that is known.
    pub batch: Option<u64>,
    /// What it is.
    pub seen: Seen,
}

/// What stands at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A segment's header.
    Segment {
        /// Which journal it belongs to.
        journal_id: u64,
        /// It replaces all segments before it.
        fresh_start: bool,
        /// Where the segment before it ends.
        previous_end: u64,
    },
    /// A valid batch; its records follow.
    Batch {
        /// It counts only with the batch after it.
        continues: bool,
        /// All batches up to this one were durable when it was written.
        durable_through: u64,
        /// How many records it has.
        records: u32,
    },
    /// A record of a valid batch, in words.
    Record {
        /// Whose.
        log: LogId,
        /// What it says.
        text: String,
        /// Its length in the journal.
        bytes: u64,
    },
    /// Nothing valid stands from here on.
    Invalid {
        /// Why not.
        reason: Reason,
        /// How many bytes until something valid, or the last byte that is not zero.
        bytes: u64,
    },
}

/// Hands out every line of the journal in `dir`, in the order of the files' names. Segments that
/// were set aside after damage are included.
pub fn inspect<D: Disk>(
    disk: D,
    dir: &str,
    visit: &mut dyn FnMut(Line),
) -> Result<(), InspectError> {
    let directory = Directory::new(disk, dir);
    let listing = directory.list()?;
    let mut names: Vec<(u64, String)> =
        listing.segments.iter().map(|sequence| (*sequence, segment_name(*sequence))).collect();
    for name in listing.damaged {
        if let Some(sequence) = name.split('.').next().and_then(|number| number.parse().ok()) {
            names.push((sequence, name));
        }
    }
    names.sort();
    let mut journal_id = None;
    for (_, name) in &names {
        let header = header_of(&directory.read(name, 0)?);
        journal_id = journal_id.or(header.map(|header| header.journal_id));
    }
    let config = Config::new(journal_id.unwrap_or_default());
    for (sequence, file) in names {
        let bytes = directory.read(&file, 0)?;
        let key = Key::new(&config, sequence);
        Inspection { file, sequence, bytes, key, visit }.walk();
    }
    Ok(())
}

fn header_of(bytes: &[u8]) -> Option<SegmentHeader> {
    SegmentHeader::decode(bytes.first_chunk::<HEADER_BYTES>()?).ok()
}

struct Inspection<'a> {
    file: String,
    sequence: u64,
    bytes: Vec<u8>,
    key: Key,
    visit: &'a mut dyn FnMut(Line),
}

impl Inspection<'_> {
    fn walk(mut self) {
        let header = header_of(&self.bytes).filter(|header| header.sequence == self.sequence);
        let mut offset = 0;
        if let Some(header) = header {
            let SegmentHeader { journal_id, fresh_start, previous_end, .. } = header;
            self.show(0, None, Seen::Segment { journal_id, fresh_start, previous_end });
            offset = HEADER_BYTES;
        }
        while offset < self.bytes.len() {
            let mut records = Vec::new();
            match read_batch(&self.bytes, offset, self.key, &mut records) {
                Ok(batch) => {
                    let continues = batch.link == Link::Continues;
                    let (number, durable_through) = (batch.number, batch.durable_through);
                    let count = batch.records;
                    let seen = Seen::Batch { continues, durable_through, records: count };
                    self.show(offset, Some(number), seen);
                    self.show_records(offset + BATCH_HEADER_BYTES, number, &records);
                    let bytes = usize::try_from(batch.total_bytes());
                    offset += bytes.expect("the batch was in memory");
                }
                Err(reason) => offset = self.show_invalid(offset, reason),
            }
        }
    }

    fn show_records(&mut self, mut offset: usize, batch: u64, records: &[Logged]) {
        for logged in records {
            let bytes = logged.encoded_bytes();
            let (log, text) = (logged.log(), describe(logged));
            let seen = Seen::Record { log, text, bytes: bytes as u64 };
            self.show(offset, Some(batch), seen);
            offset += bytes;
        }
    }

    /// Looks for the next valid batch; zeros up to the file's end are no news.
    fn show_invalid(&mut self, offset: usize, reason: Reason) -> usize {
        let valid = |at: &usize| read_batch(&self.bytes, *at, self.key, &mut Vec::new()).is_ok();
        let aligned = (offset + 1).next_multiple_of(ALIGNMENT);
        let next = (aligned..self.bytes.len()).step_by(ALIGNMENT).find(valid);
        let until = next.unwrap_or(self.bytes.len());
        let nonzero = self.bytes[offset..until].iter().rposition(|byte| *byte != 0);
        let bytes = if next.is_some() { until - offset } else { nonzero.map_or(0, |at| at + 1) };
        if bytes > 0 {
            self.show(offset, None, Seen::Invalid { reason, bytes: bytes as u64 });
        }
        until
    }

    fn show(&mut self, offset: usize, batch: Option<u64>, seen: Seen) {
        let (file, segment) = (self.file.clone(), self.sequence);
        (self.visit)(Line { file, segment, offset: offset as u64, batch, seen });
    }
}

fn describe(logged: &Logged) -> String {
    match logged {
        Logged::HardState { hard_state, .. } => match hard_state.vote {
            Some(vote) => format!("hard state: epoch {}, voted for {vote}", hard_state.epoch),
            None => format!("hard state: epoch {}", hard_state.epoch),
        },
        Logged::Base { base, effect: crate::layout::Base::Keeps, .. } => format!("base {base}"),
        Logged::Base { base, effect: crate::layout::Base::Voids, .. } => {
            format!("base {base}, all entries void")
        }
        Logged::Entry { entry, .. } => match &entry.payload {
            consensus::Payload::Noop => format!("entry {}: no-op", entry.position),
            consensus::Payload::Command(bytes) => {
                format!("entry {}: {} bytes", entry.position, bytes.len())
            }
            consensus::Payload::Membership(membership) => {
                format!("entry {}: {}", entry.position, members(membership))
            }
        },
        Logged::Restated { hard_state, base, last, .. } => {
            format!("restated: epoch {}, base {base}, last {last}", hard_state.epoch)
        }
        Logged::Membership { membership, .. } => format!("at the base: {}", members(membership)),
        Logged::Forgotten { .. } => "forgotten".to_owned(),
    }
}

fn members(membership: &consensus::Membership) -> String {
    let list = |set: &std::collections::BTreeSet<consensus::ReplicaId>| {
        set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let consensus::Membership { voters, outgoing, learners, witnesses, .. } = membership;
    let mut text = format!("voters {}", list(voters));
    if !outgoing.is_empty() {
        text += ", before them ";
        text += &list(outgoing);
    }
    if !learners.is_empty() {
        text += ", learners ";
        text += &list(learners);
    }
    if !witnesses.is_empty() {
        text += ", witnesses ";
        text += &list(witnesses);
    }
    text
}
