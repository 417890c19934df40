//! Locks and elections as they are used: real processes that are killed, paused and told to end, on a
//! cluster of three nodes.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::cluster::Cluster;
use crate::support::process::{Process, cairn, send};
use crate::support::{alone, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// A `cairn` that goes on, and the lines that it prints.
struct Running {
    process: Process,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(cluster: &Cluster, args: &[&str]) -> Self {
        let mut command = cairn();
        command.args(args).env("CAIRN_ENDPOINTS", cluster.endpoints());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(&mut command);
        let stdout = process.child().stdout.take().unwrap();
        Self { process, lines: BufReader::new(stdout).lines() }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }

    fn ends_with(&mut self, code: i32) {
        assert_eq!(self.process.wait(PATIENCE).code(), Some(code));
    }
}

/// Exit code, stdout, stderr.
fn run(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let mut command = cairn();
    let output = command.args(args).env("CAIRN_ENDPOINTS", cluster.endpoints()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn ok(cluster: &Cluster, args: &[&str]) -> String {
    let (code, stdout, stderr) = run(cluster, args);
    assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
    stdout
}

fn token(fence: &str) -> u64 {
    fence.rsplit_once('@').unwrap().1.parse().unwrap()
}

/// Whether a process that is not our child has ended; nobody may have waited for it yet.
fn has_ended(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, behind)| behind.starts_with('Z'))
}

/// Waits until so many keys stand below a prefix.
fn until_queued(cluster: &Cluster, prefix: &str, count: usize) {
    eventually("all have a place", PATIENCE, || {
        let keys = ok(cluster, &["scan", prefix, "--keys-only"]);
        (keys.lines().count() == count).then_some(())
    });
}

#[test]
fn locks_and_elections_among_real_processes() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    commands_run_one_at_a_time(&cluster);
    a_killed_holder_takes_its_command_along(&cluster);
    a_paused_holder_writes_in_vain(&cluster);
    waiters_are_served_in_order(&cluster);
    exit_codes(&cluster);
    leases_by_hand(&cluster);
    a_command_for_each_change(&cluster);
    an_election_fails_over(&mut cluster);
}

/// Each adds one to a number, by reading and writing it: lost updates would show.
fn commands_run_one_at_a_time(cluster: &Cluster) {
    ok(cluster, &["put", "count", "0"]);
    let program = env!("CARGO_BIN_EXE_cairn");
    let add = format!(
        "n=$({program} get count) && {program} put count $((n + 1)) --fence \"$CAIRN_LOCK_FENCE\""
    );
    let mut adders: Vec<Running> = (0..5)
        .map(|_| Running::start(cluster, &["lock", "adders", "--", "sh", "-c", &add]))
        .collect();
    for adder in &mut adders {
        adder.ends_with(0);
    }
    assert_eq!(ok(cluster, &["get", "count"]), "5");
    assert_eq!(ok(cluster, &["scan", "adders/"]), "", "nothing is left behind");
}

fn a_killed_holder_takes_its_command_along(cluster: &Cluster) {
    let script = "echo $$ $CAIRN_LOCK_FENCE; exec sleep 600";
    let arguments = ["lock", "killed", "--ttl", "2s", "--", "sh", "-c", script];
    let mut holder = Running::start(cluster, &arguments);
    let line = holder.line();
    let (pid, fence) = line.split_once(' ').unwrap();
    let mut next = Running::start(cluster, &["lock", "killed"]);
    until_queued(cluster, "killed/", 2);
    let begun = Instant::now();
    holder.process.kill();
    eventually("the command ends with the holder", PATIENCE, || has_ended(pid).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(1), "before the lock is another's");
    let later = next.line();
    assert!(token(&later) > token(fence), "{later} after {fence}");
    assert!(begun.elapsed() < Duration::from_secs(6));
    next.process.signal(Signal::INT);
    next.ends_with(0);
}

fn a_paused_holder_writes_in_vain(cluster: &Cluster) {
    let mut first = Running::start(cluster, &["lock", "paused", "--ttl", "2s"]);
    let old = first.line();
    ok(cluster, &["put", "state", "first", "--fence", &old]);
    first.process.signal(Signal::STOP);
    let mut second = Running::start(cluster, &["lock", "paused", "--ttl", "60s"]);
    let new = second.line();
    assert!(token(&new) > token(&old));
    first.process.signal(Signal::CONT);
    let (code, _, stderr) = run(cluster, &["put", "state", "late", "--fence", &old]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("is stale"), "{stderr}");
    first.ends_with(4);
    ok(cluster, &["put", "state", "second", "--fence", &new]);
    assert_eq!(ok(cluster, &["get", "state"]), "second");
    second.process.signal(Signal::TERM);
    second.ends_with(0);
}

fn waiters_are_served_in_order(cluster: &Cluster) {
    let mut queue = Vec::new();
    for n in 1..=4 {
        queue.push(Running::start(cluster, &["lock", "order"]));
        until_queued(cluster, "order/", n);
    }
    let mut before = 0;
    for mut holder in queue {
        let now = token(&holder.line());
        assert!(now > before, "{now} after {before}");
        before = now;
        holder.process.signal(Signal::INT);
        holder.ends_with(0);
    }
}

