//! The bytes of rows: one order-preserving key for each table, and the values.
//!
//! Every source of rows, recent or on disk, is an ordered map from such keys, so that one merge
//! serves all of them by comparing bytes. The formats are in `docs/formats/engine.md`.
//!
//! ```text
//! rows     space u32 | key, 00 as 00 ff | 00 00 | !revision u64      newest version first
//! history  space u32 | revision u64 | order u32                       in the order of making
//! meta     group u64 | key
//! applied  group u64
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use consensus::{Epoch, LogIndex, Position};
use wire::{GroupId, Revision, SpaceId};

use crate::{Cell, Head, ReadError};

const SPACE_BYTES: usize = 4;
const REVISION_BYTES: usize = 8;
const END: [u8; 2] = [0, 0];
const ESCAPED_ZERO: [u8; 2] = [0, 0xff];
const DELETED: u8 = 0;
const PUT: u8 = 1;

/// What a row's key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowKey<'a> {
    pub(crate) space: SpaceId,
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) revision: Revision,
}

/// The key of one version.
pub(crate) fn row_key(space: SpaceId, key: &[u8], revision: Revision) -> Vec<u8> {
    let mut out = row_prefix(space, key);
    out.extend_from_slice(&(!revision.0).to_be_bytes());
    out
}

/// What all versions of `key` begin with; less than each of them, and greater than each version of
/// every smaller key.
pub(crate) fn row_prefix(space: SpaceId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SPACE_BYTES + key.len() + END.len() + REVISION_BYTES);
    out.extend_from_slice(&space.0.to_be_bytes());
    let mut rest = key;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&ESCAPED_ZERO);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&END);
    out
}

/// Splits a row's key into what all its versions share, and the revision.
pub(crate) fn split_row_key(encoded: &[u8]) -> Result<(&[u8], Revision), ReadError> {
    let (prefix, revision) =
        encoded.split_last_chunk::<REVISION_BYTES>().ok_or_else(|| damaged("row key"))?;
    if prefix.len() < SPACE_BYTES + END.len() || !prefix.ends_with(&END) {
        return Err(damaged("row key"));
    }
    Ok((prefix, Revision(!u64::from_be_bytes(*revision))))
}

/// The space of a row, or of what all versions of a key begin with.
pub(crate) fn space_of(encoded: &[u8]) -> Result<SpaceId, ReadError> {
    let space = encoded.first_chunk::<SPACE_BYTES>().ok_or_else(|| damaged("row key"))?;
    Ok(SpaceId(u32::from_be_bytes(*space)))
}

/// Reads a row's key back.
pub(crate) fn decode_row_key(encoded: &[u8]) -> Result<RowKey<'_>, ReadError> {
    let (prefix, revision) = split_row_key(encoded)?;
    let (space, rest) =
        prefix.split_first_chunk::<SPACE_BYTES>().ok_or_else(|| damaged("row key"))?;
    let key = unescape(&rest[..rest.len() - END.len()])?;
    if key.is_empty() {
        return Err(damaged("empty key"));
    }
    Ok(RowKey { space: SpaceId(u32::from_be_bytes(*space)), key, revision })
}

/// What stands behind all versions of the key that a prefix is for, and before the next key's.
pub(crate) fn behind_versions(prefix: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(prefix);
    if let Some(last) = out.last_mut() {
        // The prefix ends with 00 00, and in no key does 00 01 occur.
        *last = 1;
    }
}

/// The key that a row's key is for, as a slice of it where that is possible.
pub(crate) fn user_key(encoded: &Bytes) -> Result<Bytes, ReadError> {
    Ok(match decode_row_key(encoded)?.key {
        Cow::Borrowed(key) => encoded.slice_ref(key),
        Cow::Owned(key) => Bytes::from(key),
    })
}

