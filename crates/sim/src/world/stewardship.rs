//! A leader whose disk or processor becomes slow is followed by another one within seconds, and clients notice
//! it no more; where all is well nothing moves.

use std::time::Duration;

use consensus::{Protocol, Time};
use node::Pace;
use wire::Consistency;

use super::World;
use crate::fault::leader;
use crate::history::Action;
use crate::plan::{Options, Plan};
use crate::rng::Rng;

/// Longer than the cool-down with which every leader begins.
const SETTLED: Duration = Duration::from_secs(8);

/// As in production, but for the cool-down: simulated time costs real time.
const PACE: Pace = Pace { window: Duration::from_secs(1), cool_down: Duration::from_secs(5) };

/// How long a leader is slow.
const SLOW: Duration = Duration::from_secs(16);

/// How soon another one must lead by then.
const MOVED: Duration = Duration::from_secs(6);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three nodes of one site, as in production, and some clients.
fn world(protocol: Protocol, seed: u64, steward: Option<Pace>) -> World {
    let options = Options {
        seed,
        faults: Some(Vec::new()),
        nodes: Some(3),
        protocol: Some(protocol),
        workloads: vec!["registers".to_owned()],
        ..Options::default()
    };
    let seed = Rng::new(seed);
    let mut plan = Plan::draw(&options, &seed);
    let us = Duration::from_micros;
    plan.clients = 4;
    plan.tuning = node::Tuning {
        heartbeat: ms(100),
        election_timeout: ms(600),
        // So that a storage worker that can't keep up is felt within seconds.
        unflushed_limit_bytes: 16 << 10,
        flush_log_bytes: 2 << 10,
        steward,
        ..plan.tuning
    };
    plan.in_memory = false;
    plan.longest_value = 4_000;
    (plan.segment_bytes, plan.record_limit_bytes) = (256 << 10, 80 << 10);
    plan.latency = (us(50), us(300));
    plan.sync = (us(500), ms(4));
    plan.turn = (us(5), us(200));
    plan.work = (us(100), ms(5));
    plan.think = (ms(2), ms(20));
    plan.patience = ms(2_000);
    plan.storm = Duration::from_hours(1);
    World::new(plan, &seed, false)
}

fn runs(world: &mut World, time: Duration) {
    let until = world.now + time;
    world.run(until, |_| false);
    let broken: Vec<_> = world.violations.iter().map(|violation| &violation.what).collect();
    assert!(broken.is_empty(), "{broken:?}");
}

fn leads(world: &World) -> usize {
    leader(world).expect("one leads")
}

/// How often a leader has handed over by itself.
fn hand_overs(world: &World) -> u64 {
    let nodes = world.machines.iter().filter_map(|machine| machine.process.as_ref());
    let metrics = nodes.map(|process| process.node.metrics());
    metrics.map(|m| m.slow_hand_overs.get() + m.priority_hand_overs.get()).sum()
}

/// How long a write took that was begun in the time before now, by the mean, in milliseconds. What has no
/// answer yet counts as if it came now.
fn latency(world: &World, time: Duration) -> u64 {
    let since = Time::default() + world.now.since(Time::default()).saturating_sub(time);
    let asked = world.history.operations.iter().filter(|operation| {
        let is_the_leaders = match &operation.action {
            Action::Write(_) => true,
            Action::Read { level, .. } => *level == Consistency::Linearizable,
            _ => false,
        };
        is_the_leaders && operation.began >= since
    });
    let took = asked.map(|asked| asked.ended.unwrap_or(world.now).since(asked.began));
    let took: Vec<Duration> = took.collect();
    let count = u32::try_from(took.len()).expect("few").max(1);
    u64::try_from((took.iter().sum::<Duration>() / count).as_millis()).expect("short")
}

/// What a leader's slowness comes to: how long a write takes before it, in its first seconds, and in its last.
struct Course {
    before: u64,
    first: u64,
    last: u64,
    moved: bool,
    hand_overs: u64,
}

fn course(mut world: World, spoil: fn(&mut World, usize)) -> Course {
    runs(&mut world, SETTLED);
    let (slow, before) = (leads(&world), latency(&world, ms(5_000)));
    assert_eq!(hand_overs(&world), 0, "all was well");
    spoil(&mut world, slow);
    runs(&mut world, ms(3_000));
    let first = latency(&world, ms(2_000));
    runs(&mut world, MOVED.saturating_sub(ms(3_000)));
    let moved = leads(&world) != slow;
    runs(&mut world, SLOW.saturating_sub(MOVED));
    let last = latency(&world, ms(5_000));
    Course { before, first, last, moved, hand_overs: hand_overs(&world) }
}

fn witness(spoil: fn(&mut World, usize)) {
    for protocol in Protocol::ALL {
        let with = course(world(protocol, 7, Some(PACE)), spoil);
        let without = course(world(protocol, 7, None), spoil);
        let told = |c: &Course| {
            format!(
                "{protocol}: a write takes {} ms, then {}, in the end {}; moved: {}, by itself: {}",
                c.before, c.first, c.last, c.moved, c.hand_overs
            )
        };
        assert!(with.moved && with.hand_overs == 1, "{}", told(&with));
        assert!(with.last <= with.before * 2 + 5, "{}", told(&with));
        assert!(!without.moved && without.hand_overs == 0, "{}", told(&without));
        assert!(without.last >= without.before * 5, "{}", told(&without));
    }
}

#[test]
fn a_slow_disk_is_left_within_seconds() {
    witness(|world, machine| world.machines[machine].slowness = 50);
}

#[test]
fn a_slow_processor_is_left_within_seconds() {
    witness(|world, machine| {
        let machine = &mut world.machines[machine];
        (machine.sloth, machine.event_cost) = (500, Duration::from_micros(20));
    });
}

#[test]
fn where_all_is_well_leadership_stays_where_it_is() {
    for protocol in Protocol::ALL {
        let mut world = world(protocol, 3, Some(PACE));
        runs(&mut world, ms(2_000));
        let first = leads(&world);
        runs(&mut world, Duration::from_secs(20));
        assert_eq!((leads(&world), hand_overs(&world)), (first, 0), "{protocol}");
    }
}

/// Seeds as they are drawn, with disks and networks of all kinds, and a pace that is ten times as fast.
#[test]
fn in_calm_runs_no_leader_hands_over() {
    for seed in 1..=60 {
        let options = Options { seed, faults: Some(Vec::new()), ..Options::default() };
        let seed = Rng::new(seed);
        let mut plan = Plan::draw(&options, &seed);
        plan.tuning.steward = Some(Pace { window: ms(100), cool_down: ms(500) });
        let storm = plan.storm;
        let mut world = World::new(plan, &seed, false);
        runs(&mut world, storm);
        assert_eq!(hand_overs(&world), 0, "seed {}", options.seed);
    }
}
