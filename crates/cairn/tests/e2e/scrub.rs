//! `cairn scrub` on a cluster that serves.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::alone;
use crate::support::cluster::Cluster;
use crate::support::process::cairn;

const KEYS: u64 = 300;

/// Exit code, stdout, stderr.
fn scrub(cluster: &Cluster, flags: &[&str]) -> (i32, String, String) {
    let mut command = cairn();
    command.args(["--endpoints", &cluster.endpoints(), "scrub"]).args(flags);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn first_run(dir: &Path) -> PathBuf {
    let names = std::fs::read_dir(dir.join("engine")).unwrap();
    let mut paths = names.map(|entry| entry.unwrap().path());
    let is_run = |path: &PathBuf| path.extension().is_some_and(|end| end == "run");
    paths.find(is_run).expect("a node that stops flushes")
}

#[test]
fn nodes_that_hold_the_same_are_told_from_one_that_is_spoilt_and_one_that_is_gone() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    for number in 0..KEYS {
        let target = format!("/v1/kv/key-{number:04}");
        let answer = cluster.ask(1, "PUT", &target, &[b'v'; 100]).unwrap();
        assert!(answer.status < 300, "{}", answer.status);
    }
    let (code, stdout, stderr) = scrub(&cluster, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("all nodes hold the same"), "{stdout}");
    let (code, stdout, stderr) = scrub(&cluster, &["--output", "json"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["result"], "alike");
    let nodes = document["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["keys"].as_u64() >= Some(KEYS)), "{document}");

    cluster.stop(2);
    let (code, stdout, stderr) = scrub(&cluster, &["--wait-limit", "2s"]);
    assert_eq!(code, 3, "{stdout}");
    assert!(stderr.contains("node 2 does not answer"), "{stderr}");

    let run = first_run(&cluster.dir().path().join("node-2"));
    let mut bytes = std::fs::read(&run).unwrap();
    // Among keys that nobody asks for, or the node would find it by itself, and stop.
    bytes[20_000] ^= 1;
    std::fs::write(&run, bytes).unwrap();
    cluster.launch(2);
    cluster.wait_until_caught_up(2);
    let (code, stdout, stderr) = scrub(&cluster, &[]);
    assert_eq!(code, 5, "{stdout}{stderr}");
    assert!(stderr.contains("node 2 can't read what it holds"), "{stderr}");
    let file = run.file_name().unwrap().to_str().unwrap().trim_start_matches("tree.");
    assert!(stderr.contains(file), "{stderr} names no {file}");
    assert!(stderr.contains("move the `engine` directory"), "{stderr}");
    assert!(cluster.process(2).is_alive(), "it goes on");
}
