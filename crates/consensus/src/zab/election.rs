//! Phase 0: whom to follow. Fast leader election.
//!
//! A replica that looks for a leader votes, at first for itself, and tells everyone. Whoever hears of a
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
//! with it the leader has a quorum, where the paper wants one without it. That the log's last epoch stands
//! for the current epoch is argued in the header of `zab`.

use std::collections::BTreeMap;

use crate::common::{dropped, refuse};
use crate::quorum::majority;
use crate::{Epoch, Output, Position, ReplicaId, Time};

use super::discovery::Discovery;
use super::following::{Following, Stage};
use super::message::{Message, Notification, Standing, Vote};
use super::planted::Planted;
use super::{State, Zab, is_further};

/// What only a replica that looks for a leader knows.
#[derive(Clone, Hash)]
pub(super) struct Looking {
    /// Its vote for itself, with which each round begins.
    own: Vote,
    vote: Vote,
    /// Whom each replica votes for in this round, or has followed since.
    votes: BTreeMap<ReplicaId, ReplicaId>,
    /// Whom those that do not look follow; a leader, itself.
    settled: BTreeMap<ReplicaId, ReplicaId>,
    /// A quorum votes as we do: until when a better vote may come.
    decide_at: Option<Time>,
    /// When to tell everyone again.
    retry_at: Time,
}

impl Looking {
    /// Votes for itself, in the first round or the next.
    pub(super) fn new(id: ReplicaId, last: Position, now: Time) -> Self {
        let own = Vote { last, blessed: false, leader: id };
        Self {
            own,
            vote: own,
            votes: BTreeMap::new(),
            settled: BTreeMap::new(),
            decide_at: None,
            retry_at: now,
        }
    }

    /// Whether it votes for a replica that the leader itself has asked to stand.
    pub(super) fn is_blessed(&self) -> bool {
        self.vote.blessed
    }

    pub(super) fn deadline(&self) -> Time {
        self.decide_at.map_or(self.retry_at, |decide| decide.min(self.retry_at))
    }
}

impl Vote {
    /// Whether it wins against another.
    fn beats(&self, other: &Vote) -> bool {
        let rank = |vote: &Vote| (vote.last.epoch, vote.last.index, vote.blessed, vote.leader);
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
        let mut looking = Looking::new(self.id(), self.log.last(), self.now);
        looking.own.blessed = blessed;
        looking.vote = looking.own;
        self.state = State::Looking(looking);
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
        let (Standing::Looking(Vote { leader, .. }) | Standing::Following(leader)) =
            notification.standing
        else {
            return self.hear(from, notification, out);
        };
        if !self.config.voters.contains(&leader) {
            return dropped(from, "it follows no voter of this group", out);
        }
        self.hear(from, notification, out);
    }

    fn hear(&mut self, from: ReplicaId, notification: Notification, out: &mut Vec<Output>) {
        self.highest_seen = self.highest_seen.max(notification.epoch);
        let is_settled = !matches!(self.state, State::Looking(_));
        if is_settled && self.is_called_to_look(from, &notification) {
            self.begin_looking(false, out);
        }
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
            // Neither has anything to tell the other: an answer would only be answered.
            (State::Looking(_), Standing::Watching) => {}
            (_, Standing::Looking(_) | Standing::Watching) => self.tell(from, out),
            (_, Standing::Following(_) | Standing::Leading) => {}
        }
        self.tell_if_due(out);
        self.count_votes(out);
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
        if round < self.round {
            return self.tell(from, out);
        }
        let compares = !self.planted(Planted::ElectedWithoutComparing);
        let is_later = round > self.round;
        self.round = round;
        let State::Looking(looking) = &mut self.state else { return };
        if is_later {
            looking.votes.clear();
            looking.vote = looking.own;
        }
        let is_better =
            if compares { vote.beats(&looking.vote) } else { vote.leader > looking.vote.leader };
        if is_better {
            looking.vote = vote;
        }
        looking.settled.remove(&from);
        looking.votes.insert(from, vote.leader);
        if is_later || is_better {
            self.vote_anew();
        }
    }

    /// Takes note of one that follows or leads, and joins a leader that has a quorum with us.
    fn hear_settled(
        &mut self,
        from: ReplicaId,
        round: u64,
        leader: ReplicaId,
        out: &mut Vec<Output>,
    ) {
        let (own_round, in_doubt) = (self.round, self.in_doubt());
        let (id, quorum) = (self.id(), majority(self.config.voters.len()));
        let State::Looking(looking) = &mut self.state else { return };
        looking.settled.insert(from, leader);
        if round == own_round {
            looking.votes.insert(from, leader);
        }
        let says_so = leader != id && looking.settled.get(&leader) == Some(&leader);
        let others = looking.settled.values().filter(|other| **other == leader).count();
        if says_so && (in_doubt || others + 1 >= quorum) {
            self.round = own_round.max(round);
            self.follow(leader, Stage::Joining, out);
        }
    }

    /// One has decided that we lead: it has waited for better votes, so we need not.
    pub(super) fn hear_follower(&mut self, from: ReplicaId, out: &mut Vec<Output>) {
        let (id, quorum) = (self.id(), majority(self.config.voters.len()));
        let State::Looking(looking) = &mut self.state else { return };
        looking.votes.insert(from, id);
        let alike = looking.votes.values().filter(|leader| **leader == id).count();
        if looking.vote.leader == id && alike >= quorum && self.doubt.is_none() {
            self.decide(out);
        }
    }

    /// Our vote is new: it is the first of those like it, and everyone is to be told at once.
    fn vote_anew(&mut self) {
        let (id, in_doubt) = (self.id(), self.in_doubt());
        let State::Looking(looking) = &mut self.state else { return };
        looking.decide_at = None;
        looking.retry_at = self.now;
        if !in_doubt {
            looking.votes.insert(id, looking.vote.leader);
        }
    }

    fn count_votes(&mut self, out: &mut Vec<Output>) {
        let voters = self.config.voters.len();
        let State::Looking(looking) = &mut self.state else { return };
        let elected = looking.vote.leader;
        let alike = looking.votes.values().filter(|leader| **leader == elected).count();
        if alike < majority(voters) || self.doubt.is_some() {
            looking.decide_at = None;
        } else if alike == voters || looking.vote.blessed {
            // No better vote can come.
            self.decide(out);
        } else {
            looking.decide_at.get_or_insert(self.now + self.config.heartbeat_interval);
        }
    }

    fn decide(&mut self, out: &mut Vec<Output>) {
        let State::Looking(looking) = &self.state else { return };
        let elected = looking.vote.leader;
        if elected == self.id() {
            assert!(!self.in_doubt(), "a replica in doubt gets no vote");
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
        for peer in self.peers.clone() {
            self.tell(peer, out);
        }
    }

    /// Tells one where we stand. The epoch that it bears is a promise, so it is on disk first.
    pub(super) fn tell(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let standing = match &self.state {
            State::Asking(_) => return,
            State::Looking(_) if self.in_doubt() => Standing::Watching,
            State::Looking(looking) => Standing::Looking(looking.vote),
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
