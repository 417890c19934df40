//! Reading what an earlier life has written: replay up to the first thing that is not valid, then
//! the question what that is.
//!
//! It is a *torn tail* unless something proves that the broken batch had been synced. Proof is any
//! valid batch, later in this segment or in a later one, that was written when the broken one was
//! already durable; or the header of a later segment, for a segment is synced before the next is
//! begun. With a proof it is *damage*.
//!
//! What stands after damage is used for one thing: promises. A promise that is remembered although
//! it had not been relied upon does no harm; one forgotten elects two leaders.

use consensus::HardState;
use disk::Disk;

use crate::errors::{DiskFailure, OpenError};
use crate::files::{Directory, segment_name};
use crate::layout::{
    ALIGNMENT, Batch, HEADER_BYTES, HeaderError, Key, Link, Logged, Origin, SegmentHeader,
    read_batch, read_batch_header,
};
use crate::replay::{Read, Scan, Tail};
use crate::{Config, Damage, LogId, Reason};

/// A segment file, and its header if that is whole.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) sequence: u64,
    pub(crate) header: Option<SegmentHeader>,
}

/// Reads all headers. Changes nothing, so that a directory that is not ours stays as it is.
pub(crate) fn survey<D: Disk>(
    directory: &Directory<D>,
    segments: &[u64],
    config: &Config,
) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for sequence in segments {
        let path = directory.path_of(&segment_name(*sequence));
        let header = match read_header(directory, *sequence)? {
            Err(HeaderError::Version(version)) => {
                return Err(OpenError::UnknownVersion { path, version });
            }
            Ok(header) if header.journal_id != config.journal_id => {
                let (found, expected) = (header.journal_id, config.journal_id);
                return Err(OpenError::WrongJournal { path, found, expected });
            }
            // A recycled file bears its old header until its first batch is written.
            Ok(header) => Some(header).filter(|header| header.sequence == *sequence),
            Err(HeaderError::Invalid) => None,
        };
        found.push(Found { sequence: *sequence, header });
    }
    Ok(found)
}

pub(crate) fn read_header<D: Disk>(
    directory: &Directory<D>,
    sequence: u64,
) -> Result<Result<SegmentHeader, HeaderError>, DiskFailure> {
    let name = segment_name(sequence);
    let mut header = Err(HeaderError::Invalid);
    // Twice, for a bit may have flipped on its way from the disk.
    for _ in 0..2 {
        let file = directory.open(&name)?;
        let mut bytes = [0; HEADER_BYTES];
        match disk::File::read_exact_at(&file, &mut bytes, 0) {
            Ok(()) => header = SegmentHeader::decode(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(DiskFailure::at("read", &directory.path_of(&name))(error)),
        }
        if header != Err(HeaderError::Invalid) {
            break;
        }
    }
    Ok(header)
}

/// Replays `segments` and judges what stands at their end.
pub(crate) fn scan<D: Disk>(
    directory: &Directory<D>,
    segments: &[Found],
    config: &Config,
) -> Result<Scan, DiskFailure> {
    let mut scanner = Scanner {
        directory,
        segments,
        config,
        scan: Scan { next_batch: 1, ..Scan::default() },
        expected: None,
        group: Group::default(),
        bytes: Vec::new(),
    };
    for segment in 0..segments.len() {
        if let Some(stop) = scanner.segment(segment)? {
            return scanner.judge(&stop);
        }
    }
    assert!(segments.is_empty(), "the last segment has an end");
    Ok(scanner.scan)
}

/// Why and where replay ended.
struct Stop {
    segment: usize,
    offset: usize,
    reason: Reason,
    /// Damage, whatever may stand after it.
    certain: bool,
}

/// Batches that count only together.
#[derive(Default)]
struct Group {
    records: Vec<Logged>,
    /// Where it began, and the number of its first batch.
    begun: Option<(Tail, u64)>,
}

struct Scanner<'a, D: Disk> {
    directory: &'a Directory<D>,
    segments: &'a [Found],
    config: &'a Config,
    scan: Scan,
    /// Number that the next batch must have; unknown before the first segment's header.
    expected: Option<u64>,
    group: Group,
    /// The segment that is being read.
    bytes: Vec<u8>,
}

