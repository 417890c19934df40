//! Doubt: a replica whose journal was damaged may have forgotten terms, votes and entries that
//! it had promised. It comes back without ever contradicting what it forgot.
//!
//! # First it learns which terms it must not vote in
//!
//! It asks *all* other voters for their term, and is deaf to all else until each has answered this
//! life, and the healthy after all those in doubt: `common::asking` has the rule, also for voters that
//! the damage hides.
//!
//! Let T be the highest term that it was told or remembers. It writes T with a vote for itself. With
//! three voters both others must be healthy. If a voter can't be reached, or too many are in doubt,
//! it waits and goes on asking: it never guesses.
//!
//! Why this is enough: **whoever wins an election, in a term t, with a vote that this replica has
//! forgotten, t is at most T.** The vote was given before this life began, to a candidate C that
//! had t on its disk before it asked for the vote; or C is an earlier life of this very replica.
//! Consider how C's replica answered.
//!
//! * Healthy, in the life that stood in t: its answer is at least t.
//! * Healthy, in a later life: if that one was in doubt it had resolved it, and by this same
//!   argument, earlier in time, it knows a term of at least t.
//! * In doubt, or it is this replica: the life that stood in t is over. Either it never won, and a
//!   dead candidacy can't win any more, for it counts only answers with its own nonce (see
//!   [`Message::Vote`]). Or a majority had t on disk before that life ended. Some member X of it
//!   answered as healthy, after being asked when C was dead, and so after its own vote in t. Its
//!   answer is at least t, unless X forgot t since and resolved that doubt: then as above.
//!
//! The last case is why the healthy are asked again. If they were not, X could answer, then give
//! C the deciding vote; C would lead in t, lose its disk, and say that it is in doubt with a lower
//! term. T would be too low, and our second vote in t could elect another leader.
//!
//! The nonce of a candidacy closes the other gap, which needs no two doubts at once: C asks for a
//! vote in t, loses its disk before anyone else hears of t, and resolves its doubt below t. Late
//! comes its request to X, which votes for it, is damaged too, and can't learn of t either. Now C
//! may stand in t anew and X vote for another: if X's first vote still counted there would be two
//! leaders. No higher T would help, as C may have opened any number of terms unheard.
//!
//! Likewise any term that had a leader before this life began is at most T: this replica never
//! follows an older leader than one whose entries it may have acknowledged.
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
//! One that knows of no other member has nobody to ask, and stays in doubt for ever: a lone voter, or a
//! replica that had only just joined. It is to be replaced.
//!
//! If the log that it is given changes the group's voters, it has asked the wrong ones: it asks those
//! that the log names now, from the beginning.
//!
//! Meanwhile forgotten acknowledgements cannot elect the wrong leader, however many replicas are in
//! doubt: leaders are elected by those that are not, and a majority of them meets each majority
//! that committed in one that still holds what it acknowledged. While fewer healthy replicas than a
//! majority are left, as when two of four are in doubt, only a leader that is in office can help.
//!
//! # Durability
//!
//! T is on disk before anything else leaves. Should the replica crash in between, its host reports
//! the doubt again, and does so until [`News::DoubtResolved`].
//!
//! # Reference
//!
//! Ours. The question to all others is the recovery of Alagappan et al., *Protocol-Aware Recovery
//! for Consensus-Based Storage* (2018) turned to promises.

use std::sync::Arc;

use crate::common::asking::{Answer, Asking, Heard, Own};
use crate::common::random::Random;
use crate::{Epoch, HardState, LogIndex, Membership, News, Output, PersistId, ReplicaId, Time};

use super::message::Message;
use super::{Link, Raft, State, send};

#[derive(Clone, Hash)]
pub(super) struct Doubt {
    phase: Phase,
}

#[derive(Clone, Hash)]
enum Phase {
    Asking(Asking),
    /// Following, but not voting.
    CatchingUp {
        /// Marks this life. Never 0.
        nonce: u64,
        /// Where the log must reach; known from the current leader's first word to this life.
        target: Option<LogIndex>,
        /// The log is known to equal the current leader's up to here.
        agreed: LogIndex,
    },
}

