//! A store of many keys: how much memory, how soon ready, how many bytes on the disk.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NODES};
use crate::figure::{Figure, Goal};
use crate::options::Options;
use crate::proc::{bytes_on_disk, memory_mib, to_float};
use crate::shell::{bench, number};

/// Length of a key and of a value.
const KEY_BYTES: u64 = 23;
const VALUE_BYTES: u64 = 256;

/// The disk has settled when it takes the same space for so long, and it is not waited for longer.
const QUIET: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(3);

/// Loads the keys in random order, lets the nodes settle, and kills and starts each.
pub(crate) fn measure(options: &Options, figure: &mut Figure) {
    let mut cluster = Cluster::start(options, &[]);
    let keys = options.keys;
    let words = format!(
        "put --keys {keys} --fill --order random --clients 64 --duration 5s --no-disk \
         --key-size {KEY_BYTES} --value-size {VALUE_BYTES}"
    );
    let answer = bench(&cluster, figure, &words);
    figure.value("keys", to_float(keys), "");
    figure.value("time to load", number(&answer, "/filled/seconds"), "s");
    figure.value("loaded keys", number(&answer, "/filled/per_s"), "/s");
    figure.value("puts of 64 clients then", number(&answer, "/runs/0/per_s"), "/s");
    figure.value("their p99", number(&answer, "/runs/0/results/put/latency_ms/p99"), "ms");
    let settled = settle(&cluster);
    figure.value("time to settle", settled.as_secs_f64(), "s");
    let memory = |what: fn((f64, f64)) -> f64| {
        let all = (1..=NODES).map(|node| what(memory_mib(cluster.process(node))));
        all.fold(0.0, f64::max)
    };
    figure.value("resident, largest node, settled", memory(|(now, _)| now), "MiB");
    figure.goal(
        "resident, largest node, ever",
        memory(|(_, ever)| ever),
        "MiB",
        Goal::AtMost(300.0),
    );
    let data = to_float(keys * (KEY_BYTES + VALUE_BYTES));
    let ratio = |part: &str| {
        let all = (1..=NODES).map(|node| bytes_on_disk(&cluster.data(node).join(part)) / data);
        all.fold(0.0, f64::max)
    };
    figure.value("data", data / 1e6, "MB");
    figure.value("engine on disk / data", ratio("engine"), "");
    figure.value("journal on disk / data", ratio("journal"), "");
    figure.goal("all on disk / data, largest node", ratio(""), "", Goal::AtMost(1.6));
    let mut slowest = 0.0_f64;
    for node in 1..=NODES {
        let commit = cluster.status(cluster.leader())["commit_index"].as_u64().unwrap_or(0);
        cluster.kill(node);
        // Long enough that another one leads, if this one did.
        sleep(Duration::from_secs(2));
        let started = Instant::now();
        cluster.launch(node);
        cluster.wait_until_caught_up(node, commit);
        slowest = slowest.max(started.elapsed().as_secs_f64());
    }
    figure.command(
        "kill -9 each node in turn; start it; wait for \"ready\" in /v1/status".to_owned(),
    );
    figure.goal("restart to ready, slowest node", slowest, "s", Goal::AtMost(3.0));
}

/// How long until the nodes' directories keep their sizes.
pub(crate) fn settle(cluster: &Cluster) -> Duration {
    let begun = Instant::now();
    let size = || (1..=NODES).map(|node| bytes_on_disk(&cluster.data(node))).sum::<f64>();
    let (mut last, mut since) = (size(), begun);
    while since.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(500));
        let now = size();
        if (now - last).abs() > f64::EPSILON {
            (last, since) = (now, Instant::now());
        }
    }
    since - begun
}
