//! Why a request was not answered, and what then holds.

use bytes::Bytes;

use crate::{DecodeError, Denial, MemberDenial, NodeId, Reader, Revision, Writer};

/// What is known about an operation that was not answered as hoped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has happened.
    Done,
    /// It has not happened, and will not.
    NotDone,
    /// It may have happened, or may happen yet. Retry with the same request id only.
    Unknown,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::NotDone => "not done",
            Self::Unknown => "unknown",
        })
    }
}

/// A node's refusal. Each variant asks for another reaction; the rest is in the fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not done. Ask `leader`; without one, wait for an election.
    #[error("this node does not lead the group{}", leader.map(|l| format!("; {l} does")).unwrap_or_default())]
    NotLeader {
        /// Who is believed to lead.
        leader: Option<NodeId>,
    },
    /// Not done. Too much is under way: wait a little, then retry.
    #[error("the node is busy: {what}; retry after a pause")]
    Busy {
        /// Which limit was reached.
        what: String,
    },
    /// Unknown. Retry with the same request id, never with a fresh one.
    #[error("no answer before {why}; the operation may or may not be done")]
    Unanswered {
        /// What came in between.
        why: String,
    },
    /// Not done, for no quorum could be asked. Retry, or ask another node.
    #[error("no quorum: {why}")]
    Unavailable {
        /// What is missing.
        why: String,
    },
    /// Not done. The versions that were asked for are gone: begin at `compacted` or later.
    #[error("revision {asked} is compacted away; the oldest that can be read is {compacted}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest readable revision.
        compacted: Revision,
    },
    /// Not done. The revision does not exist yet.
    #[error("revision {asked} is in the future; the newest is {current}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest.
        current: Revision,
    },
    /// Not done. Make it smaller, or raise the limit by the flag, if there is one.
    #[error("{what} of {size} bytes is over the limit of {limit} bytes{}", flag.as_ref().map(|f| format!(" (set by {f})")).unwrap_or_default())]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
        /// What sets the limit.
        flag: Option<String>,
    },
    /// Not done. The request makes no sense; the text says why and what was expected.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// Unknown. The request is so old that its answer would be forgotten if there had been one. Read
    /// the state to find out, then decide afresh.
    #[error("request {id} is older than what the cluster remembers; it may or may not be done")]
    Expired {
        /// The request, as text.
        id: String,
    },
    /// Done, at this revision; but its answer was too large to be remembered.
    #[error("the request was done at revision {revision}; its answer is no longer known")]
    AnswerForgotten {
        /// The revision that it made.
        revision: Revision,
    },
    /// Not done. A restore needs an empty store.
    #[error(
        "a snapshot can only be restored into an empty store; this one is at revision {revision}"
    )]
    NotEmpty {
        /// Where the store is.
        revision: Revision,
    },
    /// Not done. This node's own state is in doubt or broken; another one may answer.
    #[error("this node can't serve: {why}")]
    Broken {
        /// What is wrong and what the operator should do.
        why: String,
    },
    /// Not done. There is no such lease: it has ended, or never was.
    #[error("there is no lease {lease}")]
    LeaseNotFound {
        /// Which.
        lease: u64,
    },
    /// Not done. Choose another name, or none.
    #[error("there is a lease {lease} already")]
    LeaseExists {
        /// Which.
        lease: u64,
    },
    /// Not done. A put was to keep the value or the lease of a key that does not exist.
    #[error("there is no key {} whose value or lease could be kept", String::from_utf8_lossy(key))]
    KeyNotFound {
        /// Which.
        key: Bytes,
    },
    /// Not done. Whoever sent this has lost the lock that it bears the token of: stop working under it.
    #[error(
        "the fencing token {created} of {} is stale: {}",
        String::from_utf8_lossy(key),
        current.map_or("the key is gone".to_owned(), |now| format!("it was created anew at {now}"))
    )]
    Fenced {
        /// The lock's key.
        key: Bytes,
        /// The token.
        created: Revision,
        /// What would be a good one; `None` if the key is gone.
        current: Option<Revision>,
    },
    /// Not done. Whoever asks may not, or users and roles can't be changed so.
    #[error("{denial}")]
    Denied {
        /// Why.
        denial: Denial,
    },
    /// Not done. The members can't be changed so.
    #[error("{denial}")]
    Member {
        /// Why.
        denial: MemberDenial,
    },
}

