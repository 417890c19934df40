//! What a client asks a node, and what the node answers.

use bytes::Bytes;

use crate::{
    AuthAnswer, AuthQuestion, DecodeError, Event, Hidden, KeyRange, MemberChange, Members, NodeId,
    NodeStatus, Page, Principal, Query, Reader, Refusal, Revision, ScrubStatus, TxnResult, Writer,
};

/// What a read promises. See `DESIGN.md` §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write that was acknowledged before the read began. Only the leader answers.
    Linearizable,
    /// Sees at least this revision: what the session has already seen. Any node answers, after
    /// waiting for the revision if need be.
    Session(Revision),
    /// Whatever the asked node has.
    Eventual,
}

/// A client's request to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reads a range.
    Read {
        /// What to read.
        query: Query,
        /// What to promise.
        consistency: Consistency,
    },
    /// Has a command logged: the bytes of a [`crate::Command`]. Only the leader takes it.
    Write(Bytes),
    /// Waits for changes at `from` or later, and answers with the first of them, or with none when
    /// `wait_ms` is over. Any node answers. Asking again from [`WatchBatch::next`] misses nothing and
    /// repeats nothing, on whichever node.
    Watch {
        /// Which keys.
        range: KeyRange,
        /// First revision of interest; 0 stands for "from now on".
        from: Revision,
        /// How long to wait.
        wait_ms: u32,
        /// Whether each event shall bear what the key was before.
        previous: bool,
    },
    /// Gives a lease all of its time anew, counted from some moment between the question and the
    /// answer. Only the leader answers, after a round of confirmation: a deposed leader can't.
    KeepAlive {
        /// Which.
        lease: u64,
    },
    /// How long a lease has left. Only the leader answers.
    Lease {
        /// Which.
        lease: u64,
        /// Whether the answer shall name the keys that hang on it.
        keys: bool,
    },
    /// Which leases there are. Only the leader answers.
    Leases,
    /// How the node is. Always answered by the node that was asked.
    Status,
    /// Hands leadership to this node.
    Transfer {
        /// The node that shall lead.
        to: NodeId,
    },
    /// Who belongs to the cluster. Only the leader answers.
    Members,
    /// Changes who belongs to the cluster. Only the leader takes it. It is answered when it is over, for a
    /// node that joins when it stands in the list: it gets its vote later.
    ChangeMembers(MemberChange),
    /// Asks about users and roles. Only the leader answers.
    Auth(AuthQuestion),
    /// Proves who somebody is, by a password. Only the leader answers.
    Authenticate {
        /// Who.
        user: String,
        /// The password.
        password: Hidden,
    },
    /// How far the last scrub is that the node has begun. Always answered by the node that was asked.
    Scrub,
    /// The same request by somebody in particular. A command bears its principal itself, for it must
    /// stand in the log: see [`crate::Command::principal`].
    As {
        /// Who.
        principal: Principal,
        /// What he asks; it is not another one of these.
        request: Box<Request>,
    },
}

/// The kind of [`Request::As`].
const AS: u8 = 11;
const MEMBERS: u8 = 12;
const CHANGE_MEMBERS: u8 = 13;
const SCRUB: u8 = 14;

/// The kind of [`Reply::Scrub`].
const SCRUBBED: u8 = 11;

/// What stands in every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The revision at which a read was served, or that a write reached.
    pub revision: Revision,
    /// The log index applied by the node that answered: what a client's next commands may bear
    /// as [`crate::Command::since`].
    pub applied: u64,
    /// Who answered.
    pub node: NodeId,
    /// Who leads, as the answering node knows.
    pub leader: Option<NodeId>,
}

/// A node's answer, if it is not a [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Read`].
    Page(Page),
    /// To [`Request::Write`].
    Written(TxnResult),
    /// To [`Request::Watch`].
    Events(WatchBatch),
    /// To [`Request::Status`].
    Status(Box<NodeStatus>),
    /// To [`Request::Transfer`]: begun, not yet completed.
    Transferring,
    /// To [`Request::KeepAlive`] and [`Request::Lease`].
    Lease(LeaseStatus),
    /// To [`Request::Leases`], in ascending order.
    Leases(Vec<u64>),
    /// To [`Request::Auth`].
    Auth(AuthAnswer),
    /// To [`Request::Authenticate`].
    Authenticated(Principal),
    /// To [`Request::Members`] and [`Request::ChangeMembers`].
    Members {
        /// The members now.
        members: Members,
        /// The one that was added or changed.
        node: Option<NodeId>,
    },
    /// To [`Request::Scrub`]; `None` if it has begun none since it was started.
    Scrub(Option<ScrubStatus>),
}

