//! Opening: from whatever the last life has left to a journal that can be written to.
//!
//! # What is durable before what
//!
//! A torn tail: first the void segments after it go, the last one first, then the tail's bytes
//! become zero. A crash in between leaves a torn tail again, never a hole.
//!
//! Damage: first the marker, so that no crash can make us forget that there was damage. Then what
//! was recovered is written anew, into a segment that replaces all before it and counts only as a
//! whole. Then the old files are set aside. A crash before the new segment is whole finds the
//! damage again; a crash after it finds old files to set aside. Nothing is removed that had been
//! acknowledged: the operator has the files as they were.

use std::collections::{BTreeMap, VecDeque};

use consensus::Entry;
use disk::{Disk, File};

use crate::damage::{marker_text, parse_marker};
use crate::errors::{DiskFailure, OpenError};
use crate::files::{Directory, Listing, Pool, segment_name};
use crate::journal::{Active, Journal, Older, Parts};
use crate::layout::{MAX_NUMBER, Origin, restated_bytes};
use crate::logs::Logs;
use crate::replay::{Scan, Tail};
use crate::scan::{Found, scan, survey};
use crate::{Config, Damage, LogId, Reason, Record, Recovered, RecoveredLog, Stats};

pub(crate) fn open<D: Disk>(
    directory: Directory<D>,
    config: Config,
) -> Result<(Journal<D>, Recovered), OpenError> {
    if let Some(reason) = config.flaw() {
        return Err(OpenError::BadConfig { reason });
    }
    directory.create()?;
    let listing = directory.list()?;
    let found = survey(&directory, &listing.segments, &config)?;
    // A killed process may have left name changes behind that are not durable.
    directory.sync()?;
    for name in &listing.temporary {
        directory.remove(name)?;
    }
    let marked = if listing.marked { directory.read_marker()? } else { Vec::new() };
    let Choice { found, mut scan, older, unfinished } = choose(&directory, found, &config)?;
    set_aside(&directory, &older)?;
    remove_all(&directory, &unfinished)?;
    if restated_bytes(scan.logs.restated_bytes()) > config.max_restated_bytes() {
        return Err(OpenError::BadConfig { reason: "segment_bytes is too small for the logs" });
    }
    let opening = Opening { directory, config, listing, found, marked };
    match (scan.damage.take(), scan.tail) {
        (Some(damage), _) => opening.start_afresh(scan, damage),
        (None, Some(tail)) => opening.go_on(scan, tail),
        (None, None) => opening.start_anew(&scan),
    }
}

struct Opening<D> {
    directory: Directory<D>,
    config: Config,
    listing: Listing,
    found: Vec<Found>,
    /// The marker's text; empty if there is none.
    marked: Vec<u8>,
}

/// Which segments count, and what they add up to.
pub(crate) struct Choice {
    pub(crate) found: Vec<Found>,
    pub(crate) scan: Scan,
    /// A whole fresh start has replaced these.
    older: Vec<Found>,
    /// A fresh start that a crash interrupted. What it was made from is still there.
    unfinished: Vec<Found>,
}

/// Finds where replay must begin, at the last whole fresh start or at the oldest segment, and
/// replays. Changes nothing.
pub(crate) fn choose<D: Disk>(
    directory: &Directory<D>,
    mut found: Vec<Found>,
    config: &Config,
) -> Result<Choice, DiskFailure> {
    let is_fresh = |found: &Found| found.header.is_some_and(|header| header.fresh_start);
    let mut unfinished = Vec::new();
    match found.iter().rposition(is_fresh) {
        None | Some(0) => {}
        Some(fresh) => {
            let after = found.split_off(fresh);
            let scan = scan(directory, &after, config)?;
            if scan.tail.is_some() {
                return Ok(Choice { found: after, scan, older: found, unfinished });
            }
            unfinished = after;
        }
    }
    let mut scan = scan(directory, &found, config)?;
    if scan.tail.is_none() && scan.damage.is_none() {
        scan.damage = lost_beginning(&found);
    }
    Ok(Choice { found, scan, older: Vec::new(), unfinished })
}

