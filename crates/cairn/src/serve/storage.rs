//! Opens what a node has on its disk.

use std::sync::mpsc;
use std::time::Duration;

use engine::{Engine, Worker};
use journal::{Journal, Recovered};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use super::data_dir::DataDir;
use crate::config::{Config, EngineKind};
use crate::drivers::os_disk::OsDisk;
use crate::drivers::threads;
use crate::errors::{Fault, chain};

/// What a record has beyond the command in it.
const RECORD_SLACK_BYTES: u64 = 4096;

/// A start that takes longer is commented upon, as often as this.
const PATIENCE: Duration = Duration::from_secs(3);

/// The journal's directory in a node's data directory.
pub(crate) const JOURNAL: &str = "journal";

/// What the engine's files are called there.
pub(crate) fn engine_path(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Disk => "engine/tree",
        EngineKind::Memory => "engine/image",
    }
}

/// An engine, and who works for it.
pub(crate) type OpenEngine = (Box<dyn Engine>, Box<dyn Worker>);

/// Opens the engine in a node's data directory, or makes it.
pub(crate) fn open_engine(
    kind: EngineKind,
    disk: OsDisk,
    config: engine::Config,
) -> Result<OpenEngine, Fault> {
    let path = engine_path(kind);
    let opened = match kind {
        EngineKind::Disk => engine::open_disk(disk, path, config),
        EngineKind::Memory => engine::open_memory(disk, path, config),
    };
    opened.map_err(Fault::EngineOpen)
}

/// A node's journal and engine, open.
pub(super) struct Storage {
    pub(super) journal: Journal<OsDisk>,
    pub(super) recovered: Recovered,
    pub(super) engine: Box<dyn Engine>,
    pub(super) worker: Box<dyn Worker>,
}

impl Storage {
    /// Opens both, or makes them.
    pub(super) fn open(config: &Config, dir: &DataDir) -> Result<Self, Fault> {
        let opening = Opening::begin()?;
        raise_open_files();
        let journal_config = journal::Config {
            segment_bytes: config.segment_bytes as u64,
            max_record_bytes: config.tuning.command_limit_bytes as u64 + RECORD_SLACK_BYTES,
            ..journal::Config::new(dir.identity().journal_id())
        };
        let (journal, recovered) = Journal::open(dir.disk(), JOURNAL, journal_config)
            .map_err(|error| Fault::JournalOpen { what: chain(&error) })?;
        tell(&recovered);
        let engine_config =
            engine::Config { cache_bytes: config.cache_bytes, ..engine::Config::default() };
        let (engine, worker) = open_engine(config.engine, dir.disk(), engine_config)?;
        drop(opening);
        Ok(Self { journal, recovered, engine, worker })
    }
}

/// The engine keeps each of its files open, one for 8 MiB, and each connection is one more: the
/// system's usual limit would be met at a few gigabytes.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit on open files could not be raised");
    }
}

fn tell(recovered: &Recovered) {
    // What is cut off behind damage may well have been acknowledged: then only the damage is told.
    if recovered.torn_tail_bytes > 0 && recovered.damage.is_none() {
        info!(
            bytes = recovered.torn_tail_bytes,
            "the journal's torn tail was cut off: a write that was never acknowledged"
        );
    }
    if let Some(damage) = &recovered.damage {
        warn!(
            %damage,
            "the journal is damaged; this node neither votes nor leads until the others have repaired it"
        );
    }
}

/// Says now and then that the start goes on, until it is dropped.
struct Opening {
    _done: mpsc::Sender<()>,
}

impl Opening {
    fn begin() -> Result<Self, Fault> {
        let (done, waiting) = mpsc::channel::<()>();
        threads::start("opening", move || {
            let mut seconds = 0;
            while waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                seconds += PATIENCE.as_secs();
                info!(seconds, "still reading the journal and opening the storage engine");
            }
        })?;
        Ok(Self { _done: done })
    }
}
