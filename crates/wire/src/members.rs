//! The members of a cluster: who they are, where they are found, and how an operator changes them.
//!
//! A node's number is given once and never again: a machine that comes back empty, or a node that was
//! removed, joins under a new one. So no promise of a former life can be taken for one of the new.

use crate::{DecodeError, NodeId, Reader, Writer};

/// How a node takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// It votes, and has the data.
    #[default]
    Voter,
    /// It votes and keeps the log, and has no data.
    Witness,
    /// It has the data without a vote, for as long as nobody promotes it.
    Learner,
    /// It has no vote yet, and gets one as soon as it has caught up; then the node that it replaces
    /// goes.
    Joining {
        /// In whose place.
        replaces: Option<NodeId>,
        /// Whether it will be a witness.
        witness: bool,
    },
    /// It goes: its vote counts until the others have agreed to do without it.
    Leaving,
}

impl Part {
    /// Whether such a node keeps the log without the data, or will.
    pub fn is_witness(self) -> bool {
        matches!(self, Self::Witness | Self::Joining { witness: true, .. })
    }

    /// Whether such a node votes, and goes on to.
    pub fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Witness)
    }

    /// Its name, for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Witness => "witness",
            Self::Learner => "learner",
            Self::Joining { .. } => "joining",
            Self::Leaving => "leaving",
        }
    }
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Where clients reach it (`host:port`). Empty as long as nobody has said.
    pub client_address: String,
    /// Where the other nodes reach it (`host:port`).
    pub peer_address: String,
    /// How it takes part.
    pub part: Part,
    /// How much it is preferred as leader: from 0, which leads only while nobody else can, to
    /// [`Member::HIGHEST_PRIORITY`]. Where all have the same, leadership stays where it is.
    pub priority: u8,
}

/// All members, and which number the next one gets. It travels with the membership that consensus keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// In the order of their numbers.
    pub list: Vec<Member>,
    /// The number of the next node that is added; higher than any that ever was.
    pub next: NodeId,
}

/// What a node that is added shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPart {
    /// A voter, when it has caught up.
    Voter,
    /// A learner, for as long as nobody promotes it.
    Learner,
    /// A witness, when it has caught up.
    Witness,
}

/// A change that an operator wants. One is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new node. It is given a number, catches up, and then gets a vote.
    Add {
        /// Where the other nodes will reach it.
        peer_address: String,
        /// Where clients will reach it; it may be empty, the node says it when it has started.
        client_address: String,
        /// As what.
        part: NewPart,
        /// Its priority as leader.
        priority: u8,
    },
    /// Gives a learner a vote, if it has caught up.
    Promote {
        /// Which.
        node: NodeId,
    },
    /// Takes a node out. Refused if those that remain and answer now would be no majority.
    Remove {
        /// Which.
        node: NodeId,
        /// Whether to do it though too few answer, or only one that is left has the data: until enough answer,
        /// nothing will be written; and what that one loses is lost.
        force: bool,
    },
    /// A new node in the place of one that is lost: it is added, catches up, and in one step gets a vote
    /// and the lost one goes. In a witness's place comes a witness.
    Replace {
        /// The lost one.
        node: NodeId,
        /// Where the other nodes will reach the new one.
        peer_address: String,
        /// Where clients will reach the new one; it may be empty.
        client_address: String,
    },
    /// Other addresses or another priority for a node.
    Update {
        /// Which.
        node: NodeId,
        /// Where the other nodes reach it; empty leaves it as it is.
        peer_address: String,
        /// Where clients reach it; empty leaves it as it is.
        client_address: String,
        /// Its priority as leader; none leaves it as it is.
        priority: Option<u8>,
    },
}