impl Refusal {
    /// What holds after this refusal.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotLeader { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Compacted { .. }
            | Self::Future { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::NotEmpty { .. }
            | Self::Broken { .. }
            | Self::LeaseNotFound { .. }
            | Self::LeaseExists { .. }
            | Self::KeyNotFound { .. }
            | Self::Fenced { .. }
            | Self::Denied { .. }
            | Self::Member { .. } => Outcome::NotDone,
            Self::Unanswered { .. } | Self::Expired { .. } => Outcome::Unknown,
            Self::AnswerForgotten { .. } => Outcome::Done,
        }
    }

    /// A short stable word for it, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "not_leader",
            Self::Busy { .. } => "busy",
            Self::Unanswered { .. } => "unanswered",
            Self::Unavailable { .. } => "unavailable",
            Self::Compacted { .. } => "compacted",
            Self::Future { .. } => "future_revision",
            Self::TooLarge { .. } => "too_large",
            Self::Invalid { .. } => "invalid",
            Self::Expired { .. } => "expired",
            Self::AnswerForgotten { .. } => "answer_forgotten",
            Self::NotEmpty { .. } => "not_empty",
            Self::Broken { .. } => "broken",
            Self::LeaseNotFound { .. } => "lease_not_found",
            Self::LeaseExists { .. } => "lease_exists",
            Self::KeyNotFound { .. } => "key_not_found",
            Self::Fenced { .. } => "fenced",
            Self::Denied { denial } => denial.code(),
            Self::Member { denial } => denial.code(),
        }
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::NotLeader { leader } => {
                out.u8(1).option(*leader, |out, leader| {
                    out.varint(leader.0);
                });
            }
            Self::Busy { what } => {
                out.u8(2).bytes(what.as_bytes());
            }
            Self::Unanswered { why } => {
                out.u8(3).bytes(why.as_bytes());
            }
            Self::Unavailable { why } => {
                out.u8(4).bytes(why.as_bytes());
            }
            Self::Compacted { asked, compacted } => {
                out.u8(5).varint(asked.0).varint(compacted.0);
            }
            Self::Future { asked, current } => {
                out.u8(6).varint(asked.0).varint(current.0);
            }
            Self::TooLarge { what, size, limit, flag } => {
                out.u8(7).bytes(what.as_bytes()).varint(*size).varint(*limit).option(
                    flag.as_ref(),
                    |out, flag| {
                        out.bytes(flag.as_bytes());
                    },
                );
            }
            Self::Invalid { what } => {
                out.u8(8).bytes(what.as_bytes());
            }
            Self::Expired { id } => {
                out.u8(9).bytes(id.as_bytes());
            }
            Self::AnswerForgotten { revision } => {
                out.u8(10).varint(revision.0);
            }
            Self::NotEmpty { revision } => {
                out.u8(11).varint(revision.0);
            }
            Self::Broken { why } => {
                out.u8(12).bytes(why.as_bytes());
            }
            Self::LeaseNotFound { lease } => {
                out.u8(13).varint(*lease);
            }
            Self::LeaseExists { lease } => {
                out.u8(14).varint(*lease);
            }
            Self::KeyNotFound { key } => {
                out.u8(15).bytes(key);
            }
            Self::Fenced { key, created, current } => {
                out.u8(16).bytes(key).varint(created.0).option(*current, |out, current| {
                    out.varint(current.0);
                });
            }
            Self::Denied { denial } => denial.encode(out.u8(17)),
            Self::Member { denial } => denial.encode(out.u8(18)),
        }
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        const TEXT: &str = "refusal text";
        Ok(match input.u8("refusal")? {
            1 => Self::NotLeader {
                leader: input.option("leader", |input| input.varint("leader").map(NodeId))?,
            },
            2 => Self::Busy { what: input.string(TEXT)? },
            3 => Self::Unanswered { why: input.string(TEXT)? },
            4 => Self::Unavailable { why: input.string(TEXT)? },
            5 => Self::Compacted {
                asked: Revision(input.varint("asked revision")?),
                compacted: Revision(input.varint("compacted revision")?),
            },
            6 => Self::Future {
                asked: Revision(input.varint("asked revision")?),
                current: Revision(input.varint("current revision")?),
            },
            7 => Self::TooLarge {
                what: input.string(TEXT)?,
                size: input.varint("size")?,
                limit: input.varint("limit")?,
                flag: input.option("flag", |input| input.string("flag"))?,
            },
            8 => Self::Invalid { what: input.string(TEXT)? },
            9 => Self::Expired { id: input.string(TEXT)? },
            10 => Self::AnswerForgotten { revision: Revision(input.varint("revision")?) },
            11 => Self::NotEmpty { revision: Revision(input.varint("revision")?) },
            12 => Self::Broken { why: input.string(TEXT)? },
            13 => Self::LeaseNotFound { lease: input.varint("lease")? },
            14 => Self::LeaseExists { lease: input.varint("lease")? },
            15 => Self::KeyNotFound { key: input.bytes("missing key")? },
            16 => Self::Fenced {
                key: input.bytes("fence key")?,
                created: Revision(input.varint("fence created")?),
                current: input
                    .option("fence current", |input| input.varint("fence current").map(Revision))?,
            },
            17 => Self::Denied { denial: Denial::decode(input)? },
            18 => Self::Member { denial: MemberDenial::decode(input)? },
            _ => return Err(input.malformed("refusal")),
        })
    }
}
