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
    model: Model,
    leases: Leases,
    revision: Revision,
    index: u64,
}

impl Pair {
    fn new() -> Self {
        let disk = MemDisk::new(1);
        let (engine, _worker) = engine::open_memory(disk, "engine", engine::Config::default())
            .expect("an engine in memory opens");
        let mut leases = Leases::default();
        leases.grant(1, 1000, 0);
        leases.grant(2, 1000, 0);
        Self { engine, model: BTreeMap::new(), leases, revision: Revision(0), index: 0 }
    }

    fn run(&mut self, txn: &Txn) -> Result<TxnResult, Refusal> {
        let view = self.engine.view();
        let scope = Scope::new(&*view, &self.leases, SPACE, self.revision);
        let Done { result, rows, moves } = scope.run(txn).expect("memory can be read")?;
        for moved in moves {
            self.leases.move_key(&moved.key, moved.from, moved.to);
        }
        self.index += 1;
        let epoch = Epoch { round: 1, proposer: 0 };
        let applied = Position { index: LogIndex(self.index), epoch };
        self.engine.write(Batch { group: GroupId(1), applied, rows, meta: Vec::new() });
        self.revision = result.revision;
        Ok(result)
    }

    /// What a plain map makes of it: `None` if it is refused, and then nothing has happened.
    fn run_model(&mut self, txn: &Txn) -> Option<(bool, Vec<OpResult>, bool)> {
        let next = self.revision.next();
        let before = self.model.clone();
        let mut after = before.clone();
        let (succeeded, results) = ops_in_model(&before, &mut after, &self.leases, txn, next)?;
        self.model = after;
        Some((succeeded, results, before != self.model))
    }
}

type Model = BTreeMap<Bytes, Item>;

fn ops_in_model(
    before: &Model,
    model: &mut Model,
    leases: &Leases,
    txn: &Txn,
    next: Revision,
) -> Option<(bool, Vec<OpResult>)> {
    let holds_for = |compare: &Compare| {
        let mut found = before.values().filter(|item| compare.range.contains(&item.key)).peekable();
        match found.peek() {
            None => holds(compare, None),
            Some(_) => found.all(|item| holds(compare, Some(item))),
        }
    };
    let succeeded = txn.compares.iter().all(holds_for);
    let ops = if succeeded { &txn.then } else { &txn.otherwise };
    let results = ops.iter().map(|op| apply_model(before, model, leases, op, next));
    Some((succeeded, results.collect::<Option<_>>()?))
}

fn apply_model(
    before: &Model,
    model: &mut Model,
    leases: &Leases,
    op: &Op,
    next: Revision,
) -> Option<OpResult> {
    Some(match op {
        Op::Put(put) => {
            let old = model.get(&put.key).cloned();
            let lease = put.lease.or(old.as_ref().map(|old| old.lease))?;
            if lease != 0 && !leases.has(lease) {
                return None;
            }
            let item = Item {
                key: put.key.clone(),
                value: put.value.clone().or(old.as_ref().map(|old| old.value.clone()))?,
                created: old.as_ref().map_or(next, |old| old.created),
                modified: next,
                version: old.as_ref().map_or(1, |old| old.version + 1),
                lease,
            };
            model.insert(put.key.clone(), item);
            OpResult::Put { previous: old.filter(|_| put.previous) }
        }
        Op::Delete { range, previous } => {
            let gone: Vec<Item> =
                model.values().filter(|item| range.contains(&item.key)).cloned().collect();
            model.retain(|key, _| !range.contains(key));
            let count = gone.len() as u64;
            OpResult::Deleted { count, previous: if *previous { gone } else { Vec::new() } }
        }
        Op::Read(query) => {
            let items = model.values().filter(|item| query.range.contains(&item.key));
            let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
            let all: Vec<Item> = items.cloned().collect();
            let more = all.len() > limit;
            let items: Vec<Item> = all.into_iter().take(limit).collect();
            OpResult::Read(Page { count: items.len() as u64, items, more })
        }
        Op::Txn(txn) => {
            let (succeeded, results) = ops_in_model(before, model, leases, txn, next)?;
            OpResult::Txn { succeeded, results }
        }
    })
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

fn value() -> impl Strategy<Value = Option<Bytes>> {
    prop_oneof![
        9 => (0u8..4).prop_map(|v| Some(Bytes::from(vec![v]))),
        1 => Just(None),
    ]
}

/// Leases 1 and 2 are alive, 3 is not.
fn lease() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![12 => Just(Some(0)), 6 => (1u64..3).prop_map(Some), 1 => Just(Some(3)), 1 => Just(None)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (key(), value(), lease(), any::<bool>()).prop_map(|(key, value, lease, previous)| {
            Op::Put(Put { key, value, lease, previous })
        }),
        2 => (range(), any::<bool>()).prop_map(|(range, previous)| Op::Delete { range, previous }),
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
        (0u64..3).prop_map(Operand::Lease),
    ];
    (range(), operator, operand).prop_map(|(range, operator, operand)| Compare {
        range,
        operator,
        operand,
    })
}

