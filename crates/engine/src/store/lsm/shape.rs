//! Which keys of which runs make up the store: the state that the manifest keeps.
//!
//! ```text
//!            keys ──►
//!   layer 9  [──── run 31 ────]                    newest: one flush
//!   layer 8  [──────── run 30 ────────]
//!   layer 4            [─ run 25 ─][─ run 26 ─]    merged; its front went down already
//!   layer 0  [run 28][run 29][── run 17 ──]        oldest
//! ```
//!
//! A **run** is a file of entries in key order that is never changed. A **part** is the span of keys
//! for which a run counts: to take keys out of the store, parts are cut, and no byte is moved.
//! A **layer** is a row of parts that do not overlap. What a newer layer has of a key hides what
//! older ones have. Layers get their numbers in the order of their making; number 0 is the oldest
//! of all, and always thought to be there.
//!
//! # Invariants
//!
//! * Parts of a layer are in order, do not overlap, and are not empty.
//! * Of two versions of a key the newer is not in the older layer: a search ends at the first hit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{Revision, SpaceId};

use crate::store::Watermarks;

/// A layer's number.
pub(super) type LayerId = u64;

/// The oldest layer: nothing lies below it.
pub(super) const BOTTOM: LayerId = 0;

/// When a run is worth being written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbage {
    pub(super) space: SpaceId,
    /// With this watermark or a higher one at least a quarter of the run's bytes may go.
    pub(super) at: Revision,
}

/// What is known of a run without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunInfo {
    /// Names its file, and is never used twice.
    pub(super) number: u64,
    /// The length of its file.
    pub(super) bytes: u64,
    pub(super) garbage: Option<Garbage>,
}

/// A run, or what stands for one while a manifest is read.
pub(super) trait Known: Clone {
    fn info(&self) -> RunInfo;
}

impl Known for RunInfo {
    fn info(&self) -> RunInfo {
        *self
    }
}

/// The keys from `from` up to and without `to` of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<R> {
    pub(super) run: R,
    pub(super) from: Bytes,
    pub(super) to: Bytes,
    /// Nothing of the run was ever cut away.
    pub(super) whole: bool,
}

/// Keys to be taken out of a layer. `None` is the end of all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) layer: LayerId,
    pub(super) from: Bytes,
    pub(super) to: Option<Bytes>,
}

/// One atomic change of a shape: first the cuts, then the additions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit<R> {
    /// Runs and layers from these on have never been numbered.
    pub(super) next_run: u64,
    pub(super) next_layer: LayerId,
    pub(super) cuts: Vec<Cut>,
    pub(super) adds: Vec<(LayerId, Part<R>)>,
    /// New watermarks; zero forgets one.
    pub(super) watermarks: Watermarks,
}

/// All layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape<R> {
    layers: BTreeMap<LayerId, Vec<Part<R>>>,
    pub(super) watermarks: Watermarks,
    pub(super) next_run: u64,
    pub(super) next_layer: LayerId,
}

impl<R> Default for Shape<R> {
    fn default() -> Self {
        let (layers, watermarks) = <(BTreeMap<_, _>, Watermarks)>::default();
        Self { layers, watermarks, next_run: 1, next_layer: BOTTOM + 1 }
    }
}

impl<R: Known> Shape<R> {
    /// Layers that are not empty, the oldest first.
    pub(super) fn layers(&self) -> impl DoubleEndedIterator<Item = (LayerId, &[Part<R>])> {
        self.layers.iter().map(|(layer, parts)| (*layer, &parts[..]))
    }

    /// The parts of a layer.
    pub(super) fn parts(&self, layer: LayerId) -> &[Part<R>] {
        self.layers.get(&layer).map_or(&[], |parts| parts)
    }

    /// Numbers of all runs.
    pub(super) fn runs(&self) -> BTreeSet<u64> {
        self.layers.values().flatten().map(|part| part.run.info().number).collect()
    }

    /// Lengths of the files of a layer's parts, also where only a part of a run counts.
    pub(super) fn bytes(&self, layer: LayerId) -> u64 {
        self.parts(layer).iter().map(|part| part.run.info().bytes).sum()
    }

    /// Applies an edit, if it makes sense.
    pub(super) fn apply(&mut self, edit: &Edit<R>) -> Result<(), Nonsense> {
        if edit.next_run < self.next_run || edit.next_layer < self.next_layer {
            return Err(Nonsense("numbers go back"));
        }
        (self.next_run, self.next_layer) = (edit.next_run, edit.next_layer);
        for cut in &edit.cuts {
            self.cut(cut);
        }
        for (layer, part) in &edit.adds {
            if *layer >= self.next_layer || part.run.info().number >= self.next_run {
                return Err(Nonsense("a number was not given out"));
            }
            self.add(*layer, part.clone())?;
        }
        for (&space, &watermark) in &edit.watermarks {
            if watermark == Revision(0) {
                self.watermarks.remove(&space);
            } else {
                self.watermarks.insert(space, watermark);
            }
        }
        Ok(())
    }

    /// The edit that makes this shape out of an empty one.
    pub(super) fn whole(&self) -> Edit<R> {
        let parts = self.layers.iter();
        let parts =
            parts.flat_map(|(layer, parts)| parts.iter().map(|part| (*layer, part.clone())));
        Edit {
            next_run: self.next_run,
            next_layer: self.next_layer,
            cuts: Vec::new(),
            adds: parts.collect(),
            watermarks: self.watermarks.clone(),
        }
    }

