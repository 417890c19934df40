//! What the system says of a process and of a directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Memory that a process holds, in MiB: now, and the most ever.
pub(crate) fn memory_mib(process: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib: u32 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        f64::from(kib) / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processor time of a process in microseconds: in its own code, and in the kernel for it.
pub(crate) fn processor_us(process: u32) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The command's name may hold anything: fields are counted behind its last bracket.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let tick_us = 1e6 / to_float(rustix::param::clock_ticks_per_second());
    let time = |place: usize| to_float(fields[place].parse().unwrap()) * tick_us;
    (time(11), time(12))
}

/// Bytes that the files below a directory take on the disk.
pub(crate) fn bytes_on_disk(dir: &Path) -> f64 {
    to_float(blocks(dir)) * 512.0
}

fn blocks(dir: &Path) -> u64 {
    // Files come and go while we look.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => blocks(&entry.path()),
        Ok(found) => found.blocks(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// Counts here are far below what a float holds exactly.
#[expect(clippy::cast_precision_loss, reason = "counts of one measurement fit into an f64")]
pub(crate) fn to_float(count: u64) -> f64 {
    count as f64
}
