//! Zab: a primary broadcasts changes in order, and what a quorum has is delivered by all.
//!
//! [`Zab`] fills the contract [`Replica`]. `step` routes each input to one concern, in the order of the
//! protocol's phases: `election` (0), `discovery` (1), then `peer` (how far a follower is), `broadcast`
//! (the leader's half of phases 2 and 3) and `following` (the follower's); besides `members`, `reads`,
//! `transfer`, `snapshot`, and `doubt` for a replica whose disk has lost promises.
//!
//! ```text
//!              elected          a quorum has promised an epoch, none has what we lack
//!   looking ───┬──────► discovering ────────────────────────────────────► leading
//!      ▲       └──────► following                                            │
//!      └── silence of the leader, of a quorum; or a higher epoch ◄───────────┘
//! ```
//!
//! # Names
//!
//! A zxid is a [`Position`]: the epoch is Zab's, the counter is the log index, which goes on counting
//! through all epochs instead of beginning anew in each. So it also tells how many entries lie before it, and
//! zxids order as they do in the papers, by epoch and then by counter: within one log both rise
//! together, and of two logs the one whose last entry has the higher epoch is further, whatever its length.
//!
//! A looking replica is shown as [`Role::PreCandidate`], for it disturbs nobody; a discovering one, which
//! makes others accept its epoch, as [`Role::Candidate`].
//!
//! # Invariants, asserted in every build
//!
//! * The accepted epoch never decreases, and is promised to one replica; an epoch has one leader.
//! * Local primary order: what one leader proposed is delivered in that order, without a gap. Global primary
//!   order: what is delivered is of no lower epoch than what was delivered before it. Primary integrity:
//!   a leader makes its first proposal when it has delivered all that earlier leaders committed.
//! * The commit index never decreases and is within the log. Committed entries are never cut off. A
//!   leader only appends; a follower's log, once it agrees with its leader's, too.
//!
//! # Durability
//!
//! A follower keeps two epochs (`f.p`, the accepted or promised one, and `f.a`, the current one, whose
//! NEWLEADER it has taken) and its history. [`crate::HardState`] has the first. The second is the
//! epoch of the log's last entry, because a leader's first entry is NEWLEADER's own: taking NEWLEADER is to
//! have that entry on disk, behind the history. Two things need `f.a`, and neither can tell the difference:
//!
//! * *That NEWLEADER is acknowledged.* The entry is on disk only with all before it, as one write or as
//!   several in order, and an acknowledgement waits for it.
//! * *Whose history the next leader begins with*, the greatest `(f.a, zxid)` of a quorum. By the last entry
//!   that is the greatest zxid. The two differ for one whose synchronisation was broken off. The
//!   paper's replica changes its history in one step; ours may keep any part of it, first a log that was
//!   cut, then one that grows towards its leader's. But cut is only what that leader does not have, and it
//!   has all that earlier ones committed; so each log holds at any time all that it has acknowledged
//!   and that was or will be committed. And an entry of epoch e stands behind all of the history that
//!   the leader of e began with, cut short at its end alone. So the history that ends with the greatest zxid
//!   of a quorum has what that quorum's members hold of committed entries: either its last epoch is
//!   theirs, and it is the longer beginning of one leader's history, or it is higher, and that leader's
//!   history had them before its own first entry. This is the argument of Raft's §5.4.1, and by the
//!   same token nothing is committed by counting alone before NEWLEADER is (§5.4.2).
//!
//! A separate `f.a` would tell apart a log that holds a beginning of NEWLEADER's history and one that holds
//! it all. Nobody asks: what the first lacks, it has never acknowledged.
//!
//! A promise, and any other reply, leaves only when the epoch that it reports is on disk; an
//! acknowledgement, when its entries are too. A leader's proposals leave before its own write: it counts
//! itself only when that is reported.
//!
//! # Reference
//!
//! Junqueira, Reed & Serafini, *Zab: High-performance broadcast for primary-backup systems* (DSN 2011),
//! called "Zab §"; Medeiros, *ZooKeeper's atomic broadcast protocol: theory and practice* (2012), called
//! "Medeiros §", for what ZooKeeper does differently. We follow ZooKeeper in that the elected leader
//! already has the longest history. Beyond them: no channel keeps order, so messages say what they follow;
//! replies wait for nothing but what they report; reads are linearizable; leadership can be handed over; and
//! a damaged journal is healed by `doubt`.

