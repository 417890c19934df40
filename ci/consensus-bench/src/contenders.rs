//! Who takes part.

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use crate::work::{Cluster, Load};
use crate::{cairn, omni, open, raft_rs};

/// A log's protocol, ours or a peer's.
pub struct Contender {
    /// Its name in tables.
    pub name: &'static str,
    /// Which release.
    pub version: &'static str,
    /// `raft`, `paxos` or `zab`: a core of ours is compared with the peers of its family.
    pub family: &'static str,
    /// Whether it is one of ours.
    pub is_ours: bool,
    /// A cluster that has a leader.
    pub start: fn(Load) -> Box<dyn Cluster>,
}

const OURS: &str = "this tree";

/// All, in the order in which they take their turns.
pub static ALL: [Contender; 6] = [
    Contender {
        name: "cairn raft",
        version: OURS,
        family: "raft",
        is_ours: true,
        start: |load| cairn::cluster(Protocol::Raft, load),
    },
    Contender {
        name: "raft-rs",
        version: "0.7.0",
        family: "raft",
        is_ours: false,
        start: raft_rs::cluster,
    },
    Contender {
        name: "openraft",
        version: "0.10.0-alpha.37",
        family: "raft",
        is_ours: false,
        start: open::cluster,
    },
    Contender {
        name: "cairn paxos",
        version: OURS,
        family: "paxos",
        is_ours: true,
        start: |load| cairn::cluster(Protocol::Paxos, load),
    },
    Contender {
        name: "omnipaxos",
        version: "0.2.4",
        family: "paxos",
        is_ours: false,
        start: omni::cluster,
    },
    Contender {
        name: "cairn zab",
        version: OURS,
        family: "zab",
        is_ours: true,
        start: |load| cairn::cluster(Protocol::Zab, load),
    },
];

/// Those that are to be measured.
pub fn chosen(only: &str) -> impl Iterator<Item = &'static Contender> + Clone {
    ALL.iter().filter(move |contender| contender.name.contains(only))
}

/// What a contender asks of the allocator for one entry, on all three replicas together.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Allocated {
    /// Bytes, what a reallocation adds included.
    pub bytes: f64,
    /// Calls, reallocations included.
    pub calls: f64,
}