fn txn() -> impl Strategy<Value = Txn> {
    let with = |op: BoxedStrategy<Op>| {
        let compares = proptest::collection::vec(compare(), 0..2);
        let then = proptest::collection::vec(op.clone(), 0..6);
        (compares, then, proptest::collection::vec(op, 0..3)).prop_map(
            |(compares, then, otherwise)| Txn { compares, then, otherwise, ..Txn::default() },
        )
    };
    let nested = with(op().boxed()).prop_map(Op::Txn);
    with(prop_oneof![6 => op(), 1 => nested].boxed())
}

proptest! {
    #[test]
    fn transactions_do_what_a_plain_map_does(txns in proptest::collection::vec(txn(), 1..20)) {
        let mut pair = Pair::new();
        for txn in &txns {
            let before = pair.revision;
            let modelled = pair.run_model(txn);
            let result = pair.run(txn);
            let Some((succeeded, results, changed)) = modelled else {
                prop_assert!(result.is_err(), "{:?}", result);
                continue;
            };
            let result = result.expect("the model does not refuse it");
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
        prop_assert_eq!(&rows, &pair.model.into_values().collect::<Vec<_>>());
        for (id, lease) in pair.leases.iter() {
            let hanging = rows.iter().filter(|item| item.lease == id).map(|item| &item.key);
            prop_assert_eq!(lease.keys.iter().collect::<Vec<_>>(), hanging.collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_key_made_and_removed_at_once_makes_no_revision() {
    let mut pair = Pair::new();
    let key = Bytes::from_static(b"k");
    let ops = vec![Op::put(key.clone(), ""), Op::delete(KeyRange::single(key))];
    let result = pair.run(&Txn::always(ops)).expect("it can be done");
    assert_eq!(result.revision, Revision(0));
    let deleted = OpResult::Deleted { count: 1, previous: vec![] };
    assert_eq!(result.results, vec![OpResult::Put { previous: None }, deleted]);
}

#[test]
fn a_stale_fencing_token_is_refused() {
    let mut pair = Pair::new();
    let (lock, key) = (Bytes::from_static(b"lock"), Bytes::from_static(b"k"));
    let take = Txn::always(vec![Op::put(lock.clone(), "")]);
    let release = Txn::always(vec![Op::delete(KeyRange::single(lock.clone()))]);
    let guarded = |created| Txn {
        fences: vec![Fence { key: lock.clone(), created }],
        ..Txn::always(vec![Op::put(key.clone(), "")])
    };
    let first = pair.run(&take).expect("it can be done").revision;
    pair.run(&guarded(first)).expect("the lock is held");
    pair.run(&release).expect("it can be done");
    let gone = Refusal::Fenced { key: lock.clone(), created: first, current: None };
    assert_eq!(pair.run(&guarded(first)), Err(gone));
    let second = pair.run(&take).expect("it can be done").revision;
    let stale = Refusal::Fenced { key: lock.clone(), created: first, current: Some(second) };
    assert_eq!(pair.run(&guarded(first)), Err(stale));
    pair.run(&guarded(second)).expect("the lock is held");
}
