//! `cargo xtask sim`: one seed and its trace, or many seeds and their failures.

use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;
use sim::{Options, Planted, Protocol, Report, fault, workload};

use crate::campaign::{self, Tally};

/// What to run. Without anything: a few hundred seeds.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask sim                           a few hundred seeds
  cargo xtask sim --seeds 20000 --jobs 2    a night's worth
  cargo xtask sim --seed 4711 --trace       one seed, and everything that happened in it
  cargo xtask sim --faults none             all is well in every run
  cargo xtask sim --pairs --seeds 3         every two faults together

Planted mistakes need the feature `planted`:
  cargo run --release -p xtask --features planted -- sim --planted ack-before-durable")]
pub(crate) struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    seed: Option<u64>,
    /// How many seeds to run: 300, or 1 for each pair.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// With --seed: print everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Only these workloads, with commas between them.
    #[arg(long, value_delimiter = ',', value_parser = workload::NAMES)]
    workload: Vec<String>,
    /// Only these faults, with commas between them; `none` for calm runs.
    #[arg(long, value_delimiter = ',', value_parser = fault_names())]
    faults: Option<Vec<String>>,
    /// Every pair of faults, one after the other, each alone.
    #[arg(long, conflicts_with_all = ["seed", "faults", "planted"])]
    pairs: bool,
    /// This many nodes in every run.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: Option<u8>,
    /// This consensus protocol in every run: raft, paxos or zab.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// How many seeds to run at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Stop after this many failures.
    #[arg(long, default_value_t = 3)]
    failures: usize,
    /// A mistake to plant, or `list`. Runs until it is found.
    #[arg(long)]
    planted: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn fault_names() -> Vec<&'static str> {
    fault::NAMES.into_iter().chain(["none"]).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let options = match options(arguments) {
        Ok(options) => options,
        Err(words) => {
            complain(&words);
            return ExitCode::from(2);
        }
    };
    match arguments.seed {
        Some(seed) => one(arguments, &Options { seed, ..options }),
        None if arguments.pairs => pairs(arguments, &options),
        None => many(arguments, &options),
    }
}

fn options(arguments: &Arguments) -> Result<Options, String> {
    let planted = match arguments.planted.as_deref() {
        None => None,
        Some(name) => Some(planted(name)?),
    };
    Ok(Options {
        seed: 0,
        trace: arguments.trace,
        workloads: arguments.workload.clone(),
        faults: arguments.faults.clone(),
        nodes: arguments.nodes.map(usize::from),
        protocol: planted.and_then(Planted::protocol).or(arguments.protocol),
        planted,
    })
}

fn planted(name: &str) -> Result<Planted, String> {
    let known: Vec<&str> = Planted::all().into_iter().map(Planted::name).collect();
    if known.is_empty() {
        return Err(format!("mistakes need the feature `planted`: {PLANTED} --planted {name}"));
    }
    Planted::named(name).ok_or_else(|| format!("known mistakes: {}", known.join(" ")))
}

