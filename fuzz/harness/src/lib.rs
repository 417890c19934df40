//! What must hold of every decoder of bytes from outside, whatever the bytes are.
//!
//! Each target is a function of some bytes that panics if something does not hold. Two programs call
//! it: the fuzzer in `fuzz/targets`, which looks for bytes that make it panic, and the test
//! `replay`, which runs all bytes that were ever worth keeping, on every `cargo test`.
//!
//! # Rules for a target
//!
//! * The same bytes do the same: no clock, no chance, no state from one run to the next.
//! * A checksum keeps a fuzzer out. So the first bytes of an input may say that checksums are to be
//!   put right before the decoder sees the rest.
//! * "No panic" is the least of what it checks; its header says what else holds.
//! * It takes no more memory than [`Target::memory_bytes`] for an input of that length.

mod door;
mod input;
mod seal;
mod seeds;
mod solo;
mod targets;

pub use targets::TARGETS;

/// One decoder, or several that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Panics if something does not hold of these bytes.
    pub run: fn(&[u8]),
    /// Real encodings, so that the fuzzer need not find them out.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Memory that a run may hold beyond its input, whatever that is, in bytes.
    pub base_bytes: usize,
    /// Memory that a run may hold for each byte of its input.
    pub bytes_per_byte: usize,
}

impl Target {
    /// The target of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// What a run on an input of `len` bytes may hold at once.
    pub fn memory_bytes(&self, len: usize) -> usize {
        self.base_bytes + self.bytes_per_byte * len
    }
}
