//! What was measured, as a table and as JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::Plan;
use super::disk::{DiskFigure, DiskFigures};
use super::ledger::{Kind, Series, Tally, Window};
use super::meter::Reading;
use super::target::Filled;
use crate::cli::table;
use crate::drivers::stages::NAMES;

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

const HEADER: [&str; 13] = [
    "CLIENTS",
    "WHAT",
    "PER SECOND",
    "P50 MS",
    "P90",
    "P99",
    "P99.9",
    "MAX",
    "ERRORS",
    "SERVER CPU US",
    "CLIENT CPU US",
    "FOREIGN",
    "WRITES/SYNC",
];

/// Places of numbers in [`HEADER`].
const NUMBERS: [usize; 12] = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// One measurement.
#[derive(Debug)]
pub(super) struct Run {
    /// Clients at work at once.
    pub(super) clients: u32,
    /// Connections that they shared.
    pub(super) connections: u32,
    /// When.
    pub(super) window: Window,
    /// What came of it.
    pub(super) tally: Tally,
    /// What it cost.
    pub(super) reading: Reading,
}

impl Run {
    fn length(&self) -> Duration {
        self.window.length()
    }

    /// Seconds, as microseconds for each operation.
    fn us_each(&self, seconds: f64) -> f64 {
        seconds * 1e6 / float(self.tally.operations()).max(1.0)
    }

    /// How many writes one journal sync of the leader carried.
    fn writes_per_sync(&self) -> Option<f64> {
        let syncs = self.reading.leader_syncs.filter(|_| self.tally.writes() > 0)?;
        Some(float(self.tally.writes()) / float(syncs).max(1.0))
    }

    /// Cores that neither the nodes nor this process used.
    fn foreign_cores(&self) -> Option<f64> {
        self.reading.foreign_s.map(|seconds| seconds / self.length().as_secs_f64())
    }
}

/// One line, said as soon as a run is over.
pub(super) fn progress(run: &Run) -> String {
    let rate = per_second(run.tally.operations(), run.length());
    format!("{} clients: {rate:.0} operations a second", run.clients)
}

/// For people.
pub(super) fn text(runs: &[Run], filled: Option<Filled>, disk: Option<&DiskFigures>) -> String {
    let mut text = table(&HEADER, &NUMBERS, runs.iter().flat_map(rows));
    text.extend(runs.iter().flat_map(errors));
    text.extend(runs.iter().filter_map(stages_text));
    if let Some(Filled { keys, order, time }) = filled {
        let (order, rate) = (order.name(), per_second(keys, time));
        let seconds = time.as_secs_f64();
        text.extend([format!(
            "\n\n{keys} keys written before, {order}, in {seconds:.1} s: {rate:.0} a second"
        )]);
    }
    if let Some(disk) = disk {
        text.extend(["\n\n", &disk_text(disk)]);
        text.extend(runs.iter().map(|run| ratio_text(run, disk)));
    }
    text
}

/// A row for each kind of operation; what a run cost as a whole stands in its first.
fn rows(run: &Run) -> Vec<Vec<String>> {
    let dash = || "-".to_owned();
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or_else(dash, |value| format!("{value:.digits$}"))
    };
    let mut costs = vec![
        run.tally.error_count().to_string(),
        optional(run.reading.servers_s.map(|seconds| run.us_each(seconds)), 1),
        format!("{:.1}", run.us_each(run.reading.own_s)),
        optional(run.foreign_cores(), 2),
        optional(run.writes_per_sync(), 1),
    ];
    let mut rows = Vec::new();
    for (kind, series) in &run.tally.series {
        let mut row = vec![
            run.clients.to_string(),
            kind.name().to_owned(),
            format!("{:.0}", per_second(series.count(), run.length())),
        ];
        let quantiles = QUANTILES.iter().map(|(_, quantile)| series.quantile_ms(*quantile));
        row.extend(quantiles.chain([series.max_ms()]).map(|ms| format!("{ms:.2}")));
        row.append(&mut costs);
        row.resize_with(HEADER.len(), String::new);
        rows.push(row);
    }
    if rows.is_empty() {
        let mut row = vec![run.clients.to_string(), "nothing".to_owned(), "0".to_owned()];
        row.resize_with(HEADER.len() - costs.len(), dash);
        row.append(&mut costs);
        rows.push(row);
    }
    rows
}

fn errors(run: &Run) -> impl Iterator<Item = String> {
    run.tally.errors.iter().map(|(code, trouble)| {
        let (clients, count, example) = (run.clients, trouble.count, &trouble.example);
        format!("\n{clients} clients, {count} x {code}, for example: {example}")
    })
}

