//! The memory of requests: what makes a retried command harmless.
//!
//! A part of the replicated state, so it depends on the log alone. Each client has its unacknowledged
//! answers, and a floor below which it has acknowledged all. Memory is bounded: when there are too
//! many clients, the one that was silent longest (in log order) is forgotten whole, and
//! `forgotten` moves up to its last index. A command that is not remembered is refused if it was
//! made before `forgotten`, for it may have been done and forgotten; so a client that is out of
//! memory gets "unknown", never a second execution.
//!
//! # Invariants
//!
//! * A command that was applied is remembered, or lies below its client's floor, or bears a `since`
//!   below `forgotten`.
//! * `by_age` holds exactly the clients, each under its last index.
//!
//! # Reference
//!
//! Ongaro thesis §6.3; Lee et al., *Implementing Linearizability at Large Scale and Low Latency*
//! (RIFL, SOSP 2015), for the floor. Sessions there must be opened; `since` makes that unnecessary.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{Command, DecodeError, Reader, Revision, TxnResult, Writer};

/// Answers kept for one client. A client with more commands in flight loses the oldest ones' answers.
const ANSWERS_PER_CLIENT: usize = 4096;

/// The longest encoded answer that is kept, in bytes; of a longer one only the revision is.
const ANSWER_LIMIT_BYTES: usize = 4096;

/// What is known about a command when it comes out of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    /// Never seen: do it.
    New,
    /// Done before, with this answer.
    Done(Remembered),
    /// Perhaps done before.
    Forgotten,
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// The revision after it.
    pub(crate) revision: Revision,
    /// The encoded answer, unless it was too long.
    answer: Option<Bytes>,
}

impl Remembered {
    pub(crate) fn of(result: &TxnResult) -> Self {
        let mut out = Writer::new();
        result.encode(&mut out);
        let answer = (out.len() <= ANSWER_LIMIT_BYTES).then(|| out.finish());
        Self { revision: result.revision, answer }
    }

    /// The answer, unless it was too long to keep.
    pub(crate) fn result(&self) -> Option<TxnResult> {
        let bytes = self.answer.clone()?;
        let result = TxnResult::decode(&mut Reader::new(bytes));
        Some(result.expect("an answer that we encoded ourselves can be decoded"))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Client {
    floor: u64,
    last_index: u64,
    answers: BTreeMap<u64, Remembered>,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    clients: BTreeMap<u128, Client>,
    by_age: BTreeSet<(u64, u128)>,
    forgotten: u64,
    limit: usize,
    dirty: BTreeSet<u128>,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        assert!(limit > 0, "a memory of no clients remembers nothing");
        Self { limit, ..Self::default() }
    }

    /// Whether this command was done before.
    pub(crate) fn recall(&self, command: &Command) -> Recall {
        if command.id.client == 0 {
            return Recall::New;
        }
        let unseen = if command.since < self.forgotten { Recall::Forgotten } else { Recall::New };
        let Some(client) = self.clients.get(&command.id.client) else {
            return unseen;
        };
        if let Some(remembered) = client.answers.get(&command.id.number) {
            return Recall::Done(remembered.clone());
        }
        if command.id.number < client.floor { Recall::Forgotten } else { unseen }
    }

    /// Remembers what a command that was just applied at log index `index` came to.
    pub(crate) fn remember(&mut self, command: &Command, index: u64, answer: Remembered) {
        let id = command.id;
        if id.client == 0 {
            return;
        }
        let client = self.clients.entry(id.client).or_default();
        assert!(client.last_index < index, "commands are applied in log order");
        self.by_age.remove(&(client.last_index, id.client));
        self.by_age.insert((index, id.client));
        client.last_index = index;
        client.answers.insert(id.number, answer);
        client.floor = client.floor.max(command.done_below);
        client.answers = client.answers.split_off(&client.floor);
        while client.answers.len() > ANSWERS_PER_CLIENT {
            if let Some((number, _)) = client.answers.pop_first() {
                client.floor = client.floor.max(number.saturating_add(1));
            }
        }
        self.dirty.insert(id.client);
        self.evict();
    }

    fn evict(&mut self) {
        while self.clients.len() > self.limit {
            let (index, client) = self.by_age.pop_first().expect("as many ages as clients");
            self.clients.remove(&client);
            self.dirty.insert(client);
            self.forgotten = self.forgotten.max(index);
        }
    }

    /// Highest log index of a client that was forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What changed since the last call: for each client its encoding, or `None` if it is gone.
    pub(crate) fn take_changes(&mut self) -> Vec<(u128, Option<Bytes>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|id| (id, self.clients.get(&id).map(encode_client))).collect()
    }

    /// Takes back what [`Memory::take_changes`] once gave, when the log was applied up to index
    /// `applied`.
    pub(crate) fn restore(
        limit: usize,
        (forgotten, applied): (u64, u64),
        clients: impl Iterator<Item = (u128, Bytes)>,
    ) -> Result<Self, DecodeError> {
        let ahead = |what| DecodeError { what, at: 0 };
        let mut memory = Self::new(limit);
        memory.forgotten = forgotten;
        if forgotten > applied {
            return Err(ahead("forgotten, which is ahead of the log"));
        }
        for (id, bytes) in clients {
            let client = decode_client(bytes)?;
            if client.last_index > applied {
                return Err(ahead("client index, which is ahead of the log"));
            }
            memory.by_age.insert((client.last_index, id));
            memory.clients.insert(id, client);
        }
        Ok(memory)
    }

