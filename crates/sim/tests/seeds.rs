//! A few dozen seeds of the simulation: enough to see at once that something broke. The many are
//! `cargo xtask sim`.

use sim::{Options, run};

fn holds(options: &Options) {
    let report = run(options);
    let replay = format!("cargo xtask sim --seed {}", options.seed);
    assert!(report.violations.is_empty(), "{}", report.text(&replay));
    assert!(report.counts.done > 0, "seed {} did nothing", options.seed);
}

#[test]
fn calm_clusters_keep_their_promises() {
    for seed in 1..=6 {
        holds(&Options { seed, faults: Some(Vec::new()), ..Options::default() });
    }
}

#[test]
fn clusters_under_any_faults_keep_their_promises() {
    for seed in 1..=24 {
        holds(&Options { seed, ..Options::default() });
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_byte() {
    for seed in [3, 7, 11] {
        let options = Options { seed, trace: true, ..Options::default() };
        let (one, two) = (run(&options), run(&options));
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_eq!(one.hash, two.hash, "seed {seed}");
    }
}

#[test]
fn keeping_the_trace_changes_nothing() {
    let quiet = Options { seed: 5, ..Options::default() };
    let loud = Options { trace: true, ..quiet.clone() };
    let (quiet, loud) = (run(&quiet), run(&loud));
    assert!(quiet.trace.is_empty() && !loud.trace.is_empty());
    assert_eq!(quiet.hash, loud.hash);
}