/// Where the time went on the nodes, if they tell.
fn stages_text(run: &Run) -> Option<String> {
    let stages = NAMES.iter().zip(run.reading.stages);
    let micros =
        |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |s| format!("{:.0}", s * 1e6));
    let rows: Vec<Vec<String>> = stages
        .filter(|(_, times)| times.leader.is_some() || times.followers.is_some())
        .map(|((name, help), times)| {
            vec![(*name).into(), micros(times.leader), micros(times.followers), (*help).into()]
        })
        .collect();
    let header = ["STAGE", "LEADER US", "FOLLOWERS US", "MEAN"];
    let clients = run.clients;
    (!rows.is_empty()).then(|| format!("\n\n{clients} clients:\n{}", table(&header, &[1, 2], rows)))
}

fn disk_text(disk: &DiskFigures) -> String {
    let rows = [&disk.alone, &disk.shared].map(|figure| {
        vec![
            figure.logs.to_string(),
            disk.record_bytes.to_string(),
            format!("{:.0}", per_second(figure.syncs.count(), figure.length)),
            format!("{:.3}", figure.syncs.quantile_ms(0.5)),
            format!("{:.3}", figure.syncs.quantile_ms(0.99)),
        ]
    });
    table(&["LOGS", "BYTES", "FDATASYNC PER SECOND", "P50 MS", "P99 MS"], &[0, 1, 2, 3, 4], rows)
}

fn ratio_text(run: &Run, disk: &DiskFigures) -> String {
    let Some([alone, shared]) = ratios(&run.tally, disk) else { return String::new() };
    let (clients, logs) = (run.clients, disk.shared.logs);
    format!(
        "\n{clients} clients: p50 of a write is {alone:.1} times an fdatasync's with one log, \
         {shared:.1} times with {logs}"
    )
}

/// How many syncs of the disk a write takes at p50: with one log, and with several.
fn ratios(tally: &Tally, disk: &DiskFigures) -> Option<[f64; 2]> {
    let written = tally.series.iter().find(|(kind, _)| kind.is_write())?;
    let p50 = written.1.quantile_ms(0.5);
    Some([&disk.alone, &disk.shared].map(|figure| p50 / figure.syncs.quantile_ms(0.5)))
}

/// For programs.
pub(super) fn json(
    plan: &Plan,
    runs: &[Run],
    filled: Option<Filled>,
    disk: Option<&DiskFigures>,
) -> Value {
    let filled_json = filled.map(|Filled { keys, order, time }| {
        json!({
            "keys": keys,
            "order": order.name(),
            "seconds": rounded(time.as_secs_f64()),
            "per_s": rounded(per_second(keys, time)),
        })
    });
    let disk_json = disk.map(|disk| {
        json!({
            "record_bytes": disk.record_bytes,
            "one_log": figure_json(&disk.alone),
            "several_logs": figure_json(&disk.shared),
        })
    });
    json!({
        "workload": plan.workload.name(),
        "api": plan.api.name(),
        "loop": if plan.rate.is_some() { "open" } else { "closed" },
        "rate_per_s": plan.rate,
        "warmup_s": plan.warmup.as_secs_f64(),
        "duration_s": plan.duration.as_secs_f64(),
        "value_bytes": plan.value_bytes,
        "keys": plan.keys.count,
        "key_bytes": plan.keys.key(0).len(),
        "consistency": plan.level.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "filled": filled_json,
        "runs": runs.iter().map(|run| run_json(run, disk)).collect::<Vec<_>>(),
        "disk": disk_json,
    })
}

fn run_json(run: &Run, disk: Option<&DiskFigures>) -> Value {
    let series = run.tally.series.iter();
    let series: Map<String, Value> = series
        .map(|(kind, series)| (kind.name().into(), series_json(run, *kind, series)))
        .collect();
    let errors = run.tally.errors.iter();
    let errors: Map<String, Value> = errors
        .map(|(code, t)| ((*code).into(), json!({ "count": t.count, "example": t.example })))
        .collect();
    let ratios = disk.and_then(|disk| ratios(&run.tally, disk));
    json!({
        "clients": run.clients,
        "connections": run.connections,
        "operations": run.tally.operations(),
        "per_s": rounded(per_second(run.tally.operations(), run.length())),
        "results": series,
        "error_count": run.tally.error_count(),
        "errors": errors,
        "server_cpu_us_each": run.reading.servers_s.map(|s| rounded(run.us_each(s))),
        "client_cpu_us_each": rounded(run.us_each(run.reading.own_s)),
        "foreign_cores": run.foreign_cores().map(rounded),
        "leader_syncs": run.reading.leader_syncs,
        "all_syncs": run.reading.syncs,
        "writes_per_leader_sync": run.writes_per_sync().map(rounded),
        "stages_us": stages_json(run),
        "write_p50_per_fdatasync_p50": ratios.map(|[alone, shared]| json!({
            "one_log": rounded(alone), "several_logs": rounded(shared),
        })),
    })
}

