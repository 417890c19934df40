//! A transaction against the state at one revision: comparisons, operations, and the rows they make.
//!
//! Later operations see what earlier ones did: their rows lie in an overlay above the view until the
//! transaction is written as one batch.
//!
//! # Invariants
//!
//! * All rows of a transaction bear the same revision, one above the state's, and one per key.
//! * A transaction that changes nothing makes no revision.
//! * Which operations are done depends on the state before the transaction alone: comparisons, nested
//!   ones too, don't see the overlay.
//! * A key hangs on a lease only if the lease is alive.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use engine::{Cell, Head, ReadError, Row, View, Visit};
use wire::{
    Compare, Fence, Item, KeyRange, Op, OpResult, Operand, Operator, Page, Projection, Put, Query,
    Refusal, Revision, SpaceId, Txn, TxnResult,
};

use crate::leases::Leases;

/// What reads inside one transaction may give back in all, in bytes. Part of the state machine: a
/// local setting here would let replicas answer differently.
const READ_LIMIT_BYTES: usize = 4 << 20;

/// When reads inside one transaction have given back this much, in bytes, a further one is refused:
/// each page has an item, however large. A part of the state machine, too.
const READ_REFUSAL_BYTES: usize = 16 << 20;

/// What a transaction came to, and what it changes.
pub(crate) struct Done {
    /// Its answer.
    pub(crate) result: TxnResult,
    /// The rows to write.
    pub(crate) rows: Vec<Row>,
    /// The keys that hang on another lease than before, or on none.
    pub(crate) moves: Vec<Move>,
}

/// A key changes its lease; 0 is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) key: Bytes,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The outer error means that storage can't be read; the inner one, that nothing is done.
pub(crate) type Outcome = Result<Result<Done, Refusal>, ReadError>;

/// Why a transaction stops in the middle: nothing of it is done.
enum Halt {
    Refused(Refusal),
    Broken(ReadError),
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        Self::Broken(error)
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a transaction has made of a key.
struct Slot {
    /// What it is now; `None` if it was removed.
    cell: Option<Cell>,
    /// The lease on which it hung before the transaction; 0 is none.
    lease_before: u64,
}

/// The state before a transaction, and what the transaction has done so far.
pub(crate) struct Scope<'a> {
    view: &'a dyn View,
    leases: &'a Leases,
    space: SpaceId,
    at: Revision,
    overlay: BTreeMap<Bytes, Slot>,
    read_bytes: usize,
    #[cfg(feature = "planted")]
    planted: Option<crate::config::Planted>,
}

