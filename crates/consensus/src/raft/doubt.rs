//! Doubt: a replica whose journal was damaged may have forgotten terms, votes and entries that
//! it had promised. It comes back without ever contradicting what it forgot.
//!
//! # First it learns which terms it must not vote in
//!
//! It asks *all* other voters for their term, with a nonce, so that an answer to an earlier life
//! does not count, and is deaf to all else until each has answered. One that is in doubt itself says
//! so. The answers suffice when
//!
//! * every other voter has answered this life: as healthy, or as in doubt too;
//! * those in doubt, this replica among them, are fewer than a majority, so that every majority
//!   has a healthy member; and
//! * the healthy were asked after all those in doubt had answered: each newly found doubt draws
//!   another nonce, and the healthy are asked again.
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

use std::collections::BTreeSet;

use crate::quorum::majority;
use crate::{Epoch, HardState, LogIndex, News, Output, PersistId, ReplicaId, Time};

use super::message::{Link, Message};
use super::random::Random;
use super::{Raft, State, send};

pub(super) struct Doubt {
    /// Marks this life, and while asking also the round of questions. Never 0.
    nonce: u64,
    phase: Phase,
}

enum Phase {
    Asking(Asking),
    /// Following, but not voting.
    CatchingUp {
        /// Where the log must reach; known from the current leader's first word to this life.
        target: Option<LogIndex>,
        /// The log is known to equal the current leader's up to here.
        agreed: LogIndex,
    },
}

/// Asking the others for their terms.
#[derive(Default)]
struct Asking {
    /// The highest term that anyone has told.
    highest: Epoch,
    /// Who has answered in this round without being in doubt.
    healthy: BTreeSet<ReplicaId>,
    /// Who has told this life that it is in doubt. Each was known when the round began.
    doubtful: BTreeSet<ReplicaId>,
    ask_again: Time,
}

impl Doubt {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { nonce: draw_nonce(random), phase: Phase::Asking(Asking::default()) }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Asking(asking) => Some(asking.ask_again),
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

impl Asking {
    /// Whether the answers show a term that no forgotten vote can be above.
    fn suffices(&self, voters: usize) -> bool {
        let in_doubt = self.doubtful.len() + 1;
        self.healthy.len() + in_doubt == voters && in_doubt < majority(voters)
    }
}

fn draw_nonce(random: &mut Random) -> u64 {
    random.next().max(1)
}

impl Raft {
    pub(super) fn in_doubt(&self) -> bool {
        matches!(self.state, State::InDoubt(_))
    }

    /// Whether it does not yet know which terms it must not vote in.
    pub(super) fn is_asking(&self) -> bool {
        matches!(&self.state, State::InDoubt(Doubt { phase: Phase::Asking(_), .. }))
    }

    pub(super) fn tick_doubt(&mut self, out: &mut Vec<Output>) {
        if self.is_asking() {
            self.ask_terms(out);
        }
    }

    /// Asks those that are not known to be healthy, and sets the time to ask again.
    pub(super) fn ask_terms(&mut self, out: &mut Vec<Output>) {
        let (term, next) = (self.term(), self.now + self.config.heartbeat_interval);
        let State::InDoubt(Doubt { nonce, phase: Phase::Asking(asking) }) = &mut self.state else {
            return;
        };
        if self.now < asking.ask_again {
            return;
        }
        asking.ask_again = next;
        for peer in self.peers.iter().filter(|peer| !asking.healthy.contains(peer)) {
            send(*peer, Message::TermQuery { term, nonce: *nonce }, out);
        }
    }

    /// Before its peers have told it their terms, nothing else that they say could be relied on.
    pub(super) fn receive_while_asking(
        &mut self,
        from: ReplicaId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        match *message {
            Message::TermQuery { nonce, .. } => self.receive_term_query(from, nonce, out),
            Message::TermReply { term, nonce, in_doubt } => {
                self.receive_term(from, term, (nonce, in_doubt), out);
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
        let reply = Message::TermReply { term: self.term(), nonce, in_doubt: self.in_doubt() };
        self.reply(from, reply, PersistId(0), out);
    }

    fn receive_term(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        (answered, in_doubt): (u64, bool),
        out: &mut Vec<Output>,
    ) {
        let State::InDoubt(Doubt { nonce, phase: Phase::Asking(asking) }) = &mut self.state else {
            return;
        };
        if answered != *nonce {
            return;
        }
        asking.highest = asking.highest.max(term);
        if !in_doubt {
            asking.doubtful.remove(&from);
            asking.healthy.insert(from);
        } else if asking.doubtful.insert(from) {
            // Until now its former life may have won an election with the vote of one that had
            // answered before it voted: what the healthy say counts only from here on.
            *nonce = draw_nonce(&mut self.random);
            asking.healthy.clear();
            asking.ask_again = self.now;
            return self.ask_terms(out);
        }
        if asking.suffices(self.config.voters.len()) {
            let highest = asking.highest;
            self.catch_up_from(highest, out);
        }
    }

    /// Begins to follow leaders of `term` or later.
    fn catch_up_from(&mut self, term: Epoch, out: &mut Vec<Output>) {
        let State::InDoubt(doubt) = &mut self.state else { return };
        doubt.phase = Phase::CatchingUp { target: None, agreed: LogIndex(0) };
        self.give_up_votes_through(term, out);
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
