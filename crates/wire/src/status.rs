//! How a node is.

use crate::{DecodeError, Member, NodeId, Reader, Revision, Writer};

/// How far another node is, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The other node.
    pub node: NodeId,
    /// Highest log index known to be on its disk.
    pub matched: u64,
    /// `probe`, `replicate` or `snapshot`.
    pub state: String,
    /// Whether it has answered lately.
    pub active: bool,
}

/// How a node is: its role in the group and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// The program's version.
    pub version: String,
    /// `leader`, `follower`, `learner`, `candidate`, `pre-candidate` or `in-doubt`.
    pub role: String,
    /// By which protocol the group keeps its log: `raft`, `paxos` or `zab`.
    pub protocol: String,
    /// Where it stands, in that protocol's own words, such as `term 4`.
    pub standing: String,
    /// Current term, round of the ballot, or epoch.
    pub epoch: u64,
    /// Who leads, as this node knows.
    pub leader: Option<NodeId>,
    /// Newest revision of the store.
    pub revision: Revision,
    /// Oldest readable revision.
    pub compacted: Revision,
    /// Last log index applied.
    pub applied: u64,
    /// Last log index known committed.
    pub commit: u64,
    /// Last log index.
    pub last: u64,
    /// The state machine's image is on disk up to this log index.
    pub durable: u64,
    /// Whether it serves: it knows a leader and is not in doubt.
    pub ready: bool,
    /// What an operator should know and do, if anything is wrong.
    pub trouble: Option<String>,
    /// What an operator should know though nothing has to be done: that this node has handed leadership
    /// over by itself a while ago, and why.
    pub notice: Option<String>,
    /// All nodes.
    pub members: Vec<Member>,
    /// Leader only: how far the others are.
    pub peers: Vec<PeerStatus>,
}

impl NodeStatus {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.node.0)
            .bytes(self.cluster.as_bytes())
            .bytes(self.version.as_bytes())
            .bytes(self.role.as_bytes())
            .bytes(self.protocol.as_bytes())
            .bytes(self.standing.as_bytes())
            .varint(self.epoch)
            .option(self.leader, |out, leader| {
                out.varint(leader.0);
            })
            .varint(self.revision.0)
            .varint(self.compacted.0)
            .varint(self.applied)
            .varint(self.commit)
            .varint(self.last)
            .varint(self.durable)
            .u8(u8::from(self.ready))
            .option(self.trouble.as_ref(), |out, trouble| {
                out.bytes(trouble.as_bytes());
            })
            .option(self.notice.as_ref(), |out, notice| {
                out.bytes(notice.as_bytes());
            })
            .list(&self.members, |out, member| member.encode(out))
            .list(&self.peers, |out, peer| {
                out.varint(peer.node.0)
                    .varint(peer.matched)
                    .bytes(peer.state.as_bytes())
                    .u8(u8::from(peer.active));
            });
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(input.varint("status node")?),
            cluster: input.string("status cluster")?,
            version: input.string("status version")?,
            role: input.string("status role")?,
            protocol: input.string("status protocol")?,
            standing: input.string("status standing")?,
            epoch: input.varint("status epoch")?,
            leader: input.option("status leader", |input| input.varint("leader").map(NodeId))?,
            revision: Revision(input.varint("status revision")?),
            compacted: Revision(input.varint("status compacted")?),
            applied: input.varint("status applied")?,
            commit: input.varint("status commit")?,
            last: input.varint("status last")?,
            durable: input.varint("status durable")?,
            ready: input.u8("status ready")? != 0,
            trouble: input.option("status trouble", |input| input.string("trouble"))?,
            notice: input.option("status notice", |input| input.string("notice"))?,
            members: input.list("members", Member::decode)?,
            peers: input.list("peers", |input| {
                Ok(PeerStatus {
                    node: NodeId(input.varint("peer node")?),
                    matched: input.varint("peer matched")?,
                    state: input.string("peer state")?,
                    active: input.u8("peer active")? != 0,
                })
            })?,
        })
    }
}