/// A journal begins with segment 1, and removes it only when later ones are durable.
fn lost_beginning(found: &[Found]) -> Option<Damage> {
    let first = found.first().filter(|first| first.sequence > 1)?;
    Some(Damage { segment: first.sequence, offset: 0, reason: Reason::Header })
}

impl<D: Disk> Opening<D> {
    /// Nothing stands there: a new journal, or one whose making was interrupted.
    fn start_anew(self, scan: &Scan) -> Result<(Journal<D>, Recovered), OpenError> {
        remove_all(&self.directory, &self.found)?;
        let mut stats = Stats::default();
        let Config { spare_segments, segment_bytes, .. } = self.config;
        let spares = &self.listing.spares;
        let mut pool = Pool::begin(&self.directory, spares, spare_segments, segment_bytes)?;
        pool.reserve(&self.directory, 1, &mut stats)?;
        let active = Active::take(&self.directory, &mut pool, 1)?;
        let recovered = self.recovered(&Scan::default(), None);
        let (older, logs) = (VecDeque::new(), Logs::default());
        let next_batch = scan.next_batch.max(1);
        let Self { directory, config, .. } = self;
        let parts = Parts { directory, config, logs, older, active, pool, next_batch, stats };
        let mut journal = Journal::from_parts(parts);
        journal.begin()?;
        Ok((journal, recovered))
    }

    /// Cuts what is torn, and goes on behind what is whole.
    fn go_on(self, mut scan: Scan, tail: Tail) -> Result<(Journal<D>, Recovered), OpenError> {
        remove_all(&self.directory, &self.found[tail.segment + 1..])?;
        let sequence = self.found[tail.segment].sequence;
        let (file, capacity) = self.cut(sequence, tail.offset)?;
        let recovered = self.recovered(&scan, None);
        let stats = Stats { torn_tail_bytes: scan.torn_bytes, ..Stats::default() };
        let mut older = VecDeque::new();
        for (found, read) in self.found.iter().zip(&mut scan.read).take(tail.segment) {
            let reach = std::mem::take(&mut read.reach);
            older.push_back(Older { sequence: found.sequence, reach, len: read.len });
        }
        let reach = std::mem::take(&mut scan.read[tail.segment].reach);
        let (offset, origin) = (tail.offset, Origin::Recycled);
        let active = Active { sequence, file, origin, offset, capacity, reach };
        let pool = self.pool()?;
        let (logs, next_batch) = (scan.logs, scan.next_batch);
        let Self { directory, config, .. } = self;
        let parts = Parts { directory, config, logs, older, active, pool, next_batch, stats };
        Ok((Journal::from_parts(parts), recovered))
    }

    /// Marks the damage, writes anew what was recovered, and sets the old files aside.
    fn start_afresh(
        self,
        mut scan: Scan,
        damage: Damage,
    ) -> Result<(Journal<D>, Recovered), OpenError> {
        self.directory.write_marker(&marker_text(&damage, &self.marked))?;
        settle(&mut scan);
        let recovered = self.recovered(&scan, Some(damage));
        let mut stats = Stats::default();
        let mut pool = self.pool()?;
        pool.reserve(&self.directory, 1, &mut stats)?;
        let sequence = self.found.last().map_or(0, |last| last.sequence) + 1;
        let active = Active::take(&self.directory, &mut pool, sequence)?;
        let mut logs = Logs::default();
        for (log, state) in scan.logs.iter() {
            logs.put_empty(log, state.hard_state, (state.base, state.membership.clone()));
        }
        // A number so high was never ours; to count on from it would lead to numbers that no later
        // opening believes, and what is written anew would be lost.
        let next_batch = scan.highest_batch.min(MAX_NUMBER / 2) + 1;
        let older = VecDeque::new();
        let Self { directory, config, found, .. } = self;
        let names = directory.clone();
        let parts = Parts { directory, config, logs, older, active, pool, next_batch, stats };
        let mut journal = Journal::from_parts(parts);
        journal.begin_afresh(&records(scan.entries))?;
        set_aside(&names, &found)?;
        Ok((journal, recovered))
    }

