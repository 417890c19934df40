//! The log against an obvious model: a vector from which nothing is ever compacted.

use proptest::prelude::*;

use super::*;
use crate::Payload;

#[derive(Clone, Debug)]
enum Op {
    Append { count: u64, term_step: u64 },
    Truncate(u64),
    Compact(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..5u64, 0..3u64).prop_map(|(count, term_step)| Op::Append { count, term_step }),
        1 => any::<u64>().prop_map(Op::Truncate),
        1 => any::<u64>().prop_map(Op::Compact),
    ]
}

fn position(index: u64, term: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round: term, proposer: 0 } }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { position: position(index, term), payload: Payload::Noop }
}

/// `model[i]` is the term of entry i; its first element is the place before the log.
fn apply(log: &mut Log, model: &mut Vec<u64>, op: &Op) {
    let (base, last) = (log.base().index.0, log.last().index.0);
    match op {
        Op::Append { count, term_step } => {
            let term = model.last().unwrap() + term_step;
            let new = (1..=*count).map(|offset| entry(last + offset, term.max(1)));
            log.append(new);
            model.extend((0..*count).map(|_| term.max(1)));
        }
        Op::Truncate(pick) if last > base => {
            let from = base + 1 + pick % (last - base);
            log.truncate(LogIndex(from));
            model.truncate(usize::try_from(from).unwrap());
        }
        Op::Compact(pick) => log.compact(LogIndex(base + pick % (last - base + 1))),
        Op::Truncate(_) => {}
    }
}

fn compare(log: &Log, model: &[u64]) {
    let (base, last) = (log.base().index.0, log.last().index.0);
    assert_eq!(last + 1, model.len() as u64);
    for (index, term) in (0u64..).zip(model) {
        let known = log.epoch_at(LogIndex(index)).map(|epoch| epoch.round);
        assert_eq!(known, (index >= base).then_some(*term));
    }
    assert_eq!(log.epoch_at(LogIndex(last + 1)), None);
    let entries = log.between(log.base().index, log.last().index);
    assert_eq!(log.bytes(), entries.iter().map(size_bytes).sum::<usize>());
    for index in 0..last + 3 {
        for term in 0..=model.last().unwrap() + 1 {
            let found = log.newest_before(LogIndex(index), position(0, term).epoch);
            let expected = (base..=last.min(index))
                .rev()
                .find(|i| model[usize::try_from(*i).unwrap()] <= term)
                .map(|i| position(i, model[usize::try_from(i).unwrap()]));
            assert_eq!(found, expected, "index {index} term {term}");
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_a_vector(ops in prop::collection::vec(op(), 1..30)) {
        let mut log = Log::new(Position::default(), Arc::default(), Vec::new());
        let mut model = vec![0];
        for op in &ops {
            apply(&mut log, &mut model, op);
            compare(&log, &model);
        }
    }
}

#[test]
fn read_takes_what_fits_but_at_least_one() {
    let log = Log::new(
        Position::default(),
        Arc::default(),
        (1..=5).map(|index| entry(index, 1)).collect(),
    );
    let one = size_bytes(&entry(1, 1));
    assert_eq!(log.read(LogIndex(2), 0).len(), 1);
    assert_eq!(log.read(LogIndex(2), 3 * one).len(), 3);
    assert_eq!(log.read(LogIndex(2), usize::MAX).len(), 4);
    assert!(log.read(LogIndex(6), usize::MAX).is_empty());
}

#[test]
fn keeping_within_a_budget_drops_the_oldest() {
    let log = Log::new(
        Position::default(),
        Arc::default(),
        (1..=5).map(|index| entry(index, 1)).collect(),
    );
    let one = size_bytes(&entry(1, 1));
    assert_eq!(log.keep_within(LogIndex(5), usize::MAX), LogIndex(0));
    assert_eq!(log.keep_within(LogIndex(5), 2 * one), LogIndex(3));
    assert_eq!(log.keep_within(LogIndex(4), 2 * one), LogIndex(2));
    assert_eq!(log.keep_within(LogIndex(5), 0), LogIndex(5));
}
