//! Who belongs to the cluster: what an operator may change, and what the leader does by itself.
//!
//! Consensus keeps who votes; beside it, in the same log entry, stand the members' addresses and parts
//! ([`Members`], the context of a membership). A change is judged here, on the leader, once a quorum has
//! confirmed that it leads; consensus carries it out in one entry or two.
//!
//! # Invariants
//!
//! * One change is under way at a time, and one waits for its answer. It is answered when it is over.
//! * A new voter was a learner before and has caught up. A number is given once.
//! * No change leads to voters of which too few answer now, or of which one alone would hold the data beside
//!   witnesses, unless the operator insists; none to voters whose majority may be witnesses.
//! * A node is a witness from when it joins, or never. What it was started as and what the cluster has it as
//!   agree, or it ends.

use std::sync::Arc;

use consensus::{
    Accepted, Input, LogIndex, MAX_LEARNERS, Membership, Position, ProposalId, ReplicaId, Role,
    Status, Time, quorum,
};
use wire::{
    DecodeError, Member, MemberChange, MemberDenial, Members, NewPart, NodeId, Part, Reader,
    Refusal, Reply, Writer,
};

use crate::group::{Group, node_of, replica_of};
use crate::shared::Shared;
use crate::{Config, Effect, News, Ticket};

/// A learner that lacks no more than so many entries of the log has caught up: they are on their way to
/// it, and a quorum that needs it would wait for little.
pub(crate) const CAUGHT_UP_ENTRIES: u64 = 4096;

/// The proposals of changes have this bit set, to be told from commands.
const CHANGE: u64 = 1 << 63;

/// A change that consensus was asked for.
#[derive(Debug)]
pub(crate) struct Change {
    id: ProposalId,
    /// Who waits for it; nobody, if the leader itself wanted it.
    ticket: Option<Ticket>,
    /// The node that it adds or changes.
    node: NodeId,
    /// Where it stands in the log.
    at: Option<Position>,
}

/// What a group knows of its members.
#[derive(Debug)]
pub(crate) struct Roll {
    /// The membership in force in the log; it may be taken back.
    in_force: Arc<Membership>,
    /// The same, with addresses.
    pub(crate) members: Arc<Members>,
    /// Those with which the cluster began.
    first: Arc<Members>,
    change: Option<Change>,
    last_change: u64,
    /// Changes that were asked for since the group last settled.
    wanted: Vec<(Ticket, MemberChange)>,
}

/// The voters with which a cluster begins; nobody, for a node that joins it.
pub(crate) fn first_voters(config: &Config) -> std::collections::BTreeSet<ReplicaId> {
    let voters = config.members.iter().filter(|_| !config.joins);
    voters.map(|member| replica_of(member.node)).collect()
}

/// The members that a membership's context names. Who was leaving is gone when the change is over.
pub(crate) fn members_of(membership: &Membership) -> Result<Members, DecodeError> {
    let mut input = Reader::new(membership.context.clone());
    if input.u8("members version")? != 1 {
        return Err(input.malformed("members version"));
    }
    let mut members = Members::decode(&mut input)?;
    input.end("members")?;
    if !membership.is_joint() {
        members.list.retain(|member| member.part != Part::Leaving);
    }
    Ok(members)
}

/// The context that names these members.
pub(crate) fn encode(members: &Members) -> bytes::Bytes {
    let mut out = Writer::new();
    members.encode(out.u8(1));
    out.finish()
}

/// What consensus is asked for, to have these members in the end.
fn target(members: &Members) -> Membership {
    let with = |wanted: fn(&Member) -> bool| {
        members
            .list
            .iter()
            .filter(move |member| wanted(member))
            .map(|member| replica_of(member.node))
    };
    Membership {
        voters: with(|member| member.part.votes()).collect(),
        learners: with(|member| matches!(member.part, Part::Learner | Part::Joining { .. }))
            .collect(),
        witnesses: with(Member::is_witness).collect(),
        context: encode(members),
        ..Membership::default()
    }
}

/// What the leader sees of the others.
pub(crate) struct Sight<'a> {
    own: NodeId,
    status: &'a Status,
}

