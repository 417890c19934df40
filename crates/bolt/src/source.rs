//! Where a file's bytes come from.

use std::io::{Read, Result, Seek, SeekFrom};

/// Bytes that can be read in any order.
pub trait Source {
    /// How many there are.
    fn size(&mut self) -> Result<u64>;

    /// Fills `bytes` with those from `offset` on; it is an error if there are fewer.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()>;
}

impl Source for &[u8] {
    fn size(&mut self) -> Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.checked_add(bytes.len());
        match end.and_then(|end| self.get(begin..end)) {
            Some(found) => {
                bytes.copy_from_slice(found);
                Ok(())
            }
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A file, or what is like one.
#[derive(Debug)]
pub struct Seeking<F>(pub F);

impl<F: Read + Seek> Source for Seeking<F> {
    fn size(&mut self) -> Result<u64> {
        self.0.seek(SeekFrom::End(0))
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.read_exact(bytes)
    }
}
