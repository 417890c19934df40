//! The checkers on histories made by hand: the good ones pass, and each bad one is named.

use bytes::Bytes;
use consensus::Time;
use sim::check::{Call, Final, Register, RegisterOp, Verdict, judge, linearize};
use sim::history::{Action, Hang, History, Operation, Outcome, Seen, Terms, Write};
use wire::{Change, Consistency, Event, Header, Item, KeyRange, LeaseStatus, NodeId, Revision};

use RegisterOp::{Read, Swap, SwapFailed, Write as Put};

const BUDGET: usize = 10_000;

fn call(began: u64, ended: u64, op: RegisterOp) -> Call<RegisterOp> {
    Call { began, ended: Some(ended), op }
}

fn unknown(began: u64, op: RegisterOp) -> Call<RegisterOp> {
    Call { began, ended: None, op }
}

fn verdict(calls: &[Call<RegisterOp>]) -> Verdict<Option<u32>> {
    linearize(&Register::default(), calls, BUDGET)
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
    assert!(matches!(linearize(&Register::default(), &calls, 1_000_000), Verdict::Violated { .. }));
    assert_eq!(linearize(&Register::default(), &calls, 10), Verdict::Undecided);
}

#[test]
fn a_value_that_hangs_on_a_lease_may_vanish_and_no_other() {
    let register = Register { mortal: [1].into() };
    let verdict = |calls: &[_]| linearize(&register, calls, BUDGET);
    let gone = |value| [call(0, 1, Put(Some(value))), call(2, 3, Read(None))];
    assert_eq!(verdict(&gone(1)), Verdict::Linearizable);
    assert!(matches!(verdict(&gone(2)), Verdict::Violated { .. }));
    let taken = [call(0, 1, Put(Some(1))), call(2, 3, Swap(None, Some(2)))];
    assert_eq!(verdict(&taken), Verdict::Linearizable);
    let back = [call(0, 1, Put(Some(1))), call(2, 3, Read(None)), call(4, 5, Read(Some(1)))];
    assert!(matches!(verdict(&back), Verdict::Violated { .. }));
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
        let (client, principal) = (0, None);
        self.0.operations.push(Operation { client, principal, action, began, ended, outcome });
        self
    }

    fn put(self, name: &str, value: &str, revision: u64) -> Self {
        let changes = vec![(key(name), Some(key(value)))];
        let action = Action::Write(Write { changes, ..Write::default() });
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
        let action =
            Action::Watch { range: KeyRange::all(), from: Revision(from), previous: false };
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

// Leases, locks, and what was before.

const SECOND: u64 = 1_000_000_000;

impl Maker {
    fn with_true_clocks(mut self) -> Self {
        self.0.terms = Terms { true_clocks: true, retained: Some(100) };
        self
    }

    /// An operation that begins and ends at these moments, in nanoseconds.
    fn at(mut self, began: u64, ended: u64, action: Action, outcome: Outcome) -> Self {
        let (began, ended) = (Time::from_nanos(began), Some(Time::from_nanos(ended)));
        let (client, principal) = (0, None);
        self.0.operations.push(Operation { client, principal, action, began, ended, outcome });
        self
    }

    fn grant(self, began: u64, lease: u64, ttl_ms: u64) -> Self {
        self.at(began, began + 9, Action::Grant { lease, ttl_ms }, written(1, false))
    }

    fn keep_alive(self, began: u64, lease: u64, ttl_ms: u64) -> Self {
        let status = LeaseStatus { lease, ttl_ms, remaining_ms: ttl_ms, keys: Vec::new() };
        let seen = Outcome::Done(header(1), Seen::Lease(status));
        self.at(began, began + 9, Action::KeepAlive { lease }, seen)
    }

    fn finds_no(self, began: u64, lease: u64) -> Self {
        let gone = Outcome::NotDone("lease_not_found".to_owned());
        self.at(began, began + 9, Action::Lease { lease }, gone)
    }

    fn put_on(self, began: u64, name: &str, value: &str, lease: u64, revision: u64) -> Self {
        let changes = vec![(key(name), Some(key(value)))];
        let write = Write { changes, hang: Hang::On(lease), ..Write::default() };
        self.at(began, began + 9, Action::Write(write), written(revision, true))
    }

    fn reads(self, began: u64, name: &str, at: u64, items: Vec<Item>) -> Self {
        let level = Consistency::Linearizable;
        let seen = Outcome::Done(header(at), Seen::Page { items, more: false });
        self.at(began, began + 9, Action::Read { key: key(name), level }, seen)
    }
}

fn written(revision: u64, changed: bool) -> Outcome {
    let at = Revision(revision);
    let seen = Seen::Written { revision: at, succeeded: true, changed, observed: None };
    Outcome::Done(header(revision), seen)
}

fn on_lease(lease: u64, item: Item) -> Item {
    Item { lease, ..item }
}

#[test]
fn a_lease_that_ends_in_time_passes_and_one_that_ends_early_is_named() {
    let kept = || {
        let begun = Maker::default().with_true_clocks().grant(0, 7, 1000);
        begun.keep_alive(SECOND / 2, 7, 1000)
    };
    assert!(kept().finds_no(SECOND * 3 / 2, 7).fails().is_empty());
    assert_eq!(kept().finds_no(SECOND * 5 / 4, 7).fails(), ["leases"]);
    let revoked = kept().at(SECOND, SECOND + 9, Action::Revoke { lease: 7 }, written(1, false));
    assert!(revoked.finds_no(SECOND * 5 / 4, 7).fails().is_empty());
    let bent = Maker::default().grant(0, 7, 1000).finds_no(SECOND / 2, 7);
    assert!(bent.fails().is_empty(), "nobody said that clocks are true");
}

#[test]
fn a_lease_that_comes_back_is_named_and_one_that_is_granted_again_is_not() {
    let gone = || Maker::default().grant(0, 7, 1000).finds_no(2 * SECOND, 7);
    assert_eq!(gone().keep_alive(3 * SECOND, 7, 1000).fails(), ["leases"]);
    assert!(gone().grant(3 * SECOND, 7, 1001).keep_alive(4 * SECOND, 7, 1001).fails().is_empty());
}

#[test]
fn a_key_that_vanishes_before_its_lease_may_end_is_named() {
    let put = || Maker::default().with_true_clocks().grant(0, 7, 1000).put_on(20, "a", "1", 7, 2);
    let early = put().reads(SECOND / 2, "a", 3, Vec::new());
    assert_eq!(early.fails(), ["leases"]);
    assert!(put().reads(2 * SECOND, "a", 3, Vec::new()).fails().is_empty());
    let item = on_lease(7, item("a", "1", 2));
    let stays = put().finds_no(2 * SECOND, 7).reads(3 * SECOND, "a", 3, vec![item]);
    assert_eq!(stays.fails(), ["leases"], "a key of a lease that has ended");
}

#[test]
fn keys_that_part_from_their_lease_are_named() {
    let state = |events: Vec<Event>, items: Vec<Item>| Final {
        node: NodeId(1),
        revision: Revision(9),
        applied: 9,
        compacted: Revision(0),
        digest: Bytes::new(),
        items,
        events,
    };
    let put = |name, lease, at| {
        let item = on_lease(lease, item(name, name, at));
        Event::new(Revision(at), Change::Put(item))
    };
    let gone = |name, at| Event::new(Revision(at), Change::Delete { key: key(name) });
    let fails = |events, items| {
        let mut checks = Maker::default().fails_with(&[state(events, items)]);
        checks.retain(|check| *check == "leases");
        checks
    };
    let both = || vec![put("a", 7, 2), put("b", 7, 3)];
    let with = |more: Vec<Event>| both().into_iter().chain(more).collect::<Vec<_>>();
    assert!(fails(with(vec![gone("a", 4), gone("b", 4)]), vec![]).is_empty());
    assert_eq!(fails(with(vec![gone("a", 4), gone("b", 5)]), vec![]), ["leases"]);
    assert_eq!(fails(vec![put("a", 0, 2), gone("a", 3)], vec![]), ["leases"]);
    let left = on_lease(7, item("a", "a", 2));
    assert_eq!(fails(vec![put("a", 7, 2)], vec![left]), ["leases"]);
}

#[test]
fn a_write_under_a_lock_that_was_lost_is_named() {
    let fenced = |at: u64| {
        let fence = Some((key("lock"), Revision(2)));
        let changes = vec![(key("guarded"), Some(key("x")))];
        let write = Write { changes, fence, ..Write::default() };
        let taken = Maker::default().put_on(0, "lock", "mine", 7, 2);
        taken.at(20, 29, Action::Write(write), written(at, true))
    };
    let anew = |at: u64| Event::new(Revision(at), Change::Put(item("lock", "theirs", at)));
    let fails = |history: Maker, event| {
        let mut checks = history.watch(2, 9, vec![event]).fails();
        checks.retain(|check| *check == "fencing");
        checks
    };
    assert!(fails(fenced(3), anew(4)).is_empty());
    assert_eq!(fails(fenced(5), anew(4)), ["fencing"]);
}

#[test]
fn a_previous_value_that_was_not_the_previous_one_is_named() {
    let second = |previous: Option<Item>| {
        let item = Item { created: Revision(1), version: 2, ..item("a", "2", 2) };
        let event = Event { revision: Revision(2), change: Change::Put(item), previous };
        let action = Action::Watch { range: KeyRange::all(), from: Revision(2), previous: true };
        let seen = Seen::Events { events: vec![event], next: Revision(3) };
        let base = Maker::default().with_true_clocks().put("a", "1", 1).put("a", "2", 2);
        base.add(action, Outcome::Done(header(2), seen)).fails()
    };
    assert!(second(Some(item("a", "1", 1))).is_empty());
    assert_eq!(second(Some(Item { version: 7, ..item("a", "1", 1) })), ["previous"]);
    assert_eq!(second(None), ["previous"]);
}
