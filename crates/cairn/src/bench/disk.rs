//! The disk's own speed: append a record, `fdatasync`, again.
//!
//! The files are written full of zeros before, as the journal's are: then a sync has data to write
//! and no metadata, and that is the least that a durable write can cost here. Three logs at once are
//! what a cluster of three on one machine asks of its disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::drivers::clock;

use super::ledger::{Kind, Ledger, Series, Verdict, Window};

/// Length of a log. Appends begin again at its start.
const LOG_BYTES: u64 = 64 << 20;

/// Zeros are written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// How long each case is measured in one round.
const ROUND: Duration = Duration::from_millis(250);

/// Rounds: the cases alternate, so that what else happens on the machine falls on both.
const ROUNDS: u32 = 6;

/// How many logs share the disk where the nodes of a cluster do.
const SHARED_BY: usize = 3;

/// What the disk does.
#[derive(Debug)]
pub(super) struct DiskFigures {
    /// Length of a record.
    pub(super) record_bytes: usize,
    /// One log.
    pub(super) alone: DiskFigure,
    /// Three at once.
    pub(super) shared: DiskFigure,
}

/// One case.
#[derive(Debug)]
pub(super) struct DiskFigure {
    /// How many logs there were.
    pub(super) logs: usize,
    /// Syncs of all of them.
    pub(super) syncs: Series,
    /// How long they were measured.
    pub(super) length: Duration,
}

/// Measures the disk below `dir`, in a directory of its own that is gone afterwards.
pub(super) fn measure(dir: &Path, record_bytes: usize) -> io::Result<DiskFigures> {
    let scratch = Scratch::new(dir)?;
    let files: Vec<File> =
        (0..SHARED_BY).map(|log| scratch.file(log)).collect::<io::Result<_>>()?;
    let record_bytes = record_bytes.clamp(1, PIECE_BYTES);
    let mut figures = DiskFigures {
        record_bytes,
        alone: append(&files[..1], record_bytes, ROUND)?,
        shared: append(&files, record_bytes, ROUND)?,
    };
    for _ in 1..ROUNDS {
        figures.alone.join(append(&files[..1], record_bytes, ROUND)?);
        figures.shared.join(append(&files, record_bytes, ROUND)?);
    }
    Ok(figures)
}

impl DiskFigure {
    /// Another round of the same case.
    fn join(&mut self, other: Self) {
        assert_eq!(self.logs, other.logs, "rounds of different cases are not joined");
        self.syncs.join(other.syncs);
        self.length += other.length;
    }
}

/// A thread for each log, for a sync holds up its thread.
fn append(files: &[File], record_bytes: usize, length: Duration) -> io::Result<DiskFigure> {
    let begin = clock::instant();
    let ledger = Ledger::new(Window { begin, end: begin + length });
    std::thread::scope(|scope| {
        let logs: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(|| append_one(file, record_bytes, &ledger)))
            .collect();
        let ends = logs.into_iter().map(|log| log.join().expect("its own panic was printed"));
        ends.collect::<io::Result<()>>()
    })?;
    let syncs = ledger.total().series.remove(&Kind::Put);
    let none = || io::Error::other("not one sync ended in time");
    Ok(DiskFigure { logs: files.len(), syncs: syncs.ok_or_else(none)?, length })
}

fn append_one(file: &File, record_bytes: usize, ledger: &Ledger) -> io::Result<()> {
    let record = vec![0xA5; record_bytes];
    let mut offset = 0;
    loop {
        let start = clock::instant();
        if start >= ledger.window.end {
            return Ok(());
        }
        file.write_all_at(&record, offset)?;
        file.sync_data()?;
        ledger.answered(Kind::Put, start, start.elapsed(), Verdict::Well);
        offset += record_bytes as u64;
        if offset + record_bytes as u64 > LOG_BYTES {
            offset = 0;
        }
    }
}

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("cairn-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A log, full of zeros that are on the disk.
    fn file(&self, log: usize) -> io::Result<File> {
        let path = self.0.join(format!("log-{log}"));
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let zeros = vec![0; PIECE_BYTES];
        for piece in 0..LOG_BYTES / PIECE_BYTES as u64 {
            file.write_all_at(&zeros, piece * PIECE_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is named by its directory, and does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_dir::TestDir;

    #[test]
    fn syncs_of_all_logs_are_counted_and_nothing_stays() {
        let dir = TestDir::new();
        let scratch = Scratch::new(dir.path()).unwrap();
        let files: Vec<File> = (0..2)
            .map(|log| File::create(scratch.0.join(format!("small-{log}"))).unwrap())
            .collect();
        let figure = append(&files, 256, Duration::from_millis(50)).unwrap();
        assert!(figure.logs == 2 && figure.syncs.count() >= 2, "{}", figure.syncs.count());
        drop(scratch);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
