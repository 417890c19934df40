//! Doubt: a replica whose journal was damaged may have forgotten epochs that it had promised and
//! entries that it had acknowledged. It comes back without ever contradicting what it forgot.
//!
//! # First it learns which epochs it must not promise
//!
//! It asks *all* other members for the epoch that they have accepted, and is deaf to all else until each has
//! answered this life, and the healthy after all those in doubt: `common::asking` has the rule, also for
//! members that the damage hides.
//!
//! Let T be the highest epoch that it was told or remembers. It accepts T, and promises it to nobody whom
//! it does not remember to have promised it. If a voter can't be reached, or too many are in doubt, it waits
//! and goes on asking: it never guesses.
//!
//! Why this is enough: **whoever owns an epoch t by a promise that this replica has forgotten, t is at most
//! T.** The promise was given before this life began, to a prospective leader C that had accepted t on its
//! disk before it proposed it; or C is an earlier life of this very replica. Consider how C's replica
//! answered.
//!
//! * Healthy, in the life that proposed t: its answer is at least t.
//! * Healthy, in a later life: if that one was in doubt it had resolved it, and by this same
//!   argument, earlier in time, it knows an epoch of at least t.
//! * In doubt, or it is this replica: the life that proposed t is over. Either it never owned t, and never
//!   will, for it counts only promises with its own nonce (see [`Message::NewEpoch`]). Or a quorum had
//!   accepted t on disk before that life ended. Some member X of it answered as healthy, after being asked
//!   when C was dead, and so after its own promise of t. Its answer is at least t, unless X forgot t
//!   since and resolved that doubt: then as above.
//!
//! Likewise any epoch that had a leader before this life began is at most T: this replica never follows an
//! older leader than one whose entries it may have acknowledged. What it said in elections does not
//! matter: no promise was in it.
//!
//! # Then it learns which entries it must hold
//!
//! It has no vote and promises nothing, but asks who leads and follows a leader of T or later. It tells it
//! that it is in doubt. The leader forgets what the follower had acknowledged (what is committed stays
//! so) and opens a new session, whose messages bear the nonce. The first of them shows the end of the
//! leader's log at a moment after this life began, so it is beyond anything that this replica may have
//! acknowledged and that was committed with its help: of that leader's proposals, and of all before
//! them, for a leader has all that earlier ones committed. From there on its acknowledgements are true,
//! but it promises no epoch until its log agrees with the leader's and is on disk up to that end.
//! Then it holds all that its forgotten acknowledgements covered, and is an ordinary follower again.
//!
//! Meanwhile forgotten acknowledgements can't let the wrong replica lead, however many are in doubt: an
//! epoch takes the promises of a quorum that is not in doubt, it meets each quorum that committed in one that
//! still holds what it acknowledged, and whose log must end no later than the new leader's. While fewer
//! healthy replicas than a quorum are left, only a leader that is in office can help.
//!
//! If the log that it is given changes the members, it has asked the wrong ones: it asks those that the
//! log names now, from the beginning. A replica that knows of no other member has nobody to ask, and begins with
//! the log, which may tell. Until then it does not know T, and so acknowledges nothing: it only
//! says where its log ends, which takes it further just as well.
//!
//! # Durability
//!
//! T is on disk before anything else leaves. Should the replica crash in between, its host reports
//! the doubt again, and does so until [`News::DoubtResolved`].
//!
//! # Reference
//!
//! Ours; as `raft::doubt`, with promised epochs for votes. The question to all others is the recovery of
//! Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage* (2018) turned to promises.

use std::sync::Arc;

use crate::common::asking::{Answer, Asking, Heard, Own};
use crate::{Epoch, LogIndex, Membership, News, Output, PersistId, ReplicaId};

use super::message::{Message, Outcome};
use super::{Link, State, Zab, send};

/// What a replica in doubt knows, once it may follow.
#[derive(Clone, Hash)]
pub(super) struct Doubt {
    /// Marks this life. 0 while it is not known yet what it has promised.
    pub(super) nonce: u64,
    /// Where the log must reach; known from the current leader's first word to this life.
    target: Option<LogIndex>,
}

impl Doubt {
    pub(super) fn new() -> Self {
        Self { nonce: 0, target: None }
    }

    /// What one leader has shown says nothing about the next one's log.
    pub(super) fn leader_changed(&mut self) {
        self.target = None;
    }
}

