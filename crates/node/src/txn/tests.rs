use std::collections::BTreeMap;

use consensus::{Epoch, LogIndex, Position};
use disk::mem::MemDisk;
use engine::{Batch, Engine};
use proptest::prelude::*;
use wire::GroupId;

use super::*;

const SPACE: SpaceId = SpaceId(1);

/// A store that applies transactions one after the other, beside a plain map that does the same.
struct Pair {
    engine: Box<dyn Engine>,
    model: BTreeMap<Bytes, Item>,
    revision: Revision,
    index: u64,
}

impl Pair {
    fn new() -> Self {
        let disk = MemDisk::new(1);
        let (engine, _worker) = engine::open_memory(disk, "engine", engine::Config::default())
            .expect("an engine in memory opens");
        Self { engine, model: BTreeMap::new(), revision: Revision(0), index: 0 }
    }

    fn run(&mut self, txn: &Txn) -> TxnResult {
        let view = self.engine.view();
        let scope = Scope::new(&*view, SPACE, self.revision);
        let (result, rows) = scope.run(txn).expect("memory can be read").expect("it reads little");
        self.index += 1;
        let epoch = Epoch { round: 1, proposer: 0 };
        let applied = Position { index: LogIndex(self.index), epoch };
        self.engine.write(Batch { group: GroupId(1), applied, rows, meta: Vec::new() });
        self.revision = result.revision;
        result
    }

    fn run_model(&mut self, txn: &Txn) -> (bool, Vec<OpResult>, bool) {
        let next = self.revision.next();
        let before = self.model.clone();
        let succeeded = txn.compares.iter().all(|compare| holds(compare, before.get(&compare.key)));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let results = ops.iter().map(|op| apply_model(&mut self.model, op, next)).collect();
        (succeeded, results, before != self.model)
    }
}

fn apply_model(model: &mut BTreeMap<Bytes, Item>, op: &Op, next: Revision) -> OpResult {
    match op {
        Op::Put { key, value, lease } => {
            let old = model.get(key);
            let item = Item {
                key: key.clone(),
                value: value.clone(),
                created: old.map_or(next, |old| old.created),
                modified: next,
                version: old.map_or(1, |old| old.version + 1),
                lease: *lease,
            };
            model.insert(key.clone(), item);
            OpResult::Put
        }
        Op::Delete { range } => {
            let before = model.len();
            model.retain(|key, _| !range.contains(key));
            OpResult::Deleted { count: (before - model.len()) as u64 }
        }
        Op::Read(query) => {
            let items = model.values().filter(|item| query.range.contains(&item.key));
            let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
            let all: Vec<Item> = items.cloned().collect();
            let more = all.len() > limit;
            let items: Vec<Item> = all.into_iter().take(limit).collect();
            OpResult::Read(Page { count: items.len() as u64, items, more })
        }
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    (0u8..6).prop_map(|n| Bytes::from(vec![b'a' + n]))
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::single),
        (key(), key()).prop_map(|(start, end)| KeyRange { start, end: Some(end) }),
        Just(KeyRange::all()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (key(), 0u8..4).prop_map(|(key, v)| {
            Op::Put { key, value: Bytes::from(vec![v]), lease: 0 }
        }),
        2 => range().prop_map(|range| Op::Delete { range }),
        2 => (range(), 0u32..4).prop_map(|(range, limit)| {
            Op::Read(Query { limit, ..Query::range(range) })
        }),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let operator = prop_oneof![
        Just(Operator::Equal),
        Just(Operator::NotEqual),
        Just(Operator::Less),
        Just(Operator::Greater)
    ];
    let operand = prop_oneof![
        (0u8..4).prop_map(|v| Operand::Value(Bytes::from(vec![v]))),
        (0u64..3).prop_map(Operand::Version),
        (0u64..9).prop_map(|n| Operand::Created(Revision(n))),
        (0u64..9).prop_map(|n| Operand::Modified(Revision(n))),
    ];
    (key(), operator, operand).prop_map(|(key, operator, operand)| Compare {
        key,
        operator,
        operand,
    })
}

fn txn() -> impl Strategy<Value = Txn> {
    (
        proptest::collection::vec(compare(), 0..2),
        proptest::collection::vec(op(), 0..6),
        proptest::collection::vec(op(), 0..3),
    )
        .prop_map(|(compares, then, otherwise)| Txn { compares, then, otherwise })
}

proptest! {
    #[test]
    fn transactions_do_what_a_plain_map_does(txns in proptest::collection::vec(txn(), 1..20)) {
        let mut pair = Pair::new();
        for txn in &txns {
            let (succeeded, results, changed) = pair.run_model(txn);
            let before = pair.revision;
            let result = pair.run(txn);
            prop_assert_eq!(result.succeeded, succeeded);
            prop_assert_eq!(result.results, results);
            // A put that restores the very same item still changes it: its revision moved.
            prop_assert!(result.revision == before || result.revision == before.next());
            prop_assert!(!changed || result.revision == before.next());
        }
        let view = pair.engine.view();
        let mut rows = Vec::new();
        view.scan(SPACE, &KeyRange::all(), pair.revision, &mut |item| {
            rows.push(item);
            Visit::Continue
        }).expect("memory can be read");
        prop_assert_eq!(rows, pair.model.into_values().collect::<Vec<_>>());
    }
}

#[test]
fn a_key_made_and_removed_at_once_makes_no_revision() {
    let mut pair = Pair::new();
    let key = Bytes::from_static(b"k");
    let put = Op::Put { key: key.clone(), value: Bytes::new(), lease: 0 };
    let delete = Op::Delete { range: KeyRange::single(key) };
    let result = pair.run(&Txn::always(vec![put, delete]));
    assert_eq!(result.revision, Revision(0));
    assert_eq!(result.results, vec![OpResult::Put, OpResult::Deleted { count: 1 }]);
}
