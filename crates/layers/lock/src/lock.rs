//! A lock: the head of a queue holds it.

use bytes::Bytes;
use client::Client;
use wire::Revision;

use crate::error::Error;
use crate::queue::{Entered, Place, Queue, leave_for_good};
use crate::sequencer::Sequencer;

/// A lock. Clones are the same lock.
#[derive(Clone, Debug)]
pub struct Lock {
    queue: Queue,
}

/// A lock that is held, as long as its key exists: until it is released or the lease ends. Dropping
/// this releases nothing.
#[derive(Clone, Debug)]
pub struct Held {
    queue: Queue,
    place: Place,
    revision: Revision,
}

impl Lock {
    /// The lock with this name: its keys are `name/LEASE`.
    pub fn new(client: &Client, name: impl Into<Bytes>) -> Self {
        Self { queue: Queue::new(client.clone(), name) }
    }

    /// Its name.
    pub fn name(&self) -> &Bytes {
        self.queue.name()
    }

    /// Acquires the lock for a lease, which must outlive the holding: waits until all who came before
    /// have let go. A lease that holds it already holds it. `None` if `give_up` was ready first; the
    /// place in the queue is then given up too.
    ///
    /// If this is dropped half-way, the place may stay taken until the lease ends: prefer `give_up`.
    pub async fn acquire(
        &self,
        lease: u64,
        give_up: impl Future<Output = ()>,
    ) -> Result<Option<Held>, Error> {
        let Entered { place, is_head, revision, .. } =
            self.queue.enter(lease, Bytes::new()).await?;
        let held = |revision| Held { queue: self.queue.clone(), place: place.clone(), revision };
        if is_head {
            return Ok(Some(held(revision)));
        }
        let turn = tokio::select! {
            turn = self.queue.turn(&place) => Some(turn),
            () = give_up => None,
        };
        match turn {
            Some(Ok(revision)) => Ok(Some(held(revision))),
            Some(Err(Error::Gone)) => Err(Error::Gone),
            Some(Err(error)) => {
                leave_for_good(&self.queue, &place).await;
                Err(error)
            }
            None => {
                leave_for_good(&self.queue, &place).await;
                Ok(None)
            }
        }
    }

    /// Acquires the lock if it is free, or held by this very lease; `None` if it is not.
    pub async fn try_acquire(&self, lease: u64) -> Result<Option<Held>, Error> {
        let entered = self.queue.enter(lease, Bytes::new()).await?;
        let Entered { place, is_head, revision, .. } = entered;
        let held = Held { queue: self.queue.clone(), place, revision };
        if is_head {
            return Ok(Some(held));
        }
        self.queue.leave(&held.place).await?;
        Ok(None)
    }
}

impl Held {
    /// The key that stands for the holding.
    pub fn key(&self) -> &Bytes {
        &self.place.key
    }

    /// The fencing token: bear it in every write that the lock shall protect.
    pub fn sequencer(&self) -> Sequencer {
        Sequencer { key: self.place.key.clone(), token: self.place.created }
    }

    /// The lease that it hangs on.
    pub fn lease(&self) -> u64 {
        self.place.lease
    }

    /// The revision at which the lock was seen to be held.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Lets go. May be repeated; does nothing if the lock is lost already.
    pub async fn release(&self) -> Result<Revision, Error> {
        self.queue.leave(&self.place).await
    }
}
