//! Phase 0: whom to follow. Fast leader election.
//!
//! A replica that looks for a leader votes, at first for itself if it is a voter (`members` has what the
//! others do), and tells everyone. Whoever hears of a
//! better vote in its round takes it over and says so; a round that is over counts for nothing, and a
//! later one is joined. Once a quorum votes alike it waits a little for a better vote, then follows the
//! one elected, or sets out to lead (`discovery`), as it also does when one has decided so for it. Those that do not look answer with whom they follow,
//! so that a replica that was cut off finds the leader and does not unseat it.
//!
//! # Invariants
//!
//! * A replica has one vote in a round, and it only gets better. A repeated vote counts once.
//! * A replica in doubt has no vote and gets none.
//!
//! # Durability
//!
//! None: an election decides nothing. Two replicas may both believe that they won; that an epoch has one
//! leader, whose log has all that is committed, rests on phase 1.
//!
//! # Reference
//!
//! Medeiros §4.2 (fast leader election), algorithm 2. Where the paper's replicas learn from broken
//! connections that their leader is gone, ours learn it from silence, from the leader's own word, or from
//! another's if the leader has been silent here too. A replica joins a leader that says that it leads if
//! with it the leader has a quorum, where the paper wants one without it; `members` has when its word
//! alone is enough. That the log's last epoch stands
//! for the current epoch is argued in the header of `zab`.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::refuse;
use crate::membership::MAX_LEARNERS;
use crate::quorum::MAX_VOTERS;
use crate::{Epoch, Output, Position, ReplicaId, Time};

use super::discovery::Discovery;
use super::following::{Following, Stage};
use super::message::{Message, Notification, Standing, Vote};
use super::planted::Planted;
use super::{State, Zab, is_further};

/// Most replicas that one tells where it stands though it does not know them as members.
const MAX_STRANGERS: usize = 64;

/// What only a replica that looks for a leader knows.
#[derive(Clone, Hash)]
pub(super) struct Looking {
    /// Its vote for itself, with which each round begins. None if it is no voter as far as it knows: it
    /// then only hands on what it hears.
    own: Option<Vote>,
    vote: Option<Vote>,
    /// Whom each replica votes for in this round, or has followed since.
    votes: BTreeMap<ReplicaId, ReplicaId>,
    /// Whom those that do not look follow; a leader, itself.
    settled: BTreeMap<ReplicaId, ReplicaId>,
    /// Who was heard of that is no member as far as it knows: they are told as well.
    strangers: BTreeSet<ReplicaId>,
    since: Time,
    /// A quorum votes as we do: until when a better vote may come.
    decide_at: Option<Time>,
    /// When to tell everyone again.
    retry_at: Time,
}

impl Looking {
    pub(super) fn new(own: Option<Vote>, now: Time) -> Self {
        Self {
            own,
            vote: own,
            votes: BTreeMap::new(),
            settled: BTreeMap::new(),
            strangers: BTreeSet::new(),
            since: now,
            decide_at: None,
            retry_at: now,
        }
    }

    /// Whether it votes for a replica that the leader itself has asked to stand.
    pub(super) fn is_blessed(&self) -> bool {
        self.vote.is_some_and(|vote| vote.blessed)
    }

    /// Who knows of nobody waits until it is spoken to.
    pub(super) fn deadline(&self, has_peers: bool) -> Option<Time> {
        let retry_at = (has_peers || !self.strangers.is_empty()).then_some(self.retry_at);
        self.decide_at.into_iter().chain(retry_at).min()
    }
}

impl Vote {
    /// Whether it wins against another.
    fn beats(&self, other: &Vote) -> bool {
        let rank = |vote: &Vote| {
            let Vote { last, blessed, witness, leader } = *vote;
            (last.epoch, last.index, blessed, !witness, leader)
        };
        rank(self) > rank(other)
    }
}

impl Zab {
    /// Gives up whatever it does and looks for a leader, in the next round. It is blessed if the leader
    /// itself has asked it to stand.
    pub(super) fn look(&mut self, blessed: bool, out: &mut Vec<Output>) {
        self.begin_looking(blessed, out);
        self.tell_if_due(out);
        self.count_votes(out);
    }

    /// The same, but nobody is told yet.
    fn begin_looking(&mut self, blessed: bool, out: &mut Vec<Output>) {
        self.stop(out);
        self.round += 1;
        let witness = self.is_witness();
        let own = Vote { last: self.log.last(), blessed, witness, leader: self.id() };
        let stands = self.is_voter() && !(witness && self.planted(Planted::WitnessNeverStands));
        self.state = State::Looking(Looking::new(stands.then_some(own), self.now));
        self.vote_anew();
    }

    /// The transport's hint that a peer hung up.
    pub(super) fn unreachable(&mut self, peer: ReplicaId) {
        match &mut self.state {
            State::Leading(leader) => leader.hung_up(peer),
            State::Following(following) if following.leader == peer => {
                // Its process is probably gone: do not wait for a full timeout, but let the others
                // find out too.
                let wait = self.random.below(self.config.heartbeat_interval);
                self.grant.hung_up();
                following.heard = None;
                following.deadline = self.now + wait;
            }
            State::Asking(_) | State::Looking(_) | State::Following(_) | State::Discovering(_) => {}
        }
    }