    fn cut(&mut self, cut: &Cut) {
        let Some(parts) = self.layers.get_mut(&cut.layer) else { return };
        let behind = |part: &Part<R>| cut.to.as_ref().is_none_or(|to| part.from < *to);
        let first = parts.partition_point(|part| part.to <= cut.from);
        let last = parts.partition_point(behind).max(first);
        let mut left = Vec::new();
        for part in parts.splice(first..last, []) {
            if part.from < cut.from {
                left.push(Part { to: cut.from.clone(), whole: false, ..part.clone() });
            }
            if let Some(to) = cut.to.as_ref().filter(|to| **to < part.to) {
                left.push(Part { from: to.clone(), whole: false, ..part });
            }
        }
        parts.splice(first..first, left);
        if parts.is_empty() {
            self.layers.remove(&cut.layer);
        }
    }

    fn add(&mut self, layer: LayerId, part: Part<R>) -> Result<(), Nonsense> {
        if part.from >= part.to {
            return Err(Nonsense("an empty part"));
        }
        let parts = self.layers.entry(layer).or_default();
        let at = parts.partition_point(|before| before.to <= part.from);
        if parts.get(at).is_some_and(|next| next.from < part.to) {
            return Err(Nonsense("parts overlap"));
        }
        parts.insert(at, part);
        Ok(())
    }
}

impl Shape<RunInfo> {
    /// The same shape of other runs, one for each of these.
    pub(super) fn with_runs<R: Known, E>(
        self,
        mut run: impl FnMut(RunInfo) -> Result<R, E>,
    ) -> Result<Shape<R>, E> {
        let mut layers = BTreeMap::new();
        for (layer, parts) in self.layers {
            let part = |part: Part<RunInfo>| {
                let Part { run: info, from, to, whole } = part;
                Ok(Part { run: run(info)?, from, to, whole })
            };
            layers.insert(layer, parts.into_iter().map(part).collect::<Result<Vec<_>, E>>()?);
        }
        let Self { watermarks, next_run, next_layer, .. } = self;
        Ok(Shape { layers, watermarks, next_run, next_layer })
    }
}

/// An edit that no release makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense(pub(super) &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Bytes {
        Bytes::copy_from_slice(key.as_bytes())
    }

    fn part(number: u64, from: &str, to: &str) -> Part<RunInfo> {
        let run = RunInfo { number, bytes: 10, garbage: None };
        Part { run, from: key(from), to: key(to), whole: true }
    }

    fn edit(cuts: &[(u64, &str, Option<&str>)], adds: Vec<(u64, Part<RunInfo>)>) -> Edit<RunInfo> {
        let cut = |(layer, from, to): &(u64, &str, Option<&str>)| Cut {
            layer: *layer,
            from: key(from),
            to: to.map(key),
        };
        let cuts = cuts.iter().map(cut).collect();
        Edit { next_run: 100, next_layer: 100, cuts, adds, watermarks: Watermarks::new() }
    }

    fn shown(shape: &Shape<RunInfo>, layer: u64) -> Vec<(u64, String, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let parts = shape.parts(layer).iter();
        parts.map(|part| (part.run.number, text(&part.from), text(&part.to))).collect()
    }

    #[test]
    fn parts_are_cut_where_asked() {
        let mut shape = Shape::default();
        let adds = vec![(1, part(1, "a", "f")), (1, part(2, "f", "k")), (1, part(3, "p", "t"))];
        shape.apply(&edit(&[], adds)).unwrap();
        let mut middle = shape.clone();
        middle.apply(&edit(&[(1, "c", Some("g"))], vec![])).unwrap();
        let (c, g) = ("c".to_owned(), "g".to_owned());
        assert_eq!(shown(&middle, 1)[..2], [(1, "a".into(), c), (2, g, "k".into())]);
        let mut inside = shape.clone();
        inside.apply(&edit(&[(1, "b", Some("c"))], vec![])).unwrap();
        assert_eq!(shown(&inside, 1).len(), 4);
        assert_eq!(inside.runs(), BTreeSet::from([1, 2, 3]));
        inside.apply(&edit(&[(1, "b", None)], vec![])).unwrap();
        assert_eq!(shown(&inside, 1), [(1, "a".into(), "b".into())]);
        inside.apply(&edit(&[(1, "", None), (7, "", None)], vec![])).unwrap();
        assert_eq!(inside.layers().count(), 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut shape = Shape::default();
        shape.apply(&edit(&[], vec![(1, part(1, "c", "f"))])).unwrap();
        let refused = |adds| shape.clone().apply(&edit(&[], adds)).is_err();
        assert!(refused(vec![(1, part(2, "a", "d"))]));
        assert!(refused(vec![(1, part(2, "e", "z"))]));
        assert!(refused(vec![(1, part(2, "d", "e"))]));
        assert!(refused(vec![(2, part(2, "d", "d"))]));
        assert!(refused(vec![(100, part(2, "d", "e"))]));
        assert!(refused(vec![(2, part(100, "d", "e"))]));
        assert!(!refused(vec![(1, part(2, "a", "c")), (1, part(3, "f", "g"))]));
    }

    #[test]
    fn a_whole_edit_makes_the_same_shape() {
        let mut shape = Shape::default();
        let adds = vec![(0, part(1, "a", "f")), (1, part(2, "b", "k")), (5, part(2, "p", "t"))];
        let mut made = edit(&[], adds);
        made.watermarks.insert(SpaceId(3), Revision(9));
        shape.apply(&made).unwrap();
        let mut again = Shape::default();
        again.apply(&shape.whole()).unwrap();
        assert_eq!(shape, again);
    }
}
