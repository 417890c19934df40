//! Loads an engine, and says what a write, a flush and a read cost.
//!
//! ```text
//! cargo run --release -p engine --example load -- [KEYS] [mem | DIRECTORY]
//! ```
//!
//! Engine and worker take turns on one thread, so that wall time is nearly CPU time where the disk
//! does not wait; run it with `time` for the rest. Keys are 16 bytes in random order, values 256.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Epoch, LogIndex, Position};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use engine::{Batch, Cell, Config, Engine, Row, Visit, Worker};
use wire::{GroupId, KeyRange, Revision, SpaceId};

const SPACE: SpaceId = SpaceId(1);
const GROUP: GroupId = GroupId(1);
const VALUE_BYTES: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().map_or(200_000, |keys| keys.parse().expect("a number of keys"));
    match arguments.next().as_deref() {
        None | Some("mem") => {
            let disk = MemDisk::new(1);
            load(&disk, keys);
            println!("{:?}", disk.counters(""));
        }
        Some(directory) => {
            let disk = Directory { root: directory.into(), written: Arc::default() };
            load(&disk, keys);
            println!("{} MB written", disk.written.load(Ordering::Relaxed) / 1_000_000);
        }
    }
}

fn load(disk: &impl Disk, keys: u64) {
    let (mut engine, mut worker) = open(disk);
    let mut writing = Meter::default();
    let mut flushing = Meter::default();
    for index in 1..=keys {
        writing.during(|| write(&mut *engine, index));
        if engine.wants_flush() || index == keys {
            flushing.during(|| flush(&mut *engine, &mut *worker));
        }
    }
    writing.report("write", keys);
    flushing.report("flush", keys);
    read(&*engine, keys);
    let mut closing = Meter::default();
    // As `kill -9` would: nothing is closed.
    std::mem::forget((engine, worker));
    let (engine, worker) = closing.during(|| open(disk));
    closing.report("open after a kill", 1);
    assert_eq!(engine.durable(GROUP).index.0, keys);
    drop((engine, worker));
}

fn open(disk: &impl Disk) -> (Box<dyn Engine>, Box<dyn Worker>) {
    engine::open_disk(disk.clone(), "engine/base", Config::default()).expect("open the engine")
}

fn write(engine: &mut dyn Engine, index: u64) {
    let revision = Revision(index);
    let value = Bytes::from(vec![index.to_le_bytes()[0]; VALUE_BYTES]);
    let cell = Some(Cell { created: revision, version: 1, lease: 0, value });
    let rows = vec![Row { space: SPACE, key: key(index), revision, cell }];
    let applied = Position { index: LogIndex(index), epoch: Epoch::default() };
    let meta = vec![(Bytes::from_static(b"revision"), Some(Bytes::from(index.to_string())))];
    engine.write(Batch { group: GROUP, applied, rows, meta });
}

fn flush(engine: &mut dyn Engine, worker: &mut dyn Worker) {
    let job = engine.flush().expect("something was written");
    engine.done(worker.run(job).expect("a flush"));
}

fn read(engine: &dyn Engine, keys: u64) {
    let (view, at, finds) = (engine.view(), Revision(keys), keys.min(200_000));
    let (mut hits, mut misses, mut scan) = <(Meter, Meter, Meter)>::default();
    hits.during(|| {
        for index in 1..=finds {
            let found = view.find(SPACE, &key(index * (keys / finds)), at).expect("a read");
            assert!(found.is_some(), "a key was lost");
        }
    });
    misses.during(|| {
        for index in 1..=finds {
            let found = view.find(SPACE, &key(keys + index), at).expect("a read");
            assert!(found.is_none(), "a key came from nowhere");
        }
    });
    let mut seen = 0;
    scan.during(|| {
        let mut count = |_| {
            seen += 1;
            Visit::Continue
        };
        view.scan(SPACE, &KeyRange::all(), at, &mut count).expect("a scan");
    });
    assert_eq!(seen, keys);
    hits.report("find", finds);
    misses.report("find a missing key", finds);
    scan.report("scan", keys);
}

/// Scattered by a multiplication, which never gives two the same.
fn key(index: u64) -> Bytes {
    let scattered = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Bytes::from(format!("{scattered:016x}"))
}

/// Wall time, summed over several pieces of work.
#[derive(Default)]
struct Meter(Duration);

impl Meter {
    #[expect(clippy::disallowed_methods, reason = "a measurement, outside of the engine")]
    fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.0 += begun.elapsed();
        done
    }

    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    fn report(&self, what: &str, count: u64) {
        println!("{what}: {:.2} us each", self.0.as_secs_f64() * 1e6 / count as f64);
    }
}

/// A directory of real files.
#[derive(Clone)]
struct Directory {
    root: PathBuf,
    written: Arc<AtomicU64>,
}

struct RealFile {
    file: std::fs::File,
    written: Arc<AtomicU64>,
}

impl Disk for Directory {
    type File = RealFile;

    fn open(&self, path: &str, how: Open) -> io::Result<RealFile> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true);
        options.create_new(how == Open::New).create(how == Open::OrCreate);
        let file = options.open(self.root.join(path))?;
        Ok(RealFile { file, written: Arc::clone(&self.written) })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let Ok(entries) = std::fs::read_dir(self.root.join(dir)) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.root.join(dir))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        std::fs::File::open(self.root.join(dir))?.sync_all()
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
