//! The survivor of a lost majority: with whatever the storm has left on its disk, it goes on alone.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Durable, Entry, Input, Payload, ProposalId, ReplicaId, Role};

use crate::host::{Event, Host};
use crate::storm::{Chance, Storm};

/// Within so many turns a replica that decides alone has long decided.
const TURNS: usize = 200;

impl Storm {
    /// Lets a copy of one replica survive all others.
    pub(crate) fn someone_survives(&self, seed: u64) {
        let mut chance = Chance::new(seed);
        let (id, host) = self.hosts.iter().nth(chance.pick(self.hosts.len())).expect("a host");
        // One in doubt stays so, for what its disk lost nobody can give back; a witness has no data; quorums
        // that were chosen by hand are of several.
        if host.in_doubt || self.witnesses.contains(id) || self.config.quorums.is_some() {
            return;
        }
        let applied = host.machine.applied.clone();
        let mut survivor = host.clone();
        survivor.crash(chance.pick(3));
        // Paxos passes over what was certainly not chosen. A log that does not hold what the image has applied
        // has no claim.
        let image = survivor.machine.position();
        let keeps_all = self.protocol.logs_match && survivor.disk.covers(self.protocol, image);
        let values = survivor.disk.entries.iter().map(self.protocol.read);
        let values = values.filter(|held| held.accepted.is_some()).map(|held| held.value);
        let held: Vec<Entry> = values.collect();
        self.goes_on_alone(*id, &mut survivor, &mut chance);
        let is_applied = |entry: &&Entry| {
            let value = (entry.position, entry.payload.clone());
            survivor.machine.applied.contains(&value)
        };
        let was_applied =
            |entry: &&Entry| applied.contains(&(entry.position, entry.payload.clone()));
        assert!(
            held.iter().filter(was_applied).all(|entry| is_applied(&entry)),
            "nothing is undone"
        );
        assert!(!keeps_all || held.iter().all(|entry| is_applied(&entry)), "nothing is dropped");
    }

    fn goes_on_alone(&self, id: ReplicaId, survivor: &mut Host, chance: &mut Chance) {
        let mark = Bytes::from_static(b"alone");
        let (config, restored) = survivor.restored();
        let alone = self.protocol.name.alone(config, restored, |_| mark.clone());
        alone.writes.iter().for_each(|write: &Durable| survivor.disk.write(write));
        let (mut now, mut events) = (self.now, Vec::new());
        survivor.restart(now, chance.next());
        let command = Bytes::from_static(b"of the survivor");
        let wanted = Payload::Command(command.clone());
        let is_done = |host: &Host| host.machine.applied.iter().any(|(_, value)| *value == wanted);
        for turn in 0..TURNS {
            now = now + Duration::from_millis(20);
            survivor.step(now, Input::Tick, &mut events);
            survivor.flush(now, 4, &mut events);
            if survivor.replica.status().role == Role::Leader && !is_done(survivor) {
                let proposal = (ProposalId(turn as u64), command.clone());
                survivor.step(now, Input::Propose(vec![proposal]), &mut events);
            }
        }
        assert!(is_done(survivor), "{id} does not go on: {:?}", survivor.replica.status());
        let members = survivor.machine.membership().expect("its own");
        assert!(members.is_alone(id) && members.context == mark, "{id} is not alone: {members:?}");
        assert!(
            !events.iter().any(|event| matches!(event, Event::Fetch { .. })),
            "whom does it ask?"
        );
    }
}
