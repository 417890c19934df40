//! The first words on a connection: who speaks, which release's language, of which cluster.

use crate::{DecodeError, NodeId, Reader, Writer};

/// What every connection of ours begins with, before its first frame. No HTTP method begins so,
/// which lets one port speak both.
pub const MAGIC: &[u8; 8] = b"CAIRN\r\n\x1a";

/// The language of frames. Raised when an older release could not understand the newer one.
pub const PROTOCOL_VERSION: u16 = 3;

/// Why a connection was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Another node's replication messages. One way: answers come on the other node's connection.
    Peer,
    /// Requests, each with its answer.
    Client,
}

/// First frame of whoever opened the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's [`PROTOCOL_VERSION`].
    pub version: u16,
    /// Why it calls.
    pub purpose: Purpose,
    /// The cluster that it means; a client that does not care leaves it empty.
    pub cluster: String,
    /// Which node it is; `None` for a client.
    pub node: Option<NodeId>,
    /// Which node it means to reach; `None` if any will do.
    pub to: Option<NodeId>,
    /// By which protocol it keeps the cluster's logs; empty for a client.
    pub consensus: String,
    /// Where it is reached by other nodes, for one that does not know it yet; empty for a client.
    pub address: String,
    /// Its journal's name: another one under the same number has lost what it promised. 0 for a client.
    pub journal: u64,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Who answers.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: String,
    /// A log index that this node has applied: see [`crate::Command::since`].
    pub applied: u64,
}

/// A connection was refused at its first word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Another release.
    #[error(
        "it speaks protocol {theirs}, this is protocol {ours}; run one release, or upgrade the older side first"
    )]
    Version {
        /// What the caller speaks.
        theirs: u16,
        /// What the called speaks.
        ours: u16,
    },
    /// Another cluster.
    #[error(
        "the caller belongs to cluster {theirs:?}, this node to {ours:?}; check the addresses in the configuration"
    )]
    Cluster {
        /// The caller's.
        theirs: String,
        /// The called one's.
        ours: String,
    },
    /// Another node listens at this address.
    #[error(
        "the caller wants node {}, this is node {}; check the addresses in the configuration",
        wanted.0, actual.0
    )]
    Node {
        /// Whom the caller wanted.
        wanted: NodeId,
        /// Who answered.
        actual: NodeId,
    },
    /// A peer that is no member.
    #[error(
        "node {} is not a member of this cluster; `cairn member add` makes it one and tells its number",
        node.0
    )]
    Stranger {
        /// Who called.
        node: NodeId,
    },
    /// A peer that was a member.
    #[error(
        "node {} was removed from this cluster; stop it, and if its machine shall come back, empty its \
         data directory and let it join as a new node: `cairn member add`",
        node.0
    )]
    Removed {
        /// Who called.
        node: NodeId,
    },
    /// A peer that has forgotten what it promised.
    #[error(
        "node {} has another data directory than before, so it may have lost what it promised; bring the \
         old one back, or let a new node take its place: `cairn member replace {}`",
        node.0, node.0
    )]
    Forgetful {
        /// Who called.
        node: NodeId,
    },
    /// A peer whose promises mean nothing to this node.
    #[error(
        "the caller keeps its logs by {theirs}, this node by {ours}: a cluster keeps the protocol with which \
         it began; set `protocol = \"{ours}\"` there, if it has no data yet"
    )]
    Consensus {
        /// The caller's.
        theirs: String,
        /// The called one's.
        ours: String,
    },
    /// Peers are not welcome on the client port.
    #[error("this is a client port; nodes connect to the peer port")]
    NotHere,
}

impl Hello {
    /// What the called node says to it. `admits` judges another node that calls.
    pub fn check(
        &self,
        cluster: &str,
        node: NodeId,
        consensus: &str,
        admits: impl FnOnce(NodeId) -> Result<(), HelloError>,
    ) -> Result<(), HelloError> {
        if self.version != PROTOCOL_VERSION {
            return Err(HelloError::Version { theirs: self.version, ours: PROTOCOL_VERSION });
        }
        let any_cluster = self.cluster.is_empty() && self.purpose == Purpose::Client;
        if self.cluster != cluster && !any_cluster {
            return Err(HelloError::Cluster {
                theirs: self.cluster.clone(),
                ours: cluster.to_owned(),
            });
        }
        if let Some(wanted) = self.to.filter(|&wanted| wanted != node) {
            return Err(HelloError::Node { wanted, actual: node });
        }
        if self.purpose == Purpose::Peer && self.consensus != consensus {
            return Err(HelloError::Consensus {
                theirs: self.consensus.clone(),
                ours: consensus.to_owned(),
            });
        }
        match (self.purpose, self.node) {
            (Purpose::Peer, Some(caller)) if caller == node => {
                Err(HelloError::Stranger { node: caller })
            }
            (Purpose::Peer, Some(caller)) => admits(caller),
            (Purpose::Peer, None) => Err(HelloError::Stranger { node: NodeId(0) }),
            (Purpose::Client, _) => Ok(()),
        }
    }

