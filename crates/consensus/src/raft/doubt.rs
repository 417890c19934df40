//! Doubt: a replica whose journal was damaged may have forgotten terms, votes and entries that
//! it had promised. It comes back without ever contradicting what it forgot.
//!
//! # First it learns which terms it must not vote in
//!
//! It asks *all* other voters for their term, with a nonce, so that an answer to an earlier life
//! does not count, and is deaf to all else until each has answered. Let T be the highest term that
//! it was told or remembers. It writes T with a vote for itself.
//!
//! Why this is enough: whoever it may have voted for had that term on its own disk before it asked
//! for the vote, so that candidate's answer is at least as high. Hence every forgotten vote is
//! of a term up to T, and it will never vote in one of those again.
//!
//! # Then it learns which entries it must hold
//!
//! It takes part as a follower of leaders of term T or later, but tells each that it is in doubt.
//! The leader forgets what the follower had acknowledged (what is committed stays so) and opens
//! a new session, whose Appends bear the nonce. The first of them shows the end of the leader's
//! log at a moment after this life began, so it is beyond anything that this replica may have
//! acknowledged and that was committed with its help. From there on its acknowledgements are true,
//! but it gives no vote until its log is on disk up to that end: then it holds all that its
//! forgotten acknowledgements covered, and is an ordinary follower again.
//!
//! Meanwhile a forgotten acknowledgement cannot elect the wrong leader: a quorum without this
//! replica still meets each quorum that committed with it in one of the others.
//!
//! # Durability
//!
//! T is on disk before anything else leaves. Should the replica crash in between, its host reports
//! the doubt again, and does so until [`News::DoubtResolved`].
//!
//! # Reference
//!
//! Ours. The question to all others is the recovery of Alagappan et al., *Protocol-Aware Recovery
//! for Consensus-Based Storage* (2018) turned to promises. Two replicas of one group in doubt at
//! once wait for each other for ever: that is a loss beyond what a majority can heal.

use std::collections::BTreeMap;

use crate::{Epoch, HardState, LogIndex, News, Output, PersistId, ReplicaId, Time};

use super::message::{Link, Message};
use super::random::Random;
use super::{Raft, State, send};

pub(super) struct Doubt {
    /// Marks this life. Never 0.
    nonce: u64,
    phase: Phase,
}

enum Phase {
    /// Asking the others for their terms.
    Asking { terms: BTreeMap<ReplicaId, Epoch>, ask_again: Time },
    /// Following, but not voting.
    CatchingUp {
        /// Where the log must reach; known from the current leader's first word to this life.
        target: Option<LogIndex>,
        /// The log is known to equal the current leader's up to here.
        agreed: LogIndex,
    },
}

impl Doubt {
    pub(super) fn new(random: &mut Random) -> Self {
        let phase = Phase::Asking { terms: BTreeMap::new(), ask_again: Time::default() };
        Self { nonce: random.next().max(1), phase }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Asking { ask_again, .. } => Some(ask_again),
            Phase::CatchingUp { .. } => None,
        }
    }

    /// What one leader has shown says nothing about the next one's log.
    pub(super) fn leader_changed(&mut self) {
        if let Phase::CatchingUp { target, agreed } = &mut self.phase {
            *target = None;
            *agreed = LogIndex(0);
        }
    }
}

impl Raft {
    pub(super) fn in_doubt(&self) -> bool {
        matches!(self.state, State::InDoubt(_))
    }

    /// Whether it does not yet know which terms it must not vote in.
    pub(super) fn is_asking(&self) -> bool {
        matches!(&self.state, State::InDoubt(Doubt { phase: Phase::Asking { .. }, .. }))
    }

    pub(super) fn tick_doubt(&mut self, out: &mut Vec<Output>) {
        if self.is_asking() {
            self.ask_terms(out);
        }
    }

    /// Asks those that have not answered, and sets the time to ask again.
    pub(super) fn ask_terms(&mut self, out: &mut Vec<Output>) {
        let (term, next) = (self.term(), self.now + self.config.heartbeat_interval);
        let State::InDoubt(Doubt { nonce, phase }) = &mut self.state else { return };
        let Phase::Asking { terms, ask_again } = phase else { return };
        if self.now < *ask_again {
            return;
        }
        *ask_again = next;
        for peer in self.peers.iter().filter(|peer| !terms.contains_key(peer)) {
            send(*peer, Message::TermQuery { term, nonce: *nonce }, out);
        }
    }

    pub(super) fn receive_term_query(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        out: &mut Vec<Output>,
    ) {
        let reply = Message::TermReply { term: self.term(), nonce };
        self.reply(from, reply, PersistId(0), out);
    }

    pub(super) fn receive_term(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        answered: u64,
        out: &mut Vec<Output>,
    ) {
        let State::InDoubt(Doubt { nonce, phase }) = &mut self.state else { return };
        let Phase::Asking { terms, .. } = phase else { return };
        if answered != *nonce {
            return;
        }
        terms.insert(from, term);
        if terms.len() < self.peers.len() {
            return;
        }
        let highest = terms.values().copied().max().unwrap_or_default();
        *phase = Phase::CatchingUp { target: None, agreed: LogIndex(0) };
        self.give_up_votes_through(highest, out);
    }

    /// Makes sure that it never votes in `term` or below.
    fn give_up_votes_through(&mut self, term: Epoch, out: &mut Vec<Output>) {
        let before = self.hard_state;
        let epoch = term.max(before.epoch);
        // A vote that it remembers in that term it may repeat: it is the only one it gave.
        let vote = before.vote.filter(|_| epoch == before.epoch).or(Some(self.id()));
        self.hard_state = HardState { epoch, vote };
        self.unsaved.hard_state |= self.hard_state != before;
        self.save_hard_state(out);
    }

    /// The nonce to insist on, if we are in doubt and the sender does not know it.
    pub(super) fn doubts_link(&self, link: Link) -> Option<u64> {
        match &self.state {
            State::InDoubt(doubt) if link.nonce != doubt.nonce => Some(doubt.nonce),
            _ => None,
        }
    }

    /// A leader that knows of this life has a log up to `last`.
    pub(super) fn note_contact(&mut self, last: LogIndex) {
        if let State::InDoubt(Doubt { phase: Phase::CatchingUp { target, .. }, .. }) =
            &mut self.state
        {
            target.get_or_insert(last);
        }
    }

    /// The log equals the current leader's up to `index`.
    pub(super) fn note_agreement(&mut self, index: LogIndex) {
        if let State::InDoubt(Doubt { phase: Phase::CatchingUp { agreed, .. }, .. }) =
            &mut self.state
        {
            *agreed = index.max(*agreed);
        }
    }

    /// Ends the doubt if the log is on disk as far as it has to be.
    pub(super) fn resolve_doubt(&mut self, out: &mut Vec<Output>) {
        let State::InDoubt(doubt) = &self.state else { return };
        let Phase::CatchingUp { target: Some(target), agreed } = doubt.phase else { return };
        let is_term_durable = self.writes.is_durable(self.writes.of_hard_state());
        if is_term_durable && agreed.min(self.writes.durable_index()) >= target {
            self.state = State::Follower;
            self.reset_election_timer();
            out.push(Output::News(News::DoubtResolved));
        }
    }
}
