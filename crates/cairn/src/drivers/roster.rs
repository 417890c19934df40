//! The other nodes, as this one knows them: who they are, where they are, what waits for them.
//!
//! Those on the list of members, which is replicated, are spoken to. Besides there are *guests*: a
//! number that this node's list does not have yet may call, for a list may lag behind the leader's own,
//! and the leader may have joined meanwhile. A guest is spoken to where it says that it is found, for as
//! long as it is connected.
//!
//! # Who may call
//!
//! * A member, if it has the journal that it had when it was first met ([`Journals`]).
//! * A number that was given and is a member's no more has left for ever.
//! * A number that nobody has given as far as this node knows: a leader knows of all that were given, and
//!   refuses it; the others may lag, and take it for a guest. It can't harm: what a node says counts in
//!   consensus only if the membership in its log has that node.
//!
//! # Where they are
//!
//! The list says it; but a node that has moved can only have the list corrected once it can be answered.
//! So where it says itself that it is found, and where the configuration has it, it is looked for, too.
//!
//! A node that joins has a list of its own making until it is told the true one: those whom it may ask,
//! and nobody who ever left.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::warn;
use wire::{HelloError, Member, Members, NodeId};

use super::journals::{Acquaintance, Journals};
use super::outbox::Outbox;
use super::peers::{Dialer, Dialing, FAREWELL, Places};
use super::published::Published;

/// Guests at once; more are refused.
const GUESTS: usize = 16;

/// The other nodes.
#[derive(Debug)]
pub(crate) struct Roster {
    own: NodeId,
    state: Mutex<State>,
    /// How often who is to be spoken to has changed.
    version: AtomicU64,
    /// The list, once this node knows one.
    list: watch::Sender<Option<Arc<Members>>>,
    journals: Arc<Journals>,
    published: Arc<Published>,
    /// How the others are called; `None` where nobody is, in tests.
    dialing: Option<(Handle, Arc<Dialing>)>,
}

#[derive(Debug, Default)]
struct State {
    others: BTreeMap<NodeId, Other>,
    /// How many guests there were: each visit has a number.
    visits: u64,
}

/// One other node.
#[derive(Debug)]
struct Other {
    /// Where the list has it; empty if it does not.
    listed: String,
    /// Where it has said that it is; empty if it has not.
    told: String,
    /// Where the configuration has it; empty if it does not.
    configured: String,
    /// All of these, for its dialer.
    places: watch::Sender<Places>,
    /// Where its dialer has found it.
    found: Arc<Mutex<Option<String>>>,
    outbox: Arc<Outbox>,
    standing: Standing,
}

impl Other {
    /// Tells its dialer where to look for it.
    fn tell(&self) {
        let mut places = Vec::new();
        for place in [&self.listed, &self.told, &self.configured] {
            if !place.is_empty() && !places.contains(place) {
                places.push(place.clone());
            }
        }
        self.places.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&places);
            *known = Some(places);
            is_new
        });
    }

    /// Where it is, as far as is known.
    fn place(&self) -> Option<String> {
        let places = self.places.borrow().clone().unwrap_or_default();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        found.filter(|found| places.contains(found)).or_else(|| places.into_iter().next())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is on the list, or in the configuration as long as there is no list.
    Member,
    /// It has called.
    Guest { visit: u64, journal: u64 },
}

/// A guest's connection. When it is dropped, the guest is gone.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    roster: &'a Roster,
    node: NodeId,
    /// `None` for a member.
    number: Option<u64>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.roster.guest_gone(self.node, number);
        }
    }
}

