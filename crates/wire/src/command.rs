//! Commands: what goes through the log. A client encodes one; the leader appends those very bytes
//! to its log, so a value is copied once between socket and journal.
//!
//! A command is deterministic: every replica that applies it in the same state does the same.

use bytes::Bytes;

use crate::{
    AuthChange, DecodeError, Item, KeyRange, Page, Principal, Query, Reader, Refusal, RequestId,
    Revision, Writer, check_key,
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
    /// Who wants it done, as the driver of a node has made sure; `None` is nobody in particular.
    pub principal: Option<Principal>,
    /// What to do.
    pub body: Body,
}

/// What stands in the place of a body's kind before a [`Principal`], with the body behind it.
const AS: u8 = 9;

/// The kind of [`Body::Scrub`].
const SCRUB: u8 = 10;

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
    /// A new lease.
    Grant {
        /// Its name, never 0. Chosen by the client: at random, if nobody needs to guess it.
        lease: u64,
        /// How long it lives without being kept alive, in milliseconds; at least 1.
        ttl_ms: u64,
    },
    /// Ends a lease, and removes the keys that hang on it.
    Revoke {
        /// Which.
        lease: u64,
    },
    /// Ends leases whose time is over. The leader's alone to propose; see [`Expiry`] for what makes it
    /// harmless when it comes too late.
    Expire(Expiry),
    /// Writes down how long leases have left, so that the next leader does not give them all of
    /// their time anew. The leader's alone to propose.
    Checkpoint {
        /// The leader's term: a checkpoint of a former leader does nothing.
        epoch: u64,
        /// Which, and how much.
        leases: Vec<Remaining>,
    },
    /// Changes users and roles.
    Auth(AuthChange),
    /// Has every replica read all that it holds, as it is at this place in the log, and remember what that
    /// came to. It changes nothing. A later one takes the place of one that is under way.
    Scrub {
        /// Its name, drawn at random.
        id: u64,
    },
}

/// Leases whose time is over, as one leader counted it.
///
/// It does nothing if the entry stands in the log under another term than `epoch`: a later leader
/// may have kept the lease alive. Nor does it to a lease that was granted anew under an old name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The term of the leader that counted.
    pub epoch: u64,
    /// Which leases.
    pub leases: Vec<Granted>,
}

/// One life of a lease: a name may be used again, a log index never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The lease.
    pub lease: u64,
    /// The log index of its grant.
    pub index: u64,
}

/// How long a lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The lease.
    pub granted: Granted,
    /// In milliseconds.
    pub remaining_ms: u64,
}

/// A conditional batch. It makes one revision if it changes anything, and none otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Whoever does this must still hold these; if one is lost the transaction is refused.
    pub fences: Vec<Fence>,
    /// All must hold for `then` to be done.
    pub compares: Vec<Compare>,
    /// Done if all comparisons hold. Later operations see what earlier ones did.
    pub then: Vec<Op>,
    /// Done otherwise.
    pub otherwise: Vec<Op>,
}

/// A fencing token: a lock's key, and the revision that created it when the lock was taken. It is
/// stale once the key is gone or was created anew, and a transaction that bears it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The key.
    pub key: Bytes,
    /// Its [`Item::created`] when the lock was taken.
    pub created: Revision,
}

/// One comparison against the state before the (outermost) transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys that are looked at: it must hold for each one that exists. If none does, it must hold
    /// for an absent one.
    pub range: KeyRange,
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
    /// The lease that it hangs on; 0 is none.
    Lease(u64),
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Gives a key a value.
    Put(Put),
    /// Removes every key of a range.
    Delete {
        /// Which keys.
        range: KeyRange,
        /// Whether the answer shall bear what they were.
        previous: bool,
    },
    /// Reads a range, as the operations before left it. Its `revision` must be `None`.
    Read(Query),
    /// A transaction within this one. Its comparisons look at the state before the outermost, too, so
    /// which operations are done is settled before the first of them.
    Txn(Txn),
}

/// A value for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// The value; `None` keeps the one that the key has, and refuses if there is none.
    pub value: Option<Bytes>,
    /// The lease to hang it on, which must be alive; 0 is none. `None` keeps the one that the key
    /// hangs on, and refuses if there is no such key.
    pub lease: Option<u64>,
    /// Whether the answer shall bear what the key was before.
    pub previous: bool,
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
    Put {
        /// What the key was, if that was asked for and it was there.
        previous: Option<Item>,
    },
    /// Removed this many keys.
    Deleted {
        /// How many.
        count: u64,
        /// What they were, if that was asked for.
        previous: Vec<Item>,
    },
    /// What was read.
    Read(Page),
    /// What the transaction within came to.
    Txn {
        /// Whether all its comparisons held.
        succeeded: bool,
        /// One for each operation that was done.
        results: Vec<OpResult>,
    },
}

