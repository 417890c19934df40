//! Three nodes on three hosts of a real kernel, under a checked workload, while a nemesis cuts wires,
//! kills, stops, fills disks and flips bits. `just chaos SECONDS`.
//!
//! ```text
//!   pid, mount and network namespace of the run
//!  ┌───────────────────────────────────────────────────────────────┐
//!  │ clients ── cairn-br 10.77.0.254                               │
//!  │ nemesis      ├── cairn-v1 ── eth0 10.77.0.1  netns cairn-n1   │  each with its
//!  │              ├── cairn-v2 ── eth0 10.77.0.2  netns cairn-n2   │  own `cairn serve`
//!  │              └── cairn-v3 ── eth0 10.77.0.3  netns cairn-n3   │  and its own tmpfs
//!  └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! The whole run lives in namespaces of its own, so nothing has to be cleaned up: when its first
//! process ends, however it ends, the kernel kills the nodes and takes hosts, wires and disks away.
//! No name is visible outside, and runs don't meet.
//!
//! What it can't show: the loss of what was not synced. The kernel lives on when a node is killed, and
//! keeps all that was written; a disk in memory has nothing to sync. Torn writes, lost writes and
//! lying disks are the simulation's to show.
//!
//! With `--members` there is no nemesis, but an operator who changes the cluster's members: see
//! [`members`].
//!
//! Without either this does nothing: `cargo test` runs it too, on machines where nobody may do
//! such things. It has no harness, for the harness can't be the first process of a namespace.

#![expect(clippy::disallowed_methods, reason = "real processes live in real time")]
#![expect(clippy::unwrap_used, reason = "this is a test, helpers included")]
#![expect(clippy::print_stdout, reason = "what happens is told to whoever watches")]

mod chance;
mod checks;
mod cluster;
mod decay;
mod fault;
mod guard;
mod hosts;
mod members;
mod nemesis;
mod overload;
mod queue;
mod record;
mod rot;
mod scripts;
mod tracer;
mod workload;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cluster::{Cluster, NODES};
use hosts::Host;
use members::Changes;
use nemesis::Nemesis;
use record::Record;
use workload::Workload;

/// What was asked for.
#[derive(Clone, Debug)]
struct Options {
    /// What is done to the cluster.
    scenario: Scenario,
    /// Which faults, in which order.
    seed: u64,
    /// Whether to break promises behind the clients' backs: a run that can't fail proves nothing.
    planted: bool,
    /// Scenes whose names begin so, and no others.
    only: Option<String>,
    /// How the nodes keep their logs.
    protocol: String,
    /// The run's directory, inside the namespaces.
    inside: Option<PathBuf>,
}

/// What is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// The nemesis rages for so many seconds.
    Storm(u64),
    /// Its members change.
    Members,
}

impl Scenario {
    /// How `ci/chaos/run` is told.
    fn argument(self) -> String {
        match self {
            Self::Storm(seconds) => seconds.to_string(),
            Self::Members => "--members".to_owned(),
        }
    }
}

impl Options {
    /// `None` if no run was asked for.
    fn parse() -> Option<Self> {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |name: &str| {
            let place = arguments.iter().position(|argument| argument == name)?;
            Some(arguments.get(place + 1).expect("each option has a value").clone())
        };
        let number = |name| value(name).map(|text| text.parse::<u64>().expect("a number"));
        let changes_members = arguments.iter().any(|argument| argument == "--members");
        let scenario = match number("--seconds") {
            _ if changes_members => Scenario::Members,
            Some(seconds) => Scenario::Storm(seconds),
            None => return None,
        };
        let seed = number("--seed").unwrap_or_else(chance::seed_of_the_day);
        let planted = arguments.iter().any(|argument| argument == "--plant");
        let (only, inside) = (value("--only"), value("--inside").map(PathBuf::from));
        // The nodes themselves are started without what is in this environment.
        let protocol = std::env::var("CAIRN_PROTOCOL").unwrap_or_else(|_| "raft".to_owned());
        Some(Self { scenario, seed, planted, only, protocol, inside })
    }