    /// Appends its encoding. The version stands first, so that every release can read it.
    pub fn encode(&self, out: &mut Writer) {
        out.u16(self.version)
            .u8(match self.purpose {
                Purpose::Peer => 1,
                Purpose::Client => 2,
            })
            .bytes(self.cluster.as_bytes());
        for node in [self.node, self.to] {
            out.option(node, |out, node| {
                out.varint(node.0);
            });
        }
        out.bytes(self.consensus.as_bytes())
            .bytes(self.address.as_bytes())
            .raw(&self.journal.to_le_bytes());
    }

    /// Reads its encoding. Of another release only the version is read.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let version = input.u16("protocol version")?;
        if version != PROTOCOL_VERSION {
            input.rest();
            return Ok(Self {
                version,
                purpose: Purpose::Client,
                cluster: String::new(),
                node: None,
                to: None,
                consensus: String::new(),
                address: String::new(),
                journal: 0,
            });
        }
        let purpose = match input.u8("purpose")? {
            1 => Purpose::Peer,
            2 => Purpose::Client,
            _ => return Err(input.malformed("purpose")),
        };
        let cluster = input.string("cluster")?;
        let mut node =
            |what| input.option(what, |input: &mut Reader| input.varint(what).map(NodeId));
        let (node, to) = (node("caller")?, node("called")?);
        let consensus = input.string("consensus protocol")?;
        let address = input.string("peer address")?;
        let journal = u64::from(input.u32("journal")?) | u64::from(input.u32("journal")?) << 32;
        Ok(Self { version, purpose, cluster, node, to, consensus, address, journal })
    }
}

impl Welcome {
    /// Appends the encoding of an answer.
    pub fn encode_answer(answer: &Result<Self, HelloError>, out: &mut Writer) {
        match answer {
            Ok(welcome) => {
                out.u8(0)
                    .varint(welcome.node.0)
                    .bytes(welcome.cluster.as_bytes())
                    .varint(welcome.applied);
            }
            Err(HelloError::Version { theirs, ours }) => {
                out.u8(1).u16(*theirs).u16(*ours);
            }
            Err(HelloError::Cluster { theirs, ours }) => {
                out.u8(2).bytes(theirs.as_bytes()).bytes(ours.as_bytes());
            }
            Err(HelloError::Node { wanted, actual }) => {
                out.u8(3).varint(wanted.0).varint(actual.0);
            }
            Err(HelloError::Stranger { node }) => {
                out.u8(4).varint(node.0);
            }
            Err(HelloError::NotHere) => {
                out.u8(5);
            }
            Err(HelloError::Removed { node }) => {
                out.u8(7).varint(node.0);
            }
            Err(HelloError::Forgetful { node }) => {
                out.u8(8).varint(node.0);
            }
            Err(HelloError::Consensus { theirs, ours }) => {
                out.u8(6).bytes(theirs.as_bytes()).bytes(ours.as_bytes());
            }
        }
    }

    /// Reads an answer.
    pub fn decode_answer(input: &mut Reader) -> Result<Result<Self, HelloError>, DecodeError> {
        Ok(match input.u8("welcome")? {
            0 => Ok(Self {
                node: NodeId(input.varint("welcome node")?),
                cluster: input.string("welcome cluster")?,
                applied: input.varint("welcome applied")?,
            }),
            1 => Err(HelloError::Version {
                theirs: input.u16("version")?,
                ours: input.u16("version")?,
            }),
            2 => Err(HelloError::Cluster {
                theirs: input.string("cluster")?,
                ours: input.string("cluster")?,
            }),
            3 => Err(HelloError::Node {
                wanted: NodeId(input.varint("node")?),
                actual: NodeId(input.varint("node")?),
            }),
            4 => Err(HelloError::Stranger { node: NodeId(input.varint("node")?) }),
            5 => Err(HelloError::NotHere),
            6 => Err(HelloError::Consensus {
                theirs: input.string("theirs")?,
                ours: input.string("ours")?,
            }),
            7 => Err(HelloError::Removed { node: NodeId(input.varint("node")?) }),
            8 => Err(HelloError::Forgetful { node: NodeId(input.varint("node")?) }),
            _ => return Err(input.malformed("welcome")),
        })
    }
}
