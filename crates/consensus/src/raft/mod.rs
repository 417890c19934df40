//! Raft: one leader at a time orders all commands; a majority keeps them.
//!
//! [`Raft`] fills the contract [`Replica`]. `step` routes each input to one concern: `election`,
//! `replication` (the leader's half) and `following` (the follower's), `reads`, `transfer`, `members`,
//! `witness`, `snapshot`, and `doubt` for a replica whose disk has lost promises.
//!
//! # Invariants, asserted in every build
//!
//! * The term never decreases; the vote never changes within a term; a term has one leader.
//! * The commit index never decreases and is within the log. Committed entries are never cut off.
//! * A leader only appends to its log. All that is committed is handed out for applying at once,
//!   in order and without a gap.
//!
//! # Durability
//!
//! A vote, and any other reply, leaves only when the term and vote that it reports are on disk; an
//! acknowledgement, when its entries are too. A leader's Appends leave before its own write: it
//! counts itself only when that is reported, so commands may commit on its followers' disks first.
//!
//! # Reference
//!
//! Ongaro & Ousterhout, *In Search of an Understandable Consensus Algorithm* (extended version,
//! 2014), called "Raft §"; Ongaro, *Consensus: Bridging Theory and Practice* (2014), called
//! "thesis §". Beyond them: replies wait for nothing but what they report, idle followers learn of
//! commits by a message without an answer, and a damaged journal is healed by `doubt`.

mod doubt;
mod election;
mod following;
mod members;
mod message;
mod planted;
mod reads;
mod replication;
mod snapshot;
mod term;
mod transfer;
mod witness;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::common::durability::Durability;
use crate::common::lease::Grant;
use crate::common::log::Log;
use crate::common::random::Random;
use crate::common::restart::restart;
use crate::common::{dropped, first_wait};
use crate::{
    Config, Entry, Epoch, Input, LogIndex, Membership, News, Output, PersistId, Position, Replica,
    ReplicaId, Restored, Role, Status, Time,
};

pub use crate::common::link::Link;
pub use message::{Append, AppendReply, Cause, Message, Outcome};

use doubt::Doubt;
use election::Votes;
#[cfg(not(feature = "planted"))]
use planted::Planted;
#[cfg(feature = "planted")]
pub use planted::Planted;
use replication::Leader;
use snapshot::Fetch;

/// One replica of a group that keeps its log by Raft.
#[derive(Clone, Hash)]
pub struct Raft {
    config: Config,
    /// The membership that the host was last told of: the last in the log.
    in_force: Arc<Membership>,
    /// Its other members.
    peers: Vec<ReplicaId>,
    random: Random,
    now: Time,
    /// Whether the first step has been made.
    started: bool,
    durability: Durability,
    log: Log,
    commit: LogIndex,
    /// Handed out for applying. Equal to `commit` between steps.
    applied: LogIndex,
    /// The state machine's durable image reaches up to here.
    checkpointed: LogIndex,
    /// Who is believed to lead now.
    leader: Option<ReplicaId>,
    /// Who has shown itself as this term's leader. Never changes within the term.
    term_leader: Option<ReplicaId>,
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
    /// Who would vote for us in the next term.
    PreCandidate(BTreeSet<ReplicaId>),
    /// Who has voted for us in this term.
    Candidate(Votes),
    Leader(Leader),
    InDoubt(Doubt),
}

impl Raft {
    /// A replica with what its disk gave back. It asks for nothing until its first step, which is
    /// due at once.
    ///
    /// A group of one cannot be asked what a damaged disk has lost: it stays in doubt for ever. A host that starts a replica in doubt hands back only what was written before the
    /// damage, and goes on saying `in_doubt` at each start until [`News::DoubtResolved`].
    ///
    /// # Panics
    ///
    /// When the configuration or what was restored contradicts itself.
    pub fn new(config: Config, restored: Restored, now: Time) -> Self {
        config.check();
        let (applied, in_doubt) = (restored.applied, restored.in_doubt);
        let mut random = Random::new(config.seed ^ config.id.0.rotate_left(32));
        let (log, durability) = restart(&config, restored);
        let grant = Grant::new(&config, durability.hard_state().epoch, in_doubt, now);
        let members = log.memberships().latest();
        let state =
            if in_doubt { State::InDoubt(Doubt::new(&mut random)) } else { State::Follower };
        Self {
            peers: members.others(config.id),
            in_force: Arc::clone(members),
            random,
            now,
            started: false,
            durability,
            log,
            commit: applied.index,
            applied: applied.index,
            checkpointed: applied.index,
            leader: None,
            term_leader: None,
            heard: None,
            grant,
            election_deadline: now,
            fetch: None,
            state,
            announced: None,
            config,
        }
    }

