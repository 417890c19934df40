//! The nodes: a `cairn serve` on each host.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::hosts::Host;

/// How many there are.
pub(crate) const NODES: u16 = 3;

/// How long a node may take to say how it is.
const STATUS_PATIENCE: &str = "1s";

/// How long the cluster may take to be whole again, on a machine that does other things too.
const WHOLE_PATIENCE: Duration = Duration::from_mins(1);

/// What a node ends with if its storage fails (docs/errors).
const STORAGE_FAILED: i32 = 4;

/// Memory that a node may hold at any time: with these limits it is a multiple of what they allow.
const MEMORY_LIMIT_MIB: u64 = 256;

/// Small limits, so that logs are dropped, snapshots fetched and state flushed within seconds.
const TUNING: [&str; 14] = [
    "--max-value",
    "1MiB",
    "--journal-segment",
    "8MiB",
    "--log-retain",
    "4MiB",
    "--unflushed-limit",
    "8MiB",
    "--inflight-limit",
    "8MiB",
    "--retain-revisions",
    "2000",
    "--cache",
    "16MiB",
];

/// Words in a node's log, and what they stand for.
const TOLD: [(&str, &str); 4] = [
    ("leader serves", "leaders"),
    ("snapshot installed", "snapshots installed"),
    ("damage is repaired", "journals repaired"),
    ("no room on the disk", "ended by a full disk"),
];

/// One node on its host.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number.
    pub(crate) number: u16,
    /// Its host.
    pub(crate) host: Host,
    /// The arguments of `serve` that make it the node that it is.
    arguments: Vec<String>,
    process: Option<Child>,
}

/// All nodes that belong to the cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    dir: PathBuf,
    /// All nodes that ever were.
    numbers: BTreeSet<u16>,
    /// Those whose storage was made to fail: they may end by themselves.
    excused: BTreeSet<u16>,
    /// Files that [`Cluster::scratch`] has named.
    scratched: u32,
    /// The most memory that a node was seen with.
    most_mib: u64,
}

/// Where a run keeps the program that it tests.
pub(crate) fn program(dir: &Path) -> PathBuf {
    dir.join("cairn")
}

impl Cluster {
    /// Starts a node on each of these hosts, and waits until the cluster serves.
    pub(crate) fn start(dir: &Path, protocol: &str, hosts: &[Host]) -> Self {
        let members = (1..).zip(hosts).map(|(number, host)| {
            let address = host.address();
            ["--member".to_owned(), format!("{number}={address}:8000@{address}:9000")]
        });
        let members: Vec<String> = members.flatten().collect();
        let mut cluster = Self {
            nodes: Vec::new(),
            dir: dir.to_owned(),
            numbers: BTreeSet::new(),
            excused: BTreeSet::new(),
            scratched: 0,
            most_mib: 0,
        };
        for (number, host) in (1..).zip(hosts) {
            let own = ["--cluster", "chaos", "--node", &number.to_string(), "--protocol", protocol];
            let arguments = own.map(str::to_owned).into_iter().chain(members.clone());
            cluster.admit(number, host, arguments.collect());
        }
        cluster.launch_missing();
        cluster.wait_until_whole().expect("an undisturbed cluster comes up");
        let is_meant = |node: &Value| node["protocol"] == protocol;
        assert!(cluster.statuses().iter().all(is_meant), "all nodes keep their logs by {protocol}");
        cluster
    }

    /// A node that belongs to it from now on, and does not run yet.
    pub(crate) fn admit(&mut self, number: u16, host: &Host, arguments: Vec<String>) {
        self.numbers.insert(number);
        self.nodes.push(Node { number, host: host.clone(), arguments, process: None });
    }

    /// A node that belongs to it no more: how it ends is up to whoever asked for it.
    pub(crate) fn dismiss(&mut self, number: u16) -> Node {
        let place = self.nodes.iter().position(|node| node.number == number);
        self.nodes.remove(place.expect("it belongs to the cluster"))
    }

    /// A node that was dismissed belongs to it again.
    pub(crate) fn readmit(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// What `cairn verify` ends with and says of a node that does not run.
    pub(crate) fn verify(&self, node: &Node) -> Option<(i32, Value)> {
        let mut command = Command::new(program(&self.dir));
        command.args(["--output", "json", "verify"]).arg(node.data());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        Some((output.status.code()?, serde_json::from_slice(&said).ok()?))
    }

    /// Starts a node that was dismissed.
    pub(crate) fn launch_dismissed(&self, node: &mut Node) {
        node.launch(&program(&self.dir), &self.dir);
    }

    /// The numbers of all nodes.
    pub(crate) fn numbers(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.number).collect()
    }

