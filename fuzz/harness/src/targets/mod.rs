//! The targets, one file each.

mod answers;
mod backups;
mod bolt_files;
mod chunks;
mod commands;
mod config;
mod engine_files;
mod frames;
mod hellos;
mod http;
mod journal_files;
mod journal_segments;
mod json;
mod node_files;
mod node_state;
mod peers;
mod requests;
mod texts;

pub(crate) use journal_segments::{DIR as JOURNAL_DIR, config as journal_config};

use std::fmt::Debug;

use bytes::Bytes;
use wire::{DecodeError, Reader, Writer};

use crate::Target;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// All of them.
pub const TARGETS: &[Target] = &[
    // A vector's elements are larger than their shortest encodings, and it doubles as it grows.
    target("frames", frames::run, frames::seeds, 256 * KIB, 16),
    target("hellos", hellos::run, hellos::seeds, 16 * KIB, 16),
    target("requests", requests::run, requests::seeds, 8 * MIB, 1024),
    target("answers", answers::run, answers::seeds, 64 * KIB, 512),
    target("commands", commands::run, commands::seeds, 8 * MIB, 2048),
    target("peers", peers::run, peers::seeds, 8 * MIB, 1024),
    target("journal-segments", journal_segments::run, journal_segments::seeds, 2 * MIB, 512),
    target("journal-files", journal_files::run, journal_files::seeds, 2 * MIB, 512),
    target("chunks", chunks::run, chunks::seeds, 8 * MIB, 1024),
    target("engine-files", engine_files::run, engine_files::seeds, 64 * MIB, 1024),
    target("backups", backups::run, backups::seeds, MIB, 512),
    // A page is copied out of the file, and a branch's children beside it.
    target("bolt-files", bolt_files::run, bolt_files::seeds, MIB, 64),
    target("http", http::run, http::seeds, 16 * MIB, 1024),
    target("json", json::run, json::seeds, 16 * MIB, 2048),
    target("config", config::run, config::seeds, MIB, 2048),
    target("texts", texts::run, texts::seeds, 64 * KIB, 256),
    target("node-files", node_files::run, node_files::seeds, MIB, 2048),
    target("node-state", node_state::run, node_state::seeds, 8 * MIB, 1024),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    base_bytes: usize,
    bytes_per_byte: usize,
) -> Target {
    Target { name, run, seeds, base_bytes, bytes_per_byte }
}

/// What is decoded is encoded again, in no more bytes, and decoded to the same. (Not to the same
/// bytes: a varint may be written longer than it need be.) `None` if it is not decoded.
fn round_trip<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&mut Reader) -> Result<T, DecodeError>,
    encode: impl Fn(&T, &mut Writer),
) -> Option<T> {
    let mut input = Reader::new(Bytes::copy_from_slice(bytes));
    let value = match decode(&mut input) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.at <= bytes.len(), "{error} is beyond the end");
            return None;
        }
    };
    let mut out = Writer::new();
    encode(&value, &mut out);
    let again = out.finish();
    assert!(again.len() <= bytes.len(), "{value:?} grew from {bytes:02x?} to {again:02x?}");
    let decoded = decode(&mut Reader::new(again));
    assert_eq!(decoded.as_ref(), Ok(&value), "encoded again it is another");
    Some(value)
}
