//! Each key as a register with read, write and compare-and-swap.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{Consistency, Item};

use super::linear::{Call, Model, Verdict, linearize};
use crate::check::Violation;
use crate::history::{Action, Hang, History, OpId, Operation, Outcome, Seen, Text, Write};

/// Configurations that the search for one key may take. Unknown outcomes make it grow.
const BUDGET: usize = 200_000;

/// One key. Its state is the number of the value that it holds.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// Values that hang on a lease: they may vanish at any time. Whether they may at *this* time is
    /// for others to say, who know of leases.
    pub mortal: BTreeSet<u32>,
}

/// What may be done to a register; values are numbers, `None` is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    /// Saw this.
    Read(Option<u32>),
    /// Made it this.
    Write(Option<u32>),
    /// Found the first, made it the second.
    Swap(Option<u32>, Option<u32>),
    /// Found something else than this.
    SwapFailed(Option<u32>),
}

impl Model for Register {
    type State = Option<u32>;
    type Op = RegisterOp;

    fn initial(&self) -> Option<u32> {
        None
    }

    fn only_looks(&self, op: &RegisterOp) -> bool {
        match op {
            RegisterOp::Read(_) | RegisterOp::SwapFailed(_) => true,
            RegisterOp::Write(_) | RegisterOp::Swap(..) => false,
        }
    }

    fn drifts(&self, state: &Option<u32>) -> Option<Option<u32>> {
        state.is_some_and(|value| self.mortal.contains(&value)).then_some(None)
    }

    fn apply(&self, state: &Option<u32>, op: &RegisterOp) -> Option<Option<u32>> {
        match *op {
            RegisterOp::Read(value) => (value == *state).then_some(value),
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Swap(expect, value) => (expect == *state).then_some(value),
            RegisterOp::SwapFailed(expect) => (expect != *state).then_some(*state),
        }
    }
}

/// Numbers for values.
#[derive(Default)]
struct Numbers(BTreeMap<Bytes, u32>);

impl Numbers {
    fn of(&mut self, value: Option<&Bytes>) -> Option<u32> {
        let next = u32::try_from(self.0.len()).expect("a history has fewer values");
        value.map(|value| *self.0.entry(value.clone()).or_insert(next))
    }

    fn name(&self, number: Option<u32>) -> String {
        let found = self.0.iter().find(|(_, known)| Some(**known) == number);
        found.map_or_else(|| "absent".to_owned(), |(value, _)| Text(value).to_string())
    }
}

/// Checks every key of a history. Returns how many could not be decided.
pub fn check_registers(history: &History, violations: &mut Vec<Violation>) -> usize {
    let mut undecided = 0;
    for key in written_keys(history) {
        let mut numbers = Numbers::default();
        let (ids, calls) = calls_of(history, &key, &mut numbers);
        let register = Register { mortal: mortal_values(history, &key, &mut numbers) };
        match linearize(&register, &calls, BUDGET) {
            Verdict::Linearizable => {}
            Verdict::Undecided => undecided += 1,
            Verdict::Violated { placed, state, stuck } => {
                let what = format!(
                    "key {} is not linearizable: {placed} operations have an order, after which \
                     it holds {}; none of those shown can come next",
                    Text(&key),
                    numbers.name(state),
                );
                let mut slice: Vec<OpId> = stuck.iter().map(|&call| ids[call]).collect();
                slice.extend(neighbours(history, &ids, &calls, &stuck));
                violations.push(Violation::new("linearizability", what, &slice));
            }
        }
    }
    undecided
}

/// Values of this key that may hang on a lease.
fn mortal_values(history: &History, key: &Bytes, numbers: &mut Numbers) -> BTreeSet<u32> {
    let mut mortal = BTreeSet::new();
    for operation in &history.operations {
        if let Action::Write(write) = &operation.action
            && write.hang != Hang::Nowhere
            && let Some((_, value)) = write.changes.iter().find(|(changed, _)| changed == key)
        {
            mortal.extend(numbers.of(value.as_ref()));
        }
    }
    mortal
}

