//! What its user may watch on one stream, as the nodes say.

use std::sync::Arc;
use std::time::Duration;

use client::Error;
use tonic::Status;
use wire::{KeyRange, Refusal, Revision};

use super::hub::StreamId;
use super::outlet::Outlet;
use super::requests::range_of;
use super::session::Watching;
use crate::auth::Asker;
use crate::errors;
use crate::pb::etcdserverpb::WatchCreateRequest;

/// Asks what may be watched on one stream.
pub(super) struct Judge {
    pub(super) watching: Arc<Watching>,
    pub(super) id: StreamId,
    pub(super) outlet: Arc<Outlet>,
    pub(super) asker: Asker,
}

impl Judge {
    /// Why a watch may not begin, if so. A token may be too old by now for a new one.
    pub(super) async fn judge_new(
        &self,
        create: &WatchCreateRequest,
    ) -> Result<Option<String>, Error> {
        if !self.watching.guard.is_enabled() {
            return Ok(None);
        }
        if let Err(refusal) = self.asker.is_still_known().await {
            return Ok(Some(reason(&errors::of_refusal(&refusal))));
        }
        let range = range_of(create.key.clone(), create.range_end.clone());
        self.judge(range).await
    }

    /// Why a watch of this range may not be, if so. The own node knows, and is asked for nothing else.
    async fn judge(&self, range: KeyRange) -> Result<Option<String>, Error> {
        if range.is_empty() {
            return Ok(None);
        }
        let mut probe = self.asker.client.watch(range, Revision(0));
        match probe.next_within(Duration::ZERO).await {
            Ok(_) => Ok(None),
            Err(Error::Refused(refusal @ Refusal::Denied { .. })) => {
                Ok(Some(reason(&errors::of_refusal(&refusal))))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the watches that may not be any more, now that there have been so many changes; the others
    /// go on.
    pub(super) async fn judge_all(&self, seen: u64) {
        if !self.watching.guard.is_enabled() {
            return self.watching.with(|hub| hub.judged(self.id, seen));
        }
        for (watch, range) in self.watching.with(|hub| hub.watched_by(self.id)) {
            match self.judge(range).await {
                Ok(None) => {}
                Ok(Some(why)) => self.watching.with(|hub| hub.bar(self.id, watch, &why)),
                // It can't be told: the client begins anew, and is then judged.
                Err(error) => return self.outlet.end(errors::of_client(&error)),
            }
        }
        self.watching.with(|hub| hub.judged(self.id, seen));
    }
}

/// As etcd writes it in this place.
fn reason(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}
