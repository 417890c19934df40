//! Leases at the leader: kept alive, looked at, ended.
//!
//! To keep a lease alive takes a round of confirmation and no log entry, as long as the log says that a
//! next leader would give the lease all of its time. When a checkpoint says less (the holder was
//! late, or a leader before this one wrote it), a checkpoint that says all again comes first, and the
//! holder waits for it: otherwise the next leader could end the lease before the time that the holder was
//! promised.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{Role, Time};
use wire::{Body, Granted, LeaseStatus, Principal, Refusal, Remaining, Reply};

use crate::Ticket;
#[cfg(feature = "planted")]
use crate::config::Planted;
use crate::group::Group;
use crate::leases::Lease;
use crate::reads::{Waiting, Wanted};
use crate::shared::Shared;

/// Who waits until the log says that a lease has all of its time again, and what of our own is on its
/// way into the log.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    waiting: BTreeMap<u64, Vec<Ticket>>,
    /// Who came when the end of a lease was proposed already. Whether it has ended is for the log to
    /// say: should this leader fall, the next one may keep it alive.
    too_late: BTreeMap<u64, Vec<Ticket>>,
    /// Commands of the cluster itself that were proposed and are neither applied nor refused.
    under_way: usize,
    /// One of them was refused.
    refused: bool,
}

impl Renewals {
    /// Whether it is the first to wait for this lease.
    fn add(&mut self, lease: u64, ticket: Ticket) -> bool {
        let waiting = self.waiting.entry(lease).or_default();
        waiting.push(ticket);
        waiting.len() == 1
    }

    fn take(&mut self, lease: u64) -> Vec<Ticket> {
        self.waiting.remove(&lease).unwrap_or_default()
    }

    /// All who wait for a lease that has ended.
    fn ended(&mut self, lease: u64) -> impl Iterator<Item = Ticket> + use<> {
        let too_late = self.too_late.remove(&lease).unwrap_or_default();
        self.take(lease).into_iter().chain(too_late)
    }

    fn drain(&mut self) -> impl Iterator<Item = Ticket> + use<> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.chain(std::mem::take(&mut self.too_late).into_values()).flatten()
    }

    /// Forgets one whose client has gone. The checkpoint is under way all the same.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let mut lists = self.waiting.values_mut().chain(self.too_late.values_mut());
        lists.any(|list| list.iter().position(|&t| t == ticket).map(|at| list.remove(at)).is_some())
    }
}

impl Group {
    /// A question about leases or users: the leader's to answer, once it is sure to have led since.
    pub(crate) fn ask_leader(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        principal: Option<Principal>,
        wanted: Wanted,
    ) {
        #[cfg(not(feature = "planted"))]
        let _ = now;
        match self.must_have_state().and_then(|()| self.must_lead(shared)) {
            #[cfg(feature = "planted")]
            Ok(()) if self.planted == Some(Planted::RenewalWithoutQuorum) => {
                self.serve(shared, now, Waiting { ticket, principal, wanted });
            }
            Ok(()) => self.reads.add(Waiting { ticket, principal, wanted }),
            Err(refusal) => shared.refuse(ticket, refusal),
        }
    }

    /// Begins to count how long leases have left, if it is this replica's turn.
    pub(crate) fn count_leases(&mut self, now: Time) {
        let can = self.ready && self.role == Role::Leader;
        #[cfg(feature = "planted")]
        let can = match self.planted {
            Some(Planted::LessorBeginsEarly) => self.role == Role::Leader,
            _ => can,
        };
        if can && !self.lessor.is_counting() && self.has_state() && !self.is_ingesting() {
            #[cfg(feature = "planted")]
            match self.planted {
                Some(Planted::StaleExpiryBelieved)
                    if self.lessor.resume(now, &self.state.leases) =>
                {
                    return;
                }
                Some(Planted::LeaseBeginsAnew) => {
                    return self.lessor.begin_anew(now, &self.state.leases);
                }
                _ => {}
            }
            self.lessor.begin(now, &self.state.leases);
        }
    }

    /// Counts no more: whoever waits for a checkpoint is refused.
    pub(crate) fn stop_counting(&mut self, shared: &mut Shared, refusal: &Refusal) {
        #[cfg(feature = "planted")]
        match self.planted {
            Some(Planted::StaleExpiryBelieved) => self.lessor.pause(),
            _ => self.lessor.stop(),
        }
        #[cfg(not(feature = "planted"))]
        self.lessor.stop();
        (self.renewals.under_way, self.renewals.refused) = (0, false);
        for ticket in self.renewals.drain() {
            shared.refuse(ticket, refusal.clone());
        }
    }

    /// A command of ours was proposed.
    pub(crate) fn own_proposed(&mut self) {
        self.renewals.under_way += 1;
    }

