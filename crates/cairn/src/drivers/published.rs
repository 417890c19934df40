//! What the node's thread lets others see without asking it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use node::Guarding;
use tokio::sync::watch;
use wire::{NodeId, NodeStatus};

use super::clock::Clock;

/// A batch that takes longer than this is no batch any more: the thread hangs.
const STUCK: Duration = Duration::from_secs(20);

/// The node's state as of a moment ago.
#[derive(Debug)]
pub(crate) struct Published {
    clock: Clock,
    status: Mutex<NodeStatus>,
    /// Why other nodes do not take this one, if that is so.
    refused: Mutex<Option<String>>,
    /// When the node's thread began what it does, in milliseconds from 1 on; 0 while it waits.
    busy_since_ms: AtomicU64,
    quiet: watch::Sender<bool>,
    leader: watch::Sender<Option<NodeId>>,
    /// With how often it has changed.
    guarding: watch::Sender<(u64, Arc<Guarding>)>,
}

impl Published {
    /// Shows these until there are newer ones.
    pub(crate) fn new(clock: Clock, status: NodeStatus, guarding: Arc<Guarding>) -> Self {
        let (quiet, _) = watch::channel(false);
        let (leader, _) = watch::channel(status.leader);
        let busy_since_ms = AtomicU64::new(0);
        let (guarding, _) = watch::channel((1, guarding));
        let (status, refused) = (Mutex::new(status), Mutex::default());
        Self { clock, status, refused, busy_since_ms, quiet, leader, guarding }
    }

    /// Shows a newer status.
    pub(crate) fn show(&self, status: NodeStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// The newest status.
    pub(crate) fn status(&self) -> NodeStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.add_trouble(&mut status);
        status
    }

    /// Adds to a status what the drivers alone know. The node's own trouble comes first.
    pub(crate) fn add_trouble(&self, status: &mut NodeStatus) {
        if status.trouble.is_none() {
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            status.trouble.clone_from(&refused);
        }
    }

    /// Other nodes do not take this one, or take it again.
    pub(crate) fn set_refused(&self, why: Option<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// The newest term: asked for often, so without the rest.
    pub(crate) fn epoch(&self) -> u64 {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// The node's thread begins to work.
    pub(crate) fn busy(&self) {
        self.busy_since_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The node's thread waits.
    pub(crate) fn idle(&self) {
        self.busy_since_ms.store(0, Ordering::Relaxed);
    }

    /// For how long the node's thread has been at one batch, if that is too long.
    pub(crate) fn stuck(&self) -> Option<Duration> {
        let since_ms = self.busy_since_ms.load(Ordering::Relaxed);
        let busy = Duration::from_millis(self.now_ms().saturating_sub(since_ms));
        (since_ms > 0 && busy > STUCK).then_some(busy)
    }

    /// The retired node has nothing under way any more.
    pub(crate) fn set_quiet(&self) {
        self.quiet.send_replace(true);
    }

    /// Waits for that.
    pub(crate) async fn until_quiet(&self) {
        // The sender lives as long as we do.
        let _ = self.quiet.subscribe().wait_for(|quiet| *quiet).await;
    }

    /// The node knows another leader, or none.
    pub(crate) fn set_leader(&self, leader: Option<NodeId>) {
        self.leader.send_replace(leader);
    }

    /// Who leads, as the node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        *self.leader.borrow()
    }

    /// Waits until another node than `former` leads.
    pub(crate) async fn until_led_by_another(&self, former: NodeId) {
        let another = |leader: &Option<NodeId>| leader.is_some_and(|leader| leader != former);
        // The sender lives as long as we do.
        let _ = self.leader.subscribe().wait_for(another).await;
    }

    /// Users have changed, or whether they matter.
    pub(crate) fn set_guarding(&self, guarding: &Arc<Guarding>) {
        self.guarding.send_if_modified(|(count, shown)| {
            let is_new = !Arc::ptr_eq(shown, guarding);
            if is_new {
                *count += 1;
                *shown = Arc::clone(guarding);
            }
            is_new
        });
    }

    /// What must be known to find out who somebody is.
    pub(crate) fn guarding(&self) -> Arc<Guarding> {
        Arc::clone(&self.guarding.borrow().1)
    }

    /// How often that has changed.
    pub(crate) fn guarding_count(&self) -> u64 {
        self.guarding.borrow().0
    }

    /// Waits until that has changed.
    pub(crate) async fn until_guarding_differs(&self, from: &Arc<Guarding>) -> Arc<Guarding> {
        let mut seen = self.guarding.subscribe();
        // The sender lives as long as we do.
        let _ = seen.wait_for(|(_, guarding)| !Arc::ptr_eq(guarding, from)).await;
        self.guarding()
    }

    /// Waits until it has changed more often than this; how often.
    pub(crate) async fn until_guarding_counts_more(&self, than: u64) -> u64 {
        let mut seen = self.guarding.subscribe();
        // The sender lives as long as we do.
        let _ = seen.wait_for(|(count, _)| *count > than).await;
        self.guarding.borrow().0
    }

    fn now_ms(&self) -> u64 {
        1 + u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