impl Roster {
    /// Knows whom the configuration names, and begins to speak to them.
    pub(crate) fn new(
        own: NodeId,
        configured: &[Member],
        journals: Arc<Journals>,
        published: Arc<Published>,
        dialing: Option<(Handle, Arc<Dialing>)>,
    ) -> Self {
        let (list, _) = watch::channel(None);
        let state = Mutex::default();
        let version = AtomicU64::new(1);
        let roster = Self { own, state, version, list, journals, published, dialing };
        {
            let mut state = roster.state();
            for member in configured.iter().filter(|member| member.node != own) {
                let mut other = roster.begin(member.node, Standing::Member);
                other.configured.clone_from(&member.peer_address);
                other.tell();
                state.others.insert(member.node, other);
            }
        }
        roster
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to speak to a node, wherever it will turn out to be.
    fn begin(&self, node: NodeId, standing: Standing) -> Other {
        let (places, seen) = watch::channel(Some(Vec::new()));
        let (outbox, found) = (Arc::new(Outbox::default()), Arc::default());
        if let Some((runtime, dialing)) = &self.dialing {
            let (dialing, outbox, found) =
                (Arc::clone(dialing), Arc::clone(&outbox), Arc::clone(&found));
            runtime.spawn(Dialer::new(dialing, node, seen, outbox, found).run());
        }
        let (listed, told, configured) = (String::new(), String::new(), String::new());
        Other { listed, told, configured, places, found, outbox, standing }
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How often who is to be spoken to has changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What waits for a node, if it is to be spoken to.
    pub(crate) fn outbox(&self, node: NodeId) -> Option<Arc<Outbox>> {
        self.state().others.get(&node).map(|other| Arc::clone(&other.outbox))
    }

    /// Where a node is found, if that is known.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.state().others.get(&node)?.place()
    }

    /// All other nodes.
    pub(crate) fn numbers(&self) -> Vec<NodeId> {
        self.state().others.keys().copied().collect()
    }

    /// The newest list that this node has; none as long as it was told none.
    pub(crate) fn list(&self) -> Option<Arc<Members>> {
        self.list.borrow().clone()
    }

    /// Waits for a list that `holds`.
    pub(crate) async fn until(&self, holds: impl Fn(&Members) -> bool) -> Arc<Members> {
        let mut seen = self.list.subscribe();
        let found = seen.wait_for(|list| list.as_deref().is_some_and(&holds)).await;
        let list = found.expect("the sender lives as long as we do").clone();
        list.expect("it was waited for")
    }

    /// Waits until a node has left and what was said to it and by it has had a moment.
    pub(crate) async fn until_gone(&self, node: NodeId) {
        loop {
            self.until(|list| list.has_left(node)).await;
            sleep(FAREWELL).await;
            // Who leaves may be taken back as long as the others have not agreed.
            if self.list().is_some_and(|list| list.has_left(node)) {
                return;
            }
        }
    }

    /// There is another list: speaks to those on it, where it says, and to no others.
    pub(crate) fn set(&self, list: Arc<Members>) {
        let mut met = Vec::new();
        {
            let mut state = self.state();
            for member in list.list.iter().filter(|member| member.node != self.own) {
                self.follow(&mut state, member, &mut met);
            }
            state.others.retain(|node, other| {
                let is_guest = matches!(other.standing, Standing::Guest { .. });
                let stays = list.find(*node).is_some() || (is_guest && !list.has_left(*node));
                if !stays {
                    other.places.send_replace(None);
                }
                stays
            });
        }
        self.list.send_replace(Some(list));
        self.changed();
        for (node, journal) in met {
            self.remember_later(node, journal);
        }
    }

    fn follow(&self, state: &mut State, member: &Member, met: &mut Vec<(NodeId, u64)>) {
        let begin = || self.begin(member.node, Standing::Member);
        let other = state.others.entry(member.node).or_insert_with(begin);
        if let Standing::Guest { journal, .. } = other.standing {
            met.push((member.node, journal));
        }
        other.standing = Standing::Member;
        other.listed.clone_from(&member.peer_address);
        other.tell();
    }

    /// A guest has become a member. What it has is remembered as soon as the disk has it; until then its
    /// connection stands.
    fn remember_later(&self, node: NodeId, journal: u64) {
        let Some((runtime, _)) = &self.dialing else { return };
        let (journals, list) = (Arc::clone(&self.journals), self.list());
        runtime.spawn_blocking(move || {
            let has_left = |node| list.as_ref().is_some_and(|list| list.has_left(node));
            if let Err(error) = journals.remember(node, journal, has_left) {
                warn!(node = node.0, %error, "the journal of a node can't be remembered");
            }
        });
    }

    /// Whether a node that calls, and has this journal, may.
    pub(crate) fn judge(&self, node: NodeId, journal: u64) -> Result<(), HelloError> {
        if let Some(list) = self.list() {
            if list.has_left(node) {
                return Err(HelloError::Removed { node });
            }
            if list.find(node).is_none() && self.published.leader() == Some(self.own) {
                return Err(HelloError::Stranger { node });
            }
        }
        if self.journals.acquaintance(node, journal) == Acquaintance::Other {
            return Err(HelloError::Forgetful { node });
        }
        Ok(())
    }

    /// Meets a node that was judged: remembers its journal if it is a member, and else takes it for a
    /// guest who is found at `address`. The visit lasts as long as its connection.
    pub(crate) async fn meet(
        &self,
        node: NodeId,
        journal: u64,
        address: &str,
    ) -> io::Result<Result<Visit<'_>, HelloError>> {
        let list = self.list();
        if list.as_ref().is_none_or(|list| list.find(node).is_none()) {
            let number = self.take_guest(node, journal, address);
            return Ok(number.map(|number| Visit { roster: self, node, number }));
        }
        if self.journals.acquaintance(node, journal) == Acquaintance::New {
            let journals = Arc::clone(&self.journals);
            let has_left = move |node| list.as_ref().is_some_and(|list| list.has_left(node));
            let written = spawn_blocking(move || journals.remember(node, journal, has_left)).await;
            written.map_err(io::Error::other)??;
        }
        // Another one may have come first under the same number.
        Ok(match self.journals.acquaintance(node, journal) {
            Acquaintance::Same => {
                self.hear_address(node, address);
                Ok(Visit { roster: self, node, number: None })
            }
            Acquaintance::New | Acquaintance::Other => Err(HelloError::Forgetful { node }),
        })
    }

