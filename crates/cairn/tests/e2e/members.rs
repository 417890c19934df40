//! Nodes that come and go while the cluster runs.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::process::{Process, cairn};
use crate::support::{alone, eventually};

/// How long the cluster may take for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process ends with that the cluster does not take.
const NO_MEMBER: i32 = 6;

const KEYS: usize = 20;

#[test]
fn a_node_joins_and_the_leader_is_removed() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    fill(&cluster);
    let start = added(&cluster, &["member", "add"], 4);
    let mut fourth = launch(&cluster, 4, &start);
    wait_for_voters(&cluster, &[1, 2, 3, 4]);
    // The directory remembers that it has joined, and who else there is.
    fourth.signal(Signal::TERM);
    assert!(fourth.wait(PATIENCE).success());
    let again: Vec<String> = start.into_iter().filter(|arg| arg != "--join").collect();
    let mut fourth = launch(&cluster, 4, &again);
    wait_for_answer(&cluster, 4);
    let leader = cluster.wait_for_leader();
    let said = ok(&cluster, &["drain", &leader.to_string()]);
    assert!(said.contains("3 voters: the cluster survives the loss of 1"), "{said}");
    let status = cluster.process(leader).wait(PATIENCE);
    assert_eq!(status.code(), Some(NO_MEMBER));
    assert!(log(&cluster, leader).contains("\"code\":\"node-removed\""));
    let left: Vec<u16> = [1, 2, 3, 4].into_iter().filter(|node| *node != leader).collect();
    wait_for_voters(&cluster, &left);
    check(&cluster);
    assert!(fourth.is_alive());
    // Its number does not come back.
    let refused = fails(&cluster, 3, &["member", "remove", &leader.to_string()]);
    assert!(refused.contains(&format!("there is no node {leader}")), "{refused}");
}

#[test]
fn an_empty_directory_is_refused_and_a_new_node_takes_its_place() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    fill(&cluster);
    cluster.wait_until_caught_up(2);
    eventually("all know one another", PATIENCE, || {
        let met = |node: u16| std::fs::read_to_string(data_dir(&cluster, node).join("PEERS")).ok();
        let all = [1, 3].map(|node| met(node).is_some_and(|text| text.contains("\n2 = ")));
        (all == [true, true]).then_some(())
    });
    cluster.kill(2);
    std::fs::remove_dir_all(data_dir(&cluster, 2)).unwrap();
    cluster.launch(2);
    let status = cluster.process(2).wait(PATIENCE);
    assert_eq!(status.code(), Some(NO_MEMBER));
    let said = log(&cluster, 2);
    assert!(said.contains("\"code\":\"node-forgetful\""), "{said}");
    assert!(said.contains("cairn member replace 2 "), "{said}");
    let start = added(&cluster, &["member", "replace", "2"], 2);
    let voters = [1, 2, 3];
    wait_for_voters(&cluster, &voters);
    let _fourth = launch(&cluster, 4, &start);
    wait_for_voters(&cluster, &[1, 3, 4]);
    check(&cluster);
    // It has caught up, and answers from its own copy.
    let endpoint = format!("127.0.0.1:{}", cluster.client_port(2));
    let args = ["get", "k7", "--consistency", "eventual", "--endpoints", &endpoint];
    eventually("the new node has all", PATIENCE, || {
        let (code, stdout, _) = say(&cluster, &args);
        (code == 0 && stdout == "v7").then_some(())
    });
}