mod broadcast;
mod discovery;
mod doubt;
mod election;
mod following;
mod members;
mod message;
mod peer;
mod planted;
mod reads;
mod snapshot;
mod transfer;
mod witness;

use std::fmt;
use std::sync::Arc;

use crate::common::asking::Asking;
use crate::common::dropped;
use crate::common::durability::Durability;
use crate::common::lease::Grant;
use crate::common::log::Log;
use crate::common::random::Random;
use crate::common::restart::restart;
use crate::{
    Config, Entry, Epoch, Input, LogIndex, Membership, News, Output, PersistId, Position, Replica,
    ReplicaId, Restored, Role, Status, Time,
};

pub use crate::common::link::Link;
pub use message::{
    Ack, AckEpoch, Message, Notification, Outcome, Propose, Standing, Truncate, Vote,
};

use broadcast::Leader;
use discovery::Discovery;
use doubt::Doubt;
use election::Looking;
use following::Following;
#[cfg(not(feature = "planted"))]
use planted::Planted;
#[cfg(feature = "planted")]
pub use planted::Planted;
use snapshot::Fetch;

/// One replica of a group that keeps its log by Zab.
#[derive(Clone, Hash)]
pub struct Zab {
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
    /// Handed out for applying. At `commit` between steps.
    applied: Position,
    /// The state machine's durable image reaches up to here.
    checkpointed: LogIndex,
    /// The round of elections (the logical clock).
    round: u64,
    /// Who has shown itself as the accepted epoch's leader. Never changes within the epoch.
    epoch_leader: Option<ReplicaId>,
    /// The highest epoch that anyone was heard to have accepted: a new one is above it.
    highest_seen: Epoch,
    /// Whom it has promised not to promise an epoch to another.
    grant: Grant,
    fetch: Option<Fetch>,
    /// Whether its disk has lost promises: then it has no vote and promises nothing.
    doubt: Option<Doubt>,
    state: State,
    /// The role that the host was last told of.
    announced: Option<(Role, Epoch, Option<ReplicaId>)>,
}

/// The role, and what only that role needs.
#[derive(Clone, Hash)]
enum State {
    /// In doubt, and does not know yet which epochs it may have promised.
    Asking(Asking),
    /// Phase 0.
    Looking(Looking),
    /// Phases 1 to 3 of a follower.
    Following(Following),
    /// Phase 1 of a leader.
    Discovering(Discovery),
    /// Phases 2 and 3 of a leader.
    Leading(Leader),
}

impl Zab {
    /// A replica with what its disk gave back. It asks for nothing until its first step, which is
    /// due at once.
    ///
    /// A group of one cannot be asked what a damaged disk has lost: it stays in doubt for ever, unless
    /// it turns out to have grown. A host that starts a replica in doubt hands back only what was written
    /// before the damage, and goes on saying `in_doubt` at each start until [`News::DoubtResolved`].
    ///
    /// # Panics
    ///
    /// When the configuration or what was restored contradicts itself.
    pub fn new(config: Config, restored: Restored, now: Time) -> Self {
        config.check();
        let (applied, in_doubt) = (restored.applied, restored.in_doubt);
        let random = Random::new(config.seed ^ config.id.0.rotate_left(32));
        let (log, durability) = restart(&config, restored);
        let grant = Grant::new(&config, durability.hard_state().epoch, in_doubt, now);
        let members = log.memberships().latest();
        Self {
            peers: members.others(config.id),
            in_force: Arc::clone(members),
            now,
            started: false,
            durability,
            log,
            commit: applied.index,
            applied,
            checkpointed: applied.index,
            round: 0,
            epoch_leader: None,
            highest_seen: Epoch::default(),
            grant,
            fetch: None,
            doubt: in_doubt.then(Doubt::new),
            state: State::Looking(Looking::new(None, now)),
            announced: None,
            random,
            config,
        }
    }

