//! Multi-Paxos: one leader at a time proposes for all slots; each slot is an instance of Paxos.
//!
//! [`Paxos`] fills the contract [`Replica`]. Each replica is proposer, acceptor and learner. `step`
//! routes each input to one concern: `acceptor` (phases 1b and 2b, and learning), `election` (who
//! stands), `phase1` and `phase2` (the proposer's halves), `members`, `reads`, `transfer`, `snapshot`,
//! and `doubt` for a replica whose disk has lost promises.
//!
//! ```text
//!   candidate ── Prepare(b, from) ──────────► acceptors     once for each leader, for all slots
//!             ◄───────────── Promise(b, …) ──               what was accepted, page by page
//!   leader    ── Accept(b, slots, commit) ──► acceptors     for each run of slots, pipelined,
//!             ◄─────── AcceptReply(b, …) ───                accepted in any order
//! ```
//!
//! # Invariants, asserted in every build
//!
//! * The promise never decreases. A ballot has one proposer, and one value for each slot.
//! * The commit index never decreases. What is chosen never changes. All that is committed is handed
//!   out for applying at once, in order and without a gap, by positions that are the same everywhere.
//! * A ready leader's entries are followed by none of an earlier leader: see `phase1`.
//!
//! # Durability
//!
//! A promise, and any other reply, leaves only when the promise that it reports is on disk; an
//! acknowledgement, when its slots are too. A leader's Accepts leave before its own write: it counts
//! itself only when that is reported, so commands may be chosen on its followers' disks first. Slots
//! and their stamps are written as the module `stamp` says.
//!
//! # Reference
//!
//! Lamport, *Paxos Made Simple* (2001); van Renesse & Altinbuken, *Paxos Made Moderately Complex*
//! (2015), called "PMMC"; Howard, Malkhi & Spiegelman, *Flexible Paxos* (2016). Where we differ:
//!
//! * One process is leader, acceptor and learner; a follower learns by a commit index instead of a
//!   decision for each slot (PMMC §4.4 has such a colocation). A leader is found by a failure detector
//!   with a question ahead, where PMMC lets any leader preempt any other.
//! * Values keep the ballot of their first proposal (`stamp`), and a value that cannot have been chosen
//!   is not revived behind a later leader's entries (`phase1`). *Paxos Made Simple* §3 would allow it;
//!   Junqueira et al., *Zab* (2011), §2, show what it breaks.
//! * A damaged journal is healed by `doubt`.

mod acceptor;
mod acks;
mod ballot;
mod doubt;
mod election;
mod members;
mod message;
mod phase1;
mod phase2;
mod planted;
mod progress;
mod reads;
mod restart;
mod slots;
mod snapshot;
mod stamp;
mod transfer;

use std::fmt;
use std::sync::Arc;

use crate::common::durability::Durability;
use crate::common::lease::Grant;
use crate::common::random::Random;
use crate::common::{MAX_NUMBER, dropped, first_wait};
use crate::membership::Memberships;
use crate::{
    Config, Entry, Epoch, Input, LogIndex, Membership, News, Output, PersistId, Position, Replica,
    ReplicaId, Role, Status, Time,
};

pub use crate::common::link::Link;
pub use message::{
    Accept, AcceptReply, Acceptance, Base, Cause, MAX_GAP, Message, Outcome, Promise,
};
pub use stamp::Stamp;

use doubt::Doubt;
use election::Question;
use phase1::Phase1;
use phase2::Leader;
#[cfg(not(feature = "planted"))]
use planted::Planted;
#[cfg(feature = "planted")]
pub use planted::Planted;
use slots::Slots;
use snapshot::Fetch;