/// Most keys have no zero byte, and are a slice of what they were read from.
fn unescape(escaped: &[u8]) -> Result<Cow<'_, [u8]>, ReadError> {
    if !escaped.contains(&0) {
        return Ok(Cow::Borrowed(escaped));
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        key.push(byte);
        if byte == 0 && bytes.next() != Some(&ESCAPED_ZERO[1]) {
            return Err(damaged("escape in a row key"));
        }
    }
    Ok(Cow::Owned(key))
}

/// The first key behind all of `space`; `None` if there is no space behind it.
pub(crate) fn space_end(space: SpaceId) -> Option<Vec<u8>> {
    space.0.checked_add(1).map(|next| next.to_be_bytes().to_vec())
}

/// The first key that `space` can have, in rows and in history.
pub(crate) fn space_start(space: SpaceId) -> Vec<u8> {
    space.0.to_be_bytes().to_vec()
}

/// The key of one change in the history.
pub(crate) fn history_key(space: SpaceId, revision: Revision, order: u32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&space.0.to_be_bytes());
    out[4..12].copy_from_slice(&revision.0.to_be_bytes());
    out[12..].copy_from_slice(&order.to_be_bytes());
    out
}

/// The first history key behind all changes up to `revision`; `None` if there is none.
pub(crate) fn behind_revision(space: SpaceId, revision: Revision) -> Option<Vec<u8>> {
    let next = revision.0.checked_add(1);
    let key = next.map(|next| history_key(space, Revision(next), 0).to_vec());
    key.or_else(|| space_end(space))
}

/// Reads the space and the revision of a history key.
pub(crate) fn decode_history_key(encoded: &[u8]) -> Result<(SpaceId, Revision), ReadError> {
    let whole: &[u8; 16] = encoded.try_into().map_err(|_| damaged("history key"))?;
    let (space, rest) = whole.split_first_chunk::<4>().ok_or_else(|| damaged("history key"))?;
    let (revision, _) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("history key"))?;
    Ok((SpaceId(u32::from_be_bytes(*space)), Revision(u64::from_be_bytes(*revision))))
}

/// The key of a group's meta entry; with an empty `key`, the first that the group can have.
pub(crate) fn meta_key(group: GroupId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&group.0.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// The first meta key behind all of `group`.
pub(crate) fn meta_end(group: GroupId) -> Option<Vec<u8>> {
    group.0.checked_add(1).map(|next| next.to_be_bytes().to_vec())
}

/// Reads the group of a meta or applied key, and what follows it.
pub(crate) fn decode_group(encoded: &[u8]) -> Result<(GroupId, &[u8]), ReadError> {
    let (group, rest) = encoded.split_first_chunk::<8>().ok_or_else(|| damaged("group key"))?;
    Ok((GroupId(u64::from_be_bytes(*group)), rest))
}

/// The value of an applied position.
pub(crate) fn position(position: Position) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(&position.index.0.to_le_bytes());
    out[8..16].copy_from_slice(&position.epoch.round.to_le_bytes());
    out[16..].copy_from_slice(&position.epoch.proposer.to_le_bytes());
    out
}

/// Reads an applied position back.
pub(crate) fn decode_position(encoded: &[u8]) -> Result<Position, ReadError> {
    let (numbers, rest) = encoded.as_chunks::<8>();
    let &[index, round, proposer] = numbers else { return Err(damaged("applied position")) };
    if !rest.is_empty() {
        return Err(damaged("applied position"));
    }
    Ok(Position {
        index: LogIndex(u64::from_le_bytes(index)),
        epoch: Epoch { round: u64::from_le_bytes(round), proposer: u64::from_le_bytes(proposer) },
    })
}

/// Appends the value of a row.
pub(crate) fn cell(cell: Option<&Cell>, out: &mut Vec<u8>) {
    let Some(cell) = cell else {
        out.push(DELETED);
        return;
    };
    out.push(PUT);
    varint(cell.created.0, out);
    varint(cell.version, out);
    varint(cell.lease, out);
    out.extend_from_slice(&cell.value);
}