    /// A command of ours was applied, or (`refused`) consensus did not take it. Which one it was is
    /// not known here; so when none is under way any more, all that has not come about won't.
    pub(crate) fn own_settled(&mut self, shared: &mut Shared, refused: bool) {
        let renewals = &mut self.renewals;
        renewals.under_way = renewals.under_way.saturating_sub(1);
        renewals.refused |= refused;
        if renewals.under_way == 0 && std::mem::take(&mut renewals.refused) {
            self.lessor.recover();
            let what = "leadership is being handed over";
            for ticket in self.renewals.drain() {
                shared.refuse(ticket, Refusal::Busy { what: what.to_owned() });
            }
        }
    }

    /// Has the log say what has come due.
    pub(crate) fn propose_leases(&mut self, shared: &mut Shared, now: Time) {
        if !self.lessor.is_counting() || shared.retiring {
            return;
        }
        let due = self.lessor.due(now, &self.state.leases);
        for body in due.commands(self.epoch()) {
            self.propose_own(shared, now, body);
        }
    }

    /// These leases were granted, ended or checkpointed by an entry that was just applied.
    pub(crate) fn leases_changed(&mut self, shared: &mut Shared, now: Time, leases: &[u64]) {
        if !self.lessor.is_counting() {
            return;
        }
        for &id in leases {
            let Some(lease) = self.state.leases.find(id) else {
                self.lessor.forget(id);
                for ticket in self.renewals.ended(id) {
                    shared.refuse(ticket, Refusal::LeaseNotFound { lease: id });
                }
                continue;
            };
            let is_full = lease.remaining_ms == lease.ttl_ms;
            if !self.lessor.counts(id, lease) {
                self.lessor.start(now, id, lease);
            } else if is_full && self.renewals.waiting.contains_key(&id) {
                let status = status_of(id, lease, Duration::from_millis(lease.ttl_ms), false);
                let header = self.header(shared);
                for ticket in self.renewals.take(id) {
                    shared.answer(ticket, header, Reply::Lease(status.clone()));
                }
            }
        }
    }

    /// Gives a lease all of its time anew, from now on.
    pub(crate) fn keep_alive(&mut self, shared: &mut Shared, now: Time, ticket: Ticket, id: u64) {
        self.count_leases(now);
        let Some(lease) = self.state.leases.find(id) else {
            return shared.refuse(ticket, Refusal::LeaseNotFound { lease: id });
        };
        if !self.lessor.counts(id, lease) {
            let what = "leases are not counted yet".to_owned();
            return shared.refuse(ticket, Refusal::Busy { what });
        }
        if self.lessor.left(now, id).is_none() {
            return self.renewals.too_late.entry(id).or_default().push(ticket);
        }
        let waits = self.renewals.waiting.contains_key(&id);
        let is_recorded = self.lessor.is_recorded_full(id, lease) && !waits;
        #[cfg(feature = "planted")]
        let is_recorded = is_recorded || self.planted == Some(Planted::RenewalNotRecorded);
        // At once, so that its end is not proposed while the checkpoint is on its way.
        #[cfg(not(feature = "planted"))]
        self.lessor.renew(now, id, lease);
        #[cfg(feature = "planted")]
        if self.planted != Some(Planted::RenewalIgnored) {
            self.lessor.renew(now, id, lease);
        }
        if is_recorded {
            let status = status_of(id, lease, Duration::from_millis(lease.ttl_ms), false);
            let header = self.header(shared);
            return shared.answer(ticket, header, Reply::Lease(status));
        }
        let granted = Granted { lease: id, index: lease.granted };
        let full = Remaining { granted, remaining_ms: lease.ttl_ms };
        if self.renewals.add(id, ticket) {
            let epoch = self.epoch();
            self.propose_own(shared, now, Body::Checkpoint { epoch, leases: vec![full] });
        }
    }

    /// How long a lease has left.
    pub(crate) fn show_lease(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        id: u64,
        keys: bool,
    ) {
        self.count_leases(now);
        let Some(lease) = self.state.leases.find(id) else {
            return shared.refuse(ticket, Refusal::LeaseNotFound { lease: id });
        };
        let left = self.lessor.left(now, id).unwrap_or_default();
        let status = status_of(id, lease, left, keys);
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Lease(status));
    }

    /// Which leases there are.
    pub(crate) fn show_leases(&self, shared: &mut Shared, ticket: Ticket) {
        let leases = self.state.leases.iter().map(|(id, _)| id).collect();
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Leases(leases));
    }
}

fn status_of(id: u64, lease: &Lease, left: Duration, keys: bool) -> LeaseStatus {
    LeaseStatus {
        lease: id,
        ttl_ms: lease.ttl_ms,
        remaining_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
    }
}
