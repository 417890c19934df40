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
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Membership, Position};
use engine::{Batch, Cell, Engine, ReadError, Row};
use wire::{
    Body, Command, DecodeError, Expiry, GroupId, Item, Members, Reader, Refusal, RestoreChunk,
    Revision, SpaceId, Txn, TxnResult, Writer,
};

use crate::Config;
use crate::auth::Auth;
use crate::leases::Leases;
use crate::members::members_of;
use crate::memory::{Memory, Recall, Remembered};
use crate::peer::{decode_membership, encode_membership};
use crate::txn::{Done, Scope};

const META_COUNTERS: &[u8] = b"counters";
const META_MEMBERS: &[u8] = b"members";
const META_CLIENT: u8 = b'c';

/// What a command came to: the same on every replica.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The answer for whoever waits.
    pub(crate) answer: Result<TxnResult, Refusal>,
    /// The keys that changed, for watches.
    pub(crate) changed: Vec<Bytes>,
    /// The leases that were granted, ended, or checkpointed.
    pub(crate) leases: Vec<u64>,
    /// Users or roles changed, or whether they matter.
    pub(crate) auth: bool,
    /// A restore is complete: revisions came into being that no watch can read.
    pub(crate) restored: bool,
    /// The scrub that begins here.
    pub(crate) scrub: Option<u64>,
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
    /// Leases, and what hangs on them.
    pub(crate) leases: Leases,
    /// Users, and what they may do.
    pub(crate) auth: Auth,
    /// Who belongs to the group, since that changed for the first time.
    pub(crate) membership: Option<Arc<Membership>>,
    #[cfg(feature = "planted")]
    planted: Option<crate::config::Planted>,
}

/// A restore that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Restore {
    id: u128,
    /// The chunk that comes next.
    next: u64,
    revision: Revision,
    /// Keys come in order, over all chunks: so none comes twice.
    last_key: Bytes,
}

/// The revision of a store that nobody has written to: the same as etcd's, so that whoever comes from
/// there finds its revisions, and tokens made of them, where it expects them.
const FIRST_REVISION: Revision = Revision(1);

/// A command's answer, and the rows that it writes.
type Change = (Result<TxnResult, Refusal>, Vec<Row>);

/// The highest revision and version that a restore may bring, so that there is room to count on.
const RESTORE_LIMIT: u64 = u64::MAX / 2;

