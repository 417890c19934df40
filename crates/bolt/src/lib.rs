//! The files of bbolt, which etcd keeps its keys in and which its snapshots are: read, and written.
//!
//! Read byte by byte in `docs/formats/bolt.md`. A file is a row of pages; two meta pages at its
//! beginning say where the root is, and the newer one that holds counts. A bucket is a tree of branch
//! and leaf pages; the root bucket's values are the other buckets.
//!
//! The reader takes any bytes: it never panics, never reads a page that claims to be longer than
//! [`MAX_NODE_BYTES`], and ends, for the keys that it meets must ascend. The writer makes files in one
//! pass, front to back, out of entries that come in another order than that of their keys.

mod bytes;
mod page;
mod read;
mod source;
mod write;

pub use page::Fault;
pub use read::{Bucket, Database, Entry, Walk};
pub use source::{Seeking, Source};
pub use write::{Another, Form, KEY_BYTES, Layout, PAGE_BYTES, Small, TooMany};

/// The most bytes of one branch or leaf, overflow pages included, that are read.
pub const MAX_NODE_BYTES: u64 = 64 << 20;
