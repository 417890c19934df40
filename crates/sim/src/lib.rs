//! Whole clusters in one thread, from one seed: production node code over a simulated network,
//! simulated disks and simulated time.
//!
//! A seed draws the cluster's shape and which faults exist in its run. Clients do what the workloads
//! say and write down what they saw; while faults strike, the simulation overhears what the nodes
//! journal and answer. Then everything is healed, the cluster must make progress again and come to
//! rest, and checkers that know nothing but the history judge it.
//!
//! ```text
//!   plan ──► world: machines (node, journal, engine over a disk in memory) ◄── faults
//!              │        ▲
//!              │        └── net ◄──► clients ◄── workloads
//!              ▼                        │
//!            trace, ledger           history ──► checkers ──► report
//! ```
//!
//! # Invariants
//!
//! * A run depends on its options alone: the same seed gives the same trace, to the byte.
//! * The driver here does what the production driver does, and decides nothing.
//! * A checker knows the history and the final states, never the implementation.

pub mod check;
mod clients;
mod clock;
pub mod fault;
pub mod history;
mod inbox;
mod launch;
mod ledger;
mod machine;
mod net;
mod panics;
mod plan;
mod planted;
mod rng;
mod run;
mod trace;
mod words;
pub mod workload;
mod world;

pub use consensus::Protocol;
pub use plan::{Options, faults_of};
pub use planted::Planted;
pub use rng::Rng;
pub use run::{Counts, Report, run};
