//! Reads of a range: what a `RangeRequest` asks for, and how it is gathered.
//!
//! The cluster answers in pages, in the order of keys. The first page fixes the revision, all others
//! are read at the same one. Another order, and the bounds on revisions, are matters of the gateway,
//! as they are of etcd's server: the whole range is read then, and of what does not fit into the
//! limit only as much is kept as may still be wanted.

use std::cmp::Ordering;

use bytes::Bytes;
use client::Error;
use tonic::Status;
use wire::{Consistency, Header, Item, KeyRange, Page, Projection, Query, Refusal, Revision};

use crate::budget::{Share, cost};
use crate::errors;
use crate::gateway::Service;
use crate::header::signed;
use crate::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::pb::etcdserverpb::{RangeRequest, RangeResponse};
use crate::pb::mvccpb::KeyValue;

/// How often a read of the newest state is begun anew when what it reads is compacted meanwhile.
const TRIES: usize = 3;

/// Items in the first part of a stream: whoever waits for it sees something at once.
const FIRST_PART_ITEMS: u32 = 10;

/// How much larger each further part is, until a page of the node is full.
const PART_GROWTH: u32 = 8;

/// Items gathered beyond twice the limit before the surplus is dropped.
const SURPLUS_ITEMS: usize = 1024;

/// The keys from `key` to `end`, as the protocol names them: no end is the key alone, one zero byte is
/// "and everything behind it".
pub(crate) fn key_range(key: &Bytes, end: &Bytes) -> KeyRange {
    match &end[..] {
        [] => KeyRange::single(key.clone()),
        [0] => KeyRange { start: key.clone(), end: None },
        _ => KeyRange { start: key.clone(), end: Some(end.clone()) },
    }
}

/// An item as the protocol has it.
pub(crate) fn key_value(item: Item) -> KeyValue {
    KeyValue {
        key: item.key,
        create_revision: signed(item.created.0),
        mod_revision: signed(item.modified.0),
        version: signed(item.version),
        value: item.value,
        lease: item.lease.cast_signed(),
    }
}

/// What a read wants, checked.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) range: KeyRange,
    /// The past state that is meant; `None` is the newest.
    pub(crate) revision: Option<Revision>,
    pub(crate) consistency: Consistency,
    count_only: bool,
    keys_only: bool,
    /// The most items in the answer.
    limit: Option<usize>,
    /// Another order than that of the keys.
    order: Option<(SortTarget, Direction)>,
    /// The limit holds for what is read, and the order for what was read within it: etcd's reading of
    /// a target without an order.
    limit_before_order: bool,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// Bounds on revisions; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    min_modified: i64,
    max_modified: i64,
    min_created: i64,
    max_created: i64,
}

impl Bounds {
    fn hold(&self, item: &Item) -> bool {
        let within = |revision: Revision, min: i64, max: i64| {
            let revision = signed(revision.0);
            (min == 0 || revision >= min) && (max == 0 || revision <= max)
        };
        within(item.modified, self.min_modified, self.max_modified)
            && within(item.created, self.min_created, self.max_created)
    }
}