impl Sight<'_> {
    fn answers(&self, node: NodeId) -> bool {
        let peer = |peer: &consensus::PeerProgress| node_of(peer.peer) == node && peer.active;
        node == self.own || self.status.peers.iter().any(peer)
    }

    /// How far a learner is, if that is not far enough.
    fn lag(&self, node: NodeId) -> Result<(), MemberDenial> {
        let peers = &self.status.peers;
        let found = peers.iter().find(|peer| node_of(peer.peer) == node);
        let matched = found.map_or(0, |peer| peer.matched.0);
        let last = self.status.last.index.0;
        // One that was never heard counts as active for a while, and a short log is soon caught up with.
        let has_answered = found.is_some_and(|peer| peer.active && peer.matched > LogIndex(0));
        if has_answered && last - matched.min(last) <= CAUGHT_UP_ENTRIES {
            return Ok(());
        }
        Err(MemberDenial::NotCaughtUp { node, matched, last })
    }
}

/// The members after a change, and the node that it adds or changes.
pub(crate) fn plan(
    members: &Members,
    change: &MemberChange,
    sight: &Sight<'_>,
) -> Result<(Members, NodeId), MemberDenial> {
    let mut next = members.clone();
    let node = match change {
        MemberChange::Add { peer_address, client_address, part, priority } => {
            must_be_reachable(&next)?;
            let witness = *part == NewPart::Witness;
            if witness {
                must_have_data(&next, false)?;
            }
            let joining = Part::Joining { replaces: None, witness };
            let part = if *part == NewPart::Learner { Part::Learner } else { joining };
            add(&mut next, (peer_address, client_address), part, *priority)?
        }
        MemberChange::Promote { node } => {
            let member = find(&mut next, *node)?;
            if member.is_voter() {
                return Err(MemberDenial::NotLearner { node: *node });
            }
            sight.lag(*node)?;
            promote(&mut next, *node)?;
            *node
        }
        MemberChange::Remove { node, force } => {
            remove(&mut next, *node)?;
            if !force {
                must_have_quorum(&next, sight)?;
                must_have_data(&next, true)?;
            }
            *node
        }
        MemberChange::Replace { node, peer_address, client_address } => {
            must_be_reachable(&next)?;
            let lost = find(&mut next, *node)?;
            let (priority, witness) = (lost.priority, lost.is_witness());
            // The lost one's address may be the new one's.
            free_address(&next, peer_address, Some(*node))?;
            let part = Part::Joining { replaces: Some(*node), witness };
            give_number(&mut next, (peer_address, client_address), part, priority)?
        }
        MemberChange::Update { node, peer_address, client_address, priority } => {
            free_address(&next, peer_address, Some(*node))?;
            let member = find(&mut next, *node)?;
            for (old, new) in [
                (&mut member.peer_address, peer_address),
                (&mut member.client_address, client_address),
            ] {
                if !new.is_empty() {
                    old.clone_from(new);
                }
            }
            member.priority = priority.unwrap_or(member.priority);
            *node
        }
    };
    must_outweigh_witnesses(&next)?;
    Ok((next, node))
}

/// Voters when a change is over, and how many of them are witnesses.
fn count_voters(members: &Members) -> (usize, usize) {
    let count = |part| members.list.iter().filter(|member| member.part == part).count();
    let witnesses = count(Part::Witness);
    (count(Part::Voter) + witnesses, witnesses)
}

/// Each majority has a voter that holds the data: see [`consensus::Membership::check`].
fn must_outweigh_witnesses(members: &Members) -> Result<(), MemberDenial> {
    let (voters, witnesses) = count_voters(members);
    if witnesses == 0 || witnesses < quorum::majority(voters) {
        return Ok(());
    }
    let [voters, witnesses] = [voters, witnesses].map(|number| number as u64);
    Err(MemberDenial::TooManyWitnesses { voters, witnesses })
}

/// A witness is of use beside two voters that hold the data: with one, the loss of any node stops the cluster, and
/// of that one all is lost.
fn must_have_data(members: &Members, forcible: bool) -> Result<(), MemberDenial> {
    let (voters, witnesses) = count_voters(members);
    let will_have_any = members.list.iter().any(Member::is_witness) || !forcible;
    let data = voters - witnesses;
    if will_have_any && data < 2 {
        return Err(MemberDenial::TooFewData { data: data as u64, forcible });
    }
    Ok(())
}

/// A node that was alone may have had no port for others.
fn must_be_reachable(members: &Members) -> Result<(), MemberDenial> {
    let nowhere = |member: &&Member| member.is_voter() && member.peer_address.is_empty();
    match members.list.iter().find(nowhere) {
        Some(member) => Err(MemberDenial::Unreachable { node: member.node }),
        None => Ok(()),
    }
}

