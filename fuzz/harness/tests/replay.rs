//! Every input that was ever worth keeping, without a fuzzer: the corpora of all targets, and the
//! seeds that they were begun from.

use std::path::{Path, PathBuf};

use fuzz_harness::{TARGETS, Target};

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target.name)
}

/// Names and bytes, in order.
fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus(target)).expect("each target has a corpus");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it is readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("it is readable");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

fn replay(name: &str) {
    let target = Target::find(name).expect("there is such a target");
    for (number, seed) in (target.seeds)().iter().enumerate() {
        // Whatever panics is named by the last line before it.
        eprintln!("{name}: seed {number}");
        (target.run)(seed);
    }
    for (path, bytes) in inputs(target) {
        eprintln!("{name}: {}", path.display());
        (target.run)(&bytes);
    }
}

#[test]
fn every_target_is_replayed_here() {
    let this = include_str!("replay.rs");
    for target in TARGETS {
        assert!(this.contains(&format!("replay({:?})", target.name)), "{}", target.name);
    }
}

#[test]
fn frames() {
    replay("frames");
}

#[test]
fn hellos() {
    replay("hellos");
}

#[test]
fn requests() {
    replay("requests");
}

#[test]
fn answers() {
    replay("answers");
}

#[test]
fn commands() {
    replay("commands");
}

#[test]
fn peers() {
    replay("peers");
}

#[test]
fn journal_segments() {
    replay("journal-segments");
}

#[test]
fn journal_files() {
    replay("journal-files");
}

#[test]
fn chunks() {
    replay("chunks");
}

#[test]
fn engine_files() {
    replay("engine-files");
}

#[test]
fn backups() {
    replay("backups");
}

#[test]
fn bolt_files() {
    replay("bolt-files");
}

#[test]
fn http() {
    replay("http");
}

#[test]
fn json() {
    replay("json");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn texts() {
    replay("texts");
}

#[test]
fn node_files() {
    replay("node-files");
}

#[test]
fn node_state() {
    replay("node-state");
}
