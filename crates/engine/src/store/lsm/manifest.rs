//! The manifest: which shape the store has, as a log of edits.
//!
//! The first edit makes the whole shape, each later one changes it. A commit is durable when its
//! edit is. When the log has grown long, and at every opening, it is written anew under another
//! name and takes the place of the old one.
//!
//! # Durability
//!
//! * Runs are synced, and so are their names, before the edit that speaks of them is written.
//! * What a run's edit takes out of the store is removed from the disk only after that edit is durable.
//! * A failed sync may leave an edit that the page cache shows and the disk never got (Rebello et
//!   al., *Can Applications Recover from fsync Failures?*, ATC 2020). Nothing in the manifest is
//!   appended to by a later process: an opening writes all of it anew, to a new file, before it
//!   says what is durable. So it does not matter which edits that process got to see, as long as
//!   they are the first so many of those that were written.
//!
//! # Reading it back
//!
//! Edits are read up to the first that is not whole. If none is whole behind that place, it is
//! the torn tail of an edit that nobody was told of, and is cut off. If one is, the place was once
//! whole, for edits are written one after another: that is damage. A last edit that rots looks like
//! a torn one; what it had made durable is missing then, and the node, whose journal begins later,
//! notices.

use std::io;

use bytes::Bytes;
use disk::{Disk, File, Open};
use wire::{DecodeError, Reader, Revision, SpaceId, Writer};

use super::shape::{Cut, Edit, Garbage, Known, Part, RunInfo, Shape};
use crate::paths::{self, parent};

const MAGIC: &[u8; 8] = b"CRNT\x01\0\0\0";
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"EDIT");
const HEADER_BYTES: usize = 12;
/// Frames begin at multiples of it, so that one can be looked for behind damage.
const ALIGNMENT: usize = 8;

/// The open manifest.
pub(super) struct Manifest<D: Disk> {
    disk: D,
    path: String,
    file: D::File,
    end: u64,
    /// Where the first edit ends.
    whole: u64,
    /// Written anew when there is this much behind the first edit, and four times as much as that.
    slack_bytes: u64,
    /// The last write found no room, and left something behind the end.
    torn: bool,
}

/// What came of writing an edit.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not done, and no trace of it counts.
    NoRoom,
    /// Unknown.
    Broken(io::Error),
}

impl<D: Disk> Manifest<D> {
    /// Makes a manifest of this shape, in place of the one that may be there.
    pub(super) fn create(
        disk: &D,
        path: &str,
        shape: &Shape<impl Known>,
        slack_bytes: u64,
    ) -> Result<Self, Failure> {
        let unfinished = format!("{path}.new");
        let written = write_whole(disk, &unfinished, shape);
        let (file, end) = written.map_err(|error| {
            // If it was not even made, there is nothing to remove. What stays, the next opening removes.
            let removed = paths::remove(disk, &unfinished);
            if is_full(&error) && removed.is_ok() {
                Failure::NoRoom
            } else {
                Failure::Broken(error)
            }
        })?;
        let named = disk.rename(&unfinished, path).and_then(|()| disk.sync_dir(parent(path).0));
        named.map_err(Failure::Broken)?;
        let (disk, path, whole) = (disk.clone(), path.to_owned(), end);
        Ok(Self { disk, path, file, end, whole, slack_bytes, torn: false })
    }