/// How deep transactions may lie within one another.
pub const MAX_TXN_DEPTH: usize = 16;

impl Command {
    /// A command's bytes, as they go into the log.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64 + self.body.size_hint());
        out.u128(self.id.client).varint(self.id.number).varint(self.done_below).varint(self.since);
        if let Some(principal) = &self.principal {
            principal.encode(out.u8(AS));
        }
        self.body.encode(&mut out);
        out.finish()
    }

    /// Reads a command; its byte strings are slices of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let (id, done_below, since) = head(&mut input)?;
        let mut kind = input.u8("command body")?;
        let mut principal = None;
        if kind == AS {
            principal = Some(Principal::decode(&mut input)?);
            kind = input.u8("command body")?;
        }
        let body = Body::decode(kind, &mut input)?;
        input.end("command")?;
        Ok(Self { id, done_below, since, principal, body })
    }

    /// Whom the bytes of a command name as its principal. What follows is not looked at.
    pub fn principal_of(bytes: &Bytes) -> Result<Option<Principal>, DecodeError> {
        let mut input = Reader::new(bytes.clone());
        head(&mut input)?;
        if input.u8("command body")? == AS {
            Principal::decode(&mut input).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The bytes of the same command, with this principal. They must name none.
    pub fn stamp(bytes: &Bytes, principal: &Principal) -> Result<Bytes, DecodeError> {
        let mut input = Reader::new(bytes.clone());
        head(&mut input)?;
        let (head, body) = bytes.split_at(bytes.len() - input.remaining());
        let mut out = Writer::with_capacity(bytes.len() + principal.user.len() + 16);
        principal.encode(out.raw(head).u8(AS));
        out.raw(body);
        Ok(out.finish())
    }

    /// Refuses what can never be done, so that it does not enter the log.
    pub fn check(&self, value_limit_bytes: usize) -> Result<(), Refusal> {
        match &self.body {
            Body::Txn(txn) => txn.check(value_limit_bytes, MAX_TXN_DEPTH),
            Body::Grant { lease: 0, .. } => invalid("a lease's name is a number other than 0"),
            Body::Grant { ttl_ms: 0, .. } => invalid("a lease lives for at least 1 millisecond"),
            Body::Compact { .. }
            | Body::Grant { .. }
            | Body::Revoke { .. }
            | Body::Expire(_)
            | Body::Checkpoint { .. }
            | Body::Scrub { .. } => Ok(()),
            Body::Auth(change) => change.check(),
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

/// What stands before a command's body, and its principal.
fn head(input: &mut Reader) -> Result<(RequestId, u64, u64), DecodeError> {
    let id =
        RequestId { client: input.u128("client id")?, number: input.varint("request number")? };
    let done_below = input.varint("done below")?;
    Ok((id, done_below, input.varint("since")?))
}

/// Not done, for this reason.
fn invalid(what: &str) -> Result<(), Refusal> {
    Err(Refusal::Invalid { what: what.to_owned() })
}

impl Op {
    /// Gives `key` this value, without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let (key, value) = (key.into(), Some(value.into()));
        Self::Put(Put { key, value, lease: Some(0), previous: false })
    }

    /// Removes every key of a range.
    pub fn delete(range: KeyRange) -> Self {
        Self::Delete { range, previous: false }
    }

    fn check(&self, value_limit_bytes: usize, depth: usize) -> Result<(), Refusal> {
        match self {
            Self::Put(Put { key, value, .. }) => {
                check_key(key)?;
                let size = value.as_ref().map_or(0, Bytes::len);
                if size > value_limit_bytes {
                    return Err(Refusal::TooLarge {
                        what: "value".into(),
                        size: size as u64,
                        limit: value_limit_bytes as u64,
                        flag: Some("--max-value".into()),
                    });
                }
                Ok(())
            }
            Self::Read(query) if query.revision.is_some() => {
                invalid("a read inside a transaction can't name a revision")
            }
            Self::Read(_) | Self::Delete { .. } => Ok(()),
            Self::Txn(_) if depth == 0 => Err(Refusal::Invalid {
                what: format!("transactions lie more than {MAX_TXN_DEPTH} deep in one another"),
            }),
            Self::Txn(txn) if !txn.fences.is_empty() => {
                invalid("a transaction within another one can't bear fences; the outermost can")
            }
            Self::Txn(txn) => txn.check(value_limit_bytes, depth - 1),
        }
    }
}

impl Txn {
    /// An unconditional transaction.
    pub fn always(then: Vec<Op>) -> Self {
        Self { then, ..Self::default() }
    }

    fn check(&self, value_limit_bytes: usize, depth: usize) -> Result<(), Refusal> {
        for fence in &self.fences {
            check_key(&fence.key)?;
        }
        for compare in &self.compares {
            check_key(&compare.range.start)?;
        }
        let mut ops = self.then.iter().chain(&self.otherwise);
        ops.try_for_each(|op| op.check(value_limit_bytes, depth))
    }

    fn size_hint(&self) -> usize {
        let op = |op: &Op| match op {
            Op::Put(put) => put.key.len() + put.value.as_ref().map_or(0, Bytes::len) + 20,
            Op::Delete { range, .. } | Op::Read(Query { range, .. }) => {
                range.start.len() + range.end.as_ref().map_or(0, Bytes::len) + 24
            }
            Op::Txn(txn) => txn.size_hint(),
        };
        self.then.iter().chain(&self.otherwise).map(op).sum::<usize>()
            + self.compares.iter().map(|c| c.range.start.len() + 40).sum::<usize>()
            + self.fences.iter().map(|f| f.key.len() + 12).sum::<usize>()
            + 8
    }

    fn encode(&self, out: &mut Writer) {
        out.list(&self.fences, |out, fence| {
            out.bytes(&fence.key).varint(fence.created.0);
        })
        .list(&self.compares, |out, compare| compare.encode(out))
        .list(&self.then, |out, op| op.encode(out))
        .list(&self.otherwise, |out, op| op.encode(out));
    }

    /// `depth` more transactions may lie within this one: bytes from outside must not exhaust the
    /// stack.
    fn decode(input: &mut Reader, depth: usize) -> Result<Self, DecodeError> {
        Ok(Self {
            fences: input.list("fences", |input| {
                let key = input.bytes("fence key")?;
                Ok(Fence { key, created: Revision(input.varint("fence created")?) })
            })?,
            compares: input.list("compares", Compare::decode)?,
            then: input.list("operations", |input| Op::decode(input, depth))?,
            otherwise: input.list("operations", |input| Op::decode(input, depth))?,
        })
    }
}

impl Granted {
    fn encode(self, out: &mut Writer) {
        out.varint(self.lease).varint(self.index);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { lease: input.varint("lease")?, index: input.varint("grant index")? })
    }
}

impl Body {
    fn size_hint(&self) -> usize {
        match self {
            Self::Txn(txn) => txn.size_hint(),
            Self::Compact { .. }
            | Self::Grant { .. }
            | Self::Revoke { .. }
            | Self::Scrub { .. } => 24,
            Self::Expire(expiry) => 16 + expiry.leases.len() * 20,
            Self::Checkpoint { leases, .. } => 16 + leases.len() * 30,
            Self::Auth(change) => change.size_hint(),
            Self::Restore(chunk) => {
                chunk.items.iter().map(|i| i.key.len() + i.value.len() + 40).sum::<usize>() + 64
            }
        }
    }

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Txn(txn) => {
                out.u8(1);
                txn.encode(out);
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
            Self::Grant { lease, ttl_ms } => {
                out.u8(4).varint(*lease).varint(*ttl_ms);
            }
            Self::Revoke { lease } => {
                out.u8(5).varint(*lease);
            }
            Self::Expire(expiry) => {
                out.u8(6)
                    .varint(expiry.epoch)
                    .list(&expiry.leases, |out, granted| granted.encode(out));
            }
            Self::Checkpoint { epoch, leases } => {
                out.u8(7).varint(*epoch).list(leases, |out, left| {
                    left.granted.encode(out);
                    out.varint(left.remaining_ms);
                });
            }
            Self::Auth(change) => change.encode(out.u8(8)),
            Self::Scrub { id } => {
                out.u8(SCRUB).varint(*id);
            }
        }
    }

    fn decode(kind: u8, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Txn(Txn::decode(input, MAX_TXN_DEPTH)?),
            2 => Self::Compact { before: Revision(input.varint("compact revision")?) },
            3 => Self::Restore(RestoreChunk {
                restore: input.u128("restore id")?,
                sequence: input.varint("restore sequence")?,
                revision: Revision(input.varint("restore revision")?),
                last: input.u8("restore last")? != 0,
                items: input.list("restore items", Item::decode)?,
            }),
            4 => Self::Grant { lease: input.varint("lease")?, ttl_ms: input.varint("ttl")? },
            5 => Self::Revoke { lease: input.varint("lease")? },
            6 => Self::Expire(Expiry {
                epoch: input.varint("expiry epoch")?,
                leases: input.list("expired leases", Granted::decode)?,
            }),
            7 => Self::Checkpoint {
                epoch: input.varint("checkpoint epoch")?,
                leases: input.list("leases", |input| {
                    let granted = Granted::decode(input)?;
                    Ok(Remaining { granted, remaining_ms: input.varint("remaining time")? })
                })?,
            },
            8 => Self::Auth(AuthChange::decode(input)?),
            SCRUB => Self::Scrub { id: input.varint("scrub")? },
            _ => return Err(input.malformed("command body")),
        })
    }
}

