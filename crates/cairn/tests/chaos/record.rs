//! What the clients saw.

use std::collections::BTreeMap;
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
    unknown: usize,
    repeated: usize,
    not_done: usize,
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

    /// A new key was acknowledged; the append began then.
    pub(crate) fn appended(&mut self, key: String, begun: Duration) {
        self.acknowledged.push(key);
        self.last_begun = begun;
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