/// Reads what stands before a row's bytes: `None` is a deletion.
pub(crate) fn decode_head(encoded: &[u8]) -> Result<Option<(Head, &[u8])>, ReadError> {
    let (&kind, mut rest) = encoded.split_first().ok_or_else(|| damaged("empty row value"))?;
    match kind {
        DELETED if rest.is_empty() => Ok(None),
        PUT => {
            let created = Revision(take_varint(&mut rest)?);
            let (version, lease) = (take_varint(&mut rest)?, take_varint(&mut rest)?);
            Ok(Some((Head { created, version, lease }, rest)))
        }
        _ => Err(damaged("kind of a row value")),
    }
}

/// Reads the value of a row back. Bytes are copied once, for the base lends them only for a moment.
pub(crate) fn decode_cell(encoded: &[u8]) -> Result<Option<Cell>, ReadError> {
    Ok(decode_head(encoded)?.map(|(head, bytes)| {
        let Head { created, version, lease } = head;
        Cell { created, version, lease, value: Bytes::copy_from_slice(bytes) }
    }))
}

/// Whether a row's value marks a deletion.
pub(crate) fn is_deletion(encoded: &[u8]) -> bool {
    encoded.first() == Some(&DELETED)
}

/// Appends a number: seven bits in a byte, low bits first.
pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Takes a number off the front.
#[inline]
pub(crate) fn take_varint(input: &mut &[u8]) -> Result<u64, ReadError> {
    // Most are small.
    if let [byte @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Ok(u64::from(*byte));
    }
    take_long_varint(input)
}

fn take_long_varint(input: &mut &[u8]) -> Result<u64, ReadError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or_else(|| damaged("number in a row value"))?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("number in a row value"))
}

pub(crate) fn damaged(what: &str) -> ReadError {
    ReadError::Damaged { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 1..8)
    }

    proptest! {
        #[test]
        fn row_keys_keep_order(
            a in (0u32..3, key(), 1u64..5), b in (0u32..3, key(), 1u64..5),
        ) {
            let encode = |(space, key, revision): &(u32, Vec<u8>, u64)| {
                row_key(SpaceId(*space), key, Revision(*revision))
            };
            let order = (a.0, &a.1, std::cmp::Reverse(a.2)).cmp(&(b.0, &b.1, std::cmp::Reverse(b.2)));
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), order);
        }

        #[test]
        fn row_keys_round_trip(space in any::<u32>(), key in key(), revision in any::<u64>()) {
            let encoded = row_key(SpaceId(space), &key, Revision(revision));
            let decoded = decode_row_key(&encoded).unwrap();
            prop_assert_eq!(decoded.space, SpaceId(space));
            prop_assert_eq!(&decoded.key[..], &key[..]);
            prop_assert_eq!(decoded.revision, Revision(revision));
        }

        #[test]
        fn cells_round_trip(created: u64, version: u64, lease: u64, value: Vec<u8>) {
            let original = Cell { created: Revision(created), version, lease, value: value.into() };
            let mut encoded = Vec::new();
            cell(Some(&original), &mut encoded);
            prop_assert_eq!(decode_cell(&encoded).unwrap(), Some(original));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = decode_row_key(&bytes);
            let _ = decode_history_key(&bytes);
            let _ = decode_group(&bytes);
            let _ = decode_position(&bytes);
            let _ = decode_cell(&bytes);
        }
    }

    #[test]
    fn formats_are_pinned() {
        assert_eq!(
            row_key(SpaceId(7), b"a\0b", Revision(1)),
            [0, 0, 0, 7, b'a', 0, 0xff, b'b', 0, 0, 255, 255, 255, 255, 255, 255, 255, 254]
        );
        let mut encoded = Vec::new();
        let value = Bytes::from_static(b"x");
        cell(Some(&Cell { created: Revision(300), version: 2, lease: 0, value }), &mut encoded);
        assert_eq!(encoded, [1, 0xac, 2, 2, 0, b'x']);
    }
}
