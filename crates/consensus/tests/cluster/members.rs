//! Members that come and go in a storm: who is asked for what, and who is switched off for good.

use std::collections::BTreeSet;

use consensus::{Config, Input, Membership, ProposalId, ReplicaId};

use crate::host::Host;
use crate::storm::Storm;

/// Most voters that a change may lead to.
const MOST_VOTERS: usize = 5;

/// Most hosts at a time, those that are no members any more among them.
const MOST_HOSTS: usize = 8;

impl Storm {
    /// Who belongs to the group, as far as anything was chosen about it.
    pub(crate) fn membership(&self) -> Membership {
        let chosen = self.checks.chosen_membership();
        chosen.map_or_else(|| self.config.first_membership(), |found| (**found).clone())
    }

    /// Who must come along when all is calm.
    pub(crate) fn members(&self) -> BTreeSet<ReplicaId> {
        let membership = self.membership();
        membership.all_voters().into_iter().chain(membership.learners).collect()
    }

    /// Asks those that lead for other members: a learner more or less, another set of voters.
    pub(crate) fn change_members(&mut self) {
        for leader in self.leaders() {
            let now = self.hosts[&leader].replica.status().membership;
            let mut target = Membership { outgoing: BTreeSet::new(), ..(*now).clone() };
            for _ in 0..=self.chance.pick(3) {
                self.change_one(&now, &mut target);
            }
            if self.plan.has_witnesses() && self.witness_chance.pick(8) == 0 {
                self.turn_one(&now, &mut target);
            }
            self.counter += 1;
            let id = ProposalId(self.counter);
            self.input(leader, Input::Reconfigure { id, target });
        }
    }

    fn change_one(&mut self, now: &Membership, target: &mut Membership) {
        match self.chance.pick(4) {
            0 => {
                let witness = self.plan.has_witnesses() && self.witness_chance.pick(2) == 0;
                if let Some(id) = self.newcomer(witness) {
                    target.learners.insert(id);
                    if witness {
                        target.witnesses.insert(id);
                    }
                }
            }
            1 | 2 => {
                if let Some(id) = self.draw(&now.learners)
                    && target.voters.len() < MOST_VOTERS
                {
                    target.learners.remove(&id);
                    target.voters.insert(id);
                }
            }
            _ => {
                if let Some(id) = self.draw(&target.voters)
                    && target.voters.len() > 1
                {
                    target.voters.remove(&id);
                    target.witnesses.remove(&id);
                }
            }
        }
    }

    /// Asks for what is never granted: that a witness becomes a data replica, or the other way round.
    fn turn_one(&mut self, now: &Membership, target: &mut Membership) {
        let all: Vec<_> = now.voters.union(&now.learners).copied().collect();
        let id = all[self.witness_chance.pick(all.len())];
        if !target.witnesses.remove(&id) {
            target.witnesses.insert(id);
        }
    }

    /// A host that has never been a member. Its number is new.
    fn newcomer(&mut self, witness: bool) -> Option<ReplicaId> {
        if self.hosts.len() >= MOST_HOSTS {
            return None;
        }
        self.last_id += 1;
        let id = ReplicaId(self.last_id);
        let seed = self.config.seed ^ id.0;
        let voters = BTreeSet::new();
        let witnesses: BTreeSet<_> = witness.then_some(id).into_iter().collect();
        self.witnesses.extend(&witnesses);
        let config = Config { id, seed, voters, witnesses, ..self.config.clone() };
        self.hosts.insert(id, Host::new(self.protocol, config, self.local(id)));
        Some(id)
    }

    fn draw(&mut self, among: &BTreeSet<ReplicaId>) -> Option<ReplicaId> {
        let all: Vec<_> = among.iter().copied().collect();
        if all.is_empty() { None } else { Some(all[self.chance.pick(all.len())]) }
    }

    /// Switches off who belongs to the group no more, once all is settled without it: nobody may need
    /// it. Whoever was removed lives on as long as it happens to.
    pub(crate) fn leave_for_good(&mut self) {
        let membership = self.membership();
        if membership.is_joint() {
            return;
        }
        // What is not chosen may yet name it: only a number that was a member once is done with.
        let was = self.checks.former_members(&self.config.voters);
        let gone: Vec<_> = was.into_iter().filter(|id| !membership.contains(*id)).collect();
        for id in gone {
            self.hosts.remove(&id);
            self.down.remove(&id);
        }
    }
}
