//! A Bloom filter in lines: which rows a run has, without reading any of it.
//!
//! All bits of one key lie in one line of 64 bytes, so that a look costs one miss of the
//! processor's cache (Putze, Sanders and Singler, *Cache-, Hash- and Space-Efficient Bloom
//! Filters*, 2007). At ten bits a key, one look in about eighty is in vain.

const LINE_BYTES: usize = 64;
const LINE_BITS: u64 = 512;
const BITS_PER_KEY: u64 = 10;
const PROBES: u32 = 6;
const BITS_PER_PROBE: u32 = 9;

/// The filter of one run. One without lines holds everything.
#[derive(Debug)]
pub(super) struct Filter(Vec<u8>);

impl Filter {
    /// Of the keys with these hashes.
    pub(super) fn build(hashes: &[u64]) -> Self {
        let lines = (hashes.len() as u64 * BITS_PER_KEY).div_ceil(LINE_BITS);
        let lines = usize::try_from(lines).expect("fewer than hashes");
        let mut filter = Self(vec![0; lines * LINE_BYTES]);
        for &hash in hashes {
            let line = filter.line(hash);
            for bit in bits(hash) {
                filter.0[line + bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }

    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        bytes.len().is_multiple_of(LINE_BYTES).then_some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a key with this hash may be there. `false` is certain.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let line = self.line(hash);
        bits(hash).all(|bit| self.0[line + bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Where the line of a key begins.
    fn line(&self, hash: u64) -> usize {
        let lines = (self.0.len() / LINE_BYTES) as u64;
        let line = ((hash >> 32) * lines) >> 32;
        usize::try_from(line).expect("less than the number of lines") * LINE_BYTES
    }
}

fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let scattered = hash.wrapping_mul(0xa076_1d64_78bd_642f);
    let bit = move |probe| (scattered >> (10 + probe * BITS_PER_PROBE)) % LINE_BITS;
    (0..PROBES).map(move |probe| usize::try_from(bit(probe)).expect("less than a line"))
}

/// A hash for filters: the same in every release, for it is a part of the format.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let mixed = (state ^ word).wrapping_mul(FACTOR);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let state = mix(FACTOR, bytes.len() as u64);
    let state = words.iter().fold(state, |state, word| mix(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(state, u64::from_le_bytes(last)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u32>) -> Vec<u64> {
        range.map(|number| hash(format!("{number:016x}").as_bytes())).collect()
    }

    #[test]
    fn what_is_there_is_never_missed_and_little_else_is_found() {
        let filter = Filter::build(&hashes(0..20_000));
        assert!(hashes(0..20_000).iter().all(|hash| filter.may_hold(*hash)));
        let wrong = hashes(20_000..40_000).iter().filter(|hash| filter.may_hold(**hash)).count();
        assert!(wrong < 400, "{wrong} of 20000");
    }

    #[test]
    fn a_filter_without_lines_holds_everything() {
        assert!(Filter::build(&[]).may_hold(7));
        assert!(Filter::parse(vec![0; 65]).is_none());
    }

    #[test]
    fn the_format_is_pinned() {
        assert_eq!(hash(b""), 0xb743_db30_302f_5574);
        assert_eq!(hash(b"hello, world"), 0xfde5_e184_870b_148e);
        let filter = Filter::build(&[hash(b"a")]);
        let set: Vec<usize> =
            (0..512).filter(|bit| filter.0[bit / 8] & (1 << (bit % 8)) != 0).collect();
        assert_eq!(set, [4, 35, 44, 98, 162, 458]);
    }
}
