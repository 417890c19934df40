//! The disks of a majority are lost, and the node that is left goes on.

use std::time::Duration;

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::process::cairn;
use crate::support::{alone, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// Exit code, stdout, stderr.
fn say(args: &[&str]) -> (i32, String, String) {
    let output = cairn().args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_survivor_of_a_lost_majority_goes_on_by_raft() {
    survives("raft");
}

#[test]
fn the_survivor_of_a_lost_majority_goes_on_by_paxos() {
    survives("paxos");
}

#[test]
fn the_survivor_of_a_lost_majority_goes_on_by_zab() {
    survives("zab");
}

fn survives(protocol: &str) {
    let _alone = alone();
    let mut cluster = Cluster::prepare(3);
    let flags = || vec!["--protocol".to_owned(), protocol.to_owned()];
    (1..=3).for_each(|node| cluster.set_flags(node, flags()));
    (1..=3).for_each(|node| cluster.launch(node));
    cluster.wait_for_leader();
    let endpoints = cluster.endpoints();
    let at_all = |args: &[&str]| say(&[args, &["--endpoints", &endpoints]].concat());
    assert_eq!(at_all(&["put", "kept", "yes"]).0, 0);
    cluster.wait_until_caught_up(3);
    let dir = cluster.dir().path().join("node-3");
    let dir = dir.to_str().unwrap().to_owned();
    let (code, _, stderr) = say(&["recover", &dir]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("stop the node first"), "{stderr}");

    // Two are gone, with all that they had.
    cluster.kill_all();
    let (code, stdout, stderr) = say(&["recover", &dir, "--output", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let before: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&before["result"], &before["node"]), (&"looked".into(), &3.into()), "{before}");
    assert_eq!(before["members"], Value::from([1, 2, 3].map(Value::from).to_vec()));
    let (code, stdout, _) = say(&["recover", &dir]);
    assert!(code == 0 && stdout.contains("whose members are 1, 2, 3"), "{stdout}");
    let former = before["former_cluster"].as_str().unwrap();
    let (code, _, stderr) = say(&["recover", &dir, "--cluster", former]);
    assert_eq!(code, 2, "{stderr}");
    let (code, stdout, stderr) = say(&["recover", &dir, "--cluster", "second"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("node 3 is the only node of cluster second now"), "{stdout}");

    // It serves and takes writes, under the other name only.
    cluster.launch(3);
    assert_eq!(cluster.wait_for_end(3), Some(3), "the old name is refused");
    let mut as_second = flags();
    as_second.extend(["--cluster".to_owned(), "second".to_owned()]);
    cluster.set_flags(3, as_second);
    cluster.launch(3);
    let own = format!("127.0.0.1:{}", cluster.client_port(3));
    let at_own = |args: &[&str]| say(&[args, &["--endpoints", &own]].concat());
    eventually("the survivor serves", PATIENCE, || {
        (at_own(&["get", "kept"]) == (0, "yes".to_owned(), String::new())).then_some(())
    });
    assert_eq!(at_own(&["put", "more", "too"]).0, 0);
    let (_, members, _) = at_own(&["member", "list", "--output", "json"]);
    let members: Value = serde_json::from_str(&members).unwrap();
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "{members}");

    // The others come back after all: they are a cluster of their own, and stay apart.
    cluster.launch(1);
    cluster.launch(2);
    eventually("the others serve", PATIENCE, || {
        let first = format!("127.0.0.1:{}", cluster.client_port(1));
        let (code, stdout, _) = say(&["get", "more", "--endpoints", &first]);
        (code == 1 && stdout.is_empty()).then_some(())
    });
    assert_eq!(at_own(&["get", "more"]).1, "too");

    // A new node joins the survivor, under a number that nobody had.
    let peer = format!("127.0.0.1:{}", cluster.peer_port(3) + 500);
    let (code, stdout, stderr) = at_own(&["member", "add", &peer, "--output", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let added: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(added["node"], 4, "{added}");
}
