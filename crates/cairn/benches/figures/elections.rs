//! A cluster under full load, with its default timeouts, has no reason to elect anybody.

use crate::cluster::{Cluster, NODES};
use crate::figure::{Figure, Goal};
use crate::options::Options;
use crate::shell::{bench, number};

/// Counts elections while as many clients write as can.
pub(crate) fn measure(options: &Options, figure: &mut Figure) {
    let cluster = Cluster::start(options, &[]);
    let leader = cluster.leader();
    let count = |name: &str| (1..=NODES).map(|node| cluster.metric(node, name)).sum::<f64>();
    let (won, changed) = ("cairn_node_elections_won_total", "cairn_node_role_changes_total");
    let (won_before, changed_before) = (count(won), count(changed));
    let pids = cluster.processes();
    let minutes = options.minutes;
    let words = format!(
        "put --clients 256 --duration {minutes}m --no-disk --keys 1000000 --server-pids {pids}"
    );
    let answer = bench(&cluster, figure, &words);
    figure.value("full load", crate::proc::to_float(minutes), "min");
    figure.value("puts", number(&answer, "/runs/0/per_s"), "/s");
    figure.value("put p99.9", number(&answer, "/runs/0/results/put/latency_ms/p99_9"), "ms");
    figure.value("longest put", number(&answer, "/runs/0/results/put/latency_ms/max"), "ms");
    figure.goal("elections won", count(won) - won_before, "", Goal::AtMost(0.0));
    figure.goal("changes of role", count(changed) - changed_before, "", Goal::AtMost(0.0));
    if cluster.leader() != leader {
        figure.note("another node leads than before");
    }
}
