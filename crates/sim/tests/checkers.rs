//! The checkers on histories made by hand: the good ones pass, and each bad one is named.

use bytes::Bytes;
use consensus::Time;
use sim::check::{Call, Final, Register, RegisterOp, Verdict, judge, linearize};
use sim::history::{Action, History, Operation, Outcome, Seen, Write};
use wire::{Change, Consistency, Event, Header, Item, KeyRange, NodeId, Revision};

use RegisterOp::{Read, Swap, SwapFailed, Write as Put};

const BUDGET: usize = 10_000;

fn call(began: u64, ended: u64, op: RegisterOp) -> Call<RegisterOp> {
    Call { began, ended: Some(ended), op }
}

fn unknown(began: u64, op: RegisterOp) -> Call<RegisterOp> {
    Call { began, ended: None, op }
}

fn verdict(calls: &[Call<RegisterOp>]) -> Verdict<Option<u32>> {
    linearize(&Register, calls, BUDGET)
}

fn is_violated(calls: &[Call<RegisterOp>]) -> bool {
    matches!(verdict(calls), Verdict::Violated { .. })
}

// One register.

#[test]
fn operations_one_after_another_must_make_sense() {
    let put = call(0, 1, Put(Some(1)));
    assert_eq!(verdict(&[put.clone(), call(2, 3, Read(Some(1)))]), Verdict::Linearizable);
    assert!(is_violated(&[put.clone(), call(2, 3, Read(None))]));
    assert!(is_violated(&[put, call(2, 3, Read(Some(2)))]));
}

#[test]
fn a_stale_read_is_named_with_the_state_that_it_missed() {
    let calls = [
        call(0, 1, Put(Some(1))),
        call(2, 3, Put(Some(2))),
        call(4, 5, Read(Some(2))),
        call(6, 7, Read(Some(1))),
    ];
    let expected = Verdict::Violated { placed: 3, state: Some(2), stuck: vec![3] };
    assert_eq!(verdict(&calls), expected);
}

#[test]
fn operations_at_the_same_time_may_come_in_any_order() {
    let write = call(0, 10, Put(Some(1)));
    for seen in [None, Some(1)] {
        assert_eq!(verdict(&[write.clone(), call(2, 3, Read(seen))]), Verdict::Linearizable);
    }
    // But once one has seen it, it is there for those who come later.
    let (early, late) = (call(2, 3, Read(Some(1))), call(4, 5, Read(None)));
    assert!(is_violated(&[write, early, late]));
}

#[test]
fn an_unknown_write_may_be_done_late_or_never_but_not_before_it_began() {
    let write = unknown(5, Put(Some(1)));
    for seen in [None, Some(1)] {
        assert_eq!(verdict(&[write.clone(), call(100, 101, Read(seen))]), Verdict::Linearizable);
    }
    assert!(is_violated(&[write.clone(), call(1, 2, Read(Some(1)))]));
    // It is done once at most.
    let calls = [
        write,
        call(10, 11, Read(Some(1))),
        call(12, 13, Put(Some(2))),
        call(14, 15, Read(Some(1))),
    ];
    assert!(is_violated(&calls));
}

#[test]
fn a_swap_succeeds_just_when_its_expectation_holds() {
    let put = call(0, 1, Put(Some(1)));
    let swap = |expect, value| call(2, 3, Swap(expect, value));
    assert_eq!(verdict(&[put.clone(), swap(Some(1), Some(2))]), Verdict::Linearizable);
    assert!(is_violated(&[put.clone(), swap(Some(9), Some(2))]));
    assert!(is_violated(&[put.clone(), call(2, 3, SwapFailed(Some(1)))]));
    assert_eq!(verdict(&[put, call(2, 3, SwapFailed(Some(9)))]), Verdict::Linearizable);
}

#[test]
fn of_two_swaps_from_one_value_one_wins() {
    let put = call(0, 1, Put(Some(1)));
    let first = call(2, 9, Swap(Some(1), Some(2)));
    let second = call(2, 9, Swap(Some(1), Some(3)));
    assert!(is_violated(&[put, first, second]));
}

#[test]
fn a_removal_of_what_is_absent_may_still_be_needed_later() {
    // The removal fits at once, where it changes nothing, but makes sense only after the write.
    let calls = [call(0, 10, Put(None)), call(1, 9, Put(Some(1))), call(11, 12, Read(None))];
    assert_eq!(verdict(&calls), Verdict::Linearizable);
}

#[test]
fn many_at_the_same_time_are_decided_by_memory_not_by_luck() {
    let mut calls: Vec<_> = (0..12).map(|value| call(0, 100, Put(Some(value)))).collect();
    calls.push(call(200, 201, Read(Some(5))));
    assert_eq!(verdict(&calls), Verdict::Linearizable);
    calls.push(call(202, 203, Read(Some(99))));
    assert!(matches!(linearize(&Register, &calls, 1_000_000), Verdict::Violated { .. }));
    assert_eq!(linearize(&Register, &calls, 10), Verdict::Undecided);
}

// Whole histories.

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn item(name: &str, value: &str, modified: u64) -> Item {
    let modified = Revision(modified);
    let (key, value) = (key(name), key(value));
    Item { key, value, created: modified, modified, version: 1, lease: 0 }
}

fn header(revision: u64) -> Header {
    Header { revision: Revision(revision), applied: revision, node: NodeId(1), leader: None }
}

/// Operations that each last from one tick to the next.
#[derive(Default)]
struct Maker(History);

