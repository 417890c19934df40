//! Reads the manifest and all of every run that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use disk::{Disk, File, Open};

use super::block::{Block, BlockCursor};
use super::filter::{self, Filter};
use super::index::{Index, Place};
use super::manifest::{self, Unreadable};
use super::open::manifest_bytes;
use super::run::{FOOTER_BYTES, Run, file_name, run_of};
use super::shape::{Part, RunInfo, Shape};
use crate::paths::parent;
use crate::store::Table;
use crate::verify::{Check, Flaw, Verified};
use crate::{ReadError, codec};

/// Reads the store whose manifest is the file `path`, and changes nothing.
pub(crate) fn verify(disk: &impl Disk, path: &str, verified: &mut Verified) {
    let (dir, name) = parent(path);
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) => return verified.unreadable(dir, &error),
    };
    let found: BTreeSet<u64> = names.iter().filter_map(|file| run_of(path, file)).collect();
    if names.iter().any(|found| found == name) {
        if let Some(shape) = verify_manifest(disk, path, verified) {
            verify_runs(disk, path, &shape, verified);
            for number in found.difference(&shape.runs()) {
                let what = "a run that the manifest does not speak of".to_owned();
                verified.find(file_name(path, *number), 0, Flaw::Leftover { what });
            }
        }
    } else if !found.is_empty() {
        let what = "its runs are there, but it is not".to_owned();
        verified.find(path, 0, Flaw::Damaged { what });
    }
}

fn verify_manifest(
    disk: &impl Disk,
    path: &str,
    verified: &mut Verified,
) -> Option<Shape<RunInfo>> {
    let bytes = match manifest_bytes(disk, path) {
        Ok(bytes) => bytes,
        Err(error) => {
            verified.refused(path, error);
            return None;
        }
    };
    match manifest::read_to_end(&bytes) {
        Ok((shape, end)) => {
            if bytes[end..].iter().any(|byte| *byte != 0) {
                let what = "an edit that was never finished".to_owned();
                verified.find(path, end as u64, Flaw::Leftover { what });
            }
            Some(shape)
        }
        Err(Unreadable::Foreign) => {
            verified.find(path, 0, Flaw::UnknownFormat);
            None
        }
        Err(Unreadable::Damaged { what, at }) => {
            verified.find(path, at as u64, Flaw::Damaged { what });
            None
        }
    }
}

/// Every run once, whatever number of parts it has.
fn verify_runs(disk: &impl Disk, path: &str, shape: &Shape<RunInfo>, verified: &mut Verified) {
    let mut runs: BTreeMap<u64, Vec<&Part<RunInfo>>> = BTreeMap::new();
    for part in shape.layers().flat_map(|(_, parts)| parts) {
        runs.entry(part.run.number).or_default().push(part);
    }
    let mut check = Check::default();
    for (number, parts) in runs {
        verified.files += 1;
        let (file, info) = (file_name(path, number), parts[0].run);
        match Run::open(disk, path, info) {
            Ok(run) => {
                let reading = Reading { run: &run, parts: &parts, file: &file };
                reading.verify(info, &mut check, verified);
            }
            Err(error) => {
                let footer = info.bytes.saturating_sub(FOOTER_BYTES as u64);
                let len = disk.open(&file, Open::Existing).and_then(|file| file.len());
                verified.damaged(&file, len.unwrap_or(0).min(footer), &error);
            }
        }
    }
    if let Err(error) = check.newest_agree() {
        verified.damaged(path, 0, &error);
    }
    verified.applied = check.applied;
}

/// A run that is being read.
struct Reading<'a, F> {
    run: &'a Run<F>,
    /// Those of its keys that count.
    parts: &'a [&'a Part<RunInfo>],
    file: &'a str,
}

impl<F: File> Reading<'_, F> {
    fn verify(&self, info: RunInfo, check: &mut Check, verified: &mut Verified) {
        let footer = self.run.footer();
        let filter = self
            .run
            .read(footer.filter)
            .and_then(|bytes| Filter::parse(bytes).ok_or_else(|| codec::damaged("a run's filter")));
        let filter =
            filter.map_err(|error| verified.damaged(self.file, footer.filter.offset, &error)).ok();
        let index = self.run.read(footer.index).and_then(|bytes| Index::parse(&bytes));
        let index = match index {
            Ok(index) => index,
            Err(error) => return verified.damaged(self.file, footer.index.offset, &error),
        };
        let blocks_end = index.place(index.len() - 1).map_or(0, Place::end);
        let footer_at = footer.index.end();
        if blocks_end != footer.filter.offset
            || footer.filter.end() != footer.index.offset
            || footer_at + FOOTER_BYTES as u64 != info.bytes
        {
            let error = codec::damaged("its parts do not follow one another");
            return verified.damaged(self.file, footer_at, &error);
        }
        let mut last = Vec::new();
        for number in 0..index.len() {
            let Some(place) = index.place(number) else { break };
            // Blocks that were cut from the store altogether are read by nobody.
            if self.counts(&index, number)
                && let Err(error) =
                    self.block(&index, number, place, filter.as_ref(), &mut last, check)
            {
                verified.damaged(self.file, place.offset, &error);
            }
        }
        if let [Part { whole: true, to, .. }] = self.parts
            && last[..] != to[..to.len() - 1]
            && verified.findings.iter().all(|finding| finding.file != self.file)
        {
            let error = codec::damaged("its last key is not the one that the manifest says");
            verified.damaged(self.file, 0, &error);
        }
    }

    /// Whether a block may have a key that counts.
    fn counts(&self, index: &Index, number: usize) -> bool {
        let from = index.parting(number);
        let to = (number + 1 < index.len()).then(|| index.parting(number + 1));
        let meets =
            |part: &&Part<RunInfo>| part.to[..] > *from && to.is_none_or(|to| part.from[..] < *to);
        self.parts.iter().any(meets)
    }

    fn block(
        &self,
        index: &Index,
        number: usize,
        place: Place,
        filter: Option<&Filter>,
        last: &mut Vec<u8>,
        check: &mut Check,
    ) -> Result<(), ReadError> {
        let block = Arc::new(Block::parse(self.run.read(place)?)?);
        if !block.restarts_hold()? {
            return Err(codec::damaged("a block's list of restarts"));
        }
        let mut entries = BlockCursor::new(block);
        let from = index.parting(number);
        let to = (number + 1 < index.len()).then(|| index.parting(number + 1));
        while entries.step()? {
            let key = entries.key();
            if key <= &last[..] && !last.is_empty() {
                return Err(codec::damaged("keys are out of order"));
            }
            if key < from || to.is_some_and(|to| key >= to) {
                return Err(codec::damaged("a key stands in another block than the index says"));
            }
            last.clear();
            last.extend_from_slice(key);
            let table = key.first().and_then(|tag| Table::from_tag(*tag));
            let table = table.ok_or_else(|| codec::damaged("a key of no table"))?;
            if table == Table::Rows {
                let (prefix, _) = codec::split_row_key(key)?;
                if filter.is_some_and(|filter| !filter.may_hold(filter::hash(prefix))) {
                    return Err(codec::damaged("the run's filter does not know a row"));
                }
            }
            let counts = self.parts.iter().any(|part| part.from <= key && key < &part.to[..]);
            if let Some(value) = entries.value().filter(|_| counts) {
                check.entry(table, &key[1..], value)?;
            }
        }
        Ok(())
    }
}
