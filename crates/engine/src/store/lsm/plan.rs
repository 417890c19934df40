//! Which layers are merged next.
//!
//! Flushes make small layers, and every layer is one more place to look for a key. So newer layers
//! are merged with one another by fours, as the digits of a number carry: each row is written once
//! for every fourfold of the size of its layer. When all of them together are a quarter of the
//! oldest layer, they are merged into that one, which holds most of the data: it is written anew
//! for a quarter of news, no oftener, and nothing superseded takes up much more than that quarter.
//! (Lazy leveling: Dayan and Idreos, *Dostoevsky*, 2018.)
//!
//! A merge is done in slices, from the smallest key up. Each slice is one commit: it cuts its keys
//! out of all layers of the merge and adds what it made of them to the oldest. So a merge that is
//! given up half way leaves nothing to be tidied up, and one that is under way does not keep
//! newer, smaller layers from being merged meanwhile.
//!
//! # Invariants
//!
//! * Layers that are merged are neighbours in age: nothing is moved past something older.
//! * While there are more layers than [`MANY_LAYERS`], there is always something to merge.

use super::shape::{BOTTOM, Known, LayerId, Part, Shape};
use crate::store::Due;

/// Layers of about the same size that are merged into one.
const FAN_IN: usize = 4;

/// The oldest layer's size is this many times that of all others, at least.
const BOTTOM_PART: u64 = 4;

/// Beyond this number all layers are merged, whatever their sizes.
const MANY_LAYERS: usize = 16;

/// Beyond this number commits wait for merges.
pub(super) const TOO_MANY_LAYERS: usize = 24;

/// Layers that are merged: all from `target` up to `top`, into `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) target: LayerId,
    pub(super) top: LayerId,
}

/// A merge's next slice: the part where it begins.
#[derive(Debug)]
pub(super) struct Slice<'a, R> {
    pub(super) merge: Merge,
    pub(super) layer: LayerId,
    pub(super) first: &'a Part<R>,
}

/// Merges under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planner {
    /// Into the oldest layer.
    deep: Option<Merge>,
    /// Of layers newer than those.
    near: Option<Merge>,
    /// Bytes below which layers do not differ in size.
    small: u64,
}

impl Planner {
    pub(super) fn new(run_bytes: usize) -> Self {
        Self { small: (run_bytes as u64 / 128).max(1), ..Self::default() }
    }

    /// What is to be done next, if anything.
    pub(super) fn next<'a, R: Known>(&mut self, shape: &'a Shape<R>) -> Option<Slice<'a, R>> {
        let goes_on = |merge: &Merge| sources(shape, *merge).next().is_some();
        self.deep = self.deep.filter(goes_on);
        let above = self.deep.map_or(BOTTOM, |deep| deep.top);
        self.near = self.near.filter(goes_on).or_else(|| self.near(shape, above));
        if self.near.is_none() {
            self.deep = self.deep.or_else(|| deep(shape));
        }
        self.near.or(self.deep).and_then(|merge| first(shape, merge)).or_else(|| rewrite(shape))
    }

    /// How pressing it is.
    pub(super) fn due<R: Known>(&self, shape: &Shape<R>) -> Due {
        if shape.layers().count() > TOO_MANY_LAYERS {
            return Due::UpkeepFirst;
        }
        let mut planner = *self;
        planner.next(shape).map_or(Due::Nothing, |_| Due::Upkeep)
    }

    fn size_class<R: Known>(&self, shape: &Shape<R>, layer: LayerId) -> u32 {
        shape.bytes(layer).max(self.small).ilog2() / FAN_IN.ilog2()
    }

    /// The newest layers up to some size, if enough of them have about that size.
    fn near<R: Known>(&self, shape: &Shape<R>, above: LayerId) -> Option<Merge> {
        let classes: Vec<(LayerId, u32)> = shape
            .layers()
            .rev()
            .map(|(layer, _)| layer)
            .take_while(|layer| *layer > above)
            .map(|layer| (layer, self.size_class(shape, layer)))
            .collect();
        let (top, _) = *classes.first()?;
        let mut limits: Vec<u32> = classes.iter().map(|(_, class)| *class).collect();
        limits.sort_unstable();
        limits.dedup();
        limits.into_iter().find_map(|limit| {
            let small = classes.iter().take_while(|(_, class)| *class <= limit);
            let alike = small.clone().filter(|(_, class)| *class == limit).count();
            let (target, _) = *small.last()?;
            (alike >= FAN_IN).then_some(Merge { target, top })
        })
    }
}

/// The layers of a merge that are emptied by it.
fn sources<R: Known>(
    shape: &Shape<R>,
    merge: Merge,
) -> impl Iterator<Item = (LayerId, &[Part<R>])> {
    let Merge { target, top } = merge;
    shape.layers().filter(move |(layer, _)| *layer > target && *layer <= top)
}

/// All layers into the oldest, if they are large or many.
fn deep<R: Known>(shape: &Shape<R>) -> Option<Merge> {
    let newer = || shape.layers().map(|(layer, _)| layer).filter(|layer| *layer > BOTTOM);
    let (layers, bytes) = (newer().count(), newer().map(|layer| shape.bytes(layer)).sum::<u64>());
    let large = layers >= FAN_IN && bytes * BOTTOM_PART >= shape.bytes(BOTTOM);
    let top = newer().next_back()?;
    (large || layers > MANY_LAYERS).then_some(Merge { target: BOTTOM, top })
}