fn written_keys(history: &History) -> BTreeSet<Bytes> {
    let mut keys = BTreeSet::new();
    for operation in &history.operations {
        if let Action::Write(write) = &operation.action {
            keys.extend(write.changes.iter().map(|(key, _)| key.clone()));
        }
    }
    keys
}

/// Operations on this key that ended shortly before the stuck ones: what made the state.
fn neighbours(
    history: &History,
    ids: &[OpId],
    calls: &[Call<RegisterOp>],
    stuck: &[usize],
) -> Vec<OpId> {
    const SHOWN: usize = 10;
    let until = stuck.iter().filter_map(|&call| calls[call].ended).max().unwrap_or(u64::MAX);
    let mut near: Vec<usize> =
        (0..calls.len()).filter(|&call| calls[call].began <= until).collect();
    near.sort_by_key(|&call| {
        let operation = history.operation(ids[call]);
        operation.ended.map_or(0, consensus::Time::as_nanos)
    });
    near.iter().rev().take(SHOWN).map(|&call| ids[call]).collect()
}

/// What the history holds of one key.
fn calls_of(
    history: &History,
    key: &Bytes,
    numbers: &mut Numbers,
) -> (Vec<OpId>, Vec<Call<RegisterOp>>) {
    let seen = values_seen(history, key);
    let mut ids = Vec::new();
    let mut calls = Vec::new();
    for (at, operation) in history.operations.iter().enumerate() {
        let op = match &operation.action {
            Action::Read { level: Consistency::Linearizable, .. }
            | Action::Scan { level: Consistency::Linearizable, .. } => match told(operation, key) {
                Told::Nothing => None,
                Told::Absent => Some(RegisterOp::Read(None)),
                Told::Value(value) => Some(RegisterOp::Read(numbers.of(Some(value)))),
            },
            Action::Write(write) => write_of(operation, write, key, &seen, numbers),
            Action::Read { .. }
            | Action::Scan { .. }
            | Action::Watch { .. }
            | Action::Compact { .. }
            | Action::Scrub { .. }
            | Action::Transfer { .. }
            | Action::Grant { .. }
            | Action::Revoke { .. }
            | Action::KeepAlive { .. }
            | Action::Lease { .. }
            | Action::Leases
            | Action::Login { .. }
            | Action::Change(_)
            | Action::Ask(_) => None,
        };
        let Some(op) = op else { continue };
        let known = matches!(operation.outcome, Outcome::Done(..));
        let ended = operation.ended.filter(|_| known).map(consensus::Time::as_nanos);
        ids.push(OpId(at));
        calls.push(Call { began: operation.began.as_nanos(), ended, op });
    }
    (ids, calls)
}

/// Whether a page of these items, or no more than these, tells of a key.
pub(super) fn covers(action: &Action, items: &[Item], more: bool, key: &Bytes) -> bool {
    match action {
        Action::Read { key: read, .. } => read == key,
        Action::Scan { prefix, .. } => {
            let reached = !more || items.last().is_some_and(|last| last.key >= *key);
            key.starts_with(prefix) && reached
        }
        Action::Write(_)
        | Action::Watch { .. }
        | Action::Compact { .. }
        | Action::Scrub { .. }
        | Action::Transfer { .. }
        | Action::Grant { .. }
        | Action::Revoke { .. }
        | Action::KeepAlive { .. }
        | Action::Lease { .. }
        | Action::Leases
        | Action::Login { .. }
        | Action::Change(_)
        | Action::Ask(_) => false,
    }
}

/// What a page says of one key.
enum Told<'a> {
    Nothing,
    Absent,
    Value(&'a Bytes),
}

