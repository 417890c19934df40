//! A model of the journal, a generator of batches, and the run that compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Entry, Epoch, HardState, LogIndex, Membership, Payload, Position, ReplicaId};
use disk::mem::MemDisk;
use journal::{Config, Journal, LogId, Record, Recovered, RecoveredLog};

pub(crate) const DIR: &str = "journal";
pub(crate) const ID: u64 = 0x05EE_D0FC_A14A;

pub(crate) type Logs = BTreeMap<LogId, RecoveredLog>;

/// Small segments, so that everything that happens between segments happens often.
pub(crate) fn small() -> Config {
    Config { segment_bytes: 4096, max_record_bytes: 1024, ..Config::new(ID) }
}

pub(crate) fn open(disk: &MemDisk) -> (Journal<MemDisk>, Recovered) {
    open_with(disk, small())
}

pub(crate) fn open_with(disk: &MemDisk, config: Config) -> (Journal<MemDisk>, Recovered) {
    Journal::open(disk.clone(), DIR, config).unwrap()
}

pub(crate) fn at(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round, proposer: 0 } }
}

pub(crate) fn entry(log: u64, index: u64, round: u64, bytes: usize) -> Record {
    let fill = u8::try_from((index * 7 + round) % 251).unwrap();
    let payload = Payload::Command(Bytes::from(vec![fill; bytes]));
    Record::Entry { log: LogId(log), entry: Entry { position: at(index, round), payload } }
}

pub(crate) fn base(log: u64, index: u64, round: u64) -> Record {
    Record::Base { log: LogId(log), base: at(index, round) }
}

pub(crate) fn promise(log: u64, round: u64, vote: Option<u64>) -> Record {
    let epoch = Epoch { round, proposer: 0 };
    let hard_state = HardState { epoch, vote: vote.map(ReplicaId) };
    Record::HardState { log: LogId(log), hard_state }
}

/// What a batch does, said as plainly as possible.
pub(crate) fn apply(logs: &mut Logs, batch: &[Record]) {
    for record in batch {
        let log = logs.entry(record.log()).or_default();
        match record {
            Record::HardState { hard_state, .. } => log.hard_state = *hard_state,
            Record::Entry { entry, .. } => {
                log.entries.retain(|held| held.position.index < entry.position.index);
                log.entries.push(entry.clone());
            }
            Record::Base { base, .. } => {
                let held = |entry: &Entry| entry.position == *base;
                if log.base == *base || log.entries.iter().any(held) {
                    log.entries.retain(|entry| entry.position.index > base.index);
                } else {
                    log.entries.clear();
                }
                log.base = *base;
            }
            Record::Membership { membership, .. } => log.membership = Some(membership.clone()),
            Record::Forget { log } => {
                logs.remove(log);
            }
        }
    }
}

/// Random batches that follow one another.
pub(crate) struct Generator {
    state: u64,
    logs: Logs,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, logs: Logs::new() }
    }

    pub(crate) fn from_logs(seed: u64, logs: Logs) -> Self {
        Self { logs, ..Self::new(seed) }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    pub(crate) fn batch(&mut self) -> Vec<Record> {
        let records = match self.below(12) {
            0 => 12 + self.below(20),
            1..5 => 1,
            _ => 1 + self.below(5),
        };
        (0..records).map(|_| self.record()).collect()
    }

    fn membership(&mut self) -> Membership {
        let mut some = |most: u64| -> BTreeSet<ReplicaId> {
            (0..self.below(most)).map(|_| ReplicaId(self.below(9))).collect()
        };
        let (voters, outgoing, learners, witnesses) = (some(4), some(3), some(3), some(3));
        let context = Bytes::from(vec![7; usize::try_from(self.below(40)).unwrap()]);
        Membership { voters, outgoing, learners, witnesses, context }
    }

    fn record(&mut self) -> Record {
        let log = LogId(1 + self.below(3));
        let state = self.logs.entry(log).or_default().clone();
        let last = state.entries.last().map_or(state.base, |entry| entry.position);
        let round = state.hard_state.epoch.round;
        let record = match self.below(20) {
            0..2 => {
                let vote = (self.below(2) == 0).then(|| self.below(5));
                promise(log.0, round + self.below(2), vote)
            }
            2..6 => {
                let index = state.base.index.0 + self.below(last.index.0 - state.base.index.0 + 1);
                let held = state.entries.iter().find(|entry| entry.position.index.0 == index);
                Record::Base { log, base: held.map_or(state.base, |entry| entry.position) }
            }
            6 if self.below(3) == 0 => base(log.0, last.index.0 + self.below(3), round + 1),
            7 if self.below(10) == 0 => Record::Forget { log },
            7 if self.below(3) == 0 => {
                let membership = Arc::new(self.membership());
                Record::Membership { log, membership }
            }
            9 if self.below(3) == 0 => {
                let position = at(last.index.0 + 1, round);
                let payload = Payload::Membership(Arc::new(self.membership()));
                Record::Entry { log, entry: Entry { position, payload } }
            }
            8 if last.index > state.base.index => {
                let back = self.below(last.index.0 - state.base.index.0);
                entry(log.0, last.index.0 - back, round + 1, 10)
            }
            _ => {
                let bytes = match self.below(10) {
                    0 => 900,
                    _ => usize::try_from(self.below(120)).unwrap(),
                };
                entry(log.0, last.index.0 + 1, round, bytes)
            }
        };
        apply(&mut self.logs, std::slice::from_ref(&record));
        record
    }
}

/// The states through which a run of batches goes: before the first, after the first, …
pub(crate) fn states(batches: &[Vec<Record>]) -> Vec<Logs> {
    let mut states = vec![Logs::new()];
    for batch in batches {
        let mut logs = states.last().unwrap().clone();
        apply(&mut logs, batch);
        states.push(logs);
    }
    states
}

/// How far a run came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// So many batches were acknowledged.
    pub(crate) synced: usize,
    /// So many were begun.
    pub(crate) begun: usize,
}

/// Opens, appends, syncs (after every batch, or after some), until something fails or all is done.
pub(crate) fn run(disk: &MemDisk, config: Config, batches: &[Vec<Record>]) -> Progress {
    let mut progress = Progress::default();
    let Ok((mut journal, _)) = Journal::open(disk.clone(), DIR, config) else {
        return progress;
    };
    for (number, batch) in batches.iter().enumerate() {
        progress.begun = number + 1;
        if journal.append(batch).is_err() {
            return progress;
        }
        if number % 3 == 1 {
            continue;
        }
        if journal.sync().is_err() {
            return progress;
        }
        progress.synced = number + 1;
        if number % 4 == 0 {
            journal.seal();
        }
        if number % 5 == 0 && journal.prepare().is_err() {
            return progress;
        }
    }
    if journal.close().is_ok() {
        progress.synced = batches.len();
    }
    progress
}

/// Everything acknowledged is there, and nothing by halves. Returns how many batches count.
pub(crate) fn check(recovered: &Recovered, states: &[Logs], progress: Progress) -> usize {
    assert_eq!(recovered.damage, None, "a crash alone is no damage");
    let candidates = progress.synced..=progress.begun;
    let found = candidates.rev().find(|count| states[*count] == recovered.logs);
    found.unwrap_or_else(|| {
        panic!("recovered what never was, after {progress:?}:\n{:#?}", recovered.logs)
    })
}