/// Two nodes with the data and a witness survive the loss of one, whoever that is.
#[test]
fn a_witness_votes_without_the_data() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    fill(&cluster);
    let start = added(&cluster, &["member", "add", "--witness"], 4);
    let mut fourth = launch(&cluster, 4, &start);
    wait_for(&cluster, "witness", &[4]);
    let leader = cluster.wait_for_leader();
    let removed = if leader == 3 { 2 } else { 3 };
    let said = ok(&cluster, &["member", "remove", &removed.to_string()]);
    assert!(
        said.contains("3 voters, 1 of them a witness: the cluster survives the loss of 1"),
        "{said}"
    );
    let left: Vec<u16> = [1, 2, 3].into_iter().filter(|node| *node != removed).collect();
    wait_for_voters(&cluster, &left);
    check(&cluster);
    cluster.kill(leader);
    eventually("the other data node leads", PATIENCE, || {
        (say(&cluster, &["--timeout", "2s", "put", "after", "all"]).0 == 0).then_some(())
    });
    check(&cluster);
    // It has nothing to read, and leads whoever asks it to where there is something.
    let endpoint = format!("127.0.0.1:{}", cluster.client_port(4));
    let (code, stdout, _) = say(&cluster, &["get", "k7", "--endpoints", &endpoint]);
    assert_eq!((code, stdout.as_str()), (0, "v7"));
    let engine = std::fs::read_dir(data_dir(&cluster, 4).join("engine"));
    let bytes = engine.unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert!(bytes < 4096, "{bytes} bytes of data at a witness");
    assert!(fourth.is_alive());
}

/// Asks for a node that is found at the ports of `node`; tells how it is started.
fn added(cluster: &Cluster, command: &[&str], node: u16) -> Vec<String> {
    let local = |port: u16| format!("127.0.0.1:{port}");
    let (peer, client) = (local(cluster.peer_port(node)), local(cluster.client_port(node)));
    let args = [&peer, "--client-address", &client, "--output", "json"];
    let said = ok(cluster, &[command, &args[..]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["node"], &said["part"]), (&4.into(), &"joining".into()), "{said}");
    let arguments = said["start"].as_array().unwrap().iter().skip(1);
    arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

fn launch(cluster: &Cluster, node: u16, arguments: &[String]) -> Process {
    let log = cluster.dir().path().join(format!("node-{node}.log"));
    let log = File::options().create(true).append(true).open(log).unwrap();
    let mut command = cairn();
    command.args(arguments).arg("--data-dir").arg(data_dir(cluster, node));
    command.args(["--log-format", "json"]).stdout(Stdio::null()).stderr(log);
    Process::start(&mut command)
}

fn data_dir(cluster: &Cluster, node: u16) -> PathBuf {
    cluster.dir().path().join(format!("node-{node}"))
}

fn log(cluster: &Cluster, node: u16) -> String {
    std::fs::read_to_string(cluster.dir().path().join(format!("node-{node}.log"))).unwrap()
}

fn fill(cluster: &Cluster) {
    for number in 0..KEYS {
        ok(cluster, &["put", &format!("k{number}"), &format!("v{number}")]);
    }
}

/// What was there is there still, and more can be written.
fn check(cluster: &Cluster) {
    ok(cluster, &["put", "later", "x"]);
    let said = ok(cluster, &["scan", "k", "--count-only"]);
    assert_eq!(said.trim(), KEYS.to_string());
}

fn wait_for_voters(cluster: &Cluster, wanted: &[u16]) {
    wait_for(cluster, "voter", wanted);
}

/// Waits until these and no others take part so.
fn wait_for(cluster: &Cluster, part: &str, wanted: &[u16]) {
    eventually(&format!("{part} {wanted:?}"), PATIENCE, || {
        let (_, said, _) = say(cluster, &["member", "list", "--output", "json"]);
        let said: Value = serde_json::from_str(&said).ok()?;
        let those = said["members"].as_array()?.iter().filter(|member| member["part"] == part);
        let those: Vec<u64> = those.filter_map(|member| member["node"].as_u64()).collect();
        (those == wanted.iter().map(|node| u64::from(*node)).collect::<Vec<_>>()).then_some(())
    });
}

fn wait_for_answer(cluster: &Cluster, node: u16) {
    eventually("the node answers", PATIENCE, || cluster.is_ready(node).then_some(()));
}

/// Exit code, stdout, stderr.
fn say(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let endpoints = [1, 2, 3, 4].map(|node| format!("127.0.0.1:{}", cluster.client_port(node)));
    let mut command = cairn();
    command.args(args).env("CAIRN_ENDPOINTS", endpoints.join(","));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn ok(cluster: &Cluster, args: &[&str]) -> String {
    let (code, stdout, stderr) = say(cluster, args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

fn fails(cluster: &Cluster, code: i32, args: &[&str]) -> String {
    let (actual, stdout, stderr) = say(cluster, args);
    assert_eq!((actual, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
    stderr
}