fn told<'a>(operation: &'a Operation, key: &Bytes) -> Told<'a> {
    let Outcome::Done(_, Seen::Page { items, more }) = &operation.outcome else {
        return Told::Nothing;
    };
    let covered = covers(&operation.action, items, *more, key);
    match items.iter().find(|item| item.key == *key) {
        _ if !covered => Told::Nothing,
        Some(item) => Told::Value(&item.value),
        None => Told::Absent,
    }
}

fn write_of(
    operation: &Operation,
    write: &Write,
    key: &Bytes,
    seen: &BTreeSet<Bytes>,
    numbers: &mut Numbers,
) -> Option<RegisterOp> {
    let change = write.changes.iter().find(|(changed, _)| changed == key);
    let expect = write.expect.as_ref().filter(|(expected, _)| expected == key);
    let expected = expect.map(|(_, value)| numbers.of(value.as_ref()));
    match &operation.outcome {
        Outcome::NotDone(_) => None,
        Outcome::Done(_, Seen::Written { succeeded: false, observed, .. }) => {
            match (observed, &write.observe) {
                (Some(items), Some(read)) if read == key => {
                    let item = items.iter().find(|item| item.key == *key);
                    Some(RegisterOp::Read(numbers.of(item.map(|item| &item.value))))
                }
                _ => expected.map(RegisterOp::SwapFailed),
            }
        }
        Outcome::Done(..) => match (change, expected) {
            (Some((_, value)), Some(expected)) => {
                Some(RegisterOp::Swap(expected, numbers.of(value.as_ref())))
            }
            (Some((_, value)), None) => Some(RegisterOp::Write(numbers.of(value.as_ref()))),
            (None, Some(expected)) => Some(RegisterOp::Read(expected)),
            (None, None) => None,
        },
        Outcome::Pending | Outcome::Unknown(_) => {
            // A write that nobody ever saw may as well not have happened: without it the search
            // has less to try, and finds an order just when it would find one with it.
            let (_, value) = change?;
            // One that hangs on a lease may have left nothing where something was.
            let mortal = write.hang != Hang::Nowhere;
            if value.as_ref().is_some_and(|value| !mortal && !seen.contains(value)) {
                return None;
            }
            let value = numbers.of(value.as_ref());
            Some(match expected {
                Some(expected) => RegisterOp::Swap(expected, value),
                None => RegisterOp::Write(value),
            })
        }
    }
}

/// Values of this key that somebody saw, or that a write which is done had expected.
///
/// A failed comparison that does not tell what it saw may have seen anything: then every value counts.
fn values_seen(history: &History, key: &Bytes) -> BTreeSet<Bytes> {
    let mut seen = BTreeSet::new();
    if history.operations.iter().any(|operation| fails_blindly(operation, key)) {
        let written = history.operations.iter().filter_map(|operation| match &operation.action {
            Action::Write(write) => write.changes.iter().find(|(changed, _)| changed == key),
            _ => None,
        });
        return written.filter_map(|(_, value)| value.clone()).collect();
    }
    for operation in &history.operations {
        if let Told::Value(value) = told(operation, key) {
            seen.insert(value.clone());
        }
        if let Outcome::Done(_, Seen::Written { observed, .. }) = &operation.outcome {
            let items = observed.iter().flatten().filter(|item| item.key == *key);
            seen.extend(items.map(|item| item.value.clone()));
        }
        // What an unknown swap expected must stay too: it may be the link between two seen values.
        if let Action::Write(Write { expect: Some((expected, Some(value))), .. }) =
            &operation.action
            && expected == key
            && !matches!(operation.outcome, Outcome::NotDone(_))
        {
            seen.insert(value.clone());
        }
    }
    seen
}

fn fails_blindly(operation: &Operation, key: &Bytes) -> bool {
    let Action::Write(Write { expect: Some((expected, _)), .. }) = &operation.action else {
        return false;
    };
    let failed =
        |seen: &Seen| matches!(seen, Seen::Written { succeeded: false, observed: None, .. });
    expected == key && matches!(&operation.outcome, Outcome::Done(_, seen) if failed(seen))
}
