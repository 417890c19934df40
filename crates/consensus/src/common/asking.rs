//! A replica whose disk lost promises asks the others for theirs.
//!
//! It asks *all* other voters for their epoch, with a nonce, so that an answer to an earlier life does
//! not count. One that is in doubt itself says so. The answers suffice when
//!
//! * every other voter has answered this life: as healthy, or as in doubt too;
//! * those in doubt, this replica among them, are fewer than a quorum that elects, so that each such
//!   quorum has a healthy member; and
//! * the healthy were asked after all those in doubt had answered: each newly found doubt draws
//!   another nonce, and the healthy are asked again.
//!
//! Why that is enough, and what for, is the protocol's to argue: see `raft::doubt`.

use std::collections::BTreeSet;

use crate::{Epoch, ReplicaId, Time};

use super::random::Random;

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
    ask_again: Time,
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
    pub(crate) fn ask(&mut self, peers: &[ReplicaId], next: Time) -> Vec<ReplicaId> {
        self.ask_again = next;
        peers.iter().copied().filter(|peer| !self.healthy.contains(peer)).collect()
    }

    /// Takes in an answer that bears `nonce`, in a group of so many voters of which so many elect.
    pub(crate) fn answered(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        (nonce, in_doubt): (u64, bool),
        (voters, quorum): (usize, usize),
        random: &mut Random,
    ) -> Heard {
        if nonce != self.nonce {
            return Heard::TooLittle;
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
        let in_doubt = self.doubtful.len() + 1;
        let suffices = self.healthy.len() + in_doubt == voters && in_doubt < quorum;
        if suffices { Heard::Enough(self.highest) } else { Heard::TooLittle }
    }
}

fn draw_nonce(random: &mut Random) -> u64 {
    random.next().max(1)
}