/// How a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Its name.
    pub lease: u64,
    /// How long it lives without being kept alive, in milliseconds.
    pub ttl_ms: u64,
    /// How long it has left, in milliseconds.
    pub remaining_ms: u64,
    /// The keys that hang on it, in order, if they were asked for.
    pub keys: Vec<Bytes>,
}

/// Changes, in order. All events of a revision come in one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// What happened; empty when the time was over.
    pub events: Vec<Event>,
    /// From where to ask next.
    pub next: Revision,
}

impl Request {
    /// The same, by this principal. A command is stamped instead: [`crate::Command::stamp`].
    #[must_use]
    pub fn by(self, principal: Principal) -> Self {
        Self::As { principal, request: Box::new(self) }
    }

    /// What is asked, whoever asks it.
    pub fn bare(&self) -> &Self {
        match self {
            Self::As { request, .. } => request,
            request => request,
        }
    }

    /// What is asked, whoever asks it.
    pub fn bare_mut(&mut self) -> &mut Self {
        match self {
            Self::As { request, .. } => request,
            request => request,
        }
    }

    /// Its bytes.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Read { query, consistency } => {
                out.u8(1);
                match consistency {
                    Consistency::Linearizable => out.u8(0),
                    Consistency::Session(revision) => out.u8(1).varint(revision.0),
                    Consistency::Eventual => out.u8(2),
                };
                query.encode(out);
            }
            Self::Write(command) => {
                out.u8(2).raw(command);
            }
            Self::Watch { range, from, wait_ms, previous } => {
                out.u8(3);
                range.encode(out);
                out.varint(from.0).varint(u64::from(*wait_ms)).u8(u8::from(*previous));
            }
            Self::Status => {
                out.u8(4);
            }
            Self::Transfer { to } => {
                out.u8(5).varint(to.0);
            }
            Self::KeepAlive { lease } => {
                out.u8(6).varint(*lease);
            }
            Self::Lease { lease, keys } => {
                out.u8(7).varint(*lease).u8(u8::from(*keys));
            }
            Self::Leases => {
                out.u8(8);
            }
            Self::Members => {
                out.u8(MEMBERS);
            }
            Self::Scrub => {
                out.u8(SCRUB);
            }
            Self::ChangeMembers(change) => change.encode(out.u8(CHANGE_MEMBERS)),
            Self::Auth(question) => question.encode(out.u8(9)),
            Self::Authenticate { user, password } => {
                out.u8(10).bytes(user.as_bytes()).bytes(&password.0);
            }
            Self::As { principal, request } => {
                principal.encode(out.u8(AS));
                request.encode(out);
            }
        }
    }

    /// Reads a request. A command's bytes are checked later, by [`crate::Command::decode`].
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let request = match input.u8("request kind")? {
            AS => {
                let principal = Principal::decode(input)?;
                let kind = input.u8("request kind")?;
                Self::As { principal, request: Box::new(Self::decode_bare(kind, input)?) }
            }
            kind => Self::decode_bare(kind, input)?,
        };
        input.end("request")?;
        Ok(request)
    }

    fn decode_bare(kind: u8, input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => {
                let consistency = match input.u8("consistency")? {
                    0 => Consistency::Linearizable,
                    1 => Consistency::Session(Revision(input.varint("session revision")?)),
                    2 => Consistency::Eventual,
                    _ => return Err(input.malformed("consistency")),
                };
                Self::Read { query: Query::decode(input)?, consistency }
            }
            2 => Self::Write(input.rest()),
            3 => Self::Watch {
                range: KeyRange::decode(input)?,
                from: Revision(input.varint("watch from")?),
                wait_ms: input.varint32("watch wait")?,
                previous: input.u8("watch previous")? != 0,
            },
            4 => Self::Status,
            5 => Self::Transfer { to: NodeId(input.varint("transfer target")?) },
            6 => Self::KeepAlive { lease: input.varint("lease")? },
            7 => Self::Lease { lease: input.varint("lease")?, keys: input.u8("lease keys")? != 0 },
            8 => Self::Leases,
            9 => Self::Auth(AuthQuestion::decode(input)?),
            10 => Self::Authenticate {
                user: input.string("user")?,
                password: Hidden(input.bytes("password")?),
            },
            MEMBERS => Self::Members,
            SCRUB => Self::Scrub,
            CHANGE_MEMBERS => Self::ChangeMembers(MemberChange::decode(input)?),
            _ => return Err(input.malformed("request kind")),
        })
    }
}