    /// A node.
    pub(crate) fn node(&mut self, number: u16) -> &mut Node {
        let found = self.nodes.iter_mut().find(|node| node.number == number);
        found.expect("it belongs to the cluster")
    }

    /// The host of a node.
    pub(crate) fn host(&self, number: u16) -> &Host {
        let found = self.nodes.iter().find(|node| node.number == number);
        &found.expect("it belongs to the cluster").host
    }

    /// All hosts.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.nodes.iter().map(|node| &node.host)
    }

    /// Where clients reach the nodes.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.hosts().map(Host::client_address).collect()
    }

    /// Starts every node that does not run.
    pub(crate) fn launch_missing(&mut self) {
        self.launch(&self.numbers());
    }

    /// Starts those of these nodes that do not run.
    pub(crate) fn launch(&mut self, numbers: &[u16]) {
        let (program, dir) = (program(&self.dir), self.dir.clone());
        let missing = self.nodes.iter_mut().filter(|node| node.process.is_none());
        for node in missing.filter(|node| numbers.contains(&node.number)) {
            node.launch(&program, &dir);
        }
    }

    /// Lets all processes run that stand still.
    pub(crate) fn resume_all(&self) {
        for node in &self.nodes {
            node.signal(Signal::CONT);
        }
    }

    /// From now on this node may end of failed storage.
    pub(crate) fn excuse(&mut self, number: u16) {
        self.excused.insert(number);
    }

    /// Whether a node is excused.
    pub(crate) fn is_anyone_excused(&self) -> bool {
        !self.excused.is_empty()
    }

    /// All storage works again.
    pub(crate) fn excuse_nobody(&mut self) {
        self.excused.clear();
    }

    /// Takes note of nodes that ended by themselves, and of how much memory the others hold. Those
    /// that are excused may end; nobody else.
    pub(crate) fn bury(&mut self) -> Result<(), String> {
        for place in 0..self.nodes.len() {
            let number = self.nodes[place].number;
            self.weigh(number)?;
            let Some(status) = self.nodes[place].ended() else { continue };
            let expected = status.code() == Some(STORAGE_FAILED);
            if !(expected && self.excused.contains(&number)) {
                let words = self.last_words(number);
                return Err(format!("node {number} ended by itself ({status}): {words}"));
            }
        }
        Ok(())
    }

    /// The most memory that a node was ever seen with.
    pub(crate) fn most_mib(&self) -> u64 {
        self.most_mib
    }

    fn weigh(&mut self, number: u16) -> Result<(), String> {
        let Some(mib) = self.node(number).process().and_then(resident_mib) else { return Ok(()) };
        self.most_mib = self.most_mib.max(mib);
        if mib > MEMORY_LIMIT_MIB {
            return Err(format!("node {number} holds {mib} MiB, more than {MEMORY_LIMIT_MIB}"));
        }
        Ok(())
    }

    /// A name for a file of the run, never used before.
    pub(crate) fn scratch(&mut self, what: &str) -> PathBuf {
        self.scratched += 1;
        self.dir.join(format!("{what}-{}", self.scratched))
    }

    /// What the nodes say of themselves, in order; those that are silent say nothing.
    pub(crate) fn statuses(&self) -> Vec<Value> {
        let output = Command::new(program(&self.dir))
            .args(["--timeout", STATUS_PATIENCE, "--output", "json"])
            .args(["--endpoints", &self.addresses().join(",")])
            .arg("status")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
        nodes.into_iter().filter(|node| node["answers"] == true).collect()
    }

    /// Which node leads, as far as it is known.
    pub(crate) fn leader(&self) -> Option<u16> {
        let statuses = self.statuses();
        let leaders = statuses.iter().filter(|node| node["role"] == "leader");
        let newest = leaders.max_by_key(|node| node["epoch"].as_u64())?;
        u16::try_from(newest["node"].as_u64()?).ok()
    }

    /// Waits until all nodes serve, and each has applied what was committed when this was called.
    pub(crate) fn wait_until_whole(&mut self) -> Result<(), String> {
        let mut waiting = Waiting::begin();
        while !waiting.is_over(self)? {
            self.bury()?;
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Like [`Cluster::wait_until_whole`], but this node may end: then it says how.
    pub(crate) fn wait_for_outcome(&mut self, number: u16) -> Result<Option<ExitStatus>, String> {
        let mut waiting = Waiting::begin();
        loop {
            if let Some(status) = self.node(number).ended() {
                return Ok(Some(status));
            }
            self.bury()?;
            if waiting.is_over(self)? {
                return Ok(None);
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Every key with this prefix, and its value.
    pub(crate) fn scan(&self, prefix: &str) -> Result<Vec<(String, String)>, String> {
        self.scan_at(&self.addresses().join(","), &["scan", prefix])
    }

    /// The same of what one node has, as it is.
    pub(crate) fn scan_node(
        &self,
        number: u16,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, String> {
        let address = self.host(number).client_address();
        self.scan_at(&address, &["scan", prefix, "--consistency", "eventual"])
    }

    fn scan_at(
        &self,
        endpoints: &str,
        arguments: &[&str],
    ) -> Result<Vec<(String, String)>, String> {
        let text = self.command_at(endpoints, arguments)?;
        let pair = |line: &str| {
            let (key, value) = line.split_once('\t').expect("a key and a value");
            (key.to_owned(), value.to_owned())
        };
        Ok(text.lines().map(pair).collect())
    }

    /// What a client command says.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<String, String> {
        self.command_at(&self.addresses().join(","), arguments)
    }

    fn command_at(&self, endpoints: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(program(&self.dir))
            .args(["--timeout", "60s", "--endpoints", endpoints])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    /// How often the nodes' logs tell of what the faults are there for: a nemesis that nobody noticed
    /// proves nothing.
    pub(crate) fn evidence(&self) -> String {
        let logs: Vec<String> = self.numbers.iter().map(|&number| self.log(number)).collect();
        let count = |(words, what): (&str, &str)| {
            let times: usize = logs.iter().map(|log| log.matches(words).count()).sum();
            format!("{what} {times}")
        };
        format!("the nodes tell: {}", TOLD.map(count).join(", "))
    }

    /// Copies the disks to where they outlive the run.
    pub(crate) fn keep(&self, dir: &Path) {
        for node in &self.nodes {
            node.signal(Signal::STOP);
            node.host.clear_disk();
            let target = dir.join(format!("kept-{}", node.number));
            let copied = Command::new("cp").arg("-r").arg(node.data()).arg(&target).status();
            println!("node {}: data in {}: {copied:?}", node.number, target.display());
        }
    }

    /// What a node said last.
    pub(crate) fn last_words(&self, number: u16) -> String {
        let text = self.log(number);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
    }

    /// All that a node said.
    pub(crate) fn log(&self, number: u16) -> String {
        let text = std::fs::read(log_of(&self.dir, number)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Until all nodes serve.
struct Waiting {
    begun: Instant,
    /// What each must have applied, once it is known.
    goal: Option<u64>,
}

impl Waiting {
    fn begin() -> Self {
        Self { begun: Instant::now(), goal: None }
    }

    fn is_over(&mut self, cluster: &Cluster) -> Result<bool, String> {
        let statuses = cluster.statuses();
        let number = |node: &Value, field: &str| node[field].as_u64().unwrap_or(0);
        if self.goal.is_none() && statuses.iter().any(|node| node["role"] == "leader") {
            self.goal = statuses.iter().map(|node| number(node, "commit_index")).max();
        }
        let well = |node: &&Value| {
            node["ready"] == true
                && self.goal.is_some_and(|goal| number(node, "applied_index") >= goal)
        };
        if statuses.iter().filter(well).count() == cluster.nodes.len() {
            return Ok(true);
        }
        if self.begun.elapsed() > WHOLE_PATIENCE {
            let seen = Value::from(statuses);
            return Err(format!(
                "not whole within {WHOLE_PATIENCE:?}, nothing being wrong: {seen}"
            ));
        }
        Ok(false)
    }
}

impl Node {
    /// Its journal's directory.
    pub(crate) fn journal(&self) -> PathBuf {
        self.data().join("journal")
    }

    /// Its process, if it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = self.process() {
            send(process, signal);
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// How it ended, if it ended by itself since it was last asked.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().unwrap()?;
        self.process = None;
        Some(status)
    }

    fn launch(&mut self, program: &Path, dir: &Path) {
        let log = OpenOptions::new().create(true).append(true).open(log_of(dir, self.number));
        let mut command = self.host.command(program);
        command.arg("serve").args(&self.arguments);
        command.arg("--data-dir").arg(self.data()).args(TUNING).args(["--log-format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
            command.env_remove(name);
        }
        self.process = Some(command.spawn().unwrap());
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.host.disk().join("data")
    }
}

/// Sends a process a signal. It may have ended by itself: [`Cluster::bury`] finds out.
pub(crate) fn send(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

/// How much memory a process holds.
fn resident_mib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

fn log_of(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("node-{number}.log"))
}
