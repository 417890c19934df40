//! Puts checksums right, so that a fuzzer gets behind them. Written from `docs/formats`, not from the
//! code: what does not fit either is a finding of its own.

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

fn index(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

/// Frames on a stream: length, checksum of what follows.
pub(crate) fn frames(stream: &mut [u8]) {
    let mut at = 0;
    while let Some(len) = word(stream, at).map(index) {
        let Some(content) = stream.get(at + 8..).and_then(|rest| rest.get(..len)) else { return };
        let crc = crc32fast::hash(content);
        put(stream, at + 4, crc);
        at += 8 + len;
    }
}

/// A snapshot's chunk: its last four bytes are the checksum of the rest.
pub(crate) fn chunk(chunk: &mut [u8]) {
    let Some(end) = chunk.len().checked_sub(4) else { return };
    let crc = crc32fast::hash(&chunk[..end]);
    put(chunk, end, crc);
}

/// A backup's blocks, and the sum of the whole in its trailer.
pub(crate) fn backup(file: &mut [u8]) {
    let mut at = 10;
    while let Some(len) = word(file, at + 1).map(index) {
        let Some(end) = (at + 9).checked_add(len).filter(|end| *end <= file.len()) else { return };
        let is_trailer = file[at] == 3;
        if is_trailer && len >= 4 {
            let sum = crc32fast::hash(&file[..at]);
            put(file, end - 4, sum);
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&file[at..at + 5]);
        crc.update(&file[at + 9..end]);
        put(file, at + 5, crc.finalize());
        at = end;
    }
}

/// The two meta pages of a bbolt file, wherever the second one begins.
pub(crate) fn bolt(file: &mut [u8]) {
    let seconds = (9..=16).map(|size| 1 << size);
    for at in std::iter::once(0).chain(seconds) {
        let Some(body) = file.get_mut(at + 16..at + 80) else { return };
        if word(body, 0) != Some(0xed0c_daed) {
            continue;
        }
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let sum = body[..56].iter().fold(0xcbf2_9ce4_8422_2325, fold);
        body[56..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A segment of a journal: header, batches, records.
pub(crate) fn segment(segment: &mut [u8], journal_id: u64, sequence: u64) {
    if segment.len() < 64 {
        return;
    }
    put(segment, 12, 0);
    let crc = crc32fast::hash(&segment[..64]);
    put(segment, 12, crc);
    let key = folded(journal_id) ^ folded(sequence);
    let mut at: usize = 64;
    // A batch wherever one seems to begin: an empty place is no end, for batches may follow it.
    while at + 40 <= segment.len() {
        at = match batch(segment, at, key) {
            Some(end) => end.next_multiple_of(8),
            None => at + 8,
        };
    }
}

/// Puts a batch right; `None` if there is none.
fn batch(segment: &mut [u8], at: usize, key: u32) -> Option<usize> {
    if word(segment, at)? != 32 || *segment.get(at + 8)? != 1 {
        return None;
    }
    let records = word(segment, at + 12)?;
    let mut crc = chain(key, &(at as u64).to_le_bytes());
    let mut end = record(segment, at, &mut crc)?;
    for _ in 0..records {
        match record(segment, end, &mut crc) {
            Some(next) => end = next,
            None => break,
        }
    }
    Some(end)
}

/// Puts a record right; where it ends.
fn record(segment: &mut [u8], at: usize, crc: &mut u32) -> Option<usize> {
    let len = word(segment, at)?;
    let end = (at + 8).checked_add(index(len)).filter(|end| *end <= segment.len())?;
    *crc = chain(chain(*crc, &len.to_le_bytes()), &segment[at + 8..end]);
    put(segment, at + 4, *crc);
    Some(end)
}

fn folded(number: u64) -> u32 {
    let bytes = number.to_le_bytes();
    let half =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    half(0) ^ half(4).rotate_left(16)
}

fn chain(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}