impl<'a> Scope<'a> {
    /// Begins at the state as of `at`.
    pub(crate) fn new(
        view: &'a dyn View,
        leases: &'a Leases,
        space: SpaceId,
        at: Revision,
    ) -> Self {
        Self {
            view,
            leases,
            space,
            at,
            overlay: BTreeMap::new(),
            read_bytes: 0,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// The same with a mistake.
    #[cfg(feature = "planted")]
    pub(crate) fn with_planted(self, planted: Option<crate::config::Planted>) -> Self {
        Self { planted, ..self }
    }

    /// Does the transaction. Nothing is done if it is refused.
    pub(crate) fn run(mut self, txn: &Txn) -> Outcome {
        match self.fenced(txn).and_then(|()| self.ops(txn)) {
            Ok((succeeded, results)) => Ok(Ok(self.finish(succeeded, results))),
            Err(Halt::Refused(refusal)) => Ok(Err(refusal)),
            Err(Halt::Broken(error)) => Err(error),
        }
    }

    fn finish(self, succeeded: bool, results: Vec<OpResult>) -> Done {
        let next = self.at.next();
        let revision = if self.overlay.is_empty() { self.at } else { next };
        let mut rows = Vec::with_capacity(self.overlay.len());
        let mut moves = Vec::new();
        for (key, Slot { cell, lease_before: from }) in self.overlay {
            let to = cell.as_ref().map_or(0, |cell| cell.lease);
            if from != to {
                moves.push(Move { key: key.clone(), from, to });
            }
            rows.push(Row { space: self.space, key, revision: next, cell });
        }
        Done { result: TxnResult { revision, succeeded, results }, rows, moves }
    }

    /// Whether all locks that the transaction bears the tokens of are still held.
    fn fenced(&self, txn: &Txn) -> Result<(), Halt> {
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::FenceIgnored) {
            return Ok(());
        }
        for Fence { key, created } in &txn.fences {
            let found = self.view.head(self.space, key, self.at)?;
            let current = found.map(|(_, head)| head.created);
            if current != Some(*created) {
                let (key, created) = (key.clone(), *created);
                return Err(Refusal::Fenced { key, created, current }.into());
            }
        }
        Ok(())
    }

    /// Does one branch of a transaction: whether all comparisons held, and what came of each operation.
    fn ops(&mut self, txn: &Txn) -> Result<(bool, Vec<OpResult>), Halt> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded = succeeded && self.compare(compare)?;
        }
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.apply(op)?);
        }
        Ok((succeeded, results))
    }

    /// Looks at the view alone: comparisons are about the state before the transaction, however deep
    /// they lie in it.
    fn compare(&self, compare: &Compare) -> Result<bool, Halt> {
        let range = &compare.range;
        if range.is_single() {
            let found = self.view.find(self.space, &range.start, self.at)?;
            return Ok(holds(compare, found.as_ref()));
        }
        let (mut any, mut all) = (false, true);
        if !range.is_empty() {
            self.view.scan(self.space, range, self.at, &mut |item| {
                any = true;
                all = holds(compare, Some(&item));
                if all { Visit::Continue } else { Visit::Stop }
            })?;
        }
        Ok(if any { all } else { holds(compare, None) })
    }

    /// Counts what an answer gives back, and refuses what gives back too much.
    fn give_back(&mut self, bytes: usize) -> Result<(), Halt> {
        self.read_bytes += bytes;
        if self.read_bytes < READ_REFUSAL_BYTES {
            return Ok(());
        }
        Err(self.reads_too_much().into())
    }

    fn reads_too_much(&self) -> Refusal {
        Refusal::TooLarge {
            what: "what the transaction reads".into(),
            size: self.read_bytes as u64,
            limit: READ_REFUSAL_BYTES as u64,
            flag: None,
        }
    }

    fn apply(&mut self, op: &Op) -> Result<OpResult, Halt> {
        match op {
            Op::Put(put) => self.put(put),
            Op::Delete { range, previous } => self.delete_range(range, *previous),
            Op::Read(_) if self.read_bytes >= READ_REFUSAL_BYTES => {
                Err(self.reads_too_much().into())
            }
            Op::Read(query) => Ok(OpResult::Read(self.page(query)?)),
            Op::Txn(txn) => {
                #[cfg(feature = "planted")]
                if self.planted == Some(crate::config::Planted::NestedAlwaysHolds) {
                    let always = Txn { compares: Vec::new(), ..txn.clone() };
                    let (succeeded, results) = self.ops(&always)?;
                    return Ok(OpResult::Txn { succeeded, results });
                }
                let (succeeded, results) = self.ops(txn)?;
                Ok(OpResult::Txn { succeeded, results })
            }
        }
    }

    fn put(&mut self, put: &Put) -> Result<OpResult, Halt> {
        let Put { key, value, lease, previous } = put;
        let whole = *previous || value.is_none();
        let item = if whole { self.find(key)? } else { None };
        let old = match &item {
            Some(item) => {
                Some(Head { created: item.created, version: item.version, lease: item.lease })
            }
            None if whole => None,
            None => self.head(key)?,
        };
        if old.is_none() && (value.is_none() || lease.is_none()) {
            return Err(Refusal::KeyNotFound { key: key.clone() }.into());
        }
        let kept = || item.as_ref().map_or(Bytes::new(), |item| item.value.clone());
        let lease_of_old = old.map_or(0, |old| old.lease);
        let lease = lease.unwrap_or(lease_of_old);
        if lease != 0 && !self.leases.has(lease) {
            return Err(Refusal::LeaseNotFound { lease }.into());
        }
        let cell = Cell {
            created: old.map_or(self.at.next(), |old| old.created),
            version: old.map_or(1, |old| old.version + 1),
            lease,
            value: value.clone().unwrap_or_else(kept),
        };
        if let Some(slot) = self.overlay.get_mut(key) {
            slot.cell = Some(cell);
        } else {
            let slot = Slot { cell: Some(cell), lease_before: lease_of_old };
            self.overlay.insert(key.clone(), slot);
        }
        let previous = item.filter(|_| *previous);
        self.give_back(previous.as_ref().map_or(0, size_of_item))?;
        Ok(OpResult::Put { previous })
    }

    fn delete_range(&mut self, range: &KeyRange, wanted: bool) -> Result<OpResult, Halt> {
        let mut keys = Vec::new();
        let mut previous = Vec::new();
        let mut bytes = self.read_bytes;
        self.scan(range, &mut |item| {
            keys.push(item.key.clone());
            if wanted {
                bytes += size_of_item(&item);
                previous.push(item);
            }
            if bytes < READ_REFUSAL_BYTES { Visit::Continue } else { Visit::Stop }
        })?;
        self.give_back(bytes - self.read_bytes)?;
        let count = keys.len() as u64;
        for key in keys {
            self.delete(key)?;
        }
        Ok(OpResult::Deleted { count, previous })
    }

    /// A key that came into being in this very transaction leaves no trace.
    fn delete(&mut self, key: Bytes) -> Result<(), ReadError> {
        match self.view.head(self.space, &key, self.at)? {
            Some((_, head)) => {
                self.overlay.insert(key, Slot { cell: None, lease_before: head.lease });
            }
            None => {
                self.overlay.remove(&key);
            }
        }
        Ok(())
    }

    fn find(&self, key: &Bytes) -> Result<Option<Item>, ReadError> {
        match self.overlay.get(key) {
            Some(slot) => Ok(slot.cell.as_ref().map(|cell| self.item(key, cell))),
            None => self.view.find(self.space, key, self.at),
        }
    }

    /// What is kept with the key's value: all that most puts need to know.
    fn head(&self, key: &Bytes) -> Result<Option<Head>, ReadError> {
        match self.overlay.get(key) {
            Some(slot) => Ok(slot.cell.as_ref().map(Cell::head)),
            None => Ok(self.view.head(self.space, key, self.at)?.map(|(_, head)| head)),
        }
    }

    fn item(&self, key: &Bytes, cell: &Cell) -> Item {
        Item {
            key: key.clone(),
            value: cell.value.clone(),
            created: cell.created,
            modified: self.at.next(),
            version: cell.version,
            lease: cell.lease,
        }
    }

    fn page(&mut self, query: &Query) -> Result<Page, ReadError> {
        if query.projection == Projection::CountOnly && !query.range.is_single() {
            return Ok(Page { count: self.count(&query.range)?, ..Page::default() });
        }
        let mut pager = Pager::new(query, READ_LIMIT_BYTES.saturating_sub(self.read_bytes));
        self.scan(&query.range, &mut |item| pager.take(item))?;
        self.read_bytes += pager.bytes;
        Ok(pager.finish())
    }

    /// The view's keys, and those that the overlay adds or takes away.
    fn count(&self, range: &KeyRange) -> Result<u64, ReadError> {
        let mut count = self.view.count(self.space, range, self.at)?;
        let own = self.overlay.range(range.start.clone()..);
        for (key, slot) in own.take_while(|(key, _)| range.contains(key)) {
            let was_there = self.view.head(self.space, key, self.at)?.is_some();
            count = count + u64::from(slot.cell.is_some()) - u64::from(was_there);
        }
        Ok(count)
    }

    /// The view's keys and the overlay's, merged in order.
    fn scan(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(Item) -> Visit,
    ) -> Result<(), ReadError> {
        if range.is_single() {
            if let Some(item) = self.find(&range.start)? {
                visit(item);
            }
            return Ok(());
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut own = self
            .overlay
            .range(range.start.clone()..)
            .take_while(|(key, _)| range.contains(key))
            .peekable();
        let mut stopped = false;
        self.view.scan(self.space, range, self.at, &mut |item| {
            while let Some((key, slot)) = own.next_if(|(key, _)| **key < item.key) {
                if let Some(cell) = &slot.cell
                    && visit(self.item(key, cell)) == Visit::Stop
                {
                    stopped = true;
                    return Visit::Stop;
                }
            }
            let item = match own.next_if(|(key, _)| **key == item.key) {
                None => Some(item),
                Some((key, slot)) => slot.cell.as_ref().map(|cell| self.item(key, cell)),
            };
            let went = item.map_or(Visit::Continue, &mut *visit);
            stopped = went == Visit::Stop;
            went
        })?;
        while !stopped && let Some((key, slot)) = own.next() {
            if let Some(cell) = &slot.cell {
                stopped = visit(self.item(key, cell)) == Visit::Stop;
            }
        }
        Ok(())
    }
}

