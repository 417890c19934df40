//! One slice of a merge.

use std::sync::Arc;

use bytes::Bytes;
use disk::Disk;

use super::cursor::{Fetch, Keys, Merged, Removed};
use super::output::{Made, Output};
use super::plan::{self, Merge, Slice};
use super::run::Run;
use super::shape::{BOTTOM, Cut, Edit, Known, LayerId, Part, Shape};
use super::{Lsm, version::Version};
use crate::store::Watermarks;
use crate::store::sieve::{Below, Sieve};
use crate::{JobError, codec};

const ACTION: &str = "merge runs";

impl<D: Disk> Lsm<D> {
    /// Does the next slice of what is to be merged.
    pub(super) fn slice(&mut self) -> Result<(), JobError> {
        let version = Arc::clone(&self.version);
        let shape = &version.shape;
        let Some(slice) = self.planner.next(shape) else { return Ok(()) };
        let (to, made) = if moves(shape, &slice, self.files.run_bytes) {
            let (parts, begun) = (vec![slice.first.clone()], Vec::new());
            (Ok(Some(slice.first.to.clone())), Made { parts, begun, removed: 0 })
        } else {
            self.merge(&version, &slice)?
        };
        let edit = to.map(|to| {
            let from = &slice.first.from;
            let cut = |(layer, _)| Cut { layer, from: from.clone(), to: to.clone() };
            let cuts = layers(shape, slice.merge).map(cut).collect();
            let (next_layer, watermarks) = (shape.next_layer, Watermarks::new());
            Edit { next_run: 0, next_layer, cuts, adds: Vec::new(), watermarks }
        });
        let (bytes, removed) = (made.written_bytes(), made.removed);
        self.publish_made(edit, slice.merge.target, made, ACTION)?;
        self.stats.merged_bytes += bytes;
        self.stats.removed_versions += removed;
        Ok(())
    }

    /// Merges the keys of a slice into new runs. Gives where it ends, too; `None` if nothing is left
    /// of the merge.
    #[expect(clippy::type_complexity, reason = "two things that stand for themselves")]
    fn merge(
        &mut self,
        version: &Version<D::File>,
        slice: &Slice<'_, Arc<Run<D::File>>>,
    ) -> Result<(Result<Option<Bytes>, JobError>, Made<D>), JobError> {
        let (shape, target) = (&version.shape, slice.merge.target);
        let (below, removed) = if target == BOTTOM {
            (Below::Nothing, Removed::Skip)
        } else {
            (Below::MaybeOlder, Removed::Show)
        };
        let keys = Keys { from: slice.first.from.clone(), to: None };
        let parts = layers(shape, slice.merge).rev().map(|(_, parts)| parts);
        let merged = Merged::open(parts, Fetch::Ahead, keys, removed);
        let merged = merged.map_err(|error| JobError::read(ACTION, error))?;
        let sieve = Sieve::new(&shape.watermarks, below, self.floors);
        let mut output = Output::new(&mut self.files, ACTION, below, Vec::new(), sieve);
        let to = output.take_slice(merged, shape.parts(target));
        Ok((to, output.into_made()))
    }
}

/// The layers of a merge, the oldest first.
fn layers<R: Known>(
    shape: &Shape<R>,
    merge: Merge,
) -> impl DoubleEndedIterator<Item = (LayerId, &[Part<R>])> {
    let Merge { target, top } = merge;
    shape.layers().filter(move |(layer, _)| (target..=top).contains(layer))
}

/// Whether a slice's first run need not be read to be merged: it is large enough, and no other part
/// of these layers has any of its keys. Its last key may have older versions behind its end: they
/// count, too, or they would lie above the newer one then.
fn moves<R: Known>(shape: &Shape<R>, slice: &Slice<'_, R>, run_bytes: u64) -> bool {
    let part = slice.first;
    let is_merge = slice.merge.target != slice.merge.top;
    let is_large = part.run.info().bytes >= run_bytes / 2;
    if !is_merge || !is_large || !part.whole || plan::has_garbage(shape, part) {
        return false;
    }
    // A whole part ends with its last key and a zero.
    let last = part.to.split_last().map_or(&[][..], |(_, last)| last);
    let mut end = Vec::new();
    match codec::split_row_key(last) {
        Ok((prefix, _)) => codec::behind_versions(prefix, &mut end),
        Err(_) => end.extend_from_slice(&part.to),
    }
    layers(shape, slice.merge).all(|(layer, parts)| {
        let own = usize::from(layer == slice.layer);
        let first = parts.partition_point(|other| other.to <= part.from);
        parts.get(first + own).is_none_or(|other| other.from[..] >= end[..])
    })
}