    /// Makes an edit durable; `shape` is what it leads to.
    pub(super) fn append<R: Known>(
        &mut self,
        edit: &Edit<R>,
        shape: &Shape<R>,
    ) -> Result<(), Failure> {
        if self.torn || self.end > self.whole * 5 + self.slack_bytes {
            let (disk, path) = (self.disk.clone(), self.path.clone());
            *self = Self::create(&disk, &path, shape, self.slack_bytes)?;
            return Ok(());
        }
        let frame = frame(self.end, &encode(edit));
        if let Err(error) = self.file.write_all_at(&frame, self.end) {
            // A frame that was not written to its end is none.
            self.torn = true;
            return Err(if is_full(&error) { Failure::NoRoom } else { Failure::Broken(error) });
        }
        self.file.sync_data().map_err(Failure::Broken)?;
        self.end += frame.len() as u64;
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn write_whole<D: Disk>(
    disk: &D,
    path: &str,
    shape: &Shape<impl Known>,
) -> io::Result<(D::File, u64)> {
    let file = disk.open(path, Open::New)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(frame(MAGIC.len() as u64, &encode(&shape.whole())));
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    Ok((file, bytes.len() as u64))
}

/// Why a manifest can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is none.
    Foreign,
    /// It is damaged.
    Damaged {
        /// What does not hold.
        what: String,
        /// Where.
        at: usize,
    },
}

/// Reads the shape that a manifest's bytes tell of.
pub(super) fn read(bytes: &Bytes) -> Result<Shape<RunInfo>, Unreadable> {
    read_to_end(bytes).map(|(shape, _)| shape)
}

/// The same; tells where the last whole edit ends, too.
pub(super) fn read_to_end(bytes: &Bytes) -> Result<(Shape<RunInfo>, usize), Unreadable> {
    let damaged = |what: &str, at: usize| Unreadable::Damaged { what: what.to_owned(), at };
    if !bytes.starts_with(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    let mut shape = Shape::default();
    let (mut at, mut edits) = (MAGIC.len(), 0);
    while let Some((payload, next)) = whole_frame(bytes, at) {
        let edit = decode(payload).map_err(|error| damaged(&error.to_string(), at))?;
        shape.apply(&edit).map_err(|nonsense| damaged(nonsense.0, at))?;
        (at, edits) = (next, edits + 1);
    }
    let rest = (at + ALIGNMENT..bytes.len()).step_by(ALIGNMENT);
    if edits == 0 || rest.into_iter().any(|at| whole_frame(bytes, at).is_some()) {
        return Err(damaged("no whole edit", at));
    }
    Ok((shape, at))
}

/// The frame of an edit that will stand at `offset`.
fn frame(offset: u64, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("an edit speaks of a few thousand runs");
    let mut out = Writer::with_capacity(HEADER_BYTES + payload.len() + ALIGNMENT);
    out.u32(FRAME_MAGIC).u32(len).u32(checksum(offset, payload)).raw(payload);
    let mut out = out.into_vec();
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

/// The payload of the frame at `at`, if a whole one is there, and where the next begins.
fn whole_frame(bytes: &Bytes, at: usize) -> Option<(Bytes, usize)> {
    let mut header = Reader::new(bytes.get(at..at + HEADER_BYTES).map(|_| bytes.slice(at..))?);
    let magic = header.u32("magic").ok()?;
    let (len, stored) = (header.u32("length").ok()?, header.u32("checksum").ok()?);
    let start = at + HEADER_BYTES;
    let end = start.checked_add(len as usize)?;
    // The zeros behind it count, too: if they found no room, the edit was given up.
    let next = end.checked_next_multiple_of(ALIGNMENT).filter(|next| *next <= bytes.len())?;
    let payload = bytes.slice(start..end);
    let whole = magic == FRAME_MAGIC && checksum(at as u64, &payload) == stored;
    whole.then_some((payload, next))
}

/// Of the place, too: a frame that was written elsewhere is none.
fn checksum(offset: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&(payload.len() as u64).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn encode<R: Known>(edit: &Edit<R>) -> Vec<u8> {
    let mut out = Writer::new();
    out.varint(edit.next_run).varint(edit.next_layer);
    out.list(&edit.cuts, |out, cut| {
        out.varint(cut.layer).bytes(&cut.from);
        out.option(cut.to.as_ref(), |out, to| {
            out.bytes(to);
        });
    });
    out.list(&edit.adds, |out, (layer, part)| {
        let RunInfo { number, bytes, garbage } = part.run.info();
        out.varint(*layer).varint(number).varint(bytes).bytes(&part.from).bytes(&part.to);
        out.u8(u8::from(part.whole));
        out.option(garbage, |out, garbage| {
            out.varint(u64::from(garbage.space.0)).varint(garbage.at.0);
        });
    });
    let watermarks: Vec<_> = edit.watermarks.iter().collect();
    out.list(&watermarks, |out, (space, watermark)| {
        out.varint(u64::from(space.0)).varint(watermark.0);
    });
    out.into_vec()
}

fn decode(payload: Bytes) -> Result<Edit<RunInfo>, DecodeError> {
    let mut input = Reader::new(payload);
    let space = |input: &mut Reader| input.varint32("space").map(SpaceId);
    let edit = Edit {
        next_run: input.varint("next run")?,
        next_layer: input.varint("next layer")?,
        cuts: input.list("cuts", |input| {
            Ok(Cut {
                layer: input.varint("layer")?,
                from: input.bytes("cut")?,
                to: input.option("cut", |input| input.bytes("cut"))?,
            })
        })?,
        adds: input.list("parts", |input| {
            let layer = input.varint("layer")?;
            let (number, bytes) = (input.varint("run")?, input.varint("length of a run")?);
            let (from, to) = (input.bytes("part")?, input.bytes("part")?);
            let whole = match input.u8("part")? {
                0 => false,
                1 => true,
                _ => return Err(input.malformed("part")),
            };
            let garbage = input.option("garbage", |input| {
                Ok(Garbage { space: space(input)?, at: Revision(input.varint("revision")?) })
            })?;
            Ok((layer, Part { run: RunInfo { number, bytes, garbage }, from, to, whole }))
        })?,
        watermarks: input
            .list("watermarks", |input| Ok((space(input)?, Revision(input.varint("watermark")?))))?
            .into_iter()
            .collect(),
    };
    input.end("bytes behind an edit")?;
    Ok(edit)
}

#[cfg(test)]
mod tests;
