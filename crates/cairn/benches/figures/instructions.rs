//! Instructions of the leader for a put.
//!
//! Counted by `callgrind`, for the counters of the processor are not there in most virtual machines.
//! It counts what the process does itself, and not what the kernel does for it; so the processor time
//! of both is measured as well, on the bare leader, and their relation says how much is missing.
//!
//! Under `callgrind` a node is some fifty times slower and runs one thread at a time, so the election
//! timeout is long and its batches are larger: see the writes for a sync next to each count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::figure::{Figure, Goal};
use crate::options::Options;
use crate::proc::{processor_us, to_float};
use crate::shell::{self, bench, cairn, number};

/// A leader that is fifty times slower is still a leader.
const PATIENT: [&str; 4] = ["--heartbeat", "2s", "--election-timeout", "20s"];

/// The node that leads.
const LEADER: u16 = 1;

/// How long it may take until counts are on the disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one put may cost.
const GOAL: f64 = 60_000.0;

/// With one client and with many.
pub(crate) fn measure(options: &Options, figure: &mut Figure) {
    natively(options, figure);
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        figure.note("instructions are not counted: install the package valgrind");
        return;
    }
    let mut cluster = Cluster::prepare(options, &PATIENT);
    let counts = cluster.dir().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--instr-atstart=no", "--fair-sched=yes"]);
    command.arg(format!("--callgrind-out-file={}", counts.display())).arg(shell::PROGRAM);
    figure.command(format!(
        "valgrind --tool=callgrind --instr-atstart=no cairn serve {} (the leader)",
        PATIENT.join(" ")
    ));
    cluster.launch_under(LEADER, command);
    for node in 2..=crate::cluster::NODES {
        cluster.launch(node);
    }
    cluster.wait_until_ready();
    if cluster.leader() != LEADER {
        cairn(&cluster, &["leader", "transfer", &LEADER.to_string()]);
    }
    for clients in [1, 64] {
        let (counted, answer) = count(options, &cluster, figure, clients, &counts);
        assert_eq!(cluster.leader(), LEADER, "another node leads");
        let puts = number(&answer, "/runs/0/results/put/count");
        let each = number(&answer, "/runs/0/writes_per_leader_sync");
        let name = |what: &str| format!("{clients} clients: {what}");
        figure.value(name("puts counted"), puts, "");
        figure.value(name("writes for a sync, counted"), each, "");
        if clients == 64 {
            figure.goal(name("instructions"), counted / puts, "", Goal::AtMost(GOAL));
        } else {
            figure.value(name("instructions"), counted / puts, "");
        }
    }
    figure.note("instructions: of the process itself; the kernel's are not counted");
}

/// Processor time of the bare leader.
fn natively(options: &Options, figure: &mut Figure) {
    let cluster = Cluster::start(options, &[]);
    let leader = cluster.process(cluster.leader());
    for clients in [1, 64] {
        let duration = options.duration_text();
        let words = format!("put --clients {clients} --duration {duration} --warmup 1ms --no-disk");
        let (user, system) = processor_us(leader);
        let answer = bench(&cluster, figure, &words);
        let (user, system) = (processor_us(leader).0 - user, processor_us(leader).1 - system);
        let puts = number(&answer, "/runs/0/results/put/count");
        let name = |what: &str| format!("{clients} clients: leader's {what} time");
        figure.value(name("own"), user / puts, "µs");
        figure.value(name("kernel"), system / puts, "µs");
        let each = number(&answer, "/runs/0/writes_per_leader_sync");
        figure.value(format!("{clients} clients: writes for a sync"), each, "");
    }
}

/// Instructions while a load lasts, and what the load did. It has no warm-up: all that was done counts.
fn count(
    options: &Options,
    cluster: &Cluster,
    figure: &mut Figure,
    clients: u32,
    counts: &Path,
) -> (f64, serde_json::Value) {
    let process = cluster.process(LEADER).to_string();
    // Connections and caches get warm before anything is counted.
    let words = format!("put --clients {clients} --duration 2s --warmup 1ms --no-disk");
    shell::Load::start(cluster, figure, &words).finish(figure);
    control(&["-z", &process]);
    control(&["-i", "on", &process]);
    let duration = options.duration_text();
    let words = format!("put --clients {clients} --duration {duration} --warmup 1ms --no-disk");
    let answer = bench(cluster, figure, &words);
    control(&["-i", "off", &process]);
    let seen = dumps(counts).len();
    control(&["-d", &process]);
    let begun = Instant::now();
    while dumps(counts).len() == seen {
        assert!(begun.elapsed() < PATIENCE, "callgrind wrote nothing");
        sleep(Duration::from_millis(200));
    }
    // It is written at once, but a file is there before it is whole.
    sleep(Duration::from_secs(1));
    let newest = dumps(counts).pop().expect("one was written");
    (total(&newest), answer)
}

fn control(words: &[&str]) {
    let output = Command::new("callgrind_control").args(words).output();
    let output = output.expect("callgrind_control comes with valgrind");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "callgrind_control {words:?}: {said}");
}

/// What was written so far, the oldest first.
fn dumps(counts: &Path) -> Vec<PathBuf> {
    let (dir, name) = (counts.parent().unwrap(), counts.file_name().unwrap().to_string_lossy());
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let prefix = format!("{name}.");
    let number = |path: &PathBuf| {
        let found = path.file_name()?.to_str()?.strip_prefix(&prefix)?.parse::<u32>().ok()?;
        Some((found, path.clone()))
    };
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| number(&entry.path())).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// All instructions of all threads: each part has a line `summary:` or `totals:`.
fn total(dump: &Path) -> f64 {
    let text = std::fs::read_to_string(dump).unwrap();
    let counts = text.lines().filter_map(|line| line.strip_prefix("totals:"));
    let sum: u64 = counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum();
    assert!(sum > 0, "no totals in {}", dump.display());
    to_float(sum)
}
