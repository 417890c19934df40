//! Watchers that are behind: they began in the past, or their client did not read.
//!
//! Each is a cursor and has no queue. A stream that has room takes its turn among the others, and one of
//! its watchers is read for; whoever else is behind on the same range, and comes no earlier, gets what it
//! lacks of the same answer. So a thousand watchers of one prefix that fell behind together are read for
//! together, and a stream with many cursors does not keep the others waiting.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Status;
use wire::{KeyRange, Revision, WatchBatch};

use super::encode::{Encoder, Flavour};
use super::hub::{Hub, StreamId, WatcherId};
use super::outlet::Offered;
use super::standing::Standing;

/// How many watchers of a stream are looked at in one turn for one whose range is not just being read.
const LOOKS: usize = 8;

/// Those behind on one range.
#[derive(Default)]
pub(super) struct Lag {
    cursors: BTreeSet<(Revision, WatcherId)>,
    /// How many of them want to know what was before.
    previous: usize,
    reading: bool,
}

/// What to read for somebody who is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) range: KeyRange,
    pub(crate) from: Revision,
    pub(crate) previous: bool,
    watcher: WatcherId,
}

/// What came of a read.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The next changes, or none up to where the batch says.
    Changes(WatchBatch),
    /// All up to this revision is compacted away.
    Compacted(Revision),
    /// Nobody answered. To be tried again: there should have been a pause.
    Nothing,
    /// No try will help: the stream hears it.
    Failed(Status),
}

impl Hub {
    /// The next read to be done now, if any.
    pub(crate) fn next_read(&mut self) -> Option<Read> {
        if self.reads >= self.limits.reads {
            return None;
        }
        for _ in 0..self.turns.len() {
            let id = self.turns.pop_front().expect("it was counted");
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.in_turns = false;
            if stream.held || !stream.outlet.has_room() {
                continue;
            }
            let chosen = self.choose(id);
            self.give_turn(id);
            if let Some(read) = chosen {
                self.reads += 1;
                return Some(read);
            }
        }
        None
    }

    /// Takes the answer to a read.
    pub(crate) fn read_done(&mut self, read: &Read, end: ReadEnd) {
        self.reads -= 1;
        if let Some(place) = self.lags.find(&read.range) {
            let lag = self.lags.value_mut(place);
            lag.reading = false;
            if lag.cursors.is_empty() {
                self.lags.remove(place);
            }
        }
        match end {
            ReadEnd::Changes(batch) => self.catch_up(read, &batch),
            ReadEnd::Compacted(compacted) => {
                for (from, watcher) in self.cursors(&read.range, Revision(0), compacted.next()) {
                    self.end_compacted(watcher, from, compacted);
                }
            }
            ReadEnd::Nothing => {}
            ReadEnd::Failed(status) => {
                let watcher = self.watchers.get(&read.watcher);
                if let Some(stream) = watcher.and_then(|w| self.streams.get(&w.stream)) {
                    stream.outlet.end(status);
                }
                // Whatever else its streams do, they are over.
                return;
            }
        }
        self.queue(read.watcher);
        self.answer_progress();
    }

    /// A stream that had no room has some.
    pub(crate) fn relieved(&mut self, id: StreamId) {
        self.give_turn(id);
    }

    /// Puts a watcher that stands nowhere behind.
    pub(super) fn lag(&mut self, id: WatcherId, from: Revision) {
        let watcher = self.watchers.get_mut(&id).expect("who falls behind exists");
        watcher.standing = Standing::Behind { from, queued: false };
        let place = self.lags.place(&watcher.range, Lag::default);
        let lag = self.lags.value_mut(place);
        lag.cursors.insert((from, id));
        lag.previous += usize::from(watcher.flavour.previous);
        self.streams.get_mut(&watcher.stream).expect("its stream is open").lagging += 1;
        self.queue(id);
    }

