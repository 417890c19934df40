//! An operator who adds nodes, replaces lost ones and takes others away while everything else goes on; and
//! machines that are lost for good (F12, F19).
//!
//! He acts on what the leader shows him, like a person before a screen: by the time that his wish
//! arrives much may be different. He keeps a fault tolerance of one where there was one: a cluster that
//! is shrunk to two nodes can't be healed from the damage that other faults do. In half of the runs he also
//! wants witnesses, which keep all of their logs; then he waits for the other nodes to have the data before one with it
//! is lost: while they lag, it may be the only one that has all of it.

use std::time::Duration;

use wire::{
    Frame, FrameKind, Member, MemberChange, Members as Roll, NewPart, NodeId, Part, Request,
};

use super::{Fault, leader, some_time};
use crate::rng::Rng;
use crate::world::World;

/// Most voters that he wants.
const MOST_VOTERS: usize = 5;

pub(super) struct Members {
    rng: Rng,
    /// What concerns witnesses is drawn from here: a run without any is what it would be without this.
    of_witnesses: Rng,
    calls: u64,
}

impl Members {
    pub(super) fn new(rng: Rng) -> Self {
        let of_witnesses = rng.fork("witnesses");
        Self { rng, of_witnesses, calls: 0 }
    }

    /// What he wants next, given what he sees.
    fn wish(&mut self, world: &World, roll: &Roll) -> Option<MemberChange> {
        let voters = members(roll, Part::votes);
        let learners = members(roll, |part| part == Part::Learner);
        let joining = roll.list.iter().any(|member| matches!(member.part, Part::Joining { .. }));
        let lost = roll.list.iter().map(|member| member.node).find(|node| world.is_lost(*node));
        self.calls += 1;
        let peer_address = format!("n{}:7500", 100 + self.calls);
        let client_address = String::new();
        let has_spare = world.machine_of(roll.next).is_some();
        if let Some(node) = lost {
            let replace = MemberChange::Replace { node, peer_address, client_address };
            return (has_spare && !joining).then_some(replace);
        }
        let has_one = roll.list.iter().any(Member::is_witness);
        if world.plan.witnesses
            && !has_one
            && has_spare
            && voters.len() > 1
            && voters.len() < MOST_VOTERS
        {
            let part = NewPart::Witness;
            let priority = Member::DEFAULT_PRIORITY;
            return Some(MemberChange::Add { peer_address, client_address, part, priority });
        }
        let fewest = world.plan.nodes.min(3);
        match self.rng.below(4) {
            0 | 1 if has_spare && voters.len() < MOST_VOTERS => {
                let learner = self.rng.chance(300);
                let witness = world.plan.witnesses && self.of_witnesses.chance(300);
                let part = match (learner, witness) {
                    (_, true) => NewPart::Witness,
                    (true, _) => NewPart::Learner,
                    _ => NewPart::Voter,
                };
                let priority = self.priority();
                Some(MemberChange::Add { peer_address, client_address, part, priority })
            }
            2 if !learners.is_empty() => {
                let node = *self.rng.pick(&learners);
                Some(if self.rng.chance(700) {
                    MemberChange::Promote { node }
                } else {
                    MemberChange::Remove { node, force: false }
                })
            }
            // Now and then leadership shall be elsewhere.
            3 if self.rng.chance(400) => {
                let (node, priority) = (*self.rng.pick(&voters), Some(self.priority()));
                let peer_address = String::new();
                Some(MemberChange::Update { node, peer_address, client_address, priority })
            }
            _ if voters.len() > fewest => {
                let node = *self.rng.pick(&voters);
                Some(MemberChange::Remove { node, force: false })
            }
            _ => None,
        }
    }

    fn priority(&mut self) -> u8 {
        *self.rng.pick(&[0, Member::DEFAULT_PRIORITY, Member::DEFAULT_PRIORITY, 9])
    }
}

fn members(roll: &Roll, wanted: impl Fn(Part) -> bool) -> Vec<NodeId> {
    roll.list.iter().filter(|member| wanted(member.part)).map(|member| member.node).collect()
}

impl Fault for Members {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        // A witness that leads is not asked: it will not for long, and can't show what is committed.
        if let Some(machine) = leader(world).filter(|machine| !world.is_witness(*machine)) {
            let roll = world.members_at(machine);
            let voters = members(&roll, Part::votes);
            if voters.len() >= 3 && self.rng.chance(150) {
                world.lose_for_good(*self.rng.pick(&voters));
            }
            if let Some(change) = self.wish(world, &roll) {
                let call = self.calls;
                world.line(&"operator", format_args!("wants {change:?}"));
                let request = Request::ChangeMembers(change);
                let bytes = Frame::encode(FrameKind::Request, call, |out| request.encode(out));
                world.operator_asks(machine, call, bytes.into());
                world.struck("members");
            }
        }
        Some(some_time(&mut self.rng))
    }
}
