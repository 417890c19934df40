//! Machines that join, that are taken away, and that are lost for good.

use std::time::Duration;

use bytes::Bytes;
use wire::{Members, NodeId, Part};

use super::{Death, Happening, World};
use crate::fault;
use crate::machine::{Nature, Standing};

/// Until an operator has set up a machine.
const MOST_DELAY: Duration = Duration::from_secs(2);

impl World {
    /// The operator's own place among those who ask.
    pub(super) fn operator(&self) -> usize {
        self.clients.len()
    }

    /// The operator asks a node for something; nobody hears the answer.
    pub(crate) fn operator_asks(&mut self, to: usize, call: u64, bytes: Bytes) {
        let client = self.operator();
        self.plan_news(Happening::Request { to, client, call, bytes });
    }

    /// The machine of a node.
    pub(crate) fn machine_of(&self, node: NodeId) -> Option<usize> {
        let machine = usize::try_from(node.0).ok()?.checked_sub(1)?;
        (machine < self.machines.len()).then_some(machine)
    }

    /// Whether a node's machine is gone for good, with all that it held.
    pub(crate) fn is_lost(&self, node: NodeId) -> bool {
        let machine = self.machine_of(node).map(|machine| &self.machines[machine]);
        machine.is_none_or(|machine| machine.standing == Standing::Lost)
    }

    /// Whether a machine's node is a witness.
    pub(crate) fn is_witness(&self, machine: usize) -> bool {
        self.machines[machine].nature == Nature::Witness
    }

    /// Whether each voter that holds data, besides this one, has the log that its leader has; asked only where
    /// there are witnesses.
    fn is_not_the_only_copy(&self, machine: usize, members: &Members) -> bool {
        let has_witnesses = members.list.iter().any(|member| member.part == Part::Witness);
        if !has_witnesses || self.is_witness(machine) {
            return true;
        }
        let Some(leader) = fault::leader(self) else { return false };
        let last = |index: usize| {
            let process = self.machines[index].process.as_ref();
            process.map(|process| process.node.status().last)
        };
        let data = members.list.iter().filter(|member| member.part == Part::Voter);
        let mut others = data.filter_map(|member| self.machine_of(member.node));
        others.all(|other| other == machine || last(other) >= last(leader))
    }

    /// Who belongs to the cluster, as far as a node has applied it.
    pub(crate) fn members_at(&self, machine: usize) -> Members {
        let process = self.machines[machine].process.as_ref();
        process.map(|process| process.node.members()).expect("it runs")
    }

    /// A node may now have to reach others: those that never ran are set up, and join.
    pub(super) fn set_up(&mut self, members: &Members) {
        for member in &members.list {
            let Some(machine) = self.machine_of(member.node) else { continue };
            if self.machines[machine].standing == Standing::Spare {
                self.machines[machine].standing = Standing::Joined;
                let after = self.rng.skewed(Duration::from_millis(1), MOST_DELAY);
                self.plan_boot(machine, after);
            }
        }
    }

    /// Whether a machine that has never run may be started, and as what: an operator is told when the change is
    /// done, and not before. A number in a change that was never committed may be given again, for another part.
    pub(super) fn is_as_printed(&mut self, machine: usize) -> bool {
        let this = &mut self.machines[machine];
        if this.standing != Standing::Joined {
            return true;
        }
        let id = this.id();
        let part = self.newest_members().find(id).map(|member| member.part);
        let this = &mut self.machines[machine];
        match part {
            Some(part) => {
                this.nature = if part.is_witness() { Nature::Witness } else { Nature::Data };
            }
            None => this.standing = Standing::Spare,
        }
        part.is_some()
    }

    /// Sets up those that were not when they were added, for nobody knew yet that they were.
    pub(super) fn set_up_added(&mut self) {
        if self.plan.witnesses {
            let members = self.newest_members();
            self.set_up(&members);
        }
    }

    /// Takes a machine away for good. Only one that others can do without: no other may be lost or have
    /// lost bytes, but those that were replaced.
    pub(crate) fn lose_for_good(&mut self, node: NodeId) {
        let Some(machine) = self.machine_of(node) else { return };
        let is_harmed = |index: usize| {
            let other = &self.machines[index];
            other.damaged || other.standing == Standing::Lost
        };
        let members = fault::leader(self).map(|leader| self.members_at(leader));
        let may_be_member = |index: usize| {
            let id = self.machines[index].id();
            // A leader that has just started may not know yet that one was added.
            members.as_ref().is_none_or(|members| !members.has_left(id))
        };
        let all = 0..self.machines.len();
        if all.into_iter().any(|index| is_harmed(index) && may_be_member(index)) {
            return;
        }
        if members.is_some_and(|members| !self.is_not_the_only_copy(machine, &members)) {
            return;
        }
        self.line(&self.machines[machine].id(), format_args!("is lost for good"));
        self.struck("lost for good");
        if self.machines[machine].is_up() {
            self.dies(machine, Death::Power);
        }
        self.machines[machine].standing = Standing::Lost;
    }

    /// Switches off who was taken out of the cluster: at once, later, or not before the end.
    pub(super) fn switch_off_removed(&mut self) {
        let newest = self.newest_members();
        for machine in 0..self.machines.len() {
            let this = &self.machines[machine];
            let has_left = this.standing != Standing::Spare && newest.has_left(this.id());
            if !has_left || matches!(this.standing, Standing::Lost | Standing::Gone) {
                continue;
            }
            if !self.stormy || self.rng.chance(100) {
                self.line(&self.machines[machine].id(), format_args!("is switched off for good"));
                if self.machines[machine].is_up() {
                    self.dies(machine, Death::Power);
                }
                self.machines[machine].standing = Standing::Gone;
            }
        }
    }

    /// Who belongs to the cluster, as the node has it that has applied most.
    pub(crate) fn newest_members(&self) -> Members {
        // A witness knows what stands in its log, not what of it is committed.
        let others = self.machines.iter().filter(|machine| machine.nature == Nature::Data);
        let running = others.filter_map(|machine| machine.process.as_ref());
        let newest = running.max_by_key(|process| process.node.status().applied);
        newest.map_or_else(
            || Members { list: Vec::new(), next: NodeId(0) },
            |process| process.node.members(),
        )
    }

    /// Whether a machine has to hold what all hold when all is at rest: a member's, unless it is lost, or in
    /// doubt with nobody left to ask.
    pub(crate) fn must_be_whole(&self, machine: usize) -> bool {
        let this = &self.machines[machine];
        let is_in_doubt =
            this.process.as_ref().is_some_and(|process| process.node.status().role == "in-doubt");
        let is_stuck = self.plan.spares > 0 && this.damaged && is_in_doubt;
        let runs = matches!(this.standing, Standing::First | Standing::Joined);
        runs && !is_stuck && self.newest_members().find(this.id()).is_some()
    }
}