    #[cfg(feature = "planted")]
    fn planted(&self, mistake: Planted) -> bool {
        self.config.planted == Some(crate::Planted::Zab(mistake))
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "stands for the field that only the feature has")]
    fn planted(&self, _: Planted) -> bool {
        false
    }

    fn id(&self) -> ReplicaId {
        self.config.id
    }

    /// The accepted epoch (`f.p`).
    fn epoch(&self) -> Epoch {
        self.durability.hard_state().epoch
    }

    /// Who is believed to lead.
    fn leader(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Following(following) => Some(following.leader),
            State::Leading(_) => Some(self.id()),
            State::Asking(_) | State::Looking(_) | State::Discovering(_) => None,
        }
    }

    /// Writes `entries` and all that is unsaved.
    fn persist(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        self.durability.persist(entries, self.log.base(), out);
    }

    fn save_promise(&mut self, out: &mut Vec<Output>) {
        self.durability.save_promise(self.log.base(), out);
    }

    /// Sends a reply once the accepted epoch, and the write `after`, are on disk.
    fn reply(&mut self, to: ReplicaId, message: Message, after: PersistId, out: &mut Vec<Output>) {
        self.durability.wait_for(after, self.log.base(), out);
        send(to, message, out);
    }

    fn role(&self) -> Role {
        if self.in_doubt() {
            return Role::InDoubt;
        }
        match self.state {
            State::Asking(_) | State::Looking(_) => Role::PreCandidate,
            State::Following(_) if !self.is_voter() => Role::Learner,
            State::Following(_) => Role::Follower,
            State::Discovering(_) => Role::Candidate,
            State::Leading(_) => Role::Leader,
        }
    }

    /// The first step: writes what the restart has changed, and begins to look or to ask.
    fn start(&mut self, out: &mut Vec<Output>) {
        self.started = true;
        out.push(Output::Members(Arc::clone(self.members())));
        if self.durability.has_unsaved_base() {
            self.persist(Vec::new(), out);
        }
        if self.in_doubt() && self.planted(Planted::PromiseInDoubt) {
            self.doubt = None;
            out.push(Output::News(News::DoubtResolved));
        }
        if self.in_doubt() {
            self.doubt_anew(out);
        } else {
            self.look(false, out);
        }
    }

    fn route(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(out),
            Input::Receive { from, message: crate::Message::Zab(message) } => {
                self.receive(from, message, out);
            }
            Input::Receive {
                from,
                message: crate::Message::Raft(_) | crate::Message::Paxos(_),
            } => {
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
            State::Asking(_) => self.ask_epochs(out),
            State::Looking(_) => self.tick_looking(out),
            State::Following(_) => self.tick_following(out),
            State::Discovering(_) => self.tick_discovery(out),
            State::Leading(_) => self.tick_leader(out),
        }
    }

    fn receive(&mut self, from: ReplicaId, message: Message, out: &mut Vec<Output>) {
        // Whoever it is: it may lead, or belong to, a membership that is yet to come to us. What it says
        // counts only where it is a member.
        if let Err(reason) = message.check() {
            return dropped(from, reason, out);
        }
        if self.is_asking() {
            return self.receive_while_asking(from, &message, out);
        }
        match message {
            Message::Notification(notification) => {
                self.receive_notification(from, notification, out);
            }
            Message::FollowerInfo { epoch, in_doubt } => {
                self.receive_follower_info(from, epoch, in_doubt, out);
            }
            Message::NewEpoch { epoch, nonce } => self.receive_new_epoch(from, epoch, nonce, out),
            Message::AckEpoch(ack) => self.receive_ack_epoch(from, ack, out),
            Message::Truncate(truncate) => self.receive_truncate(from, truncate, out),
            Message::Snapshot { epoch, position, round, last, link, skip } => {
                self.receive_snapshot(from, epoch, position, (round, last, link), skip, out);
            }
            Message::Propose(propose) => self.receive_propose(from, propose, out),
            Message::Ack(ack) => self.receive_ack(from, ack, out),
            Message::Commit { epoch, position } => self.receive_commit(from, epoch, position, out),
            Message::HandOver { epoch } => self.receive_hand_over(from, epoch, out),
            Message::EpochQuery { nonce, .. } => self.receive_epoch_query(from, nonce, out),
            // Left over from a doubt that has been resolved.
            Message::EpochReply { .. } => {}
        }
    }

    fn persisted(&mut self, id: PersistId, out: &mut Vec<Output>) {
        self.durability.persisted(id);
        match self.state {
            State::Following(_) => self.resolve_doubt(out),
            State::Discovering(_) => self.lead_if_promised(out),
            State::Leading(_) => self.advance_commit(out),
            State::Asking(_) | State::Looking(_) => {}
        }
    }

    /// Moves the commit index up to `index` and hands out what is newly committed.
    fn commit_to(&mut self, index: LogIndex, out: &mut Vec<Output>) {
        assert!(index <= self.log.last().index, "what is committed is in the log");
        if index <= self.commit {
            return;
        }
        self.commit = index;
        let entries = self.log.between(self.applied.index, index);
        for Entry { position, .. } in &entries {
            assert!(position.index == self.applied.index.next(), "local primary order: no gap");
            assert!(position.epoch >= self.applied.epoch, "global primary order: epochs rise");
            self.applied = *position;
        }
        if let State::Leading(leader) = &mut self.state {
            leader.committed(&entries);
        }
        out.push(Output::Apply(entries));
    }

    fn announce(&mut self, out: &mut Vec<Output>) {
        let current = (self.role(), self.epoch(), self.leader());
        if self.announced != Some(current) {
            self.announced = Some(current);
            let (role, epoch, leader) = current;
            out.push(Output::News(News::Role { role, epoch, leader }));
        }
    }
}

