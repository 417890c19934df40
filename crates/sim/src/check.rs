//! The checkers: they know the history and the replicas' final states, never the implementation.

mod auth;
mod fences;
mod finals;
mod leases;
mod linear;
mod places;
mod register;
mod rights;
mod versions;
mod watches;

use std::collections::BTreeSet;
use std::fmt::Write as _;

pub use finals::Final;
pub use linear::{Call, Model, Verdict, linearize};
pub use register::{Register, RegisterOp, check_registers};
pub use versions::{Versions, check_versions};
pub use watches::check_watches;

use crate::history::{History, OpId};

/// Something that was promised does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub check: &'static str,
    /// What was seen instead, in words.
    pub what: String,
    /// The operations that show it.
    pub slice: Vec<OpId>,
}

impl Violation {
    pub(crate) fn new(check: &'static str, what: String, slice: &[OpId]) -> Self {
        let slice: BTreeSet<OpId> = slice.iter().copied().collect();
        Self { check, what, slice: slice.into_iter().collect() }
    }
}

/// What the checks came to.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// Keys whose linearizability could not be decided within the budget.
    pub undecided: usize,
}

/// Everything that can be said of a history and of what the replicas held in the end.
pub fn judge(history: &History, finals: &[Final]) -> Judgement {
    let mut judgement = Judgement::default();
    let versions = check_versions(history, finals, &mut judgement.violations);
    check_watches(history, &versions, &mut judgement.violations);
    let dead = leases::check_leases(history, &versions, finals, &mut judgement.violations);
    fences::check_fences(history, &versions, &dead, &mut judgement.violations);
    auth::check_auth(history, &versions, &mut judgement.violations);
    finals::check_agreement(finals, &mut judgement.violations);
    judgement.undecided = check_registers(history, &mut judgement.violations);
    judgement
}

/// The operations that show a violation, as text.
pub fn show(history: &History, violation: &Violation) -> String {
    const SHOWN: usize = 24;
    const TAKES_ALL: &str = "a string takes everything";
    let mut lines = String::new();
    for id in violation.slice.iter().take(SHOWN) {
        writeln!(lines, "    #{} {}", id.0, history.operation(*id)).expect(TAKES_ALL);
    }
    if violation.slice.len() > SHOWN {
        writeln!(lines, "    … and {} more", violation.slice.len() - SHOWN).expect(TAKES_ALL);
    }
    lines
}
