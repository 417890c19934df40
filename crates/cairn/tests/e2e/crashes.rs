//! `kill -9`, SIGSTOP and the loss of all nodes at once, under a workload whose history is checked.

mod workload;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::cluster::Cluster;
use crate::support::process::{Process, cairn};
use crate::support::{alone, eventually};
use workload::Workload;

/// Until writes go on after a leader's death. The elections take about a second; the rest is room
/// for a machine that does other things too.
const FAILOVER_LIMIT: Duration = Duration::from_secs(10);

/// Between faults, so that the workload sees calm too.
const CALM: Duration = Duration::from_millis(700);

#[test]
fn nothing_acknowledged_is_lost_and_every_key_is_linearizable() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let watch = Watch::start(&cluster);
    let workload = Workload::start(&cluster);
    sleep(CALM);

    kill_the_leader(&mut cluster, &workload);
    kill_a_follower(&mut cluster);
    pause_the_leader(&mut cluster, &workload);
    kill_everything(&mut cluster);
    kill_the_leader(&mut cluster, &workload);

    sleep(CALM);
    for node in cluster.numbers() {
        cluster.wait_until_caught_up(node);
    }
    let record = workload.finish();
    println!("{}", record.summary());
    record.check_registers();
    let found = scan(&cluster, "acked/");
    record.check_acknowledged(&found);
    watch.check(&found);
}

fn kill_the_leader(cluster: &mut Cluster, workload: &Workload) {
    let leader = cluster.wait_for_leader();
    cluster.kill(leader);
    // It is gone: what begins from here on is acknowledged by another.
    let killed = Instant::now();
    let gap = eventually("writes go on after the leader's death", FAILOVER_LIMIT, || {
        workload.acknowledged_since(killed)
    });
    println!(
        "leader {leader} killed: the next write was acknowledged after {} ms",
        gap.as_millis()
    );
    sleep(CALM);
    cluster.launch(leader);
    cluster.wait_until_caught_up(leader);
}

fn kill_a_follower(cluster: &mut Cluster) {
    let leader = cluster.wait_for_leader();
    let follower = cluster.numbers().into_iter().find(|&node| node != leader).unwrap();
    cluster.kill(follower);
    sleep(CALM);
    cluster.launch(follower);
    cluster.wait_until_caught_up(follower);
}

/// Longer than an election takes, so that the leader awakes into another's term.
fn pause_the_leader(cluster: &mut Cluster, workload: &Workload) {
    let leader = cluster.wait_for_leader();
    let paused = Instant::now();
    cluster.process(leader).signal(Signal::STOP);
    eventually("writes go on while the leader stands still", FAILOVER_LIMIT, || {
        workload.acknowledged_since(paused + CALM)
    });
    sleep(CALM);
    cluster.process(leader).signal(Signal::CONT);
    cluster.wait_until_caught_up(leader);
}

fn kill_everything(cluster: &mut Cluster) {
    cluster.kill_all();
    for node in cluster.numbers() {
        cluster.launch(node);
    }
    cluster.wait_for_leader();
    sleep(CALM);
}

/// `cairn watch`, from the first revision on, through all that happens.
struct Watch {
    process: Process,
    output: PathBuf,
}

impl Watch {
    fn start(cluster: &Cluster) -> Self {
        let output = cluster.dir().path().join("watch.out");
        let mut command = cairn();
        command.args(["watch", "acked/", "--revision", "1", "--keys-only", "--timeout", "1m"]);
        command.args(["--endpoints", &cluster.endpoints()]);
        command.stdout(File::create(&output).unwrap());
        Self { process: Process::start(&mut command), output }
    }

    /// It has seen every key once, in the order of revisions.
    fn check(mut self, found: &[(String, String)]) {
        let all = eventually("the watch has seen everything", Duration::from_secs(20), || {
            let text = std::fs::read_to_string(&self.output).unwrap();
            (text.lines().count() >= found.len()).then_some(text)
        });
        self.process.signal(Signal::INT);
        assert!(self.process.wait(Duration::from_secs(5)).success());
        let mut last = 0;
        let mut seen = BTreeSet::new();
        for line in all.lines() {
            let (revision, key) = line.split_once("\tput\t").unwrap();
            let revision: u64 = revision.parse().unwrap();
            assert!(revision > last, "revision {revision} stands behind {last}");
            assert!(seen.insert(key), "{key} came twice");
            last = revision;
        }
        let expected: BTreeSet<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(seen, expected);
    }
}

/// All keys with a prefix, with their values, as `cairn scan` prints them.
fn scan(cluster: &Cluster, prefix: &str) -> Vec<(String, String)> {
    let output =
        cairn().args(["scan", prefix, "--endpoints", &cluster.endpoints()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap();
        (key.to_owned(), value.to_owned())
    };
    text.lines().map(line).collect()
}

#[test]
fn two_of_three_nodes_are_needed_and_two_are_enough() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    let others: Vec<u16> = cluster.numbers().into_iter().filter(|&node| node != leader).collect();
    cluster.kill(others[0]);
    cluster.wait_for_leader();
    cluster.kill(others[1]);
    let refused = cairn()
        .args(["put", "k", "v", "--timeout", "2s", "--endpoints", &cluster.endpoints()])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&refused.stderr);
    let code = refused.status.code();
    assert!(matches!(code, Some(3 | 4)), "a write without a quorum: {code:?}: {words}");
    assert!(words.contains("outcome:"), "{words}");
    cluster.launch(others[0]);
    cluster.wait_for_leader();
    cluster.wait_until_caught_up(others[0]);
}
