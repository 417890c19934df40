//! Pages that are made in memory: leaves with several entries, branches, and small trees of them.

use crate::page::{BRANCH, BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, Header, IS_BUCKET, LEAF};

use super::{NODE_PAGES, PAGE_BYTES, Small};

/// A bucket of so many bytes stands within its parent's page.
const INLINE_BYTES: usize = PAGE_BYTES / 4;

/// The entries of a leaf or a branch.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The first two words of each element that are not lengths, its key, its value.
    entries: Vec<(u32, Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Node {
    /// A bucket, in a leaf.
    pub(super) fn bucket(&mut self, name: &[u8], value: Vec<u8>) {
        self.add(IS_BUCKET, name, value);
    }

    fn add(&mut self, flags: u32, key: &[u8], value: Vec<u8>) {
        self.bytes += ELEMENT_BYTES + key.len() + value.len();
        self.entries.push((flags, key.to_vec(), value));
    }

    /// The pages that it takes.
    pub(super) fn pages(&self) -> usize {
        pages_of(HEADER_BYTES + self.bytes)
    }

    /// As a leaf that takes so many pages.
    pub(super) fn leaf(&self, page: u64, pages: usize, out: &mut Vec<u8>) {
        header(page, LEAF, self.entries.len(), pages, out);
        self.elements(out);
        pad(out);
    }

    fn elements(&self, out: &mut Vec<u8>) {
        let mut begin = self.entries.len() * ELEMENT_BYTES;
        for (flags, key, value) in &self.entries {
            for word in [*flags as usize, begin, key.len(), value.len()] {
                out.extend_from_slice(&word32(word).to_le_bytes());
            }
            begin = begin - ELEMENT_BYTES + key.len() + value.len();
        }
        for (_, key, value) in &self.entries {
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
    }
}

/// A branch that leads to these pages, in eight pages.
pub(super) fn branch(page: u64, children: &[(impl AsRef<[u8]>, u64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(NODE_PAGES * PAGE_BYTES);
    header(page, BRANCH, children.len(), NODE_PAGES, &mut out);
    let mut begin = children.len() * ELEMENT_BYTES;
    for (key, child) in children {
        let len = key.as_ref().len();
        out.extend_from_slice(&word32(begin).to_le_bytes());
        out.extend_from_slice(&word32(len).to_le_bytes());
        out.extend_from_slice(&child.to_le_bytes());
        begin = begin - ELEMENT_BYTES + len;
    }
    for (key, _) in children {
        out.extend_from_slice(key.as_ref());
    }
    assert!(out.len() <= NODE_PAGES * PAGE_BYTES, "a branch has few children with short keys");
    out.resize(NODE_PAGES * PAGE_BYTES, 0);
    out
}

/// A bucket's value, if the bucket is so small that all of it stands there.
pub(super) fn inline(small: &Small) -> Option<Vec<u8>> {
    let mut node = Node::default();
    for (key, value) in &small.entries {
        node.add(0, key, value.clone());
    }
    (HEADER_BYTES + node.bytes <= INLINE_BYTES).then(|| {
        let mut value = bucket_value(0);
        header(0, LEAF, node.entries.len(), 1, &mut value);
        node.elements(&mut value);
        value
    })
}

/// The value of a bucket whose root is this page.
pub(super) fn bucket_value(root: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(BUCKET_BYTES);
    value.extend_from_slice(&root.to_le_bytes());
    // A counter that nobody uses.
    value.extend_from_slice(&0_u64.to_le_bytes());
    value
}

/// Writes the tree of a bucket, whose pages begin at `next`; its root.
pub(super) fn tree(entries: &[(Vec<u8>, Vec<u8>)], next: &mut u64, out: &mut Vec<u8>) -> u64 {
    let room = NODE_PAGES * PAGE_BYTES - HEADER_BYTES;
    let mut nodes = vec![Node::default()];
    for (key, value) in entries {
        let full = nodes.last().is_some_and(|node| {
            !node.entries.is_empty() && node.bytes + ELEMENT_BYTES + key.len() + value.len() > room
        });
        if full {
            nodes.push(Node::default());
        }
        let node = nodes.last_mut().expect("there is one at least");
        node.add(0, key, value.clone());
    }
    let mut level = Vec::new();
    for node in &nodes {
        let first = node.entries.first().map(|(_, key, _)| key.clone()).unwrap_or_default();
        level.push((first, *next));
        node.leaf(*next, node.pages(), out);
        *next += node.pages() as u64;
    }
    while level.len() > 1 {
        let widest = level.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let children = (room / (ELEMENT_BYTES + widest)).max(2);
        let parts = level.len().div_ceil(children);
        let part = level.len().div_ceil(parts);
        let mut above = Vec::new();
        for children in level.chunks(part) {
            above.push((children[0].0.clone(), *next));
            out.extend_from_slice(&branch(*next, children));
            *next += NODE_PAGES as u64;
        }
        level = above;
    }
    level[0].1
}

/// How many pages so many bytes take.
pub(super) fn pages_of(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES)
}

/// Fills the last page with zeros.
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(PAGE_BYTES), 0);
}

pub(super) fn header(id: u64, kind: u16, count: usize, pages: usize, out: &mut Vec<u8>) {
    let count = u16::try_from(count).expect("a page of ours has few entries");
    let overflow = word32(pages - 1);
    Header { id, kind, count, overflow }.encode(out);
}

pub(super) fn word32(number: usize) -> u32 {
    u32::try_from(number).expect("values are far below 4 GiB")
}