fn find(members: &mut Members, node: NodeId) -> Result<&mut Member, MemberDenial> {
    let found = members.list.iter_mut().find(|member| member.node == node);
    found.ok_or(MemberDenial::NotFound { node })
}

fn free_address(members: &Members, address: &str, but: Option<NodeId>) -> Result<(), MemberDenial> {
    let taken = |member: &&Member| member.peer_address == address && Some(member.node) != but;
    match members.list.iter().find(taken).filter(|_| !address.is_empty()) {
        Some(member) => {
            Err(MemberDenial::AddressTaken { node: member.node, address: address.to_owned() })
        }
        None => Ok(()),
    }
}

fn add(
    members: &mut Members,
    addresses: (&String, &String),
    part: Part,
    priority: u8,
) -> Result<NodeId, MemberDenial> {
    free_address(members, addresses.0, None)?;
    give_number(members, addresses, part, priority)
}

fn give_number(
    members: &mut Members,
    (peer_address, client_address): (&String, &String),
    part: Part,
    priority: u8,
) -> Result<NodeId, MemberDenial> {
    let learners = members.list.iter().filter(|member| !member.is_voter()).count();
    if learners >= MAX_LEARNERS {
        let limit = MAX_LEARNERS as u64;
        return Err(MemberDenial::TooMany { what: "learners".to_owned(), limit });
    }
    let node = members.next;
    members.next = NodeId(node.0 + 1);
    members.list.push(Member {
        node,
        client_address: client_address.clone(),
        peer_address: peer_address.clone(),
        part,
        priority,
    });
    Ok(node)
}

/// Gives a learner its vote, and lets the node go that it replaces.
fn promote(members: &mut Members, node: NodeId) -> Result<(), MemberDenial> {
    let member = find(members, node)?;
    let (replaced, part) = match member.part {
        Part::Joining { replaces, witness: true } => (replaces, Part::Witness),
        Part::Joining { replaces, witness: false } => (replaces, Part::Voter),
        Part::Voter | Part::Witness | Part::Learner | Part::Leaving => (None, Part::Voter),
    };
    member.part = part;
    if let Some(replaced) = replaced
        && members.find(replaced).is_some()
    {
        remove(members, replaced)?;
    }
    let (voters, _) = count_voters(members);
    if voters > quorum::MAX_VOTERS {
        let limit = quorum::MAX_VOTERS as u64;
        return Err(MemberDenial::TooMany { what: "voters".to_owned(), limit });
    }
    Ok(())
}

/// A voter stays reachable until the others have agreed to do without it; a learner goes at once.
fn remove(members: &mut Members, node: NodeId) -> Result<(), MemberDenial> {
    let member = find(members, node)?;
    if member.is_voter() {
        member.part = Part::Leaving;
    } else {
        members.list.retain(|member| member.node != node);
    }
    if count_voters(members).0 > 0 {
        return Ok(());
    }
    Err(MemberDenial::LastVoter { node })
}

fn must_have_quorum(members: &Members, sight: &Sight<'_>) -> Result<(), MemberDenial> {
    let voters = members.list.iter().filter(|member| member.part.votes());
    let (mut count, mut active) = (0, 0);
    for voter in voters {
        count += 1;
        active += usize::from(sight.answers(voter.node));
    }
    let needed = quorum::majority(count);
    if active >= needed {
        return Ok(());
    }
    let [voters, active, needed] = [count, active, needed].map(|number| number as u64);
    Err(MemberDenial::NoQuorum { voters, active, needed })
}

impl Roll {
    pub(crate) fn new(config: &Config, in_force: Arc<Membership>) -> Self {
        let mut first = Members::first(&config.members);
        if config.joins {
            // It knows whom to ask, not who there is: nobody has left as far as it can tell.
            first.next = NodeId(0);
        }
        let first = Arc::new(first);
        // What can't be understood stops the node at its first step.
        let told = if in_force.context.is_empty() { None } else { members_of(&in_force).ok() };
        let members = told.map_or_else(|| Arc::clone(&first), Arc::new);
        Self { in_force, members, first, change: None, last_change: 0, wanted: Vec::new() }
    }

