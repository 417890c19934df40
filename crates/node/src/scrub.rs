//! Scrubs: a replica reads all that it holds, as it was when the scrub's command was applied.
//!
//! The command stands in the log, so every replica begins with the same state, and what it comes to can be
//! compared: a checksum over the newest version of each key and over all that is kept beside the keys.
//! Older versions are read, for that checks the blocks that they are in; but they don't count.
//!
//! # Invariants
//!
//! * The checksum depends on the log alone, up to the command: not on what was flushed, merged or removed.
//! * A node has one scrub. A later one takes its place, and the task of the former finds that nobody wants
//!   to know any more.
//!
//! What can't be read is told, and does not end the node: whoever needs it will find it, and end the node
//! then. The operator may want to look at the other nodes before that.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use consensus::{Position, Time};
use crc32fast::Hasher;
use engine::{ReadError, View, Visit};
use wire::{
    Change, Event as Changed, GroupId, Item, KeyRange, Principal, Reply, Request, Revision,
    ScrubStage, ScrubStatus, SpaceId, Writer,
};

use crate::group::Group;
use crate::shared::Shared;
use crate::{Effect, Event, News, Ticket};

/// What one change of the history costs to look at, beside its value, in bytes: a block of the engine.
const CHANGE_COST: usize = 4096;

/// What a key costs beside its name and value.
const KEY_COST: usize = 64;

/// How far a task is, for those who ask the node meanwhile.
#[derive(Debug, Default)]
struct Progress {
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// The last scrub that was begun here.
#[derive(Debug)]
pub(crate) struct Scrub {
    id: u64,
    index: u64,
    revision: Revision,
    begun: Time,
    progress: Arc<Progress>,
    ended: Option<(Duration, ScrubStage)>,
}

impl Scrub {
    fn status(&self, now: Time) -> ScrubStatus {
        let running = || (now.since(self.begun), ScrubStage::Running);
        let (elapsed, stage) = self.ended.clone().unwrap_or_else(running);
        ScrubStatus {
            id: self.id,
            index: self.index,
            revision: self.revision,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            keys: self.progress.keys.load(Ordering::Relaxed),
            bytes: self.progress.bytes.load(Ordering::Relaxed),
            stage,
        }
    }
}

/// A scrub under way: to be run step by step, on a thread that has time.
pub struct ScrubTask {
    group: GroupId,
    space: SpaceId,
    index: u64,
    revision: Revision,
    /// The first revision whose changes every replica has.
    oldest: Revision,
    view: Arc<dyn View>,
    place: Place,
    sum: Hasher,
    progress: Weak<Progress>,
}

/// What is read next.
#[derive(Debug)]
enum Place {
    /// Keys, from this one on.
    Keys(Bytes),
    /// Changes, from this revision on.
    Changes(Revision),
}

/// What a step of a [`ScrubTask`] came to.
#[derive(Debug)]
pub enum ScrubStep {
    /// There is more to read.
    More {
        /// About so many bytes were read now.
        bytes: usize,
    },
    /// It is over: hand this to the node.
    Ended(Event),
    /// Nobody wants to know any more.
    Unwanted,
}

impl fmt::Debug for ScrubTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scrub at index {}, revision {}: {:?}", self.index, self.revision, self.place)
    }
}

impl ScrubTask {
    /// The log index whose state it reads.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Reads on, about so many bytes. It ends with the one step that does not return
    /// [`ScrubStep::More`].
    pub fn step(&mut self, limit_bytes: usize) -> ScrubStep {
        let Some(progress) = self.progress.upgrade() else { return ScrubStep::Unwanted };
        let read = match &self.place {
            Place::Keys(from) => self.read_keys(from.clone(), limit_bytes, &progress),
            Place::Changes(from) => self.read_changes(*from, limit_bytes),
        };
        let result = match read {
            Ok((bytes, Some(place))) => {
                self.place = place;
                return ScrubStep::More { bytes };
            }
            Ok((_, None)) => Ok(self.sum.clone().finalize()),
            Err(error) => Err(error),
        };
        ScrubStep::Ended(Event::Scrubbed { group: self.group, index: self.index, result })
    }

