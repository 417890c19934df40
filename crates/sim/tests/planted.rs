//! The simulation can fail: each mistake that can be planted is found, in so many seeds.
//!
//! `cargo test --release -p sim --features planted --test planted`
#![cfg(feature = "planted")]

use sim::{Options, Planted, run};

/// How many seeds it takes at most, with the faults that bring it out.
fn found_within(name: &str, seeds: u64, faults: Option<&[&str]>) {
    let planted = Some(Planted::named(name).expect("a known mistake"));
    let faults = faults.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let found = (1..=seeds).find(|&seed| {
        let options =
            Options { seed, planted, faults: faults.clone(), ..Options::default() };
        !run(&options).violations.is_empty()
    });
    assert!(found.is_some(), "{name} was not found in {seeds} seeds");
}
