//! Watches: ordered, nothing skipped, nothing repeated, across nodes and their restarts.

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::{Change, Event, KeyRange, Revision};

use super::{Versions, Violation};
use crate::history::{Action, History, OpId, Outcome, Seen, Text};

const CHECK: &str = "watch";

/// Checks every answer of every watch: each covers the revisions from what was asked to `next`. What is
/// refused as compacted is compacted.
pub fn check_watches(history: &History, versions: &Versions, violations: &mut Vec<Violation>) {
    let compactions = Compactions::of(history);
    let newest = history.operations.iter().filter_map(|operation| match &operation.outcome {
        Outcome::Done(header, _) => Some(header.revision),
        Outcome::NotDone(_) | Outcome::Pending | Outcome::Unknown(_) => None,
    });
    let newest = newest.max().unwrap_or_default();
    for (at, operation) in history.operations.iter().enumerate() {
        let Action::Watch { range, from, previous } = &operation.action else { continue };
        match &operation.outcome {
            Outcome::Done(header, Seen::Events { events, next }) => {
                check_order(OpId(at), range, *from, *next, events, violations);
                // "From now on" says only where the next answer begins.
                if *from > Revision(0) {
                    check_whole(OpId(at), range, *from, *next, events, versions, violations);
                }
                if *previous {
                    let compacted = compactions.most(header.revision, operation.ended);
                    check_previous(OpId(at), events, (versions, compacted), violations);
                }
            }
            Outcome::NotDone(why) if why == "compacted" => {
                let most = compactions.most(newest, operation.ended);
                if most.is_some_and(|most| *from > most) {
                    let what =
                        format!("a watch from {from} was refused, and that is not compacted");
                    violations.push(Violation::new(CHECK, what, &[OpId(at)]));
                }
            }
            Outcome::Done(..) | Outcome::NotDone(_) | Outcome::Pending | Outcome::Unknown(_) => {}
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

/// What an event says of the time before is true, and it says so wherever that can still be read.
fn check_previous(
    id: OpId,
    events: &[Event],
    (versions, compacted): (&Versions, Option<Revision>),
    violations: &mut Vec<Violation>,
) {
    for event in events {
        let key = Text(event.key());
        let wrong = match (&event.change, &event.previous) {
            (Change::Put(item), None) if item.version == 1 => None,
            (_, None) => {
                // A state before what is compacted can't be read.
                let readable = compacted.is_some_and(|compacted| event.revision > compacted.next());
                readable.then(|| format!("nothing is told of {key} before {}", event.revision))
            }
            (Change::Put(item), Some(before))
                if item.version == 1
                    || before.version + 1 != item.version
                    || before.created != item.created =>
            {
                Some(format!(
                    "{key} of revision {} is version {}, and before it was version {}",
                    event.revision, item.version, before.version
                ))
            }
            (_, Some(before)) if before.key != event.key() || before.modified >= event.revision => {
                Some(format!("{key} was not this before {}: {before:?}", event.revision))
            }
            (_, Some(before)) => {
                let between = versions.of(&before.key);
                let mut between =
                    between.filter(|(at, _)| *at > before.modified && *at < event.revision);
                between.next().map(|(at, _)| {
                    let (told, revision) = (before.modified, event.revision);
                    format!("before {revision} {key} was that of {at}, and not that of {told}")
                })
            }
        };
        if let Some(what) = wrong {
            violations.push(Violation::new("previous", what, &[id]));
        }
    }
}

/// What may have been compacted when somebody who saw a revision was answered.
struct Compactions<'a> {
    history: &'a History,
    /// Compactions that clients asked for: when, and before which revision.
    asked: Vec<(consensus::Time, Revision)>,
}

impl<'a> Compactions<'a> {
    fn of(history: &'a History) -> Self {
        let asked = history.operations.iter().filter_map(|operation| match &operation.action {
            Action::Compact { before } if !matches!(operation.outcome, Outcome::NotDone(_)) => {
                Some((operation.began, *before))
            }
            _ => None,
        });
        Self { history, asked: asked.collect() }
    }

    /// No more than what is before this revision; `None` if nothing is known of that.
    fn most(&self, seen: Revision, ended: Option<consensus::Time>) -> Option<Revision> {
        let own = Revision(seen.0.saturating_sub(self.history.terms.retained?));
        let asked = self.asked.iter().filter(|(began, _)| ended.is_none_or(|ended| *began < ended));
        Some(asked.map(|(_, before)| *before).max().unwrap_or_default().max(own))
    }
}
