//! What is read at the two ends of a window, and the difference.

use super::processes::Processes;
use super::scrape::{self, Counters};
use super::target::Target;
use crate::drivers::stages::NAMES;

/// All that is read at one moment.
#[derive(Debug)]
pub(super) struct Meter {
    processes: Processes,
    nodes: Vec<Option<Counters>>,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Processor time of the nodes together, if they run here.
    pub(super) servers_s: Option<f64>,
    /// Processor time of this process.
    pub(super) own_s: f64,
    /// Processor time of everything else on this machine, if the nodes' is known.
    pub(super) foreign_s: Option<f64>,
    /// Journal syncs of the node that led at both moments.
    pub(super) leader_syncs: Option<u64>,
    /// Journal syncs of all nodes.
    pub(super) syncs: Option<u64>,
    /// What the stages took, each of [`NAMES`].
    pub(super) stages: [StageTimes; NAMES.len()],
}

/// What a stage took at its average, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StageTimes {
    /// On the node that led at both moments.
    pub(super) leader: Option<f64>,
    /// On the others.
    pub(super) followers: Option<f64>,
}

impl Meter {
    /// Reads everything.
    pub(super) async fn read(target: &Target, server_pids: &[u32]) -> Self {
        // The processes last: reading the nodes costs them a little time.
        let nodes = scrape::scrape(&target.endpoints, target.connector.as_ref()).await;
        Self { processes: Processes::read(server_pids), nodes }
    }

    /// What happened since `before`.
    pub(super) fn since(&self, before: &Self) -> Reading {
        let (now, then) = (&self.processes, &before.processes);
        let servers_s = now.servers.zip(then.servers).map(|(now, then)| now - then);
        let own_s = now.own - then.own;
        let machine_s = now.machine - then.machine;
        let pairs = || self.nodes.iter().zip(&before.nodes).map(|(a, b)| (*a).zip(*b));
        let leads = |(now, then): &(Counters, Counters)| now.leads && then.leads;
        let leader = pairs().flatten().find(leads);
        let mean = |at: usize, led: bool| {
            let nodes = pairs().flatten().filter(|pair| leads(pair) == led);
            let (seconds, count) = nodes.fold((0.0, 0.0), |(seconds, count), (now, then)| {
                let (now, then) = (now.stages[at], then.stages[at]);
                (seconds + now.seconds - then.seconds, count + now.count - then.count)
            });
            (count > 0.0).then(|| seconds / count)
        };
        let stage = |at| StageTimes { leader: mean(at, true), followers: mean(at, false) };
        let passed = |(now, then): (Counters, Counters)| now.syncs.saturating_sub(then.syncs);
        Reading {
            servers_s,
            own_s,
            foreign_s: servers_s.map(|servers_s| (machine_s - own_s - servers_s).max(0.0)),
            leader_syncs: leader.map(passed),
            syncs: pairs().map(|pair| pair.map(passed)).sum(),
            stages: std::array::from_fn(stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scrape::Stage;
    use super::*;

    fn meter(servers_s: Option<f64>, syncs: [u64; 2], leader: usize) -> Meter {
        let nodes = syncs.iter().enumerate();
        let nodes = nodes.map(|(at, &syncs)| {
            let passed = Stage { seconds: 0.001, count: 1.0 };
            let stages = if syncs > 200 { [passed; NAMES.len()] } else { Default::default() };
            Some(Counters { syncs, leads: at == leader, stages })
        });
        let processes = Processes { servers: servers_s, own: 1.0, machine: 9.0 };
        Meter { processes, nodes: nodes.collect() }
    }

    #[test]
    fn syncs_are_those_of_who_led_throughout() {
        let before = meter(Some(1.0), [100, 200], 1);
        let reading = meter(Some(3.0), [150, 280], 1).since(&before);
        assert_eq!((reading.leader_syncs, reading.syncs), (Some(80), Some(130)));
        assert_eq!(reading.servers_s, Some(2.0));
        let stage = StageTimes { leader: Some(0.001), followers: None };
        assert_eq!(reading.stages, [stage; NAMES.len()]);
        let reading = meter(None, [150, 280], 0).since(&before);
        assert_eq!((reading.leader_syncs, reading.syncs), (None, Some(130)));
        assert_eq!((reading.servers_s, reading.foreign_s), (None, None));
    }
}
