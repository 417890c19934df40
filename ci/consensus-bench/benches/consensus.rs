//! Entries per second of three replicas on one thread, ours and others', in alternation, and what they
//! allocate. A second is one of processor time: nothing here waits, and whoever else uses the machine
//! shall not count.

#![expect(clippy::print_stdout, reason = "the report")]

use std::process::Command;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use consensus_bench::contenders::{self, Allocated, Contender};
use consensus_bench::work::{COMMAND_BYTES, Cluster, CommandBytes, Load, Loads, REPLICAS, verify};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// How often ours shall be as fast as the best peer.
const GOAL: f64 = 2.0;

/// Measure Cairn's consensus cores beside others, in memory, on one thread
#[derive(Parser)]
#[command(bin_name = "cargo bench --")]
#[command(after_help = "Examples:
  cargo bench
  cargo bench -- --batches 1 --rounds 3 --only raft
  cargo bench --quiet -- --output json > consensus.json")]
struct Options {
    #[command(flatten)]
    loads: Loads,
    /// Rounds, in each of which every contender has its turn; medians are reported
    #[arg(long, value_name = "N", default_value = "7")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long a turn lasts at least
    #[arg(long, value_name = "MS", default_value = "300")]
    turn_ms: u64,
    /// A table, or JSON
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

#[derive(Serialize)]
struct Report {
    replicas: usize,
    command_bytes: usize,
    command_lies: CommandBytes,
    under_way: u16,
    rounds: u16,
    turn_ms: u64,
    goal: f64,
    results: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    batch: usize,
    manner: &'static str,
    core: &'static str,
    version: &'static str,
    entries_per_second: f64,
    slowest_round: f64,
    fastest_round: f64,
    allocated_bytes_per_entry: f64,
    allocations_per_entry: f64,
    /// Of ours: entries per second, divided by those of the best peer of the family.
    times_best_peer: Option<f64>,
    best_peer: Option<&'static str>,
}

fn main() {
    let options = Options::parse();
    let mut allocated = allocations(&options.loads).into_iter();
    let mut results = vec![];
    for load in options.loads.each() {
        let rates = rates(load, &options);
        results.extend(rows(load, &rates, &mut allocated));
    }
    let report = Report {
        replicas: REPLICAS,
        command_bytes: COMMAND_BYTES,
        command_lies: options.loads.bytes,
        under_way: options.loads.under_way,
        rounds: options.rounds,
        turn_ms: options.turn_ms,
        goal: GOAL,
        results,
    };
    match options.output {
        Form::Json => {
            println!("{}", serde_json::to_string_pretty(&report).expect("plain numbers"));
        }
        Form::Text => print(&report),
    }
}

/// Counted by a process of its own, so that counting slows nobody here.
fn allocations(loads: &Loads) -> Vec<Allocated> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allocations"));
    let output = command.args(loads.arguments()).output().expect("built with this program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line for each")).collect()
}

/// The rates of all rounds of each contender, the slowest first.
fn rates(load: Load, options: &Options) -> Vec<(&'static Contender, Vec<f64>)> {
    let turn = Duration::from_millis(options.turn_ms);
    let mut turns: Vec<_> = contenders::chosen(&options.loads.only)
        .map(|contender| Turns { contender, cluster: (contender.start)(load), done: 0 })
        .collect();
    for each in &mut turns {
        each.take(load, turn / 2);
    }
    let mut rates = vec![vec![]; turns.len()];
    for _ in 0..options.rounds {
        for (each, rates) in turns.iter_mut().zip(&mut rates) {
            rates.push(each.take(load, turn));
        }
    }
    let sorted = turns.iter().zip(rates).map(|(each, mut rates)| {
        verify(&*each.cluster, each.done);
        rates.sort_by(f64::total_cmp);
        (each.contender, rates)
    });
    sorted.collect()
}

struct Turns {
    contender: &'static Contender,
    cluster: Box<dyn Cluster>,
    done: usize,
}

impl Turns {
    /// Entries per second, for at least so long.
    fn take(&mut self, load: Load, at_least: Duration) -> f64 {
        let begin = processor_time();
        let before = self.done;
        loop {
            self.cluster.run(load.stretch());
            self.done += load.stretch();
            let elapsed = processor_time().saturating_sub(begin);
            if elapsed >= at_least {
                #[expect(clippy::cast_precision_loss, reason = "millions are exact")]
                return (self.done - before) as f64 / elapsed.as_secs_f64();
            }
        }
    }
}

/// What this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

fn rows(
    load: Load,
    rates: &[(&'static Contender, Vec<f64>)],
    allocated: &mut impl Iterator<Item = Allocated>,
) -> Vec<Row> {
    let median = |rates: &[f64]| rates[rates.len() / 2];
    let best_peer = |family: &str| {
        let peers = rates.iter().filter(|(peer, _)| !peer.is_ours && peer.family == family);
        let peers = peers.map(|(peer, rates)| (median(rates), peer.name));
        peers.max_by(|one, other| one.0.total_cmp(&other.0))
    };
    let row = |(contender, rates): &(&'static Contender, Vec<f64>)| {
        let best = if contender.is_ours { best_peer(contender.family) } else { None };
        let Allocated { bytes, calls } = allocated.next().expect("counted for each");
        Row {
            batch: load.batch,
            manner: load.manner.name(),
            core: contender.name,
            version: contender.version,
            entries_per_second: median(rates),
            slowest_round: rates[0],
            fastest_round: rates[rates.len() - 1],
            allocated_bytes_per_entry: bytes,
            allocations_per_entry: calls,
            times_best_peer: best.map(|(rate, _)| median(rates) / rate),
            best_peer: best.map(|(_, name)| name),
        }
    };
    rates.iter().map(row).collect()
}

fn print(report: &Report) {
    let Report { replicas, command_bytes, command_lies, .. } = report;
    let Report { under_way, rounds, turn_ms, goal, results, .. } = report;
    let lies = command_lies.name();
    println!(
        "{replicas} replicas on one thread, {lies} commands of {command_bytes} bytes, {under_way} batches \
         under way; medians of {rounds} rounds, turns of {turn_ms} ms\n"
    );
    println!(
        "{:>5}  {:<8}  {:<11}  {:<15}  {:>9}  {:>19}  {:>7}  {:>6}  BESIDE THE BEST PEER",
        "BATCH", "MANNER", "CORE", "VERSION", "ENTRIES/S", "SLOWEST, FASTEST", "BYTES", "ALLOCS",
    );
    let mut load = (0, "");
    for row in results {
        if std::mem::replace(&mut load, (row.batch, row.manner)) != load && load.0 != 0 {
            println!();
        }
        let beside = match (row.times_best_peer, row.best_peer) {
            (Some(times), Some(peer)) => {
                let missed = if times < *goal { ", goal missed" } else { "" };
                format!("{times:.2} x {peer}{missed}")
            }
            _ => String::new(),
        };
        let line = format!(
            "{:>5}  {:<8}  {:<11}  {:<15}  {:>9.0}  {:>9.0} {:>9.0}  {:>7.0}  {:>6.2}  {beside}",
            row.batch,
            row.manner,
            row.core,
            row.version,
            row.entries_per_second,
            row.slowest_round,
            row.fastest_round,
            row.allocated_bytes_per_entry,
            row.allocations_per_entry,
        );
        println!("{}", line.trim_end());
    }
    println!(
        "\nEntries on all replicas in a second of processor time; bytes and calls of the allocator \
         for an entry, of all replicas together. The goal is {goal} times the best peer."
    );
}
