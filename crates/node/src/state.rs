//! A group's replicated state machine: revisions, rows, the memory of requests.
//!
//! What a command does depends on this state and the command alone. Rows go to the engine as they are
//! made; what is small and changes with every command (the counters, the memory of requests)
//! stays in here, and is written beside the rows just before a flush, which takes all of it or nothing.
//!
//! # Invariants
//!
//! * `revision` never decreases, and grows by one with each command that changes something, but for
//!   a restore's last chunk.
//! * `compacted <= revision`.

use std::collections::BTreeSet;

use bytes::Bytes;
use consensus::Position;
use engine::{Batch, Cell, Engine, ReadError, Row};
use wire::{
    Body, Command, DecodeError, GroupId, Reader, Refusal, RestoreChunk, Revision, SpaceId,
    TxnResult, Writer,
};

use crate::Config;
use crate::memory::{Memory, Recall, Remembered};
use crate::txn::Scope;

const META_COUNTERS: &[u8] = b"counters";
const META_CLIENT: u8 = b'c';

/// What a command came to: the same on every replica.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The answer for whoever waits.
    pub(crate) answer: Result<TxnResult, Refusal>,
    /// The keys that changed, for watches.
    pub(crate) changed: Vec<Bytes>,
}

/// The state machine.
pub(crate) struct State {
    group: GroupId,
    space: SpaceId,
    /// Newest revision.
    pub(crate) revision: Revision,
    /// Oldest readable revision.
    pub(crate) compacted: Revision,
    restore: Option<Restore>,
    memory: Memory,
    #[cfg(feature = "planted")]
    planted: Option<crate::config::Planted>,
}

/// A restore that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Restore {
    id: u128,
    next: u64,
}

/// The state's meta entries make no sense.
pub(crate) enum LoadError {
    Read(ReadError),
    Format(DecodeError),
}

impl State {
    /// Reads back what the engine holds of `group`.
    pub(crate) fn load(
        engine: &dyn Engine,
        group: GroupId,
        space: SpaceId,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let meta = engine.meta(group).map_err(LoadError::Read)?;
        let mut counters = Counters::default();
        let mut remembered = Vec::new();
        for (key, value) in meta {
            match key.split_first() {
                _ if key == META_COUNTERS => {
                    counters = Counters::decode(value).map_err(LoadError::Format)?;
                }
                Some((&META_CLIENT, id)) => {
                    let id: [u8; 16] = id.try_into().map_err(|_| {
                        LoadError::Format(DecodeError { what: "client key", at: key.len() })
                    })?;
                    remembered.push((u128::from_be_bytes(id), value));
                }
                _ => return Err(LoadError::Format(DecodeError { what: "meta key", at: 0 })),
            }
        }
        let clients = config.tuning.remembered_clients;
        let memory = Memory::restore(clients, counters.forgotten, remembered.into_iter())
            .map_err(LoadError::Format)?;
        let Counters { revision, compacted, restore, forgotten: _ } = counters;
        Ok(Self {
            group,
            space,
            revision,
            compacted,
            restore,
            memory,
            #[cfg(feature = "planted")]
            planted: config.planted,
        })
    }

    /// A snapshot that carries the rows but not the memory of requests: a mistake on purpose.
    #[cfg(feature = "planted")]
    pub(crate) fn lose_requests(&mut self) {
        if self.planted == Some(crate::config::Planted::SnapshotLosesRequests) {
            self.memory = Memory::new(usize::MAX);
        }
    }

    /// Applies one command, found in the log at `position`.
    pub(crate) fn apply(
        &mut self,
        engine: &mut dyn Engine,
        position: Position,
        bytes: &Bytes,
    ) -> Result<Applied, ReadError> {
        // Checked when it was proposed; but a log may hold what another release proposed.
        let Ok(command) = Command::decode(bytes.clone()) else {
            self.write(engine, position, Vec::new());
            let what = "this release does not know the command".to_owned();
            return Ok(Applied::refused(Refusal::Invalid { what }));
        };
        let applied = match self.recall(&command) {
            Recall::New => self.perform(engine, position, &command)?,
            Recall::Done(remembered) => {
                self.write(engine, position, Vec::new());
                Applied::answered(
                    remembered
                        .result()
                        .ok_or(Refusal::AnswerForgotten { revision: remembered.revision }),
                )
            }
            Recall::Forgotten => {
                self.write(engine, position, Vec::new());
                Applied::refused(Refusal::Expired { id: command.id.to_string() })
            }
        };
        Ok(applied)
    }

    /// An entry of consensus' own: only the position moves.
    pub(crate) fn skip(&self, engine: &mut dyn Engine, position: Position) {
        self.write(engine, position, Vec::new());
    }

    fn perform(
        &mut self,
        engine: &mut dyn Engine,
        position: Position,
        command: &Command,
    ) -> Result<Applied, ReadError> {
        let before = self.revision;
        let (answer, rows) = match &command.body {
            Body::Txn(_) if self.restore.is_some() => {
                let why = "a backup is being restored into this store".to_owned();
                (Err(Refusal::Unavailable { why }), Vec::new())
            }
            Body::Txn(txn) => {
                let view = engine.view();
                let (result, rows) = Scope::new(&*view, self.space, self.revision).run(txn)?;
                self.revision = result.revision;
                (Ok(result), rows)
            }
            Body::Compact { before } => (self.compact(*before), Vec::new()),
            Body::Restore(chunk) => self.restore(chunk),
        };
        assert!(self.revision >= before, "the revision went back");
        assert!(self.compacted <= self.revision, "compacted beyond the newest revision");
        if let Ok(result) = &answer {
            self.memory.remember(command, position.index.0, Remembered::of(result));
        }
        let changed = rows.iter().map(|row| row.key.clone()).collect();
        self.write(engine, position, rows);
        Ok(Applied { answer, changed })
    }

