//! Little-endian numbers, LEB128 varints and length-prefixed bytes.

use bytes::Bytes;

/// The bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what} at byte {at}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// Where, counted from the beginning of the buffer.
    pub at: usize,
}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Goes on behind what `bytes` holds, with [`Writer::into_vec`] to take all of it back.
    pub fn behind(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Bytes in the buffer.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Sixteen bytes, little-endian.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// One to ten bytes: seven bits each, low bits first.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
        self
    }

    /// A length (varint), then the bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The bytes alone, without a length.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A presence byte, then what `some` writes.
    pub fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            None => {
                self.u8(0);
            }
            Some(value) => {
                self.u8(1);
                some(self, value);
            }
        }
        self
    }

    /// A count (varint), then each element as `each` writes it.
    pub fn list<T>(&mut self, values: &[T], mut each: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.varint(values.len() as u64);
        for value in values {
            each(self, value);
        }
        self
    }

    /// What was written.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }

    /// What was written, to be changed further.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values off a buffer. Byte strings are slices of it: nothing is copied.
#[derive(Debug)]
pub struct Reader {
    buffer: Bytes,
    at: usize,
}

impl Reader {
    /// Reads `buffer` from its beginning.
    pub fn new(buffer: Bytes) -> Self {
        Self { buffer, at: 0 }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// An error that says what was expected here.
    pub fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let slice =
            self.buffer.get(self.at..self.at + N).ok_or(DecodeError { what, at: self.at })?;
        let array = slice.try_into().map_err(|_| DecodeError { what, at: self.at })?;
        self.at += N;
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, what: &'static str) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array(what)?))
    }

    /// A varint.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(what))
    }

    /// A varint that must fit 32 bits.
    pub fn varint32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let value = self.varint(what)?;
        u32::try_from(value).map_err(|_| self.malformed(what))
    }

    /// A length, then that many bytes: a slice of the buffer.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.varint(what)?;
        let len = usize::try_from(len).map_err(|_| self.malformed(what))?;
        if len > self.remaining() {
            return Err(self.malformed(what));
        }
        let slice = self.buffer.slice(self.at..self.at + len);
        self.at += len;
        Ok(slice)
    }

    /// A length, then that many bytes of UTF-8.
    pub fn string(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| self.malformed(what))
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        let slice = self.buffer.slice(self.at..);
        self.at = self.buffer.len();
        slice
    }

    /// A presence byte, then what `some` reads.
    pub fn option<T>(
        &mut self,
        what: &'static str,
        some: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8(what)? {
            0 => Ok(None),
            1 => some(self).map(Some),
            _ => Err(self.malformed(what)),
        }
    }

    /// A count, then each element as `each` reads it. The count is believed only as far as the
    /// bytes at hand could hold so many.
    pub fn list<T>(
        &mut self,
        what: &'static str,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.varint(what)?;
        if count > self.remaining() as u64 {
            return Err(self.malformed(what));
        }
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(each(self)?);
        }
        Ok(values)
    }

    /// Nothing may be left.
    pub fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.malformed(what)) }
    }
}