impl Replica for Zab {
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
        assert!(self.epoch() >= hard_state.epoch, "an accepted epoch was taken back");
        assert!(
            self.epoch() > hard_state.epoch || self.durability.hard_state() == hard_state,
            "an epoch was promised to another"
        );
        assert!(self.commit >= commit, "a commit was taken back");
        assert!(self.commit <= self.log.last().index, "more was committed than is in the log");
        assert!(self.applied.index == self.commit, "what is committed is handed out at once");
        assert!(self.log.base().index <= self.commit, "only what is committed is compacted");
        assert!(self.log.last().epoch <= self.epoch(), "an entry is of an epoch that was accepted");
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started {
            return Some(self.now);
        }
        match &self.state {
            State::Asking(asking) => Some(asking.deadline()),
            State::Leading(leader) => (!self.peers.is_empty()).then(|| leader.deadline()),
            State::Looking(looking) => looking.deadline(!self.peers.is_empty()),
            State::Following(following) => Some(following.deadline()),
            // Its own write is all that it waits for.
            State::Discovering(discovery) if self.peers.is_empty() && discovery.has_proposed() => {
                None
            }
            State::Discovering(discovery) => Some(discovery.deadline()),
        }
    }

    fn status(&self) -> Status {
        let peers = match &self.state {
            State::Leading(leader) => leader.peers(self.now, self.config.election_timeout),
            _ => Vec::new(),
        };
        Status {
            id: self.id(),
            role: self.role(),
            epoch: self.epoch(),
            leader: self.leader(),
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

impl fmt::Debug for Zab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zab({:?})", self.status())
    }
}

fn send(to: ReplicaId, message: Message, out: &mut Vec<Output>) {
    out.push(Output::Send { to, message: crate::Message::Zab(message) });
}

/// Whether a log that ends at `one` is further than one that ends at `other`.
fn is_further(one: Position, other: Position) -> bool {
    (one.epoch, one.index) > (other.epoch, other.index)
}