    fn pool(&self) -> Result<Pool, DiskFailure> {
        let Config { spare_segments, segment_bytes, .. } = self.config;
        Pool::adopt(&self.directory, &self.listing.spares, spare_segments, segment_bytes)
    }

    /// Puts zeros over what stands after the tail, and makes sure that what stands before it is
    /// durable: a killed process may have left it unsynced. It is written once more, for a sync that
    /// failed may have left pages that look clean and never reached the disk (Rebello et al., ATC
    /// 2020), and no later sync would write those.
    fn cut(&self, sequence: u64, offset: u64) -> Result<(D::File, u64), DiskFailure> {
        let name = segment_name(sequence);
        let path = self.directory.path_of(&name);
        let file = self.directory.open(&name)?;
        let bytes = self.directory.read_twice(&name)?;
        let kept = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let (kept, beyond) = bytes.split_at(kept);
        file.write_all_at(kept, 0).map_err(DiskFailure::at("write", &path))?;
        if let Some(last) = beyond.iter().rposition(|byte| *byte != 0) {
            Directory::<D>::zero(&file, &path, offset, offset + last as u64 + 1)?;
        }
        file.sync_data().map_err(DiskFailure::at("sync", &path))?;
        Ok((file, bytes.len() as u64))
    }

    fn recovered(&self, scan: &Scan, found: Option<Damage>) -> Recovered {
        let earlier = self.listing.marked.then(|| parse_marker(&self.marked));
        let mut logs = BTreeMap::new();
        for (log, state) in scan.logs.iter() {
            let held = scan.entries.get(&log).into_iter().flatten();
            let entries: Vec<Entry> = held.cloned().collect();
            let first = entries.first().map(|entry| entry.position.index);
            assert!(
                first.is_none_or(|first| first == state.base.index.next()),
                "the entries of {log} begin at {first:?}, not after {}",
                state.base
            );
            let (hard_state, base) = (state.hard_state, state.base);
            let membership = state.membership.clone();
            logs.insert(log, RecoveredLog { hard_state, base, membership, entries });
        }
        Recovered {
            logs,
            damage: found.or(earlier),
            torn_tail_bytes: scan.torn_bytes,
            last_batch: scan.next_batch.saturating_sub(1),
        }
    }
}

/// After damage, the base that had released a log's first entries may be lost. The log then begins
/// after them, or, if it is not known under which epoch that was, it is empty.
fn settle(scan: &mut Scan) {
    let mut settled = Logs::default();
    for (log, state) in scan.logs.iter() {
        let base = if state.start() == state.base.index {
            state.base
        } else if let Some(start) = state.start_position() {
            start
        } else {
            scan.entries.remove(&log);
            state.base
        };
        settled.put_empty(log, state.hard_state, (base, state.membership.clone()));
    }
    scan.logs = settled;
}

fn records(entries: BTreeMap<LogId, VecDeque<Entry>>) -> Vec<Record> {
    let of_log = |(log, entries): (LogId, VecDeque<Entry>)| {
        entries.into_iter().map(move |entry| Record::Entry { log, entry })
    };
    entries.into_iter().flat_map(of_log).collect()
}

/// Removes segments that hold nothing that counts, the last one first.
fn remove_all<D: Disk>(directory: &Directory<D>, void: &[Found]) -> Result<(), DiskFailure> {
    void.iter().rev().try_for_each(|found| directory.remove(&segment_name(found.sequence)))
}

/// Keeps segments that nothing reads any more, for the operator.
fn set_aside<D: Disk>(directory: &Directory<D>, old: &[Found]) -> Result<(), DiskFailure> {
    old.iter().try_for_each(|found| {
        let name = segment_name(found.sequence);
        directory.rename(&name, &format!("{name}.damaged"))
    })
}
