//! `cairn up`: what it refuses, what it survives, what it leaves behind.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::thread::spawn;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::http;
use crate::support::process::{Process, cairn, send};
use crate::support::{TestDir, alone, eventually, free_ports};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `cairn up --output json`.
struct Up {
    process: Process,
    events: mpsc::Receiver<Value>,
    /// Of the nodes that were started; killed with the test if `up` did not stop them.
    pids: Vec<u32>,
}

impl Up {
    fn start(dir: &Path, base_port: u16, more: &[&str]) -> Self {
        let mut command = cairn();
        command.args(["up", "--output", "json", "--base-port", &base_port.to_string()]);
        command.arg("--dir").arg(dir).args(more).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = Process::start(&mut command);
        let stdout = process.child().stdout.take().unwrap();
        let (sender, events) = mpsc::channel();
        spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { process, events, pids: Vec::new() }
    }

    /// The next event of this kind.
    fn wait_for(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let event = self.events.recv_timeout(left);
            let event = event.unwrap_or_else(|_| panic!("`up` does not tell of {kind}"));
            if event["event"] == "started" {
                self.pids.push(u32::try_from(event["pid"].as_u64().unwrap()).unwrap());
            }
            if event["event"] == kind && wanted(&event) {
                return event;
            }
        }
    }

    fn ready(&mut self) -> Value {
        self.wait_for("ready", |_| true)
    }

    /// Ctrl-C.
    fn stop(mut self) {
        self.process.signal(Signal::INT);
        self.wait_for("stopped", |_| true);
        assert!(self.process.wait(PATIENCE).success());
        for pid in &self.pids {
            assert!(!runs(*pid), "node process {pid} outlived `up`");
        }
        self.pids.clear();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // The nodes end when `up` does; a test that fails waits for nothing.
        if self.process.is_alive() {
            self.process.kill();
        }
    }
}

/// Whether a process runs: a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn ask(port: u16, body: &str) -> (u16, String) {
    let answer = http::request(port, "POST", "/", &[], body.as_bytes(), PATIENCE).unwrap();
    (answer.status, answer.text())
}

