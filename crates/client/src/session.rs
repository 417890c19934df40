//! A session: reads that see its own writes and never go back in time, from any node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wire::{Consistency, Item, KeyRange, Page, Query, Revision, Txn, TxnResult};

use crate::{Client, Consistent, Error};

/// A client that remembers the highest revision it has seen. Clones are the same session.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    seen: Arc<AtomicU64>,
}

impl Session {
    /// A session that has seen everything up to `seen`; 0 for a new one.
    pub fn new(client: Client, seen: Revision) -> Self {
        Self { client, seen: Arc::new(AtomicU64::new(seen.0)) }
    }

    /// The highest revision seen: to be handed to whoever carries the session on.
    pub fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }

    /// The session has seen this revision, by whatever way.
    pub fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// What this session's reads must promise.
    pub fn consistency(&self) -> Consistency {
        Consistency::Session(self.seen())
    }

    /// See [`Client::get`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Consistent<Option<Item>>, Error> {
        let found = self.client.get(key, self.consistency()).await?;
        self.saw(found.header.revision);
        Ok(found)
    }

    /// See [`Client::read`].
    pub async fn read(&self, query: Query) -> Result<Consistent<Page>, Error> {
        let found = self.client.read(query, self.consistency()).await?;
        self.saw(found.header.revision);
        Ok(found)
    }

    /// See [`Client::put`].
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Revision, Error> {
        let revision = self.client.put(key, value).await?;
        self.saw(revision);
        Ok(revision)
    }

    /// See [`Client::delete`].
    pub async fn delete(&self, range: KeyRange) -> Result<(Revision, u64), Error> {
        let deleted = self.client.delete(range).await?;
        self.saw(deleted.0);
        Ok(deleted)
    }

    /// See [`Client::txn`].
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        let result = self.client.txn(txn).await?;
        self.saw(result.revision);
        Ok(result)
    }
}
