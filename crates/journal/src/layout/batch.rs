//! Batches: a header record that says how much follows, records, and zeros up to the next
//! multiple of eight.

use super::record::PREFIX_BYTES;
use super::{ALIGNMENT, Key, Logged, Reader, chain, padded};
use crate::Reason;

/// Length of a batch header record, prefix and all.
pub(crate) const BATCH_HEADER_BYTES: usize = 40;
const BODY_BYTES: usize = BATCH_HEADER_BYTES - PREFIX_BYTES;
const KIND: u8 = 1;
const CONTINUES: u8 = 1;

/// Whether a batch counts alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It counts only together with the batch after it.
    Continues,
    /// It is whole, or the last of its group.
    Ends,
}

/// What a batch says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// 1, 2, 3, … over the journal's life.
    pub(crate) number: u64,
    /// This batch and all before it had been synced when this one was written.
    pub(crate) durable_through: u64,
    pub(crate) link: Link,
    /// How many records follow.
    pub(crate) records: u32,
    /// How many bytes they take, unpadded.
    pub(crate) bytes: u64,
}

impl Batch {
    /// Length of the whole batch in the segment.
    pub(crate) fn total_bytes(&self) -> u64 {
        padded(BATCH_HEADER_BYTES as u64 + self.bytes)
    }
}

/// Encodes one batch at the end of a buffer.
pub(crate) struct BatchWriter<'a> {
    out: &'a mut Vec<u8>,
    crc: u32,
    records_due: u32,
    ends_at: usize,
}

impl<'a> BatchWriter<'a> {
    /// Begins the batch that will stand at `offset` of its segment.
    pub(crate) fn new(out: &'a mut Vec<u8>, key: Key, offset: u64, batch: &Batch) -> Self {
        assert_eq!(offset % ALIGNMENT as u64, 0, "batches are aligned");
        let bytes = usize::try_from(batch.bytes).expect("a batch fits in memory");
        let ends_at = out.len() + BATCH_HEADER_BYTES + bytes;
        let mut writer = Self { out, crc: key.start(offset), records_due: batch.records, ends_at };
        writer.frame(|out| {
            out.push(KIND);
            out.push(if batch.link == Link::Continues { CONTINUES } else { 0 });
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&batch.records.to_le_bytes());
            out.extend_from_slice(&batch.bytes.to_le_bytes());
            out.extend_from_slice(&batch.number.to_le_bytes());
            out.extend_from_slice(&batch.durable_through.to_le_bytes());
        });
        writer
    }

    /// Appends one of the records that the header has announced.
    pub(crate) fn record(&mut self, logged: &Logged) {
        assert!(self.records_due > 0, "more records than the batch header announced");
        self.records_due -= 1;
        self.frame(|out| logged.encode(out));
    }

    /// Pads the batch.
    pub(crate) fn finish(self) {
        assert_eq!(self.records_due, 0, "fewer records than the batch header announced");
        assert_eq!(self.out.len(), self.ends_at, "the batch header announced another length");
        self.out.resize(self.out.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn frame(&mut self, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; PREFIX_BYTES]);
        body(self.out);
        let len = self.out.len() - start - PREFIX_BYTES;
        let len = u32::try_from(len).expect("records are far shorter than 4 GiB").to_le_bytes();
        self.crc = chain(chain(self.crc, &len), &self.out[start + PREFIX_BYTES..]);
        self.out[start..start + 4].copy_from_slice(&len);
        self.out[start + 4..start + PREFIX_BYTES].copy_from_slice(&self.crc.to_le_bytes());
    }
}

/// Reads the batch header at `offset` of a segment. Cheap where there is none.
pub(crate) fn read_batch_header(segment: &[u8], offset: usize, key: Key) -> Result<Batch, Reason> {
    header_and_crc(segment, offset, key).map(|(batch, _)| batch)
}

/// Reads the batch at `offset` of a segment. Its records are appended to `records`: all of them,
/// or, when the batch turns out to be broken, those before the broken one.
pub(crate) fn read_batch(
    segment: &[u8],
    offset: usize,
    key: Key,
    records: &mut Vec<Logged>,
) -> Result<Batch, Reason> {
    let (batch, mut crc) = header_and_crc(segment, offset, key)?;
    let start = offset + BATCH_HEADER_BYTES;
    let end = usize::try_from(batch.bytes).ok().and_then(|bytes| start.checked_add(bytes));
    let end = end.filter(|end| *end <= segment.len()).ok_or(Reason::Malformed)?;
    let padded_end = end.next_multiple_of(ALIGNMENT);
    let mut rest = &segment[start..end];
    for _ in 0..batch.records {
        let (body, checked) = unframe(&mut rest, crc, key)?;
        crc = checked;
        records.push(Logged::decode(body).ok_or(Reason::Malformed)?);
    }
    if !rest.is_empty() {
        return Err(Reason::Malformed);
    }
    match segment.get(end..padded_end) {
        Some(padding) if padding.iter().all(|byte| *byte == 0) => Ok(batch),
        _ => Err(Reason::Padding),
    }
}

fn header_and_crc(segment: &[u8], offset: usize, key: Key) -> Result<(Batch, u32), Reason> {
    let mut rest = segment.get(offset..).ok_or(Reason::NoBatch)?;
    // Before any checksum is computed: the search for later batches asks at every eighth byte.
    if rest.len() < BATCH_HEADER_BYTES
        || rest[..4] != u32::to_le_bytes(u32::try_from(BODY_BYTES).expect("it is 32"))
        || rest[PREFIX_BYTES] != KIND
    {
        return Err(Reason::NoBatch);
    }
    let (body, crc) = unframe(&mut rest, key.start(offset as u64), key)?;
    let batch = parse_header(body).ok_or(Reason::Malformed)?;
    Ok((batch, crc))
}

fn parse_header(body: &[u8]) -> Option<Batch> {
    let mut reader = Reader(body);
    let _kind = reader.u8()?;
    let link = match reader.u8()? {
        0 => Link::Ends,
        CONTINUES => Link::Continues,
        _ => return None,
    };
    let _reserved = reader.array::<2>()?;
    let records = reader.u32()?;
    let bytes = reader.number()?;
    let number = reader.number()?;
    let durable_through = reader.number()?;
    reader.end()?;
    // A batch proves what stood before it, not itself.
    (durable_through < number).then_some(Batch { number, durable_through, link, records, bytes })
}

/// Takes one framed record off the front of `rest`: its body, and its checksum for the next one.
fn unframe<'a>(rest: &mut &'a [u8], before: u32, key: Key) -> Result<(&'a [u8], u32), Reason> {
    let mut reader = Reader(rest);
    let len = reader.u32().ok_or(Reason::Malformed)?;
    let found = reader.u32().ok_or(Reason::Malformed)?;
    let bytes = reader.rest();
    let (body, after) = usize::try_from(len)
        .ok()
        .and_then(|len| bytes.split_at_checked(len))
        .ok_or(Reason::Malformed)?;
    let computed = chain(chain(before, &len.to_le_bytes()), body);
    if !key.accepts(found, computed) {
        return Err(Reason::Checksum);
    }
    *rest = after;
    Ok((body, computed))
}