impl Maker {
    fn add(mut self, action: Action, outcome: Outcome) -> Self {
        let began = Time::from_nanos(self.0.operations.len() as u64 * 10);
        let ended = Some(Time::from_nanos(began.as_nanos() + 5));
        self.0.operations.push(Operation { client: 0, action, began, ended, outcome });
        self
    }

    fn put(self, name: &str, value: &str, revision: u64) -> Self {
        let changes = vec![(key(name), Some(key(value)))];
        let action = Action::Write(Write { expect: None, changes, observe: None });
        let revision_of = Revision(revision);
        let seen =
            Seen::Written { revision: revision_of, succeeded: true, changed: true, observed: None };
        self.add(action, Outcome::Done(header(revision), seen))
    }

    fn read(self, name: &str, level: Consistency, at: u64, items: Vec<Item>) -> Self {
        let action = Action::Read { key: key(name), level };
        self.add(action, Outcome::Done(header(at), Seen::Page { items, more: false }))
    }

    fn scan(self, at: u64, items: Vec<Item>) -> Self {
        let action = Action::Scan { prefix: Bytes::new(), level: Consistency::Linearizable };
        self.add(action, Outcome::Done(header(at), Seen::Page { items, more: false }))
    }

    fn watch(self, from: u64, next: u64, events: Vec<Event>) -> Self {
        let action = Action::Watch { range: KeyRange::all(), from: Revision(from) };
        let seen = Seen::Events { events, next: Revision(next) };
        self.add(action, Outcome::Done(header(next - 1), seen))
    }

    /// Which checks it fails, without repetition.
    fn fails(self) -> Vec<&'static str> {
        self.fails_with(&[])
    }

    fn fails_with(self, finals: &[Final]) -> Vec<&'static str> {
        let mut checks: Vec<_> =
            judge(&self.0, finals).violations.iter().map(|violation| violation.check).collect();
        checks.dedup();
        checks
    }
}

fn change(name: &str, value: &str, revision: u64) -> Event {
    let item = item(name, value, revision);
    Event::new(Revision(revision), Change::Put(item))
}

#[test]
fn a_good_history_passes() {
    let history = Maker::default()
        .put("a", "1", 1)
        .put("b", "2", 2)
        .read("a", Consistency::Linearizable, 2, vec![item("a", "1", 1)])
        .read("c", Consistency::Linearizable, 2, Vec::new())
        .scan(2, vec![item("a", "1", 1), item("b", "2", 2)])
        .watch(1, 3, vec![change("a", "1", 1), change("b", "2", 2)]);
    assert!(history.fails().is_empty());
}

#[test]
fn an_acknowledged_write_that_is_gone_is_named() {
    let history = Maker::default().put("a", "1", 1).put("b", "2", 2);
    let scanned = history.scan(2, vec![item("b", "2", 2)]);
    assert_eq!(scanned.fails(), ["durability", "linearizability"]);
}

#[test]
fn an_eventual_read_may_be_old_but_not_wrong() {
    let old = Maker::default().put("a", "1", 1).put("a", "2", 2);
    let old = old.read("a", Consistency::Eventual, 1, vec![item("a", "1", 1)]);
    assert!(old.fails().is_empty());
    let wrong = Maker::default().put("a", "1", 1).put("a", "2", 2);
    let wrong = wrong.read("a", Consistency::Eventual, 2, vec![item("a", "1", 1)]);
    assert_eq!(wrong.fails(), ["durability"]);
}

#[test]
fn a_session_that_goes_back_is_named() {
    let history = Maker::default().put("a", "1", 1).put("a", "2", 2);
    let level = Consistency::Session(Revision(2));
    assert_eq!(history.read("a", level, 1, vec![item("a", "1", 1)]).fails(), ["session"]);
}

#[test]
fn a_revision_has_one_author_and_time_goes_forward() {
    assert_eq!(
        Maker::default().put("a", "1", 1).put("b", "2", 1).fails(),
        ["revisions", "real time"]
    );
    assert_eq!(Maker::default().put("a", "1", 2).put("b", "2", 1).fails(), ["real time"]);
}

#[test]
fn a_write_that_was_executed_twice_is_named() {
    let history = Maker::default().put("a", "1", 1);
    let history = history.read("a", Consistency::Linearizable, 3, vec![item("a", "1", 3)]);
    assert_eq!(history.fails(), ["exactly once"]);
}

#[test]
fn a_watch_that_skips_repeats_or_goes_back_is_named() {
    let base = || Maker::default().put("a", "1", 1).put("a", "2", 2);
    let (one, two) = (change("a", "1", 1), change("a", "2", 2));
    assert!(base().watch(1, 3, vec![one.clone(), two.clone()]).fails().is_empty());
    assert_eq!(base().watch(1, 3, vec![two.clone()]).fails(), ["watch"]);
    assert_eq!(base().watch(1, 3, vec![one.clone(), one.clone(), two.clone()]).fails(), ["watch"]);
    assert_eq!(base().watch(1, 3, vec![two.clone(), one.clone()]).fails(), ["watch"]);
    assert_eq!(base().watch(2, 3, vec![one, two]).fails(), ["watch"]);
}

#[test]
fn replicas_that_come_apart_are_named() {
    let state = |node: u64, value: &str| Final {
        node: NodeId(node),
        revision: Revision(1),
        applied: 4,
        compacted: Revision(0),
        digest: Bytes::new(),
        items: vec![item("a", value, 1)],
        events: vec![change("a", value, 1)],
    };
    let history = || Maker::default().put("a", "1", 1);
    assert!(history().fails_with(&[state(1, "1"), state(2, "1")]).is_empty());
    assert!(history().fails_with(&[state(1, "1"), state(2, "9")]).contains(&"agreement"));
}
