//! Pages: their header, the meta page, the elements of branches and leaves.

use crate::bytes::{fnv, u16_at, u32_at, u64_at};

/// A page's header.
pub(crate) const HEADER_BYTES: usize = 16;
/// An element of a branch or a leaf, without its key and its value.
pub(crate) const ELEMENT_BYTES: usize = 16;
/// What a bucket's value begins with: its root page and a counter.
pub(crate) const BUCKET_BYTES: usize = 16;
/// The meta page's body.
pub(crate) const META_BYTES: usize = 64;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

/// A leaf's element that is a bucket.
pub(crate) const IS_BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// The sizes of pages that are taken for such.
pub(crate) const PAGE_SIZES: std::ops::RangeInclusive<u32> = 9..=16;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file is of another kind.
    #[error("this is no bbolt file: neither of its first two pages is a whole meta page")]
    NotBolt,
    /// The file is cut off or changed.
    #[error("page {page} is damaged: {what}")]
    Damaged {
        /// Its number.
        page: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// The file may be whole, but this reader has its limits.
    #[error("page {page} and what belongs to it have {bytes} bytes, more than is read at once")]
    TooLarge {
        /// Its number.
        page: u64,
        /// Its length.
        bytes: u64,
    },
    /// The system did not give the bytes.
    #[error("read the file: {0}")]
    Io(#[from] std::io::Error),
}

/// A page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) kind: u16,
    pub(crate) count: u16,
    /// Pages that follow and belong to it.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            kind: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }
}

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    /// Behind the last page in use.
    pub(crate) end: u64,
    pub(crate) txid: u64,
}

impl Meta {
    /// The body of a meta page, if it holds.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let sum = u64_at(bytes, 56)?;
        let page_bytes = u32_at(bytes, 8)?;
        let whole = u32_at(bytes, 0)? == MAGIC
            && u32_at(bytes, 4)? == VERSION
            && sum == fnv(bytes.get(..56)?)
            && page_bytes.is_power_of_two()
            && PAGE_SIZES.contains(&page_bytes.trailing_zeros());
        whole.then_some(Self {
            page_bytes,
            root: u64_at(bytes, 16)?,
            freelist: u64_at(bytes, 32)?,
            end: u64_at(bytes, 40)?,
            txid: u64_at(bytes, 48)?,
        })
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let begin = out.len();
        for number in [MAGIC, VERSION, self.page_bytes, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        // Behind the root stands the root bucket's counter, which nobody uses.
        for number in [self.root, 0, self.freelist, self.end, self.txid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv(&out[begin..]);
        out.extend_from_slice(&sum.to_le_bytes());
    }
}

/// One element of a leaf, as places within the page's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafElement {
    pub(crate) is_bucket: bool,
    pub(crate) key: (usize, usize),
    pub(crate) value: (usize, usize),
}

/// Element `index` of a leaf whose bytes these are, its header included.
pub(crate) fn leaf_element(bytes: &[u8], index: u16) -> Option<LeafElement> {
    let at = HEADER_BYTES + usize::from(index) * ELEMENT_BYTES;
    let [flags, begin, key, value] = words(bytes, at)?;
    let key_begin = at.checked_add(usize::try_from(begin).ok()?)?;
    let key_end = key_begin.checked_add(usize::try_from(key).ok()?)?;
    let value_end = key_end.checked_add(usize::try_from(value).ok()?)?;
    (value_end <= bytes.len()).then_some(LeafElement {
        is_bucket: flags & IS_BUCKET != 0,
        key: (key_begin, key_end),
        value: (key_end, value_end),
    })
}

/// The page that element `index` of a branch leads to.
pub(crate) fn branch_child(bytes: &[u8], index: u16) -> Option<u64> {
    u64_at(bytes, HEADER_BYTES + usize::from(index) * ELEMENT_BYTES + 8)
}

fn words(bytes: &[u8], at: usize) -> Option<[u32; 4]> {
    let word = |index: usize| u32_at(bytes, at + 4 * index);
    Some([word(0)?, word(1)?, word(2)?, word(3)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_page_is_known_by_every_byte_of_it() {
        let meta = Meta { page_bytes: 4096, root: 3, freelist: 2, end: 9, txid: 5 };
        let mut bytes = Vec::new();
        meta.encode(&mut bytes);
        assert_eq!((bytes.len(), Meta::decode(&bytes)), (META_BYTES, Some(meta)));
        for at in 0..META_BYTES {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Meta::decode(&changed), None, "byte {at}");
        }
        assert_eq!(Meta::decode(&bytes[..META_BYTES - 1]), None);
    }
}
