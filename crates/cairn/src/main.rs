//! Cairn: one program that gives a cluster its shared state.
//!
//! This crate is the only one that reads the wall clock, opens sockets or starts threads. The rooms
//! below it are functions; here stand the drivers that carry out what they ask for ([`drivers`]), what
//! an operator sets ([`config`]) and the command line ([`cli`], [`up`]).

mod bench;
mod cli;
mod config;
mod drivers;
mod errors;
mod logging;
mod serve;
mod up;

fn main() -> std::process::ExitCode {
    cli::run()
}
