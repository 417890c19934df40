//! An index of ranges: which of them hold a key.
//!
//! A balanced tree (Adelson-Velsky and Landis, 1962) in the order of the ranges' starts, in which each
//! node knows how far the ranges below it reach (Cormen et al., *Introduction to Algorithms*, §14.3). So
//! ten thousand ranges that do not hold the key are passed by in some fifteen steps, whatever their
//! shape, and no choice of ranges makes the tree deep.

use std::cmp::Ordering;

use wire::KeyRange;

/// The place of a range; stays the same until the range is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u32);

/// Ranges, each with a value.
#[derive(Debug)]
pub(crate) struct Index<V> {
    nodes: Vec<Option<Node<V>>>,
    free: Vec<Place>,
    root: Option<Place>,
}

#[derive(Debug)]
struct Node<V> {
    range: KeyRange,
    value: V,
    height: u8,
    left: Option<Place>,
    right: Option<Place>,
    /// The furthest end of the ranges from here on down; `None` is no end.
    reach: Option<bytes::Bytes>,
}

impl<V> Index<V> {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: None }
    }

    /// The place of this very range, which is made if there is none.
    pub(crate) fn place(&mut self, range: &KeyRange, value: impl FnOnce() -> V) -> Place {
        if let Some(place) = self.find(range) {
            return place;
        }
        let node = Node {
            range: range.clone(),
            value: value(),
            height: 1,
            left: None,
            right: None,
            reach: range.end.clone(),
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            Place(u32::try_from(self.nodes.len() - 1).expect("watchers are bounded in number"))
        });
        self.nodes[place.0 as usize] = Some(node);
        self.root = Some(self.insert(self.root, place));
        place
    }

    /// The place of this very range.
    pub(crate) fn find(&self, range: &KeyRange) -> Option<Place> {
        let mut at = self.root;
        while let Some(place) = at {
            let node = self.node(place);
            at = match order(range, &node.range) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return Some(place),
            };
        }
        None
    }

    pub(crate) fn value_mut(&mut self, place: Place) -> &mut V {
        &mut self.node_mut(place).value
    }

    /// Removes a range; its value.
    pub(crate) fn remove(&mut self, place: Place) -> V {
        let range = self.node(place).range.clone();
        let root = self.root.expect("a place belongs to a tree");
        self.root = self.cut(root, &range);
        self.free.push(place);
        self.nodes[place.0 as usize].take().expect("a place is removed once").value
    }

    /// Calls `visit` for each range that holds `key`.
    pub(crate) fn holding(&mut self, key: &[u8], mut visit: impl FnMut(Place, &mut V)) {
        self.search(self.root, key, &mut visit);
    }

    /// The smallest range that covers all; `None` if there are none.
    pub(crate) fn hull(&self) -> Option<KeyRange> {
        let root = self.root?;
        let mut first = root;
        while let Some(left) = self.node(first).left {
            first = left;
        }
        let (start, end) = (self.node(first).range.start.clone(), self.node(root).reach.clone());
        Some(KeyRange { start, end })
    }

    fn search(&mut self, at: Option<Place>, key: &[u8], visit: &mut impl FnMut(Place, &mut V)) {
        let Some(place) = at else { return };
        let node = self.node_mut(place);
        if node.reach.as_ref().is_some_and(|reach| &reach[..] <= key) {
            return;
        }
        let (left, right, reached) = (node.left, node.right, &node.range.start[..] <= key);
        if node.range.contains(key) {
            visit(place, &mut node.value);
        }
        self.search(left, key, visit);
        if reached {
            self.search(right, key, visit);
        }
    }

    fn insert(&mut self, at: Option<Place>, new: Place) -> Place {
        let Some(at) = at else { return new };
        match order(&self.node(new).range, &self.node(at).range) {
            Ordering::Less => {
                let left = self.insert(self.node(at).left, new);
                self.node_mut(at).left = Some(left);
            }
            Ordering::Equal | Ordering::Greater => {
                let right = self.insert(self.node(at).right, new);
                self.node_mut(at).right = Some(right);
            }
        }
        self.balance(at)
    }

    /// Takes `range` out of the tree at `at`; the tree's new root.
    fn cut(&mut self, at: Place, range: &KeyRange) -> Option<Place> {
        const LOST: &str = "a range that has a place is found";
        let (left, right) = (self.node(at).left, self.node(at).right);
        match order(range, &self.node(at).range) {
            Ordering::Less => self.node_mut(at).left = self.cut(left.expect(LOST), range),
            Ordering::Greater => self.node_mut(at).right = self.cut(right.expect(LOST), range),
            Ordering::Equal => {
                let (Some(left), Some(right)) = (left, right) else { return left.or(right) };
                let (first, rest) = self.take_first(right);
                let node = self.node_mut(first);
                (node.left, node.right) = (Some(left), rest);
                return Some(self.balance(first));
            }
        }
        Some(self.balance(at))
    }

    /// Takes the first range out of the tree at `at`; it, and the tree's new root.
    fn take_first(&mut self, at: Place) -> (Place, Option<Place>) {
        let Some(left) = self.node(at).left else { return (at, self.node(at).right) };
        let (first, rest) = self.take_first(left);
        self.node_mut(at).left = rest;
        (first, Some(self.balance(at)))
    }

    /// Restores the balance at `at`, below which all is well; the new root.
    fn balance(&mut self, at: Place) -> Place {
        let (left, right) = (self.node(at).left, self.node(at).right);
        let (high_left, high_right) = (self.height(left), self.height(right));
        if let Some(left) = left
            && high_left > high_right + 1
        {
            if self.height(self.node(left).left) < self.height(self.node(left).right) {
                self.node_mut(at).left = Some(self.turn_left(left));
            }
            return self.turn_right(at);
        }
        if let Some(right) = right
            && high_right > high_left + 1
        {
            if self.height(self.node(right).right) < self.height(self.node(right).left) {
                self.node_mut(at).right = Some(self.turn_right(right));
            }
            return self.turn_left(at);
        }
        self.refresh(at);
        at
    }

    fn turn_right(&mut self, at: Place) -> Place {
        let up = self.node(at).left.expect("the higher side has a node");
        self.node_mut(at).left = self.node(up).right;
        self.node_mut(up).right = Some(at);
        self.refresh(at);
        self.refresh(up);
        up
    }

    fn turn_left(&mut self, at: Place) -> Place {
        let up = self.node(at).right.expect("the higher side has a node");
        self.node_mut(at).right = self.node(up).left;
        self.node_mut(up).left = Some(at);
        self.refresh(at);
        self.refresh(up);
        up
    }

    /// Works out anew what `at` knows of those below it.
    fn refresh(&mut self, at: Place) {
        let node = self.node(at);
        let height = 1 + self.height(node.left).max(self.height(node.right));
        let mut reach = &node.range.end;
        for below in [node.left, node.right].into_iter().flatten() {
            let other = &self.node(below).reach;
            if end_order(other.as_deref(), reach.as_deref()).is_gt() {
                reach = other;
            }
        }
        let reach = reach.clone();
        let node = self.node_mut(at);
        (node.height, node.reach) = (height, reach);
    }

    fn height(&self, at: Option<Place>) -> u8 {
        at.map_or(0, |at| self.node(at).height)
    }

    fn node(&self, place: Place) -> &Node<V> {
        self.nodes[place.0 as usize].as_ref().expect("a place is used until it is removed")
    }

    fn node_mut(&mut self, place: Place) -> &mut Node<V> {
        self.nodes[place.0 as usize].as_mut().expect("a place is used until it is removed")
    }
}

