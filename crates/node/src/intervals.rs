//! A set of keys, as the union of ranges: what all permissions of a user come to.
//!
//! # Invariants
//!
//! * The ranges are in order, not empty, and neither overlap nor touch.

use bytes::Bytes;
use wire::KeyRange;

/// The first key. Nobody can have an empty one, so a range from it on and one from nothing on are the
/// same.
const FIRST_KEY: &[u8] = &[0];

/// A union of ranges.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals(Vec<(Bytes, Option<Bytes>)>);

impl Intervals {
    /// The union of these, each from its first key to the one behind its last.
    pub(crate) fn of(ranges: impl Iterator<Item = (Bytes, Option<Bytes>)>) -> Self {
        let ranges = ranges.map(|(start, end)| (start.max(Bytes::from_static(FIRST_KEY)), end));
        let mut ranges: Vec<_> =
            ranges.filter(|(start, end)| is_some(start, end.as_ref())).collect();
        ranges.sort();
        let mut union: Vec<(Bytes, Option<Bytes>)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match union.last_mut() {
                Some((_, last)) if last.as_ref().is_none_or(|last| start <= *last) => {
                    *last = last.take().zip(end).map(|(last, end)| last.max(end));
                }
                _ => union.push((start, end)),
            }
        }
        Self(union)
    }

    /// Whether this key is among them.
    pub(crate) fn contain(&self, key: &[u8]) -> bool {
        self.at(key).is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < &end[..]))
    }

    /// Whether all keys of the range are among them. Of a range without keys, all are.
    pub(crate) fn cover(&self, range: &KeyRange) -> bool {
        let start = range.start.as_ref().max(FIRST_KEY);
        if !is_some(start, range.end.as_ref()) {
            return true;
        }
        match (self.at(start), &range.end) {
            (None, _) | (Some((_, Some(_))), None) => false,
            (Some((_, None)), _) => true,
            (Some((_, Some(end))), Some(wanted)) => wanted <= end,
        }
    }

    /// The last range that begins at `key` or before.
    fn at(&self, key: &[u8]) -> Option<&(Bytes, Option<Bytes>)> {
        let behind = self.0.partition_point(|(start, _)| start[..] <= *key);
        self.0.get(behind.checked_sub(1)?)
    }
}

/// Whether there is a key between them.
fn is_some(start: &[u8], end: Option<&Bytes>) -> bool {
    end.is_none_or(|end| start < &end[..])
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Keys of up to two letters out of a few, so that ranges meet.
    fn key() -> impl Strategy<Value = Bytes> {
        vec(0_u8..4, 0..3).prop_map(Bytes::from)
    }

    fn range() -> impl Strategy<Value = (Bytes, Option<Bytes>)> {
        (key(), proptest::option::weighted(0.8, key()))
    }

    /// Every key that can tell two sets of such ranges apart.
    fn all_keys() -> Vec<Bytes> {
        let mut keys: Vec<Vec<u8>> = vec![vec![]];
        for _ in 0..3 {
            let longer = keys.iter().flat_map(|key| {
                (0..4).map(|letter| [&key[..], &[letter]].concat()).collect::<Vec<_>>()
            });
            keys.extend(longer.collect::<Vec<_>>());
        }
        keys.sort();
        keys.dedup();
        keys.into_iter().filter(|key| !key.is_empty()).map(Bytes::from).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_union_holds_what_any_of_its_ranges_holds(
            ranges in vec(range(), 0..6),
            (start, end) in range(),
        ) {
            let union = Intervals::of(ranges.clone().into_iter());
            let held = |key: &Bytes| ranges.iter().any(|(start, end)| {
                KeyRange { start: start.clone(), end: end.clone() }.contains(key)
            });
            let wanted = KeyRange { start, end };
            let mut all = true;
            for key in all_keys() {
                prop_assert_eq!(union.contain(&key), held(&key), "{:?} in {:?}", key, union);
                all &= !wanted.contains(&key) || held(&key);
            }
            // Between the keys looked at lie longer ones; what has no end has keys behind them all.
            let endless = wanted.end.is_none() && !ranges.iter().any(|(_, end)| end.is_none());
            prop_assert_eq!(union.cover(&wanted), all && !endless, "{:?} by {:?}", wanted, union);
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let range = |start: &'static str, end: &'static str| (start.into(), Some(end.into()));
        let union = Intervals::of([range("c", "e"), range("a", "c"), range("x", "y")].into_iter());
        assert!(union.cover(&KeyRange { start: "b".into(), end: Some("d".into()) }));
        assert!(!union.cover(&KeyRange { start: "d".into(), end: Some("x".into()) }));
        assert!(Intervals::of([(Bytes::new(), None)].into_iter()).cover(&KeyRange::all()));
        let from_first = (Bytes::from_static(FIRST_KEY), None);
        assert!(Intervals::of([from_first].into_iter()).cover(&KeyRange::all()));
    }
}