impl Zab {
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether it does not yet know which epochs it must not promise.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// Begins to ask the others; if it knows of none, to watch for a leader, whose log may tell.
    pub(super) fn doubt_anew(&mut self, out: &mut Vec<Output>) {
        self.stop(out);
        let asking = Asking::new(&mut self.random);
        if self.peers.is_empty() {
            self.doubt = Some(Doubt { nonce: asking.nonce(), target: None });
            return self.look(false, out);
        }
        self.doubt = Some(Doubt::new());
        self.state = State::Asking(asking);
        self.ask_epochs(out);
    }

    /// Whether it may have promised epochs of which it has not been told yet.
    pub(super) fn may_not_acknowledge(&self) -> bool {
        self.in_doubt() && (self.is_asking() || self.peers.is_empty())
    }

    /// Asks those that are not known to be healthy, and sets the time to ask again.
    pub(super) fn ask_epochs(&mut self, out: &mut Vec<Output>) {
        let (epoch, next) = (self.epoch(), self.now + self.config.heartbeat_interval);
        let members = Arc::clone(self.members());
        let own = own(self.config.id, &members);
        let State::Asking(asking) = &mut self.state else { return };
        if self.now < asking.deadline() {
            return;
        }
        for peer in asking.ask(&own, next) {
            send(peer, Message::EpochQuery { epoch, nonce: asking.nonce() }, out);
        }
    }

    /// Before its peers have told it their epochs, nothing else that they say could be relied on.
    pub(super) fn receive_while_asking(
        &mut self,
        from: ReplicaId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        match message {
            Message::EpochQuery { nonce, .. } => self.receive_epoch_query(from, *nonce, out),
            Message::EpochReply { epoch, nonce, in_doubt, membership } => {
                let (epoch, nonce, in_doubt) = (*epoch, *nonce, *in_doubt);
                let membership = Arc::clone(membership);
                self.receive_epoch_reply(from, Answer { epoch, nonce, in_doubt, membership }, out);
            }
            Message::Notification(_)
            | Message::FollowerInfo { .. }
            | Message::NewEpoch { .. }
            | Message::AckEpoch(_)
            | Message::Truncate(_)
            | Message::Snapshot { .. }
            | Message::Propose(_)
            | Message::Ack(_)
            | Message::Commit { .. }
            | Message::HandOver { .. } => {}
        }
    }

    pub(super) fn receive_epoch_query(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        out: &mut Vec<Output>,
    ) {
        let (epoch, in_doubt) = (self.epoch(), self.in_doubt());
        let membership = Arc::new(self.members().without_context());
        let reply = Message::EpochReply { epoch, nonce, in_doubt, membership };
        self.reply(from, reply, PersistId(0), out);
    }

    fn receive_epoch_reply(&mut self, from: ReplicaId, answer: Answer, out: &mut Vec<Output>) {
        let members = Arc::clone(self.members());
        let own = own(self.config.id, &members);
        let State::Asking(asking) = &mut self.state else { return };
        match asking.answered(from, answer, &own, &mut self.random) {
            Heard::TooLittle => {}
            Heard::AskAgain => {
                asking.ask_again_at(self.now);
                self.ask_epochs(out);
            }
            Heard::Enough(highest) => {
                let nonce = asking.nonce();
                self.doubt = Some(Doubt { nonce, target: None });
                self.watch_from(highest, out);
            }
        }
    }

    /// Begins to look for a leader of `epoch` or later.
    fn watch_from(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        if epoch > self.epoch() {
            self.accept_epoch(epoch, None);
        }
        self.save_promise(out);
        self.look(false, out);
    }

    /// The answer to insist on, if we are in doubt and the sender does not know it.
    pub(super) fn doubts_link(&self, link: Link) -> Option<Outcome> {
        let nonce = self.doubt.as_ref()?.nonce;
        let last = self.log.last();
        (link.nonce != nonce).then_some(Outcome::InDoubt { nonce, last })
    }

    /// A leader that knows of this life has a log up to `last`.
    pub(super) fn note_contact(&mut self, last: LogIndex) {
        if let Some(doubt) = &mut self.doubt {
            doubt.target.get_or_insert(last);
        }
    }

    /// Ends the doubt if the log is on disk as far as it has to be.
    pub(super) fn resolve_doubt(&mut self, out: &mut Vec<Output>) {
        let Some(Doubt { target: Some(target), .. }) = self.doubt else { return };
        let is_there = self.is_agreed() && self.durability.durable_index() >= target;
        if is_there && self.durability.is_promise_durable() && !self.may_not_acknowledge() {
            self.doubt = None;
            out.push(Output::News(News::DoubtResolved));
        }
    }
}

/// Who asks: a majority elects.
fn own(id: ReplicaId, membership: &Membership) -> Own<'_> {
    Own { id, membership, electing: None }
}