    /// Leaves whatever it does with others; what was asked of it as a leader is refused.
    pub(super) fn stop(&mut self, out: &mut Vec<Output>) {
        let reads = self.take_reads();
        refuse(Vec::new(), reads, None, out);
        self.fetch = None;
        if let Some(doubt) = &mut self.doubt {
            doubt.leader_changed();
        }
    }

    pub(super) fn tick_looking(&mut self, out: &mut Vec<Output>) {
        let State::Looking(looking) = &mut self.state else { return };
        if looking.decide_at.is_some_and(|time| time <= self.now) {
            return self.decide(out);
        }
        self.tell_if_due(out);
    }

    pub(super) fn receive_notification(
        &mut self,
        from: ReplicaId,
        notification: Notification,
        out: &mut Vec<Output>,
    ) {
        self.highest_seen = self.highest_seen.max(notification.epoch);
        if let Standing::Looking(Vote { blessed: true, last, .. }) = notification.standing {
            // The leader of that epoch has asked it to stand.
            self.grant.release(last.epoch);
        }
        let is_settled = !matches!(self.state, State::Looking(_));
        if is_settled && self.is_called_to_look(from, &notification) {
            self.begin_looking(false, out);
        }
        self.meet(from);
        match (&self.state, notification.standing) {
            (State::Looking(_), Standing::Looking(vote)) => {
                self.hear_vote(from, notification.round, vote, out);
            }
            (State::Looking(_), Standing::Following(leader)) => {
                self.hear_settled(from, notification.round, leader, out);
            }
            (State::Looking(_), Standing::Leading) => {
                self.hear_settled(from, notification.round, from, out);
            }
            // Two that look for a leader have nothing to tell each other, if one has no vote: an answer would
            // only be answered.
            (State::Looking(_), Standing::Watching)
            | (_, Standing::Following(_) | Standing::Leading) => {}
            (_, Standing::Looking(_) | Standing::Watching) => self.tell(from, out),
        }
        self.tell_if_due(out);
        self.count_votes(out);
    }

    /// Takes note of one that belongs to a membership of which we may not know.
    fn meet(&mut self, other: ReplicaId) {
        const { assert!(MAX_STRANGERS >= 2 * MAX_VOTERS + MAX_LEARNERS, "a membership finds room") }
        let is_known = other == self.id() || self.peers.contains(&other);
        let State::Looking(looking) = &mut self.state else { return };
        if !is_known && looking.strangers.len() < MAX_STRANGERS {
            looking.strangers.insert(other);
        }
    }

    /// Whether what another says is reason to look for a leader though we have one.
    fn is_called_to_look(&self, from: ReplicaId, notification: &Notification) -> bool {
        match (&self.state, notification.standing) {
            (State::Following(following), Standing::Looking(vote)) => {
                self.is_own_word(following, from, notification.epoch)
                    || self.is_blessed(&vote, notification.round)
                    || self.is_silent(following)
            }
            (State::Following(following), Standing::Watching) => {
                self.is_own_word(following, from, notification.epoch)
            }
            (State::Following(following), Standing::Following(other)) => {
                following.leader == from && other != from && notification.round >= self.round
            }
            (State::Leading(leader), Standing::Looking(vote)) => {
                vote.blessed && leader.has_blessed(vote.leader)
            }
            _ => false,
        }
    }

    /// Whether the leader itself says that it leads no more: it has accepted our epoch, so it does not
    /// speak of the time before it led us.
    fn is_own_word(&self, following: &Following, from: ReplicaId, epoch: Epoch) -> bool {
        following.leader == from && following.stage.has_epoch() && epoch >= self.epoch()
    }

    /// Whether this is the vote for a replica that our own leader has asked to stand.
    fn is_blessed(&self, vote: &Vote, round: u64) -> bool {
        vote.blessed && vote.last.epoch == self.epoch() && round > self.round
    }

    /// Whether the leader has been silent for the least time after which anyone looks.
    fn is_silent(&self, following: &Following) -> bool {
        let timeout = self.config.election_timeout;
        following.heard.is_none_or(|heard| self.now.since(heard) >= timeout)
    }

    fn hear_vote(&mut self, from: ReplicaId, round: u64, vote: Vote, out: &mut Vec<Output>) {
        let compares = !self.planted(Planted::ElectedWithoutComparing);
        let State::Looking(looking) = &mut self.state else { return };
        // Who has no vote has no round either: it is in that of the first vote that it hears.
        if round < self.round && looking.vote.is_some() {
            return self.tell(from, out);
        }
        let is_later = round > self.round;
        self.round = round;
        if is_later {
            looking.votes.clear();
            looking.vote = looking.own;
        }
        let is_better = looking
            .vote
            .as_ref()
            .is_none_or(|best| if compares { vote.beats(best) } else { vote.leader > best.leader });
        if is_better {
            looking.vote = Some(vote);
        }
        looking.settled.remove(&from);
        looking.votes.insert(from, vote.leader);
        if is_later || is_better {
            self.vote_anew();
        }
    }

