//! The slow ones among the puts, while the store does something else, too.
//!
//! All loads are open loops of one rate, far below what the cluster can do: so what is measured is how
//! long others make a put wait, and not how long puts wait for one another.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::Instant;

use serde_json::Value;

use crate::cluster::{Cluster, NODES};
use crate::figure::{Figure, Goal};
use crate::large;
use crate::options::Options;
use crate::shell::{Load, cairn, number};

/// Puts a second, from so many clients.
const LOAD: &str = "put --rate 1000 --clients 64 --keys 200000 --no-disk";

/// Keys of the store at most, and how often each is overwritten on average before old versions go.
const MOST_KEYS: u64 = 200_000;
const VERSIONS: u64 = 3;

/// Unflushed bytes a little before the 8 MiB that make a flush, and bursts of writes to get there.
const ALMOST_FLUSHED: std::ops::Range<f64> = 5.5e6..7.5e6;
const BURSTS: u32 = 30;

/// The p99 of the same load with nothing else going on, and with each of three things.
pub(crate) fn measure(options: &Options, figure: &mut Figure) {
    // Old versions stay until they are told to go.
    let mut cluster = Cluster::start(options, &["--retain-revisions", "100000000"]);
    fill(options, &cluster, figure);
    large::settle(&cluster);
    let (idle, ()) = during(options, &cluster, figure, |_| ());
    let p99 = p99_of(&idle);
    figure.value("idle p99", p99, "ms");
    figure.value("idle p50", number(&idle, "/runs/0/results/put/latency_ms/p50"), "ms");
    let goal = Goal::AtMost(2.0 * p99);

    // Files are removed in the end: it is the saving that is measured.
    let file = |number: u32| cluster.dir().join(format!("saved-{number}.cairn"));
    figure.command("cairn snapshot save FILE, again and again".to_owned());
    let (saving, times) = during(options, &cluster, figure, |over| {
        repeat(over, |number| {
            cairn(&cluster, &["snapshot", "save", &file(number).to_string_lossy()]);
        })
    });
    (0..times).for_each(|number| fs::remove_file(file(number)).unwrap());
    figure.value("snapshots saved meanwhile", f64::from(times), "");
    figure.goal("p99 while a snapshot is saved", p99_of(&saving), "ms", goal);

    approach_flush(&cluster, figure);
    let newest = cluster.status(cluster.leader())["revision"].as_u64().unwrap_or(0);
    figure.command(format!("cairn compact {newest}"));
    cairn(&cluster, &["compact", &newest.to_string()]);
    let versions = "cairn_node_compacted_versions_total";
    let before = cluster.metric(cluster.leader(), versions);
    let (compacting, ()) = during(options, &cluster, figure, |_| ());
    let removed = cluster.metric(cluster.leader(), versions) - before;
    figure.value("versions removed meanwhile", removed, "");
    figure.goal("p99 while old versions are compacted", p99_of(&compacting), "ms", goal);
    large::settle(&cluster);

    figure.command(
        "stop a follower, move its engine directory away, start it; again and again".to_owned(),
    );
    let leader = cluster.leader();
    let chunks = "cairn_node_snapshot_chunks_sent_total";
    let sent =
        |cluster: &Cluster| (1..=NODES).map(|node| cluster.metric(node, chunks)).sum::<f64>();
    let before = sent(&cluster);
    let load = Load::start(&cluster, figure, &load_words(options));
    let mut fed = 0_u32;
    let begun = Instant::now();
    while begun.elapsed() < options.duration {
        feed(&mut cluster, fed);
        fed += 1;
    }
    let feeding = load.finish(figure);
    figure.value("snapshots fed meanwhile", f64::from(fed), "");
    figure.value("chunks sent", sent(&cluster) - before, "");
    figure.goal("p99 while a follower is fed a snapshot", p99_of(&feeding), "ms", goal);
    if cluster.leader() != leader {
        figure.note("another node leads than before");
    }
}

/// Keys, each with several versions.
fn fill(options: &Options, cluster: &Cluster, figure: &mut Figure) {
    let keys = options.keys.min(MOST_KEYS);
    let words =
        format!("put --keys {keys} --fill --order random --clients 64 --duration 1s --no-disk");
    for _ in 0..VERSIONS {
        Load::start(cluster, figure, &words).finish(figure);
    }
}

/// Versions go when the command to compact them is flushed: so that this comes soon after the load
/// began, and not before, most of what makes a flush is written now.
fn approach_flush(cluster: &Cluster, figure: &mut Figure) {
    let words =
        format!("put --rate 4000 --clients 64 --keys {MOST_KEYS} --no-disk --duration 500ms");
    let unflushed = |node| cluster.metric(node, "cairn_node_unflushed_bytes");
    for _ in 0..BURSTS {
        if ALMOST_FLUSHED.contains(&unflushed(cluster.leader())) {
            return;
        }
        Load::start(cluster, figure, &words).finish(figure);
    }
    figure.note("the flush that compacts may have come too early or too late");
}

fn load_words(options: &Options) -> String {
    format!("{LOAD} --duration {}", options.duration_text())
}

/// The load, while `work` is done on the side; it is told when the load is over.
fn during<T: Send>(
    options: &Options,
    cluster: &Cluster,
    figure: &mut Figure,
    work: impl FnOnce(&AtomicBool) -> T + Send,
) -> (Value, T) {
    let load = Load::start(cluster, figure, &load_words(options));
    let over = AtomicBool::new(false);
    scope(|scope| {
        let side = scope.spawn(|| work(&over));
        let answer = load.finish(figure);
        over.store(true, Ordering::Release);
        (answer, side.join().expect("its own panic was printed"))
    })
}

fn repeat(over: &AtomicBool, mut work: impl FnMut(u32)) -> u32 {
    let mut times = 0;
    while !over.load(Ordering::Acquire) {
        work(times);
        times += 1;
    }
    times
}

/// A follower loses its state and gets it back from another node. What it had is not removed, only
/// moved away: to free a whole state at once would hold up the disk by itself.
fn feed(cluster: &mut Cluster, number: u32) {
    let follower = cluster.follower();
    let commit = cluster.status(cluster.leader())["commit_index"].as_u64().unwrap_or(0);
    cluster.end(follower);
    let lost = cluster.dir().join(format!("lost-{number}"));
    fs::rename(cluster.data(follower).join("engine"), lost).unwrap();
    cluster.launch(follower);
    cluster.wait_until_caught_up(follower, commit);
}

fn p99_of(answer: &Value) -> f64 {
    number(answer, "/runs/0/results/put/latency_ms/p99")
}