/// One replica of a group that keeps its log by Multi-Paxos.
#[derive(Clone, Hash)]
pub struct Paxos {
    config: Config,
    /// The membership in force at `commit`, and those in later slots.
    memberships: Memberships,
    /// That at the base of the slots.
    at_base: Arc<Membership>,
    /// The membership that the host was last told of: the last in the slots.
    in_force: Arc<Membership>,
    /// Its other members.
    peers: Vec<ReplicaId>,
    random: Random,
    now: Time,
    /// Whether the first step has been made.
    started: bool,
    durability: Durability,
    slots: Slots,
    /// Slots up to here hold the values that were chosen. Behind `commit` only after a restart, when
    /// the image knows more than the slots prove.
    sure: LogIndex,
    commit: LogIndex,
    /// The last value handed out for applying. Its index equals `commit` between steps.
    applied: Position,
    /// The highest origin among the values handed out.
    newest: Epoch,
    /// The state machine's durable image reaches up to here.
    checkpointed: LogIndex,
    /// Slots up to here are sure, or were accepted under the ballot that is promised.
    agreed: LogIndex,
    /// Who is believed to lead now.
    leader: Option<ReplicaId>,
    /// When we last heard from a live leader.
    heard: Option<Time>,
    /// Whom it has promised not to elect another.
    grant: Grant,
    election_deadline: Time,
    fetch: Option<Fetch>,
    state: State,
    /// The role that the host was last told of.
    announced: Option<(Role, Epoch, Option<ReplicaId>)>,
}

/// The role, and what only that role needs.
#[derive(Clone, Hash)]
enum State {
    Follower,
    PreCandidate(Question),
    Candidate(Phase1),
    Leader(Leader),
    InDoubt(Doubt),
}