fn exit_codes(cluster: &Cluster) {
    let code = |args: &[&str]| run(cluster, args).0;
    assert_eq!(code(&["lock", "codes", "--", "sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["lock", "codes", "--", "sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["lock", "codes", "--", "/no/such/program"]), 127);
    let mut holder = Running::start(cluster, &["lock", "codes", "--output", "json"]);
    let told: serde_json::Value = serde_json::from_str(&holder.line()).unwrap();
    assert_eq!(
        told["fence"],
        format!("{}@{}", told["key"].as_str().unwrap(), told["token"].as_u64().unwrap())
    );
    assert_eq!(code(&["lock", "codes", "--try", "--", "true"]), 1);
    // Somebody revokes the lease: the command is ended.
    let lease = told["lease"].to_string();
    let mut waiting = Running::start(
        cluster,
        &["lock", "codes", "--ttl", "3s", "--", "sh", "-c", "echo on; exec sleep 600"],
    );
    ok(cluster, &["lease", "revoke", &lease]);
    holder.ends_with(4);
    assert_eq!(waiting.line(), "on");
    let leases = ok(cluster, &["scan", "codes/", "--output", "json"]);
    let item: serde_json::Value = serde_json::from_str(leases.lines().next().unwrap()).unwrap();
    ok(cluster, &["lease", "revoke", &item["lease"].to_string()]);
    waiting.ends_with(4);
}

fn leases_by_hand(cluster: &Cluster) {
    let lease = ok(cluster, &["lease", "grant", "60s"]);
    let lease = lease.trim();
    ok(cluster, &["put", "hung", "up", "--lease", lease]);
    assert!(
        ok(cluster, &["put", "hung", "on", "--lease", lease, "--prev"]).ends_with("it was up\n")
    );
    let shown = ok(cluster, &["lease", "timetolive", lease, "--keys"]);
    assert!(shown.starts_with(&format!("lease {lease} has ")), "{shown}");
    assert!(shown.ends_with("of 60s left\nhung\n"), "{shown}");
    let hexadecimal = format!("0x{:x}", lease.parse::<u64>().unwrap());
    let kept = ok(cluster, &["lease", "keep-alive", &hexadecimal, "--once"]);
    assert_eq!(kept, format!("lease {lease} lives for 60s\n"));
    assert!(ok(cluster, &["lease", "list"]).lines().any(|line| line == lease));
    ok(cluster, &["lease", "revoke", lease]);
    assert_eq!(run(cluster, &["get", "hung"]).0, 1);
    for verb in ["timetolive", "keep-alive", "revoke"] {
        let (code, stdout, stderr) = run(cluster, &["lease", verb, lease]);
        assert_eq!((code, &stdout[..]), (1, ""), "{verb}: {stderr}");
    }
    assert_eq!(run(cluster, &["put", "hung", "x", "--lease", lease]).0, 3);
}

fn a_command_for_each_change(cluster: &Cluster) {
    let revision = ok(cluster, &["put", "seen/a", "one"]);
    let revision = revision.trim().strip_prefix("revision ").unwrap();
    ok(cluster, &["del", "seen/a"]);
    ok(cluster, &["put", "seen/a", "stop"]);
    let script = "echo $CAIRN_WATCH_EVENT_TYPE $CAIRN_WATCH_KEY $CAIRN_WATCH_VALUE $(cat); \
                  test \"$CAIRN_WATCH_VALUE\" != stop || exit 9";
    let arguments = ["watch", "seen/", "--revision", revision, "--exec", "sh", "-c", script];
    let (code, stdout, stderr) = run(cluster, &arguments);
    assert_eq!(stdout, "PUT seen/a one one\nDELETE seen/a\nPUT seen/a stop stop\n");
    assert_eq!(code, 9);
    assert!(stderr.contains("carry on with --revision"), "{stderr}");
}

/// The leader of an election dies, and so does the cluster's.
fn an_election_fails_over(cluster: &mut Cluster) {
    let mut seen = Running::start(cluster, &["elect", "primary", "--listen"]);
    let mut first = Running::start(cluster, &["elect", "primary", "first", "--ttl", "2s"]);
    let fence = first.line();
    assert!(seen.line().ends_with("\tfirst"));
    let mut second = Running::start(cluster, &["elect", "primary", "second", "--ttl", "10s"]);
    until_queued(cluster, "primary/", 2);
    first.process.kill();
    let later = second.line();
    assert!(token(&later) > token(&fence));
    assert!(seen.line().ends_with("\tsecond"));
    let leader = cluster.wait_for_leader();
    cluster.kill(leader);
    eventually("the one who leads goes on", PATIENCE, || {
        let (code, ..) = run(cluster, &["put", "state", "on", "--fence", &later]);
        (code == 0).then_some(())
    });
    assert!(second.process.is_alive());
    send(second.process.pid(), Signal::INT);
    second.ends_with(0);
    assert_eq!(ok(cluster, &["scan", "primary/"]), "", "it has stepped down");
}
