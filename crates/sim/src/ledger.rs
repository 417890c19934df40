//! What the nodes' logs say, as the simulation overhears it from their journals and answers: one
//! leader in an epoch, equal entries at equal positions, and one entry for ever where one was applied.
//!
//! Under Paxos a journal's positions are stamps: equal ones are of one proposal all the same, and a
//! value that was applied is known by its origin. A ballot belongs to its proposer by its very name.
//!
//! # Reference
//!
//! Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (2014), figure 3.

use std::collections::BTreeMap;

use consensus::paxos::Stamp;
use consensus::{Entry, Payload, Position, Protocol};
use journal::{LogId, Record, Recovered};
use wire::{GroupId, NodeId};

/// Why what was overheard can't be.
pub(crate) type Contradiction = (&'static str, String);

/// What was overheard so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    protocol: Protocol,
    leaders: BTreeMap<(GroupId, u64), NodeId>,
    /// By log and position: what the entry says.
    entries: BTreeMap<(LogId, Position), u64>,
    /// What some node has applied, and who was first.
    applied: BTreeMap<(LogId, u64), (Position, NodeId)>,
    nodes: BTreeMap<NodeId, BTreeMap<LogId, NodeLog>>,
    /// The store's revision at a log index, as an answer said.
    revisions: BTreeMap<u64, u64>,
    /// By log index: what some node remembered of requests there, and which one.
    memories: BTreeMap<u64, (u64, NodeId)>,
    /// By revision: what some node held there, the changes before it if it still had them, and which
    /// node it was.
    states: BTreeMap<u64, (u64, Option<u64>, NodeId)>,
    audits: u64,
    /// By log index: what a scrub of the state there came to, and on which node first.
    scrubbed: BTreeMap<u64, (u32, NodeId)>,
    scrubs: u64,
}

/// A node's log.
#[derive(Debug, Default)]
struct NodeLog {
    positions: BTreeMap<u64, Position>,
    /// Applied, and compared, up to here.
    compared: u64,
}

impl Ledger {
    /// Of a cluster that keeps its log by this protocol.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }

    /// A node says that it leads.
    pub(crate) fn leads(
        &mut self,
        group: GroupId,
        term: u64,
        node: NodeId,
    ) -> Result<(), Contradiction> {
        let first = *self.leaders.entry((group, term)).or_insert(node);
        if first == node || self.protocol == Protocol::Paxos {
            return Ok(());
        }
        let word = self.protocol.epoch_word();
        Err(("one leader", format!("{first} and {node} both lead {group} in {word} {term}")))
    }

    /// How many terms had a leader.
    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A node starts with what its journal gave back, and an image of the state up to `image`. A damaged
    /// journal may have lost the word that a snapshot was installed: what it holds below that was never
    /// applied, and may be open slots.
    pub(crate) fn starts(
        &mut self,
        node: NodeId,
        recovered: &Recovered,
        image: u64,
    ) -> Result<(), Contradiction> {
        self.nodes.insert(node, BTreeMap::new());
        // By Paxos an image that was durable before the slots under it tells nothing of what these hold.
        let knows_less = recovered.damage.is_some() || self.protocol == Protocol::Paxos;
        let covered = if knows_less { image } else { 0 };
        for (log, recovered) in &recovered.logs {
            for entry in &recovered.entries {
                self.append(node, *log, entry)?;
            }
            self.log(node, *log).compared = recovered.base.index.0.max(covered);
        }
        Ok(())
    }

    /// A node writes to its journal.
    pub(crate) fn journals(
        &mut self,
        node: NodeId,
        records: &[Record],
    ) -> Result<(), Contradiction> {
        for record in records {
            match record {
                Record::Entry { log, entry } => self.append(node, *log, entry)?,
                Record::Base { log, base } => self.rebase(node, *log, *base),
                Record::Forget { log } => *self.log(node, *log) = NodeLog::default(),
                Record::HardState { .. } | Record::Membership { .. } => {}
            }
        }
        Ok(())
    }

    /// A node says how far it has applied its log.
    pub(crate) fn applies(
        &mut self,
        node: NodeId,
        log: LogId,
        through: u64,
    ) -> Result<(), Contradiction> {
        let Self { protocol, nodes, applied, .. } = self;
        let Some(mine) = nodes.get_mut(&node).and_then(|logs| logs.get_mut(&log)) else {
            return Ok(());
        };
        if through <= mine.compared {
            return Ok(());
        }
        // Where it installed a snapshot it holds no entries to compare.
        for (index, position) in mine.positions.range(mine.compared + 1..=through) {
            let position = &value_of(*protocol, *position);
            let (first, by) = *applied.entry((log, *index)).or_insert((*position, node));
            if first != *position {
                let what = format!("{by} applied {first}, {node} applied {position}");
                return Err(("state machine safety", what));
            }
        }
        mine.compared = through;
        Ok(())
    }