fn stages_json(run: &Run) -> Value {
    let micros = |time: Option<f64>| time.map(|seconds| rounded(seconds * 1e6));
    let stages = NAMES.iter().zip(run.reading.stages);
    let each = stages.map(|((name, _), times)| {
        let times = json!({ "leader": micros(times.leader), "followers": micros(times.followers) });
        ((*name).to_owned(), times)
    });
    Value::Object(each.collect())
}

fn series_json(run: &Run, kind: Kind, series: &Series) -> Value {
    let mut latency = Map::new();
    for (name, quantile) in QUANTILES {
        latency.insert(name.into(), rounded(series.quantile_ms(quantile)));
    }
    latency.insert("max".into(), rounded(series.max_ms()));
    latency.insert("mean".into(), rounded(series.latency.mean() / 1e3));
    let mut object = json!({
        "count": series.count(),
        "per_s": rounded(per_second(series.count(), run.length())),
        "latency_ms": latency,
    });
    match kind {
        Kind::Cas => object["lost"] = series.otherwise.into(),
        Kind::Get | Kind::Scan => object["missing"] = series.otherwise.into(),
        Kind::KeepAlive => object["gone"] = series.otherwise.into(),
        Kind::Put | Kind::Grant | Kind::Delivery => {}
    }
    object
}

fn figure_json(figure: &DiskFigure) -> Value {
    json!({
        "logs": figure.logs,
        "fdatasync_per_s": rounded(per_second(figure.syncs.count(), figure.length)),
        "p50_ms": rounded(figure.syncs.quantile_ms(0.5)),
        "p99_ms": rounded(figure.syncs.quantile_ms(0.99)),
    })
}

fn per_second(count: u64, length: Duration) -> f64 {
    float(count) / length.as_secs_f64()
}

/// To a thousandth: more digits are noise.
fn rounded(value: f64) -> Value {
    json!((value * 1e3).round() / 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run fit into an f64")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::super::args::Order;
    use super::super::ledger::{Ledger, Verdict};
    use super::*;
    use crate::drivers::clock;

    fn run(kinds: &[(Kind, u64)]) -> Run {
        let begin = clock::instant();
        let window = Window { begin, end: begin + Duration::from_secs(2) };
        let ledger = Ledger::new(window);
        for &(kind, ms) in kinds {
            for _ in 0..100 {
                ledger.answered(kind, begin, Duration::from_millis(ms), Verdict::Well);
            }
        }
        let reading = Reading {
            servers_s: Some(0.2),
            own_s: 0.1,
            foreign_s: Some(1.0),
            leader_syncs: Some(50),
            syncs: Some(150),
            stages: Default::default(),
        };
        Run { clients: 64, connections: 16, window, tally: ledger.total(), reading }
    }

    fn disk() -> DiskFigures {
        let figure = |logs, ms| {
            let syncs = run(&[(Kind::Put, ms)]).tally.series.remove(&Kind::Put).unwrap();
            DiskFigure { logs, syncs, length: Duration::from_secs(1) }
        };
        DiskFigures { record_bytes: 256, alone: figure(1, 1), shared: figure(3, 2) }
    }

    #[test]
    fn a_run_is_a_row_for_each_kind_of_operation() {
        let text = text(&[run(&[(Kind::Get, 1), (Kind::Put, 4)])], None, Some(&disk()));
        let lines: Vec<&str> = text.lines().collect();
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(1)[..4], ["64", "put", "50", "4.00"], "{text}");
        assert_eq!(words(1)[8..], ["0", "1000.0", "500.0", "0.50", "2.0"], "{text}");
        assert_eq!(words(2)[..4], ["64", "get", "50", "1.00"], "{text}");
        assert!(text.contains("4.0 times an fdatasync's with one log, 2.0 times with 3"), "{text}");
    }

    #[test]
    fn a_run_without_an_answer_is_a_row_too() {
        let empty = run(&[]);
        empty_is_shown(&text(&[empty], None, None));
    }

    #[test]
    fn what_was_written_before_is_told() {
        let filled = Filled { keys: 500, order: Order::Random, time: Duration::from_millis(250) };
        let text = text(&[], Some(filled), None);
        assert!(
            text.ends_with("500 keys written before, random, in 0.2 s: 2000 a second"),
            "{text}"
        );
    }

    fn empty_is_shown(text: &str) {
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("nothing")), "{text}");
    }

    #[test]
    fn json_tells_counts_latencies_and_costs() {
        let json = run_json(&run(&[(Kind::Cas, 4)]), Some(&disk()));
        assert_eq!(json["results"]["cas"]["count"], 100);
        assert_eq!(json["results"]["cas"]["lost"], 0);
        assert_eq!(json["writes_per_leader_sync"], 2.0);
        assert_eq!(json["server_cpu_us_each"], 2000.0);
    }
}
