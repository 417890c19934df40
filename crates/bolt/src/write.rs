//! Writing: etcd's bucket of keys is sorted by revision, and whoever reads a store gets it sorted by
//! key. A file is written front to back all the same, without keeping any value:
//!
//! ```text
//! first pass   Layout::add     for each item its revision and its length: 16 bytes are kept of it
//!              Layout::form    sorts them; now the place of every page is known
//! second pass  Form::head      the meta pages, the small buckets, all branches of the large one
//!              Form::leaf      each item again, in the same order: a leaf of its own
//! ```
//!
//! A leaf with a single entry would waste most of a page of the usual 4096 bytes, so the file says that
//! its pages have 512, and branches take eight of them. Who writes into the file later splits and joins
//! pages as he likes; `etcdctl defrag` gives it pages of the system's size.

mod node;
#[cfg(test)]
mod tests;

use self::node::{Node, branch, bucket_value, header, inline, pad, pages_of, tree, word32};
use crate::page::{ELEMENT_BYTES, FREELIST, HEADER_BYTES, LEAF, META, Meta};

/// The length of a page of our files.
pub const PAGE_BYTES: usize = 512;

/// The length of a revision as a key: main, `_`, sub.
pub const KEY_BYTES: usize = 17;

/// Pages of a branch.
const NODE_PAGES: usize = 8;

/// The most children of a branch whose keys are revisions.
const CHILDREN: usize = (NODE_PAGES * PAGE_BYTES - HEADER_BYTES) / (ELEMENT_BYTES + KEY_BYTES);

/// The freelist's page, and the root's first.
const FREELIST_PAGE: u64 = 2;
const ROOT_PAGE: u64 = 3;

/// A bucket that fits into memory, its entries in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Small {
    /// Its name.
    pub name: &'static [u8],
    /// Its keys and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// There are more items than the layout may keep in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {most} keys")]
pub struct TooMany {
    /// How many it may.
    pub most: usize,
}

/// The second pass met another item than the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item read again is not the one read before")]
pub struct Another;

/// The first pass.
#[derive(Debug)]
pub struct Layout {
    most: usize,
    items: Vec<Place>,
    pages: u64,
}

/// Where an item's leaf is. Ordered by revision, and by the order in which items came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    revision: u64,
    /// Counted from the first leaf.
    page: u64,
}

/// A file whose pages all have their places.
#[derive(Debug)]
pub struct Form {
    items: Vec<Place>,
    /// Of each level of branches above the leaves, from below: how many, and its first page.
    levels: Vec<(usize, u64)>,
    first_leaf: u64,
    end: u64,
    /// What stands before the branches, until it is taken.
    front: Option<Vec<u8>>,
    /// The next branch: its level, and its place on it.
    next_branch: (usize, usize),
    /// The next item's leaf, counted from the first.
    next_leaf: u64,
}

impl Layout {
    /// For so many items at most; memory for `expected` of them is taken at once.
    pub fn new(most: usize, expected: usize) -> Self {
        Self { most, items: Vec::with_capacity(expected.min(most)), pages: 0 }
    }

    /// Another item was last changed at `revision`, and its value in the file has so many bytes.
    pub fn add(&mut self, revision: u64, value_bytes: usize) -> Result<(), TooMany> {
        if self.items.len() == self.most {
            return Err(TooMany { most: self.most });
        }
        self.items.push(Place { revision, page: self.pages });
        self.pages += leaf_pages(value_bytes) as u64;
        Ok(())
    }

    /// All items are known: the file with them in the bucket `name`, and with these others.
    pub fn form(mut self, name: &'static [u8], others: Vec<Small>) -> Form {
        self.items.sort_unstable();
        let mut buckets = others;
        buckets.push(Small { name, entries: Vec::new() });
        buckets.sort_by_key(|bucket| bucket.name);
        let is_large = |bucket: &Small| bucket.name == name && !self.items.is_empty();
        let values: Vec<Option<Vec<u8>>> = buckets
            .iter()
            .map(|bucket| if is_large(bucket) { None } else { inline(bucket) })
            .collect();
        // How long the root is depends on no page's number, and those that follow depend on its length.
        let mut root = Node::default();
        for (bucket, value) in buckets.iter().zip(&values) {
            root.bucket(bucket.name, value.clone().unwrap_or_else(|| bucket_value(0)));
        }
        let root_pages = root.pages();
        let mut next = ROOT_PAGE + root_pages as u64;
        let mut trees = Vec::new();
        let mut root = Node::default();
        let levels = levels(self.items.len());
        // The large bucket's pages follow those of all others.
        let large_root = {
            let mut ahead = next;
            for (bucket, value) in buckets.iter().zip(&values) {
                if value.is_none() && !is_large(bucket) {
                    tree(&bucket.entries, &mut ahead, &mut Vec::new());
                }
            }
            let branches: usize = levels.iter().sum();
            // The root is the last branch; without a branch it is the only leaf.
            ahead + (branches.saturating_sub(1) * NODE_PAGES) as u64
        };
        for (bucket, value) in buckets.iter().zip(values) {
            let value = value.unwrap_or_else(|| {
                bucket_value(if is_large(bucket) {
                    large_root
                } else {
                    tree(&bucket.entries, &mut next, &mut trees)
                })
            });
            root.bucket(bucket.name, value);
        }
        let mut places = Vec::new();
        for count in levels {
            places.push((count, next));
            next += (count * NODE_PAGES) as u64;
        }
        let end = next + self.pages;
        let mut front = front(end);
        root.leaf(ROOT_PAGE, root_pages, &mut front);
        front.append(&mut trees);
        Form {
            items: self.items,
            levels: places,
            first_leaf: next,
            end,
            front: Some(front),
            next_branch: (0, 0),
            next_leaf: 0,
        }
    }
}

