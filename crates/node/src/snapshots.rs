//! Snapshots between nodes: serving one to a replica that fell behind, and being that replica.

use std::sync::Arc;

use bytes::Bytes;
use consensus::{Input, Position, Time};
use engine::{Chunk, Engine};
use wire::NodeId;

use crate::fetch::{Fetch, Late, Stage};
use crate::group::Group;
use crate::rare::Path;
use crate::shared::Shared;
use crate::{Effect, News, PeerMessage};

impl Group {
    /// Consensus wants a snapshot. One under way from the same node goes on if it reaches far enough.
    pub(crate) fn begin_fetch(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: NodeId,
        at_least: Position,
    ) {
        if self.is_ingesting() {
            return;
        }
        let Some(from) = self.source(from, shared) else {
            if self.witness.is_some() {
                let why = "it was started as a witness, and takes no data".to_owned();
                shared.news(News::SnapshotFailed { group: self.id, why });
            }
            return self.step(shared, now, Input::SnapshotFailed);
        };
        if let Some(fetch) = &self.fetch
            && fetch.from == from
            && (fetch.at_least >= at_least || fetch.applied >= Some(at_least))
        {
            return;
        }
        self.last_fetch += 1;
        let deadline = now + shared.config.tuning.chunk_wait;
        self.fetch = Some(Fetch::new(from, self.last_fetch, at_least, deadline));
        shared.news(News::SnapshotBegun { group: self.id, from });
        self.ask_chunk(shared);
    }

    /// Whom to ask for a snapshot that this node is said to have: it, or in its place one that holds the data,
    /// each in its turn. Nobody, if this is a witness, or there is none.
    fn source(&self, from: NodeId, shared: &Shared) -> Option<NodeId> {
        if self.witness.is_some() {
            return None;
        }
        if !self.roll.is_witness(from) {
            return Some(from);
        }
        let others = self.roll.sources(shared.config.node);
        let turn = usize::try_from(self.last_fetch).unwrap_or(0) % others.len().max(1);
        others.get(turn).copied()
    }

    fn ask_chunk(&self, shared: &mut Shared) {
        let Some(fetch) = &self.fetch else { return };
        let message = PeerMessage::FetchChunk {
            group: self.id,
            fetch: fetch.id,
            sequence: fetch.sequence,
            at_least: fetch.at_least,
        };
        shared.send(fetch.from, message);
    }

    /// Asks again, or gives up, when a chunk does not come.
    pub(crate) fn push_fetch(&mut self, shared: &mut Shared, now: Time) {
        let wait = shared.config.tuning.chunk_wait;
        match self.fetch.as_mut().map_or(Late::No, |fetch| fetch.late(now, wait)) {
            Late::No => {}
            Late::Again => self.ask_chunk(shared),
            Late::GiveUp => self.fail_fetch(shared, now, "its source stopped answering"),
        }
    }

    /// Our state is lost: any other node's will do that reaches to the beginning of our log, and
    /// beyond what we had. They are asked in turn.
    pub(crate) fn fetch_missing(&mut self, shared: &mut Shared, now: Time) {
        if !self.state_missing || self.fetch.is_some() || now < self.fetch_again {
            return;
        }
        let others = self.roll.sources(shared.config.node);
        let turn = usize::try_from(self.last_fetch).unwrap_or(0) % others.len().max(1);
        if let Some(source) = others.get(turn) {
            let applied = shared.engine.applied(self.id);
            let beyond = Position { index: applied.index.next(), ..applied };
            let at_least = self.core.status().base.max(beyond);
            self.begin_fetch(shared, now, *source, at_least);
        }
    }

    /// The fetch came to nothing; consensus will ask again when it still needs one.
    pub(crate) fn fail_fetch(&mut self, shared: &mut Shared, now: Time, why: &str) {
        if let Some(fetch) = self.fetch.take() {
            // Once it was told to ingest, the engine waits for a snapshot, whatever came of this one.
            self.state_missing |= fetch.stage == Stage::Ingesting;
            self.fetch_again = now + shared.config.tuning.chunk_wait;
            shared.news(News::SnapshotFailed { group: self.id, why: why.to_owned() });
            self.step(shared, now, Input::SnapshotFailed);
        }
    }

