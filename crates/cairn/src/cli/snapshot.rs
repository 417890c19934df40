//! `cairn snapshot`: the store in a file, and back.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use client::backup::{self, BackupError, Progress, Summary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::connect::{self, Door, Global};
use super::import::{self, ImportArgs};
use super::output::{self, Ended, print, say, stderr_is_terminal};
use super::{Failure, Output, units};
use crate::drivers::manners;

/// Where stderr is no terminal, a line is said each time so many bytes have gone by.
const REPORT_EVERY_BYTES: u64 = 256 << 20;

/// Bytes that are synced at once.
const PIECE_BYTES: usize = 256 << 10;

/// `cairn snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save all keys, as they are at one revision, to a file
    #[command(after_help = "\
The file appears when it is whole and on disk; until then its name ends in .part. Writes go on meanwhile.

Example:
  cairn snapshot save monday.cairn")]
    Save {
        /// The file to make
        file: PathBuf,
    },
    /// Put a saved file into an empty cluster
    #[command(after_help = "\
The file is verified first, and the cluster must be empty. Keys keep their revisions.

Example:
  cairn snapshot restore monday.cairn")]
    Restore {
        /// A file that `snapshot save` made
        file: PathBuf,
    },
    /// Put a snapshot of etcd into an empty cluster
    ImportEtcd(ImportArgs),
    /// Check that a saved file is whole; needs no cluster
    #[command(after_help = "\
Exit code 5 if it is damaged or no snapshot.

Example:
  cairn snapshot verify monday.cairn")]
    Verify {
        /// A file that `snapshot save` made
        file: PathBuf,
    },
}

/// Carries out `cairn snapshot`.
pub(crate) fn run(global: &Global, command: SnapshotCommand) -> ExitCode {
    match command {
        SnapshotCommand::Save { file } => {
            connect::with_client(global, async |door| save(&door, &file).await)
        }
        SnapshotCommand::Restore { file } => {
            connect::with_client(global, async |door| restore(&door, &file).await)
        }
        SnapshotCommand::ImportEtcd(args) => {
            connect::with_client(global, async |door| import::run(&door, args).await)
        }
        SnapshotCommand::Verify { file } => {
            output::finish(global.output, verify(global.output, &file))
        }
    }
}

async fn save(door: &Door, path: &Path) -> Result<(), Ended> {
    let part = part_of(path);
    let file = File::create(&part).map_err(|error| Failure::file(&part, "make", &error))?;
    let summary = match save_part(door, &part, file).await {
        Ok(summary) => summary,
        Err(failure) => {
            // Half a snapshot is of no use to anybody.
            let _ = fs::remove_file(&part);
            return Err(failure.into());
        }
    };
    publish(&part, path).map_err(|error| Failure::file(path, "finish", &error))?;
    report(door.output, "saved", path, &summary)
}

/// A file that is synced piece by piece: the disk may be that of a node, whose journal would wait
/// while it takes in all at once.
struct Pieces {
    file: File,
    unsynced: usize,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= PIECE_BYTES {
            self.file.sync_data()?;
            manners::pause();
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

async fn save_part(door: &Door, part: &Path, file: File) -> Result<Summary, Failure> {
    let mut meter = Meter::new("saving");
    let mut writer = BufWriter::with_capacity(256 << 10, Pieces { file, unsynced: 0 });
    let saved = backup::save(&door.client, &mut writer, &mut |progress| meter.tell(progress)).await;
    meter.end();
    let summary = saved.map_err(|error| explain(part, error))?;
    let synced = writer.flush().and_then(|()| writer.get_ref().file.sync_all());
    synced.map_err(|error| Failure::file(part, "write", &error))?;
    Ok(summary)
}

async fn restore(door: &Door, path: &Path) -> Result<(), Ended> {
    let reader = open(path)?;
    let mut meter = Meter::new("restoring");
    let restored =
        backup::restore(&door.client, reader, &mut |progress| meter.tell(progress)).await;
    meter.end();
    let summary = restored.map_err(|error| explain(path, error))?;
    report(door.output, "restored", path, &summary)
}

fn verify(output: Output, path: &Path) -> Result<(), Ended> {
    let summary = backup::verify(open(path)?).map_err(|error| explain(path, error))?;
    report(output, "whole", path, &summary)
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, "open", &error))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// `monday.cairn.part`
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Gives a whole file its name, so that it keeps it through a power cut.
fn publish(part: &Path, path: &Path) -> io::Result<()> {
    fs::rename(part, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn explain(path: &Path, error: BackupError) -> Failure {
    let path = path.display();
    match error {
        BackupError::Format { .. } => Failure::damaged(format!("{path}: {error}"))
            .help("only what `cairn snapshot save` has written can be used"),
        BackupError::Damaged { .. } => Failure::damaged(format!("{path}: {error}"))
            .help("nothing was restored; use another copy"),
        BackupError::Io { .. } => Failure::damaged(format!("{path}: {error}")),
        BackupError::Cluster(error) => error.into(),
    }
}

fn report(output: Output, what: &str, path: &Path, summary: &Summary) -> Result<(), Ended> {
    match output {
        Output::Text => print(&format!(
            "{}: {what}; {} keys, {} at revision {} of cluster {}",
            path.display(),
            summary.items,
            units::bytes(summary.bytes),
            summary.revision,
            summary.cluster,
        )),
        Output::Json => print(&json_of(what, path, summary).to_string()),
    }
}

fn json_of(what: &str, path: &Path, summary: &Summary) -> Value {
    json!({
        "result": what, "file": path.display().to_string(), "cluster": summary.cluster,
        "revision": summary.revision.0, "created_by": summary.created_by, "keys": summary.items,
        "bytes": summary.bytes, "file_bytes": summary.file_bytes,
    })
}

/// Shows how far it is: a bar on a terminal, a line now and then elsewhere.
pub(super) struct Meter {
    what: &'static str,
    bar: Option<ProgressBar>,
    reported_bytes: u64,
}

impl Meter {
    pub(super) fn new(what: &'static str) -> Self {
        let bar = stderr_is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {prefix}: {pos} keys, {msg}"));
            bar.set_prefix(what);
            bar
        });
        Self { what, bar, reported_bytes: 0 }
    }

    pub(super) fn tell(&mut self, progress: Progress) {
        let size = units::bytes(progress.bytes);
        if let Some(bar) = &self.bar {
            if let Some(total) = progress.total.filter(|_| bar.length().is_none()) {
                bar.set_style(style("{prefix}: {wide_bar} {pos}/{len} keys, {msg}"));
                bar.set_length(total);
            }
            bar.set_position(progress.items);
            bar.set_message(size);
        } else if progress.bytes >= self.reported_bytes + REPORT_EVERY_BYTES {
            self.reported_bytes = progress.bytes;
            say(&format!("{}: {} keys, {size}", self.what, progress.items));
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our templates are well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_stands_beside_the_file() {
        assert_eq!(part_of(Path::new("a/monday.cairn")), Path::new("a/monday.cairn.part"));
    }

    #[test]
    fn templates_are_well_formed() {
        let mut meter =
            Meter { what: "saving", bar: Some(ProgressBar::hidden()), reported_bytes: 0 };
        meter.tell(Progress { items: 1, bytes: 2, total: Some(3) });
        meter.end();
        style("{spinner} {prefix}: {pos} keys, {msg}");
    }
}