impl Doubt {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { phase: Phase::Asking(Asking::new(random)) }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Asking(asking) => Some(asking.deadline()),
            Phase::CatchingUp { .. } => None,
        }
    }

    /// What one leader has shown says nothing about the next one's log.
    pub(super) fn leader_changed(&mut self) {
        if let Phase::CatchingUp { target, agreed, .. } = &mut self.phase {
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
        matches!(&self.state, State::InDoubt(Doubt { phase: Phase::Asking(_) }))
    }

    pub(super) fn tick_doubt(&mut self, out: &mut Vec<Output>) {
        if self.is_asking() {
            self.ask_terms(out);
        }
    }

    /// Asks those that are not known to be healthy, and sets the time to ask again.
    pub(super) fn ask_terms(&mut self, out: &mut Vec<Output>) {
        let (term, next) = (self.term(), self.now + self.config.heartbeat_interval);
        let members = Arc::clone(self.members());
        let own = own(self.config.id, &members);
        let State::InDoubt(Doubt { phase: Phase::Asking(asking) }) = &mut self.state else {
            return;
        };
        if self.now < asking.deadline() {
            return;
        }
        for peer in asking.ask(&own, next) {
            send(peer, Message::TermQuery { term, nonce: asking.nonce() }, out);
        }
    }

    /// Before its peers have told it their terms, nothing else that they say could be relied on.
    pub(super) fn receive_while_asking(
        &mut self,
        from: ReplicaId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        match message {
            Message::TermQuery { nonce, .. } => self.receive_term_query(from, *nonce, out),
            Message::TermReply { term, nonce, in_doubt, membership } => {
                let (epoch, nonce, in_doubt) = (*term, *nonce, *in_doubt);
                let membership = Arc::clone(membership);
                self.receive_term(from, Answer { epoch, nonce, in_doubt, membership }, out);
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Append(_)
            | Message::AppendReply(_)
            | Message::Commit { .. }
            | Message::Snapshot { .. }
            | Message::TimeoutNow { .. } => {}
        }
    }

    pub(super) fn receive_term_query(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        out: &mut Vec<Output>,
    ) {
        let (term, in_doubt) = (self.term(), self.in_doubt());
        let membership = Arc::new(self.members().without_context());
        let reply = Message::TermReply { term, nonce, in_doubt, membership };
        self.reply(from, reply, PersistId(0), out);
    }

    fn receive_term(&mut self, from: ReplicaId, answer: Answer, out: &mut Vec<Output>) {
        let members = Arc::clone(self.members());
        let own = own(self.config.id, &members);
        let State::InDoubt(Doubt { phase: Phase::Asking(asking) }) = &mut self.state else {
            return;
        };
        match asking.answered(from, answer, &own, &mut self.random) {
            Heard::TooLittle => {}
            Heard::AskAgain => {
                asking.ask_again_at(self.now);
                self.ask_terms(out);
            }
            Heard::Enough(highest) => {
                let nonce = asking.nonce();
                self.catch_up_from(highest, nonce, out);
            }
        }
    }

    /// Begins to follow leaders of `term` or later.
    fn catch_up_from(&mut self, term: Epoch, nonce: u64, out: &mut Vec<Output>) {
        let State::InDoubt(doubt) = &mut self.state else { return };
        doubt.phase = Phase::CatchingUp { nonce, target: None, agreed: LogIndex(0) };
        self.give_up_votes_through(term, out);
    }

    /// Makes sure that it never votes in `term` or below.
    fn give_up_votes_through(&mut self, term: Epoch, out: &mut Vec<Output>) {
        let before = self.durability.hard_state();
        let epoch = term.max(before.epoch);
        // A vote that it remembers in that term it may repeat: it is the only one it gave.
        let vote = before.vote.filter(|_| epoch == before.epoch).or(Some(self.id()));
        if epoch > before.epoch {
            // Whom it followed, if it asks for the second time, led an earlier term.
            self.term_leader = None;
            self.leader = None;
        }
        self.durability.promise(HardState { epoch, vote });
        self.save_promise(out);
    }

    /// The nonce to insist on, if we are in doubt and the sender does not know it.
    pub(super) fn doubts_link(&self, link: Link) -> Option<u64> {
        let State::InDoubt(doubt) = &self.state else { return None };
        let nonce = match &doubt.phase {
            Phase::Asking(asking) => asking.nonce(),
            Phase::CatchingUp { nonce, .. } => *nonce,
        };
        (link.nonce != nonce).then_some(nonce)
    }

    /// A leader that knows of this life has a log up to `last`.
    pub(super) fn note_contact(&mut self, last: LogIndex) {
        if let State::InDoubt(Doubt { phase: Phase::CatchingUp { target, .. } }) = &mut self.state {
            target.get_or_insert(last);
        }
    }

    /// The log equals the current leader's up to `index`.
    pub(super) fn note_agreement(&mut self, index: LogIndex) {
        if let State::InDoubt(Doubt { phase: Phase::CatchingUp { agreed, .. } }) = &mut self.state {
            *agreed = index.max(*agreed);
        }
    }

    /// Ends the doubt if the log is on disk as far as it has to be.
    pub(super) fn resolve_doubt(&mut self, out: &mut Vec<Output>) {
        let State::InDoubt(doubt) = &self.state else { return };
        let Phase::CatchingUp { target: Some(target), agreed, .. } = doubt.phase else { return };
        let is_term_durable = self.durability.is_promise_durable();
        if !self.peers.is_empty()
            && is_term_durable
            && agreed.min(self.durability.durable_index()) >= target
        {
            self.state = State::Follower;
            self.reset_election_timer();
            out.push(Output::News(News::DoubtResolved));
        }
    }
}

/// Who asks: a majority elects.
fn own(id: ReplicaId, membership: &Membership) -> Own<'_> {
    Own { id, membership, electing: None }
}
