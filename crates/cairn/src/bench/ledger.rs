//! What came of the operations: counts, latencies, errors.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::fault::Fault;

/// The longest latency that is told from longer ones.
const LONGEST_US: u64 = 600_000_000;

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A write, to its acknowledgement.
    Put,
    /// A read of one key.
    Get,
    /// A read of several.
    Scan,
    /// A conditional write.
    Cas,
    /// A lease granted.
    Grant,
    /// A lease kept alive.
    KeepAlive,
    /// From the start of a write until a watcher has it.
    Delivery,
}

impl Kind {
    /// As it is printed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Scan => "scan",
            Self::Cas => "cas",
            Self::Grant => "grant",
            Self::KeepAlive => "keep_alive",
            Self::Delivery => "delivery",
        }
    }

    /// Whether it goes through the log.
    pub(super) fn is_write(self) -> bool {
        match self {
            Self::Put | Self::Cas | Self::Grant => true,
            Self::Get | Self::Scan | Self::KeepAlive | Self::Delivery => false,
        }
    }
}

/// How an answered operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As hoped.
    Well,
    /// Answered, but a condition did not hold or a key was not there.
    Otherwise,
}

/// The time in which operations count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Those that start from here on,
    pub(super) begin: Instant,
    /// and before this.
    pub(super) end: Instant,
}

impl Window {
    /// Whether something that starts then counts.
    pub(super) fn holds(self, start: Instant) -> bool {
        (self.begin..self.end).contains(&start)
    }

    /// Its length.
    pub(super) fn length(self) -> Duration {
        self.end - self.begin
    }
}

/// Answered operations of one kind.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
    /// Those that [`Verdict::Otherwise`].
    pub(super) otherwise: u64,
}

impl Series {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Self { latency: latency.expect("the bounds are constants that fit"), otherwise: 0 }
    }

    /// Adds others to these.
    pub(super) fn join(&mut self, other: Self) {
        self.latency += other.latency;
        self.otherwise += other.otherwise;
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.latency.len()
    }

    /// The latency that this part of them did not exceed, in milliseconds.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        ms(self.latency.value_at_quantile(quantile))
    }

    /// The longest latency, in milliseconds.
    pub(super) fn max_ms(&self) -> f64 {
        ms(self.latency.max())
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of ten minutes fit into an f64")]
fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Operations that ended without an answer, of one kind of error.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// How many.
    pub(super) count: u64,
    /// What the first one said.
    pub(super) example: String,
}

/// All that was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// What was answered.
    pub(super) series: BTreeMap<Kind, Series>,
    /// What was not, by the error's code.
    pub(super) errors: BTreeMap<&'static str, Trouble>,
}

impl Tally {
    fn answered(&mut self, kind: Kind, latency: Duration, ended: Verdict) {
        let series = self.series.entry(kind).or_insert_with(Series::new);
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        series.latency.saturating_record(us.max(1));
        series.otherwise += u64::from(ended == Verdict::Otherwise);
    }

    fn failed(&mut self, code: &'static str, count: u64, example: impl FnOnce() -> String) {
        let trouble = self.errors.entry(code);
        trouble.or_insert_with(|| Trouble { count: 0, example: example() }).count += count;
    }

    /// How many operations were answered; deliveries are none.
    pub(super) fn operations(&self) -> u64 {
        self.series
            .iter()
            .filter(|(kind, _)| **kind != Kind::Delivery)
            .map(|(_, s)| s.count())
            .sum()
    }

    /// How many of them were writes.
    pub(super) fn writes(&self) -> u64 {
        self.series.iter().filter(|(kind, _)| kind.is_write()).map(|(_, s)| s.count()).sum()
    }

    /// How many were not answered.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().map(|trouble| trouble.count).sum()
    }
}

/// A window and what was counted in it.
#[derive(Debug)]
pub(super) struct Ledger {
    /// When things count.
    pub(super) window: Window,
    tally: Mutex<Tally>,
}

impl Ledger {
    /// An empty one.
    pub(super) fn new(window: Window) -> Self {
        Self { window, tally: Mutex::default() }
    }

    /// An operation that started then was answered after this time.
    pub(super) fn answered(&self, kind: Kind, start: Instant, latency: Duration, ended: Verdict) {
        if self.window.holds(start) {
            self.tally().answered(kind, latency, ended);
        }
    }

    /// An operation that started then was not answered.
    pub(super) fn failed(&self, start: Instant, error: &Fault) {
        if self.window.holds(start) {
            self.tally().failed(error.code(), 1, || error.to_string());
        }
    }

    /// So many operations should have started and did not, or what they led to never came.
    pub(super) fn missed(&self, code: &'static str, count: u64, why: &str) {
        if count > 0 {
            self.tally().failed(code, count, || why.to_owned());
        }
    }

    /// Adds what another one of the same window holds.
    pub(super) fn absorb(&self, other: &Self) {
        let other = other.total();
        let mut tally = self.tally();
        for (kind, series) in other.series {
            tally.series.entry(kind).or_insert_with(Series::new).join(series);
        }
        for (code, trouble) in other.errors {
            tally.failed(code, trouble.count, || trouble.example);
        }
    }

    /// What was counted so far.
    pub(super) fn total(&self) -> Tally {
        self.tally().clone()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Nothing in here can panic half-way through a change.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::clock;

    fn ledger() -> Ledger {
        let begin = clock::instant();
        Ledger::new(Window { begin, end: begin + Duration::from_secs(1) })
    }

    #[test]
    fn what_starts_in_the_window_counts_however_long_it_takes() {
        let before = clock::instant();
        let ledger = ledger();
        let Window { begin, end } = ledger.window;
        let long = Duration::from_secs(30);
        ledger.answered(Kind::Put, begin + Duration::from_millis(999), long, Verdict::Well);
        ledger.answered(Kind::Put, end, long, Verdict::Well);
        ledger.answered(Kind::Put, before, long, Verdict::Well);
        let total = ledger.total();
        assert_eq!((total.operations(), total.writes()), (1, 1));
        assert!((total.series[&Kind::Put].max_ms() / 30_000.0 - 1.0).abs() < 0.001);
    }

    #[test]
    fn errors_are_counted_by_kind_with_an_example() {
        let ledger = ledger();
        let error = |why: &str| client::Error::Unavailable { why: why.into() }.into();
        ledger.failed(ledger.window.begin, &error("n1: gone"));
        ledger.failed(ledger.window.begin, &error("n2: gone"));
        ledger.missed("never_started", 3, "too slow");
        ledger.missed("lost", 0, "none");
        let total = ledger.total();
        assert_eq!(total.error_count(), 5);
        assert_eq!(total.errors.keys().collect::<Vec<_>>(), [&"never_started", &"unavailable"]);
        assert_eq!(total.errors["unavailable"].example, "not done: n1: gone");
    }

    #[test]
    fn quantiles_are_exact_to_three_digits() {
        let mut tally = Tally::default();
        for us in 1..=1000 {
            tally.answered(Kind::Get, Duration::from_micros(us * 100), Verdict::Well);
        }
        let get = &tally.series[&Kind::Get];
        assert!((get.quantile_ms(0.5) - 50.0).abs() < 0.1, "{}", get.quantile_ms(0.5));
        assert!((get.quantile_ms(0.99) - 99.0).abs() < 0.2, "{}", get.quantile_ms(0.99));
    }
}
