//! Watches: ordered, nothing skipped, nothing repeated, across nodes and their restarts.

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::{Event, KeyRange, Revision};

use super::{Versions, Violation};
use crate::history::{Action, History, OpId, Outcome, Seen, Text};

const CHECK: &str = "watch";

/// Checks every answer of every watch: each covers the revisions from what was asked to `next`.
pub fn check_watches(history: &History, versions: &Versions, violations: &mut Vec<Violation>) {
    for (at, operation) in history.operations.iter().enumerate() {
        if let (Action::Watch { range, from }, Outcome::Done(_, Seen::Events { events, next })) =
            (&operation.action, &operation.outcome)
        {
            check_order(OpId(at), range, *from, *next, events, violations);
            // "From now on" says only where the next answer begins.
            if *from > Revision(0) {
                check_whole(OpId(at), range, *from, *next, events, versions, violations);
            }
        }
    }
}

fn check_order(
    id: OpId,
    range: &KeyRange,
    from: Revision,
    next: Revision,
    events: &[Event],
    violations: &mut Vec<Violation>,
) {
    let mut fault = |what: String| violations.push(Violation::new(CHECK, what, &[id]));
    if next < from {
        fault(format!("a watch from {from} was sent back to {next}"));
    }
    for pair in events.windows(2) {
        if pair[1].revision < pair[0].revision {
            fault(format!("revision {} came after {}", pair[1].revision, pair[0].revision));
        }
    }
    for event in events {
        if event.revision < from || event.revision >= next {
            fault(format!(
                "an answer for revisions {from} to {next} holds one of {}",
                event.revision
            ));
        }
        if !range.contains(event.key()) {
            fault(format!("a change of {} was not asked for", Text(event.key())));
        }
    }
}

fn check_whole(
    id: OpId,
    range: &KeyRange,
    from: Revision,
    next: Revision,
    events: &[Event],
    versions: &Versions,
    violations: &mut Vec<Violation>,
) {
    let reported: BTreeSet<(Revision, &Bytes)> =
        events.iter().map(|event| (event.revision, event.key())).collect();
    if reported.len() != events.len() {
        let what = "a watch repeated a change".to_owned();
        violations.push(Violation::new(CHECK, what, &[id]));
    }
    for (revision, key, _, witness) in versions.between(from, next) {
        if range.contains(key) && !reported.contains(&(revision, key)) {
            let what = format!(
                "a watch of revisions {from} to {next} skipped the change of {} at {revision}",
                Text(key)
            );
            let slice: Vec<OpId> = witness.into_iter().chain([id]).collect();
            violations.push(Violation::new(CHECK, what, &slice));
        }
    }
}
