//! Commands: what goes through the log. A client encodes one; the leader appends those very bytes
//! to its log, so a value is copied once between socket and journal.
//!
//! A command is deterministic: every replica that applies it in the same state does the same.

use bytes::Bytes;

use crate::{
    DecodeError, Item, KeyRange, Page, Query, Reader, Refusal, RequestId, Revision, Writer,
    check_key,
};

/// One logged command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whose command it is. A second one with the same id gives the first one's answer.
    pub id: RequestId,
    /// The client has its answers to all its numbers below this one: they may be forgotten.
    pub done_below: u64,
    /// A log index that was committed before the client first sent this command. A command that the
    /// cluster does not remember is refused if it might have been forgotten since then.
    pub since: u64,
    /// What to do.
    pub body: Body,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// If all comparisons hold do this, else that.
    Txn(Txn),
    /// Versions that no read at or above this revision can see may go.
    Compact {
        /// The oldest revision that stays readable.
        before: Revision,
    },
    /// A part of a backup, into an empty store.
    Restore(RestoreChunk),
}

/// A conditional batch. It makes one revision if it changes anything, and none otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `then` to be done.
    pub compares: Vec<Compare>,
    /// Done if all comparisons hold. Later operations see what earlier ones did.
    pub then: Vec<Op>,
    /// Done otherwise.
    pub otherwise: Vec<Op>,
}

/// One comparison against the state before the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key that is looked at.
    pub key: Bytes,
    /// How.
    pub operator: Operator,
    /// With what.
    pub operand: Operand,
}

/// How two values are compared; byte strings in lexicographic order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// The key's is smaller than the operand.
    Less,
    /// The key's is greater than the operand.
    Greater,
}

/// What of the key is compared, with what. An absent key has numbers of 0; no comparison of values
/// holds for it but [`Operator::NotEqual`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Its value.
    Value(Bytes),
    /// How many times it was written; 0 is absent.
    Version(u64),
    /// The revision that brought it into being.
    Created(Revision),
    /// The revision of its last change.
    Modified(Revision),
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Gives a key a value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// The lease to hang it on; 0 is none.
        lease: u64,
    },
    /// Removes every key of a range.
    Delete {
        /// Which keys.
        range: KeyRange,
    },
    /// Reads a range, as the operations before left it. Its `revision` must be `None`.
    Read(Query),
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreChunk {
    /// Drawn at random for the whole restore.
    pub restore: u128,
    /// Counted from 0.
    pub sequence: u64,
    /// Keys with their revisions, to be stored as they are; none is later than `revision`.
    pub items: Vec<Item>,
    /// The revision at which the backup was taken.
    pub revision: Revision,
    /// The store opens with this one.
    pub last: bool,
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// The store's revision after it: its own, if it changed anything.
    pub revision: Revision,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One for each operation that was done.
    pub results: Vec<OpResult>,
}

/// What an operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// Stored.
    Put,
    /// Removed this many keys.
    Deleted {
        /// How many.
        count: u64,
    },
    /// What was read.
    Read(Page),
}

impl Command {
    /// A command's bytes, as they go into the log.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64 + self.body.size_hint());
        out.u128(self.id.client).varint(self.id.number).varint(self.done_below).varint(self.since);
        self.body.encode(&mut out);
        out.finish()
    }

    /// Reads a command; its byte strings are slices of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let id =
            RequestId { client: input.u128("client id")?, number: input.varint("request number")? };
        let done_below = input.varint("done below")?;
        let since = input.varint("since")?;
        let body = Body::decode(&mut input)?;
        input.end("command")?;
        Ok(Self { id, done_below, since, body })
    }

    /// Refuses what can never be done, so that it does not enter the log.
    pub fn check(&self, value_limit_bytes: usize) -> Result<(), Refusal> {
        match &self.body {
            Body::Txn(txn) => txn.check(value_limit_bytes),
            Body::Compact { .. } => Ok(()),
            Body::Restore(chunk) => {
                for item in &chunk.items {
                    check_key(&item.key)?;
                    if item.modified > chunk.revision || item.created > item.modified {
                        return Err(Refusal::Invalid {
                            what: "an item of the backup bears a revision after the backup's"
                                .into(),
                        });
                    }
                }
                Ok(())
            }
        }
    }
}

impl Txn {
    /// An unconditional transaction.
    pub fn always(then: Vec<Op>) -> Self {
        Self { compares: Vec::new(), then, otherwise: Vec::new() }
    }

