//! Scrubs: every replica reads all that it holds, as it was at one log index, and says what it came to.

use crate::{DecodeError, Reader, Revision, Writer};

/// How far the last scrub is that a node has begun. See [`crate::Body::Scrub`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStatus {
    /// The scrub, as its command names it.
    pub id: u64,
    /// The log index of its command: the state at this index is what is read.
    pub index: u64,
    /// The revision at this index.
    pub revision: Revision,
    /// How long it has run, or took, in milliseconds.
    pub elapsed_ms: u64,
    /// Keys read so far.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub bytes: u64,
    /// How it stands.
    pub stage: ScrubStage,
}

/// How a scrub stands on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrubStage {
    /// It is being read.
    Running,
    /// All was read, and has this checksum: the same on replicas that hold the same.
    Finished {
        /// Over every key with its newest version, and all that is kept beside the keys.
        checksum: u32,
    },
    /// Something could not be read.
    Broken {
        /// What, and where.
        why: String,
    },
}

impl ScrubStatus {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.id)
            .varint(self.index)
            .varint(self.revision.0)
            .varint(self.elapsed_ms)
            .varint(self.keys)
            .varint(self.bytes);
        match &self.stage {
            ScrubStage::Running => out.u8(1),
            ScrubStage::Finished { checksum } => out.u8(2).u32(*checksum),
            ScrubStage::Broken { why } => out.u8(3).bytes(why.as_bytes()),
        };
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            id: input.varint("scrub")?,
            index: input.varint("scrub index")?,
            revision: Revision(input.varint("scrub revision")?),
            elapsed_ms: input.varint("scrub time")?,
            keys: input.varint("scrubbed keys")?,
            bytes: input.varint("scrubbed bytes")?,
            stage: match input.u8("scrub stage")? {
                1 => ScrubStage::Running,
                2 => ScrubStage::Finished { checksum: input.u32("scrub checksum")? },
                3 => ScrubStage::Broken { why: input.string("scrub error")? },
                _ => return Err(input.malformed("scrub stage")),
            },
        })
    }
}