/// Why members can't be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberDenial {
    /// There is no such node.
    #[error(
        "there is no node {} in this cluster; `cairn member list` shows those that there are",
        node.0
    )]
    NotFound {
        /// Which.
        node: NodeId,
    },
    /// Another node has that address.
    #[error("node {} is found at {address} already; give the new one an address of its own", node.0)]
    AddressTaken {
        /// The other node.
        node: NodeId,
        /// The address.
        address: String,
    },
    /// It has a vote already.
    #[error("node {} is no learner; only a learner can be promoted", node.0)]
    NotLearner {
        /// Which.
        node: NodeId,
    },
    /// It lacks too much of the log.
    #[error(
        "node {} has not caught up: it has {matched} of {last} log entries; wait until it has, and \
         start it if it is not running",
        node.0
    )]
    NotCaughtUp {
        /// Which.
        node: NodeId,
        /// How far it is.
        matched: u64,
        /// How far the leader is.
        last: u64,
    },
    /// Too few would be left.
    #[error(
        "of the {voters} voters that would be left only {active} answer now, and {needed} must agree on each \
         write: start the others first, or add `--force` to do it all the same"
    )]
    NoQuorum {
        /// How many would vote.
        voters: u64,
        /// How many of them answer.
        active: u64,
        /// How many must.
        needed: u64,
    },
    /// Witnesses would be a majority.
    #[error(
        "{witnesses} of the {voters} voters that there would be are witnesses, which have no data: they must be \
         fewer than a majority, so that each write is on a node that has it; add a node with data first"
    )]
    TooManyWitnesses {
        /// How many would vote.
        voters: u64,
        /// How many of them would be witnesses.
        witnesses: u64,
    },
    /// There would be one copy of the data.
    #[error(
        "only {data} of the voters beside witnesses would have the data, and a witness can't replace it: the loss of \
         one would lose all; add a node with data first{}",
        if *forcible { ", or do it all the same with `--force`" } else { "" }
    )]
    TooFewData {
        /// How many would have it.
        data: u64,
        /// Whether it can be done all the same.
        forcible: bool,
    },
    /// There would be nobody left who votes.
    #[error("node {} is the last one that votes; a cluster has at least one voter", node.0)]
    LastVoter {
        /// Which.
        node: NodeId,
    },
    /// There are as many as there can be.
    #[error("the cluster has {limit} {what} already, and no more are allowed; remove one first")]
    TooMany {
        /// `voters` or `learners`.
        what: String,
        /// How many.
        limit: u64,
    },
    /// Nobody could reach it.
    #[error(
        "node {node} has no address at which other nodes reach it, so no other can join it: give it \
         `peer_listen` and `peer_address`, restart it, and try again"
    )]
    Unreachable {
        /// Which.
        node: NodeId,
    },
    /// The group's quorums were chosen by hand.
    #[error("this cluster's quorums have fixed sizes, so its voters can't be changed")]
    FixedQuorums,
}

/// A priority, within its bounds.
fn decode_priority(input: &mut Reader) -> Result<u8, DecodeError> {
    let priority = input.u8("priority")?;
    if priority > Member::HIGHEST_PRIORITY {
        return Err(input.malformed("priority"));
    }
    Ok(priority)
}

impl Member {
    /// The priority of whoever was given none: there is room above it and below.
    pub const DEFAULT_PRIORITY: u8 = 5;

    /// The highest priority.
    pub const HIGHEST_PRIORITY: u8 = 9;

    /// A voter of whom nothing is known but the number.
    pub fn unknown(node: NodeId) -> Self {
        Self {
            node,
            client_address: String::new(),
            peer_address: String::new(),
            part: Part::Voter,
            priority: Self::DEFAULT_PRIORITY,
        }
    }

    /// Whether it keeps the log without the data, or will.
    pub fn is_witness(&self) -> bool {
        self.part.is_witness()
    }

    /// Whether its vote counts.
    pub fn is_voter(&self) -> bool {
        matches!(self.part, Part::Voter | Part::Witness | Part::Leaving)
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.varint(self.node.0)
            .bytes(self.client_address.as_bytes())
            .bytes(self.peer_address.as_bytes())
            .u8(self.priority);
        match self.part {
            Part::Voter => out.u8(1),
            Part::Learner => out.u8(2),
            Part::Joining { replaces, witness } => {
                out.u8(if witness { 6 } else { 3 }).option(replaces, |out, node| {
                    out.varint(node.0);
                })
            }
            Part::Leaving => out.u8(4),
            Part::Witness => out.u8(5),
        };
    }

    pub(crate) fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(input.varint("member node")?),
            client_address: input.string("client address")?,
            peer_address: input.string("peer address")?,
            priority: decode_priority(input)?,
            part: match input.u8("member part")? {
                1 => Part::Voter,
                2 => Part::Learner,
                kind @ (3 | 6) => Part::Joining {
                    witness: kind == 6,
                    replaces: input.option("replaced node", |input| {
                        input.varint("replaced node").map(NodeId)
                    })?,
                },
                4 => Part::Leaving,
                5 => Part::Witness,
                _ => return Err(input.malformed("member part")),
            },
        })
    }
}

impl Members {
    /// The members with which a cluster begins: all vote.
    pub fn first(list: &[Member]) -> Self {
        let mut list = list.to_vec();
        list.sort_by_key(|member| member.node);
        let highest = list.iter().map(|member| member.node.0).max().unwrap_or(0);
        Self { list, next: NodeId(highest + 1) }
    }

    /// The member with this number.
    pub fn find(&self, node: NodeId) -> Option<&Member> {
        self.list.iter().find(|member| member.node == node)
    }

    /// Whether this number was given and is a member's no more.
    pub fn has_left(&self, node: NodeId) -> bool {
        node < self.next && self.find(node).is_none()
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.next.0).list(&self.list, |out, member| member.encode(out));
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            next: NodeId(input.varint("next node")?),
            list: input.list("members", Member::decode)?,
        })
    }
}

