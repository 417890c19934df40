//! Elections: the head of a queue leads, and its key's value is what it proclaims.

use bytes::Bytes;
use client::{Client, Watch};
use wire::{Change, Header, Item, Refusal, Revision};

use crate::error::Error;
use crate::queue::{Entered, Place, Queue, leave_for_good, pause_after};
use crate::sequencer::Sequencer;

/// An election. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Election {
    queue: Queue,
}

/// A leadership, or a candidate's place: valid as long as its key exists.
#[derive(Clone, Debug)]
pub struct Leadership {
    queue: Queue,
    place: Place,
    revision: Revision,
}

impl Election {
    /// The election with this name: its keys are `name/LEASE`.
    pub fn new(client: &Client, name: impl Into<Bytes>) -> Self {
        Self { queue: Queue::new(client.clone(), name) }
    }

    /// Its name.
    pub fn name(&self) -> &Bytes {
        self.queue.name()
    }

    /// Stands for election with a value, and waits to be elected. `None` if `give_up` was ready first;
    /// the candidature is then withdrawn.
    ///
    /// If this is dropped half-way, the candidature may stand until the lease ends: prefer `give_up`.
    pub async fn campaign(
        &self,
        lease: u64,
        value: impl Into<Bytes>,
        give_up: impl Future<Output = ()>,
    ) -> Result<Option<Leadership>, Error> {
        let value = value.into();
        let Entered { place, is_head, found, mut revision } =
            self.queue.enter(lease, value.clone()).await?;
        let leadership =
            |revision| Leadership { queue: self.queue.clone(), place: place.clone(), revision };
        if found.is_some_and(|found| found != value) {
            let set = self.queue.set(&place, value).await;
            match set {
                Ok(Some(at)) => revision = at,
                Ok(None) => return Err(Error::NotLeader),
                Err(error) => {
                    leave_for_good(&self.queue, &place).await;
                    return Err(error);
                }
            }
        }
        if is_head {
            return Ok(Some(leadership(revision)));
        }
        let turn = tokio::select! {
            turn = self.queue.turn(&place) => Some(turn),
            () = give_up => None,
        };
        match turn {
            Some(Ok(revision)) => Ok(Some(leadership(revision))),
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

    /// A leadership that was told before: its key and the revision that created it. Whether it is
    /// valid still, its use will tell.
    pub fn resume(&self, key: impl Into<Bytes>, created: Revision, lease: u64) -> Leadership {
        let place = Place { key: key.into(), created, lease };
        Leadership { queue: self.queue.clone(), place, revision: created }
    }

    /// Who leads: the key and its value; `None` if nobody does.
    pub async fn leader(&self) -> Result<(Header, Option<Item>), Error> {
        self.queue.head().await
    }

    /// Follows who leads and what they proclaim, from now on.
    pub fn observe(&self) -> Observer {
        Observer { queue: self.queue.clone(), state: Following::Unknown }
    }
}

impl Leadership {
    /// The key that stands for it.
    pub fn key(&self) -> &Bytes {
        &self.place.key
    }

    /// The fencing token: bear it in every write that only the leader may do.
    pub fn sequencer(&self) -> Sequencer {
        Sequencer { key: self.place.key.clone(), token: self.place.created }
    }

    /// The lease that it hangs on.
    pub fn lease(&self) -> u64 {
        self.place.lease
    }

    /// The revision at which it was seen to lead.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Proclaims another value, without a new election.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<Revision, Error> {
        self.queue.set(&self.place, value.into()).await?.ok_or(Error::NotLeader)
    }

    /// Steps down. May be repeated; does nothing if the leadership is lost already.
    pub async fn resign(&self) -> Result<Revision, Error> {
        self.queue.leave(&self.place).await
    }
}

/// What an observer sees: a leader's key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The revision at which it held.
    pub revision: Revision,
    /// The leader's key.
    pub item: Item,
}

/// Sees each leader, and each value that it proclaims while it leads. One that led and fell while the
/// observer did not look may be skipped; the newest never is.
#[derive(Debug)]
pub struct Observer {
    queue: Queue,
    state: Following,
}

#[derive(Debug)]
enum Following {
    /// Who leads must be asked.
    Unknown,
    /// Nobody leads: what comes will.
    Vacant(Watch),
    /// This key's owner leads. What the watch brought and was not yet told waits here, the next last.
    Leader(Watch, Vec<(Revision, Change)>),
}

impl Observer {
    /// The next thing to see; waits for it as long as it takes. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            let step = match &mut self.state {
                Following::Unknown => self.look().await,
                Following::Vacant(watch) => match watch.next().await {
                    // Whoever came may be gone again: ask.
                    Ok(_) => {
                        self.state = Following::Unknown;
                        Ok(None)
                    }
                    Err(error) => Err(error.into()),
                },
                Following::Leader(watch, waiting) => match waiting.pop() {
                    Some((revision, Change::Put(item))) => Ok(Some(Observed { revision, item })),
                    Some((_, Change::Delete { .. })) => {
                        self.state = Following::Unknown;
                        Ok(None)
                    }
                    None => match watch.next().await {
                        Ok(batch) => {
                            let events = batch.events.into_iter().rev();
                            waiting.extend(events.map(|event| (event.revision, event.change)));
                            Ok(None)
                        }
                        Err(error) => Err(error.into()),
                    },
                },
            };
            match step {
                Ok(Some(observed)) => return Ok(observed),
                Ok(None) => {}
                // What was missed is gone: see what holds now.
                Err(Error::Client(client::Error::Refused(Refusal::Compacted { .. }))) => {
                    self.state = Following::Unknown;
                }
                Err(Error::Client(error)) => pause_after(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Observed>, Error> {
        let (header, head) = self.queue.head().await?;
        let after = Revision(header.revision.0 + 1);
        let Some(item) = head else {
            self.state = Following::Vacant(self.queue.watch(after));
            return Ok(None);
        };
        let watch = self.queue.watch_key(item.key.clone(), after);
        self.state = Following::Leader(watch, Vec::new());
        Ok(Some(Observed { revision: header.revision, item }))
    }
}
