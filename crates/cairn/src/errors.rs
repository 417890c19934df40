//! Why a node does not start, or had to stop: in words for an operator, with what to do.
//!
//! Every fault has a code, and a page `docs/errors/<code>.md` that explains it; a test checks that.

use std::io::Write;
use std::path::PathBuf;

use wire::NodeId;

use crate::config::ConfigError;
use crate::tls::files::TlsFault;

/// Exit codes of `cairn serve`. They are part of the interface: supervisors rely on them.
mod exit {
    pub(super) const CONFIG: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const STORAGE: u8 = 4;
    pub(super) const BUG: u8 = 5;
    pub(super) const NO_MEMBER: u8 = 6;
}

/// A node can't start, or can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate, a key or a CA can't be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// Another process has the data directory.
    #[error("the data directory {} is in use by process {pid}", dir.display())]
    Locked {
        /// Which directory.
        dir: PathBuf,
        /// Who has it.
        pid: String,
    },
    /// The data directory belongs to another node, or to another cluster.
    #[error("the data directory {} belongs to {theirs}, the configuration says {ours}", dir.display())]
    Identity {
        /// Which directory.
        dir: PathBuf,
        /// What `IDENTITY` says.
        theirs: String,
        /// What the configuration says.
        ours: String,
    },
    /// `IDENTITY` can't be understood.
    #[error("{}: {what}", path.display())]
    IdentityDamaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The data directory can't be used.
    #[error("{action} {}: {source}", path.display())]
    DataDir {
        /// What was being done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A port is taken.
    #[error("{address} is in use by another process")]
    PortInUse {
        /// Which address.
        address: String,
        /// The setting that chooses it.
        setting: &'static str,
    },
    /// An address can't be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: String,
        /// The setting that chooses it.
        setting: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The journal can't be opened.
    #[error("open the journal: {what}")]
    JournalOpen {
        /// What the journal said.
        what: String,
    },
    /// The journal failed while the node ran.
    #[error("the journal failed: {what}")]
    JournalFailed {
        /// What the journal said.
        what: String,
    },
    /// The storage engine can't be opened.
    #[error("open the storage engine: {0}")]
    EngineOpen(engine::OpenError),
    /// The state on disk does not let the node start.
    #[error("{0}")]
    State(node::StartError),
    /// The node asked to be stopped.
    #[error("{why}")]
    Stopped {
        /// Its reason.
        why: String,
    },
    /// The cluster has removed this node.
    #[error("this node, number {}, was removed from its cluster", node.0)]
    Removed {
        /// Its number.
        node: NodeId,
    },
    /// Under this node's number there was another data directory before.
    #[error(
        "the other nodes know node {} with another data directory: what that one had promised is not in \
         this one, so they do not take it",
        node.0
    )]
    Forgetful {
        /// Its number.
        node: NodeId,
    },
    /// The system refused something that every process needs.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// An invariant of ours broke.
    #[error("thread `{thread}` found its own state impossible: {what}")]
    Bug {
        /// Where.
        thread: String,
        /// What it said.
        what: String,
    },
}