    fn read_keys(
        &mut self,
        from: Bytes,
        limit_bytes: usize,
        progress: &Progress,
    ) -> Result<(usize, Option<Place>), ReadError> {
        let range = KeyRange { start: from, end: None };
        let mut cost = 0;
        let mut next = None;
        let sum = &mut self.sum;
        self.view.scan(self.space, &range, self.revision, &mut |item| {
            add_item(sum, &item);
            let bytes = item.key.len() + item.value.len();
            progress.keys.fetch_add(1, Ordering::Relaxed);
            progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            cost += bytes + KEY_COST;
            if cost < limit_bytes {
                return Visit::Continue;
            }
            next = Some(Bytes::from([&item.key[..], &[0]].concat()));
            Visit::Stop
        })?;
        // Changes come after the keys.
        let place = next.map_or(Place::Changes(self.oldest), Place::Keys);
        Ok((cost, Some(place)))
    }

    /// All changes of a revision go together.
    fn read_changes(
        &self,
        from: Revision,
        limit_bytes: usize,
    ) -> Result<(usize, Option<Place>), ReadError> {
        let mut cost = 0;
        let mut last = from;
        let mut next = None;
        let visit = &mut |event: Changed| {
            if cost >= limit_bytes && event.revision > last {
                next = Some(event.revision);
                return Visit::Stop;
            }
            last = event.revision;
            cost += CHANGE_COST;
            if let Change::Put(item) = &event.change {
                cost += item.value.len();
            }
            Visit::Continue
        };
        self.view.history(self.space, &KeyRange::all(), from, self.revision, visit)?;
        Ok((cost, next.map(Place::Changes)))
    }
}

/// Everything of a key's newest version. Lengths come first, so that no two states give the same bytes.
fn add_item(sum: &mut Hasher, item: &Item) {
    let numbers = [
        item.key.len() as u64,
        item.value.len() as u64,
        item.created.0,
        item.modified.0,
        item.version,
        item.lease,
    ];
    for number in numbers {
        sum.update(&number.to_le_bytes());
    }
    sum.update(&item.key);
    sum.update(&item.value);
}

impl Group {
    /// The command of a scrub was applied just now, and nothing behind it.
    pub(crate) fn begin_scrub(
        &mut self,
        shared: &mut Shared,
        now: Time,
        position: Position,
        id: u64,
    ) {
        let (index, revision) = (position.index.0, self.state.revision);
        let mut beside = Writer::new();
        self.state.digest(&mut beside);
        let mut sum = Hasher::new();
        sum.update(&beside.finish());
        let progress = Arc::new(Progress::default());
        let task = ScrubTask {
            group: self.id,
            space: self.space,
            index,
            revision,
            // Changes up to the oldest readable revision may be gone.
            oldest: self.state.compacted.next(),
            view: shared.engine.view().afresh(),
            place: Place::Keys(Bytes::new()),
            sum,
            progress: Arc::downgrade(&progress),
        };
        // With the former one, its task ends.
        self.scrub = Some(Scrub { id, index, revision, begun: now, progress, ended: None });
        shared.emit(Effect::Scrub(task));
    }

    /// A task has come to this.
    pub(crate) fn scrubbed(
        &mut self,
        shared: &mut Shared,
        now: Time,
        index: u64,
        result: Result<u32, ReadError>,
    ) {
        let Some(scrub) = self.scrub.as_mut().filter(|scrub| scrub.index == index) else { return };
        let stage = match result {
            Ok(checksum) => {
                shared.metrics.scrubs.inc();
                ScrubStage::Finished { checksum }
            }
            Err(error) => {
                shared.metrics.broken_scrubs.inc();
                ScrubStage::Broken { why: error.to_string() }
            }
        };
        scrub.ended = Some((now.since(scrub.begun), stage.clone()));
        shared.news(News::Scrubbed { group: self.id, index, stage });
    }

    /// How far it is.
    pub(crate) fn answer_scrub(
        &self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        principal: Option<&Principal>,
    ) {
        let auth = &self.state.auth;
        if let Err(denial) = auth.judge_request(principal, &Request::Scrub, &self.state.leases) {
            return shared.refuse(ticket, denial.into());
        }
        let status = self.scrub.as_ref().map(|scrub| scrub.status(now));
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Scrub(status));
    }
}
