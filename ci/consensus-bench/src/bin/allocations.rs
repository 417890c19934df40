//! What each contender allocates for an entry: a line of JSON for each, in the order of the loads.

#![expect(clippy::print_stdout, reason = "its reader is the benchmark, by a pipe")]

use std::alloc::System;

use clap::Parser;
use consensus_bench::contenders::{self, Allocated};
use consensus_bench::work::{Loads, verify};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Count what consensus cores allocate for an entry
#[derive(Parser)]
#[command(after_help = "Example:\n  allocations --batches 64 --only raft")]
struct Options {
    #[command(flatten)]
    loads: Loads,
}

/// Stretches after which nothing grows any more, and those that are counted.
const STRETCHES: (usize, usize) = (4, 8);

fn main() {
    let Options { loads } = Options::parse();
    for load in loads.each() {
        let (stretch, (warm_up, counted)) = (load.stretch(), STRETCHES);
        for contender in contenders::chosen(&loads.only) {
            let mut cluster = (contender.start)(load);
            (0..warm_up).for_each(|_| cluster.run(stretch));
            let region = Region::new(ALLOCATOR);
            (0..counted).for_each(|_| cluster.run(stretch));
            let change = region.change();
            verify(&*cluster, (warm_up + counted) * stretch);
            let entries = counted * stretch;
            let allocated = Allocated {
                bytes: ratio(change.bytes_allocated, entries),
                calls: ratio(change.allocations + change.reallocations, entries),
            };
            println!("{}", serde_json::to_string(&allocated).expect("plain numbers"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn ratio(count: usize, entries: usize) -> f64 {
    count as f64 / entries as f64
}
