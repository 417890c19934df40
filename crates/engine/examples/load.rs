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
use std::ops::RangeInclusive;
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
const RETAINED: u64 = 100_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().map_or(200_000, |keys| keys.parse().expect("a number of keys"));
    match arguments.next().as_deref() {
        None | Some("mem") => {
            let disk = MemDisk::new(1);
            load(&disk, keys, &|| (disk.counters("").bytes_written, disk.used()));
        }
        Some(directory) => {
            let disk = Directory { root: directory.into(), written: Arc::default() };
            let figures = || (disk.written.load(Ordering::Relaxed), disk.used());
            load(&disk, keys, &figures);
        }
    }
}

/// Bytes written so far, and bytes that the files have.
type Figures<'a> = &'a dyn Fn() -> (u64, u64);

fn load(disk: &impl Disk, keys: u64, figures: Figures<'_>) {
    let mut host = Host::open(disk);
    let mut made = Load::default();
    host.write_all(&mut made, 1..=keys, keys);
    made.report("load", keys, figures);
    println!("  {:?}", host.engine.stats());
    read(&*host.engine, keys, keys);
    let mut opening = Meter::default();
    // As `kill -9` would: nothing is closed.
    std::mem::forget(host);
    let mut host = opening.during(|| Host::open(disk));
    opening.report("open after a kill", 1);
    assert_eq!(host.engine.durable(GROUP).index.0, keys);
    let mut made = Load { written: figures().0, ..Load::default() };
    host.write_all(&mut made, keys + 1..=keys + keys / 2, keys);
    made.report("overwrite half, keeping 100 000 revisions", keys / 2, figures);
    println!("  {:?}", host.engine.stats());
    read(&*host.engine, keys, keys + keys / 2);
}

/// An engine, its worker, and what of compaction is under way.
struct Host {
    engine: Box<dyn Engine>,
    worker: Box<dyn Worker>,
}

/// What loading took.
#[derive(Default)]
struct Load {
    writing: Meter,
    flushing: Meter,
    upkeep: Meter,
    /// Bytes written before.
    written: u64,
}

impl Load {
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    fn report(&self, what: &str, rows: u64, figures: Figures<'_>) {
        let (written, used) = figures();
        println!("{what}: {rows} rows");
        self.writing.report("  write", rows);
        self.flushing.report("  flush", rows);
        self.upkeep.report("  upkeep", rows);
        let per_row = (written - self.written) as f64 / rows as f64;
        println!(
            "  {per_row:.0} bytes written a row; {} MB on disk; RSS {}",
            used / 1_000_000,
            rss()
        );
    }
}

impl Host {
    fn open(disk: &impl Disk) -> Self {
        let opened = engine::open_disk(disk.clone(), "engine/base", Config::default());
        let (engine, worker) = opened.expect("open the engine");
        Self { engine, worker }
    }

    /// Writes, and flushes and tidies up when the engine asks for it, as a node does.
    fn write_all(&mut self, made: &mut Load, indexes: RangeInclusive<u64>, keys: u64) {
        let last = *indexes.end();
        for index in indexes {
            made.writing.during(|| write(&mut *self.engine, index, keys));
            if self.engine.wants_flush() || index == last {
                self.engine.compact(SPACE, Revision(index.saturating_sub(RETAINED)));
                made.flushing.during(|| self.flush());
                made.upkeep.during(|| self.upkeep());
            }
        }
    }

    fn flush(&mut self) {
        let job = self.engine.flush().expect("something was written");
        self.engine.done(self.worker.run(job).expect("a flush"));
    }

    /// Merges as far as it takes for the next flush to be let in, or to the end.
    fn upkeep(&mut self) {
        while let Some(job) = self.engine.upkeep() {
            self.engine.done(self.worker.run(job).expect("upkeep"));
        }
    }
}

fn write(engine: &mut dyn Engine, index: u64, keys: u64) {
    let revision = Revision(index);
    let value = Bytes::from(vec![index.to_le_bytes()[0]; VALUE_BYTES]);
    let cell = Some(Cell { created: revision, version: 1, lease: 0, value });
    // Overwrites come in another random order.
    let number =
        if index <= keys { index } else { index.wrapping_mul(0x5851_f42d_4c95_7f2d) % keys + 1 };
    let rows = vec![Row { space: SPACE, key: key(number), revision, cell }];
    let applied = Position { index: LogIndex(index), epoch: Epoch::default() };
    let meta = vec![(Bytes::from_static(b"revision"), Some(Bytes::from(index.to_string())))];
    engine.write(Batch { group: GROUP, applied, rows, meta });
}

fn read(engine: &dyn Engine, keys: u64, at: u64) {
    let (view, at, finds) = (engine.view(), Revision(at), keys.min(200_000));
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

/// Memory of this process, as the system counts it.
fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}

/// Scattered by a multiplication, which never gives two the same.
fn key(index: u64) -> Bytes {
    let scattered = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Bytes::from(format!("{scattered:016x}"))
}

/// Processor time and wall time, summed over several pieces of work.
#[derive(Default)]
struct Meter {
    wall: Duration,
    cpu: Duration,
}

impl Meter {
    #[expect(clippy::disallowed_methods, reason = "a measurement, outside of the engine")]
    fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (begun, cpu) = (Instant::now(), cpu_time());
        let done = work();
        self.wall += begun.elapsed();
        self.cpu += cpu_time().saturating_sub(cpu);
        done
    }

    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    fn report(&self, what: &str, count: u64) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        println!(
            "{what}: {:.2} us of processor time each, {:.2} us in all",
            micros(self.cpu),
            micros(self.wall)
        );
    }
}

/// What this thread has used of a processor.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
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

impl Directory {
    fn used(&self) -> u64 {
        let files = std::fs::read_dir(self.root.join("engine")).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }
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