    /// The command that does the same again.
    fn again(&self) -> String {
        let Self { scenario, seed, only, protocol, .. } = self;
        let only = only.as_ref().map_or_else(String::new, |only| format!(" --only '{only}'"));
        format!(
            "CAIRN_PROTOCOL={protocol} ci/chaos/run {} --seed {seed}{only}",
            scenario.argument()
        )
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse() else {
        println!("chaos: not asked for; `just chaos 60` runs it, as root");
        return ExitCode::SUCCESS;
    };
    match &options.inside {
        None => outside(&options),
        Some(dir) => inside(&options, dir),
    }
}

/// Makes the namespaces, and runs this program once more in them.
fn outside(options: &Options) -> ExitCode {
    let dir = std::env::temp_dir().join(format!("cairn-chaos-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    // A build that goes on beside us must not change what is tested.
    std::fs::copy(env!("CARGO_BIN_EXE_cairn"), cluster::program(&dir)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().unwrap());
    command.arg("--inside").arg(&dir);
    match options.scenario {
        Scenario::Storm(seconds) => command.args(["--seconds", &seconds.to_string()]),
        Scenario::Members => command.arg("--members"),
    };
    command.args(["--seed", &options.seed.to_string()]);
    if options.planted {
        command.arg("--plant");
    }
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    // Its end is our end: see `guard`.
    let mut run = command.stdin(Stdio::piped()).spawn().expect("`unshare` of util-linux is here");
    let pipe = run.stdin.take();
    let status = run.wait().unwrap();
    drop(pipe);
    if status.success() {
        std::fs::remove_dir_all(&dir).unwrap();
        return ExitCode::SUCCESS;
    }
    if dir.exists() {
        println!("logs and data are kept in {}", dir.display());
    }
    ExitCode::FAILURE
}

/// The run itself.
fn inside(options: &Options, dir: &Path) -> ExitCode {
    let limit = match options.scenario {
        Scenario::Storm(seconds) => Duration::from_secs(seconds) * 2 + checks::AFTERMATH,
        Scenario::Members => members::LIMIT,
    };
    guard::start(limit, dir);
    println!("chaos, by {}: {}", options.protocol, options.again());
    match options.scenario {
        Scenario::Storm(seconds) => storm(options, Duration::from_secs(seconds), dir),
        Scenario::Members => changes(options, dir),
    }
}

/// The nemesis rages.
fn storm(options: &Options, long: Duration, dir: &Path) -> ExitCode {
    let begun = Instant::now();
    let mut cluster = Cluster::start(dir, &options.protocol, &Host::make(NODES));
    let workload = Workload::start(cluster.addresses(), options.seed);
    let mut nemesis = Nemesis::new(options, begun, &cluster);
    let raged = nemesis.rage(&mut cluster, &workload, long);
    println!("{}", nemesis.summary());
    if options.planted {
        checks::plant(&cluster);
    }
    let healed = raged.and_then(|()| checks::after_the_storm(&mut cluster, &workload));
    let record = workload.finish();
    tell(&record, &cluster);
    let mut violations: Vec<String> = healed.err().into_iter().collect();
    violations.extend(checks::judge(&record, &cluster));
    conclude(options, &violations, &record, &cluster, dir)
}

/// The members change.
fn changes(options: &Options, dir: &Path) -> ExitCode {
    let hosts = Host::make(NODES + members::SPARE);
    let (first, spare) = hosts.split_at(usize::from(NODES));
    let mut cluster = Cluster::start(dir, &options.protocol, first);
    // Clients know all machines, those without a node as well.
    let workload = Workload::start(hosts.iter().map(Host::client_address).collect(), options.seed);
    let mut changes = Changes::new(&mut cluster, &workload, options.seed, spare);
    let done = changes.run();
    let summary = changes.summary();
    if options.planted {
        checks::plant(&cluster);
    }
    let done = done.and_then(|()| checks::after_the_storm(&mut cluster, &workload));
    let record = workload.finish();
    tell(&record, &cluster);
    let mut violations: Vec<String> = done.err().into_iter().collect();
    let is_over = violations.is_empty();
    violations.extend(checks::judge(&record, &cluster));
    if is_over {
        violations.extend(members::judge_members(&record, &mut cluster));
    }
    if violations.is_empty() {
        violations.extend(members::judge_disks(&mut cluster));
    }
    println!("{summary}");
    conclude(options, &violations, &record, &cluster, dir)
}

/// What was seen.
fn tell(record: &Record, cluster: &Cluster) {
    println!("{}", record.summary());
    println!("{}", cluster.evidence());
    println!("the most memory of a node was {} MiB", cluster.most_mib());
}

/// Says what is wrong, and keeps what tells more of it.
fn conclude(
    options: &Options,
    violations: &[String],
    record: &Record,
    cluster: &Cluster,
    dir: &Path,
) -> ExitCode {
    if violations.is_empty() {
        println!("verdict: linearizable, and nothing acknowledged is lost");
        return ExitCode::SUCCESS;
    }
    for violation in violations {
        println!("VIOLATION: {violation}");
    }
    std::fs::write(dir.join("history.txt"), record.text()).unwrap();
    cluster.keep(dir);
    println!("verdict: {} violations; again: {}", violations.len(), options.again());
    ExitCode::FAILURE
}
