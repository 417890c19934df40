//! `cairn up`: a whole cluster on this machine, for a first look, for development, for tests.
//!
//! Each node is a process of its own with a directory of its own, so that `kill -9` means here what
//! a dead machine means elsewhere. `up` holds nothing that the cluster needs: it starts the nodes,
//! shows what they say of themselves, and stops them. The nodes end with it, for each watches its
//! stdin, which is a pipe from here.
//!
//! ```text
//! DIR/up.lock        held while `up` runs; holds its pid
//! DIR/cluster.toml   what the cluster is: written once, checked ever after
//! DIR/node-N.toml    the configuration that node N is started with
//! DIR/node-N/        its data, and log.jsonl: what it said
//! DIR/tls/           certificates, if the cluster speaks TLS
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use consensus::Protocol;

use crate::cli::{Failure, Output, finish};

mod child;
pub(crate) mod cluster;
mod directory;
mod log_file;
pub(crate) mod news;
mod ports;
mod show;
mod stderr;
mod supervise;
mod tls;

/// Where a cluster is kept unless told otherwise.
const DEFAULT_DIR: &str = "./cairn-data";

const EXAMPLE: &str = "\
Starts the nodes, waits until a leader serves, prints where they are, and shows what happens to them
until Ctrl-C. The data stays: the same command carries on with it. The nodes listen on this machine's
loopback address alone.

With --tls everything is encrypted, between the nodes too, and every client must show a certificate; all
of them are made here, by a CA of this cluster's own, and are kept in the directory.

A node that is killed stays dead, and the line to start it again is printed; with --restart it is
started again at once.

Examples:
  cairn up
  cairn up --tls
  cairn up --nodes 5 --dir /tmp/five --base-port 8101
  cairn up --restart --output json

Exit codes:
  0  stopped by Ctrl-C or SIGTERM
  2  the command line makes no sense
  3  refused: the directory or a port is in use, or the cluster did not come up
  5  the directory or a file in it could not be used";

/// `cairn up`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct UpArgs {
    /// How many nodes; 3 unless the directory holds another cluster
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(cluster::MAX_NODES)))]
    nodes: Option<u16>,
    /// Where the cluster is kept
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Client port of node 1; the others follow, and peer ports stand 1000 above. 8001, or what it
    /// was the last time
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Speak TLS, with certificates made for this cluster; as the last time unless given
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    tls: Option<bool>,
    /// Start a node again when it has ended
    #[arg(long)]
    restart: bool,
    /// By which consensus protocol they keep the log; raft, or what it was the last time
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Where the nodes keep the store: on disk, or in memory with only the log on disk
    #[arg(long, value_enum)]
    engine: Option<EngineKind>,
}

/// Where a node keeps the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineKind {
    /// On disk.
    Disk,
    /// In memory; the log is on disk, and rebuilds it at a start.
    Memory,
}

impl EngineKind {
    /// As the configuration calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Disk, Self::Memory].into_iter().find(|kind| kind.name() == name)
    }
}

/// Carries out `cairn up`.
pub(crate) fn run(args: &UpArgs, output: Output) -> ExitCode {
    finish(output, up(args, output).map_err(Into::into))
}

fn up(args: &UpArgs, output: Output) -> Result<(), Failure> {
    let UpArgs { nodes, base_port, protocol, engine, tls, .. } = *args;
    let wanted = cluster::Wanted { nodes, base_port, protocol, engine, tls };
    let directory = directory::Directory::open(&args.dir)?;
    let cluster = directory.cluster(&wanted)?;
    ports::check(&cluster)?;
    let (nodes, tls) = directory.prepare(&cluster)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::not_done("system", format!("start the runtime: {error}")))?;
    let restart = if args.restart { child::Restart::Always } else { child::Restart::Never };
    runtime.block_on(supervise::supervise(cluster, nodes, tls, &args.dir, restart, output))
}