    /// Takes note of one that follows or leads, and joins a leader that has a quorum with us, or whose
    /// word has to be enough.
    fn hear_settled(
        &mut self,
        from: ReplicaId,
        round: u64,
        leader: ReplicaId,
        out: &mut Vec<Output>,
    ) {
        let (id, own_round) = (self.id(), self.round);
        // Who follows it may know nobody else who does.
        self.meet(leader);
        let State::Looking(looking) = &mut self.state else { return };
        looking.settled.insert(from, leader);
        if round == own_round {
            looking.votes.insert(from, leader);
        }
        let says_so = leader != id && looking.settled.get(&leader) == Some(&leader);
        let in_vain = self.now.since(looking.since) >= self.config.election_timeout;
        let believes = in_vain || self.in_doubt() || !self.is_voter();
        let State::Looking(looking) = &self.state else { return };
        let is_with_it = |voter| voter == id || looking.settled.get(&voter) == Some(&leader);
        if says_so && (believes || self.has_quorum(is_with_it)) {
            self.round = own_round.max(round);
            self.follow(leader, Stage::Joining, out);
        }
    }

    /// One has decided that we lead: it has waited for better votes, so we need not.
    pub(super) fn hear_follower(&mut self, from: ReplicaId, out: &mut Vec<Output>) {
        let id = self.id();
        let State::Looking(looking) = &mut self.state else { return };
        looking.votes.insert(from, id);
        let State::Looking(looking) = &self.state else { return };
        let is_ours = looking.vote.is_some_and(|vote| vote.leader == id);
        let alike = |voter| looking.votes.get(&voter) == Some(&id);
        if is_ours && self.doubt.is_none() && self.has_quorum(alike) {
            self.decide(out);
        }
    }

    /// Our vote is new: it is the first of those like it, and everyone is to be told at once.
    fn vote_anew(&mut self) {
        let (id, in_doubt) = (self.id(), self.in_doubt());
        let State::Looking(looking) = &mut self.state else { return };
        looking.decide_at = None;
        looking.retry_at = self.now;
        if let Some(vote) = looking.vote.filter(|_| !in_doubt) {
            looking.votes.insert(id, vote.leader);
        }
    }

    fn count_votes(&mut self, out: &mut Vec<Output>) {
        let may_decide = self.doubt.is_none() && self.is_voter();
        let State::Looking(looking) = &self.state else { return };
        let elected = looking.vote.filter(|_| may_decide);
        let alike = |voter| looking.votes.get(&voter).copied() == elected.map(|vote| vote.leader);
        let is_elected = elected.is_some() && self.has_quorum(alike);
        // No better vote can come.
        let is_final = self.members().all_voters().into_iter().all(alike) || looking.is_blessed();
        if is_elected && is_final {
            return self.decide(out);
        }
        let decide_at = self.now + self.config.heartbeat_interval;
        let State::Looking(looking) = &mut self.state else { return };
        looking.decide_at = is_elected.then(|| looking.decide_at.unwrap_or(decide_at));
    }

    fn decide(&mut self, out: &mut Vec<Output>) {
        let State::Looking(Looking { vote: Some(vote), .. }) = &self.state else { return };
        let elected = vote.leader;
        if elected == self.id() {
            assert!(!self.in_doubt(), "a replica in doubt gets no vote");
            assert!(self.is_voter(), "a leader is a voter");
            self.state = State::Discovering(Discovery::new(self));
            self.propose_epoch(out);
        } else {
            self.follow(elected, Stage::Joining, out);
        }
    }

    /// Tells everyone where we stand if it is time to, and sets the time to do it again.
    fn tell_if_due(&mut self, out: &mut Vec<Output>) {
        let State::Looking(looking) = &mut self.state else { return };
        if looking.retry_at > self.now {
            return;
        }
        looking.retry_at = self.now + self.config.heartbeat_interval;
        let strangers = looking.strangers.iter().copied();
        for peer in self.peers.iter().copied().chain(strangers).collect::<Vec<_>>() {
            self.tell(peer, out);
        }
    }

    /// Tells one where we stand. The epoch that it bears is a promise, so it is on disk first.
    pub(super) fn tell(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let standing = match &self.state {
            State::Asking(_) => return,
            State::Looking(_) if self.in_doubt() => Standing::Watching,
            State::Looking(looking) => looking.vote.map_or(Standing::Watching, Standing::Looking),
            State::Following(following) => Standing::Following(following.leader),
            State::Discovering(_) | State::Leading(_) => Standing::Leading,
        };
        let notification = Notification { round: self.round, epoch: self.epoch(), standing };
        self.reply(to, Message::Notification(notification), crate::PersistId(0), out);
    }

    /// Whether a follower's log, which ends at `last`, has what ours lacks: then we must not lead.
    pub(super) fn is_behind(&self, last: Position) -> bool {
        is_further(last, self.log.last()) && !self.planted(Planted::ElectedWithoutComparing)
    }
}
