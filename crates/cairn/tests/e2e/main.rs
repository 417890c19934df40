//! Real processes, real sockets, real signals: what the simulation can't show.
//!
//! One test runs at a time, for a cluster wants the machine for itself; each is bounded, and takes its
//! processes with it whatever happens.

#![expect(clippy::disallowed_methods, reason = "real processes live in real time")]
#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]
#![expect(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

mod auth;
mod bad_input;
mod cli;
mod crashes;
mod etcd;
mod large;
mod locks;
mod members;
mod prompt;
mod recover;
mod scrub;
mod storage_node;
mod support;
mod tls;
mod tokens;
mod up;
mod verify;