impl Paxos {
    #[cfg(feature = "planted")]
    fn planted(&self, mistake: Planted) -> bool {
        self.config.planted == Some(crate::Planted::Paxos(mistake))
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "stands for the field that only the feature has")]
    fn planted(&self, _: Planted) -> bool {
        false
    }

    fn id(&self) -> ReplicaId {
        self.config.id
    }

    /// The ballot that is promised: nothing below it is promised or accepted any more.
    fn promised(&self) -> Epoch {
        self.durability.hard_state().epoch
    }

    /// Writes `entries` and all that is unsaved.
    fn persist(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        self.durability.persist(entries, self.slots.base(), out);
    }

    fn save_promise(&mut self, out: &mut Vec<Output>) {
        self.durability.save_promise(self.slots.base(), out);
    }

    /// Sends a reply once the promise, and the write `after`, are on disk.
    fn reply(&mut self, to: ReplicaId, message: Message, after: PersistId, out: &mut Vec<Output>) {
        self.durability.wait_for(after, self.slots.base(), out);
        send(to, message, out);
    }

    fn role(&self) -> Role {
        match self.state {
            State::Follower if !self.is_voter() => Role::Learner,
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
            State::InDoubt(_) => Role::InDoubt,
        }
    }

    /// The first step: writes what the restart has changed, hands out what the slots prove, and begins
    /// to wait or to ask.
    fn start(&mut self, out: &mut Vec<Output>) {
        self.started = true;
        out.push(Output::Members(Arc::clone(&self.in_force)));
        if self.durability.has_unsaved_base() {
            self.persist(Vec::new(), out);
        }
        self.commit_to(self.slots.proven(), out);
        if self.planted(Planted::ImageProvesSlots) {
            let accepted =
                self.slots.first_gap(self.sure).map_or(self.slots.last(), LogIndex::prev);
            self.sure = self.commit.min(accepted);
            self.advance_agreed();
        }
        let wait = first_wait(&self.config, &mut self.random);
        self.election_deadline = self.grant.after(self.now) + wait;
        match self.state {
            State::InDoubt(_) => self.ask_ballots(out),
            // Nobody else could lead: why wait.
            _ if self.members().is_alone(self.id()) && !self.grant.forbids(self.id(), self.now) => {
                self.campaign(Cause::Silence, out);
            }
            _ => {}
        }
    }

    fn route(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(out),
            Input::Receive { from, message: crate::Message::Paxos(message) } => {
                self.receive(from, message, out);
            }
            Input::Receive { from, message: crate::Message::Raft(_) | crate::Message::Zab(_) } => {
                dropped(from, "it speaks another protocol", out);
            }
            Input::Propose(proposals) => self.propose(proposals, out),
            Input::Read(reads) => self.read(reads, out),
            Input::Persisted(id) => self.persisted(id, out),
            Input::Checkpointed { through } => self.checkpoint(through, out),
            Input::Reconfigure { id, target } => self.reconfigure(id, target, out),
            Input::SnapshotInstalled { position, membership } => {
                self.snapshot_installed(position, membership, out);
            }
            Input::SnapshotFailed => self.fetch = None,
            Input::Transfer { to } => self.transfer(to, out),
            Input::Unreachable { peer } => self.unreachable(peer),
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        match &self.state {
            State::Leader(_) => self.tick_leader(out),
            State::InDoubt(_) => self.tick_doubt(out),
            State::Candidate(_) if self.now < self.election_deadline => self.ask_again(out),
            State::Candidate(phase1) if phase1.is_in_vain() => self.let_others_stand(out),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                if self.now < self.election_deadline || !self.may_stand() {
                    return;
                }
                if self.grant.forbids(self.id(), self.now) {
                    let wait = self.random.below(self.config.heartbeat_interval);
                    self.election_deadline = self.grant.after(self.now) + wait;
                    return;
                }
                self.campaign(Cause::Silence, out);
            }
        }
    }

    fn receive(&mut self, from: ReplicaId, message: Message, out: &mut Vec<Output>) {
        // Whoever it is: it may lead, or belong to, a membership that is yet to come to us. What it says
        // counts only where it is a member.
        if let Err(reason) = message.check(from) {
            return dropped(from, reason, out);
        }
        if self.is_asking() {
            return self.receive_while_asking(from, &message, out);
        }
        match message {
            Message::PrePrepare { ballot } => self.receive_pre_prepare(from, ballot, out),
            Message::PrePromise { ballot, asked, granted, base } => {
                self.receive_pre_promise(from, ballot, (asked, granted), base, out);
            }
            Message::Prepare { ballot, from: slot, cause, nonce } => {
                self.receive_prepare(from, ballot, slot, (cause, nonce), out);
            }
            Message::Promise(promise) => self.receive_promise(from, promise, out),
            Message::Nack { ballot, .. } => self.receive_nack(ballot, out),
            Message::Accept(accept) => self.receive_accept(from, accept, out),
            Message::AcceptReply(reply) => self.receive_accept_reply(from, &reply, out),
            Message::Commit { ballot, index } => self.receive_commit(from, ballot, index, out),
            Message::Snapshot { ballot, base, round, last, link, skip } => {
                self.receive_snapshot(from, ballot, base, (round, last, link), skip, out);
            }
            Message::TakeOver { ballot } => self.receive_take_over(from, ballot, out),
            Message::BallotQuery { nonce, .. } => self.receive_ballot_query(from, nonce, out),
            // Left over from a doubt that has been resolved.
            Message::BallotReply { .. } => {}
        }
    }

    fn persisted(&mut self, id: PersistId, out: &mut Vec<Output>) {
        self.durability.persisted(id);
        match self.state {
            State::Candidate(_) => self.lead_if_promised(out),
            State::Leader(_) => self.advance_commit(out),
            State::InDoubt(_) => self.resolve_doubt(out),
            State::Follower | State::PreCandidate(_) => {}
        }
    }

    /// The transport's hint that a peer hung up.
    fn unreachable(&mut self, peer: ReplicaId) {
        match &mut self.state {
            State::Leader(leader) => leader.hung_up(peer),
            State::Follower | State::PreCandidate(_) if self.leader == Some(peer) => {
                // Its process is probably gone: do not wait for a full timeout, but spread the
                // candidates a little, so that one of them wins.
                self.leader = None;
                self.heard = None;
                self.grant.hung_up();
                let wait = self.random.below(self.config.heartbeat_interval);
                self.election_deadline = self.grant.after(self.now) + wait;
            }
            State::InDoubt(_) if self.leader == Some(peer) => self.leader = None,
            State::Follower | State::PreCandidate(_) | State::Candidate(_) | State::InDoubt(_) => {}
        }
    }

    /// Our slots hold what was chosen up to `index`: hands out what is newly so.
    fn commit_to(&mut self, index: LogIndex, out: &mut Vec<Output>) {
        assert!(index <= self.slots.last(), "what is committed is in the slots");
        self.sure = self.sure.max(index);
        self.advance_agreed();
        if index <= self.commit {
            return;
        }
        let entries = self.slots.values(self.commit, index);
        self.commit = index;
        let origins = entries.iter().map(|entry| entry.position.epoch);
        self.newest = origins.fold(self.newest, Epoch::max);
        self.applied = entries.last().map_or(self.applied, |entry| entry.position);
        self.memberships.compact(index);
        if let State::Leader(leader) = &mut self.state {
            leader.committed(&entries);
        }
        out.push(Output::Apply(entries));
    }

    fn announce(&mut self, out: &mut Vec<Output>) {
        let current = (self.role(), self.promised(), self.leader);
        if self.announced != Some(current) {
            self.announced = Some(current);
            let (role, epoch, leader) = current;
            out.push(Output::News(News::Role { role, epoch, leader }));
        }
    }
}

