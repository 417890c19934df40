//! Both engines against the model: whatever is written, flushed, compacted, held and reopened.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Held, Host, Kind, Model, config, group, space};
use disk::mem::MemDisk;
use proptest::prelude::*;
use wire::Revision;

#[derive(Clone, Debug)]
enum Step {
    Write { group: u8, changes: Vec<(u8, Option<u8>)> },
    BeginFlush,
    BeginUpkeep,
    Compact { group: u8, back: u64 },
    Ingest { group: u8 },
    Run,
    Hold,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0..common::KEYS, prop::option::weighted(0.7, any::<u8>()));
    prop_oneof![
        10 => (1..=2u8, prop::collection::vec(change, 0..6))
            .prop_map(|(group, changes)| Step::Write { group, changes }),
        3 => Just(Step::BeginFlush),
        3 => Just(Step::BeginUpkeep),
        2 => (1..=2u8, 0..6u64).prop_map(|(group, back)| Step::Compact { group, back }),
        1 => (1..=2u8).prop_map(|group| Step::Ingest { group }),
        6 => Just(Step::Run),
        1 => Just(Step::Hold),
        1 => Just(Step::Reopen),
    ]
}

struct Run {
    kind: Kind,
    disk: MemDisk,
    host: Host,
    models: [Model; 2],
    held: Vec<Held>,
}

impl Run {
    fn new(kind: Kind) -> Self {
        let disk = MemDisk::new(7);
        let host = Host::open(kind, &disk, config()).unwrap();
        Self { kind, disk, host, models: Default::default(), held: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { group, changes } => {
                let batch = self.models[usize::from(group) - 1].write(group, &changes);
                self.host.engine.write(batch);
            }
            Step::BeginFlush => self.host.begin_flush(),
            Step::BeginUpkeep => self.host.begin_upkeep(),
            Step::Compact { group, back } => self.compact(group, back),
            Step::Ingest { group } => self.ingest(group),
            Step::Run => {
                self.host.run().unwrap();
            }
            Step::Hold => {
                self.held.push(Held { view: self.host.engine.view(), models: self.models.clone() });
            }
            Step::Reopen => self.reopen(),
        }
    }

    fn compact(&mut self, group: u8, back: u64) {
        let model = &mut self.models[usize::from(group) - 1];
        let before = model.revision.saturating_sub(back);
        if before > model.compacted {
            model.compacted = before;
            self.host.engine.compact(space(group), Revision(before));
        }
    }

    /// The group's state is replaced by itself as it would be some commands later, from elsewhere.
    fn ingest(&mut self, number: u8) {
        self.host.run_all().unwrap();
        let model = &mut self.models[usize::from(number) - 1];
        let mut source = Host::open(self.kind, &MemDisk::new(9), config()).unwrap();
        let mut later = Model::at(model.applied + 1);
        for seed in 0..9u8 {
            source.engine.write(later.write(number, &[(seed, Some(seed)), (seed / 2, None)]));
        }
        source.flush().unwrap();
        let checkpoint = source.engine.checkpoint(group(number), &[space(number)]);
        self.host.install(number, &*checkpoint).unwrap();
        // Views of before have nothing to do with it.
        self.held.clear();
        *model = later;
    }

    fn reopen(&mut self) {
        self.check();
        self.host.flush().unwrap();
        self.held.clear();
        // The old one must be gone before the new one opens its file.
        let spare = Host::open(Kind::Memory, &MemDisk::new(0), config()).unwrap();
        drop(std::mem::replace(&mut self.host, spare));
        self.host = Host::open(self.kind, &self.disk, config()).unwrap();
    }

    fn check(&self) {
        for (number, model) in (1..).zip(&self.models) {
            model.check_engine(number, &*self.host.engine);
            assert!(self.host.engine.durable(group(number)).index.0 <= model.applied);
        }
        for held in &self.held {
            for ((number, then), now) in (1..).zip(&held.models).zip(&self.models) {
                // What was compacted since, the host would not ask for.
                let mut then = then.clone();
                then.compacted = now.compacted;
                if then.revision >= then.compacted {
                    then.check(number, &*held.view, then.revision);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_engine_is_its_model(disk: bool, steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new(if disk { Kind::Disk } else { Kind::Memory });
        for (number, step) in steps.into_iter().enumerate() {
            run.step(step);
            if number % 8 == 0 {
                run.check();
            }
        }
        run.host.run_all().unwrap();
        run.check();
        run.reopen();
        run.check();
    }
}

#[test]
fn the_same_steps_leave_the_same_bytes() {
    for kind in Kind::BOTH {
        let disk = || {
            let mut run = Run::new(kind);
            for number in 0..60u8 {
                let changes = vec![(number, Some(number)), (number / 3, None)];
                run.step(Step::Write { group: 1 + number % 2, changes });
                if number % 9 == 0 {
                    run.step(Step::BeginFlush);
                    run.step(Step::Compact { group: 1, back: 2 });
                    run.step(Step::BeginUpkeep);
                }
                run.step(Step::Run);
            }
            run.host.flush().unwrap();
            run.disk.fingerprint()
        };
        assert_eq!(disk(), disk(), "{kind:?}");
    }
}

#[test]
fn a_compaction_removes_what_no_reader_sees_and_no_more() {
    for kind in Kind::BOTH {
        let mut run = Run::new(kind);
        for _ in 0..20 {
            run.step(Step::Write { group: 1, changes: vec![(0, Some(1)), (1, Some(1))] });
        }
        run.step(Step::Write { group: 1, changes: vec![(1, None)] });
        run.host.flush().unwrap();
        run.step(Step::Compact { group: 1, back: 0 });
        run.step(Step::Write { group: 2, changes: vec![(2, Some(1))] });
        run.host.flush().unwrap();
        run.host.upkeep().unwrap();
        // Of key 0 one version is left; of key 1, deleted, at most that, until it is at the bottom.
        let removed = run.host.engine.stats().removed_versions;
        assert!([19 + 21, 19 + 20].contains(&removed), "{kind:?}: {removed}");
        run.check();
    }
}

#[test]
fn a_flush_is_wanted_when_enough_has_gathered() {
    for kind in Kind::BOTH {
        let mut run = Run::new(kind);
        assert!(!run.host.engine.wants_flush());
        assert!(run.host.engine.flush().is_none());
        while !run.host.engine.wants_flush() {
            run.step(Step::Write { group: 1, changes: vec![(0, Some(7))] });
        }
        assert!(run.host.engine.unflushed_bytes() >= config().flush_bytes);
        run.step(Step::BeginFlush);
        assert!(!run.host.engine.wants_flush());
        assert!(run.host.engine.flush().is_none(), "two flushes at a time");
        run.host.run_all().unwrap();
        assert_eq!(run.host.engine.unflushed_bytes(), 0);
        let applied = run.models[0].applied;
        assert_eq!(run.host.engine.durable(group(1)), common::position(applied));
    }
}

/// An image is the whole state: writing it for little news would cost more than the news.
#[test]
fn an_image_waits_until_half_as_much_is_new() {
    let mut run = Run::new(Kind::Memory);
    let mut written = Vec::new();
    for _ in 0..40 {
        let before = run.models[0].applied;
        while !run.host.engine.wants_flush() {
            run.step(Step::Write { group: 1, changes: vec![(0, Some(7)), (1, Some(7))] });
        }
        written.push(run.models[0].applied - before);
        run.host.flush().unwrap();
    }
    assert!(written[39] > 2 * written[0], "{written:?}");
}