impl Compare {
    fn encode(&self, out: &mut Writer) {
        self.range.encode(out);
        out.u8(match self.operator {
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
            Operand::Lease(lease) => out.u8(4).varint(*lease),
        };
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let range = KeyRange::decode(input)?;
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
            4 => Operand::Lease(input.varint("operand lease")?),
            _ => return Err(input.malformed("operand")),
        };
        Ok(Self { range, operator, operand })
    }
}

impl Compare {
    /// A comparison of one key.
    pub fn key(key: Bytes, operator: Operator, operand: Operand) -> Self {
        Self { range: KeyRange::single(key), operator, operand }
    }
}

impl Op {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Put(put) => {
                out.u8(0)
                    .bytes(&put.key)
                    .u8(u8::from(put.previous))
                    .option(put.lease, |out, lease| {
                        out.varint(lease);
                    })
                    .option(put.value.as_ref(), |out, value| {
                        out.bytes(value);
                    });
            }
            Self::Delete { range, previous } => {
                out.u8(1);
                range.encode(out);
                out.u8(u8::from(*previous));
            }
            Self::Read(query) => {
                out.u8(2);
                query.encode(out);
            }
            Self::Txn(txn) => {
                out.u8(3);
                txn.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader, depth: usize) -> Result<Self, DecodeError> {
        Ok(match input.u8("operation")? {
            0 => Self::Put(Put {
                key: input.bytes("put key")?,
                previous: input.u8("put previous")? != 0,
                lease: input.option("put lease", |input| input.varint("put lease"))?,
                value: input.option("put value", |input| input.bytes("put value"))?,
            }),
            1 => Self::Delete {
                range: KeyRange::decode(input)?,
                previous: input.u8("delete previous")? != 0,
            },
            2 => Self::Read(Query::decode(input)?),
            3 if depth > 0 => Self::Txn(Txn::decode(input, depth - 1)?),
            _ => return Err(input.malformed("operation")),
        })
    }
}

