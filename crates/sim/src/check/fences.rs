//! Fencing: nothing is written under a lock that was lost.
//!
//! That only one client at a time believes to hold a lock is *not* checked, for it does not hold: one that
//! was stopped for a while learns too late that its lease has ended. What holds is that whatever it
//! writes then, with the lock's token, is refused.
//!
//! # Reference
//!
//! Burrows, *The Chubby lock service for loosely-coupled distributed systems* (OSDI 2006), §2.4,
//! sequencers.

use wire::Revision;

use super::leases::Dead;
use super::{Versions, Violation};
use crate::history::{Action, History, OpId, Outcome, Seen, Text, Write};

const CHECK: &str = "fencing";

/// Checks every write that bears a token.
pub(super) fn check_fences(
    history: &History,
    versions: &Versions,
    dead: &Dead,
    violations: &mut Vec<Violation>,
) {
    for (at, operation) in history.operations.iter().enumerate() {
        let Action::Write(write) = &operation.action else { continue };
        let Some((lock, created)) = &write.fence else { continue };
        let Some(done) = done_at(write, &operation.outcome, versions) else { continue };
        let mut between = versions.of(lock).filter(|(at, _)| at > created && *at < done);
        let lost = between.find(|(_, version)| {
            version.value.is_none() || version.facts.created.is_some_and(|other| other != *created)
        });
        if let Some((revision, version)) = lost {
            let what = format!(
                "a write under the lock {} of revision {created} was done at revision {done}, though \
                 the lock was lost at {revision}",
                Text(lock)
            );
            let slice: Vec<OpId> = version.witness.into_iter().chain([OpId(at)]).collect();
            violations.push(Violation::new(CHECK, what, &slice));
            continue;
        }
        let lease = versions.of(lock).find(|(at, _)| at == created);
        let lease = lease.and_then(|(_, version)| version.facts.lease).unwrap_or(0);
        if dead.get(&lease).is_some_and(|gone| *gone < operation.began) {
            let what = format!(
                "a write under the lock {} was done, though its lease {lease} was known to be gone",
                Text(lock)
            );
            violations.push(Violation::new(CHECK, what, &[OpId(at)]));
        }
    }
}

/// The revision that a write made, if it is known that it made one.
pub(super) fn done_at(write: &Write, outcome: &Outcome, versions: &Versions) -> Option<Revision> {
    match outcome {
        Outcome::NotDone(_) => None,
        Outcome::Done(_, Seen::Written { revision, succeeded, changed, .. }) => {
            (*succeeded && *changed).then_some(*revision)
        }
        Outcome::Done(..) | Outcome::Pending | Outcome::Unknown(_) => {
            let (key, value) = write.changes.first()?;
            let mut found = versions.of(key).filter(|_| value.is_some());
            found.find(|(_, version)| version.value == *value).map(|(revision, _)| revision)
        }
    }
}
