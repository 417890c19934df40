//! The cluster as one request sees it: the client, with this request's deadline and id.

use std::time::Duration;

use client::{Client, Watch, WriteOptions};
use wire::{
    Body, Consistency, Header, KeyRange, LeaseStatus, MemberChange, Members, NodeId, NodeStatus,
    Page, Query, RequestId, Revision, Txn, TxnResult,
};

use crate::errors::Fault;

/// The way to the cluster.
pub(crate) struct Store {
    /// The door. It keeps the deadline, for it alone knows what holds when that has passed.
    client: Client,
    /// The id that the user chose for a write.
    request_id: Option<RequestId>,
}

impl Store {
    /// The way of a request that asked for this deadline and this id.
    pub(crate) fn new(
        client: &Client,
        timeout: Option<Duration>,
        request_id: Option<RequestId>,
    ) -> Self {
        let client = match timeout {
            Some(timeout) => client.with_timeout(timeout),
            None => client.clone(),
        };
        Self { client, request_id }
    }

    /// Reads one page.
    pub(crate) async fn read(
        &self,
        query: Query,
        consistency: Consistency,
    ) -> Result<(Header, Page), Fault> {
        let read = self.client.read(query, consistency).await?;
        Ok((read.header, read.value))
    }

    /// Does a transaction.
    pub(crate) async fn txn(&self, txn: Txn) -> Result<TxnResult, Fault> {
        self.write(Body::Txn(txn)).await
    }

    /// Has a command done.
    pub(crate) async fn write(&self, body: Body) -> Result<TxnResult, Fault> {
        let options = WriteOptions { request_id: self.request_id, timeout: None };
        Ok(self.client.execute(body, options).await?.value)
    }

    /// A name for a new lease. A write that is repeated under its own id names the same one again.
    pub(crate) fn new_lease(&self) -> u64 {
        match self.request_id {
            Some(id) => client::lease_name(id.client),
            None => self.client.draw_lease(),
        }
    }

    /// Which leases there are.
    pub(crate) async fn leases(&self) -> Result<Vec<u64>, Fault> {
        Ok(self.client.leases().await?.value)
    }

    /// How long a lease has left, and which keys hang on it if they are wanted.
    pub(crate) async fn lease(&self, lease: u64, keys: bool) -> Result<LeaseStatus, Fault> {
        Ok(self.client.lease(lease, keys).await?.value)
    }

    /// Gives a lease all of its time anew.
    pub(crate) async fn keep_alive(&self, lease: u64) -> Result<LeaseStatus, Fault> {
        Ok(self.client.keep_alive(lease).await?.value)
    }

    /// Changes of `range` at `from` or later.
    pub(crate) fn watch(&self, range: KeyRange, from: Revision) -> Watch {
        self.client.watch(range, from)
    }

    /// How the nearest node is.
    pub(crate) async fn status(&self) -> Result<NodeStatus, Fault> {
        Ok(self.client.status(None).await?)
    }

    /// How each node is, by name, as far as they answer.
    pub(crate) async fn statuses(&self) -> Vec<(String, Result<NodeStatus, client::Error>)> {
        self.client.statuses().await
    }

    /// The nodes of the cluster.
    pub(crate) async fn members(&self) -> Result<Members, Fault> {
        Ok(self.client.members().await?.value)
    }

    /// Has the nodes of the cluster changed; tells which there are then, and which one it was about.
    pub(crate) async fn change_members(
        &self,
        change: MemberChange,
    ) -> Result<(Members, Option<NodeId>), Fault> {
        Ok(self.client.change_members(change).await?.value)
    }

    /// Begins to hand leadership to a node.
    pub(crate) async fn transfer(&self, to: NodeId) -> Result<(), Fault> {
        Ok(self.client.transfer(to).await?)
    }
}
