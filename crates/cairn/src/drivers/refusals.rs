//! That other nodes do not take this one: said in the log where it happens, shown as the node's trouble,
//! and the end of the process where nothing else can come of it.
//!
//! * **Removed.** The cluster has agreed to do without this node, and its number never comes back. One
//!   that says so alone might know of a removal that is not agreed upon yet, so it must say so for a
//!   while.
//! * **Forgetful.** Under this number there was another data directory. One that was made by this process
//!   is the empty one of a machine that lost its disk: it ends at once. Of any other it must be said for
//!   a while, and nobody may have welcomed it: then the others know better.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wire::{HelloError, NodeId};

use super::clock;
use super::published::Published;
use crate::errors::Fault;

/// How long a node must be told that it is removed before it believes it.
pub(crate) const REMOVED: Duration = Duration::from_secs(2);

/// How long a node must be told that it has forgotten what it promised.
const FORGETFUL: Duration = Duration::from_secs(10);

/// Whether the data directory was there before this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// This process made it.
    New,
    /// It was there.
    Old,
}

/// What the other nodes have against this one.
#[derive(Debug)]
pub(crate) struct Refusals {
    own: NodeId,
    directory: Directory,
    published: Arc<Published>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when each node refuses this one, and why.
    refused: BTreeMap<NodeId, (Instant, HelloError)>,
    /// Some node has welcomed it.
    was_welcome: bool,
}

/// The page that explains a refusal, if there is one.
pub(crate) fn code_of(refusal: &HelloError) -> Option<&'static str> {
    match refusal {
        HelloError::Removed { .. } => Some(REMOVED_CODE),
        HelloError::Forgetful { .. } => Some(FORGETFUL_CODE),
        HelloError::Version { .. }
        | HelloError::Cluster { .. }
        | HelloError::Node { .. }
        | HelloError::Stranger { .. }
        | HelloError::Consensus { .. }
        | HelloError::NotHere => None,
    }
}

/// The code of a node that was removed.
pub(crate) const REMOVED_CODE: &str = "node-removed";

/// The code of a node that has another data directory than before.
pub(crate) const FORGETFUL_CODE: &str = "node-forgetful";

impl Refusals {
    /// Nobody has refused `own` yet, whose data directory is this old.
    pub(crate) fn new(own: NodeId, directory: Directory, published: Arc<Published>) -> Self {
        Self { own, directory, published, state: Mutex::default() }
    }

    /// A node takes this one.
    pub(crate) fn welcomed(&self, by: NodeId) {
        self.change(|state| {
            state.was_welcome = true;
            state.refused.remove(&by);
        });
    }

    /// A node does not take this one.
    pub(crate) fn refused(&self, by: NodeId, refusal: &HelloError) {
        let now = clock::instant();
        let verdict = self.change(|state| {
            let entry = state.refused.entry(by).or_insert_with(|| (now, refusal.clone()));
            if entry.1 != *refusal {
                *entry = (now, refusal.clone());
            }
            let since = now.saturating_duration_since(entry.0);
            verdict(refusal, since, self.directory, state.was_welcome)
        });
        match verdict {
            Verdict::GoOn => {}
            Verdict::Removed => Fault::Removed { node: self.own }.end_process(),
            Verdict::Forgetful => Fault::Forgetful { node: self.own }.end_process(),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let trouble = state.refused.iter().find(|(_, (_, refusal))| is_lasting(refusal));
        let trouble =
            trouble.map(|(by, (_, refusal))| format!("node {} refuses it: {refusal}", by.0));
        self.published.set_refused(trouble);
        result
    }
}

/// Whether an operator must do something about it here.
fn is_lasting(refusal: &HelloError) -> bool {
    match refusal {
        HelloError::Removed { .. }
        | HelloError::Forgetful { .. }
        | HelloError::Stranger { .. }
        | HelloError::Consensus { .. } => true,
        // The other one may be the wrong one.
        HelloError::Version { .. }
        | HelloError::Cluster { .. }
        | HelloError::Node { .. }
        | HelloError::NotHere => false,
    }
}

/// What comes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Removed,
    Forgetful,
}

fn verdict(
    refusal: &HelloError,
    since: Duration,
    directory: Directory,
    was_welcome: bool,
) -> Verdict {
    match refusal {
        HelloError::Removed { .. } if since >= REMOVED => Verdict::Removed,
        HelloError::Forgetful { .. } if directory == Directory::New => Verdict::Forgetful,
        HelloError::Forgetful { .. } if since >= FORGETFUL && !was_welcome => Verdict::Forgetful,
        HelloError::Removed { .. }
        | HelloError::Forgetful { .. }
        | HelloError::Version { .. }
        | HelloError::Cluster { .. }
        | HelloError::Node { .. }
        | HelloError::Stranger { .. }
        | HelloError::Consensus { .. }
        | HelloError::NotHere => Verdict::GoOn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_status::published;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn a_node_ends_where_nothing_else_can_come_of_it() {
        let (removed, forgetful) =
            (HelloError::Removed { node: NODE }, HelloError::Forgetful { node: NODE });
        let of = |refusal, since, directory, welcome| verdict(refusal, since, directory, welcome);
        let (now, long) = (Duration::ZERO, Duration::from_mins(1));
        assert_eq!(of(&removed, now, Directory::Old, true), Verdict::GoOn);
        assert_eq!(of(&removed, long, Directory::Old, true), Verdict::Removed);
        assert_eq!(of(&forgetful, now, Directory::New, true), Verdict::Forgetful);
        assert_eq!(of(&forgetful, now, Directory::Old, false), Verdict::GoOn);
        assert_eq!(of(&forgetful, long, Directory::Old, false), Verdict::Forgetful);
        assert_eq!(of(&forgetful, long, Directory::Old, true), Verdict::GoOn);
        let stranger = HelloError::Stranger { node: NODE };
        assert_eq!(of(&stranger, long, Directory::New, false), Verdict::GoOn);
    }

    #[test]
    fn a_refusal_is_the_nodes_trouble_until_it_is_taken_back() {
        let published = published();
        let refusals = Refusals::new(NODE, Directory::Old, Arc::clone(&published));
        refusals.refused(NodeId(2), &HelloError::Stranger { node: NODE });
        let trouble = published.status().trouble.unwrap();
        assert!(trouble.starts_with("node 2 refuses it: node 1 is not a member"), "{trouble}");
        refusals.welcomed(NodeId(2));
        assert_eq!(published.status().trouble, None);
    }
}
