//! The door to a cluster, as every client command opens it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use client::Client;
use client::tcp::Tcp;
use wire::{Consistency, Revision};

use super::output::{self, Ended};
use super::{Failure, Output, units};
use crate::drivers::random;

/// Where `cairn up` puts its nodes, and where a single `cairn serve` stands.
const DEFAULT_ENDPOINTS: &str = "localhost:8001,localhost:8002,localhost:8003,localhost:8000";

/// What holds for all client commands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Client addresses of some or all nodes, as host:port, with commas between
    #[arg(long, global = true, env = "CAIRN_ENDPOINTS", value_name = "ADDRESSES")]
    #[arg(default_value = DEFAULT_ENDPOINTS, value_delimiter = ',')]
    #[arg(help_heading = "Client options")]
    pub(crate) endpoints: Vec<String>,
    /// How long to try, as 500ms, 5s or 2m
    #[arg(long, global = true, default_value = "10s", value_parser = units::duration)]
    #[arg(help_heading = "Client options")]
    pub(crate) timeout: Duration,
    /// Form of what is printed
    #[arg(long, global = true, value_enum, default_value_t)]
    #[arg(help_heading = "Client options")]
    pub(crate) output: Output,
}

/// What a client command works with.
#[derive(Clone)]
pub(crate) struct Door {
    /// The cluster.
    pub(crate) client: Client,
    /// The form of what is printed.
    pub(crate) output: Output,
    /// How long to try.
    pub(crate) timeout: Duration,
}

/// Opens the door, runs `command`, and turns its end into an exit code.
pub(crate) fn with_client(
    global: &Global,
    command: impl AsyncFnOnce(Door) -> Result<(), Ended>,
) -> ExitCode {
    let output = global.output;
    let result = runtime().and_then(|runtime| {
        // The transport's tasks need the runtime from their first breath.
        let result = runtime.block_on(async { command(open(global)?).await });
        // A look-up of a name may hang for long on a thread of its own. Nobody waits for it.
        runtime.shutdown_background();
        result
    });
    output::finish(output, result)
}

fn runtime() -> Result<tokio::runtime::Runtime, Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| {
        Failure::not_done("system", format!("start the network runtime: {error}")).into()
    })
}

fn open(global: &Global) -> Result<Door, Failure> {
    let client = reach(&global.endpoints, global.timeout)
        .map_err(|failure| failure.help("write --endpoints as host:port,host:port"))?;
    Ok(Door { client, output: global.output, timeout: global.timeout })
}

/// A client that asks at these addresses.
pub(crate) fn reach(endpoints: &[String], timeout: Duration) -> Result<Client, Failure> {
    let transport = Tcp::new(endpoints, None).map_err(|error| Failure::usage(error.to_string()))?;
    let config = client::Config { client_id: random::draw(), timeout, seed: random::draw_u64() };
    Ok(Client::new(Arc::new(transport), config))
}

/// What a read promises, as the command line names it.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ConsistencyArg {
    /// What the read promises: linearizable (sees every acknowledged write), session:N (sees
    /// revision N at least), eventual (whatever the asked node has)
    #[arg(long, default_value = "linearizable", value_parser = consistency)]
    pub(crate) consistency: Consistency,
}

fn consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "linearizable" => return Ok(Consistency::Linearizable),
        "eventual" => return Ok(Consistency::Eventual),
        _ => {}
    }
    text.strip_prefix("session:")
        .and_then(|revision| revision.parse().ok())
        .map(|revision| Consistency::Session(Revision(revision)))
        .ok_or_else(|| "expected linearizable, session:REVISION or eventual".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consistency_has_three_words() {
        assert_eq!(consistency("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(consistency("session:42"), Ok(Consistency::Session(Revision(42))));
        assert_eq!(consistency("eventual"), Ok(Consistency::Eventual));
        for wrong in ["", "session", "session:", "session:x", "strong"] {
            assert!(consistency(wrong).is_err(), "{wrong:?}");
        }
    }
}
