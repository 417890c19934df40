//! What all tests here need: a directory, ports, processes that end with the test, HTTP.

pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod process;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

static MACHINE: Mutex<()> = Mutex::new(());

/// Waits until no other test uses the machine. A test that failed has left nothing behind.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks again and again until there is an answer; fails the test after `patience`.
pub(crate) fn eventually<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        sleep(Duration::from_millis(20));
    }
}

/// A directory for one test, removed with it.
#[derive(Debug)]
pub(crate) struct TestDir {
    path: PathBuf,
}

impl TestDir {
    /// A new, empty directory.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cairn-e2e-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.path.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A port such that it and the eight behind it are free, and those 1000 above too.
///
/// They lie below the ports that the system hands out for outgoing connections: otherwise one of
/// those could take the port of a node that is down for a moment.
pub(crate) fn free_ports() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    const BLOCKS: u64 = 900;
    for _ in 0..BLOCKS {
        let block = NEXT.fetch_add(1, Ordering::Relaxed) + u64::from(std::process::id()) * 7;
        let block = u16::try_from(block % BLOCKS).unwrap();
        // Blocks of ten, in the lower halves of 2000s: the upper halves are their peer ports.
        let base = 12_000 + block / 100 * 2000 + block % 100 * 10;
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (base..base + 9).all(|port| free(port) && free(port + 1000)) {
            return base;
        }
    }
    panic!("no free ports from 12000 to 30000");
}
