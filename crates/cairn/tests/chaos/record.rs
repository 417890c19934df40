//! What the clients saw.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sim::check::{Call, Register, RegisterOp, Verdict, linearize};

/// Configurations that the search for one key may take.
const BUDGET: usize = 500_000;

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// For each key its operations.
    registers: BTreeMap<String, Vec<Call<RegisterOp>>>,
    /// Keys of acknowledged appends.
    acknowledged: Vec<String>,
    /// When the last append that was acknowledged had begun.
    last_begun: Duration,
    /// When each write was acknowledged, in order,
    writes: Vec<Duration>,
    /// and each append: those are one client's, which does one after the other.
    appends: Vec<Duration>,
    unknown: usize,
    repeated: usize,
    not_done: usize,
}

/// How long nothing was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pause {
    /// By nobody.
    pub(crate) all: Duration,
    /// By a client that knows all nodes, and waits for each answer.
    pub(crate) one: Duration,
}

/// The longest time between two of `moments` that ended between `from` and `to`.
fn longest(moments: &[Duration], from: Duration, to: Duration) -> Duration {
    let first = moments.partition_point(|moment| *moment < from);
    let mut before = first.checked_sub(1).map_or(from, |place| moments[place]);
    let mut longest = Duration::ZERO;
    for moment in moments[first..].iter().copied().take_while(|at| *at < to).chain([to]) {
        longest = longest.max(moment.saturating_sub(before));
        before = moment;
    }
    longest
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms, for one client {} ms", self.all.as_millis(), self.one.as_millis())
    }
}

impl Record {
    /// An operation that was done, or may have been: then it has no end.
    pub(crate) fn called(&mut self, key: &str, call: Call<RegisterOp>) {
        self.unknown += usize::from(call.ended.is_none());
        self.registers.entry(key.to_owned()).or_default().push(call);
    }

    /// An operation that was refused.
    pub(crate) fn refused(&mut self) {
        self.not_done += 1;
    }

    /// A write was sent once more, under its first id.
    pub(crate) fn repeated(&mut self) {
        self.repeated += 1;
    }

    /// A write was acknowledged now.
    pub(crate) fn wrote(&mut self, now: Duration) {
        self.writes.push(now);
    }

    /// A new key was acknowledged now; the append began then.
    pub(crate) fn appended(&mut self, key: String, begun: Duration, now: Duration) {
        self.acknowledged.push(key);
        self.last_begun = begun;
        self.appends.push(now);
        self.wrote(now);
    }

    /// The longest times without an acknowledged write that ended between two moments.
    pub(crate) fn longest_pause(&self, from: Duration, to: Duration) -> Pause {
        Pause { all: longest(&self.writes, from, to), one: longest(&self.appends, from, to) }
    }

    /// When the last append that was acknowledged had begun.
    pub(crate) fn last_begun(&self) -> Duration {
        self.last_begun
    }

    /// The keys of all registers.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.registers.keys().cloned().collect()
    }

    /// How much was seen.
    pub(crate) fn summary(&self) -> String {
        format!(
            "operations: {} on {} keys, of which {} with unknown outcome; {} refused; {} repeated \
             under their first id; {} acknowledged appends",
            self.registers.values().map(Vec::len).sum::<usize>(),
            self.registers.len(),
            self.unknown,
            self.not_done,
            self.repeated,
            self.acknowledged.len(),
        )
    }

    /// All operations, key by key, in the order in which they ended.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (key, calls) in &self.registers {
            for Call { began, ended, op } in calls {
                let ended = ended.map_or_else(|| "?".to_owned(), |ended| ended.to_string());
                text.extend([key, " ", &began.to_string(), " ", &ended, " "]);
                text.extend([format!("{op:?}").as_str(), "\n"]);
            }
        }
        text
    }

    /// Keys that are not linearizable; and a complaint if too much could not be decided.
    pub(crate) fn check_registers(&self) -> Vec<String> {
        let mut undecided = 0;
        let mut violations = Vec::new();
        for (key, calls) in &self.registers {
            match linearize(&Register::default(), calls, BUDGET) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Violated { placed, state, stuck } => {
                    let stuck: Vec<_> = stuck.iter().map(|&call| &calls[call]).collect();
                    violations.push(format!(
                        "{key} is not linearizable: {placed} of {} operations have an order, after \
                         which it holds {state:?}; none of these can come next: {stuck:?}",
                        calls.len()
                    ));
                }
            }
        }
        println!("checked: {} keys, {undecided} undecided", self.registers.len());
        if undecided * 4 > self.registers.len() {
            violations.push(format!("{undecided} keys could not be decided: nothing is proven"));
        }
        violations
    }

    /// Acknowledged appends that are not among what was found, or hold something else.
    pub(crate) fn check_appends(&self, found: &[(String, String)]) -> Vec<String> {
        let found: BTreeMap<&str, &str> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let wrong = self.acknowledged.iter().filter_map(|key| {
            let value = found.get(key.as_str()).copied();
            (value != Some(key.as_str()))
                .then(|| format!("{key} was acknowledged, and now holds {value:?}"))
        });
        let mut violations: Vec<String> = wrong.collect();
        if self.acknowledged.len() < 100 {
            violations.push("the workload was hardly there: nothing is proven".to_owned());
        }
        violations
    }
}
