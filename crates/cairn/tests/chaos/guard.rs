//! Ends the run when it is told to, when nobody watches it any more, or when it takes too long.
//!
//! The run's process is the first of its pid namespace: signals that it does not handle do not reach
//! it, and when it ends, the kernel kills the nodes.

use std::io::Read;
use std::path::Path;
use std::process::exit;
use std::thread::{sleep, spawn};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// What the process ends with.
const INTERRUPTED: i32 = 130;
const TOO_LONG: i32 = 124;

/// Watches from now on a run with this directory.
pub(crate) fn start(limit: Duration, dir: &Path) {
    let (first, second) = (dir.to_owned(), dir.to_owned());
    spawn(move || {
        until_signalled();
        end("interrupted", &first);
    });
    spawn(move || {
        until_parent_is_gone();
        end("its parent is gone", &second);
    });
    spawn(move || {
        sleep(limit);
        println!("VIOLATION: the run hangs: it has not ended within {limit:?}");
        exit(TOO_LONG);
    });
}

/// Of such a run nobody wants to keep anything.
fn end(why: &str, dir: &Path) -> ! {
    let _ = std::fs::remove_dir_all(dir);
    println!("chaos: ended before its time: {why}");
    exit(INTERRUPTED);
}

/// Returns at SIGINT or SIGTERM.
fn until_signalled() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).unwrap();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
}

/// Returns at the end of the pipe that the parent holds.
fn until_parent_is_gone() {
    let mut pipe = std::io::stdin().lock();
    let mut byte = [0];
    while pipe.read(&mut byte).is_ok_and(|read| read > 0) {}
}
