//! What the replicas hold in the end: all the same.

use bytes::Bytes;
use wire::{Event, Item, NodeId, Revision};

use super::Violation;

/// One replica's state when everything has come to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// Whose.
    pub node: NodeId,
    /// Its newest revision.
    pub revision: Revision,
    /// The last log index that it has applied.
    pub applied: u64,
    /// The revision before which the history is gone.
    pub compacted: Revision,
    /// The state beside the keys, in canonical form.
    pub digest: Bytes,
    /// Every key.
    pub items: Vec<Item>,
    /// Every change that can still be read.
    pub events: Vec<Event>,
}

/// Replicas that have applied the same log hold the same state and the same history.
pub(super) fn check_agreement(finals: &[Final], violations: &mut Vec<Violation>) {
    let Some((first, others)) = finals.split_first() else { return };
    for other in others {
        if let Some(what) = difference(first, other) {
            let what = format!("{} and {} have come apart: {what}", first.node, other.node);
            violations.push(Violation::new("agreement", what, &[]));
        }
    }
}

fn difference(one: &Final, two: &Final) -> Option<String> {
    if (one.applied, one.revision) != (two.applied, two.revision) {
        return Some(format!(
            "log index {} gives revision {}, {} gives {}",
            one.applied, one.revision, two.applied, two.revision
        ));
    }
    if one.compacted != two.compacted {
        return Some(format!("compacted at {} and {}", one.compacted, two.compacted));
    }
    if one.digest != two.digest {
        return Some(format!("the state beside the keys differs at log index {}", one.applied));
    }
    if one.items != two.items {
        let at = one.items.iter().zip(&two.items).take_while(|(a, b)| a == b).count();
        return Some(format!(
            "at revision {} key number {at} is {:?} here and {:?} there",
            one.revision,
            one.items.get(at),
            two.items.get(at)
        ));
    }
    if one.events != two.events {
        let at = one.events.iter().zip(&two.events).take_while(|(a, b)| a == b).count();
        return Some(format!(
            "change number {at} after revision {} is {:?} here and {:?} there",
            one.compacted,
            one.events.get(at),
            two.events.get(at)
        ));
    }
    None
}