/// The highest revision that is believed when a state is read back. A restore begins half way.
const MOST_REVISION: u64 = u64::MAX / 4 * 3;

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
        let mut leases = Vec::new();
        let mut auth = Vec::new();
        let mut membership = None;
        for (key, value) in meta {
            match key.split_first() {
                _ if key == META_COUNTERS => {
                    counters = Counters::decode(value).map_err(LoadError::Format)?;
                }
                _ if key == META_MEMBERS => {
                    let mut input = Reader::new(value);
                    let read = decode_membership(&mut input).map_err(LoadError::Format)?;
                    input.end("membership").map_err(LoadError::Format)?;
                    members_of(&read).map_err(LoadError::Format)?;
                    membership = Some(read);
                }
                _ if Leases::owns(&key) => leases.push((key, value)),
                _ if Auth::owns(&key) => auth.push((key, value)),
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
        let applied = engine.applied(group).index.0;
        let forgotten = counters.forgotten;
        let memory = Memory::restore(clients, (forgotten, applied), remembered.into_iter())
            .map_err(LoadError::Format)?;
        let leases = Leases::restore(applied, &leases).map_err(LoadError::Format)?;
        let auth = Auth::restore(&auth).map_err(LoadError::Format)?;
        #[cfg(feature = "planted")]
        let auth = auth.with_planted(config.planted);
        let Counters { revision, compacted, restore, forgotten: _ } = counters;
        Ok(Self {
            group,
            space,
            revision,
            compacted,
            restore,
            memory,
            leases,
            auth,
            membership,
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

    /// The same for leases.
    #[cfg(feature = "planted")]
    pub(crate) fn lose_leases(&mut self) {
        if self.planted == Some(crate::config::Planted::SnapshotLosesLeases) {
            self.leases = Leases::default();
        }
    }

    /// The same for who belongs to the cluster.
    #[cfg(feature = "planted")]
    pub(crate) fn lose_members(&mut self) {
        if self.planted == Some(crate::config::Planted::SnapshotLosesMembers) {
            self.membership = None;
        }
    }

    /// The same for users and roles: what was before `self` has its own still.
    #[cfg(feature = "planted")]
    pub(crate) fn keep_rights(&mut self, before: Auth) {
        if self.planted == Some(crate::config::Planted::SnapshotKeepsOldRights) {
            self.auth = before;
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
        let command = match understood(bytes) {
            Ok(command) => command,
            Err(refusal) => {
                self.write(engine, position, Vec::new());
                return Ok(Applied::refused(refusal));
            }
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

    /// Another membership stands in the log at `position`.
    pub(crate) fn set_membership(
        &mut self,
        engine: &mut dyn Engine,
        position: Position,
        membership: &Arc<Membership>,
    ) {
        self.membership = Some(Arc::clone(membership));
        self.write(engine, position, Vec::new());
    }

    /// Who belongs to the cluster, if that has ever changed.
    pub(crate) fn members(&self) -> Option<Members> {
        self.membership.as_ref().and_then(|membership| members_of(membership).ok())
    }

    fn perform(
        &mut self,
        engine: &mut dyn Engine,
        position: Position,
        command: &Command,
    ) -> Result<Applied, ReadError> {
        let before = self.revision;
        // It was judged when it was taken in; but who may what may have changed in the log since.
        let denial = self.auth.judge(command, &self.leases).err();
        #[cfg(feature = "planted")]
        let denial = match self.planted {
            Some(crate::config::Planted::JudgedBeforeTheLog) => None,
            _ => denial,
        };
        let (answer, rows) = match denial {
            Some(denial) => (Err(denial.into()), Vec::new()),
            None => self.perform_body(engine, position, command)?,
        };
        assert!(self.revision >= before, "the revision went back");
        assert!(self.compacted <= self.revision, "compacted beyond the newest revision");
        if let Ok(result) = &answer {
            self.memory.remember(command, position.index.0, Remembered::of(result));
        }
        let leases = if answer.is_ok() { leases_of(&command.body) } else { Vec::new() };
        let changed = rows.iter().map(|row| row.key.clone()).collect();
        let ends_restore = matches!(&command.body, Body::Restore(chunk) if chunk.last);
        let restored = ends_restore && answer.is_ok();
        let auth = matches!(command.body, Body::Auth(_)) && answer.is_ok();
        let scrub = match command.body {
            Body::Scrub { id } if answer.is_ok() => Some(id),
            _ => None,
        };
        self.write(engine, position, rows);
        Ok(Applied { answer, changed, leases, auth, restored, scrub })
    }

    /// Does what a command wants, which its principal may want.
    fn perform_body(
        &mut self,
        engine: &mut dyn Engine,
        position: Position,
        command: &Command,
    ) -> Result<Change, ReadError> {
        let index = position.index.0;
        Ok(match &command.body {
            Body::Restore(chunk) => self.restore(chunk),
            Body::Compact { before } => (self.compact(*before), Vec::new()),
            Body::Txn(_) | Body::Grant { .. } if self.restore.is_some() => {
                let why = "a backup is being restored into this store".to_owned();
                (Err(Refusal::Unavailable { why }), Vec::new())
            }
            Body::Txn(txn) => self.transact(engine, txn)?,
            Body::Grant { lease, ttl_ms } => (self.grant(*lease, *ttl_ms, index), Vec::new()),
            Body::Revoke { lease } if !self.leases.has(*lease) => {
                (Err(Refusal::LeaseNotFound { lease: *lease }), Vec::new())
            }
            Body::Revoke { lease } => self.end_leases(&[*lease]),
            Body::Expire(_) | Body::Checkpoint { .. } if command.id.client != 0 => {
                let what = "only the leader itself counts how long leases have left".to_owned();
                (Err(Refusal::Invalid { what }), Vec::new())
            }
            Body::Expire(expiry) => self.expire(position, expiry),
            Body::Checkpoint { epoch, leases } => {
                if *epoch == position.epoch.round {
                    for left in leases {
                        self.leases.set_remaining(left.granted, left.remaining_ms);
                    }
                }
                (Ok(self.result()), Vec::new())
            }
            Body::Auth(change) => {
                let done = self.auth.change(change).map(|()| self.result());
                (done.map_err(Refusal::from), Vec::new())
            }
            Body::Scrub { .. } => (Ok(self.result()), Vec::new()),
        })
    }

    fn transact(&mut self, engine: &dyn Engine, txn: &Txn) -> Result<Change, ReadError> {
        let view = engine.view();
        let scope = Scope::new(&*view, &self.leases, self.space, self.revision);
        #[cfg(feature = "planted")]
        let scope = scope.with_planted(self.planted);
        let outcome = scope.run(txn)?;
        Ok(match outcome {
            Err(refusal) => (Err(refusal), Vec::new()),
            Ok(Done { result, rows, moves }) => {
                self.revision = result.revision;
                #[cfg(feature = "planted")]
                let moves = match self.planted {
                    Some(crate::config::Planted::KeyStaysOnLease) => {
                        moves.into_iter().filter(|moved| moved.from == 0).collect()
                    }
                    _ => moves,
                };
                for moved in moves {
                    self.leases.move_key(&moved.key, moved.from, moved.to);
                }
                (Ok(result), rows)
            }
        })
    }

    fn grant(&mut self, lease: u64, ttl_ms: u64, index: u64) -> Result<TxnResult, Refusal> {
        if self.leases.has(lease) {
            return Err(Refusal::LeaseExists { lease });
        }
        self.leases.grant(lease, ttl_ms, index);
        Ok(self.result())
    }

    /// Leases whose time is over, if the leader that says so led until this very entry, and of each
    /// only the life that it speaks of.
    fn expire(&mut self, position: Position, expiry: &Expiry) -> Change {
        #[cfg(feature = "planted")]
        let believed = self.planted == Some(crate::config::Planted::StaleExpiryBelieved);
        #[cfg(not(feature = "planted"))]
        let believed = false;
        if expiry.epoch != position.epoch.round && !believed {
            return (Ok(self.result()), Vec::new());
        }
        let lives = expiry.leases.iter().filter(|granted| self.leases.life(**granted).is_some());
        let ended: Vec<u64> = lives.map(|granted| granted.lease).collect();
        self.end_leases(&ended)
    }

    /// Ends leases, and removes all that hangs on them, in one revision.
    fn end_leases(&mut self, ended: &[u64]) -> Change {
        let mut keys = BTreeSet::new();
        for lease in ended {
            keys.append(&mut self.leases.end(*lease));
        }
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::ExpiryLeavesKeys) {
            keys.pop_last();
        }
        if !keys.is_empty() {
            self.revision = self.revision.next();
        }
        let (space, revision) = (self.space, self.revision);
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::ExpiryNotAtomic) {
            let first = revision.0;
            self.revision = Revision(first + (keys.len() as u64).saturating_sub(1));
            let rows = keys.into_iter().zip(first..);
            let row = |(key, at)| Row { space, key, revision: Revision(at), cell: None };
            return (Ok(self.result()), rows.map(row).collect());
        }
        let rows = keys.into_iter().map(|key| Row { space, key, revision, cell: None }).collect();
        (Ok(self.result()), rows)
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
        let mut restore = match self.fitting_restore(chunk) {
            Ok(restore) => restore,
            Err(refusal) => return (Err(refusal), Vec::new()),
        };
        if chunk.last {
            self.restore = None;
            self.revision = chunk.revision.max(self.revision);
            self.compacted = self.revision;
        } else {
            restore.next += 1;
            if let Some(item) = chunk.items.last() {
                restore.last_key = Bytes::copy_from_slice(&item.key);
            }
            self.restore = Some(restore);
        }
        (Ok(self.result()), self.restored_rows(chunk))
    }

    /// The restore that `chunk` goes on with, or begins.
    fn fitting_restore(&self, chunk: &RestoreChunk) -> Result<Restore, Refusal> {
        let invalid = |what: String| Err(Refusal::Invalid { what });
        if self.revision != FIRST_REVISION {
            return Err(Refusal::NotEmpty { revision: self.revision });
        }
        let RestoreChunk { restore: id, sequence, revision, .. } = *chunk;
        let begun = Restore { id, next: 0, revision, last_key: Bytes::new() };
        let restore = self.restore.clone().unwrap_or(begun);
        if restore.id != id {
            return invalid(
                "another restore was begun here and not finished; use a new cluster".into(),
            );
        }
        if restore.next != sequence {
            let next = restore.next;
            return invalid(format!("chunk {sequence} of the restore came, {next} is next"));
        }
        if restore.revision != revision {
            let first = restore.revision;
            return invalid(format!("the restore's revision was {first} and is now {revision}"));
        }
        let mut last_key = &restore.last_key;
        for item in &chunk.items {
            if item.key <= *last_key {
                return invalid("the keys of the restore are not in order".into());
            }
            if item.version > RESTORE_LIMIT {
                return invalid("a version in the restore leaves no room to count on".into());
            }
            last_key = &item.key;
        }
        if revision.0 > RESTORE_LIMIT {
            return invalid("the restore's revision leaves no room to count on".into());
        }
        Ok(restore)
    }

    fn restored_rows(&self, chunk: &RestoreChunk) -> Vec<Row> {
        let row = |item: &Item| Row {
            space: self.space,
            key: item.key.clone(),
            revision: item.modified,
            cell: Some(Cell {
                created: item.created,
                version: item.version,
                // A backup holds no leases, and what hangs on one that is not there would be stuck.
                lease: 0,
                value: item.value.clone(),
            }),
        };
        chunk.items.iter().map(row).collect()
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
            restore: self.restore.clone(),
        };
        let mut meta = vec![(Bytes::from_static(META_COUNTERS), Some(counters.encode()))];
        if let Some(membership) = &self.membership {
            let mut out = Writer::new();
            encode_membership(membership, &mut out);
            meta.push((Bytes::from_static(META_MEMBERS), Some(out.finish())));
        }
        for (id, bytes) in self.memory.take_changes() {
            let mut key = vec![META_CLIENT];
            key.extend_from_slice(&id.to_be_bytes());
            meta.push((Bytes::from(key), bytes));
        }
        meta.append(&mut self.leases.take_changes());
        meta.append(&mut self.auth.take_changes());
        let applied = engine.applied(self.group);
        engine.write(Batch { group: self.group, applied, rows: Vec::new(), meta });
        engine.compact(self.space, self.compacted);
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
        self.leases.digest(out);
        self.auth.digest(out);
        out.option(self.membership.as_ref(), |out, membership| encode_membership(membership, out));
    }
}

/// A command that can be done. How long a value may be is each node's own to say, when it takes the
/// command in: here all replicas must judge alike.
fn understood(bytes: &Bytes) -> Result<Command, Refusal> {
    let command = Command::decode(bytes.clone()).map_err(|_| Refusal::Invalid {
        what: "this release does not know the command".to_owned(),
    })?;
    command.check(usize::MAX)?;
    Ok(command)
}

/// The leases that a command may have granted, ended or checkpointed.
fn leases_of(body: &Body) -> Vec<u64> {
    match body {
        Body::Grant { lease, .. } | Body::Revoke { lease } => vec![*lease],
        Body::Expire(expiry) => expiry.leases.iter().map(|granted| granted.lease).collect(),
        Body::Checkpoint { leases, .. } => leases.iter().map(|left| left.granted.lease).collect(),
        Body::Txn(_)
        | Body::Compact { .. }
        | Body::Restore(_)
        | Body::Auth(_)
        | Body::Scrub { .. } => Vec::new(),
    }
}

impl Applied {
    fn refused(refusal: Refusal) -> Self {
        Self::answered(Err(refusal))
    }

    fn answered(answer: Result<TxnResult, Refusal>) -> Self {
        let (changed, leases) = (Vec::new(), Vec::new());
        Self { answer, changed, leases, auth: false, restored: false, scrub: None }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Counters {
    revision: Revision,
    compacted: Revision,
    forgotten: u64,
    restore: Option<Restore>,
}

impl Default for Counters {
    fn default() -> Self {
        let (revision, compacted) = (FIRST_REVISION, Revision(0));
        Self { revision, compacted, forgotten: 0, restore: None }
    }
}

impl Counters {
    fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u8(1).varint(self.revision.0).varint(self.compacted.0).varint(self.forgotten).option(
            self.restore.as_ref(),
            |out, restore| {
                out.u128(restore.id).varint(restore.next).varint(restore.revision.0);
                out.bytes(&restore.last_key);
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
                Ok(Restore {
                    id: input.u128("restore id")?,
                    next: input.varint("restore next")?,
                    revision: Revision(input.varint("restore revision")?),
                    last_key: input.bytes("restore last key")?,
                })
            })?,
        };
        input.end("counters")?;
        if counters.are_possible() {
            return Ok(counters);
        }
        Err(DecodeError { what: "counters, for they contradict one another", at: 0 })
    }

    /// Whether they are in order, with room to count on.
    fn are_possible(&self) -> bool {
        let restore = self.restore.as_ref();
        self.compacted <= self.revision
            && self.revision.0 <= MOST_REVISION
            && restore.is_none_or(|restore| {
                restore.next <= MOST_REVISION && restore.revision.0 <= RESTORE_LIMIT
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Op, RequestId, Txn};

    #[test]
    fn counters_that_contradict_one_another_are_refused() {
        let restore =
            Restore { id: 7, next: 1, revision: Revision(9), last_key: Bytes::from_static(b"k") };
        let sound = Counters {
            revision: Revision(5),
            compacted: Revision(2),
            forgotten: 3,
            restore: Some(restore.clone()),
        };
        assert_eq!(Counters::decode(sound.encode()).as_ref(), Ok(&sound));
        let late = |revision, next| {
            Some(Restore { revision: Revision(revision), next, ..restore.clone() })
        };
        for broken in [
            Counters { compacted: Revision(6), restore: None, ..sound },
            Counters { revision: Revision(u64::MAX), restore: None, ..sound },
            Counters { restore: late(u64::MAX, 1), ..sound },
            Counters { restore: late(9, u64::MAX), ..sound },
        ] {
            assert!(Counters::decode(broken.encode()).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_logged_command_that_can_not_be_done_is_refused_by_every_replica() {
        let command = |key: &'static str| {
            let value = Bytes::from(vec![0; 1 << 16]);
            let op = Op::put(key, value);
            let id = RequestId { client: 1, number: 1 };
            let body = Body::Txn(Txn::always(vec![op]));
            Command { id, done_below: 0, since: 0, principal: None, body }.encode()
        };
        assert!(understood(&command("k")).is_ok(), "a long value is for the proposer to refuse");
        assert!(matches!(understood(&command("")), Err(Refusal::Invalid { .. })));
        let garbage = Bytes::from_static(b"of another release");
        assert!(matches!(understood(&garbage), Err(Refusal::Invalid { .. })));
    }
}
