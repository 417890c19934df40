//! The file under the B-tree: pages with a checksum each.
//!
//! redb checks its own checksums when it repairs a file, not when it reads a page: a bit that
//! rots in a value, or in a branch on the way to it, would be served as truth, and rot in a page's
//! structure can make it panic. So each page is stored with a seal, the CRC-32 of its number and
//! its bytes, and a page whose seal is broken is an error before redb sees it. The number is
//! in the seal so that a page that a disk wrote to the wrong place is found, too.
//!
//! ```text
//! frame 0   header page 4096, as redb wrote it | format "CRN\x01"
//! frame n   page 4096                          | seal u32
//! ```
//!
//! # Invariants
//!
//! * Page 0 bears no seal: redb overwrites parts of it in place, and tells the new from the torn
//!   by checksums of its own in there.
//! * Any other page is only read after a write of it was synced (see [`super::tree`] on two-phase
//!   commits), so a torn page is never read, and a broken seal is rot.

use std::fmt;
use std::io;
use std::ops::Range;

use disk::File;

pub(crate) const PAGE_BYTES: usize = 4096;
const SEAL_BYTES: usize = 4;
const FRAME_BYTES: usize = PAGE_BYTES + SEAL_BYTES;
const FORMAT: [u8; SEAL_BYTES] = *b"CRN\x01";

/// A [`redb::StorageBackend`] over a file of ours.
pub(crate) struct Sealed<F> {
    file: F,
}

impl<F: File> Sealed<F> {
    /// For an empty file, or one that [`Sealed::is_ours`].
    pub(crate) fn new(file: F) -> Self {
        Self { file }
    }

    /// Whether the file has the format of this release.
    pub(crate) fn is_ours(&self) -> io::Result<bool> {
        if self.file.len()? < FRAME_BYTES as u64 {
            return Ok(false);
        }
        let mut format = [0; SEAL_BYTES];
        self.file.read_exact_at(&mut format, PAGE_BYTES as u64)?;
        Ok(format == FORMAT)
    }

    /// Marks the file as being of this release. Durable with the next sync.
    pub(crate) fn claim(&self) -> io::Result<()> {
        self.file.write_all_at(&FORMAT, PAGE_BYTES as u64)
    }

    /// Reads whole frames, and takes the pages out of them.
    fn read_pages(&self, pages: Range<u64>, out: &mut [u8]) -> io::Result<()> {
        let count = out.len() / PAGE_BYTES;
        let mut frames = vec![0; count * FRAME_BYTES];
        self.file.read_exact_at(&mut frames, frame_start(pages.start))?;
        let frames = frames.chunks_exact(FRAME_BYTES);
        for ((number, frame), page) in pages.zip(frames).zip(out.chunks_exact_mut(PAGE_BYTES)) {
            let (bytes, stored) = frame.split_at(PAGE_BYTES);
            if number != 0 && seal(number, bytes) != stored {
                let what = format!("page {number} has a broken seal");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            page.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn write_pages(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let mut frames = Vec::with_capacity(pages.len() / PAGE_BYTES * FRAME_BYTES);
        for (number, page) in (first..).zip(pages.chunks_exact(PAGE_BYTES)) {
            frames.extend_from_slice(page);
            frames.extend_from_slice(&if number == 0 { FORMAT } else { seal(number, page) });
        }
        self.file.write_all_at(&frames, frame_start(first))
    }
}

impl<F: File> redb::StorageBackend for Sealed<F> {
    fn len(&self) -> io::Result<u64> {
        let frames = self.file.len()? / FRAME_BYTES as u64;
        Ok(frames * PAGE_BYTES as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = pages_of(offset, out.len());
        if is_whole(offset, out.len()) {
            return self.read_pages(pages, out);
        }
        let mut whole = vec![0; page_count(&pages) * PAGE_BYTES];
        self.read_pages(pages, &mut whole)?;
        let skip = within_page(offset);
        out.copy_from_slice(&whole[skip..skip + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(frame_start(len.div_ceil(PAGE_BYTES as u64)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let pages = pages_of(offset, data.len());
        if is_whole(offset, data.len()) {
            return self.write_pages(pages.start, data);
        }
        // Part of the header page goes where it belongs, and nowhere else: redb counts on no
        // other byte of it being touched.
        if pages == (0..1) {
            return self.file.write_all_at(data, offset);
        }
        let mut whole = vec![0; page_count(&pages) * PAGE_BYTES];
        self.read_pages(pages.clone(), &mut whole)?;
        let skip = within_page(offset);
        whole[skip..skip + data.len()].copy_from_slice(data);
        self.write_pages(pages.start, &whole)
    }
}

impl<F> fmt::Debug for Sealed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

fn seal(number: u64, page: &[u8]) -> [u8; SEAL_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(page);
    hasher.finalize().to_le_bytes()
}

fn frame_start(page: u64) -> u64 {
    page * FRAME_BYTES as u64
}

fn pages_of(offset: u64, len: usize) -> Range<u64> {
    let page = PAGE_BYTES as u64;
    offset / page..(offset + len as u64).div_ceil(page)
}

fn page_count(pages: &Range<u64>) -> usize {
    usize::try_from(pages.end - pages.start).expect("a read that redb holds in memory fits there")
}

fn within_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE_BYTES as u64).expect("less than a page")
}

fn is_whole(offset: u64, len: usize) -> bool {
    within_page(offset) == 0 && len.is_multiple_of(PAGE_BYTES)
}
