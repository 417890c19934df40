//! Commands on their way: from a client's request to the answer that applying it gives.
//!
//! # Invariants
//!
//! * A command in here has at least one ticket, unless the node itself proposed it.
//! * `by_index` and `by_request` name commands that are in `pending`.
//! * A ticket is answered once: when its command is applied, or when it can no longer be told whether
//!   it will be.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Accepted, Epoch, LogIndex, Position, ProposalId, Time};
use wire::RequestId;

use crate::Ticket;

/// A command that waits to be applied.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Who waits for it: more than one when a client retried before the first answer.
    pub(crate) tickets: Vec<Ticket>,
    /// Its size, to be given back to the budget.
    pub(crate) bytes: usize,
    request: RequestId,
    /// When it came in.
    since: Time,
}

/// All commands on their way through one group.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    pending: BTreeMap<ProposalId, Pending>,
    by_request: BTreeMap<RequestId, ProposalId>,
    by_index: BTreeMap<LogIndex, (Epoch, ProposalId)>,
    fresh: Vec<(ProposalId, Bytes)>,
    last: u64,
}

/// What an applied position means for who waits there.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Nobody waits for this entry.
    Nobody,
    /// The command that stood here is the one applied.
    Applied(Pending),
    /// Another leader's entry took the place: the command that stood here is *not done*.
    Overwritten(Pending),
}

impl Commands {
    /// Lets another ticket wait for a command that is on its way already.
    pub(crate) fn join(&mut self, request: RequestId, ticket: Ticket) -> bool {
        let Some(proposal) = self.by_request.get(&request).filter(|_| request.client != 0) else {
            return false;
        };
        let pending = self.pending.get_mut(proposal).expect("by_request names a command");
        pending.tickets.push(ticket);
        true
    }

    /// Takes in a new command, to be proposed when the node settles.
    pub(crate) fn add(
        &mut self,
        request: RequestId,
        ticket: Option<Ticket>,
        command: Bytes,
        now: Time,
    ) {
        self.last += 1;
        let proposal = ProposalId(self.last);
        if request.client != 0 {
            self.by_request.insert(request, proposal);
        }
        let tickets = ticket.into_iter().collect();
        let pending = Pending { tickets, bytes: command.len(), request, since: now };
        self.pending.insert(proposal, pending);
        self.fresh.push((proposal, command));
    }

    /// What came in since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<(ProposalId, Bytes)> {
        std::mem::take(&mut self.fresh)
    }

    /// Whether something came in since [`Commands::take_fresh`].
    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Consensus has put these into its log.
    pub(crate) fn accepted(&mut self, accepted: &Accepted) {
        let Position { index, epoch } = accepted.first;
        for (offset, proposal) in (0..).zip(&accepted.proposals) {
            self.by_index.insert(LogIndex(index.0 + offset), (epoch, *proposal));
        }
    }

    /// Consensus did not take this one.
    pub(crate) fn refused(&mut self, proposal: ProposalId) -> Option<Pending> {
        self.remove(proposal)
    }

    /// The entry at this position is applied.
    pub(crate) fn applied(&mut self, position: Position) -> Settled {
        let Some((epoch, proposal)) = self.by_index.remove(&position.index) else {
            return Settled::Nobody;
        };
        match self.remove(proposal) {
            None => Settled::Nobody,
            Some(pending) if epoch == position.epoch => Settled::Applied(pending),
            Some(pending) => Settled::Overwritten(pending),
        }
    }

    /// What waits at positions up to `index`, which will not come out of the log: a snapshot has
    /// taken their place.
    pub(crate) fn covered(&mut self, index: LogIndex) -> Vec<Pending> {
        let later = self.by_index.split_off(&index.next());
        let covered = std::mem::replace(&mut self.by_index, later).into_values();
        covered.filter_map(|(_, proposal)| self.remove(proposal)).collect()
    }

    /// All that is on its way, as leadership is lost: nobody can tell what becomes of it. Those not yet
    /// proposed come second: they are *not done*.
    pub(crate) fn drain(&mut self) -> (Vec<Pending>, Vec<Pending>) {
        let fresh = self.take_fresh();
        let fresh = fresh.into_iter().filter_map(|(id, _)| self.pending.remove(&id)).collect();
        self.by_request.clear();
        self.by_index.clear();
        (std::mem::take(&mut self.pending).into_values().collect(), fresh)
    }

    /// Since when the one waits that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.pending.first_key_value().map(|(_, pending)| pending.since)
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn remove(&mut self, proposal: ProposalId) -> Option<Pending> {
        let pending = self.pending.remove(&proposal)?;
        if self.by_request.get(&pending.request) == Some(&proposal) {
            self.by_request.remove(&pending.request);
        }
        Some(pending)
    }
}
