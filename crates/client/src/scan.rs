//! A scan: a range, page by page, as it was at one revision.

use bytes::Bytes;
use wire::{Consistency, KeyRange, Page, Projection, Query, Revision};

use crate::{Client, Consistent, Error};

/// A scan under way. The first page fixes the revision; all others are read at the same one, so
/// that together they are one consistent state however long the scan takes. If that revision is
/// compacted meanwhile, the scan ends with [`wire::Refusal::Compacted`].
#[derive(Debug)]
pub struct Scan {
    client: Client,
    query: Query,
    consistency: Consistency,
    /// The most items still wanted; `None` is all.
    left: Option<u64>,
    page_items: u32,
    over: bool,
}

impl Scan {
    pub(crate) fn new(client: Client, range: KeyRange) -> Self {
        Self {
            client,
            query: Query::range(range),
            consistency: Consistency::Linearizable,
            left: None,
            page_items: 0,
            over: false,
        }
    }

    /// At most so many items in all.
    #[must_use]
    pub fn limit(mut self, items: u64) -> Self {
        self.left = Some(items);
        self
    }

    /// At most so many items in one page; 0 leaves it to the node.
    #[must_use]
    pub fn page_items(mut self, items: u32) -> Self {
        self.page_items = items;
        self
    }

    /// Keys only, values empty.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.query.projection = Projection::KeysOnly;
        self
    }

    /// What the first page promises; [`Consistency::Linearizable`] unless said otherwise.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// As it was at this revision.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.query.revision = Some(revision);
        self
    }

    /// The revision that is read, once it is known.
    pub fn revision(&self) -> Option<Revision> {
        self.query.revision
    }

    /// The next page; `None` after the last one. There is one page at least, maybe empty. After an
    /// error the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Consistent<Page>>, Error> {
        if self.over {
            return Ok(None);
        }
        self.query.limit = self.next_limit();
        let mut page = self.client.read(self.query.clone(), self.consistency).await?;
        let revision = *self.query.revision.get_or_insert(page.header.revision);
        // A past state is the same on every node that has it: no need to ask the leader again.
        self.consistency = Consistency::Session(revision);
        self.advance(&mut page.value)?;
        Ok(Some(page))
    }

    fn next_limit(&self) -> u32 {
        let left = self.left.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX));
        match self.page_items {
            // 0 leaves it to the node, so a limit of nothing asks for one item too many.
            0 if self.left.is_none() => 0,
            0 => left.max(1),
            page => page.min(left).max(1),
        }
    }

    fn advance(&mut self, page: &mut Page) -> Result<(), Error> {
        if let Some(left) = &mut self.left {
            page.items.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= page.items.len() as u64;
        }
        let wants_more = self.left != Some(0);
        match page.items.last() {
            Some(last) if page.more && wants_more => {
                self.query.range.start = behind(&last.key);
            }
            None if page.more && wants_more => {
                let why = "a node answered with an empty page and says that more follows".into();
                return Err(Error::Fatal { why });
            }
            Some(_) | None => self.over = true,
        }
        Ok(())
    }
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}
