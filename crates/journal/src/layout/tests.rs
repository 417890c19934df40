//! Encodings are read back as they were written, and nowhere else.

use bytes::Bytes;
use consensus::{Entry, Epoch, HardState, LogIndex, Payload, Position, ReplicaId};

use super::*;
use crate::{LogId, Reason};

fn samples() -> Vec<Logged> {
    let epoch = Epoch { round: 7, proposer: 2 };
    let base = Position { index: LogIndex(5), epoch };
    let log = LogId(3);
    let hard_state = HardState { epoch, vote: Some(ReplicaId(9)) };
    let command = Payload::Command(Bytes::from_static(b"put x"));
    vec![
        Logged::HardState { log, hard_state },
        Logged::HardState { log, hard_state: HardState::default() },
        Logged::Base { log, base, effect: Base::Keeps },
        Logged::Base { log, base, effect: Base::Voids },
        Logged::Entry { log, entry: Entry { position: base, payload: Payload::Noop } },
        Logged::Entry { log, entry: Entry { position: base, payload: command } },
        Logged::Restated { log, hard_state, base, last: base },
        Logged::Forgotten { log },
    ]
}

fn encoded(key: Key, offset: u64) -> (Vec<u8>, Batch) {
    let bytes = samples().iter().map(|logged| logged.encoded_bytes() as u64).sum();
    let batch = Batch { number: 4, durable_through: 3, link: Link::Ends, records: 8, bytes };
    let mut out = Vec::new();
    let mut writer = BatchWriter::new(&mut out, key, offset, &batch);
    for logged in &samples() {
        writer.record(logged);
    }
    writer.finish();
    (out, batch)
}

#[test]
fn a_batch_is_read_back() {
    let key = Key::new(&Config::new(1), 1);
    let (bytes, batch) = encoded(key, 0);
    let mut records = Vec::new();
    assert_eq!(read_batch(&bytes, 0, key, &mut records), Ok(batch));
    assert_eq!(records, samples());
    assert_eq!(bytes.len() as u64, batch.total_bytes());
}

#[test]
fn a_batch_is_valid_only_in_its_segment_and_at_its_place() {
    let key = Key::new(&Config::new(1), 1);
    let (bytes, _) = encoded(key, 0);
    for sequence in 2..1000 {
        let other = Key::new(&Config::new(1), sequence);
        assert_eq!(read_batch_header(&bytes, 0, other), Err(Reason::Checksum));
    }
    let moved = [&[0; 512][..], &bytes].concat();
    assert_eq!(read_batch_header(&moved, 512, key), Err(Reason::Checksum));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let key = Key::new(&Config::new(1), 1);
    let (bytes, _) = encoded(key, 0);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut rotten = bytes.clone();
            rotten[at] ^= 1 << bit;
            assert!(read_batch(&rotten, 0, key, &mut Vec::new()).is_err(), "byte {at} bit {bit}");
        }
        assert!(read_batch(&bytes[..at], 0, key, &mut Vec::new()).is_err(), "cut at {at}");
    }
}

#[test]
fn segment_headers_are_read_back_and_flips_found() {
    let header = SegmentHeader {
        sequence: 8,
        journal_id: 77,
        first_batch: 1000,
        previous_end: 4096,
        fresh_start: true,
        origin: Origin::Recycled,
    };
    let bytes = header.encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    for at in 0..HEADER_BYTES {
        let mut rotten = bytes;
        rotten[at] ^= 0x10;
        assert_eq!(SegmentHeader::decode(&rotten), Err(HeaderError::Invalid), "byte {at}");
    }
}

#[test]
fn a_later_version_is_recognised() {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(b"CairnJnl");
    bytes[8] = 2;
    let crc = chain(0, &bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(2)));
}

/// Nobody ever counted so far; whoever counts on from there would come to 0.
#[test]
fn impossible_numbers_are_malformed_although_their_checksums_hold() {
    let key = Key::new(&Config::new(1), 1);
    let last = u64::MAX;
    for (number, durable_through) in [(last, 3), (5, 5), (0, 0), (last, last - 1)] {
        let batch = Batch { number, durable_through, link: Link::Ends, records: 0, bytes: 0 };
        let mut bytes = Vec::new();
        BatchWriter::new(&mut bytes, key, 0, &batch).finish();
        let read = read_batch_header(&bytes, 0, key);
        assert_eq!(read, Err(Reason::Malformed), "batch {number} after {durable_through}");
    }
    let epoch = Epoch { round: 1, proposer: 0 };
    for position in [
        Position { index: LogIndex(last), epoch },
        Position { index: LogIndex(1), epoch: Epoch { round: last, ..epoch } },
    ] {
        let entry = Entry { position, payload: Payload::Noop };
        let mut bytes = Vec::new();
        Logged::Entry { log: LogId(1), entry }.encode(&mut bytes);
        assert_eq!(Logged::decode(&bytes), None, "{position}");
    }
    let header = SegmentHeader {
        sequence: 8,
        journal_id: 77,
        first_batch: 1000,
        previous_end: 4096,
        fresh_start: false,
        origin: Origin::Zeroed,
    };
    for header in [
        SegmentHeader { sequence: last, ..header },
        SegmentHeader { first_batch: last, ..header },
        SegmentHeader { first_batch: 0, ..header },
        SegmentHeader { previous_end: last, ..header },
    ] {
        assert_eq!(
            SegmentHeader::decode(&header.encode()),
            Err(HeaderError::Invalid),
            "{header:?}"
        );
    }
}

#[test]
fn a_batch_of_impossible_length_is_malformed_although_its_checksum_holds() {
    let key = Key::new(&Config::new(1), 1);
    let batch = Batch { number: 1, durable_through: 0, link: Link::Ends, records: 0, bytes: 0 };
    let mut bytes = Vec::new();
    BatchWriter::new(&mut bytes, key, 0, &batch).finish();
    bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let crc = chain(chain(key.start(0), &bytes[..4]), &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read_batch_header(&bytes, 0, key), Err(Reason::Malformed));
}
