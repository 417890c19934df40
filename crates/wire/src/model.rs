//! The data model as clients see it: keys, items, ranges, queries, events.

use bytes::Bytes;

use crate::{DecodeError, Reader, Refusal, Revision, Writer};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 8 * 1024;

/// Refuses a key that is empty or too long.
pub fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::Invalid {
            what: "the key is empty; a key has 1 to 8192 bytes".into(),
        });
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Refusal::TooLarge {
            what: "key".into(),
            size: key.len() as u64,
            limit: MAX_KEY_BYTES as u64,
            flag: None,
        });
    }
    Ok(())
}

/// A half-open slice of the keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key in it.
    pub start: Bytes,
    /// First key behind it; `None` means that it has no end.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// Just this key.
    pub fn single(key: Bytes) -> Self {
        let mut end = Vec::with_capacity(key.len() + 1);
        end.extend_from_slice(&key);
        end.push(0);
        Self { start: key, end: Some(Bytes::from(end)) }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: Bytes) -> Self {
        let end = prefix.iter().rposition(|&byte| byte != 0xff).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        Self { start: prefix, end }
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    /// Whether it holds exactly one key, and can be answered by a single look-up.
    pub fn is_single(&self) -> bool {
        self.end.as_ref().is_some_and(|end| {
            end.len() == self.start.len() + 1 && end.starts_with(&self.start) && end.ends_with(&[0])
        })
    }

    /// Whether no key can lie in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.bytes(&self.start).option(self.end.as_ref(), |out, end| {
            out.bytes(end);
        });
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let start = input.bytes("range start")?;
        let end = input.option("range end", |input| input.bytes("range end"))?;
        Ok(Self { start, end })
    }
}

/// One key with its value at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only keys were asked for.
    pub value: Bytes,
    /// The revision that brought the key into being, since its last deletion.
    pub created: Revision,
    /// The revision of this value.
    pub modified: Revision,
    /// How many times the key was written since `created`; 1 is the first.
    pub version: u64,
    /// The lease that the key hangs on; 0 is none.
    pub lease: u64,
}

impl Item {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.bytes(&self.key)
            .varint(self.created.0)
            .varint(self.modified.0)
            .varint(self.version)
            .varint(self.lease)
            .bytes(&self.value);
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            key: input.bytes("item key")?,
            created: Revision(input.varint("item created")?),
            modified: Revision(input.varint("item modified")?),
            version: input.varint("item version")?,
            lease: input.varint("item lease")?,
            value: input.bytes("item value")?,
        })
    }
}

/// How much of each item a query wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Keys and values.
    Full,
    /// Values left empty.
    KeysOnly,
    /// No items, only [`Page::count`].
    CountOnly,
}

/// A read of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which keys.
    pub range: KeyRange,
    /// The past state to read; `None` is the newest.
    pub revision: Option<Revision>,
    /// The most items in one page; 0 leaves it to the node. The node's own limit on a page's bytes
    /// holds in any case, and a page has at least one item if there is one.
    pub limit: u32,
    /// What of each item.
    pub projection: Projection,
}

impl Query {
    /// The newest state of one key.
    pub fn key(key: Bytes) -> Self {
        Self::range(KeyRange::single(key))
    }

    /// The newest state of a range.
    pub fn range(range: KeyRange) -> Self {
        Self { range, revision: None, limit: 0, projection: Projection::Full }
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        self.range.encode(out);
        out.option(self.revision, |out, revision| {
            out.varint(revision.0);
        });
        out.varint(u64::from(self.limit)).u8(match self.projection {
            Projection::Full => 0,
            Projection::KeysOnly => 1,
            Projection::CountOnly => 2,
        });
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let range = KeyRange::decode(input)?;
        let revision =
            input.option("query revision", |input| input.varint("query revision").map(Revision))?;
        let limit = input.varint32("query limit")?;
        let projection = match input.u8("projection")? {
            0 => Projection::Full,
            1 => Projection::KeysOnly,
            2 => Projection::CountOnly,
            _ => return Err(input.malformed("projection")),
        };
        Ok(Self { range, revision, limit, projection })
    }
}

/// One page of a query's answer, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found.
    pub items: Vec<Item>,
    /// Whether more keys follow: ask again from just behind the last item, at the same revision.
    pub more: bool,
    /// Items in the whole range, for [`Projection::CountOnly`]; otherwise those in this page.
    pub count: u64,
}

impl Page {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.list(&self.items, |out, item| item.encode(out))
            .u8(u8::from(self.more))
            .varint(self.count);
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            items: input.list("items", Item::decode)?,
            more: input.u8("more")? != 0,
            count: input.varint("count")?,
        })
    }
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It got this value.
    Put(Item),
    /// It vanished.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// One change that a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision that made it. Several events may share one: they happened together.
    pub revision: Revision,
    /// What happened.
    pub change: Change,
    /// What the key was before, if the watch asked for that, there was such a key, and its version is
    /// not compacted away.
    pub previous: Option<Item>,
}

impl Event {
    /// A change without what was before.
    pub fn new(revision: Revision, change: Change) -> Self {
        Self { revision, change, previous: None }
    }

    /// The key that changed.
    pub fn key(&self) -> &Bytes {
        match &self.change {
            Change::Put(item) => &item.key,
            Change::Delete { key } => key,
        }
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.revision.0);
        match &self.change {
            Change::Put(item) => {
                out.u8(0);
                item.encode(out);
            }
            Change::Delete { key } => {
                out.u8(1).bytes(key);
            }
        }
        out.option(self.previous.as_ref(), |out, item| item.encode(out));
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let revision = Revision(input.varint("event revision")?);
        let change = match input.u8("event kind")? {
            0 => Change::Put(Item::decode(input)?),
            1 => Change::Delete { key: input.bytes("event key")? },
            _ => return Err(input.malformed("event kind")),
        };
        let previous = input.option("previous", Item::decode)?;
        Ok(Self { revision, change, previous })
    }
}