    /// Another membership is in force; tells who belongs to it.
    fn set(&mut self, membership: Arc<Membership>) -> Result<Arc<Members>, DecodeError> {
        self.members = if membership.context.is_empty() {
            Arc::clone(&self.first)
        } else {
            Arc::new(members_of(&membership)?)
        };
        self.in_force = membership;
        Ok(Arc::clone(&self.members))
    }

    /// Whether this replica decides alone.
    pub(crate) fn is_alone(&self, own: NodeId) -> bool {
        self.in_force.is_alone(replica_of(own))
    }

    /// Whether a change is under way, or waits to begin.
    pub(crate) fn is_changing(&self) -> bool {
        self.change.is_some() || self.has_wanted()
    }

    /// Lets a change wait until the group settles. The number of requests that wait is bounded.
    pub(crate) fn want(&mut self, ticket: Ticket, change: MemberChange) {
        self.wanted.push((ticket, change));
    }

    /// Whether changes wait for the group to settle.
    pub(crate) fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Nobody waits for this answer any more; the change may go on.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let before = self.wanted.len();
        self.wanted.retain(|(waiting, _)| *waiting != ticket);
        let waits = |change: &&mut Change| change.ticket == Some(ticket);
        let change = self.change.as_mut().filter(waits);
        before != self.wanted.len() || change.is_some_and(|change| change.ticket.take().is_some())
    }

    /// Whether a node votes.
    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.in_force.voters.contains(&replica_of(node))
    }

    /// Whether a node keeps the log without the data.
    pub(crate) fn is_witness(&self, node: NodeId) -> bool {
        self.in_force.is_witness(replica_of(node))
    }

    /// Whether leadership may be handed to a node.
    pub(crate) fn may_be_handed(&self, node: NodeId) -> bool {
        self.in_force.may_be_handed(replica_of(node))
    }

    /// Other members that hold the data, or will.
    pub(crate) fn sources(&self, own: NodeId) -> Vec<NodeId> {
        let others = self.members.list.iter().map(|member| member.node);
        others.filter(|node| *node != own && !self.is_witness(*node)).collect()
    }
}

/// Why a node ends that was started as what the cluster does not have it as.
fn mistaken(witness: bool) -> &'static str {
    if witness {
        "it was started as a witness (`--witness`), and the cluster has it as a node that holds the data: start it \
         as `cairn member add` has printed it, with an empty data directory"
    } else {
        "the cluster has it as a witness, and it was started without `--witness`: start it as `cairn member add` \
         has printed it, with an empty data directory"
    }
}

impl Group {
    /// Another membership is in force in the log.
    pub(crate) fn members_changed(&mut self, shared: &mut Shared, membership: Arc<Membership>) {
        let (own, witness) = (shared.config.node, shared.config.witness);
        if membership.contains(replica_of(own)) && membership.is_witness(replica_of(own)) != witness
        {
            return shared.stop(mistaken(witness).to_owned());
        }
        let was_member = self.roll.members.find(own).is_some();
        match self.roll.set(membership) {
            Ok(members) => {
                if was_member && members.has_left(own) {
                    shared.news(News::Removed { group: self.id });
                }
                shared.emit(Effect::Members(members));
            }
            Err(what) => {
                shared.stop(format!("the cluster's members can't be understood: {what}"));
            }
        }
    }

    /// Does what operators want with the members: this replica has been confirmed as leader since they
    /// asked. Then lets nodes that have caught up have their votes.
    pub(crate) fn settle_members(&mut self, shared: &mut Shared, now: Time) {
        for (ticket, change) in std::mem::take(&mut self.roll.wanted) {
            self.change_members(shared, now, ticket, &change);
        }
        self.promote_joining(shared, now);
    }

    fn change_members(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        change: &MemberChange,
    ) {
        if let Err(refusal) = self.must_lead(shared) {
            return shared.refuse(ticket, refusal);
        }
        let status = self.core.status();
        if self.roll.change.is_some() || !status.is_settled || status.membership.is_joint() {
            let what = "another change of the members is under way".to_owned();
            return shared.refuse(ticket, Refusal::Busy { what });
        }
        let sight = Sight { own: shared.config.node, status: &status };
        match plan(&self.roll.members, change, &sight) {
            Ok((members, node)) => {
                self.propose_members(shared, now, (&members, node), Some(ticket));
            }
            Err(denial) => shared.refuse(ticket, Refusal::Member { denial }),
        }
    }

