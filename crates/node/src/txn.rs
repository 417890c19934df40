//! A transaction against the state at one revision: comparisons, operations, and the rows they make.
//!
//! Later operations see what earlier ones did: their rows lie in an overlay above the view until the
//! transaction is written as one batch.
//!
//! # Invariants
//!
//! * All rows of a transaction bear the same revision, one above the state's, and one per key.
//! * A transaction that changes nothing makes no revision.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use engine::{Cell, Head, ReadError, Row, View, Visit};
use wire::{
    Compare, Item, KeyRange, Op, OpResult, Operand, Operator, Page, Projection, Query, Refusal,
    Revision, SpaceId, Txn, TxnResult,
};

/// What reads inside one transaction may give back in all, in bytes. Part of the state machine: a
/// local setting here would let replicas answer differently.
const READ_LIMIT_BYTES: usize = 4 << 20;

/// When reads inside one transaction have given back this much, in bytes, a further one is refused:
/// each page has an item, however large. A part of the state machine, too.
const READ_REFUSAL_BYTES: usize = 16 << 20;

/// A transaction's answer and the rows to write, or why it is not done.
pub(crate) type Outcome = Result<(TxnResult, Vec<Row>), Refusal>;

/// The state before a transaction, and what the transaction has done so far.
pub(crate) struct Scope<'a> {
    view: &'a dyn View,
    space: SpaceId,
    at: Revision,
    overlay: BTreeMap<Bytes, Option<Cell>>,
    read_bytes: usize,
}

impl<'a> Scope<'a> {
    /// Begins at the state as of `at`.
    pub(crate) fn new(view: &'a dyn View, space: SpaceId, at: Revision) -> Self {
        Self { view, space, at, overlay: BTreeMap::new(), read_bytes: 0 }
    }

    /// Does the transaction; gives its answer and the rows to write. Nothing is done if it is refused.
    pub(crate) fn run(mut self, txn: &Txn) -> Result<Outcome, ReadError> {
        let mut succeeded = true;
        for compare in &txn.compares {
            let found = self.find(&compare.key)?;
            succeeded = succeeded && holds(compare, found.as_ref());
        }
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            if matches!(op, Op::Read(_)) && self.read_bytes >= READ_REFUSAL_BYTES {
                return Ok(Err(self.reads_too_much()));
            }
            results.push(self.apply(op)?);
        }
        let next = self.at.next();
        let revision = if self.overlay.is_empty() { self.at } else { next };
        let space = self.space;
        let rows = self.overlay.into_iter();
        let rows = rows.map(|(key, cell)| Row { space, key, revision: next, cell }).collect();
        Ok(Ok((TxnResult { revision, succeeded, results }, rows)))
    }

    fn reads_too_much(&self) -> Refusal {
        Refusal::TooLarge {
            what: "what the transaction reads".into(),
            size: self.read_bytes as u64,
            limit: READ_REFUSAL_BYTES as u64,
            flag: None,
        }
    }

    fn apply(&mut self, op: &Op) -> Result<OpResult, ReadError> {
        match op {
            Op::Put { key, value, lease } => {
                let old = self.head(key)?;
                let cell = Cell {
                    created: old.map_or(self.at.next(), |old| old.created),
                    version: old.map_or(1, |old| old.version + 1),
                    lease: *lease,
                    value: value.clone(),
                };
                self.overlay.insert(key.clone(), Some(cell));
                Ok(OpResult::Put)
            }
            Op::Delete { range } => {
                let keys = self.keys(range)?;
                let count = keys.len() as u64;
                for key in keys {
                    self.delete(key)?;
                }
                Ok(OpResult::Deleted { count })
            }
            Op::Read(query) => self.page(query).map(OpResult::Read),
        }
    }

    /// A key that came into being in this very transaction leaves no trace.
    fn delete(&mut self, key: Bytes) -> Result<(), ReadError> {
        if self.view.head(self.space, &key, self.at)?.is_some() {
            self.overlay.insert(key, None);
        } else {
            self.overlay.remove(&key);
        }
        Ok(())
    }

    fn find(&self, key: &Bytes) -> Result<Option<Item>, ReadError> {
        match self.overlay.get(key) {
            Some(cell) => Ok(cell.as_ref().map(|cell| self.item(key, cell))),
            None => self.view.find(self.space, key, self.at),
        }
    }

    /// What is kept with the key's value: all that a put needs to know.
    fn head(&self, key: &Bytes) -> Result<Option<Head>, ReadError> {
        match self.overlay.get(key) {
            Some(cell) => Ok(cell.as_ref().map(Cell::head)),
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

    fn keys(&self, range: &KeyRange) -> Result<Vec<Bytes>, ReadError> {
        let mut keys = Vec::new();
        self.scan(range, &mut |item| {
            keys.push(item.key);
            Visit::Continue
        })?;
        Ok(keys)
    }

    fn page(&mut self, query: &Query) -> Result<Page, ReadError> {
        let mut pager = Pager::new(query, READ_LIMIT_BYTES.saturating_sub(self.read_bytes));
        self.scan(&query.range, &mut |item| pager.take(item))?;
        self.read_bytes += pager.bytes;
        Ok(pager.finish())
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
            while let Some((key, cell)) = own.next_if(|(key, _)| **key < item.key) {
                if let Some(cell) = cell
                    && visit(self.item(key, cell)) == Visit::Stop
                {
                    stopped = true;
                    return Visit::Stop;
                }
            }
            let item = match own.next_if(|(key, _)| **key == item.key) {
                None => Some(item),
                Some((key, cell)) => cell.as_ref().map(|cell| self.item(key, cell)),
            };
            let went = item.map_or(Visit::Continue, &mut *visit);
            stopped = went == Visit::Stop;
            went
        })?;
        while !stopped && let Some((key, cell)) = own.next() {
            if let Some(cell) = cell {
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
        let size = item.key.len() + item.value.len() + 32;
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

fn holds(compare: &Compare, found: Option<&Item>) -> bool {
    let ordering = match &compare.operand {
        Operand::Value(value) => match found {
            None => return compare.operator == Operator::NotEqual,
            Some(item) => item.value.cmp(value),
        },
        Operand::Version(version) => found.map_or(0, |item| item.version).cmp(version),
        Operand::Created(revision) => found.map_or(Revision(0), |i| i.created).cmp(revision),
        Operand::Modified(revision) => found.map_or(Revision(0), |i| i.modified).cmp(revision),
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