/// Where a merge goes on.
fn first<R: Known>(shape: &Shape<R>, merge: Merge) -> Option<Slice<'_, R>> {
    let firsts = sources(shape, merge).filter_map(|(layer, parts)| Some((layer, parts.first()?)));
    let (layer, first) = firsts.min_by(|(_, a), (_, b)| a.from.cmp(&b.from))?;
    Some(Slice { merge, layer, first })
}

/// A run with much garbage, to be written anew in its layer.
fn rewrite<R: Known>(shape: &Shape<R>) -> Option<Slice<'_, R>> {
    let mut parts = shape.layers().flat_map(|(layer, parts)| parts.iter().map(move |p| (layer, p)));
    let (layer, first) = parts.find(|(_, part)| has_garbage(shape, part))?;
    Some(Slice { merge: Merge { target: layer, top: layer }, layer, first })
}

/// Whether enough of a run may go.
pub(super) fn has_garbage<R: Known>(shape: &Shape<R>, part: &Part<R>) -> bool {
    part.run.info().garbage.is_some_and(|garbage| {
        shape.watermarks.get(&garbage.space).is_some_and(|watermark| *watermark >= garbage.at)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::shape::{Cut, Edit, RunInfo};
    use super::*;
    use crate::store::Watermarks;

    /// A shape of layers with these sizes, from the one with this number on.
    fn shape(bottom: u64, sizes: &[u64]) -> Shape<RunInfo> {
        let mut shape = Shape::default();
        let sizes = std::iter::once(&bottom).chain(sizes);
        let adds = (0..).zip(sizes).filter(|(_, bytes)| **bytes > 0).map(|(layer, &bytes)| {
            let run = RunInfo { number: layer + 1, bytes, garbage: None };
            let (from, to) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
            (layer, Part { run, from, to, whole: true })
        });
        let (cuts, watermarks) = (Vec::new(), Watermarks::new());
        let edit = Edit { next_run: 100, next_layer: 100, cuts, adds: adds.collect(), watermarks };
        shape.apply(&edit).unwrap();
        shape
    }

    fn planned(bottom: u64, sizes: &[u64]) -> Option<(u64, u64)> {
        let shape = shape(bottom, sizes);
        let slice = Planner::new(128).next(&shape)?;
        Some((slice.merge.target, slice.merge.top))
    }

    #[test]
    fn fours_of_a_size_are_merged() {
        assert_eq!(planned(1000, &[5, 6, 7]), None);
        assert_eq!(planned(1000, &[5, 6, 7, 8]), Some((1, 4)));
        assert_eq!(planned(1000, &[20, 5, 6, 7]), None);
        assert_eq!(planned(1000, &[20, 5, 6, 7, 8]), Some((2, 5)));
        assert_eq!(planned(2000, &[20, 30, 40, 50, 6, 7]), Some((1, 6)));
    }

    #[test]
    fn all_are_merged_when_they_are_a_quarter_of_the_oldest() {
        assert_eq!(planned(0, &[5, 5]), None);
        assert_eq!(planned(0, &[5, 70, 5, 70]), Some((0, 4)));
        assert_eq!(planned(400, &[80, 5, 5, 10]), Some((0, 4)));
        assert_eq!(planned(401, &[80, 5, 5, 10]), None);
    }

    #[test]
    fn there_is_something_to_do_while_layers_are_many() {
        let sizes: Vec<u64> = (0..17).map(|layer| 1 << (2 * (17 - layer))).collect();
        assert_eq!(planned(u64::from(u32::MAX) << 8, &sizes), Some((0, 17)));
    }

    #[test]
    fn a_merge_goes_on_until_its_layers_are_empty_and_lets_newer_ones_pass() {
        let mut planner = Planner::new(128);
        let mut shape = shape(400, &[80, 5, 5, 10]);
        assert_eq!(planner.next(&shape).unwrap().merge, Merge { target: 0, top: 4 });
        let add = |number: u64| {
            let run = RunInfo { number, bytes: 6, garbage: None };
            let (from, to) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
            (number, Part { run, from, to, whole: true })
        };
        let adds = (50..54).map(add).collect();
        let cut = |layer| Cut { layer, from: Bytes::new(), to: None };
        let mut edit = Edit {
            next_run: 100,
            next_layer: 100,
            cuts: vec![cut(1), cut(2)],
            adds,
            watermarks: Watermarks::new(),
        };
        shape.apply(&edit).unwrap();
        assert_eq!(planner.next(&shape).unwrap().merge, Merge { target: 50, top: 53 });
        (edit.cuts, edit.adds) = (vec![cut(51), cut(52), cut(53)], Vec::new());
        shape.apply(&edit).unwrap();
        assert_eq!(planner.next(&shape).unwrap().merge, Merge { target: 0, top: 4 });
        edit.cuts = vec![cut(3), cut(4)];
        shape.apply(&edit).unwrap();
        assert!(planner.next(&shape).is_none());
    }
}
