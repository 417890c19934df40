//! Reading: which buckets there are, and what is in one, in the order of its keys.

use crate::MAX_NODE_BYTES;
use crate::bytes::u64_at;
use crate::page::{
    BRANCH, BUCKET_BYTES, Fault, HEADER_BYTES, Header, LEAF, META, META_BYTES, Meta, PAGE_SIZES,
    branch_child, leaf_element,
};
use crate::source::Source;

/// A tree that is deeper is none: the largest file has five levels.
const MAX_DEPTH: usize = 24;

/// A file whose meta page holds.
#[derive(Debug)]
pub struct Database<S> {
    source: S,
    meta: Meta,
}

/// A bucket of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    root: Root,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    Page(u64),
    /// The bytes of a leaf that stands within its parent's, and where in the file it begins.
    Inline(Vec<u8>, u64),
}

/// What a bucket holds under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; of a bucket within the bucket it is not told.
    pub value: &'a [u8],
    /// Whether it is a bucket within the bucket.
    pub is_bucket: bool,
    /// Where the value stands in the file, so that it can be read again.
    pub value_at: u64,
}

impl<S: Source> Database<S> {
    /// Opens a file: of its two meta pages, the newer one that holds counts.
    pub fn open(mut source: S) -> Result<Self, Fault> {
        let first = meta_at(&mut source, 0)?;
        let sizes = match first {
            Some(meta) => meta.page_bytes.trailing_zeros()..=meta.page_bytes.trailing_zeros(),
            None => PAGE_SIZES,
        };
        let mut second = None;
        for size in sizes {
            let found = meta_at(&mut source, 1 << size)?;
            second = second.or(found.filter(|meta| meta.page_bytes == 1 << size));
        }
        let newest = first.into_iter().chain(second).max_by_key(|meta| meta.txid);
        let meta = newest.ok_or(Fault::NotBolt)?;
        let bytes = meta.end.checked_mul(u64::from(meta.page_bytes));
        let cut = Fault::Damaged { page: meta.end, what: "the file is cut off before its end" };
        if bytes.is_none_or(|bytes| source.size().is_ok_and(|size| size < bytes)) {
            return Err(cut);
        }
        Ok(Self { source, meta })
    }

    /// How many bytes the file has according to its meta page; more may follow.
    pub fn size(&self) -> u64 {
        // Checked when it was opened.
        self.meta.end * u64::from(self.meta.page_bytes)
    }

    /// The bucket of buckets.
    pub fn root(&self) -> Bucket {
        Bucket { root: Root::Page(self.meta.root) }
    }

    /// A bucket of the root bucket.
    pub fn bucket(&mut self, name: &[u8]) -> Result<Option<Bucket>, Fault> {
        let mut walk = self.walk(&self.root());
        while walk.advance()? {
            let leaf = walk.leaf.as_ref().expect("it has advanced to an entry");
            let element = leaf.element(leaf.next - 1)?;
            if !element.is_bucket || leaf.slice(element.key) != name {
                continue;
            }
            let value = leaf.slice(element.value);
            let value_at = leaf.at + element.value.0 as u64;
            let short = leaf.damaged("a bucket's value is too short");
            let root = match u64_at(value, 0) {
                Some(0) if value.len() >= BUCKET_BYTES + HEADER_BYTES => {
                    Root::Inline(value[BUCKET_BYTES..].to_vec(), value_at + BUCKET_BYTES as u64)
                }
                Some(page) if page != 0 && value.len() >= BUCKET_BYTES => Root::Page(page),
                Some(_) | None => return Err(short),
            };
            return Ok(Some(Bucket { root }));
        }
        Ok(None)
    }

    /// Goes through a bucket from its first key to its last.
    pub fn walk(&mut self, bucket: &Bucket) -> Walk<'_, S> {
        Walk {
            database: self,
            next_root: Some(bucket.root.clone()),
            path: Vec::new(),
            leaf: None,
            last_key: None,
        }
    }

    /// Reads so many bytes again that [`Entry::value_at`] told of.
    pub fn read_again(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        Ok(self.source.read_at(at, bytes)?)
    }

    /// The bytes of a branch or a leaf, its overflow pages included.
    fn node(&mut self, page: u64) -> Result<(Header, Vec<u8>, u64), Fault> {
        let damaged = |what| Fault::Damaged { page, what };
        if !(2..self.meta.end).contains(&page) {
            return Err(damaged("it lies outside of the file"));
        }
        let at = page * u64::from(self.meta.page_bytes);
        let mut head = [0; HEADER_BYTES];
        self.source.read_at(at, &mut head)?;
        let header = Header::decode(&head).expect("the array has a header's length");
        if header.id != page {
            return Err(damaged("it bears another page's number"));
        }
        let pages = u64::from(header.overflow) + 1;
        if pages > self.meta.end - page {
            return Err(damaged("it claims to reach beyond the file's end"));
        }
        let bytes = pages * u64::from(self.meta.page_bytes);
        if bytes > MAX_NODE_BYTES {
            return Err(Fault::TooLarge { page, bytes });
        }
        let mut all = vec![0; usize::try_from(bytes).map_err(|_| Fault::TooLarge { page, bytes })?];
        self.source.read_at(at, &mut all)?;
        Ok((header, all, at))
    }
}