fn order(a: &KeyRange, b: &KeyRange) -> Ordering {
    a.start.cmp(&b.start).then_with(|| end_order(a.end.as_deref(), b.end.as_deref()))
}

/// No end lies behind every end.
fn end_order(a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn range(start: u8, end: Option<u8>) -> KeyRange {
        KeyRange {
            start: Bytes::copy_from_slice(&[start]),
            end: end.map(|end| Bytes::copy_from_slice(&[end])),
        }
    }

    fn check(index: &mut Index<u32>, model: &[(KeyRange, u32)]) {
        for key in 0..=u8::MAX {
            let mut found = Vec::new();
            index.holding(&[key], |_, value| found.push(*value));
            found.sort_unstable();
            let mut expected: Vec<u32> =
                model.iter().filter(|(range, _)| range.contains(&[key])).map(|(_, v)| *v).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "key {key}");
        }
        let start = model.iter().map(|(range, _)| range.start.clone()).min();
        assert_eq!(index.hull().map(|hull| hull.start), start);
        let endless = model.iter().any(|(range, _)| range.end.is_none());
        let end = model.iter().filter_map(|(range, _)| range.end.clone()).max();
        assert_eq!(index.hull().and_then(|hull| hull.end), end.filter(|_| !endless));
    }

    /// Against a list, with ranges that come and go in an order without order.
    #[test]
    fn it_finds_what_a_list_finds() {
        let mut index = Index::new();
        let mut model: Vec<(KeyRange, u32)> = Vec::new();
        let mut chance = 1_u64;
        for step in 0..3000_u32 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let [a, b, c, ..] = (chance >> 16).to_le_bytes();
            if c % 3 == 0 && !model.is_empty() {
                let (gone, value) = model.swap_remove(usize::from(a) % model.len());
                let place = index.find(&gone).unwrap();
                assert_eq!(index.remove(place), value);
            } else {
                let range = range(a.min(b), (c % 16 != 1).then_some(a.max(b)));
                let place = index.place(&range, || step);
                if *index.value_mut(place) == step {
                    model.push((range, step));
                }
            }
            if step % 16 == 0 {
                check(&mut index, &model);
            }
        }
        for (range, value) in model.drain(..) {
            let place = index.find(&range).unwrap();
            assert_eq!(index.remove(place), value);
        }
        assert!(index.hull().is_none());
    }

    #[test]
    fn ranges_in_order_make_no_deep_tree() {
        let mut index = Index::new();
        for n in 0..10_000_u32 {
            index.place(&KeyRange::single(Bytes::copy_from_slice(&n.to_be_bytes())), || n);
        }
        assert!(index.height(index.root) <= 19, "1.44 log2 n");
        let mut found = Vec::new();
        index.holding(&77_u32.to_be_bytes(), |_, n| found.push(*n));
        assert_eq!(found, [77]);
    }
}
