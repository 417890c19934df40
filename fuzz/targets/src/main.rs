//! The fuzzer: libFuzzer around one target of `fuzz/harness`, which `CAIRN_FUZZ_TARGET` names.
//!
//! One program for all targets, so that they are built and linked once. `ci/fuzz/run` builds it with
//! the coverage that libFuzzer needs, and knows its flags.
//!
//! Each input gets a limit on memory: an allocation beyond what the target allows for an input of that
//! length ends the run where it is made. libFuzzer's own memory is not counted.

#![no_main]

use std::alloc::System;
use std::sync::LazyLock;

use cap::Cap;
use fuzz_harness::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("CAIRN_FUZZ_TARGET").unwrap_or_default();
    let target = Target::find(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        panic!("CAIRN_FUZZ_TARGET is {name:?}; there are {}", names.join(", "));
    });
    // libFuzzer's hook ends the process; words before that are allowed.
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        limit(usize::MAX);
        end(panic);
    }));
    // What is made once, and kept, is not the first input's.
    if let Some(seed) = (target.seeds)().first() {
        (target.run)(seed);
    }
    target
});

fuzz_target!(|data: &[u8]| {
    let target = *TARGET;
    limit(MEMORY.allocated() + target.memory_bytes(data.len()));
    (target.run)(data);
    limit(usize::MAX);
});

fn limit(bytes: usize) {
    assert!(MEMORY.set_limit(bytes).is_ok(), "more is allocated than the limit allows");
}