    fn propose_members(
        &mut self,
        shared: &mut Shared,
        now: Time,
        (members, node): (&Members, NodeId),
        ticket: Option<Ticket>,
    ) {
        self.roll.last_change += 1;
        let id = ProposalId(CHANGE | self.roll.last_change);
        self.roll.change = Some(Change { id, ticket, node, at: None });
        self.step(shared, now, Input::Reconfigure { id, target: target(members) });
    }

    /// Gives joining nodes that have caught up their votes. The leader's to do.
    fn promote_joining(&mut self, shared: &mut Shared, now: Time) {
        let is_joining = |member: &&Member| matches!(member.part, Part::Joining { .. });
        let joins = self.roll.members.list.iter().any(|member| is_joining(&member));
        if !joins || !self.ready || self.role != Role::Leader || self.roll.change.is_some() {
            return;
        }
        let status = self.core.status();
        if !status.is_settled || status.membership.is_joint() {
            return;
        }
        let members = Arc::clone(&self.roll.members);
        let sight = Sight { own: shared.config.node, status: &status };
        for member in members.list.iter().filter(is_joining) {
            let change = MemberChange::Promote { node: member.node };
            if let Ok((next, node)) = plan(&members, &change, &sight) {
                return self.propose_members(shared, now, (&next, node), None);
            }
        }
    }

    /// Consensus has put these into its log; tells whether it was a change of the members.
    pub(crate) fn change_accepted(&mut self, accepted: &Accepted) -> bool {
        let Some(change) = &mut self.roll.change else { return false };
        let is_this = accepted.proposals.first() == Some(&change.id);
        if is_this {
            change.at = Some(accepted.first);
        }
        is_this
    }

    /// Consensus did not take this one; tells whether it was a change of the members.
    pub(crate) fn change_refused(
        &mut self,
        shared: &mut Shared,
        proposal: ProposalId,
        refusal: &Refusal,
    ) -> bool {
        let Some(change) = self.roll.change.take_if(|change| change.id == proposal) else {
            return proposal.0 & CHANGE != 0;
        };
        if let Some(ticket) = change.ticket {
            shared.refuse(ticket, refusal.clone());
        }
        true
    }

    /// An entry at `position` is applied; a membership, if it is one.
    pub(crate) fn change_applied(
        &mut self,
        shared: &mut Shared,
        position: Position,
        membership: Option<&Membership>,
    ) {
        let Some(at) = self.roll.change.as_ref().and_then(|change| change.at) else { return };
        let is_over = match membership {
            Some(membership) => position.index >= at.index && !membership.is_joint(),
            None => false,
        };
        let is_lost = position.index == at.index && position.epoch != at.epoch;
        if !is_over && !is_lost {
            return;
        }
        let Some(Change { ticket: Some(ticket), node, .. }) = self.roll.change.take() else {
            return;
        };
        if is_lost {
            return shared.refuse(ticket, Refusal::NotLeader { leader: self.leader });
        }
        let members = self.members_applied();
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Members { members, node: Some(node) });
    }

    /// A snapshot covers the log up to `index`, or leadership is lost: nobody can tell what became of a
    /// change that stands in the log.
    pub(crate) fn change_unknown(&mut self, shared: &mut Shared, index: Option<LogIndex>) {
        if index.is_none() {
            for (ticket, _) in std::mem::take(&mut self.roll.wanted) {
                shared.refuse(ticket, Refusal::NotLeader { leader: self.leader });
            }
        }
        let reached = |at: Position| index.is_none_or(|index| at.index <= index);
        let ends = |change: &mut Change| match change.at {
            Some(at) => reached(at),
            None => index.is_none(),
        };
        if let Some(Change { ticket: Some(ticket), .. }) = self.roll.change.take_if(ends) {
            let why = "the leader was deposed; `cairn member list` shows what holds".to_owned();
            shared.refuse(ticket, Refusal::Unanswered { why });
        }
    }

    /// Who belongs to the cluster, as far as this replica has applied that.
    pub(crate) fn members_applied(&self) -> Members {
        if self.witness.is_some() {
            // It applies nothing, and knows what stands in its log.
            return (*self.roll.members).clone();
        }
        self.state.members().unwrap_or_else(|| (*self.roll.first).clone())
    }

    /// Shows who belongs to the cluster.
    pub(crate) fn show_members(&self, shared: &mut Shared, ticket: Ticket) {
        let members = self.members_applied();
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Members { members, node: None });
    }
}

#[cfg(test)]
mod tests;