impl MemberChange {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Add { peer_address, client_address, part, priority } => out
                .u8(1)
                .bytes(peer_address.as_bytes())
                .bytes(client_address.as_bytes())
                .u8(match part {
                    NewPart::Voter => 0,
                    NewPart::Learner => 1,
                    NewPart::Witness => 2,
                })
                .u8(*priority),
            Self::Promote { node } => out.u8(2).varint(node.0),
            Self::Remove { node, force } => out.u8(3).varint(node.0).u8(u8::from(*force)),
            Self::Replace { node, peer_address, client_address } => out
                .u8(4)
                .varint(node.0)
                .bytes(peer_address.as_bytes())
                .bytes(client_address.as_bytes()),
            Self::Update { node, peer_address, client_address, priority } => out
                .u8(5)
                .varint(node.0)
                .bytes(peer_address.as_bytes())
                .bytes(client_address.as_bytes())
                .option(*priority, |out, priority| {
                    out.u8(priority);
                }),
        };
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.u8("member change")? {
            1 => Self::Add {
                peer_address: input.string("peer address")?,
                client_address: input.string("client address")?,
                part: match input.u8("new part")? {
                    0 => NewPart::Voter,
                    1 => NewPart::Learner,
                    2 => NewPart::Witness,
                    _ => return Err(input.malformed("new part")),
                },
                priority: decode_priority(input)?,
            },
            2 => Self::Promote { node: NodeId(input.varint("member")?) },
            3 => Self::Remove {
                node: NodeId(input.varint("member")?),
                force: input.u8("force")? != 0,
            },
            kind @ (4 | 5) => {
                let node = NodeId(input.varint("member")?);
                let peer_address = input.string("peer address")?;
                let client_address = input.string("client address")?;
                if kind == 4 {
                    Self::Replace { node, peer_address, client_address }
                } else {
                    let priority = input.option("priority", decode_priority)?;
                    Self::Update { node, peer_address, client_address, priority }
                }
            }
            _ => return Err(input.malformed("member change")),
        })
    }
}

impl MemberDenial {
    /// A short stable word for it, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "member_not_found",
            Self::AddressTaken { .. } => "member_address_taken",
            Self::NotLearner { .. } => "member_not_learner",
            Self::NotCaughtUp { .. } => "member_not_caught_up",
            Self::NoQuorum { .. } => "member_no_quorum",
            Self::LastVoter { .. } => "member_last_voter",
            Self::TooMany { .. } => "too_many_members",
            Self::Unreachable { .. } => "member_unreachable",
            Self::FixedQuorums => "member_fixed_quorums",
            Self::TooManyWitnesses { .. } => "too_many_witnesses",
            Self::TooFewData { .. } => "member_too_few_data",
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            Self::NotFound { node } => out.u8(1).varint(node.0),
            Self::AddressTaken { node, address } => {
                out.u8(2).varint(node.0).bytes(address.as_bytes())
            }
            Self::NotLearner { node } => out.u8(3).varint(node.0),
            Self::NotCaughtUp { node, matched, last } => {
                out.u8(4).varint(node.0).varint(*matched).varint(*last)
            }
            Self::NoQuorum { voters, active, needed } => {
                out.u8(5).varint(*voters).varint(*active).varint(*needed)
            }
            Self::LastVoter { node } => out.u8(6).varint(node.0),
            Self::TooMany { what, limit } => out.u8(7).bytes(what.as_bytes()).varint(*limit),
            Self::FixedQuorums => out.u8(8),
            Self::Unreachable { node } => out.u8(9).varint(node.0),
            Self::TooManyWitnesses { voters, witnesses } => {
                out.u8(10).varint(*voters).varint(*witnesses)
            }
            Self::TooFewData { data, forcible } => out.u8(11).varint(*data).u8(u8::from(*forcible)),
        };
    }

    pub(crate) fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let node = |input: &mut Reader| input.varint("member").map(NodeId);
        Ok(match input.u8("member denial")? {
            1 => Self::NotFound { node: node(input)? },
            2 => Self::AddressTaken { node: node(input)?, address: input.string("address")? },
            3 => Self::NotLearner { node: node(input)? },
            4 => Self::NotCaughtUp {
                node: node(input)?,
                matched: input.varint("matched")?,
                last: input.varint("last")?,
            },
            5 => Self::NoQuorum {
                voters: input.varint("voters")?,
                active: input.varint("active")?,
                needed: input.varint("needed")?,
            },
            6 => Self::LastVoter { node: node(input)? },
            7 => Self::TooMany { what: input.string("what")?, limit: input.varint("limit")? },
            8 => Self::FixedQuorums,
            9 => Self::Unreachable { node: node(input)? },
            10 => Self::TooManyWitnesses {
                voters: input.varint("voters")?,
                witnesses: input.varint("witnesses")?,
            },
            11 => Self::TooFewData {
                data: input.varint("data")?,
                forcible: input.u8("forcible")? != 0,
            },
            _ => return Err(input.malformed("member denial")),
        })
    }
}