impl Wanted {
    /// What the request says, or what is wrong with it.
    pub(crate) fn of(request: &RangeRequest) -> Result<Self, Status> {
        if request.key.is_empty() {
            return Err(errors::empty_key());
        }
        let order = SortOrder::try_from(request.sort_order);
        let target = SortTarget::try_from(request.sort_target);
        let (Ok(order), Ok(target)) = (order, target) else { return Err(errors::invalid_sort()) };
        let sorted = match (order, target) {
            (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => None,
            (SortOrder::None | SortOrder::Ascend, target) => Some((target, Direction::Ascending)),
            (SortOrder::Descend, target) => Some((target, Direction::Descending)),
        };
        let bounds = Bounds {
            min_modified: request.min_mod_revision,
            max_modified: request.max_mod_revision,
            min_created: request.min_create_revision,
            max_created: request.max_create_revision,
        };
        let revision = u64::try_from(request.revision).ok().filter(|revision| *revision > 0);
        Ok(Self {
            range: key_range(&request.key, &request.range_end),
            revision: revision.map(Revision),
            consistency: if request.serializable {
                Consistency::Eventual
            } else {
                Consistency::Linearizable
            },
            count_only: request.count_only,
            keys_only: request.keys_only,
            limit: usize::try_from(request.limit).ok().filter(|limit| *limit > 0),
            order: sorted,
            limit_before_order: order == SortOrder::None && bounds == Bounds::default(),
            bounds,
        })
    }

    /// Whether the answer can be told before the whole range is read.
    pub(crate) fn is_in_key_order(&self) -> bool {
        self.order.is_none() && self.bounds == Bounds::default() && !self.count_only
    }

    /// Whether a limit may cut the answer, so that the count must be asked for.
    pub(crate) fn may_be_cut(&self) -> bool {
        self.fetch_limit().is_some() && !self.range.is_single()
    }

    /// How many items suffice, in the order of keys.
    pub(crate) fn fetch_limit(&self) -> Option<usize> {
        let in_key_order = self.order.is_none() && self.bounds == Bounds::default();
        match self.limit {
            Some(limit) if in_key_order => Some(limit),
            // One more, as etcd does: it takes part in the order before it is cut off.
            Some(limit) if self.limit_before_order => Some(limit.saturating_add(1)),
            Some(_) | None => None,
        }
    }

    /// The first page's query.
    pub(crate) fn query(&self) -> Query {
        let needs_values = matches!(self.order, Some((SortTarget::Value, _)));
        let projection = match (self.count_only, self.keys_only) {
            (true, _) => Projection::CountOnly,
            (false, true) if !needs_values => Projection::KeysOnly,
            (false, _) => Projection::Full,
        };
        Query {
            range: self.range.clone(),
            revision: self.revision,
            limit: page_limit(self.fetch_limit()),
            projection,
        }
    }

    /// How many keys the range has, if this first page says it.
    pub(crate) fn counts(&self, page: &Page) -> Option<u64> {
        self.count_only.then_some(page.count)
    }

    /// How many keys the range has.
    pub(crate) fn count_query(&self) -> Query {
        Query { limit: 0, projection: Projection::CountOnly, ..self.query() }
    }
}

/// A limit as a page has it, where 0 leaves it to the node.
fn page_limit(items: Option<usize>) -> u32 {
    items.map_or(0, |items| u32::try_from(items).unwrap_or(u32::MAX).max(1))
}

/// The first key behind `key`.
pub(crate) fn behind(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

/// What of a range was read so far and is kept.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    wanted: &'a Wanted,
    items: Vec<Item>,
    /// Keys read, kept or not.
    seen: u64,
    /// Where the next page begins.
    next: Bytes,
    /// Items that the limit cut off.
    cut: bool,
}

impl<'a> Gathered<'a> {
    /// Nothing yet.
    pub(crate) fn new(wanted: &'a Wanted) -> Self {
        Self { wanted, items: Vec::new(), seen: 0, next: wanted.range.start.clone(), cut: false }
    }

    /// Takes one more page in.
    pub(crate) fn take(&mut self, mut items: Vec<Item>, share: &mut Share) -> Result<(), Status> {
        self.seen += items.len() as u64;
        if let Some(last) = items.last() {
            self.next = behind(&last.key);
        }
        let bounds = self.wanted.bounds;
        if bounds != Bounds::default() {
            items.retain(|item| bounds.hold(item));
        }
        share.grow_by(&items)?;
        if self.items.is_empty() {
            self.items = items;
        } else {
            self.items.append(&mut items);
        }
        let most = self.wanted.limit.unwrap_or(usize::MAX).saturating_mul(2);
        if self.items.len() > most.saturating_add(SURPLUS_ITEMS) {
            self.order_and_cut(share);
        }
        Ok(())
    }

    /// How many more items suffice; `None` is all that there are.
    fn lacking(&self) -> Option<usize> {
        self.wanted.fetch_limit().map(|limit| limit.saturating_sub(self.items.len()))
    }

    fn order_and_cut(&mut self, share: &mut Share) {
        if let Some((target, direction)) = self.wanted.order {
            self.items.sort_unstable_by(|a, b| compare(target, direction, a, b));
        }
        if let Some(limit) = self.wanted.limit
            && self.items.len() > limit
        {
            share.shrink(self.items[limit..].iter().map(cost).sum());
            self.items.truncate(limit);
            self.cut = true;
        }
    }

    /// The answer. `more` says whether the range has keys that were not read, and `count` how many it
    /// has in all, if that is known otherwise.
    pub(crate) fn finish(
        mut self,
        more: bool,
        count: Option<u64>,
        share: &mut Share,
    ) -> RangeResponse {
        self.order_and_cut(share);
        let strip = self.wanted.keys_only;
        let kvs = self.items.into_iter().map(|item| {
            let mut kv = key_value(item);
            if strip {
                kv.value = Bytes::new();
            }
            kv
        });
        RangeResponse {
            header: None,
            kvs: kvs.collect(),
            more: more || self.cut,
            count: signed(count.unwrap_or(self.seen)),
        }
    }
}

/// Ties are in the order of keys, whichever way the rest goes.
fn compare(target: SortTarget, direction: Direction, a: &Item, b: &Item) -> Ordering {
    let ordering = match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.created.cmp(&b.created),
        SortTarget::Mod => a.modified.cmp(&b.modified),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    let ordering = match direction {
        Direction::Ascending => ordering,
        Direction::Descending => ordering.reverse(),
    };
    ordering.then_with(|| a.key.cmp(&b.key))
}

impl Service {
    /// The answer to a `RangeRequest`, whole.
    pub(crate) async fn read_range(
        &self,
        wanted: &Wanted,
        share: &mut Share,
    ) -> Result<RangeResponse, Status> {
        for _ in 1..TRIES {
            match self.read_once(wanted, share).await {
                // Between two pages what is read was compacted. Whoever asked for the newest state has
                // not asked for this revision.
                Err(Fault::Client(Error::Refused(Refusal::Compacted { .. })))
                    if wanted.revision.is_none() =>
                {
                    share.shrink(usize::MAX);
                }
                other => return other.map_err(Status::from),
            }
        }
        self.read_once(wanted, share).await.map_err(Status::from)
    }