    #[cfg(feature = "planted")]
    fn planted(&self, mistake: Planted) -> bool {
        self.config.planted == Some(crate::Planted::Raft(mistake))
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "stands for the field that only the feature has")]
    fn planted(&self, _: Planted) -> bool {
        false
    }

    fn id(&self) -> ReplicaId {
        self.config.id
    }

    fn term(&self) -> Epoch {
        self.durability.hard_state().epoch
    }

    /// Writes `entries` and all that is unsaved.
    fn persist(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        self.durability.persist(entries, self.log.base(), out);
    }

    fn save_promise(&mut self, out: &mut Vec<Output>) {
        self.durability.save_promise(self.log.base(), out);
    }

    /// Sends a reply once the term and vote, and the write `after`, are on disk.
    fn reply(&mut self, to: ReplicaId, message: Message, after: PersistId, out: &mut Vec<Output>) {
        self.durability.wait_for(after, self.log.base(), out);
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

    /// The first step: writes what the restart has changed, and begins to wait or to ask.
    fn start(&mut self, out: &mut Vec<Output>) {
        self.started = true;
        out.push(Output::Members(Arc::clone(self.members())));
        if self.durability.has_unsaved_base() {
            self.persist(Vec::new(), out);
        }
        let wait = first_wait(&self.config, &mut self.random);
        self.election_deadline = self.grant.after(self.now) + wait + self.patience();
        match self.state {
            State::InDoubt(_) => self.ask_terms(out),
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
            Input::Receive { from, message: crate::Message::Raft(message) } => {
                self.receive(from, message, out);
            }
            Input::Receive { from, message: crate::Message::Paxos(_) | crate::Message::Zab(_) } => {
                dropped(from, "it speaks another protocol", out);
            }
            Input::Propose(proposals) => self.propose(proposals, out),
            Input::Reconfigure { id, target } => self.reconfigure(id, target, out),
            Input::Read(reads) => self.read(reads, out),
            Input::Persisted(id) => self.persisted(id, out),
            Input::Checkpointed { through } => self.checkpoint(through, out),
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
        // Whoever it is: it may lead, or belong to, a membership that is yet to come to us (thesis §4.1).
        // What it says counts only where it is a member.
        if let Err(reason) = message.check() {
            return dropped(from, reason, out);
        }
        if self.is_asking() {
            return self.receive_while_asking(from, &message, out);
        }
        match message {
            Message::PreVote { term, last } => self.receive_pre_vote(from, term, last, out),
            Message::PreVoteReply { term, asked, granted } => {
                self.receive_pre_vote_reply(from, term, (asked, granted), out);
            }
            Message::Vote { term, last, cause, nonce } => {
                self.receive_vote(from, term, last, (cause, nonce), out);
            }
            Message::VoteReply { term, granted, nonce } => {
                self.receive_vote_reply(from, term, (nonce, granted), out);
            }
            Message::Append(append) => self.receive_append(from, append, out),
            Message::AppendReply(reply) => self.receive_append_reply(from, &reply, out),
            Message::Commit { term, position } => self.receive_commit(from, term, position, out),
            Message::Snapshot { term, position, round, last, link, skip } => {
                self.receive_snapshot(from, term, position, (round, last, link), skip, out);
            }
            Message::TimeoutNow { term } => self.receive_timeout_now(from, term, out),
            Message::TermQuery { nonce, .. } => self.receive_term_query(from, nonce, out),
            // Left over from a doubt that has been resolved.
            Message::TermReply { .. } => {}
        }
    }

    fn persisted(&mut self, id: PersistId, out: &mut Vec<Output>) {
        self.durability.persisted(id);
        match self.state {
            State::Candidate(_) => self.count_own_vote(out),
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
                self.election_deadline = self.grant.after(self.now) + wait + self.patience();
            }
            State::InDoubt(_) if self.leader == Some(peer) => self.leader = None,
            State::Follower | State::PreCandidate(_) | State::Candidate(_) | State::InDoubt(_) => {}
        }
    }

    /// Moves the commit index up to `index` and hands out what is newly committed.
    fn commit_to(&mut self, index: LogIndex, out: &mut Vec<Output>) {
        assert!(index <= self.log.last().index, "what is committed is in the log");
        if index <= self.commit {
            return;
        }
        self.commit = index;
        let entries = self.log.between(self.applied, index);
        self.applied = index;
        if let State::Leader(leader) = &mut self.state {
            leader.committed(&entries);
        }
        out.push(Output::Apply(entries));
    }

    fn announce(&mut self, out: &mut Vec<Output>) {
        let current = (self.role(), self.term(), self.leader);
        if self.announced != Some(current) {
            self.announced = Some(current);
            let (role, epoch, leader) = current;
            out.push(Output::News(News::Role { role, epoch, leader }));
        }
    }
}

impl Replica for Raft {
    fn step(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        assert!(now >= self.now, "time never goes backwards");
        self.now = now;
        self.durability.begin_list();
        let (hard_state, commit) = (self.durability.hard_state(), self.commit);
        if !self.started {
            self.start(out);
        }
        self.route(input, out);
        self.save_promise(out);
        self.announce(out);
        assert!(self.term() >= hard_state.epoch, "a term was taken back");
        assert!(
            self.term() > hard_state.epoch
                || hard_state.vote.is_none()
                || self.durability.hard_state().vote == hard_state.vote,
            "a vote was changed within its term"
        );
        assert!(self.commit >= commit, "a commit was taken back");
        assert!(self.commit <= self.log.last().index, "more was committed than is in the log");
        assert!(self.applied == self.commit, "what is committed is handed out at once");
        assert!(self.log.base().index <= self.commit, "only what is committed is compacted");
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
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                Some(self.election_deadline)
            }
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
            epoch: self.term(),
            leader: self.leader,
            base: self.log.base(),
            last: self.log.last(),
            commit: self.commit,
            log_bytes: self.log.bytes(),
            membership: Arc::clone(self.members()),
            is_settled: self.log.memberships().latest_index() <= self.commit,
            peers,
        }
    }
}

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raft({:?})", self.status())
    }
}

fn send(to: ReplicaId, message: Message, out: &mut Vec<Output>) {
    out.push(Output::Send { to, message: crate::Message::Raft(message) });
}

/// Whether a log that ends at `theirs` has all that one ending at `ours` could have committed
/// (§5.4.1).
fn is_up_to_date(theirs: Position, ours: Position) -> bool {
    (theirs.epoch, theirs.index) >= (ours.epoch, ours.index)
}