    fn write(&self, engine: &mut dyn Engine, applied: Position, rows: Vec<Row>) {
        engine.write(Batch { group: self.group, applied, rows, meta: Vec::new() });
    }

    fn compact(&mut self, before: Revision) -> Result<TxnResult, Refusal> {
        if before > self.revision {
            return Err(Refusal::Future { asked: before, current: self.revision });
        }
        if before <= self.compacted {
            return Err(Refusal::Compacted { asked: before, compacted: self.compacted });
        }
        self.compacted = before;
        Ok(self.result())
    }

    fn result(&self) -> TxnResult {
        TxnResult { revision: self.revision, succeeded: true, results: Vec::new() }
    }

    /// Items keep their revisions. They stay invisible until the last chunk moves the store's revision.
    fn restore(&mut self, chunk: &RestoreChunk) -> (Result<TxnResult, Refusal>, Vec<Row>) {
        let expected = match self.restore {
            Some(restore) if restore.id == chunk.restore => restore.next,
            Some(_) | None => 0,
        };
        if self.revision != Revision(0) {
            return (Err(Refusal::NotEmpty { revision: self.revision }), Vec::new());
        }
        if self.restore.is_some_and(|restore| restore.id != chunk.restore) {
            let what = "another restore was begun here and not finished; use a new cluster".into();
            return (Err(Refusal::Invalid { what }), Vec::new());
        }
        if chunk.sequence != expected {
            let what = format!("chunk {} of the restore came, {expected} is next", chunk.sequence);
            return (Err(Refusal::Invalid { what }), Vec::new());
        }
        if chunk.last {
            self.restore = None;
            self.revision = chunk.revision;
            self.compacted = chunk.revision;
        } else {
            self.restore = Some(Restore { id: chunk.restore, next: expected + 1 });
        }
        (Ok(self.result()), self.restored_rows(chunk))
    }

    fn restored_rows(&self, chunk: &RestoreChunk) -> Vec<Row> {
        let mut seen = BTreeSet::new();
        let items = chunk.items.iter().filter(|item| seen.insert(item.key.clone()));
        items
            .map(|item| Row {
                space: self.space,
                key: item.key.clone(),
                revision: item.modified,
                cell: Some(Cell {
                    created: item.created,
                    version: item.version,
                    lease: item.lease,
                    value: item.value.clone(),
                }),
            })
            .collect()
    }

    /// Whether a command was done already, before it enters the log a second time.
    pub(crate) fn recall(&self, command: &Command) -> Recall {
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::ForgetRequests) {
            return Recall::New;
        }
        self.memory.recall(command)
    }

    /// Writes down what is small, so that the flush which follows holds the whole state.
    pub(crate) fn checkpoint(&mut self, engine: &mut dyn Engine) {
        let counters = Counters {
            revision: self.revision,
            compacted: self.compacted,
            forgotten: self.memory.forgotten(),
            restore: self.restore,
        };
        let mut meta = vec![(Bytes::from_static(META_COUNTERS), Some(counters.encode()))];
        for (id, bytes) in self.memory.take_changes() {
            let mut key = vec![META_CLIENT];
            key.extend_from_slice(&id.to_be_bytes());
            meta.push((Bytes::from(key), bytes));
        }
        let applied = engine.applied(self.group);
        engine.write(Batch { group: self.group, applied, rows: Vec::new(), meta });
    }

    /// Whether a read at `revision` finds its versions.
    pub(crate) fn readable(&self, revision: Revision) -> Result<(), Refusal> {
        if revision < self.compacted {
            return Err(Refusal::Compacted { asked: revision, compacted: self.compacted });
        }
        if revision > self.revision {
            return Err(Refusal::Future { asked: revision, current: self.revision });
        }
        Ok(())
    }

    /// Everything but the rows, in a canonical form: equal on replicas that have applied the same.
    pub(crate) fn digest(&self, out: &mut Writer) {
        out.varint(self.revision.0).varint(self.compacted.0);
        self.memory.digest(out);
    }
}

impl Applied {
    fn refused(refusal: Refusal) -> Self {
        Self::answered(Err(refusal))
    }

    fn answered(answer: Result<TxnResult, Refusal>) -> Self {
        Self { answer, changed: Vec::new() }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counters {
    revision: Revision,
    compacted: Revision,
    forgotten: u64,
    restore: Option<Restore>,
}

impl Counters {
    fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u8(1).varint(self.revision.0).varint(self.compacted.0).varint(self.forgotten).option(
            self.restore,
            |out, restore| {
                out.u128(restore.id).varint(restore.next);
            },
        );
        out.finish()
    }

    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        if input.u8("state version")? != 1 {
            return Err(input.malformed("state version"));
        }
        let counters = Self {
            revision: Revision(input.varint("revision")?),
            compacted: Revision(input.varint("compacted")?),
            forgotten: input.varint("forgotten")?,
            restore: input.option("restore", |input| {
                let id = input.u128("restore id")?;
                Ok(Restore { id, next: input.varint("restore next")? })
            })?,
        };
        input.end("counters")?;
        Ok(counters)
    }
}
