//! Frames: how messages stand on a byte stream.
//!
//! ```text
//! length u32 │ crc32 u32 │ kind u8 │ stream varint │ body
//!            └ of all that follows; `length` counts that too, not itself nor the crc
//! ```
//!
//! TCP's own checksum lets one error in some ten million damaged segments through; ours does not
//! let the log take it in.

use bytes::{Buf, Bytes, BytesMut};

use crate::{DecodeError, Reader, Writer};

/// Bytes of length and checksum in front of each frame.
pub const FRAME_HEADER_BYTES: usize = 8;

/// The longest frame that is accepted, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// Room made ahead for a frame that is not complete yet, at most; beyond it, as much as has come.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// [`crate::Hello`]: first frame of whoever opened the connection.
    Hello,
    /// [`crate::Welcome`]: the answer to it.
    Welcome,
    /// A [`crate::Request`]; `stream` names it on this connection.
    Request,
    /// The answer to the request with this `stream`.
    Answer,
    /// One node's message to another, of the node's own encoding. `stream` is 0.
    Peer,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// Which request on this connection it belongs to; 0 where there is none.
    pub stream: u64,
    /// The rest.
    pub body: Bytes,
}

/// The byte stream does not hold a frame: the connection can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`], or empty.
    #[error("a frame of {len} bytes; at least 2 and at most {MAX_FRAME_BYTES} are accepted")]
    Length {
        /// What the header says.
        len: usize,
    },
    /// The checksum does not hold.
    #[error("a frame's checksum does not hold")]
    Checksum,
    /// Its first bytes make no sense.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl Frame {
    /// Its bytes on the stream.
    pub fn encode(kind: FrameKind, stream: u64, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        Self::append(kind, stream, body, &mut bytes);
        bytes
    }

    /// Its bytes on the stream, behind what `bytes` holds.
    pub fn append(
        kind: FrameKind,
        stream: u64,
        body: impl FnOnce(&mut Writer),
        bytes: &mut Vec<u8>,
    ) {
        let start = bytes.len();
        let mut out = Writer::behind(std::mem::take(bytes));
        out.u32(0).u32(0);
        out.u8(match kind {
            FrameKind::Hello => 1,
            FrameKind::Welcome => 2,
            FrameKind::Request => 3,
            FrameKind::Answer => 4,
            FrameKind::Peer => 5,
        });
        out.varint(stream);
        body(&mut out);
        *bytes = out.into_vec();
        let (header, content) = bytes[start..].split_at_mut(FRAME_HEADER_BYTES);
        let len = u32::try_from(content.len()).expect("senders bound their messages below 4 GiB");
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    }
}

/// Takes the first whole frame off `buffer`; `None` if it is not complete yet.
pub fn split_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    if buffer.len() < FRAME_HEADER_BYTES {
        return Ok(None);
    }
    let word = |at: usize| {
        u32::from_le_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]])
    };
    let (len, crc) = (word(0) as usize, word(4));
    if !(2..=MAX_FRAME_BYTES).contains(&len) {
        return Err(FrameError::Length { len });
    }
    if buffer.len() < FRAME_HEADER_BYTES + len {
        // A length alone is not believed: whoever wants 64 MiB of memory has to send them.
        let missing = FRAME_HEADER_BYTES + len - buffer.len();
        buffer.reserve(missing.min(buffer.len().max(READ_AHEAD_BYTES)));
        return Ok(None);
    }
    buffer.advance(FRAME_HEADER_BYTES);
    let content = buffer.split_to(len).freeze();
    if crc32fast::hash(&content) != crc {
        return Err(FrameError::Checksum);
    }
    let mut input = Reader::new(content);
    let kind = match input.u8("frame kind")? {
        1 => FrameKind::Hello,
        2 => FrameKind::Welcome,
        3 => FrameKind::Request,
        4 => FrameKind::Answer,
        5 => FrameKind::Peer,
        _ => return Err(input.malformed("frame kind").into()),
    };
    let stream = input.varint("frame stream")?;
    Ok(Some(Frame { kind, stream, body: input.rest() }))
}
