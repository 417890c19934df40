//! Doubt: a replica whose journal was damaged may have forgotten what it promised and accepted. It
//! comes back without ever contradicting what it forgot.
//!
//! # First it learns which ballots it must not promise or accept
//!
//! It asks *all* other members what they have promised, and is deaf to all else until each has answered
//! this life, and the healthy after all those in doubt: `common::asking` has the rule, with quorums of
//! phase 1, also for members that the damage hides.
//!
//! Let B be the highest ballot that it was told or remembers. It promises B. If a member can't be
//! reached, or too many are in doubt, it waits and goes on asking: it never guesses.
//!
//! Why this is enough: **whoever completes phase 1, in a ballot b, with a promise that this replica has
//! forgotten, b is at most B.** The promise was given before this life began, to a candidate C that had
//! b on its disk before it asked; or C is an earlier life of this very replica. Consider how C's
//! replica answered.
//!
//! * Healthy, in the life that stood in b: its answer is at least b.
//! * Healthy, in a later life: if that one was in doubt it had resolved it, and by this same
//!   argument, earlier in time, it knows a ballot of at least b.
//! * In doubt, or it is this replica: the life that stood in b is over. Either it never completed phase
//!   1, and a dead candidacy can't any more, for it counts only promises with its own nonce (see
//!   [`Message::Prepare`]). Or a quorum of phase 1 had b on disk before that life ended. Some
//!   member X of it answered as healthy, after being asked when C was dead, and so after its own
//!   promise of b. Its answer is at least b, unless X forgot b since and resolved that doubt: then as
//!   above.
//!
//! Likewise any ballot that had a leader before this life began is at most B. In particular this
//! replica never opens a ballot in which a former life of its own has proposed anything: it opens only
//! ballots above B. One that a former life opened in vain it may open again, and then the nonce keeps
//! the promises to that life from counting. Here Paxos needs the nonce more than Raft does: a ballot
//! has one possible leader, so nobody else would be in its way.
//!
//! # Then it learns what it must have accepted
//!
//! It takes part as a follower of leaders of ballot B or later, but tells each that it is in doubt.
//! The leader forgets what the follower had acknowledged (what is chosen stays so) and opens a new
//! session, whose Accepts bear the nonce. The first of them shows the leader's last slot at a moment
//! after this life began. From there on its acknowledgements are true: no forgotten promise is above
//! the leader's ballot. But it neither promises nor stands until it holds, on disk, each slot up to
//! there: accepted in that leader's ballot L, or chosen. Then it can be missed by nobody:
//!
//! * Say it had accepted value v at slot s under ballot b, and v was chosen with its help, or is when
//!   a late acknowledgement is counted. A ballot with a leader, b is at most B, hence at most L.
//! * If b = L, the leader had proposed v before this life began, so s is up to its last slot.
//! * If b < L, L's phase 1 had a quorum that meets the one that chose v, in a replica that accepted v
//!   before it promised L: also if that is a former life of this one, as it accepted nothing below L
//!   after that promise. So v was found: L proposes it at s, or knows it to be chosen there.
//!
//! Meanwhile promises come only from those that are not in doubt, and a quorum of phase 1 of them meets
//! each quorum of phase 2 in one that still holds what it accepted. While fewer are left than such a
//! quorum, only a leader that is in office can help.
//!
//! If the slots that it is given change the group's members, it has asked the wrong ones: it asks those
//! that they name now, from the beginning.
//!
//! What the damage left in its slots was truly accepted, under the ballots that stand there. Where a
//! later acceptance replaced it and was lost, that one is either held again by now, or was not chosen.
//!
//! # Durability
//!
//! B is on disk before anything else leaves. Should the replica crash in between, its host reports
//! the doubt again, and does so until [`News::DoubtResolved`].
//!
//! # Reference
//!
//! Ours, as `raft::doubt`. The question to all others is the recovery of Alagappan et al.,
//! *Protocol-Aware Recovery for Consensus-Based Storage* (2018) turned to promises.

use std::sync::Arc;

use crate::common::asking::{Answer, Asking, Heard, Own};
use crate::common::link::Link;
use crate::common::random::Random;
use crate::{Epoch, HardState, LogIndex, News, Output, PersistId, ReplicaId, Time};

use super::message::Message;
use super::{Paxos, State, send};

#[derive(Clone, Hash)]
pub(super) struct Doubt {
    phase: Phase,
}

#[derive(Clone, Hash)]
enum Phase {
    Asking(Asking),
    /// Following, but not promising.
    CatchingUp {
        /// Marks this life. Never 0.
        nonce: u64,
        /// Up to where all must be held; known from the current leader's first word to this life.
        target: Option<LogIndex>,
    },
}

impl Doubt {
    /// Asks the other members; if it knows of none, it begins with the log, which may tell.
    pub(super) fn new(others: &[ReplicaId], random: &mut Random) -> Self {
        let asking = Asking::new(random);
        let phase = if others.is_empty() {
            Phase::CatchingUp { nonce: asking.nonce(), target: None }
        } else {
            Phase::Asking(asking)
        };
        Self { phase }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Asking(asking) => Some(asking.deadline()),
            Phase::CatchingUp { .. } => None,
        }
    }

    /// What one leader has proposed says nothing about the next one.
    pub(super) fn leader_changed(&mut self) {
        if let Phase::CatchingUp { target, .. } = &mut self.phase {
            *target = None;
        }
    }
}