    pub(super) fn leave_behind(&mut self, id: WatcherId, from: Revision) {
        let watcher = &self.watchers[&id];
        let place = self.lags.find(&watcher.range).expect("it stands in a lag");
        let lag = self.lags.value_mut(place);
        lag.cursors.remove(&(from, id));
        lag.previous -= usize::from(watcher.flavour.previous);
        if lag.cursors.is_empty() && !lag.reading {
            self.lags.remove(place);
        }
        // Not there if the whole stream ends.
        if let Some(stream) = self.streams.get_mut(&watcher.stream) {
            stream.lagging -= 1;
        }
    }

    /// Makes sure that a watcher gets its turn, if it is behind.
    fn queue(&mut self, id: WatcherId) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        let Standing::Behind { queued: queued @ false, .. } = &mut watcher.standing else { return };
        *queued = true;
        let stream = watcher.stream;
        self.streams.get_mut(&stream).expect("its stream is open").behind.push_back(id);
        self.give_turn(stream);
    }

    pub(super) fn give_turn(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.in_turns && !stream.held && !stream.behind.is_empty() && stream.outlet.has_room()
        {
            stream.in_turns = true;
            self.turns.push_back(id);
        }
    }

    /// Whom of a stream to read for.
    fn choose(&mut self, id: StreamId) -> Option<Read> {
        let stream = self.streams.get_mut(&id)?;
        let mut looks = 0;
        while looks < LOOKS
            && let Some(watcher) = stream.behind.pop_front()
        {
            let Some(found) = self.watchers.get_mut(&watcher) else { continue };
            let Standing::Behind { from, queued: queued @ true } = &mut found.standing else {
                continue;
            };
            let place = self.lags.find(&found.range).expect("it stands in a lag");
            let lag = self.lags.value_mut(place);
            if lag.reading {
                stream.behind.push_back(watcher);
                looks += 1;
                continue;
            }
            *queued = false;
            lag.reading = true;
            let (range, previous) = (found.range.clone(), lag.previous > 0);
            return Some(Read { range, from: *from, previous, watcher });
        }
        None
    }

    /// Those behind on a range who begin within these revisions.
    fn cursors(
        &mut self,
        range: &KeyRange,
        from: Revision,
        before: Revision,
    ) -> Vec<(Revision, WatcherId)> {
        let Some(place) = self.lags.find(range) else { return Vec::new() };
        let cursors = &self.lags.value_mut(place).cursors;
        let known = cursors.iter().skip_while(|(begin, _)| *begin < from);
        known.take_while(|(begin, _)| *begin < before).copied().collect()
    }

    /// Gives all whom an answer serves what they lack of it, and moves them on.
    fn catch_up(&mut self, read: &Read, batch: &WatchBatch) {
        self.newest = self.newest.max(Revision(batch.next.0 - 1));
        let mut alike: BTreeMap<(Revision, Flavour), Vec<WatcherId>> = BTreeMap::new();
        for (from, id) in self.cursors(&read.range, read.from, batch.next) {
            if self.is_held(id) {
                continue;
            }
            let flavour = self.watchers[&id].flavour;
            // Who came while it was read, and wants more than was asked for, waits for the next one.
            if read.previous || !flavour.previous {
                alike.entry((from, flavour)).or_default().push(id);
            }
        }
        let header = (self.header)(Revision(0));
        let mut encoder = Encoder::new(header, self.limits.sizes, &batch.events);
        for ((from, flavour), watchers) in alike {
            let first = batch.events.partition_point(|event| event.revision < from);
            let responses = encoder.responses(first..batch.events.len(), flavour);
            for id in watchers {
                let watcher = &self.watchers[&id];
                let outlet = &self.streams[&watcher.stream].outlet;
                let full = responses
                    .iter()
                    .find(|response| outlet.offer(watcher.watch, &response.parts) == Offered::Full);
                let reached = full.map_or(batch.next, |response| response.first);
                if reached > from {
                    self.leave(id);
                    self.place(id, reached);
                }
            }
        }
    }
}
