//! Cairn: one program that gives a cluster its shared state.
//!
//! This crate is the only one that reads the wall clock, opens sockets or starts threads. The rooms
//! below it are functions; here stand the drivers that carry out what they ask for (`drivers`), what
//! an operator sets (`config`) and the command line (`cli`, `up`).
//!
//! It is a library for one reason: what reads texts and files here is fuzzed from outside. The
//! program is [`run`], and nothing else is meant to be called.

mod auth;
mod bench;
mod cli;
mod config;
mod drivers;
mod errors;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod logging;
mod recover;
mod serve;
mod tls;
mod up;
mod verify;

/// Does what the command line says.
pub fn run() -> std::process::ExitCode {
    cli::run()
}