    async fn read_once(&self, wanted: &Wanted, share: &mut Share) -> Result<RangeResponse, Fault> {
        let first = self.client.read(wanted.query(), wanted.consistency).await?;
        let header = first.header;
        let count = wanted.counts(&first.value);
        let mut gathered = Gathered::new(wanted);
        gathered.take(first.value.items, share)?;
        let more = first.value.more;
        let mut answer = self.complete(gathered, more, count, header, share).await?;
        answer.header = Some(self.header(header.revision));
        Ok(answer)
    }

    /// Reads on behind what was gathered until there is enough. `count` is what is known of it, and
    /// `header` came with the first page.
    pub(crate) async fn complete(
        &self,
        mut gathered: Gathered<'_>,
        mut more: bool,
        mut count: Option<u64>,
        header: Header,
        share: &mut Share,
    ) -> Result<RangeResponse, Fault> {
        let wanted = gathered.wanted;
        let revision = wanted.revision.unwrap_or(header.revision);
        while more && gathered.lacking() != Some(0) {
            let query = Query {
                range: KeyRange { start: gathered.next.clone(), end: wanted.range.end.clone() },
                revision: Some(revision),
                limit: page_limit(gathered.lacking()),
                ..wanted.query()
            };
            // A past state is the same on every node that has it: no need to ask the leader again.
            let page = self.client.read(query, Consistency::Session(revision)).await?.value;
            if page.items.is_empty() && page.more {
                return Err(empty_page().into());
            }
            more = page.more;
            gathered.take(page.items, share)?;
        }
        if more && count.is_none() {
            count = Some(self.count(wanted, revision).await?);
        }
        Ok(gathered.finish(more, count, share))
    }

    /// How many keys the whole range has.
    pub(crate) async fn count(&self, wanted: &Wanted, revision: Revision) -> Result<u64, Fault> {
        let query = Query { revision: Some(revision), ..wanted.count_query() };
        Ok(self.client.read(query, Consistency::Session(revision)).await?.value.count)
    }
}

/// A node contradicts itself.
fn empty_page() -> Error {
    Error::Fatal { why: "a node answered with an empty page and says that more follows".into() }
}

/// A range in parts, in the order of keys, all as of one revision.
pub(crate) struct Parts {
    service: Service,
    wanted: Wanted,
    /// Fixed by the first part.
    revision: Option<Revision>,
    next: Bytes,
    left: Option<usize>,
    seen: u64,
    /// Items in the next part.
    part_items: u32,
    over: bool,
}

impl Parts {
    /// Nothing is read yet.
    pub(crate) fn new(service: Service, wanted: Wanted) -> Self {
        Self {
            service,
            revision: wanted.revision,
            next: wanted.range.start.clone(),
            left: wanted.fetch_limit(),
            wanted,
            seen: 0,
            part_items: FIRST_PART_ITEMS,
            over: false,
        }
    }

    /// The next part; `None` after the last one, which alone bears the header, the count, and whether
    /// more follows behind the limit.
    pub(crate) async fn next(&mut self) -> Result<Option<RangeResponse>, Fault> {
        if self.over {
            return Ok(None);
        }
        let consistency = match self.revision {
            Some(revision) if self.seen > 0 => Consistency::Session(revision),
            Some(_) | None => self.wanted.consistency,
        };
        let limit = page_limit(self.left).wrapping_sub(1).min(self.part_items - 1) + 1;
        let query = Query {
            range: KeyRange { start: self.next.clone(), end: self.wanted.range.end.clone() },
            revision: self.revision,
            limit,
            ..self.wanted.query()
        };
        let read = self.service.client.read(query, consistency).await?;
        let revision = *self.revision.get_or_insert(read.header.revision);
        let page = read.value;
        self.seen += page.items.len() as u64;
        self.part_items = self.part_items.saturating_mul(PART_GROWTH);
        self.left = self.left.map(|left| left.saturating_sub(page.items.len()));
        match page.items.last() {
            Some(last) => self.next = behind(&last.key),
            None if page.more => return Err(empty_page().into()),
            None => {}
        }
        let mut part = RangeResponse {
            kvs: page.items.into_iter().map(key_value).collect(),
            ..RangeResponse::default()
        };
        if !page.more || self.left == Some(0) {
            self.over = true;
            part.more = page.more;
            let count = if page.more {
                self.service.count(&self.wanted, revision).await?
            } else {
                self.seen
            };
            part.count = signed(count);
            part.header = Some(self.service.header(read.header.revision));
        }
        Ok(Some(part))
    }
}

/// Why a read was not answered.
pub(crate) enum Fault {
    /// The cluster did not.
    Client(Error),
    /// The gateway did not.
    Own(Status),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Own(status)
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Client(error) => errors::of_client(&error),
            Fault::Own(status) => status,
        }
    }
}