    /// An answer says which revision belongs to which log index. Revisions never go back: not on one
    /// node, not from node to node, not across a crash.
    pub(crate) fn answers(
        &mut self,
        node: NodeId,
        applied: u64,
        revision: u64,
    ) -> Result<(), Contradiction> {
        let what = |other: (&u64, &u64)| {
            let (index, known) = other;
            let what = format!(
                "{node} says that log index {applied} is revision {revision}; index {index} is {known}"
            );
            Err(("revisions only grow", what))
        };
        match self.revisions.range(..=applied).next_back() {
            Some((index, known)) if *index == applied && *known == revision => return Ok(()),
            Some(before) if *before.0 == applied || *before.1 > revision => return what(before),
            Some(_) | None => {}
        }
        if let Some(after) = self.revisions.range(applied..).next()
            && *after.1 < revision
        {
            return what(after);
        }
        self.revisions.insert(applied, revision);
        Ok(())
    }

    /// A node's memory of requests when it has applied so much.
    pub(crate) fn remembers(
        &mut self,
        node: NodeId,
        applied: u64,
        memory: u64,
    ) -> Result<(), Contradiction> {
        self.audits += 1;
        let (first, by) = *self.memories.entry(applied).or_insert((memory, node));
        if first == memory {
            return Ok(());
        }
        let what = format!(
            "{by} and {node} remember other requests, leases or users at log index {applied}"
        );
        Err(("equal replicas", what))
    }

    /// What a node holds at a revision.
    pub(crate) fn holds(
        &mut self,
        node: NodeId,
        revision: u64,
        rows: u64,
        changes: Option<u64>,
    ) -> Result<(), Contradiction> {
        self.audits += 1;
        let known = self.states.entry(revision).or_insert((rows, changes, node));
        let by = known.2;
        if known.0 != rows {
            let what = format!("{by} and {node} hold other keys at revision {revision}");
            return Err(("equal replicas", what));
        }
        if let (Some(one), Some(two)) = (known.1, changes)
            && one != two
        {
            let what = format!("{by} and {node} report other changes before revision {revision}");
            return Err(("equal replicas", what));
        }
        known.1 = known.1.or(changes);
        Ok(())
    }

    /// What a scrub of the state at a log index came to on a node.
    pub(crate) fn scrubs(
        &mut self,
        node: NodeId,
        index: u64,
        checksum: u32,
    ) -> Result<(), Contradiction> {
        self.scrubs += 1;
        let (first, by) = *self.scrubbed.entry(index).or_insert((checksum, node));
        if first == checksum {
            return Ok(());
        }
        let what = format!(
            "the scrub at log index {index} came to {first:08x} on {by} and to {checksum:08x} on {node}"
        );
        Err(("equal replicas", what))
    }

    /// How many scrubs came to an end.
    pub(crate) fn scrubs_ended(&self) -> u64 {
        self.scrubs
    }

    /// How often states were compared, or kept to be compared.
    pub(crate) fn audits(&self) -> u64 {
        self.audits
    }

    fn append(&mut self, node: NodeId, log: LogId, entry: &Entry) -> Result<(), Contradiction> {
        let sum = sum_of(&entry.payload);
        let first = *self.entries.entry((log, entry.position)).or_insert(sum);
        if first != sum {
            let what = format!("{node} holds another entry at {} than others", entry.position);
            return Err(("log matching", what));
        }
        let positions = &mut self.log(node, log).positions;
        positions.split_off(&entry.position.index.0);
        positions.insert(entry.position.index.0, entry.position);
        Ok(())
    }

    fn rebase(&mut self, node: NodeId, log: LogId, base: Position) {
        let positions = &mut self.log(node, log).positions;
        let agrees = positions.get(&base.index.0) == Some(&base);
        let after = positions.split_off(&(base.index.0 + 1));
        *positions = if agrees { after } else { BTreeMap::new() };
    }

    fn log(&mut self, node: NodeId, log: LogId) -> &mut NodeLog {
        self.nodes.entry(node).or_default().entry(log).or_default()
    }
}

/// The name that all nodes have for the value that a journal has at this position.
fn value_of(protocol: Protocol, position: Position) -> Position {
    match protocol {
        Protocol::Raft | Protocol::Zab => position,
        Protocol::Paxos => Position { epoch: Stamp::unpack(position.epoch).origin, ..position },
    }
}

/// A number that tells payloads apart.
fn sum_of(payload: &Payload) -> u64 {
    let Payload::Command(bytes) = payload else { return 1 };
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrubs_of_one_state_must_agree() {
        let mut ledger = Ledger::new(Protocol::Raft);
        assert!(ledger.scrubs(NodeId(1), 7, 5).is_ok());
        assert!(ledger.scrubs(NodeId(2), 7, 5).is_ok());
        assert!(ledger.scrubs(NodeId(3), 9, 6).is_ok(), "another state");
        let (check, what) = ledger.scrubs(NodeId(3), 7, 6).expect_err("it differs");
        assert_eq!(check, "equal replicas");
        assert!(what.contains("log index 7") && what.contains("n3"), "{what}");
        assert_eq!(ledger.scrubs_ended(), 4);
    }
}