    fn check(&self, value_limit_bytes: usize) -> Result<(), Refusal> {
        for compare in &self.compares {
            check_key(&compare.key)?;
        }
        for op in self.then.iter().chain(&self.otherwise) {
            match op {
                Op::Put { key, value, .. } => {
                    check_key(key)?;
                    if value.len() > value_limit_bytes {
                        return Err(Refusal::TooLarge {
                            what: "value".into(),
                            size: value.len() as u64,
                            limit: value_limit_bytes as u64,
                            flag: Some("--max-value".into()),
                        });
                    }
                }
                Op::Delete { .. } => {}
                Op::Read(query) => {
                    if query.revision.is_some() {
                        return Err(Refusal::Invalid {
                            what: "a read inside a transaction can't name a revision".into(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Body {
    fn size_hint(&self) -> usize {
        let op = |op: &Op| match op {
            Op::Put { key, value, .. } => key.len() + value.len() + 16,
            Op::Delete { range } | Op::Read(Query { range, .. }) => {
                range.start.len() + range.end.as_ref().map_or(0, Bytes::len) + 24
            }
        };
        match self {
            Self::Txn(txn) => {
                txn.then.iter().chain(&txn.otherwise).map(op).sum::<usize>()
                    + txn.compares.iter().map(|c| c.key.len() + 32).sum::<usize>()
            }
            Self::Compact { .. } => 16,
            Self::Restore(chunk) => {
                chunk.items.iter().map(|i| i.key.len() + i.value.len() + 40).sum::<usize>() + 64
            }
        }
    }

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Txn(txn) => {
                out.u8(1)
                    .list(&txn.compares, |out, compare| compare.encode(out))
                    .list(&txn.then, |out, op| op.encode(out))
                    .list(&txn.otherwise, |out, op| op.encode(out));
            }
            Self::Compact { before } => {
                out.u8(2).varint(before.0);
            }
            Self::Restore(chunk) => {
                out.u8(3)
                    .u128(chunk.restore)
                    .varint(chunk.sequence)
                    .varint(chunk.revision.0)
                    .u8(u8::from(chunk.last))
                    .list(&chunk.items, |out, item| item.encode(out));
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.u8("command body")? {
            1 => Self::Txn(Txn {
                compares: input.list("compares", Compare::decode)?,
                then: input.list("operations", Op::decode)?,
                otherwise: input.list("operations", Op::decode)?,
            }),
            2 => Self::Compact { before: Revision(input.varint("compact revision")?) },
            3 => Self::Restore(RestoreChunk {
                restore: input.u128("restore id")?,
                sequence: input.varint("restore sequence")?,
                revision: Revision(input.varint("restore revision")?),
                last: input.u8("restore last")? != 0,
                items: input.list("restore items", Item::decode)?,
            }),
            _ => return Err(input.malformed("command body")),
        })
    }
}

impl Compare {
    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.key).u8(match self.operator {
            Operator::Equal => 0,
            Operator::NotEqual => 1,
            Operator::Less => 2,
            Operator::Greater => 3,
        });
        match &self.operand {
            Operand::Value(value) => out.u8(0).bytes(value),
            Operand::Version(version) => out.u8(1).varint(*version),
            Operand::Created(revision) => out.u8(2).varint(revision.0),
            Operand::Modified(revision) => out.u8(3).varint(revision.0),
        };
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let key = input.bytes("compare key")?;
        let operator = match input.u8("operator")? {
            0 => Operator::Equal,
            1 => Operator::NotEqual,
            2 => Operator::Less,
            3 => Operator::Greater,
            _ => return Err(input.malformed("operator")),
        };
        let operand = match input.u8("operand")? {
            0 => Operand::Value(input.bytes("operand value")?),
            1 => Operand::Version(input.varint("operand version")?),
            2 => Operand::Created(Revision(input.varint("operand created")?)),
            3 => Operand::Modified(Revision(input.varint("operand modified")?)),
            _ => return Err(input.malformed("operand")),
        };
        Ok(Self { key, operator, operand })
    }
}

impl Op {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Put { key, value, lease } => {
                out.u8(0).bytes(key).varint(*lease).bytes(value);
            }
            Self::Delete { range } => {
                out.u8(1);
                range.encode(out);
            }
            Self::Read(query) => {
                out.u8(2);
                query.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.u8("operation")? {
            0 => Self::Put {
                key: input.bytes("put key")?,
                lease: input.varint("put lease")?,
                value: input.bytes("put value")?,
            },
            1 => Self::Delete { range: KeyRange::decode(input)? },
            2 => Self::Read(Query::decode(input)?),
            _ => return Err(input.malformed("operation")),
        })
    }
}

impl TxnResult {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.revision.0).u8(u8::from(self.succeeded)).list(
            &self.results,
            |out, result| match result {
                OpResult::Put => {
                    out.u8(0);
                }
                OpResult::Deleted { count } => {
                    out.u8(1).varint(*count);
                }
                OpResult::Read(page) => {
                    out.u8(2);
                    page.encode(out);
                }
            },
        );
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: Revision(input.varint("result revision")?),
            succeeded: input.u8("succeeded")? != 0,
            results: input.list("results", |input| match input.u8("result")? {
                0 => Ok(OpResult::Put),
                1 => Ok(OpResult::Deleted { count: input.varint("deleted")? }),
                2 => Page::decode(input).map(OpResult::Read),
                _ => Err(input.malformed("result")),
            })?,
        })
    }
}