    /// Everything, in a canonical form: equal on replicas that have applied the same.
    pub(crate) fn digest(&self, out: &mut Writer) {
        out.varint(self.forgotten);
        for (id, client) in &self.clients {
            out.u128(*id).bytes(&encode_client(client));
        }
    }
}

fn encode_client(client: &Client) -> Bytes {
    let mut out = Writer::new();
    out.varint(client.floor).varint(client.last_index).varint(client.answers.len() as u64);
    for (number, remembered) in &client.answers {
        out.varint(*number).varint(remembered.revision.0).option(
            remembered.answer.as_ref(),
            |out, answer| {
                out.bytes(answer);
            },
        );
    }
    out.finish()
}

fn decode_client(bytes: Bytes) -> Result<Client, DecodeError> {
    let mut input = Reader::new(bytes);
    let floor = input.varint("client floor")?;
    let last_index = input.varint("client index")?;
    let answers = input.list("client answers", |input| {
        let number = input.varint("answer number")?;
        let revision = Revision(input.varint("answer revision")?);
        // Copied out, so that a small answer does not keep a large buffer alive.
        let answer = input.option("answer", |input| {
            input.bytes("answer").map(|bytes| Bytes::copy_from_slice(&bytes))
        })?;
        if let Some(answer) = &answer {
            TxnResult::decode(&mut Reader::new(answer.clone()))?;
        }
        Ok((number, Remembered { revision, answer }))
    })?;
    input.end("client")?;
    Ok(Client { floor, last_index, answers: answers.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Body, RequestId, Txn};

    fn command(client: u128, number: u64, done_below: u64, since: u64) -> Command {
        let body = Body::Txn(Txn::default());
        Command { id: RequestId { client, number }, done_below, since, principal: None, body }
    }

    fn answer(revision: u64) -> Remembered {
        let result =
            TxnResult { revision: Revision(revision), succeeded: true, results: Vec::new() };
        Remembered::of(&result)
    }

    #[test]
    fn a_retry_gets_the_first_answer() {
        let mut memory = Memory::new(2);
        memory.remember(&command(7, 1, 0, 0), 10, answer(5));
        assert_eq!(memory.recall(&command(7, 1, 0, 0)), Recall::Done(answer(5)));
        assert_eq!(memory.recall(&command(7, 2, 0, 0)), Recall::New);
    }

    #[test]
    fn a_late_duplicate_below_the_floor_is_not_done_again() {
        let mut memory = Memory::new(2);
        memory.remember(&command(7, 1, 0, 0), 10, answer(5));
        memory.remember(&command(7, 2, 2, 0), 11, answer(6));
        assert_eq!(memory.recall(&command(7, 1, 0, 0)), Recall::Forgotten);
    }

    #[test]
    fn a_command_older_than_the_memory_is_refused() {
        let mut memory = Memory::new(2);
        for (index, client) in [(10, 1), (11, 2), (12, 3)] {
            memory.remember(&command(client, 1, 0, 9), index, answer(index));
        }
        assert_eq!(memory.recall(&command(1, 1, 0, 9)), Recall::Forgotten);
        assert_eq!(memory.recall(&command(4, 1, 0, 12)), Recall::New);
        assert_eq!(memory.recall(&command(2, 1, 0, 9)), Recall::Done(answer(11)));
    }

    #[test]
    fn it_survives_being_written_down() {
        let mut memory = Memory::new(3);
        for index in 1..20 {
            memory.remember(
                &command(u128::from(index % 5) + 1, index, index / 2, 0),
                index,
                answer(index),
            );
        }
        let changes = memory.take_changes();
        let kept = changes.into_iter().filter_map(|(id, bytes)| Some((id, bytes?)));
        let again = Memory::restore(3, (memory.forgotten(), 19), kept).expect("what we wrote");
        let digest = |memory: &Memory| {
            let mut out = Writer::new();
            memory.digest(&mut out);
            out.finish()
        };
        assert_eq!(digest(&memory), digest(&again));
        assert_eq!(memory.by_age, again.by_age);
    }

    #[test]
    fn a_memory_that_is_ahead_of_the_log_is_refused() {
        let mut memory = Memory::new(2);
        memory.remember(&command(7, 1, 0, 0), 10, answer(5));
        let kept: Vec<_> = memory.take_changes();
        let restore = |forgotten, applied| {
            let kept = kept.iter().filter_map(|(id, bytes)| Some((*id, bytes.clone()?)));
            Memory::restore(2, (forgotten, applied), kept)
        };
        assert!(restore(10, 10).is_ok());
        assert!(restore(10, 9).is_err(), "its last command is not in the log yet");
        assert!(restore(11, 10).is_err(), "it has forgotten what is not in the log yet");
    }

    #[test]
    fn the_highest_number_that_a_client_can_choose_is_one_like_others() {
        let mut memory = Memory::new(2);
        let most = ANSWERS_PER_CLIENT as u64;
        for index in 0..=most {
            memory.remember(&command(7, u64::MAX - index, 0, 0), index + 1, answer(1));
        }
        assert_eq!(memory.recall(&command(7, u64::MAX, 0, 0)), Recall::Done(answer(1)));
        assert_eq!(memory.recall(&command(7, u64::MAX - most, 0, 0)), Recall::Forgotten);
    }
}
