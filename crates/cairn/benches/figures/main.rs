//! The figures that Cairn is held to, each a measurement of its own on a fresh cluster of three nodes
//! on the loopback address: `just figures`, or `ci/figures/run NAME…`.
//!
//! Each prints what was measured, the goal, whether it is reached, and the commands that it ran. A
//! figure that falls short is a result, not an error: the exit code says only whether everything
//! could be measured.
//!
//! Whatever is started ends with this program, however that ends; the data lies in one temporary
//! directory, which is removed.
//!
//! Without `--run` this does nothing, for `cargo bench` runs it, too.

#![expect(clippy::disallowed_methods, reason = "real processes live in real time")]
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on stops")]
#![expect(clippy::print_stdout, reason = "figures are printed")]

mod cluster;
mod elections;
mod failover;
mod figure;
mod instructions;
mod large;
mod options;
mod prober;
mod proc;
mod shell;
mod tails;
mod throughput;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use figure::Figure;
use options::Options;

/// A measurement.
type Measure = fn(&Options, &mut Figure);

/// All of them: their names, and what they are.
const FIGURES: [(&str, &str, Measure); 8] = [
    ("one", "one client's put against fdatasync", throughput::one),
    ("many", "puts of 64, 256 and 1000 clients", throughput::many),
    ("reads", "gets of 64 clients against puts", throughput::reads),
    ("instructions", "instructions of the leader for a put", instructions::measure),
    ("failover", "time to the next write after the leader was killed", failover::measure),
    ("elections", "elections under full load", elections::measure),
    ("large", "memory, start and disk with many keys", large::measure),
    ("tails", "puts while the store does something else, too", tails::measure),
];

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("figures: not asked for; `ci/figures/run` measures them");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n\n{}", options::usage(&FIGURES.map(|(name, what, _)| (name, what))));
            return ExitCode::from(2);
        }
    };
    let unknown = |name: &String| FIGURES.iter().all(|(known, _, _)| known != name);
    if let Some(name) = options.names.iter().find(|name| unknown(name)) {
        let usage = options::usage(&FIGURES.map(|(name, what, _)| (name, what)));
        eprintln!("there is no figure {name:?}\n\n{usage}");
        return ExitCode::from(2);
    }
    let mut failed = false;
    for (name, what, measure) in FIGURES {
        if !options.names.is_empty() && !options.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut figure = Figure::new(name, what);
        let measured = catch_unwind(AssertUnwindSafe(|| measure(&options, &mut figure)));
        figure.print(options.json, measured.is_err());
        failed |= measured.is_err();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
