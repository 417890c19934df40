//! How long nobody can write after the leader was killed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::figure::{Figure, Goal};
use crate::options::Options;
use crate::prober::Prober;

/// Calm before each trial.
const CALM: Duration = Duration::from_secs(1);

/// Beyond this a trial has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills the leader again and again. A trial counts from the signal to the answer of the first write
/// that began after it, whichever node that client had asked.
pub(crate) fn measure(options: &Options, figure: &mut Figure) {
    let mut cluster = Cluster::start(options, &[]);
    let prober = Prober::start(&cluster);
    figure.command("kill -9 $LEADER, while six clients put without a pause".to_owned());
    let mut times = Vec::new();
    for _ in 0..options.trials {
        sleep(CALM);
        let leader = cluster.leader();
        let killed = Instant::now();
        cluster.kill(leader);
        let answered = loop {
            if let Some(answered) = prober.first_after(killed) {
                break answered;
            }
            assert!(killed.elapsed() < PATIENCE, "no write after the leader's death");
            sleep(Duration::from_millis(5));
        };
        times.push(answered.duration_since(killed).as_secs_f64() * 1e3);
        let commit = cluster.status(cluster.leader())["commit_index"].as_u64().unwrap_or(0);
        cluster.launch(leader);
        cluster.wait_until_caught_up(leader, commit);
    }
    drop(prober);
    times.sort_by(f64::total_cmp);
    figure.value("trials", f64::from(options.trials), "");
    figure.value("shortest", times[0], "ms");
    figure.goal("median", median(&times), "ms", Goal::AtMost(400.0));
    figure.value("longest", times[times.len() - 1], "ms");
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}