impl TxnResult {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.revision.0)
            .u8(u8::from(self.succeeded))
            .list(&self.results, |out, result| result.encode(out));
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: Revision(input.varint("result revision")?),
            succeeded: input.u8("succeeded")? != 0,
            results: input.list("results", |input| OpResult::decode(input, MAX_TXN_DEPTH))?,
        })
    }
}

impl OpResult {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Put { previous } => {
                out.u8(0).option(previous.as_ref(), |out, item| item.encode(out));
            }
            Self::Deleted { count, previous } => {
                out.u8(1).varint(*count).list(previous, |out, item| item.encode(out));
            }
            Self::Read(page) => {
                out.u8(2);
                page.encode(out);
            }
            Self::Txn { succeeded, results } => {
                out.u8(3).u8(u8::from(*succeeded)).list(results, |out, result| result.encode(out));
            }
        }
    }

    fn decode(input: &mut Reader, depth: usize) -> Result<Self, DecodeError> {
        match input.u8("result")? {
            0 => Ok(Self::Put { previous: input.option("previous", Item::decode)? }),
            1 => Ok(Self::Deleted {
                count: input.varint("deleted")?,
                previous: input.list("previous", Item::decode)?,
            }),
            2 => Page::decode(input).map(Self::Read),
            3 if depth > 0 => Ok(Self::Txn {
                succeeded: input.u8("succeeded")? != 0,
                results: input.list("results", |input| Self::decode(input, depth - 1))?,
            }),
            _ => Err(input.malformed("result")),
        }
    }
}
