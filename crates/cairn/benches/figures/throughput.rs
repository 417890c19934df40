//! How fast puts and gets are.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::figure::{Figure, Goal};
use crate::options::Options;
use crate::shell::{bench, number};

/// One client's median put, against the median sync of as many logs as there are nodes.
pub(crate) fn one(options: &Options, figure: &mut Figure) {
    let cluster = Cluster::start(options, &[]);
    let (duration, pids) = (options.duration_text(), cluster.processes());
    let disk = cluster.dir().display();
    let words =
        format!("put --clients 1 --duration {duration} --disk-dir {disk} --server-pids {pids}");
    let answer = bench(&cluster, figure, &words);
    let p50 = number(&answer, "/runs/0/results/put/latency_ms/p50");
    figure.value("put p50", p50, "ms");
    figure.value("put p99", number(&answer, "/runs/0/results/put/latency_ms/p99"), "ms");
    figure.value("fdatasync p50, one log", number(&answer, "/disk/one_log/p50_ms"), "ms");
    figure.value("fdatasync p50, three logs", number(&answer, "/disk/several_logs/p50_ms"), "ms");
    let ratio = number(&answer, "/runs/0/write_p50_per_fdatasync_p50/several_logs");
    figure.goal("put / fdatasync with three logs", ratio, "", Goal::AtMost(2.0));
}

/// Group commit at work: more clients, no less throughput, and a p99 that grows no faster than they.
pub(crate) fn many(options: &Options, figure: &mut Figure) {
    const CLIENTS: [u32; 3] = [64, 256, 1000];
    let cluster = Cluster::start(options, &[]);
    let (duration, pids) = (options.duration_text(), cluster.processes());
    let words =
        format!("put --clients 64,256,1000 --duration {duration} --no-disk --server-pids {pids}");
    let answer = bench(&cluster, figure, &words);
    let of = |run: usize, what: &str| number(&answer, &format!("/runs/{run}/{what}"));
    let (rate, p99) = (of(0, "per_s"), of(0, "results/put/latency_ms/p99"));
    for (run, clients) in CLIENTS.into_iter().enumerate() {
        let name = |what: &str| format!("{clients} clients: {what}");
        let here = of(run, "results/put/latency_ms/p99");
        let each = of(run, "writes_per_leader_sync");
        if run == 0 {
            figure.value(name("puts"), of(run, "per_s"), "/s");
            figure.goal(name("puts per fdatasync"), each, "", Goal::AtLeast(10.0));
            figure.value(name("p99"), here, "ms");
        } else {
            figure.goal(name("puts"), of(run, "per_s"), "/s", Goal::AtLeast(rate));
            figure.value(name("puts per fdatasync"), each, "");
            let queue = f64::from(clients) / f64::from(CLIENTS[0]);
            figure.goal(name("p99"), here, "ms", Goal::AtMost(p99 * queue));
        }
        figure.value(name("processor time, all nodes"), of(run, "server_cpu_us_each"), "µs");
    }
}

/// Gets against puts.
pub(crate) fn reads(options: &Options, figure: &mut Figure) {
    let cluster = Cluster::start(options, &[]);
    let (duration, pids) = (options.duration_text(), cluster.processes());
    let rest = format!("--clients 64 --duration {duration} --no-disk --server-pids {pids}");
    let rate = |answer: &Value| number(answer, "/runs/0/per_s");
    let puts = rate(&bench(&cluster, figure, &format!("put {rest}")));
    let linearizable = rate(&bench(&cluster, figure, &format!("get {rest}")));
    let eventual = rate(&bench(&cluster, figure, &format!("get --consistency eventual {rest}")));
    figure.value("puts", puts, "/s");
    figure.goal("linearizable gets", linearizable, "/s", Goal::AtLeast(5.0 * puts));
    figure.goal("eventual gets", eventual, "/s", Goal::AtLeast(linearizable));
}
