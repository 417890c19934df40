//! The command line: one word starts a cluster, the rest are its tools.
//!
//! Data goes to stdout and words go to stderr, so that every command can stand in a pipe. What a
//! program may rely on is stable: the JSON forms, and the exit codes of [`failure::exit`]. Each command is a
//! client like any other: it holds nothing that the cluster needs, and can be killed at any moment.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod auth;
mod connect;
mod failure;
mod get;
mod holding;
mod import;
mod joining;
pub(crate) mod keys;
mod lease;
mod lines;
mod lock;
mod member;
mod ops;
mod output;
mod put;
mod recover;
mod scan;
mod scrub;
mod secret;
mod snapshot;
mod status;
mod table;
mod txn;
mod txn_result;
pub(crate) mod units;
mod verify;
mod watch;

pub(crate) use connect::{Door, Global, Via, reach};
pub(crate) use failure::{Failure, exit};
pub(crate) use keys::printable;
pub(crate) use output::{Ended, Output, finish, print, say};
pub(crate) use table::table;

const EXIT_CODES: &str = "\
Exit codes of the client commands:
  0  done
  1  the answer is no: the key is absent, or a comparison did not hold; `verify`: a damage that heals by itself
  2  the command line or the configuration makes no sense
  3  not done: the cluster refused it or could not be reached; nothing has changed
  4  unknown: it may or may not be done; look before you repeat it
  5  a file could not be read or written, or is damaged

Begin with:
  cairn up                    a cluster of three nodes on this machine
  cairn put hello world
  cairn get hello";

/// A replicated, sharded, transactional store: one program that gives a cluster its shared state.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine, each node a process of its own
    Up(crate::up::UpArgs),
    /// Run one node
    Serve(crate::config::ServeArgs),
    /// Give a key a value
    Put(put::PutArgs),
    /// Print a key's value
    Get(get::GetArgs),
    /// Remove a key, or all keys of a range
    Del(put::DelArgs),
    /// List keys in order
    Scan(scan::ScanArgs),
    /// Print changes as they happen
    Watch(watch::WatchArgs),
    /// Hold a lock, and run a command meanwhile
    Lock(lock::LockArgs),
    /// Stand for election, or watch who leads
    Elect(lock::ElectArgs),
    /// Leases: what hangs on one vanishes with it
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// Do several things at once, if some comparisons hold
    Txn(txn::TxnArgs),
    /// Let go of old versions
    Compact(ops::CompactArgs),
    /// Show how the nodes are
    Status(status::StatusArgs),
    /// The nodes of the cluster: add, remove, replace them while it runs
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Take a node out of the cluster, its leadership handed away before
    Drain(member::DrainArgs),
    /// Whether everybody must say who he is
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    /// Users
    #[command(subcommand)]
    User(auth::UserCommand),
    /// Roles, and what they may do
    #[command(subcommand)]
    Role(auth::RoleCommand),
    /// Leadership of the cluster
    #[command(subcommand)]
    Leader(ops::LeaderCommand),
    /// Save the store to a file, check such a file, restore it
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Read all that a stopped node has on its disk, and tell what is damaged and what to do
    Verify(verify::VerifyArgs),
    /// Let the survivor of a lost majority go on alone, or show what it has
    Recover(recover::RecoverArgs),
    /// Have all nodes read all that they hold while they serve, and compare it
    Scrub(scrub::ScrubArgs),
    /// Measure what the cluster does, and what the disk could do
    Bench(crate::bench::BenchArgs),
    /// Explain a node's configuration
    #[command(subcommand)]
    Config(crate::config::ConfigCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  cairn completions bash > ~/.local/share/bash-completion/completions/cairn"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == holding::UNDER_PARENT) {
        return holding::become_command(args);
    }
    let Cli { global, command } = Cli::parse();
    match command {
        Command::Up(args) => crate::up::run(&args, global.output),
        Command::Serve(args) => crate::serve::run(args),
        Command::Config(command) => crate::config::run(command, global.output == Output::Json),
        Command::Completions { shell } => completions(shell),
        Command::Put(args) => {
            connect::with_client(&global, async |door| put::put(door, args).await)
        }
        Command::Get(args) => {
            connect::with_client(&global, async |door| get::get(door, args).await)
        }
        Command::Del(args) => {
            connect::with_client(&global, async |door| put::del(door, args).await)
        }
        Command::Scan(args) => {
            connect::with_client(&global, async |door| scan::scan(door, args).await)
        }
        Command::Watch(args) => {
            connect::with_client(&global, async |door| watch::watch(door, args).await)
        }
        Command::Lock(args) => {
            connect::with_client(&global, async |door| lock::lock(door, args).await)
        }
        Command::Elect(args) => {
            connect::with_client(&global, async |door| lock::elect(door, args).await)
        }
        Command::Lease(command) => {
            connect::with_client(&global, async |door| lease::lease(door, command).await)
        }
        Command::Txn(args) => {
            connect::with_client(&global, async |door| txn::txn(door, args).await)
        }
        Command::Compact(args) => {
            connect::with_client(&global, async |door| ops::compact(door, args).await)
        }
        Command::Status(args) => {
            connect::with_client(&global, async |door| status::status(door, args).await)
        }
        Command::Member(command) => {
            connect::with_client(&global, async |door| member::member(door, command).await)
        }
        Command::Drain(args) => {
            connect::with_client(&global, async |door| member::drain(door, args).await)
        }
        Command::Auth(command) => {
            connect::with_client(&global, async |door| auth::auth(door, command).await)
        }
        Command::User(command) => {
            connect::with_client(&global, async |door| auth::user(door, command).await)
        }
        Command::Role(command) => {
            connect::with_client(&global, async |door| auth::role(door, command).await)
        }
        Command::Leader(command) => {
            connect::with_client(&global, async |door| ops::leader(door, command).await)
        }
        Command::Snapshot(command) => snapshot::run(&global, command),
        Command::Verify(args) => output::finish(global.output, verify::verify(&global, &args)),
        Command::Recover(args) => output::finish(global.output, recover::recover(&global, &args)),
        Command::Scrub(args) => {
            connect::with_client(&global, async |door| scrub::scrub(door, args).await)
        }
        Command::Bench(args) => connect::with_client(&global, async |door| {
            crate::bench::bench(door, &global.endpoints, args).await
        }),
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cairn", &mut script);
    output::finish(Output::Text, output::Stdout::new().bytes(&script).map_err(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let mut leaf = true;
            for sub in command.get_subcommands() {
                leaf = false;
                check(sub, &path);
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaf || help.contains("cairn "), "`{path} --help` has no example");
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn endpoints_may_stand_before_or_behind_the_command() {
        for line in ["cairn --endpoints a:1,b:2 get k", "cairn get k --endpoints a:1,b:2"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.endpoints, ["a:1", "b:2"], "{line}");
        }
    }

    #[test]
    fn the_manual_names_every_command_and_exit_code() {
        fn check(command: &clap::Command, path: &str, manual: &str) {
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()), manual);
            }
            let leaf = !command.has_subcommands();
            assert!(!leaf || manual.contains(&format!("| `{path}")), "docs/cli.md lacks `{path}`");
        }
        let manual = include_str!("../../../../docs/cli.md");
        check(&Cli::command(), "cairn", manual);
        for code in [0, exit::NO, exit::USAGE, exit::NOT_DONE, exit::UNKNOWN, exit::FILE] {
            assert!(
                manual.contains(&format!("\n| {code} | ")),
                "docs/cli.md lacks exit code {code}"
            );
        }
    }
}
