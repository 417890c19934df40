//! What the groups of a node share: the engine, the journal's next write, the effects, the budgets.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus::{Durable, PersistId};
use engine::{Engine, ReadError};
use journal::{LogId, Record};
use wire::{GroupId, Header, NodeId, Query, Refusal, Reply, Revision, SpaceId};

use crate::metrics::Metrics;
use crate::rare::Path;
use crate::serve::ReadKind;
use crate::watches::Watched;
use crate::{Answer, Config, Effect, News, PeerEnvelope, PeerMessage, ReadTask, Ticket, WriteId};

/// What an operator should do about a broken engine.
pub(crate) const REBUILD: &str = "Check the disk, then move this node's `engine` directory away \
    and start it again: its state is rebuilt from the journal and the other nodes";

/// Everything of a node that is not one group's own.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) cluster: u64,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) metrics: Metrics,
    /// Bytes of commands taken but not answered.
    pub(crate) inflight_bytes: usize,
    /// Requests without an answer yet.
    pub(crate) waiting: usize,
    /// The journal finds no room.
    pub(crate) disk_full: bool,
    /// The process is about to end.
    pub(crate) retiring: bool,
    effects: Vec<Effect>,
    records: Vec<Record>,
    persists: Vec<(GroupId, PersistId)>,
    under_way: VecDeque<(WriteId, Vec<(GroupId, PersistId)>)>,
    last_write: WriteId,
    stopped: bool,
}

impl Shared {
    pub(crate) fn new(config: Config, engine: Box<dyn Engine>) -> Self {
        let cluster = crate::peer::fingerprint(&config.cluster);
        Self {
            config,
            cluster,
            engine,
            metrics: Metrics::default(),
            inflight_bytes: 0,
            waiting: 0,
            disk_full: false,
            retiring: false,
            effects: Vec::new(),
            records: Vec::new(),
            persists: Vec::new(),
            under_way: VecDeque::new(),
            last_write: WriteId(0),
            stopped: false,
        }
    }

    /// Asks the driver for something.
    pub(crate) fn emit(&mut self, effect: Effect) {
        if !self.stopped {
            self.effects.push(effect);
        }
    }

    pub(crate) fn news(&mut self, news: News) {
        self.emit(Effect::News(news));
    }

    pub(crate) fn envelope(&self, to: NodeId, message: PeerMessage) -> PeerEnvelope {
        PeerEnvelope { cluster: self.cluster, from: self.config.node, to, message }
    }

    pub(crate) fn send(&mut self, to: NodeId, message: PeerMessage) {
        let envelope = self.envelope(to, message);
        self.emit(Effect::Send(envelope));
    }

    /// The one answer to a request.
    pub(crate) fn reply(&mut self, ticket: Ticket, answer: Answer) {
        self.waiting -= 1;
        if let Err(refusal) = &answer {
            self.metrics.refusals.inc();
            if matches!(refusal, Refusal::Busy { .. }) {
                self.metrics.busy.inc();
            }
        }
        self.emit(Effect::Reply { ticket, answer });
    }

