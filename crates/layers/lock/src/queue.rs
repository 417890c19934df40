//! The queue below locks and elections: keys under one prefix, in the order of their creation.
//!
//! A place is the key `NAME/LEASE`, created if it is absent, so whoever repeats an entry that went
//! unanswered gets the place that it has. The head is the key with the lowest create revision. One who
//! is not the head watches the key created last before its own: when that is deleted it looks again,
//! for the one that left may have been waiting too.
//!
//! # Invariants
//!
//! * A place is known by key *and* create revision: a key that was deleted and created anew is another
//!   place, at the end.
//! * Nothing that is told here rests on a watch alone: a watch wakes, a linearizable read decides.
//!
//! A name that another one continues behind a slash (`a` and `a/b`) shares its prefix and so its queue,
//! as it does in etcd.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Watch};
use wire::{
    Change, Compare, Consistency, Header, Item, KeyRange, Op, OpResult, Operand, Operator, Outcome,
    Projection, Put, Query, Refusal, Revision, Txn,
};

use crate::error::{Error, passes};

/// How many places an entry looks at in its own transaction. In a longer queue it is not the head
/// anyway, and looks again before it waits.
const GLANCE: u32 = 16;

/// The pause before a question that failed is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// A queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    client: Client,
    name: Bytes,
}

/// A place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: Bytes,
    pub(crate) created: Revision,
    pub(crate) lease: u64,
}

/// What an entry came to.
#[derive(Clone, Debug)]
pub(crate) struct Entered {
    pub(crate) place: Place,
    /// Whether it was the head at once.
    pub(crate) is_head: bool,
    /// What the key's value is, if the place was there before.
    pub(crate) found: Option<Bytes>,
    /// The store's revision.
    pub(crate) revision: Revision,
}

/// Who stands before a place.
enum Ahead {
    /// Nobody, as of this revision.
    Nobody(Revision),
    /// This key, as of this revision.
    Key(Bytes, Revision),
}

impl Place {
    /// Holds as long as the place is this one.
    fn compare(&self) -> Compare {
        Compare::key(self.key.clone(), Operator::Equal, Operand::Created(self.created))
    }
}

impl Queue {
    pub(crate) fn new(client: Client, name: impl Into<Bytes>) -> Self {
        Self { client, name: name.into() }
    }

    pub(crate) fn name(&self) -> &Bytes {
        &self.name
    }

    fn prefix(&self) -> Vec<u8> {
        [&self.name[..], b"/"].concat()
    }

    fn range(&self) -> KeyRange {
        KeyRange::prefix(self.prefix().into())
    }

    /// The key of a lease's place.
    pub(crate) fn key(&self, lease: u64) -> Bytes {
        let mut key = self.prefix();
        key.extend_from_slice(format!("{lease:x}").as_bytes());
        key.into()
    }

    /// Takes a place at the end, or finds the one that the lease has.
    pub(crate) async fn enter(&self, lease: u64, value: Bytes) -> Result<Entered, Error> {
        let key = self.key(lease);
        let own = Op::Read(Query::key(key.clone()));
        let all = Op::Read(Query {
            limit: GLANCE,
            projection: Projection::KeysOnly,
            ..Query::range(self.range())
        });
        let put = Put { key: key.clone(), value: Some(value), lease: Some(lease), previous: false };
        let absent = Compare::key(key.clone(), Operator::Equal, Operand::Created(Revision(0)));
        let txn = Txn {
            compares: vec![absent],
            then: vec![Op::Put(put), own.clone(), all.clone()],
            otherwise: vec![own, all],
            ..Txn::default()
        };
        let result = self.client.txn(txn).await?;
        let [.., OpResult::Read(own), OpResult::Read(all)] = &result.results[..] else {
            return Err(mismatch());
        };
        let Some(own) = own.items.first() else { return Err(mismatch()) };
        let place = Place { key, created: own.created, lease };
        let is_head = !all.more && all.items.iter().all(|item| item.created >= own.created);
        let found = (!result.succeeded).then(|| own.value.clone());
        Ok(Entered { place, is_head, found, revision: result.revision })
    }

    /// Waits until the place is the head; the revision at which it was seen to be. The place stays
    /// taken if this is dropped.
    pub(crate) async fn turn(&self, place: &Place) -> Result<Revision, Error> {
        loop {
            let (key, seen) = match self.ahead(place).await? {
                Ahead::Nobody(revision) => return Ok(revision),
                Ahead::Key(key, revision) => (key, revision),
            };
            let after = Revision(seen.0 + 1);
            let watch = |key| self.client.watch(KeyRange::single(key), after);
            // The own key may go first: with its lease, or by somebody's hand.
            tokio::select! {
                gone = until_deleted(watch(key)) => gone?,
                gone = until_deleted(watch(place.key.clone())) => gone?,
            }
        }
    }

