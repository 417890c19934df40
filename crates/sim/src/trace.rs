//! What happened, in one line each: printed on demand, and always summed up in one number, so that
//! two runs of a seed can be compared.

use std::fmt;
use std::fmt::Write as _;

use consensus::Time;

use crate::history::Seconds;

/// The trace of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<String>,
    line_limit_bytes: usize,
}

impl Trace {
    /// A trace that keeps its lines, or only their number's worth.
    pub(crate) fn new(keep: bool) -> Self {
        let lines = keep.then(String::new);
        Self { hash: 0xcbf2_9ce4_8422_2325, lines, line_limit_bytes: 1 << 30 }
    }

    /// Whether lines are kept: only then is it worth making them.
    pub(crate) fn keeps_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Mixes numbers into the sum.
    pub(crate) fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.hash ^= self.hash >> 29;
        }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, now: Time, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines
            && lines.len() < self.line_limit_bytes
        {
            writeln!(lines, "{} {who:<4} {what}", Seconds(now)).expect("a string takes all");
        }
    }

    /// The sum: equal for equal runs.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// All lines.
    pub(crate) fn into_lines(self) -> String {
        self.lines.unwrap_or_default()
    }
}