    pub(crate) fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        self.reply(ticket, Err(refusal));
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, header: Header, reply: Reply) {
        self.reply(ticket, Ok((header, reply)));
    }

    /// A read of one page, to be run elsewhere.
    pub(crate) fn read_page(
        &mut self,
        ticket: Ticket,
        space: SpaceId,
        query: Query,
        header: Header,
    ) {
        self.metrics.reads.inc();
        let at = query.revision.unwrap_or(header.revision);
        self.read(ticket, space, header, ReadKind::Page { query, at });
    }

    /// A read of changes, to be run elsewhere. No state before `readable` can be read.
    pub(crate) fn read_changes(
        &mut self,
        ticket: Ticket,
        space: SpaceId,
        watched: Watched,
        readable: Revision,
        header: Header,
    ) {
        self.metrics.watch_answers.inc();
        let kind = ReadKind::Changes { watched, to: header.revision, readable };
        self.read(ticket, space, header, kind);
    }

    fn read(&mut self, ticket: Ticket, space: SpaceId, header: Header, kind: ReadKind) {
        self.waiting -= 1;
        let rarely = self.config.rare.opens(Path::SmallPage);
        let limit_bytes = if rarely { 1 } else { self.config.tuning.page_limit_bytes };
        let task = ReadTask {
            view: self.engine.view(),
            space,
            header,
            kind,
            limit_bytes,
            #[cfg(feature = "planted")]
            planted: self.config.planted,
        };
        self.emit(Effect::Read { ticket, task });
    }

    /// Adds one group's write to the journal's next batch.
    pub(crate) fn persist(&mut self, group: GroupId, durable: Durable) {
        self.persists.push((group, durable.id));
        self.records.extend(records_of(LogId(group.0), durable));
    }

    /// Lets the gathered batch out as one journal write.
    pub(crate) fn write_journal(&mut self) {
        if self.persists.is_empty() {
            return;
        }
        self.last_write = WriteId(self.last_write.0 + 1);
        self.under_way.push_back((self.last_write, std::mem::take(&mut self.persists)));
        self.metrics.journal_writes.inc();
        let records = std::mem::take(&mut self.records);
        self.emit(Effect::Journal { write: self.last_write, records });
    }

    /// Which groups' writes are durable with this journal write, in order.
    pub(crate) fn journaled(&mut self, write: WriteId) -> Vec<(GroupId, PersistId)> {
        let mut persisted = Vec::new();
        while let Some((first, _)) = self.under_way.front()
            && *first <= write
            && let Some((_, writes)) = self.under_way.pop_front()
        {
            persisted.extend(writes);
        }
        persisted
    }

    /// Whether every journal write asked for is durable.
    pub(crate) fn journal_is_idle(&self) -> bool {
        self.under_way.is_empty() && self.persists.is_empty()
    }

    /// Nothing more comes out of this node.
    pub(crate) fn stop(&mut self, why: String) {
        self.emit(Effect::Stop { why });
        self.stopped = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn storage_failed(&mut self, error: &ReadError) {
        self.stop(format!("the storage engine can't be read: {error}. {REBUILD}"));
    }

    pub(crate) fn take_effects(&mut self, out: &mut Vec<Effect>) {
        out.append(&mut self.effects);
    }

    /// A value's bytes are counted while its command is under way.
    pub(crate) fn release_bytes(&mut self, bytes: usize) {
        self.inflight_bytes -= bytes;
    }

    /// Whether one request too many is waiting.
    pub(crate) fn is_crowded(&self) -> bool {
        #[cfg(feature = "planted")]
        if self.config.planted == Some(crate::config::Planted::UnboundedQueue) {
            return false;
        }
        self.waiting > self.config.tuning.waiting_limit
    }

    /// Whether one more command of this size may come in.
    pub(crate) fn admit(&mut self, command: &Bytes) -> Result<(), Refusal> {
        let busy = |what: &str| Err(Refusal::Busy { what: what.to_owned() });
        if self.config.rare.opens(Path::BusyRefusal) {
            return busy("a rare path is opened");
        }
        if self.disk_full {
            return busy("the journal finds no room on the disk");
        }
        let tuning = &self.config.tuning;
        if self.engine.unflushed_bytes() > tuning.unflushed_limit_bytes {
            return busy("the storage engine can't keep up");
        }
        let bytes = self.inflight_bytes + command.len();
        if bytes > tuning.inflight_limit_bytes && self.inflight_bytes > 0 {
            return busy("too many bytes of commands are under way");
        }
        self.inflight_bytes = bytes;
        Ok(())
    }
}

/// What a write of consensus is in the journal.
pub(crate) fn records_of(log: LogId, durable: Durable) -> impl Iterator<Item = Record> {
    let Durable { id: _, hard_state, base, membership, entries } = durable;
    let hard_state = hard_state.map(|hard_state| Record::HardState { log, hard_state });
    let base = base.map(|base| Record::Base { log, base });
    let membership = membership.map(|membership| Record::Membership { log, membership });
    let entries = entries.into_iter().map(move |entry| Record::Entry { log, entry });
    hard_state.into_iter().chain(base).chain(membership).chain(entries)
}
