//! Three nodes on the loopback address, with default settings unless a figure says otherwise.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::options::Options;
use crate::shell;

/// How many nodes there are.
pub(crate) const NODES: u16 = 3;

/// How long a node may take to come up; under `valgrind` it takes its time.
const PATIENCE: Duration = Duration::from_mins(2);

/// A cluster, until it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    base_port: u16,
    settings: Vec<String>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts the nodes, and waits until all serve.
    pub(crate) fn start(options: &Options, settings: &[&str]) -> Self {
        let mut cluster = Self::prepare(options, settings);
        for node in 1..=NODES {
            cluster.launch(node);
        }
        cluster.wait_until_ready();
        cluster
    }

    /// Everything but the start.
    pub(crate) fn prepare(options: &Options, settings: &[&str]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = options.dir.join(format!("cairn-figures-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self {
            dir: fs::canonicalize(dir).unwrap(),
            base_port: free_ports(),
            settings: settings.iter().map(|&word| word.to_owned()).collect(),
            nodes: (0..NODES).map(|_| None).collect(),
        }
    }

    /// Starts a node; does not wait for it.
    pub(crate) fn launch(&mut self, node: u16) {
        self.launch_under(node, Command::new(shell::PROGRAM));
    }

    /// Starts a node by a command that ends with the program's name.
    pub(crate) fn launch_under(&mut self, node: u16, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.log(node)).unwrap();
        command.args(["serve", "--exit-with-parent", "--cluster", "figures"]);
        command.args(["--node", &node.to_string()]).arg("--data-dir").arg(self.data(node));
        command.args(self.members()).args(&self.settings).args(["--log-format", "json"]);
        shell::clean(&mut command);
        // The node ends when nobody holds the other side of its stdin.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.nodes[usize::from(node) - 1] = Some(command.spawn().unwrap());
    }

    /// Waits until every node serves.
    pub(crate) fn wait_until_ready(&self) {
        for node in 1..=NODES {
            self.wait_until_caught_up(node, 0);
        }
    }

    /// Waits until a node serves and has applied what stands at this log index.
    pub(crate) fn wait_until_caught_up(&self, node: u16, index: u64) -> Duration {
        let begun = Instant::now();
        loop {
            let status = self.status(node);
            let applied = || status["applied_index"].as_u64().unwrap_or(0);
            if status["ready"] == true && applied() >= index {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "node {node} is not ready: {status}");
            sleep(Duration::from_millis(5));
        }
    }

    /// The number of a node's process.
    pub(crate) fn process(&self, node: u16) -> u32 {
        self.nodes[usize::from(node) - 1].as_ref().expect("it runs").id()
    }

    /// All of them, as `--server-pids` takes them.
    pub(crate) fn processes(&self) -> String {
        (1..=NODES).map(|node| self.process(node).to_string()).collect::<Vec<_>>().join(",")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, node: u16) {
        let mut child = self.nodes[usize::from(node) - 1].take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells a node to end, and waits until it has.
    pub(crate) fn end(&mut self, node: u16) {
        let mut child = self.nodes[usize::from(node) - 1].take().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        child.wait().unwrap();
    }

    /// Which node leads.
    pub(crate) fn leader(&self) -> u16 {
        let begun = Instant::now();
        loop {
            let leads = |&node: &u16| self.status(node)["role"] == "leader";
            let newest = |&node: &u16| self.status(node)["epoch"].as_u64();
            if let Some(leader) = (1..=NODES).filter(leads).max_by_key(newest) {
                return leader;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            sleep(Duration::from_millis(10));
        }
    }

    /// One that does not.
    pub(crate) fn follower(&self) -> u16 {
        let leader = self.leader();
        (1..=NODES).find(|&node| node != leader).expect("there are three")
    }

    /// How a node is; null if it does not say.
    pub(crate) fn status(&self, node: u16) -> Value {
        if self.nodes[usize::from(node) - 1].is_none() {
            return Value::Null;
        }
        let text = shell::fetch(&self.client(node), "/v1/status").unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A counter or gauge of a node; 0 if it does not say.
    pub(crate) fn metric(&self, node: u16, name: &str) -> f64 {
        let text = shell::fetch(&self.client(node), "/metrics").unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let value = lines.find(|(found, _)| *found == name).and_then(|(_, v)| v.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Where clients reach all nodes, as `--endpoints` takes it.
    pub(crate) fn endpoints(&self) -> String {
        (1..=NODES).map(|node| self.client(node)).collect::<Vec<_>>().join(",")
    }

    /// Where clients reach a node.
    pub(crate) fn client(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + node - 1)
    }

    /// Where it all lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A node's data directory.
    pub(crate) fn data(&self, node: u16) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    fn log(&self, node: u16) -> PathBuf {
        self.dir.join(format!("node-{node}.log"))
    }

    fn members(&self) -> Vec<String> {
        let member = |node: u16| {
            let peer = format!("127.0.0.1:{}", self.base_port + node - 1 + 1000);
            ["--member".to_owned(), format!("{node}={}@{peer}", self.client(node))]
        };
        (1..=NODES).flat_map(member).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut child in self.nodes.iter_mut().filter_map(Option::take) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for node in 1..=NODES {
                let log = fs::read_to_string(self.log(node)).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                eprintln!("node {node} said last: {last:#?}");
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The first of ports that are free, and so are those 1000 above. Below those that the system gives to
/// outgoing connections.
fn free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut blocks = (0..90).map(|block| 12_000 + block / 10 * 2000 + block % 10 * 100 + 7);
    blocks
        .find(|base| (*base..base + NODES).all(|port| free(port) && free(port + 1000)))
        .expect("some of the ports from 12000 to 30000 are free")
}
