//! Snapshots and compaction: what happens when a log's beginning is gone.
//!
//! The image of the state machine belongs to the host. Here we decide how many slots are kept behind
//! it, tell a follower that is further behind to fetch an image, fetch one ourselves when we cannot
//! lead without, and go on after it.
//!
//! What we rely on: a host never installs an image that is older than what it has applied; it
//! reports [`crate::Input::SnapshotFailed`] instead. When it is asked for a snapshot while it
//! fetches one, somebody else's is wanted: it drops the older fetch without a report.
//!
//! # A base proves what was chosen before it
//!
//! One who lost the image and keeps only the end of the log, and one who has all slots but does not know
//! that the last ones are chosen, have together lost nothing; yet neither can help the other with an image.
//! So whoever tells where its slots begin adds under which ballot that last slot stood here, a. Then each slot s up
//! to there was chosen under a or a lower ballot, hence a value accepted under a or a higher one is the
//! chosen one (P2b of *Paxos Made Simple*), and whoever holds such values for all slots that it is not sure of
//! has learned them. Why s was: the base was sure, and
//!
//! * it became so by the word of the leader of a, who proposed it under a, as it does all slots that it is not
//!   sure of. Those before it were chosen under a as well, or the leader was sure of them when it was elected:
//!   from a promise, whose sender's stamp for them was below a, and so on by induction; or from an image.
//!   Had s in that image been chosen under a ballot q above a, and under none up to a, then a quorum had promised q
//!   before the leader of a proposed anything, and it never got anything chosen;
//! * or it is a witness's, which took it from a leader's message as it stood there;
//! * or the base was taken from an image. Then its ballot is [`OF_IMAGE`], and nothing is said.
//!
//! # Invariants
//!
//! * Only slots that are sure and in the durable image are dropped.
//! * An acceptance is never dropped: slots beyond a base that an image brings stay, and are written
//!   together with it, for it voids the disk's log.
//! * Nothing is handed out for applying twice: after a snapshot, applying goes on behind it.
//!
//! # Durability
//!
//! The host installs a snapshot durably before it says so, and we acknowledge it once the new base
//! is on disk. A base that merely moves on is written with nothing waiting for it.
//!
//! # Reference
//!
//! PMMC §4.2 (garbage collection): there a leader tells acceptors what all learners have; here each
//! replica keeps what it likes, and a laggard fetches an image.

use std::sync::Arc;

use crate::common::link::Link;
use crate::common::{dropped, skipped_to};
use crate::{Epoch, LogIndex, Membership, Output, PersistId, Position, ReplicaId};

use super::message::{Base, Outcome};
use super::planted::Planted;
use super::stamp::{OF_IMAGE, Stamp};
use super::{Paxos, State};

/// The log is compacted in steps of this part of what it retains, not slot by slot.
const STEPS_IN_RETAINED: usize = 8;

/// A snapshot that the host was asked to fetch.
#[derive(Clone, Hash)]
pub(super) struct Fetch {
    from: ReplicaId,
    /// Of the leader's latest request; the acknowledgement bears it. None if nobody asked us to.
    link: Option<Link>,
}

/// A base whose value is known from an image alone, as the disk has it. It is chosen; under which ballot
/// is not known.
pub(super) fn of_image(position: Position) -> Position {
    let stamp = Stamp::new(OF_IMAGE, position.epoch, position.index, position.index);
    Position { epoch: stamp.pack(), ..position }
}

/// Another's base, as the disk has it.
fn under(Base { position, under }: Base) -> Position {
    if under == Epoch::default() {
        return of_image(position);
    }
    let stamp = Stamp::new(under, position.epoch, position.index, position.index);
    Position { epoch: stamp.pack(), ..position }
}

impl Paxos {
    /// Drops slots that no recovery needs and that no follower is worth keeping for.
    pub(super) fn checkpoint(&mut self, through: LogIndex, out: &mut Vec<Output>) {
        self.checkpointed = self.checkpointed.max(through.min(self.commit));
        if self.is_witness() {
            // It has no image that would have what is still on its way to the disk.
            self.checkpointed = self.checkpointed.min(self.durability.durable_index());
        }
        let base = self.slots.base().index;
        let through = self.checkpointed.min(self.sure).max(base);
        let needed_by_none = self.matched_by_all().map_or(base, |matched| matched.min(through));
        let retained = self.config.log_retain_bytes;
        let target = self.slots.keep_within(through, retained).max(needed_by_none);
        if target == base {
            return;
        }
        let dropped_bytes = self.slots.bytes_between(base, target);
        if target == through || dropped_bytes >= retained / STEPS_IN_RETAINED {
            self.base_moves_through(target);
            self.slots.compact(target);
            self.durability.cover(target);
            self.durability.base_moved(&self.at_base);
            self.persist(Vec::new(), out);
        }
    }

