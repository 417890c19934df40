//! Starting a node on a machine: opens its journal and its engine, and draws its configuration.

use disk::mem::MemDisk;
use engine::{Engine, Worker};
use journal::{Journal, Recovered};
use node::Rare;
use wire::{Member, NodeId, Part};

use crate::machine::{ENGINE, JOURNAL, Machine, Nature, Standing};
use crate::plan::Plan;
use crate::world::CLUSTER;

/// More than any log of a run: a node that lags must find what it lacks at a witness, where that is all that is
/// left.
const WITNESS_RETAIN_BYTES: usize = 1 << 30;

/// What a node starts with.
pub(crate) struct Opened {
    pub(crate) journal: Journal<MemDisk>,
    pub(crate) recovered: Recovered,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) worker: Box<dyn Worker>,
}

/// Opens what is on the machine's disk.
pub(crate) fn open(machine: &mut Machine, plan: &Plan) -> Result<Opened, String> {
    let disk = machine.disk.clone();
    let config = journal_config(machine.index, plan);
    let (journal, recovered) = Journal::open(disk.clone(), JOURNAL, config)
        .map_err(|error| format!("open the journal: {error}"))?;
    let config = engine_config(plan);
    let opened = if plan.in_memory {
        engine::open_memory(disk, ENGINE, config)
    } else {
        engine::open_disk(disk, ENGINE, config)
    };
    let (engine, worker) = opened.map_err(|error| format!("open the engine: {error}"))?;
    Ok(Opened { journal, recovered, engine, worker })
}

fn journal_config(machine: usize, plan: &Plan) -> journal::Config {
    journal::Config {
        segment_bytes: plan.segment_bytes,
        max_record_bytes: plan.record_limit_bytes,
        spare_segments: plan.spare_segments,
        #[cfg(feature = "planted")]
        planted: plan.planted.and_then(crate::planted::Planted::journal),
        ..journal::Config::new(machine as u64 + 1)
    }
}

fn engine_config(plan: &Plan) -> engine::Config {
    engine::Config {
        #[cfg(feature = "planted")]
        planted: plan.planted.and_then(crate::planted::Planted::engine),
        ..plan.engine.clone()
    }
}

/// The configuration of the machine's next node.
pub(crate) fn node_config(machine: &mut Machine, plan: &Plan) -> node::Config {
    let joins = machine.standing == Standing::Joined;
    let own = joins.then_some(machine.id().0);
    let members = (1..=plan.nodes as u64).chain(own).map(|node| Member {
        node: NodeId(node),
        client_address: format!("n{node}:7400"),
        peer_address: format!("n{node}:7500"),
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    });
    let witness = machine.nature == Nature::Witness;
    let mut tuning = plan.tuning.clone();
    if witness {
        tuning.log_retain_bytes = WITNESS_RETAIN_BYTES;
    }
    node::Config {
        node: machine.id(),
        cluster: CLUSTER.to_owned(),
        version: "sim".to_owned(),
        members: members.collect(),
        joins,
        witness,
        protocol: plan.protocol,
        seed: machine.rng.draw(),
        tuning,
        rare: Rare::opened(machine.rng.draw(), plan.zeal),
        #[cfg(feature = "planted")]
        planted: plan.planted.and_then(crate::planted::Planted::node),
        #[cfg(feature = "planted")]
        planted_consensus: plan.planted.and_then(crate::planted::Planted::consensus),
    }
}
