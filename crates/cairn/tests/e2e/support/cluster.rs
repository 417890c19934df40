//! A cluster of `cairn serve` processes.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::http::{self, Answer, NoAnswer};
use super::process::{Process, cairn};
use super::{TestDir, eventually, free_ports};

/// How long an answer may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a cluster may take to come up, on a machine that does other things too.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Nodes are numbered from 1.
#[derive(Debug)]
pub(crate) struct Cluster {
    base_port: u16,
    nodes: Vec<Option<Process>>,
    dir: TestDir,
    /// Further flags of each node.
    flags: Vec<Vec<String>>,
}

impl Cluster {
    /// Starts so many nodes, and waits until all serve and a write is done.
    pub(crate) fn start(count: u16) -> Self {
        let cluster = Self::start_empty(count);
        cluster.wait_for_leader();
        cluster
    }

    /// Starts so many nodes, and waits until all serve. Nothing is written.
    pub(crate) fn start_empty(count: u16) -> Self {
        let mut cluster = Self::prepare(count);
        for node in cluster.numbers() {
            cluster.launch(node);
        }
        for node in cluster.numbers() {
            eventually("the node is ready", START_PATIENCE, || {
                cluster.is_ready(node).then_some(())
            });
        }
        cluster
    }

    /// So many nodes, none of which runs.
    pub(crate) fn prepare(count: u16) -> Self {
        let nodes = (0..count).map(|_| None).collect();
        let flags = vec![Vec::new(); usize::from(count)];
        Self { base_port: free_ports(), nodes, dir: TestDir::new(), flags }
    }

    /// Further flags of a node, from its next start on.
    pub(crate) fn set_flags(&mut self, node: u16, flags: Vec<String>) {
        self.flags[usize::from(node) - 1] = flags;
    }

    /// The numbers of its nodes.
    pub(crate) fn numbers(&self) -> Vec<u16> {
        (1..=u16::try_from(self.nodes.len()).unwrap()).collect()
    }

    /// Where clients reach a node.
    pub(crate) fn client_port(&self, node: u16) -> u16 {
        self.base_port + node - 1
    }

    /// Where the other nodes reach a node.
    pub(crate) fn peer_port(&self, node: u16) -> u16 {
        self.client_port(node) + 1000
    }

    /// Where clients reach all nodes, as `--endpoints` takes it.
    pub(crate) fn endpoints(&self) -> String {
        let addresses =
            self.numbers().into_iter().map(|n| format!("127.0.0.1:{}", self.client_port(n)));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The directory of the test.
    pub(crate) fn dir(&self) -> &TestDir {
        &self.dir
    }

    /// Starts a node; does not wait for it.
    pub(crate) fn launch(&mut self, node: u16) {
        let slot = usize::from(node) - 1;
        assert!(self.nodes[slot].is_none(), "node {node} runs");
        let log = self.dir.path().join(format!("node-{node}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let mut command = cairn();
        command
            .args(["serve", "--node", &node.to_string()])
            .args(["--log-format", "json"])
            .arg("--data-dir")
            .arg(self.dir.path().join(format!("node-{node}")))
            .args(["--client-listen", &local(self.client_port(node))])
            .args(["--peer-listen", &local(self.peer_port(node))])
            .stdout(Stdio::null())
            .stderr(log);
        let flags = &self.flags[slot];
        if !flags.iter().any(|flag| flag == "--cluster") {
            command.args(["--cluster", "e2e"]);
        }
        command.args(flags);
        for member in self.numbers() {
            let (client, peer) = (local(self.client_port(member)), local(self.peer_port(member)));
            command.args(["--member", &format!("{member}={client}@{peer}")]);
        }
        self.nodes[slot] = Some(Process::start(&mut command));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, node: u16) {
        self.nodes[usize::from(node) - 1].take().expect("it runs").kill();
    }

    /// Ends a node as an operator does, and waits for that.
    pub(crate) fn stop(&mut self, node: u16) {
        let mut process = self.nodes[usize::from(node) - 1].take().expect("it runs");
        process.signal(Signal::TERM);
        assert!(process.wait(Duration::from_secs(20)).success());
    }

    /// Waits until a node ends by itself; tells its exit code.
    pub(crate) fn wait_for_end(&mut self, node: u16) -> Option<i32> {
        let mut process = self.nodes[usize::from(node) - 1].take().expect("it runs");
        process.wait(Duration::from_secs(20)).code()
    }

    /// `kill -9` for all, before any of them can notice that another is gone.
    pub(crate) fn kill_all(&mut self) {
        for process in self.nodes.iter().flatten() {
            process.signal(Signal::KILL);
        }
        for slot in &mut self.nodes {
            slot.take();
        }
    }

    /// The process of a node.
    pub(crate) fn process(&mut self, node: u16) -> &mut Process {
        self.nodes[usize::from(node) - 1].as_mut().expect("it runs")
    }

    /// Asks a node over HTTP.
    pub(crate) fn ask(
        &self,
        node: u16,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<Answer, NoAnswer> {
        http::request(self.client_port(node), method, target, &[], body, PATIENCE)
    }

    /// How a node is, if it says so.
    pub(crate) fn status(&self, node: u16) -> Option<Value> {
        let port = self.client_port(node);
        let patience = Duration::from_millis(500);
        let answer = http::request(port, "GET", "/v1/status", &[], b"", patience).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// Whether a node says that it serves.
    pub(crate) fn is_ready(&self, node: u16) -> bool {
        self.status(node).is_some_and(|status| status["ready"] == true)
    }

    /// Which node leads, as it says itself; of two that say so, the one of the later term.
    pub(crate) fn leader(&self) -> Option<u16> {
        let running =
            self.numbers().into_iter().filter(|&n| self.nodes[usize::from(n) - 1].is_some());
        let statuses = running.filter_map(|node| Some((node, self.status(node)?)));
        let leaders = statuses.filter(|(_, status)| status["role"] == "leader");
        leaders.max_by_key(|(_, status)| status["epoch"].as_u64()).map(|(node, _)| node)
    }

    /// Waits until a node leads and a write through it is done.
    pub(crate) fn wait_for_leader(&self) -> u16 {
        eventually("a leader that serves", START_PATIENCE, || {
            let leader = self.leader()?;
            let body = br#"{"type":"store","key":"e2e","value":"ready"}"#;
            let answer = self.ask(leader, "POST", "/", body).ok()?;
            (answer.status == 200).then_some(leader)
        })
    }

    /// Waits until a node has applied all that the cluster had committed when this was called.
    pub(crate) fn wait_until_caught_up(&self, node: u16) {
        let leader = self.wait_for_leader();
        let commit = self.status(leader).and_then(|s| s["commit_index"].as_u64()).unwrap();
        eventually("the node has caught up", START_PATIENCE, || {
            let applied = self.status(node)?["applied_index"].as_u64()?;
            (applied >= commit).then_some(())
        });
    }
}
