//! What an operator sets: one TOML file, the environment and flags, parsed once into [`Config`].
//!
//! One table, [`settings::SETTINGS`], names every setting. From its name follow the three ways to
//! give it: `max_value` in the file, `CAIRN_MAX_VALUE` in the environment and `--max-value` on the
//! command line. A flag beats the environment, which beats the file, which beats the default.
//!
//! # Invariants
//!
//! * A [`Config`] is valid as a whole: nobody behind this module checks a value again.
//! * Every value knows where it came from, and every error says it.

mod args;
mod error;
mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod layer;
mod resolve;
mod settings;
mod show;
mod values;

use std::path::PathBuf;

use consensus::Protocol;
use wire::{Member, NodeId};

pub(crate) use args::{ConfigCommand, ServeArgs};
pub(crate) use error::ConfigError;
pub(crate) use show::run;

pub(crate) use values::{address as check_address, cluster as check_cluster_name};

use crate::auth::jwt::Tokens;
use crate::tls::files::TlsFiles;
use layer::Raw;

/// The environment variable that names the file.
const FILE_VARIABLE: &str = "CAIRN_CONFIG";

/// A node's configuration, validated.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The cluster's name; `None` lets the data directory decide, or the first start draw one.
    pub(crate) cluster: Option<String>,
    /// This node.
    pub(crate) node: NodeId,
    /// Where its data is.
    pub(crate) data_dir: PathBuf,
    /// Where it listens for clients.
    pub(crate) client_listen: String,
    /// Where else it listens for clients.
    pub(crate) etcd_listen: Option<String>,
    /// Where it listens for other nodes; `None` when it is alone.
    pub(crate) peer_listen: Option<String>,
    /// What the client port shows, if it speaks TLS.
    pub(crate) client_tls: Option<TlsFiles>,
    /// What the nodes show each other, if they speak TLS.
    pub(crate) peer_tls: Option<TlsFiles>,
    /// Which tokens users get.
    pub(crate) auth_token: Tokens,
    /// All nodes, this one included.
    pub(crate) members: Vec<Member>,
    /// Whether it joins a cluster that exists, if its data directory is empty.
    pub(crate) join: bool,
    /// Whether it does so as a witness.
    pub(crate) witness: bool,
    /// By which protocol the logs are kept.
    pub(crate) protocol: Protocol,
    /// Where state is kept.
    pub(crate) engine: EngineKind,
    /// The node's limits and timings.
    pub(crate) tuning: node::Tuning,
    /// Bytes of blocks that the engine keeps in memory.
    pub(crate) cache_bytes: usize,
    /// One segment of the journal, in bytes.
    pub(crate) segment_bytes: usize,
    /// Connections on the client port.
    pub(crate) connection_limit: usize,
    /// Threads that serve the client port: 0 or 1.
    pub(crate) client_threads: usize,
    /// Threads that run reads.
    pub(crate) reader_threads: usize,
    /// What is logged.
    pub(crate) log_level: LogLevel,
    /// In which form.
    pub(crate) log_format: LogFormat,
    /// Every setting with its value and where that came from, in the table's order.
    effective: Vec<(&'static str, Raw)>,
}

/// Where state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    /// In files, beneath the journal.
    Disk,
    /// In memory. The journal is on disk all the same.
    Memory,
}

/// The least important events that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// A person must act.
    Error,
    /// Unexpected, handled.
    Warn,
    /// State changes that an operator follows.
    Info,
    /// Each decision.
    Debug,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Reads the file that flags or environment name, adds both, and validates.
    pub(crate) fn load(args: &args::SettingsArgs) -> Result<Self, ConfigError> {
        Self::load_with(args, &|name| std::env::var(name).ok())
    }

    fn load_with(
        args: &args::SettingsArgs,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let path = args.config.clone().or_else(|| env(FILE_VARIABLE).map(PathBuf::from));
        let mut merged = layer::defaults();
        if let Some(path) = path {
            merged.extend(file::read(&path)?);
        }
        merged.extend(layer::environment(env));
        merged.extend(args.flags.clone());
        resolve::resolve(merged)
    }

    /// This node, as the configuration names it.
    pub(crate) fn own_member(&self) -> &Member {
        let own = self.members.iter().find(|member| member.node == self.node);
        own.expect("validated: this node is a member")
    }

    /// Where clients reach this node.
    pub(crate) fn own_client_address(&self) -> &str {
        &self.own_member().client_address
    }
}

#[cfg(test)]
mod tests;
