//! `cairn verify` on what real nodes have left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::alone;
use crate::support::cluster::Cluster;
use crate::support::process::cairn;

/// Exit code, stdout, stderr.
fn verify(dir: &Path, flags: &[&str]) -> (i32, String, String) {
    let output = cairn().arg("verify").arg(dir).args(flags).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn findings(dir: &Path) -> (i32, Value) {
    let (code, stdout, stderr) = verify(dir, &["--output", "json"]);
    assert_eq!(stderr, "");
    (code, serde_json::from_str(&stdout).unwrap())
}

/// Every file below a directory with its bytes, and when it and its directory were changed last.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = path.metadata().unwrap().modified().unwrap();
        let bytes = if path.is_dir() {
            all.extend(contents(&path));
            Vec::new()
        } else {
            std::fs::read(&path).unwrap()
        };
        all.insert(path, (bytes, changed));
    }
    all
}

/// Changes a file, has a look, and puts the file back.
fn spoil(dir: &Path, file: &str, spoil: impl FnOnce(&mut Vec<u8>)) -> (i32, Value) {
    let path = dir.join(file);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    spoil(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    let before = contents(dir);
    let found = findings(dir);
    assert!(contents(dir) == before, "{file}: something was changed");
    std::fs::write(&path, whole).unwrap();
    found
}

fn first_run(dir: &Path) -> String {
    let names = std::fs::read_dir(dir.join("engine")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_run = |name: &String| Path::new(name).extension().is_some_and(|end| end == "run");
    format!("engine/{}", names.find(is_run).expect("a node that stops flushes"))
}

#[test]
fn what_a_stopped_node_has_is_whole_and_what_is_spoilt_is_told() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let dir = cluster.dir().path().join("node-1");
    for number in 0..300 {
        let target = format!("/v1/kv/key-{number:04}");
        let answer = cluster.ask(1, "PUT", &target, &[b'v'; 100]).unwrap();
        assert!(answer.status < 300, "{}", answer.status);
    }
    cluster.wait_until_caught_up(1);

    let (code, stdout, stderr) = verify(&dir, &[]);
    assert_eq!((code, stdout.as_str()), (3, ""), "a node has it");
    let pid = cluster.process(1).pid();
    assert!(stderr.contains(&format!("in use by process {pid}")), "{stderr}");
    assert!(stderr.contains("stop the node first"), "{stderr}");

    cluster.process(1).signal(Signal::TERM);
    assert!(cluster.process(1).wait(Duration::from_secs(20)).success());
    let before = contents(&dir);
    let (code, stdout, stderr) = verify(&dir, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("whole; node 1 of cluster e2e"), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(contents(&dir) == before, "something was changed");

    spoilt_files(&dir);
    let (code, _) = findings(&dir);
    assert_eq!(code, 0, "all is as it was");
}

fn spoilt_files(dir: &Path) {
    let run = first_run(dir);
    let (code, found) = spoil(dir, &run, |bytes| bytes[100] ^= 1);
    assert_eq!((code, &found["result"]), (5, &"damaged".into()), "{found}");
    let finding = &found["findings"][0];
    assert_eq!((&finding["file"], &finding["offset"]), (&run.as_str().into(), &0.into()));
    assert!(finding["to_do"].as_str().unwrap().contains("`engine` directory"), "{found}");

    let (code, found) = spoil(dir, &run, |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!((code, &found["findings"][0]["file"]), (5, &run.as_str().into()), "{found}");

    let segment = "journal/0000000001.seg";
    // In the middle of a batch that later ones prove to have been synced.
    let (code, found) = spoil(dir, segment, |bytes| bytes[9000] ^= 1);
    assert_eq!((code, &found["result"]), (1, &"heals".into()), "{found}");
    assert_eq!(found["findings"][0]["file"], segment);
    assert!(found["findings"][0]["offset"].as_u64().unwrap() <= 9000, "{found}");

    let (code, found) = spoil(dir, segment, |bytes| bytes.truncate(10_000));
    assert_eq!((code, &found["findings"][0]["file"]), (5, &segment.into()), "{found}");

    let (code, found) = spoil(dir, "engine/tree", |bytes| bytes[9] ^= 1);
    assert_eq!((code, &found["findings"][0]["file"]), (5, &"engine/tree".into()), "{found}");

    let (code, found) = spoil(dir, "IDENTITY", |bytes| bytes.truncate(150));
    assert_eq!((code, &found["findings"][0]["file"]), (5, &"IDENTITY".into()), "{found}");
}

#[test]
fn a_node_that_was_killed_has_nothing_damaged() {
    let _alone = alone();
    let mut cluster = Cluster::start(1);
    let dir = cluster.dir().path().join("node-1");
    for number in 0..50 {
        cluster.ask(1, "PUT", &format!("/v1/kv/{number}"), b"value").unwrap();
    }
    cluster.kill(1);
    let (code, found) = findings(&dir);
    assert_eq!((code, &found["result"]), (0, &"whole".into()), "{found}");
    assert_eq!((&found["cluster"], &found["node"]), (&"e2e".into(), &1.into()));
    let (code, _, stderr) = verify(cluster.dir().path(), &[]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("not the data directory of a node"), "{stderr}");
}