impl<D: Disk> Scanner<'_, D> {
    fn key(&self, segment: usize) -> Key {
        Key::new(self.config, self.segments[segment].sequence)
    }

    fn read(&self, segment: usize) -> Result<Vec<u8>, DiskFailure> {
        self.directory.read(&segment_name(self.segments[segment].sequence), 0)
    }

    /// Replays one segment. `None` if it ends where the next one says that it does.
    fn segment(&mut self, segment: usize) -> Result<Option<Stop>, DiskFailure> {
        let stop = |offset, reason, certain| Some(Stop { segment, offset, reason, certain });
        self.bytes = self.read(segment)?;
        self.scan.read.push(Read { len: self.bytes.len() as u64, ..Read::default() });
        if segment > 0 && self.segments[segment].sequence != self.segments[segment - 1].sequence + 1
        {
            return Ok(stop(0, Reason::MissingSegment, true));
        }
        let Some(header) = self.segments[segment].header else {
            return Ok(stop(0, Reason::Header, false));
        };
        if *self.expected.get_or_insert(header.first_batch) != header.first_batch {
            return Ok(stop(0, Reason::OutOfSequence, false));
        }
        self.batches(segment)
    }

    fn batches(&mut self, segment: usize) -> Result<Option<Stop>, DiskFailure> {
        let ends_at = self.end_by_next_header(segment);
        let mut offset = HEADER_BYTES;
        let mut read_again = false;
        loop {
            self.scan.read[segment].end = offset as u64;
            if ends_at == Some(offset) {
                return Ok(None);
            }
            let beyond = ends_at.is_some_and(|end| offset > end);
            let before = self.group.records.len();
            match self.batch(segment, offset) {
                _ if beyond => {
                    let reason = Reason::OutOfSequence;
                    return Ok(Some(Stop { segment, offset, reason, certain: true }));
                }
                Ok(next) => offset = next,
                // Checksums were right: what was written makes no sense.
                Err(reason @ (Reason::Gap | Reason::Disagreement)) => {
                    return Ok(Some(Stop { segment, offset, reason, certain: true }));
                }
                Err(reason) if read_again || !self.is_other_when_read_again(segment)? => {
                    return Ok(Some(Stop { segment, offset, reason, certain: false }));
                }
                Err(_) => {
                    self.group.records.truncate(before);
                    read_again = true;
                }
            }
        }
    }

    /// Where the next segment, if it has a header, says that this one ends.
    fn end_by_next_header(&self, segment: usize) -> Option<usize> {
        let next = self.segments.get(segment + 1)?;
        if next.sequence != self.segments[segment].sequence + 1 {
            return None;
        }
        usize::try_from(next.header?.previous_end).ok()
    }

    /// A bit may have flipped on its way from the disk: cutting a tail for that would lose data.
    fn is_other_when_read_again(&mut self, segment: usize) -> Result<bool, DiskFailure> {
        let again = self.read(segment)?;
        let differs = again != self.bytes;
        self.bytes = again;
        Ok(differs)
    }

    /// Takes in the batch at `offset`; tells where the next one begins.
    fn batch(&mut self, segment: usize, offset: usize) -> Result<usize, Reason> {
        let key = self.key(segment);
        let before = self.group.records.len();
        let batch = read_batch(&self.bytes, offset, key, &mut self.group.records)?;
        if self.expected != Some(batch.number) && !self.config.believes_any_number() {
            self.group.records.truncate(before);
            return Err(Reason::OutOfSequence);
        }
        for logged in &self.group.records[before..] {
            self.scan.read[segment].reach.note(logged);
        }
        let tail = Tail { segment, offset: offset as u64 };
        self.group.begun.get_or_insert((tail, batch.number));
        self.expected = Some(batch.number + 1);
        if batch.link == Link::Ends {
            for logged in std::mem::take(&mut self.group.records) {
                self.scan.apply(logged)?;
            }
            self.group.begun = None;
        }
        let bytes = usize::try_from(batch.total_bytes()).expect("the batch was in memory");
        Ok(offset + bytes)
    }

    fn judge(mut self, stop: &Stop) -> Result<Scan, DiskFailure> {
        let broken = self.expected.unwrap_or(1);
        self.scan.highest_batch = broken - 1;
        let (tail, next_batch) = match self.group.begun {
            Some(begun) => begun,
            None => (Tail { segment: stop.segment, offset: stop.offset as u64 }, broken),
        };
        self.scan.next_batch = next_batch;
        self.scan.tail = self.step_back(tail);
        let mut promises = promises(&self.group.records);
        let ahead = self.look_ahead(stop, broken, &mut promises)?;
        #[cfg(feature = "planted")]
        if self.config.planted == Some(crate::Planted::DamagedMiddleAsTornTail) {
            return Ok(self.scan);
        }
        if stop.certain || ahead.proven {
            let (segment, offset, reason) = self.place(stop, &ahead);
            self.scan.damage = Some(Damage { segment, offset: offset as u64, reason });
            self.scan.promise(promises);
        } else if self.scan.misses_entries() {
            let segment = self.segments[0].sequence;
            let reason = Reason::MissingEntries;
            self.scan.damage = Some(Damage { segment, offset: 0, reason });
        }
        Ok(self.scan)
    }

    /// Where the damage is. If a segment merely ended, it is the next one that is gone, or its
    /// header.
    fn place(&self, stop: &Stop, ahead: &Ahead) -> (u64, usize, Reason) {
        let sequence = self.segments[stop.segment].sequence;
        let proven_later = ahead.proven_by.is_some_and(|segment| segment > stop.segment);
        match self.segments.get(stop.segment + 1) {
            Some(next) if stop.reason == Reason::NoBatch && next.sequence != sequence + 1 => {
                (sequence + 1, 0, Reason::MissingSegment)
            }
            Some(next)
                if stop.reason == Reason::NoBatch && next.header.is_none() && proven_later =>
            {
                (next.sequence, 0, Reason::Header)
            }
            _ => (sequence, stop.offset, stop.reason),
        }
    }

    /// A segment without a whole restatement at its head is void: the one before it is the tail.
    fn step_back(&self, tail: Tail) -> Option<Tail> {
        if tail.offset > HEADER_BYTES as u64 {
            return Some(tail);
        }
        let segment = tail.segment.checked_sub(1)?;
        Some(Tail { segment, offset: self.scan.read[segment].end })
    }

    fn look_ahead(
        &mut self,
        stop: &Stop,
        broken: u64,
        promised: &mut Vec<(LogId, HardState)>,
    ) -> Result<Ahead, DiskFailure> {
        let mut ahead = Ahead::default();
        for segment in stop.segment..self.segments.len() {
            if segment > stop.segment {
                self.bytes = self.read(segment)?;
                if self.is_proof(stop, segment) {
                    ahead.proven = true;
                }
            }
            let from = if segment == stop.segment { stop.offset } else { 0 };
            self.look_through(segment, from, broken, &mut ahead, promised);
        }
        Ok(ahead)
    }

    /// Whether this later segment's header says that what is broken had been synced.
    fn is_proof(&self, stop: &Stop, later: usize) -> bool {
        let follows = self.segments[later].sequence == self.segments[stop.segment].sequence + 1;
        self.segments[later]
            .header
            .is_some_and(|header| !follows || header.previous_end > stop.offset as u64)
    }

    fn look_through(
        &mut self,
        segment: usize,
        from: usize,
        broken: u64,
        ahead: &mut Ahead,
        promised: &mut Vec<(LogId, HardState)>,
    ) {
        let key = self.key(segment);
        let from = from.next_multiple_of(ALIGNMENT);
        let mut offset = from;
        let mut torn_end = from;
        while offset < self.bytes.len() {
            let mut next = offset + ALIGNMENT;
            if let Ok(batch) = read_batch_header(&self.bytes, offset, key) {
                let mut records = Vec::new();
                if read_batch(&self.bytes, offset, key, &mut records).is_ok() {
                    next = end_of(&batch, offset, self.bytes.len());
                }
                torn_end = torn_end.max(end_of(&batch, offset, self.bytes.len()));
                promised.extend(promises(&records));
                self.scan.highest_batch = self.scan.highest_batch.max(batch.number);
                if batch.durable_through >= broken {
                    ahead.proven = true;
                    ahead.proven_by.get_or_insert(segment);
                }
            }
            offset = next;
        }
        let zeroed = |header: SegmentHeader| header.origin == Origin::Zeroed;
        if self.segments[segment].header.is_some_and(zeroed) {
            let nonzero = self.bytes[from..].iter().rposition(|byte| *byte != 0);
            torn_end = torn_end.max(nonzero.map_or(from, |at| from + at + 1));
        }
        self.scan.torn_bytes += (torn_end - from) as u64;
    }
}

/// What stands after the place where replay ended.
#[derive(Default)]
struct Ahead {
    proven: bool,
    /// The first segment that has a batch that is a proof.
    proven_by: Option<usize>,
}

fn end_of(batch: &Batch, offset: usize, limit: usize) -> usize {
    let bytes = usize::try_from(batch.total_bytes()).unwrap_or(limit);
    offset.saturating_add(bytes).min(limit)
}

fn promises(records: &[Logged]) -> Vec<(LogId, HardState)> {
    let promise = |logged: &Logged| match logged {
        Logged::HardState { log, hard_state } | Logged::Restated { log, hard_state, .. } => {
            Some((*log, *hard_state))
        }
        Logged::Base { .. }
        | Logged::Entry { .. }
        | Logged::Membership { .. }
        | Logged::Forgotten { .. } => None,
    };
    records.iter().filter_map(promise).collect()
}
