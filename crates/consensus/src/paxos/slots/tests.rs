//! The slots against an obvious model: a map from which nothing is ever forgotten.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// Puts so many values so far after the base.
    Put {
        after: u64,
        count: u64,
        ballot: u64,
    },
    Compact(u64),
    Rebase(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..20u64, 1..4u64, 1..9u64)
            .prop_map(|(after, count, ballot)| Op::Put { after, count, ballot }),
        1 => any::<u64>().prop_map(Op::Compact),
        1 => (0..30u64).prop_map(Op::Rebase),
    ]
}

fn ballot(round: u64) -> Epoch {
    Epoch { round, proposer: 1 }
}

fn value_of(index: u64, round: u64) -> Entry {
    let position = Position { index: LogIndex(index), epoch: ballot(round) };
    Entry { position, payload: Payload::Command(Bytes::from(round.to_string())) }
}

fn accepted(index: u64, round: u64) -> Entry {
    stamped(ballot(round), vec![value_of(index, round)], LogIndex(0), false).remove(0)
}

fn at(index: u64) -> Position {
    accepted(index, 1).position
}

/// `model` has the ballot of each slot that was ever accepted.
fn apply(slots: &mut Slots, model: &mut BTreeMap<u64, u64>, op: &Op) {
    let (base, last) = (slots.base().index.0, slots.last().0);
    match *op {
        Op::Put { after, count, ballot } => {
            let first = base + after + 1;
            let before = slots.suffix(slots.base().index.next());
            let changed = slots.put((first..first + count).map(|index| accepted(index, ballot)));
            assert_eq!(changed.0, first.min(last + 1));
            let unchanged = usize::try_from(changed.0 - base - 1).unwrap();
            let suffix = slots.suffix(changed);
            assert_eq!(suffix.len() as u64, slots.last().0 - changed.0 + 1);
            assert_eq!(slots.suffix(LogIndex(base + 1))[..unchanged], before[..unchanged]);
            model.extend((first..first + count).map(|index| (index, ballot)));
        }
        Op::Compact(pick) => {
            let through = base + pick % (last - base + 1);
            if slots.first_gap(LogIndex(base)).is_none_or(|gap| gap.0 > through) {
                slots.compact(LogIndex(through));
                assert_eq!(slots.base().index.0, through);
            }
        }
        Op::Rebase(further) => {
            slots.rebase(at(base + further));
            assert_eq!(slots.base(), at(base + further));
        }
    }
}

fn compare(slots: &Slots, model: &BTreeMap<u64, u64>) {
    let (base, last) = (slots.base().index, slots.last());
    let held: BTreeMap<u64, u64> =
        model.range(base.0 + 1..).map(|(index, ballot)| (*index, *ballot)).collect();
    assert_eq!(last.0, held.last_key_value().map_or(base.0, |(index, _)| *index));
    for index in 0..last.0 + 3 {
        let round = slots.ballot_at(LogIndex(index)).round;
        assert_eq!(round, held.get(&index).copied().unwrap_or_default(), "slot {index}");
    }
    assert_eq!(slots.highest_ballot().round, held.values().max().copied().unwrap_or_default());
    let (all, more) = slots.accepted(LogIndex(1), usize::MAX);
    assert!(!more);
    let told = all.iter().map(|told| (told.entry.position.index.0, told.ballot.round));
    assert_eq!(told.collect::<BTreeMap<_, _>>(), held, "all that was accepted is told");
    let entries = slots.suffix(base.next());
    assert_eq!(slots.bytes(), entries.iter().map(size_bytes).sum::<usize>());
    let again = Slots::new(slots.base(), entries);
    assert_eq!((again.last(), again.bytes()), (last, slots.bytes()));
    let gap = (base.0 + 1..=last.0).find(|index| !held.contains_key(index));
    assert_eq!(slots.first_gap(base).map(|gap| gap.0), gap);
}

proptest! {
    #[test]
    fn behave_like_a_map(ops in prop::collection::vec(op(), 1..30)) {
        let mut slots = Slots::new(Position::default(), Vec::new());
        let mut model = BTreeMap::new();
        for op in &ops {
            apply(&mut slots, &mut model, op);
            compare(&slots, &model);
        }
    }

    /// Whatever the page's size, the pages together tell all.
    #[test]
    fn pages_add_up(put in prop::collection::btree_set(1..60u64, 1..30), max_bytes in 1..400usize) {
        let mut slots = Slots::new(Position::default(), Vec::new());
        slots.put(put.iter().map(|index| accepted(*index, 3)));
        let (mut from, mut told) = (LogIndex(1), Vec::new());
        loop {
            let (page, more) = slots.accepted(from, max_bytes);
            let bytes: usize = page.iter().map(|told| size_bytes(&told.entry)).sum();
            prop_assert!(page.len() == 1 || bytes <= max_bytes);
            told.extend(page.iter().map(|told| told.entry.position.index.0));
            if !more {
                break;
            }
            from = page.last().unwrap().entry.position.index.next();
        }
        prop_assert_eq!(told, put.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn slots_tell_how_far_they_are_chosen() {
    let mut slots = Slots::new(Position::default(), Vec::new());
    assert_eq!(slots.proven(), LogIndex(0));
    let put = |slots: &mut Slots, index, chosen| {
        slots.put(stamped(ballot(1), vec![value_of(index, 1)], LogIndex(chosen), false));
    };
    (1..=40).for_each(|index| put(&mut slots, index, 0));
    assert_eq!(slots.proven(), LogIndex(0));
    put(&mut slots, 41, 33);
    put(&mut slots, 42, 20);
    assert_eq!(slots.proven(), LogIndex(32));
    slots.compact(LogIndex(33));
    assert_eq!(slots.proven(), LogIndex(33), "what is before the base is chosen");
}

#[test]
fn reading_takes_what_fits_but_at_least_one() {
    let mut slots = Slots::new(Position::default(), Vec::new());
    slots.put((1..=5).map(|index| accepted(index, 1)));
    let one = size_bytes(&accepted(1, 1));
    let read = |from, through, bytes| slots.read(LogIndex(from), LogIndex(through), bytes).len();
    assert_eq!(read(2, 5, 0), 1);
    assert_eq!(read(2, 5, 3 * one), 3);
    assert_eq!(read(2, 3, usize::MAX), 2);
    assert_eq!(read(6, 5, usize::MAX), 0);
    assert_eq!(slots.read(LogIndex(2), LogIndex(2), 0), [value_of(2, 1)], "by its origin");
}