impl Paxos {
    pub(super) fn in_doubt(&self) -> bool {
        matches!(self.state, State::InDoubt(_))
    }

    /// Whether it does not yet know which ballots it must not promise.
    pub(super) fn is_asking(&self) -> bool {
        matches!(&self.state, State::InDoubt(Doubt { phase: Phase::Asking(_) }))
    }

    pub(super) fn tick_doubt(&mut self, out: &mut Vec<Output>) {
        if self.is_asking() {
            self.ask_ballots(out);
        }
    }

    /// Asks those that are not known to be healthy, and sets the time to ask again.
    pub(super) fn ask_ballots(&mut self, out: &mut Vec<Output>) {
        let (ballot, next) = (self.promised(), self.now + self.config.heartbeat_interval);
        let members = Arc::clone(self.members());
        let electing = self.config.quorums.map(|quorums| quorums.phase1);
        let own = Own { id: self.config.id, membership: &members, electing };
        let State::InDoubt(Doubt { phase: Phase::Asking(asking) }) = &mut self.state else {
            return;
        };
        if self.now < asking.deadline() {
            return;
        }
        for peer in asking.ask(&own, next) {
            send(peer, Message::BallotQuery { ballot, nonce: asking.nonce() }, out);
        }
    }

    /// Before its peers have told it their promises, nothing else that they say could be relied on.
    pub(super) fn receive_while_asking(
        &mut self,
        from: ReplicaId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        match message {
            Message::BallotQuery { nonce, .. } => self.receive_ballot_query(from, *nonce, out),
            Message::BallotReply { ballot, nonce, in_doubt, membership } => {
                let (epoch, nonce, in_doubt) = (*ballot, *nonce, *in_doubt);
                let membership = Arc::clone(membership);
                self.receive_ballot(from, Answer { epoch, nonce, in_doubt, membership }, out);
            }
            Message::PrePrepare { .. }
            | Message::PrePromise { .. }
            | Message::Prepare { .. }
            | Message::Promise(_)
            | Message::Nack { .. }
            | Message::Accept(_)
            | Message::AcceptReply(_)
            | Message::Commit { .. }
            | Message::Snapshot { .. }
            | Message::TakeOver { .. } => {}
        }
    }

    pub(super) fn receive_ballot_query(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        out: &mut Vec<Output>,
    ) {
        let (ballot, in_doubt) = (self.promised(), self.in_doubt());
        let membership = Arc::new(self.members().without_context());
        let reply = Message::BallotReply { ballot, nonce, in_doubt, membership };
        self.reply(from, reply, PersistId(0), out);
    }

    fn receive_ballot(&mut self, from: ReplicaId, answer: Answer, out: &mut Vec<Output>) {
        let members = Arc::clone(self.members());
        let electing = self.config.quorums.map(|quorums| quorums.phase1);
        let own = Own { id: self.config.id, membership: &members, electing };
        let State::InDoubt(Doubt { phase: Phase::Asking(asking) }) = &mut self.state else {
            return;
        };
        match asking.answered(from, answer, &own, &mut self.random) {
            Heard::TooLittle => {}
            Heard::AskAgain => {
                asking.ask_again_at(self.now);
                self.ask_ballots(out);
            }
            Heard::Enough(highest) => {
                let nonce = asking.nonce();
                self.catch_up_from(highest, nonce, out);
            }
        }
    }

    /// Begins to follow leaders of `ballot` or later.
    fn catch_up_from(&mut self, ballot: Epoch, nonce: u64, out: &mut Vec<Output>) {
        let State::InDoubt(doubt) = &mut self.state else { return };
        doubt.phase = Phase::CatchingUp { nonce, target: None };
        if ballot > self.promised() {
            self.durability.promise(HardState { epoch: ballot, vote: None });
            self.agreed = self.sure;
            // Members that have changed may have let it ask once more, after it had followed someone.
            self.leader = None;
        }
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

    /// A leader that knows of this life has proposed for all slots up to `last`.
    pub(super) fn note_contact(&mut self, last: LogIndex) {
        if let State::InDoubt(Doubt { phase: Phase::CatchingUp { target, .. } }) = &mut self.state {
            target.get_or_insert(last);
        }
    }

    /// Ends the doubt if all that has to be held is, and is on disk.
    pub(super) fn resolve_doubt(&mut self, out: &mut Vec<Output>) {
        let State::InDoubt(doubt) = &self.state else { return };
        let Phase::CatchingUp { target: Some(target), .. } = doubt.phase else { return };
        let is_promise_durable = self.durability.is_promise_durable();
        let held = self.agreed.min(self.durability.durable_index());
        if !self.peers.is_empty() && is_promise_durable && held >= target {
            self.state = State::Follower;
            self.reset_election_timer();
            out.push(Output::News(News::DoubtResolved));
        }
    }
}
