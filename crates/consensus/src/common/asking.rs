//! A replica whose disk lost promises asks the others for theirs.
//!
//! It asks *all* other members for their epoch, with a nonce, so that an answer to an earlier life does
//! not count. One that is in doubt itself says so. What was lost may have changed the members, so each
//! answer tells the membership in force at its sender, and the members that it names are asked too. The
//! answers suffice when
//!
//! * every other member of every membership that was heard of has answered this life: as healthy, or as in
//!   doubt too;
//! * those in doubt, this replica among them, hold no quorum of any of these memberships, so that each
//!   such quorum has a healthy member; and
//! * the healthy were asked after all those in doubt had answered: each newly found doubt draws
//!   another nonce, and the healthy are asked again.
//!
//! Then it has heard of every committed membership up to now, one by one: each is followed by another only
//! once a quorum of it holds that other one in its log, and of that quorum a healthy member has told. So it
//! has asked everyone who may stand for election: also one whose vote hangs on a change that nobody else
//! knows of yet, for it was a learner before. Should a member that was removed meanwhile be gone for
//! good, no answer will come: the replica is to be replaced by a new one.
//!
//! Why that is enough, and what for, is the protocol's to argue: see `raft::doubt`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Epoch, Membership, ReplicaId, Time};

use super::random::Random;

/// Most memberships that are believed to have been in force at a time. A few are; a sender that never ends
/// naming others is not heard any more.
const MAX_TOLD: usize = 64;

/// Asking the others for their epochs.
#[derive(Clone, Hash)]
pub(crate) struct Asking {
    /// Marks this life and this round of questions. Never 0.
    nonce: u64,
    /// The highest epoch that anyone has told.
    highest: Epoch,
    /// Who has answered in this round without being in doubt.
    healthy: BTreeSet<ReplicaId>,
    /// Who has told this life that it is in doubt. Each was known when the round began.
    doubtful: BTreeSet<ReplicaId>,
    /// The memberships of which this life has been told, in no order.
    told: Vec<Arc<Membership>>,
    ask_again: Time,
}

/// Who asks.
pub(crate) struct Own<'a> {
    pub(crate) id: ReplicaId,
    /// The membership in force in its log.
    pub(crate) membership: &'a Membership,
    /// So many voters elect, where that is no majority.
    pub(crate) electing: Option<usize>,
}

impl Own<'_> {
    /// Whether those for whom `has` holds may elect a leader in this membership.
    fn elects(&self, membership: &Membership, has: impl Fn(ReplicaId) -> bool) -> bool {
        match self.electing {
            None => membership.is_quorum(has),
            Some(size) => membership.voters.iter().filter(|voter| has(**voter)).count() >= size,
        }
    }
}

/// What one answers.
pub(crate) struct Answer {
    /// The highest epoch that it has promised.
    pub(crate) epoch: Epoch,
    /// That of the question.
    pub(crate) nonce: u64,
    pub(crate) in_doubt: bool,
    /// The membership in force in its log, without its context.
    pub(crate) membership: Arc<Membership>,
}

/// What an answer has made possible.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing yet.
    TooLittle,
    /// Another one is in doubt: the healthy are to be asked again, at once.
    AskAgain,
    /// No promise that this replica has forgotten is above this epoch.
    Enough(Epoch),
}

impl Asking {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            nonce: draw_nonce(random),
            highest: Epoch::default(),
            healthy: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            told: Vec::new(),
            ask_again: Time::default(),
        }
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// When to ask (again).
    pub(crate) fn deadline(&self) -> Time {
        self.ask_again
    }

    /// Asks again at `time`, whatever was planned.
    pub(crate) fn ask_again_at(&mut self, time: Time) {
        self.ask_again = time;
    }

    /// Who is to be asked now: those that are not known to be healthy. The next time is `next`.
    pub(crate) fn ask(&mut self, own: &Own<'_>, next: Time) -> Vec<ReplicaId> {
        self.ask_again = next;
        self.others(own).into_iter().filter(|peer| !self.healthy.contains(peer)).collect()
    }

    /// All other members that were heard of.
    fn others(&self, own: &Own<'_>) -> BTreeSet<ReplicaId> {
        let told = self.told.iter().map(|membership| &**membership);
        told.chain([own.membership]).flat_map(|members| members.others(own.id)).collect()
    }

    /// Takes in what one has answered to a question with `nonce`.
    pub(crate) fn answered(
        &mut self,
        from: ReplicaId,
        answer: Answer,
        own: &Own<'_>,
        random: &mut Random,
    ) -> Heard {
        let Answer { epoch, nonce, in_doubt, membership } = answer;
        if nonce != self.nonce || !self.others(own).contains(&from) {
            return Heard::TooLittle;
        }
        if *membership != *own.membership && !self.told.contains(&membership) {
            if self.told.len() >= MAX_TOLD {
                return Heard::TooLittle;
            }
            self.told.push(membership);
        }
        self.highest = self.highest.max(epoch);
        if !in_doubt {
            self.doubtful.remove(&from);
            self.healthy.insert(from);
        } else if self.doubtful.insert(from) {
            // Until now its former life may have won an election with the promise of one that had
            // answered before it gave it: what the healthy say counts only from here on.
            self.nonce = draw_nonce(random);
            self.healthy.clear();
            return Heard::AskAgain;
        }
        let answered = |voter| self.healthy.contains(voter) || self.doubtful.contains(voter);
        let elects = |membership: &Membership| {
            own.elects(membership, |voter| voter == own.id || self.doubtful.contains(&voter))
        };
        let told_elect = self.told.iter().any(|membership| elects(membership));
        let suffices =
            self.others(own).iter().all(answered) && !elects(own.membership) && !told_elect;
        if suffices { Heard::Enough(self.highest) } else { Heard::TooLittle }
    }
}

fn draw_nonce(random: &mut Random) -> u64 {
    random.next().max(1)
}