    /// The leader no longer has the slots that we lack.
    pub(super) fn receive_snapshot(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        base: Base,
        (round, last, link): (u64, LogIndex, Link),
        skip: Option<Arc<Membership>>,
        out: &mut Vec<Output>,
    ) {
        let request = (round, link);
        if skip.is_some() && self.is_data_replica() {
            return dropped(from, "it takes us for a witness", out);
        }
        if ballot < self.promised() {
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        self.follow(from, ballot, out);
        if let Some(nonce) = self.doubts_link(link) {
            return self.answer(from, request, Outcome::InDoubt { nonce }, PersistId(0), out);
        }
        self.note_contact(last);
        self.learn_from_base(base, out);
        let position = base.position;
        if self.commit >= position.index {
            if self.sure < position.index {
                self.rest_on_image(out);
            }
            return self.answer_with_sure(from, request, out);
        }
        if let Some(membership) = skip {
            self.skip_as_witness(base, skipped_to(membership, &self.config), out);
            return self.answer_with_sure(from, request, out);
        }
        self.answer(from, request, Outcome::Fetching, PersistId(0), out);
        self.ask_host(Fetch { from, link: Some(link) }, position, out);
    }

    /// All up to another's base is chosen: if we hold what was, we need not ask for an image of it.
    pub(super) fn learn_from_base(&mut self, base: Base, out: &mut Vec<Output>) {
        let Base { position, under } = base;
        let any = self.planted(Planted::AnyBallotBelowBase);
        let is_known = under != Epoch::default() || any;
        let mut slots = (self.sure.0 + 1..=position.index.0).map(LogIndex);
        let holds = |index| {
            let ballot = self.slots.ballot_at(index);
            ballot != Epoch::default() && (ballot >= under || any)
        };
        if is_known && position.index > self.sure && slots.all(holds) {
            self.commit_to(position.index, out);
        }
    }

    /// A candidate needs what this acceptor can tell by a snapshot only.
    pub(super) fn fetch_to_stand(
        &mut self,
        from: ReplicaId,
        position: Position,
        out: &mut Vec<Output>,
    ) {
        self.ask_host(Fetch { from, link: None }, position, out);
    }

    fn ask_host(&mut self, fetch: Fetch, at_least: Position, out: &mut Vec<Output>) {
        if self.fetch.is_none() {
            out.push(Output::FetchSnapshot { from: fetch.from, at_least });
        }
        self.fetch = Some(fetch);
    }

    /// The state machine now is the snapshot at `position`.
    pub(super) fn snapshot_installed(
        &mut self,
        position: Position,
        membership: Arc<Membership>,
        out: &mut Vec<Output>,
    ) {
        let fetch = self.fetch.take();
        if position.index > self.commit {
            self.memberships.rebase(position.index, membership);
            self.skip_to(position, of_image(position), true, out);
            self.members_changed(out);
        }
        if let Some(Fetch { from, link: Some(link) }) = fetch {
            self.answer_with_sure(from, (0, link), out);
        }
    }

    /// A witness goes on where the leader's slots begin. What their base proves it hands on like the leader:
    /// without an image, whoever holds what was chosen there has no other way to learn that it was.
    fn skip_as_witness(&mut self, base: Base, membership: Arc<Membership>, out: &mut Vec<Output>) {
        self.fetch = None;
        self.memberships.rebase(base.position.index, membership);
        self.skip_to(base.position, under(base), false, out);
        self.members_changed(out);
    }

    /// Goes on behind what is further than what was handed out; the disk names its last slot so, and an image
    /// has it already or none does.
    fn skip_to(
        &mut self,
        position: Position,
        base: Position,
        has_image: bool,
        out: &mut Vec<Output>,
    ) {
        let index = position.index;
        self.commit = index;
        self.applied = position;
        self.newest = self.newest.max(position.epoch);
        self.checkpointed = index;
        self.rest_on(base, has_image, out);
        match &mut self.state {
            // Others have chosen what we do not know to be: perhaps not what we have proposed.
            State::Leader(_) => self.stop_leading_or_standing(out),
            State::Candidate(phase1) => phase1.forget_through(index),
            State::Follower | State::PreCandidate(_) | State::InDoubt(_) => {}
        }
        self.note_ready(out);
    }

    /// Lets the slots begin behind what was applied: the image knows it, whatever they hold there.
    pub(super) fn rest_on_image(&mut self, out: &mut Vec<Output>) {
        self.rest_on(of_image(self.applied), true, out);
    }

    fn rest_on(&mut self, base: Position, has_image: bool, out: &mut Vec<Output>) {
        let (index, sure) = (base.index, self.sure);
        self.slots.rebase(base);
        self.durability.truncate(if has_image { index } else { sure }.next());
        if self.planted(Planted::BaseDropsAcceptances) {
            self.slots.drop_all();
        }
        let rest = self.slots.suffix(index.next());
        self.sure = index;
        self.advance_agreed();
        self.at_base = Arc::clone(self.memberships.base());
        self.durability.base_moved(&self.at_base);
        if has_image {
            self.durability.cover(index);
            self.persist(rest, out);
        } else {
            // Without an image, what comes before is durable with this write and no sooner.
            self.durability.persist_through(index, rest, self.slots.base(), out);
        }
    }

    /// What is sure here is so for every leader.
    fn answer_with_sure(&mut self, to: ReplicaId, request: (u64, Link), out: &mut Vec<Output>) {
        let after = self.durability.of_log(self.sure);
        self.answer(to, request, Outcome::Accepted { matched: self.sure }, after, out);
        self.resolve_doubt(out);
    }
}