impl Header {
    fn encode(self, out: &mut Writer) {
        out.varint(self.revision.0).varint(self.applied).varint(self.node.0).option(
            self.leader,
            |out, leader| {
                out.varint(leader.0);
            },
        );
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: Revision(input.varint("header revision")?),
            applied: input.varint("header applied")?,
            node: NodeId(input.varint("header node")?),
            leader: input.option("header leader", |input| input.varint("leader").map(NodeId))?,
        })
    }
}

impl LeaseStatus {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.lease).varint(self.ttl_ms).varint(self.remaining_ms).list(
            &self.keys,
            |out, key| {
                out.bytes(key);
            },
        );
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            lease: input.varint("lease")?,
            ttl_ms: input.varint("ttl")?,
            remaining_ms: input.varint("remaining time")?,
            keys: input.list("lease keys", |input| input.bytes("lease key"))?,
        })
    }
}

impl Reply {
    /// Appends an answer's bytes.
    pub fn encode_answer(answer: &Result<(Header, Self), Refusal>, out: &mut Writer) {
        let (header, reply) = match answer {
            Err(refusal) => {
                out.u8(0);
                return refusal.encode(out);
            }
            Ok(answer) => answer,
        };
        out.u8(1);
        header.encode(out);
        match reply {
            Self::Page(page) => {
                out.u8(1);
                page.encode(out);
            }
            Self::Written(result) => {
                out.u8(2);
                result.encode(out);
            }
            Self::Events(batch) => {
                out.u8(3).varint(batch.next.0).list(&batch.events, |out, event| event.encode(out));
            }
            Self::Status(status) => {
                out.u8(4);
                status.encode(out);
            }
            Self::Transferring => {
                out.u8(5);
            }
            Self::Lease(status) => {
                out.u8(6);
                status.encode(out);
            }
            Self::Leases(leases) => {
                out.u8(7).list(leases, |out, lease| {
                    out.varint(*lease);
                });
            }
            Self::Auth(answer) => answer.encode(out.u8(8)),
            Self::Authenticated(principal) => principal.encode(out.u8(9)),
            Self::Members { members, node } => {
                members.encode(out.u8(10));
                out.option(*node, |out, node| {
                    out.varint(node.0);
                });
            }
            Self::Scrub(status) => {
                out.u8(SCRUBBED).option(status.as_ref(), |out, status| status.encode(out));
            }
        }
    }

    /// Reads an answer's bytes.
    pub fn decode_answer(
        input: &mut Reader,
    ) -> Result<Result<(Header, Self), Refusal>, DecodeError> {
        match input.u8("answer")? {
            0 => {
                let refusal = Refusal::decode(input)?;
                input.end("answer")?;
                return Ok(Err(refusal));
            }
            1 => {}
            _ => return Err(input.malformed("answer")),
        }
        let header = Header::decode(input)?;
        let reply = match input.u8("reply kind")? {
            1 => Self::Page(Page::decode(input)?),
            2 => Self::Written(TxnResult::decode(input)?),
            3 => Self::Events(WatchBatch {
                next: Revision(input.varint("watch next")?),
                events: input.list("events", Event::decode)?,
            }),
            4 => Self::Status(Box::new(NodeStatus::decode(input)?)),
            5 => Self::Transferring,
            6 => Self::Lease(LeaseStatus::decode(input)?),
            7 => Self::Leases(input.list("leases", |input| input.varint("lease"))?),
            8 => Self::Auth(AuthAnswer::decode(input)?),
            9 => Self::Authenticated(Principal::decode(input)?),
            10 => Self::Members {
                members: Members::decode(input)?,
                node: input.option("changed node", |input| input.varint("node").map(NodeId))?,
            },
            SCRUBBED => Self::Scrub(input.option("scrub", ScrubStatus::decode)?),
            _ => return Err(input.malformed("reply kind")),
        };
        input.end("answer")?;
        Ok(Ok((header, reply)))
    }
}
