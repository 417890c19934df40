//! `cairn bench`: what a cluster does for its clients, and what the disk below it could do.
//!
//! A throughput says little by itself. So one run measures the store, the disk's own `fdatasync`, the
//! servers' processor time and their journal syncs, and prints the ratios: those hold on other
//! machines too, more or less.
//!
//! ```text
//!   args ──► Plan ──► target (connections) ──► load ──► Ledger ──► report
//!                     operation (one request,   │  pacer: an open loop's schedule
//!                     by our protocol or etcd's)│
//!                     watchers (fan-out)        └─ meter: /proc, /metrics at the window's two ends
//!   disk: append and fdatasync, before any load
//! ```
//!
//! # What is counted
//!
//! * An operation belongs to the window in which it *starts*, however long it takes: a slow answer
//!   is never cut off by the end of the run.
//! * In an open loop it starts when the schedule says so, not when a client is free. A server that
//!   stalls for a second shows a second, many times over, and not one slow answer.
//! * A latency is that of the client's call: retries are in it.

mod args;
mod chance;
mod disk;
mod etcd;
mod fault;
mod ledger;
mod load;
mod meter;
mod operation;
mod pacer;
mod processes;
mod report;
mod scrape;
mod target;
mod watchers;

use std::sync::Arc;

use self::args::Plan;
use self::disk::DiskFigures;
use self::target::Target;
use crate::cli::{Door, Ended, Output, print, say};

pub(crate) use self::args::BenchArgs;

/// Carries out `cairn bench`.
pub(crate) async fn bench(door: Door, endpoints: &[String], args: BenchArgs) -> Result<(), Ended> {
    let plan = Arc::new(args.plan()?);
    let disk = measure_disk(&plan)?;
    let target = Target::find(&door, endpoints, plan.api).await?;
    let mut filled = None;
    if let Some(order) = plan.fill {
        say(&format!("writing {} keys first", plan.keys.count));
        filled = Some(target.fill(&plan, order).await?);
    }
    let mut runs = Vec::new();
    for &clients in &plan.clients {
        let run = load::run(&target, &plan, clients).await?;
        if door.output == Output::Text {
            say(&report::progress(&run));
        }
        runs.push(run);
    }
    match door.output {
        Output::Text => print(&report::text(&runs, filled, disk.as_ref())),
        Output::Json => print(&report::json(&plan, &runs, filled, disk.as_ref()).to_string()),
    }
}

/// The disk's figures, if they are asked for or belong to the workload. Nothing else runs meanwhile.
fn measure_disk(plan: &Plan) -> Result<Option<DiskFigures>, Ended> {
    let Some(dir) = &plan.disk_dir else { return Ok(None) };
    say(&format!("measuring the disk below {}", dir.display()));
    let figures = disk::measure(dir, plan.value_bytes);
    let failed = |error| crate::cli::Failure::file(dir, "measure the disk below", &error);
    Ok(Some(figures.map_err(failed)?))
}