    /// A member has said where it is.
    fn hear_address(&self, node: NodeId, address: &str) {
        if let Some(other) = self.state().others.get_mut(&node) {
            address.clone_into(&mut other.told);
            other.tell();
        }
    }

    fn take_guest(
        &self,
        node: NodeId,
        journal: u64,
        address: &str,
    ) -> Result<Option<u64>, HelloError> {
        let mut state = self.state();
        let is_guest = |other: &Other| matches!(other.standing, Standing::Guest { .. });
        state.visits += 1;
        let visit = state.visits;
        let standing = Standing::Guest { visit, journal };
        if let Some(other) = state.others.get_mut(&node) {
            address.clone_into(&mut other.told);
            other.tell();
            // Whom the configuration names is spoken to whether it calls or not.
            if !is_guest(other) {
                return Ok(None);
            }
            other.standing = standing;
            return Ok(Some(visit));
        }
        if state.others.values().filter(|other| is_guest(other)).count() >= GUESTS {
            return Err(HelloError::Stranger { node });
        }
        let mut other = self.begin(node, standing);
        address.clone_into(&mut other.told);
        other.tell();
        state.others.insert(node, other);
        drop(state);
        self.changed();
        Ok(Some(visit))
    }

    fn guest_gone(&self, node: NodeId, number: u64) {
        let mut state = self.state();
        let standing = state.others.get(&node).map(|other| other.standing);
        let Some(Standing::Guest { visit, .. }) = standing else { return };
        // One that has called again since is still there.
        if visit == number
            && let Some(other) = state.others.remove(&node)
        {
            other.places.send_replace(None);
            drop(state);
            self.changed();
        }
    }
}

#[cfg(test)]
mod tests;