/// A meta page at this offset, if there is one that holds.
fn meta_at(source: &mut impl Source, offset: u64) -> Result<Option<Meta>, Fault> {
    let mut bytes = [0; HEADER_BYTES + META_BYTES];
    if source.size()? < offset + bytes.len() as u64 {
        return Ok(None);
    }
    source.read_at(offset, &mut bytes)?;
    let is_meta = Header::decode(&bytes).is_some_and(|header| header.kind == META);
    Ok(if is_meta { Meta::decode(&bytes[HEADER_BYTES..]) } else { None })
}

/// A walk through a bucket.
#[derive(Debug)]
pub struct Walk<'a, S> {
    database: &'a mut Database<S>,
    next_root: Option<Root>,
    /// The branches above, each with the children that are still to be visited, the next one last.
    path: Vec<Vec<u64>>,
    leaf: Option<Leaf>,
    last_key: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Leaf {
    page: u64,
    bytes: Vec<u8>,
    /// Where they begin in the file.
    at: u64,
    count: u16,
    next: u16,
}

impl Leaf {
    fn element(&self, index: u16) -> Result<crate::page::LeafElement, Fault> {
        let outside = self.damaged("an entry lies outside of the page");
        leaf_element(&self.bytes, index).ok_or(outside)
    }

    fn slice(&self, (begin, end): (usize, usize)) -> &[u8] {
        &self.bytes[begin..end]
    }

    fn damaged(&self, what: &'static str) -> Fault {
        Fault::Damaged { page: self.page, what }
    }
}

impl<S: Source> Walk<'_, S> {
    /// The next entry; `None` behind the last one.
    #[expect(clippy::should_implement_trait, reason = "an entry borrows the page it stands on")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        if !self.advance()? {
            return Ok(None);
        }
        let leaf = self.leaf.as_ref().expect("it has advanced to an entry");
        let element = leaf.element(leaf.next - 1)?;
        let value = if element.is_bucket { &[][..] } else { leaf.slice(element.value) };
        let value_at = leaf.at + element.value.0 as u64;
        let key = leaf.slice(element.key);
        Ok(Some(Entry { key, value, is_bucket: element.is_bucket, value_at }))
    }

    /// Moves to the next entry, which is the one before `leaf.next`; false if there is none.
    fn advance(&mut self) -> Result<bool, Fault> {
        while self.leaf.as_ref().is_none_or(|leaf| leaf.next == leaf.count) {
            if !self.enter_next_leaf()? {
                return Ok(false);
            }
        }
        let leaf = self.leaf.as_mut().expect("the loop has entered one");
        let element = leaf.element(leaf.next)?;
        let key = leaf.slice(element.key);
        // So a tree that leads back into itself ends here.
        if self.last_key.as_deref().is_some_and(|last| key <= last) {
            return Err(leaf.damaged("its keys are out of order"));
        }
        match &mut self.last_key {
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            none => *none = Some(key.to_vec()),
        }
        leaf.next += 1;
        Ok(true)
    }

    fn enter_next_leaf(&mut self) -> Result<bool, Fault> {
        self.leaf = None;
        let is_root = self.next_root.is_some();
        let mut page = match self.next_root.take() {
            Some(Root::Inline(bytes, at)) => {
                let header = Header::decode(&bytes).filter(|header| header.kind == LEAF);
                let what = "a bucket within a page is no leaf";
                let header = header.ok_or(Fault::Damaged { page: 0, what })?;
                self.leaf = Some(Leaf { page: 0, bytes, at, count: header.count, next: 0 });
                return Ok(true);
            }
            Some(Root::Page(page)) => page,
            None => match self.next_child() {
                Some(page) => page,
                None => return Ok(false),
            },
        };
        loop {
            let damaged = |what| Fault::Damaged { page, what };
            let (header, bytes, at) = self.database.node(page)?;
            match header.kind {
                // bbolt keeps an empty page only as a root. More of them could make a walk endless.
                LEAF if header.count == 0 && !is_root => {
                    return Err(damaged("it is empty, and no root"));
                }
                LEAF => {
                    self.leaf = Some(Leaf { page, bytes, at, count: header.count, next: 0 });
                    return Ok(true);
                }
                BRANCH if self.path.len() == MAX_DEPTH => {
                    return Err(damaged("it lies deeper than any tree is"));
                }
                BRANCH if header.count == 0 => return Err(damaged("a branch has no children")),
                BRANCH => {
                    let children = (0..header.count).rev().map(|index| branch_child(&bytes, index));
                    let children: Option<Vec<u64>> = children.collect();
                    self.path.push(children.ok_or(damaged("a child lies outside of the page"))?);
                    page = self.next_child().expect("it has one child at least");
                }
                _ => return Err(damaged("it is neither branch nor leaf")),
            }
        }
    }

    /// The next page that is still to be visited.
    fn next_child(&mut self) -> Option<u64> {
        while let Some(children) = self.path.last_mut() {
            match children.pop() {
                Some(page) => return Some(page),
                None => drop(self.path.pop()),
            }
        }
        None
    }
}
