//! Many seeds at a time.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sim::{Counts, Options, Report};

/// What many runs came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    /// In the order of their seeds.
    pub(crate) failures: Vec<Report>,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
}

impl Tally {
    pub(crate) fn seeds_per_second(&self) -> f64 {
        let runs = u32::try_from(self.runs).unwrap_or(u32::MAX);
        f64::from(runs) / self.took.as_secs_f64().max(1e-9)
    }

    fn add(&mut self, report: Report, counts: bool) {
        self.runs += 1;
        self.count(report.counts);
        if counts && !report.violations.is_empty() {
            self.failures.push(report);
        }
    }

    /// Takes in what other runs came to.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.runs += other.runs;
        self.took += other.took;
        self.failures.append(&mut other.failures);
        self.count(other.counts);
    }

    fn count(&mut self, counts: Counts) {
        let Counts {
            happenings,
            operations,
            done,
            unknown,
            elections,
            lives,
            audits,
            scrubs,
            undecided,
            simulated_ms,
        } = counts;
        self.counts.happenings += happenings;
        self.counts.operations += operations;
        self.counts.done += done;
        self.counts.unknown += unknown;
        self.counts.elections += elections;
        self.counts.lives += lives;
        self.counts.audits += audits;
        self.counts.scrubs += scrubs;
        self.counts.undecided += undecided;
        self.counts.simulated_ms += simulated_ms;
    }
}

/// Runs these seeds, so many at a time, until so many have failed.
pub(crate) fn run(options: &Options, seeds: Range<u64>, jobs: usize, wanted: usize) -> Tally {
    let begun = now();
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || lock(&tally).failures.len() >= wanted {
                        return;
                    }
                    let report = sim::run(&Options { seed, ..options.clone() });
                    let counts = report.violations.is_empty() || is_to_blame(options, seed);
                    let mut tally = lock(&tally);
                    tally.add(report, counts);
                    tally.took = now() - begun;
                    show_progress(&tally, seeds.end - seeds.start);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failures.sort_by_key(|report| report.seed);
    tally
}

/// Whether it is the planted mistake that makes this seed fail, if there is one.
fn is_to_blame(options: &Options, seed: u64) -> bool {
    options.planted.is_none()
        || sim::run(&Options { seed, planted: None, ..options.clone() }).violations.is_empty()
}

fn show_progress(tally: &Tally, of: u64) {
    let mut err = io::stderr();
    if err.is_terminal() && tally.runs.is_multiple_of(10) {
        let (runs, failed) = (tally.runs, tally.failures.len());
        let speed = tally.seeds_per_second();
        let _gone = write!(err, "\r{runs} of {of} seeds, {failed} failed, {speed:.1} seeds/s ");
        if runs == of {
            let _gone = writeln!(err);
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a tool that says how fast it is")]
fn now() -> Instant {
    Instant::now()
}