/// The meta pages and an empty freelist.
fn front(end: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for page in 0..2 {
        header(page, META, 0, 1, &mut out);
        let meta = Meta {
            page_bytes: word32(PAGE_BYTES),
            root: ROOT_PAGE,
            freelist: FREELIST_PAGE,
            end,
            txid: page,
        };
        meta.encode(&mut out);
        pad(&mut out);
    }
    header(FREELIST_PAGE, FREELIST, 0, 1, &mut out);
    pad(&mut out);
    out
}

/// How many branches stand above so many leaves, level by level, from below.
fn levels(leaves: usize) -> Vec<usize> {
    let mut levels = Vec::new();
    let mut count = leaves;
    while count > 1 {
        count = count.div_ceil(CHILDREN);
        levels.push(count);
    }
    levels
}

fn leaf_pages(value_bytes: usize) -> usize {
    pages_of(HEADER_BYTES + ELEMENT_BYTES + KEY_BYTES + value_bytes)
}

impl Form {
    /// The file's length.
    pub fn bytes(&self) -> u64 {
        self.end * PAGE_BYTES as u64
    }

    /// The next part of what stands before the items; `None` when the items follow.
    pub fn head(&mut self) -> Option<Vec<u8>> {
        if let Some(front) = self.front.take() {
            return Some(front);
        }
        let (level, place) = self.next_branch;
        let (count, first_page) = *self.levels.get(level)?;
        self.next_branch = if place + 1 < count { (level, place + 1) } else { (level + 1, 0) };
        let page = first_page + (place * NODE_PAGES) as u64;
        let children: Vec<_> = self.children(level, place).map(|c| self.child(level, c)).collect();
        Some(branch(page, &children))
    }

    /// The children of a branch, by their places on the level below: as many as its neighbours have.
    fn children(&self, level: usize, place: usize) -> std::ops::Range<usize> {
        let below = if level == 0 { self.items.len() } else { self.levels[level - 1].0 };
        let count = self.levels[level].0;
        place * below / count..(place + 1) * below / count
    }

    /// The first key and the page of what stands below this level.
    fn child(&self, level: usize, place: usize) -> ([u8; KEY_BYTES], u64) {
        if level == 0 {
            let item = self.items[place];
            return (key(item.revision, self.sub(place)), self.first_leaf + item.page);
        }
        let page = self.levels[level - 1].1 + (place * NODE_PAGES) as u64;
        let mut first = place;
        for below in (0..level).rev() {
            first = self.children(below, first).start;
        }
        (key(self.items[first].revision, self.sub(first)), page)
    }

    /// How many items of the same revision came before this one.
    fn sub(&self, index: usize) -> u64 {
        let revision = self.items[index].revision;
        (index - self.items.partition_point(|item| item.revision < revision)) as u64
    }

    /// The next item again: its leaf.
    pub fn leaf(&mut self, revision: u64, value: &[u8]) -> Result<Vec<u8>, Another> {
        let place = Place { revision, page: self.next_leaf };
        let index = self.items.binary_search(&place).map_err(|_| Another)?;
        let pages = leaf_pages(value.len());
        let mut out = Vec::with_capacity(pages * PAGE_BYTES);
        header(self.first_leaf + self.next_leaf, LEAF, 1, pages, &mut out);
        for word in [0, ELEMENT_BYTES, KEY_BYTES, value.len()] {
            out.extend_from_slice(&word32(word).to_le_bytes());
        }
        out.extend_from_slice(&key(revision, self.sub(index)));
        out.extend_from_slice(value);
        pad(&mut out);
        self.next_leaf += pages as u64;
        Ok(out)
    }

    /// Whether every item was read again.
    pub fn is_complete(&self) -> bool {
        self.first_leaf + self.next_leaf == self.end
    }
}

/// A revision as etcd sorts by it.
fn key(revision: u64, sub: u64) -> [u8; KEY_BYTES] {
    let mut key = [b'_'; KEY_BYTES];
    key[..8].copy_from_slice(&revision.to_be_bytes());
    key[9..].copy_from_slice(&sub.to_be_bytes());
    key
}
