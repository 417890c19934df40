//! Each fault that can be drawn is drawn, alone and with each other one; and each really does harm.

use std::collections::BTreeSet;

use sim::{Options, fault, faults_of, run};

/// Faults that strike through the disk, which counts its strikes in one number.
const ON_DISKS: [&str; 9] = [
    "crash-in-write",
    "full-disk",
    "full-at-job",
    "few-handles",
    "failing-sync",
    "lying-sync",
    "corrupt-read",
    "lost-engine-write",
    "astray-engine-write",
];

/// Runs that a fault may take to strike once.
const RUNS: u64 = 40;

fn strikes(name: &str) -> bool {
    let counted = if ON_DISKS.contains(&name) { "on disks" } else { name };
    (1..=RUNS).any(|seed| {
        // Where one node is all there is, nothing of it may be damaged.
        let (faults, nodes) = (Some(vec![name.to_owned()]), Some(3));
        let report = run(&Options { seed, faults, nodes, ..Options::default() });
        assert!(
            report.violations.is_empty(),
            "{}",
            report.text(&format!("cargo xtask sim --nodes 3 --faults {name} --seed {seed}"))
        );
        report.struck.get(counted).is_some_and(|strikes| *strikes > 0)
    })
}

#[test]
fn every_fault_strikes() {
    let idle: Vec<&&str> = fault::NAMES.iter().filter(|name| !strikes(name)).collect();
    assert!(idle.is_empty(), "these never strike: {idle:?}");
}

#[test]
fn no_fault_strikes_where_there_is_none() {
    let report = run(&Options { seed: 1, faults: Some(Vec::new()), ..Options::default() });
    let struck: Vec<_> = report.struck.iter().filter(|(_, strikes)| **strikes > 0).collect();
    assert!(struck.is_empty(), "{struck:?}");
}

#[test]
fn every_fault_is_drawn_alone_and_every_pair_together() {
    const SEEDS: u64 = 100_000;
    let mut missing = BTreeSet::new();
    for (at, one) in fault::NAMES.iter().enumerate() {
        missing.insert(vec![*one]);
        missing.extend(fault::NAMES[at + 1..].iter().map(|other| vec![*one, *other]));
    }
    missing.insert(Vec::new());
    for seed in 1..=SEEDS {
        missing.remove(&faults_of(&Options { seed, ..Options::default() }));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never drawn in {SEEDS} seeds: {missing:?}");
}