/// Gathers items into one page, within its limits.
pub(crate) struct Pager {
    limit: usize,
    limit_bytes: usize,
    bytes: usize,
    projection: Projection,
    page: Page,
}

impl Pager {
    /// An empty page for this query, of at most `limit_bytes`, but at least one item.
    pub(crate) fn new(query: &Query, limit_bytes: usize) -> Self {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        let projection = query.projection;
        Self { limit, limit_bytes, bytes: 0, projection, page: Page::default() }
    }

    /// Takes one item in, or says that the page is full.
    pub(crate) fn take(&mut self, mut item: Item) -> Visit {
        if self.projection == Projection::CountOnly {
            self.page.count += 1;
            return Visit::Continue;
        }
        if self.projection == Projection::KeysOnly {
            item.value = Bytes::new();
        }
        let size = size_of_item(&item);
        let full = self.page.items.len() >= self.limit || self.bytes + size > self.limit_bytes;
        if full && !self.page.items.is_empty() {
            self.page.more = true;
            return Visit::Stop;
        }
        self.bytes += size;
        self.page.items.push(item);
        Visit::Continue
    }

    /// The page.
    pub(crate) fn finish(mut self) -> Page {
        if self.projection != Projection::CountOnly {
            self.page.count = self.page.items.len() as u64;
        }
        self.page
    }
}

/// What an item counts for in limits.
fn size_of_item(item: &Item) -> usize {
    item.key.len() + item.value.len() + 32
}

fn holds(compare: &Compare, found: Option<&Item>) -> bool {
    let ordering = match &compare.operand {
        Operand::Value(value) => match found {
            None => return compare.operator == Operator::NotEqual,
            Some(item) => item.value.cmp(value),
        },
        Operand::Version(version) => found.map_or(0, |item| item.version).cmp(version),
        Operand::Created(revision) => found.map_or(Revision(0), |i| i.created).cmp(revision),
        Operand::Modified(revision) => found.map_or(Revision(0), |i| i.modified).cmp(revision),
        Operand::Lease(lease) => found.map_or(0, |item| item.lease).cmp(lease),
    };
    match compare.operator {
        Operator::Equal => ordering == Ordering::Equal,
        Operator::NotEqual => ordering != Ordering::Equal,
        Operator::Less => ordering == Ordering::Less,
        Operator::Greater => ordering == Ordering::Greater,
    }
}

#[cfg(test)]
mod tests;