    /// A chunk has come.
    pub(crate) fn chunk_came(
        &mut self,
        shared: &mut Shared,
        now: Time,
        id: u64,
        applied: Position,
        chunk: Chunk,
    ) {
        let own = self.applied(shared);
        let Some(fetch) = self.fetch.as_mut() else { return };
        if !fetch.wants(id, chunk.sequence, applied) {
            return;
        }
        if applied.index < fetch.at_least.index || applied.index <= own {
            return self.fail_fetch(shared, now, "it does not reach far enough");
        }
        fetch.applied = Some(applied);
        fetch.stage = Stage::Staging { last: chunk.last };
        let job = shared.engine.stage(self.id, chunk);
        shared.emit(Effect::Work(job));
    }

    /// A chunk is written down.
    pub(crate) fn chunk_staged(&mut self, shared: &mut Shared, now: Time, sequence: u64) {
        let own = self.applied(shared);
        let deadline = now + shared.config.tuning.chunk_wait;
        let Some(fetch) = self.fetch.as_mut() else { return };
        let Stage::Staging { last } = fetch.stage else { return };
        if fetch.sequence != sequence {
            return;
        }
        if !last {
            fetch.advance(deadline);
            return self.ask_chunk(shared);
        }
        if fetch.applied.is_none_or(|applied| applied.index <= own) {
            return self.fail_fetch(shared, now, "the log has caught up meanwhile");
        }
        fetch.stage = Stage::Ingesting;
        let job = shared.engine.ingest(self.id, &[self.space]);
        shared.emit(Effect::Work(job));
    }

    /// The snapshot is the state now.
    pub(crate) fn ingested(&mut self, shared: &mut Shared, now: Time, applied: Position) {
        self.fetch = None;
        self.reload(shared, now, applied);
    }

    /// Whether the state is being replaced at this moment.
    pub(crate) fn is_ingesting(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.stage == Stage::Ingesting)
    }

    /// Another node says that it can't go on with our fetch.
    pub(crate) fn no_chunk(&mut self, shared: &mut Shared, now: Time, id: u64) {
        let ours = |fetch: &Fetch| fetch.id == id && fetch.stage == Stage::Asking;
        if self.fetch.as_ref().is_some_and(ours) {
            self.fail_fetch(shared, now, "its source has let it go");
        }
    }

    /// Another node wants a chunk of our state.
    pub(crate) fn feed(
        &mut self,
        shared: &mut Shared,
        now: Time,
        to: NodeId,
        (fetch, sequence): (u64, u64),
        at_least: Position,
    ) {
        if self.feeds.is_past(to, fetch, sequence) {
            return;
        }
        if shared.config.rare.opens(Path::LostFeed) {
            return shared.send(to, PeerMessage::NoChunk { group: self.id, fetch });
        }
        let (id, space, engine) = (self.id, self.space, &*shared.engine);
        let durable = engine.durable(id).index;
        if durable < at_least.index && at_least.index <= engine.applied(id).index {
            // A quiet node would flush no further by itself, and the asker comes again.
            self.durable_wanted = at_least.index;
        }
        let far_enough =
            durable >= at_least.index && !self.is_ingesting() && self.witness.is_none();
        let checkpoint = || far_enough.then(|| checkpoint(engine, id, space));
        match self.feeds.ask(now, id, to, fetch, sequence, checkpoint) {
            Some(task) => shared.emit(Effect::ReadChunk(task)),
            None => shared.send(to, PeerMessage::NoChunk { group: id, fetch }),
        }
    }

    /// A chunk for another node was read.
    pub(crate) fn chunk_read(
        &mut self,
        shared: &mut Shared,
        to: NodeId,
        fetch: u64,
        (chunk, cursor): (Chunk, Bytes),
    ) {
        let Some(applied) = self.feeds.read(to, fetch, chunk.sequence, cursor) else { return };
        shared.metrics.snapshot_chunks_sent.inc();
        shared.send(to, PeerMessage::Chunk { group: self.id, fetch, applied, chunk });
    }
}

fn checkpoint(
    engine: &dyn Engine,
    group: wire::GroupId,
    space: wire::SpaceId,
) -> Arc<dyn engine::Checkpoint> {
    engine.checkpoint(group, &[space])
}
