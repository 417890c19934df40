//! Scrubs: what a node says of all that it holds.

use std::time::Duration;

use disk::mem::MemDisk;
use node::{Event, ScrubStep, Tuning};
use wire::{Body, Op, Reply, Request, Revision, ScrubStage, ScrubStatus, Txn};

use super::Alone;

/// So little that a scrub has many steps.
const STEP_BYTES: usize = 300;

/// The client that scrubs.
const OPERATOR: u128 = 7;

impl Alone {
    fn begin_scrub(&mut self, number: u64) {
        self.command(OPERATOR, number, Body::Scrub { id: number }).expect("nothing is in the way");
    }

    /// Runs the first scrub that was begun to its end. Tells how many steps it took, and whether
    /// anybody wanted to know.
    fn run_scrub(&mut self) -> (usize, bool) {
        let mut task = self.scrubs.remove(0);
        for steps in 1.. {
            match task.step(STEP_BYTES) {
                ScrubStep::More { .. } => {}
                ScrubStep::Unwanted => return (steps, false),
                ScrubStep::Ended(event) => {
                    self.now = self.now + Duration::from_millis(5);
                    self.node.handle(self.now, event);
                    self.settle();
                    return (steps, true);
                }
            }
        }
        unreachable!("there is no end of numbers")
    }

    fn scrubbed(&mut self) -> Option<ScrubStatus> {
        match self.ask(Request::Scrub) {
            Ok((_, Reply::Scrub(status))) => status,
            other => panic!("{other:?}"),
        }
    }

    fn checksum(&mut self, number: u64) -> u32 {
        self.begin_scrub(number);
        self.run_scrub();
        match self.scrubbed().expect("there was one").stage {
            ScrubStage::Finished { checksum } => checksum,
            other => panic!("{other:?}"),
        }
    }
}

/// Flushes at every turn, so that all is on the disk.
fn flushing() -> Tuning {
    Tuning { flush_log_bytes: 1, ..Tuning::default() }
}

/// A node to which the same was done as to any other of these.
fn filled(tuning: Tuning) -> Alone {
    let mut alone = Alone::start(MemDisk::new(1), tuning);
    for number in 1..=40 {
        let op = Op::put(format!("key {}", number % 20), vec![b'x'; 100]);
        alone.command(9, number, Body::Txn(Txn::always(vec![op]))).expect("a put");
    }
    alone
}

#[test]
fn a_scrub_changes_nothing_and_tells_how_far_it_is() {
    let mut alone = filled(Tuning::default());
    assert_eq!(alone.scrubbed(), None);
    let before = alone.node.status();
    alone.begin_scrub(1);
    let status = alone.scrubbed().expect("it has begun");
    assert_eq!((status.id, status.stage, status.keys), (1, ScrubStage::Running, 0));
    assert_eq!((status.revision, status.index), (before.revision, before.applied + 1));
    let mut task = alone.scrubs.remove(0);
    assert!(matches!(task.step(STEP_BYTES), ScrubStep::More { .. }));
    let keys = alone.scrubbed().expect("it runs").keys;
    assert!((1..20).contains(&keys), "{keys}");
    alone.scrubs.push(task);
    let (steps, ended) = alone.run_scrub();
    assert!(steps > 5 && ended, "{steps}");
    let status = alone.scrubbed().expect("it is over");
    assert_eq!((status.keys, status.bytes, status.elapsed_ms), (20, 20 * 100 + 110, 5));
    assert_eq!(alone.node.status().revision, before.revision);
    assert_eq!(alone.node.metrics().scrubs.get(), 1);
}

#[test]
fn what_was_done_alike_has_one_checksum_wherever_it_lies() {
    let checksum = filled(Tuning::default()).checksum(1);
    assert_eq!(filled(flushing()).checksum(1), checksum, "on the disk or not");

    let mut other = filled(Tuning::default());
    let delete = Op::delete(wire::KeyRange::single("key 3".into()));
    other.command(9, 41, Body::Txn(Txn::always(vec![delete]))).expect("a deletion");
    assert_ne!(other.checksum(1), checksum, "a key less");

    let mut other = filled(Tuning::default());
    other.command(8, 1, Body::Grant { lease: 7, ttl_ms: 1000 }).expect("a lease");
    assert_ne!(other.checksum(1), checksum, "a lease more");
}

#[test]
fn old_versions_do_not_count() {
    let compacting = |tuning| {
        let mut alone = filled(tuning);
        alone.command(9, 41, Body::Compact { before: Revision(30) }).expect("a compaction");
        alone
    };
    let (mut kept, mut removed) = (compacting(Tuning::default()), compacting(flushing()));
    assert_eq!(kept.checksum(1), removed.checksum(1));
}

#[test]
fn what_is_written_meanwhile_is_not_looked_at() {
    let checksum = filled(flushing()).checksum(1);
    let mut alone = filled(flushing());
    alone.begin_scrub(1);
    for number in 41..=60 {
        let op = Op::put(format!("key {}", number % 30), "new");
        alone.command(9, number, Body::Txn(Txn::always(vec![op]))).expect("a put");
    }
    alone.run_scrub();
    assert_eq!(alone.scrubbed().expect("one").stage, ScrubStage::Finished { checksum });
}

#[test]
fn a_later_scrub_takes_the_place_of_the_one_before() {
    let mut alone = filled(Tuning::default());
    alone.begin_scrub(1);
    alone.begin_scrub(2);
    assert_eq!(alone.run_scrub(), (1, false));
    assert_eq!(alone.scrubbed().expect("the second").stage, ScrubStage::Running);
    // The answer of a former one comes late.
    let index = alone.scrubbed().expect("the second").index - 1;
    alone.node.handle(alone.now, Event::Scrubbed { group: node::GROUP, index, result: Ok(7) });
    assert_eq!(alone.scrubbed().expect("the second").stage, ScrubStage::Running);
    assert!(alone.run_scrub().1);
}

#[test]
fn a_command_that_is_repeated_scrubs_once() {
    let mut alone = filled(Tuning::default());
    alone.begin_scrub(1);
    alone.begin_scrub(1);
    assert_eq!(alone.scrubs.len(), 1);
}

#[test]
fn a_flipped_bit_is_told_with_its_file_and_the_node_goes_on() {
    let mut alone = filled(flushing());
    let runs = alone
        .disk
        .files("engine.")
        .into_iter()
        .filter(|(name, _)| name.rsplit_once('.').is_some_and(|(_, end)| end == "run"));
    let (file, _) = runs.max_by_key(|(_, bytes)| *bytes).expect("all was flushed");
    alone.disk.flip_bits(&file, 20, 1);
    alone.begin_scrub(1);
    alone.run_scrub();
    let ScrubStage::Broken { why } = alone.scrubbed().expect("it is over").stage else {
        panic!("a flipped bit was not seen")
    };
    assert!(why.contains(file.trim_start_matches("engine.")), "{why} does not name {file}");
    assert_eq!(alone.node.metrics().broken_scrubs.get(), 1);
    alone.begin_scrub(2);
}