impl Fault {
    /// Its stable name.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config-invalid",
            Self::Tls(_) => "tls-unusable",
            Self::Locked { .. } => "data-locked",
            Self::Identity { .. } => "data-identity",
            Self::IdentityDamaged { .. } => "data-identity-damaged",
            Self::DataDir { .. } => "data-unusable",
            Self::PortInUse { .. } => "port-in-use",
            Self::Listen { .. } => "port-unusable",
            Self::JournalOpen { .. } => "journal-open",
            Self::JournalFailed { .. } => "journal-failed",
            Self::EngineOpen(_) => "engine-open",
            Self::State(_) => "state-unusable",
            Self::Stopped { .. } => "node-stopped",
            Self::Removed { .. } => "node-removed",
            Self::Forgetful { .. } => "node-forgetful",
            Self::System { .. } => "system-refused",
            Self::Bug { .. } => "bug",
        }
    }

    /// What to do.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Config(_) => {
                "`cairn config show` prints all settings, `cairn serve --help` explains them".into()
            }
            Self::Tls(_) => {
                "check the path, its permissions and what is in it: PEM files are expected, the key without \
                a password; `cairn config show` prints where each path comes from"
                    .into()
            }
            Self::Locked { pid, .. } => format!(
                "one directory serves one process: stop process {pid}, or choose another --data-dir"
            ),
            Self::Identity { .. } => {
                "choose another --data-dir, or set --cluster, --node and --member as the \
                directory says; a directory can't change sides, for its promises would be forgotten"
                    .into()
            }
            Self::IdentityDamaged { .. } => {
                "restore the file from a backup; or, if the other nodes are well, let a new node take this \
                one's place: `cairn member replace NODE PEER_ADDRESS`, which prints how to start that one"
                    .into()
            }
            Self::DataDir { .. } => {
                "check the directory's owner, permissions and free space, or choose \
                another --data-dir"
                    .into()
            }
            Self::PortInUse { setting, .. } => {
                format!("stop the other process, or choose another address with --{setting}")
            }
            Self::Listen { setting, .. } => {
                format!("choose an address of this machine with --{setting}, such as 0.0.0.0:PORT")
            }
            Self::JournalOpen { .. } => {
                "keep the directory as it is for inspection; see the page of this error".into()
            }
            Self::JournalFailed { .. } => {
                "nothing that this disk did not keep was acknowledged by this node; \
                check the disk (`dmesg`), then start the node again"
                    .into()
            }
            Self::EngineOpen(_) => {
                "if the other nodes are well, move this node's `engine` directory away, and only \
                that one, and start it again: its state is rebuilt from them"
                    .into()
            }
            Self::State(_) | Self::Stopped { .. } => "see the page of this error".into(),
            Self::Removed { .. } => {
                "it has nothing to do any more, and starting it again changes nothing. To use the machine \
                 again, give the node an empty --data-dir and a new number: `cairn member add`"
                    .into()
            }
            Self::Forgetful { node } => format!(
                "bring the old data directory back; if it is lost, let a new node take its place: \
                 `cairn member replace {} PEER_ADDRESS`, which prints how to start that one",
                node.0
            ),
            Self::System { .. } => "check the limits of this process (`ulimit -a`)".into(),
            Self::Bug { .. } => {
                "this is a bug: keep the log and the data directory and report them; starting \
                the node again is safe"
                    .into()
            }
        }
    }

    /// What the process ends with.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Tls(_) => exit::CONFIG,
            Self::Locked { .. }
            | Self::Identity { .. }
            | Self::PortInUse { .. }
            | Self::Listen { .. }
            | Self::System { .. } => exit::REFUSED,
            Self::IdentityDamaged { .. }
            | Self::DataDir { .. }
            | Self::JournalOpen { .. }
            | Self::JournalFailed { .. }
            | Self::EngineOpen(_)
            | Self::State(_)
            | Self::Stopped { .. } => exit::STORAGE,
            Self::Removed { .. } | Self::Forgetful { .. } => exit::NO_MEMBER,
            Self::Bug { .. } => exit::BUG,
        }
    }

    /// Its text on stderr.
    pub(crate) fn print(&self) {
        let text = format!("cairn: {self}\n  help: {}\n  code: {}\n", self.help(), self.code());
        // A closed stderr must not hide the exit code.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// Logs it, for a node that runs, and ends the process.
    pub(crate) fn end_process(&self) -> ! {
        tracing::error!(code = self.code(), help = self.help(), "{self}");
        std::process::exit(i32::from(self.exit()))
    }
}

/// An error with its causes, as one sentence.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_page() {
        let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        let source = include_str!("errors.rs");
        let codes: Vec<&str> = source
            .lines()
            .filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","))
            .filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .collect();
        assert_eq!(codes.len(), 17, "{codes:?}");
        for code in codes {
            assert!(pages.join(format!("{code}.md")).is_file(), "docs/errors/{code}.md is missing");
        }
        // Logged, for the node goes on.
        assert!(pages.join("tls-refused.md").is_file());
    }

    #[test]
    fn causes_stand_behind_what_they_caused() {
        let fault = journal::DiskFailure {
            action: "sync",
            path: "journal/0000000001.seg".into(),
            source: std::io::Error::other("no such luck"),
        };
        assert_eq!(chain(&fault), "sync journal/0000000001.seg: no such luck");
    }

    #[test]
    fn a_fault_says_what_and_what_to_do() {
        let fault = Fault::Locked { dir: "data".into(), pid: "77".into() };
        assert_eq!(fault.to_string(), "the data directory data is in use by process 77");
        assert!(fault.help().contains("stop process 77"));
        assert_eq!(fault.exit(), 3);
    }
}