fn store(port: u16, key: &str, value: &str) {
    let body = format!(r#"{{"type":"store","key":"{key}","value":"{value}"}}"#);
    assert_eq!(ask(port, &body).0, 200);
}

fn fetch(port: u16, key: &str) -> String {
    let (status, body) = ask(port, &format!(r#"{{"type":"fetch","key":"{key}"}}"#));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["value"].as_str().unwrap().to_owned()
}

fn pid_of_leader(ready: &Value) -> (u64, u32) {
    let nodes = ready["nodes"].as_array().unwrap();
    let leader = nodes.iter().find(|node| node["role"] == "leader").unwrap();
    let pid = u32::try_from(leader["pid"].as_u64().unwrap()).unwrap();
    (leader["node"].as_u64().unwrap(), pid)
}

#[test]
fn the_cluster_survives_a_killed_leader_and_keeps_its_data() {
    let _alone = alone();
    let (dir, base) = (TestDir::new(), free_ports());
    let data = dir.path().join("data");
    let mut up = Up::start(&data, base, &[]);
    let ready = up.ready();
    store(base, "hello", "world");
    assert_eq!(fetch(base + 2, "hello"), "world");
    let (leader, pid) = pid_of_leader(&ready);
    send(pid, Signal::KILL);
    let ended = up.wait_for("ended", |_| true);
    assert_eq!((&ended["node"], &ended["restart_in_ms"]), (&leader.into(), &Value::Null));
    let next = up.wait_for("role", |event| event["role"] == "leader");
    assert_ne!(next["node"], leader);
    let alive = (0..3).find(|&node| u64::from(node) + 1 != leader).unwrap();
    store(base + alive, "after", "the storm");
    up.stop();

    let mut up = Up::start(&data, base, &[]);
    up.ready();
    for node in 0..3 {
        assert_eq!(fetch(base + node, "hello"), "world");
        assert_eq!(fetch(base + node, "after"), "the storm");
    }
    up.stop();
}

#[test]
fn a_killed_node_is_started_again_if_wanted() {
    let _alone = alone();
    let (dir, base) = (TestDir::new(), free_ports());
    let mut up = Up::start(&dir.path().join("data"), base, &["--restart", "--nodes", "1"]);
    let ready = up.ready();
    store(base, "hello", "world");
    let (_, pid) = pid_of_leader(&ready);
    send(pid, Signal::KILL);
    let started = up.wait_for("started", |event| event["pid"] != pid);
    assert_eq!(started["node"], 1);
    eventually("the node serves again", PATIENCE, || {
        let body = br#"{"type":"fetch","key":"hello"}"#;
        http::request(base, "POST", "/", &[], body, PATIENCE).ok().filter(|a| a.status == 200)
    });
    assert_eq!(fetch(base, "hello"), "world");
    up.stop();
}

#[test]
fn a_cluster_in_memory_keeps_its_data_too() {
    let _alone = alone();
    let (dir, base) = (TestDir::new(), free_ports());
    let data = dir.path().join("data");
    for life in 0..2 {
        let mut up = Up::start(&data, base, &["--engine", "memory"]);
        up.ready();
        if life == 0 {
            store(base, "hello", "world");
        }
        for node in 0..3 {
            assert_eq!(fetch(base + node, "hello"), "world");
        }
        up.stop();
    }
    let (code, words) = refuse(&data, base, &["--engine", "disk"]);
    assert_eq!(code, 3);
    assert!(words.contains("--engine memory, not disk"), "{words}");
}

#[test]
fn a_node_that_does_not_start_says_why() {
    let _alone = alone();
    let (dir, base) = (TestDir::new(), free_ports());
    let data = dir.path().join("data");
    let mut up = Up::start(&data, base, &[]);
    up.ready();
    up.stop();
    std::fs::write(data.join("node-2").join("IDENTITY"), "rubbish").unwrap();
    let (code, words) = refuse(&data, base, &[]);
    assert_eq!(code, 3);
    assert!(words.contains("node 2 ended (exit code 4)") && words.contains("IDENTITY"), "{words}");
    assert!(words.contains("log.jsonl"), "{words}");
}

#[test]
fn the_nodes_end_with_up_even_if_it_is_killed() {
    let _alone = alone();
    let (dir, base) = (TestDir::new(), free_ports());
    let mut up = Up::start(&dir.path().join("data"), base, &[]);
    up.ready();
    up.process.kill();
    for pid in up.pids.clone() {
        eventually("the node ends", PATIENCE, || (!runs(pid)).then_some(()));
    }
}

fn refuse(dir: &Path, base_port: u16, more: &[&str]) -> (i32, String) {
    let mut command = cairn();
    command.args(["up", "--base-port", &base_port.to_string(), "--dir"]).arg(dir).args(more);
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_is_in_the_way_is_named_before_anything_is_started() {
    let _alone = alone();
    let (dir, base) = (TestDir::new(), free_ports());
    let data = dir.path().join("data");
    for port in [base + 1, base + 1002] {
        let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (code, words) = refuse(&data, base, &[]);
        assert_eq!(code, 3);
        assert!(
            words.contains(&format!("port {port}")) && words.contains("--base-port"),
            "{words}"
        );
        drop(taken);
    }
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.tex"), "").unwrap();
    let (code, words) = refuse(&foreign, base, &[]);
    assert_eq!(code, 3);
    assert!(words.contains("thesis.tex") && words.contains("--dir"), "{words}");

    let mut up = Up::start(&data, base, &["--nodes", "1"]);
    up.ready();
    let (code, words) = refuse(&data, base + 4, &[]);
    assert_eq!(code, 3);
    let pid = up.process.pid();
    assert!(words.contains(&format!("held by a `cairn up` that runs (pid {pid})")), "{words}");
    up.stop();
    let (code, words) = refuse(&data, base, &["--nodes", "3"]);
    assert_eq!(code, 3);
    assert!(words.contains("1 nodes, not of 3"), "{words}");
    assert_eq!(refuse(&data, 65_000, &[]).0, 3);
    assert_eq!(refuse(&data, base, &["--nodes", "0"]).0, 2);
}

#[test]
fn everything_in_tls() {
    let _alone = alone();
    let dir = TestDir::new();
    let base_port = free_ports();
    let mut first = Vec::new();
    for more in [&["--tls", "--nodes", "3"][..], &[]] {
        let mut up = Up::start(dir.path(), base_port, more);
        let ready = up.ready();
        let path = |name: &str| ready["tls"][name].as_str().unwrap().to_owned();
        let certificate = std::fs::read(path("cacert")).unwrap();
        let mut command = cairn();
        command.env("CAIRN_CACERT", path("cacert"));
        command.env("CAIRN_CERT", path("cert")).env("CAIRN_KEY", path("key"));
        // The last node's: it may have to pass the request on, to a peer port.
        command.args(["--endpoints", &format!("localhost:{}", base_port + 2), "put", "a", "1"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        up.stop();
        assert!(first.is_empty() || first == certificate, "they are kept at a restart");
        first = certificate;
    }
}