    /// Who stands right before a place: of all those before it the one created last.
    async fn ahead(&self, place: &Place) -> Result<Ahead, Error> {
        'again: loop {
            let mut scan = self.client.scan(self.range()).keys_only();
            let mut found = false;
            let mut last: Option<(Revision, Bytes)> = None;
            let mut revision = Revision(0);
            loop {
                let page = match scan.next().await {
                    Ok(Some(page)) => page,
                    Ok(None) => break,
                    // Its revision was compacted away between two pages.
                    Err(client::Error::Refused(Refusal::Compacted { .. })) => continue 'again,
                    Err(error) => {
                        pause_after(error).await?;
                        continue;
                    }
                };
                revision = page.header.revision;
                for item in page.value.items {
                    found |= item.key == place.key && item.created == place.created;
                    let before = item.created < place.created;
                    if before && last.as_ref().is_none_or(|(created, _)| item.created > *created) {
                        last = Some((item.created, item.key));
                    }
                }
            }
            return match last {
                _ if !found => Err(Error::Gone),
                None => Ok(Ahead::Nobody(revision)),
                Some((_, key)) => Ok(Ahead::Key(key, revision)),
            };
        }
    }

    /// Leaves the queue, wherever the place was. Harmless if it is gone: a place of the same name that
    /// was taken later is left alone. The store's revision after it.
    pub(crate) async fn leave(&self, place: &Place) -> Result<Revision, Error> {
        let delete = Op::delete(KeyRange::single(place.key.clone()));
        let txn = Txn { compares: vec![place.compare()], then: vec![delete], ..Txn::default() };
        Ok(self.client.txn(txn).await?.revision)
    }

    /// Gives the place's key another value; `None` if it is gone.
    pub(crate) async fn set(&self, place: &Place, value: Bytes) -> Result<Option<Revision>, Error> {
        let (key, value) = (place.key.clone(), Some(value));
        // It goes on hanging on its lease.
        let put = Op::Put(Put { key, value, lease: None, previous: false });
        let txn = Txn { compares: vec![place.compare()], then: vec![put], ..Txn::default() };
        let result = self.client.txn(txn).await?;
        Ok(result.succeeded.then_some(result.revision))
    }

    /// The head, if there is one.
    pub(crate) async fn head(&self) -> Result<(Header, Option<Item>), Error> {
        loop {
            let mut scan = self.client.scan(self.range()).keys_only();
            let mut head: Option<Item> = None;
            let mut header = None;
            while let Some(page) = scan.next().await? {
                header = Some(page.header);
                for item in page.value.items {
                    if head.as_ref().is_none_or(|head| item.created < head.created) {
                        head = Some(item);
                    }
                }
            }
            let header = header.ok_or_else(mismatch)?;
            let Some(head) = head else { return Ok((header, None)) };
            let query = Query { revision: Some(header.revision), ..Query::key(head.key) };
            match self.client.read(query, Consistency::Linearizable).await {
                Ok(read) => return Ok((header, read.value.items.into_iter().next())),
                // It took so long that the store has gone on and forgotten.
                Err(client::Error::Refused(Refusal::Compacted { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Every change of the queue from a revision on.
    pub(crate) fn watch(&self, from: Revision) -> Watch {
        self.client.watch(self.range(), from)
    }

    /// Every change of one of its keys from a revision on.
    pub(crate) fn watch_key(&self, key: Bytes, from: Revision) -> Watch {
        self.client.watch(KeyRange::single(key), from)
    }
}

/// Waits until a key is deleted. Ends too when that can't be told from here any more: look again.
async fn until_deleted(mut watch: Watch) -> Result<(), Error> {
    loop {
        match watch.next().await {
            Ok(batch) => {
                let deleted = |change: &Change| matches!(change, Change::Delete { .. });
                if batch.events.iter().any(|event| deleted(&event.change)) {
                    return Ok(());
                }
            }
            Err(client::Error::Refused(Refusal::Compacted { .. })) => return Ok(()),
            Err(error) => pause_after(error).await?,
        }
    }
}

/// A pause, if what went wrong may be over afterwards.
pub(crate) async fn pause_after(error: client::Error) -> Result<(), Error> {
    if !passes(&error) {
        return Err(error.into());
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// A transaction was answered with what does not belong to it.
fn mismatch() -> Error {
    let why = "a transaction on a queue was answered with something else".to_owned();
    client::Error::Fatal { why }.into()
}

/// Leaves a place for good: repeats until that is known to be done. If the cluster is out of reach for
/// so long, the lease's end must do.
pub(crate) async fn leave_for_good(queue: &Queue, place: &Place) {
    const TRIES: usize = 3;
    const PATIENCE: Duration = Duration::from_secs(2);
    let queue = Queue { client: queue.client.with_timeout(PATIENCE), name: queue.name.clone() };
    for _ in 0..TRIES {
        match queue.leave(place).await {
            Ok(_) => return,
            Err(error) if error.outcome() == Outcome::Done => return,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