impl Replica for Paxos {
    fn step(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        assert!(now >= self.now, "time never goes backwards");
        self.now = now;
        self.durability.begin_list();
        let (promised, sure, commit) = (self.promised(), self.sure, self.commit);
        if !self.started {
            self.start(out);
        }
        self.route(input, out);
        self.save_promise(out);
        self.announce(out);
        assert!(self.promised() >= promised, "a promise was taken back");
        assert!(self.commit >= commit, "a commit was taken back");
        assert!(self.sure >= sure, "what is sure was forgotten");
        assert!(self.applied.index == self.commit, "what is committed is handed out at once");
        assert!(self.sure <= self.commit, "what is sure is committed");
        assert!(self.sure <= self.agreed, "what is sure is agreed");
        assert!(self.commit <= self.slots.last(), "more was committed than the slots hold");
        assert!(self.agreed <= self.slots.last(), "more was agreed than the slots hold");
        assert!(self.slots.base().index <= self.sure, "only what is sure is compacted");
        assert!(self.slots.last().0 <= MAX_NUMBER, "slots are countable");
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started {
            return Some(self.now);
        }
        match &self.state {
            State::Leader(leader) => (!self.peers.is_empty()).then(|| leader.deadline()),
            State::InDoubt(doubt) => doubt.deadline(),
            State::Candidate(_) if self.peers.is_empty() => None,
            State::Follower if !self.may_stand() => None,
            State::Candidate(phase1) => Some(self.election_deadline.min(phase1.deadline())),
            State::Follower | State::PreCandidate(_) => Some(self.election_deadline),
        }
    }

    fn status(&self) -> Status {
        let peers = match &self.state {
            State::Leader(leader) => leader.peers(self.now, self.config.election_timeout),
            _ => Vec::new(),
        };
        Status {
            id: self.id(),
            role: self.role(),
            epoch: self.promised(),
            leader: self.leader,
            base: self.slots.base_value(),
            last: self.slots.last_value(),
            commit: self.commit,
            log_bytes: self.slots.bytes(),
            membership: Arc::clone(self.members()),
            is_settled: self.memberships.latest_index() <= self.commit,
            peers,
        }
    }
}

impl fmt::Debug for Paxos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paxos({:?})", self.status())
    }
}

fn send(to: ReplicaId, message: Message, out: &mut Vec<Output>) {
    out.push(Output::Send { to, message: crate::Message::Paxos(message) });
}