/// One seed. Its trace, if wanted, goes to stdout.
fn one(arguments: &Arguments, options: &Options) -> ExitCode {
    let report = sim::run(options);
    if arguments.trace {
        print(&report.trace);
    }
    match arguments.output {
        Output::Json => print(&format!("{}\n", json_of(arguments, &report))),
        Output::Text if report.violations.is_empty() => {
            let hash = report.hash;
            print(&format!(
                "{}\n{:?}\nseed {} holds; trace hash {hash:016x}\n",
                report.shape, report.counts, report.seed
            ));
        }
        Output::Text => print(&report.text(&replay(arguments, report.seed))),
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Walks through all pairs of faults. A pair that fails is shown, and the walk goes on.
fn pairs(arguments: &Arguments, options: &Options) -> ExitCode {
    let mut all = Tally::default();
    let mut failed = Vec::new();
    for (at, one) in fault::NAMES.iter().enumerate() {
        for other in &fault::NAMES[at + 1..] {
            let faults = Some(vec![(*one).to_owned(), (*other).to_owned()]);
            let options = Options { faults: faults.clone(), ..options.clone() };
            let tally = campaign::run(&options, seeds(arguments, 1), arguments.jobs.max(1), 1);
            let arguments = Arguments { faults, pairs: false, ..arguments.clone() };
            for report in &tally.failures {
                let text = report.text(&replay(&arguments, report.seed));
                print(&format!("{one} and {other}\n{text}\n"));
                failed.push(format!("{one},{other}"));
            }
            all.join(tally);
        }
    }
    let speed = all.seeds_per_second();
    let (runs, failures) = (all.runs, all.failures.len());
    print(&format!("{runs} seeds, {failures} failed, {speed:.1} seeds/s\n{:?}\n", all.counts));
    if !failed.is_empty() {
        print(&format!("failed: {}\n", failed.join(" ")));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seeds that are wanted, so many if nothing is said.
fn seeds(arguments: &Arguments, default: u64) -> Range<u64> {
    arguments.start..arguments.start.saturating_add(arguments.seeds.unwrap_or(default))
}

fn many(arguments: &Arguments, options: &Options) -> ExitCode {
    let seeds = seeds(arguments, 300);
    let wanted = if options.planted.is_some() { 1 } else { arguments.failures.max(1) };
    let tally = campaign::run(options, seeds, arguments.jobs.max(1), wanted);
    match arguments.output {
        Output::Json => print_json(arguments, &tally),
        Output::Text => print_text(arguments, options, &tally),
    }
    let found = !tally.failures.is_empty();
    // A planted mistake is to be found.
    if found == options.planted.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_text(arguments: &Arguments, options: &Options, tally: &Tally) {
    for report in &tally.failures {
        let text = report.text(&replay(arguments, report.seed));
        print(&format!("seed {}\n{text}\n", report.seed));
    }
    if let Some(planted) = options.planted {
        print(&match tally.failures.first() {
            Some(first) => {
                format!("{planted} was found by seed number {}\n", first.seed - arguments.start + 1)
            }
            None => format!("{planted} was not found in {} seeds\n", tally.runs),
        });
    }
    let speed = tally.seeds_per_second();
    print(&format!(
        "{} seeds, {} failed, {speed:.1} seeds/s\n{:?}\n",
        tally.runs,
        tally.failures.len(),
        tally.counts
    ));
}

fn print_json(arguments: &Arguments, tally: &Tally) {
    let failures: Vec<_> = tally.failures.iter().map(|report| json_of(arguments, report)).collect();
    let value = json!({
        "seeds": tally.runs,
        "failures": failures,
        "seeds_per_second": tally.seeds_per_second(),
    });
    print(&format!("{value}\n"));
}

fn json_of(arguments: &Arguments, report: &Report) -> serde_json::Value {
    let violations: Vec<_> = report
        .violations
        .iter()
        .map(|violation| json!({ "check": violation.check, "what": violation.what }))
        .collect();
    json!({
        "seed": report.seed,
        "violations": violations,
        "hash": format!("{:016x}", report.hash),
        "shape": report.shape,
        "operations": report.counts.operations,
        "replay": replay(arguments, report.seed),
    })
}

/// The one command that shows this seed again.
fn replay(arguments: &Arguments, seed: u64) -> String {
    let mut words = vec![if arguments.planted.is_some() { PLANTED } else { PLAIN }.to_owned()];
    let mut flag = |name: &str, value: &str| words.push(format!("--{name} {value}"));
    flag("seed", &seed.to_string());
    if !arguments.workload.is_empty() {
        flag("workload", &arguments.workload.join(","));
    }
    if let Some(faults) = &arguments.faults {
        flag("faults", &faults.join(","));
    }
    if let Some(nodes) = arguments.nodes {
        flag("nodes", &nodes.to_string());
    }
    if let Some(protocol) = arguments.protocol {
        flag("protocol", protocol.name());
    }
    if let Some(planted) = &arguments.planted {
        flag("planted", planted);
    }
    words.join(" ")
}

/// How the simulation is run, without and with planted mistakes.
const PLAIN: &str = "cargo xtask sim";
const PLANTED: &str = "cargo run --release -p xtask --features planted -- sim";

/// To stdout. Whoever reads may have stopped reading: that is no failure.
fn print(text: &str) {
    let _gone = io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _gone = writeln!(io::stderr(), "{text}");
}
