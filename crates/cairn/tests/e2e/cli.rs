//! The client commands as a script sees them: stdout, stderr, exit codes.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::process::{Process, cairn};
use crate::support::{TestDir, alone, eventually};

struct Shell<'a> {
    cluster: &'a Cluster,
}

impl Shell<'_> {
    fn run(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = cairn();
        command.args(args).env("CAIRN_ENDPOINTS", self.cluster.endpoints());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Exit code, stdout, stderr.
    fn say(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.run(args, b"");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.say(args);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}: {stdout}");
        stdout
    }

    fn fails(&self, code: i32, args: &[&str]) -> String {
        let (actual, stdout, stderr) = self.say(args);
        assert_eq!((actual, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
        stderr
    }
}

#[test]
fn commands_as_a_script_sees_them() {
    let _alone = alone();
    let cluster = Cluster::start(3);
    let shell = Shell { cluster: &cluster };
    one_key(&shell);
    conditions(&shell);
    bytes_of_any_kind(&shell, &cluster);
    lists(&shell);
    transactions(&shell);
    operators(&shell, &cluster);
    words_for_programs(&shell);
}

fn one_key(shell: &Shell<'_>) {
    assert!(shell.ok(&["put", "hello", "world"]).starts_with("revision "));
    assert_eq!(shell.ok(&["get", "hello"]), "world", "not a byte more");
    assert_eq!(shell.ok(&["get", "hello", "--consistency", "session:1"]), "world");
    assert!(shell.ok(&["del", "hello"]).starts_with("deleted 1 at revision "));
    assert!(shell.fails(1, &["get", "hello"]).contains("\"hello\" is absent"));
    shell.fails(1, &["del", "hello"]);
    shell.fails(2, &["put", "hello"]);
    assert!(shell.fails(2, &["put", "", "x"]).contains("the key is empty"));
}

fn conditions(shell: &Shell<'_>) {
    shell.ok(&["put", "lock", "mine", "--if-absent"]);
    let refused = shell.fails(1, &["put", "lock", "theirs", "--if-absent"]);
    assert!(refused.contains("was last changed by revision"), "{refused}");
    let json = shell.ok(&["get", "lock", "--output", "json"]);
    let item: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(item["value"], "mine");
    let revision = item["modified"].to_string();
    shell.ok(&["put", "lock", "still mine", "--if-revision", &revision]);
    shell.fails(1, &["del", "lock", "--if-revision", &revision]);
    assert_eq!(shell.ok(&["get", "lock", "--revision", &revision]), "mine", "as it was then");
}

fn bytes_of_any_kind(shell: &Shell<'_>, cluster: &Cluster) {
    let value: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert!(shell.run(&["put", "bytes", "-"], &value).status.success());
    assert!(shell.run(&["get", "bytes"], b"").stdout == value);
    let (source, target) =
        (cluster.dir().path().join("source"), cluster.dir().path().join("target"));
    std::fs::write(&source, &value).unwrap();
    let (source, target) = (source.to_str().unwrap(), target.to_str().unwrap());
    shell.ok(&["put", "00ff", "--hex-keys", "--file", source]);
    shell.ok(&["get", "00ff", "--hex-keys", "--file", target]);
    assert!(std::fs::read(target).unwrap() == value);
    assert_eq!(shell.ok(&["scan", "00", "--hex-keys", "--keys-only"]), "00ff\n");
    assert!(shell.fails(5, &["put", "k", "--file", "no such file"]).contains("no such file"));
    std::fs::write(source, vec![0; (8 << 20) + 1]).unwrap();
    let refused = shell.fails(3, &["put", "k", "--file", source]);
    assert!(refused.contains("over the limit of 8388608 bytes (set by --max-value)"), "{refused}");
}

fn lists(shell: &Shell<'_>) {
    for number in 0..5 {
        shell.ok(&["put", &format!("list/{number}"), &number.to_string()]);
    }
    assert_eq!(shell.ok(&["scan", "list/", "--limit", "2"]), "list/0\t0\nlist/1\t1\n");
    assert_eq!(shell.ok(&["scan", "list/", "--count-only"]), "5\n");
    let range = ["scan", "--from", "list/3", "--to", "list/5", "--keys-only"];
    assert_eq!(shell.ok(&range), "list/3\nlist/4\n");
    assert!(shell.ok(&["del", "--prefix", "list/"]).starts_with("deleted 5"));
    assert_eq!(shell.ok(&["scan", "list/"]), "");
}

fn transactions(shell: &Shell<'_>) {
    let document = br#"{
        "compare": [{"key":"a","target":"version","operator":"=","operand":0}],
        "then": [{"put":{"key":"a","value":"1"}}],
        "else": [{"get":{"key":"a"}}]
    }"#;
    let first = shell.run(&["txn", "-"], document);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let second = shell.run(&["txn", "--output", "json"], document);
    assert_eq!(second.status.code(), Some(1), "`else` was done");
    let answer: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(answer["results"][0]["get"]["items"][0]["value"], "1");
    let wrong = shell.run(&["txn"], br#"{"than":[]}"#);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("than"));
}

fn operators(shell: &Shell<'_>, cluster: &Cluster) {
    let leader = cluster.wait_for_leader();
    let other = cluster.numbers().into_iter().find(|&node| node != leader).unwrap();
    let words = shell.ok(&["leader", "transfer", &other.to_string()]);
    assert!(words.starts_with(&format!("node {other} leads")), "{words}");
    let table = shell.ok(&["status"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.lines().filter(|line| line.contains("leader  ")).count() == 1, "{table}");
    let file = cluster.dir().path().join("backup.cairn");
    let file = file.to_str().unwrap();
    shell.ok(&["snapshot", "save", file]);
    assert!(shell.ok(&["snapshot", "verify", file]).contains("whole"));
    let refused = shell.fails(3, &["snapshot", "restore", file]);
    assert!(refused.contains("empty"), "{refused}");
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    assert!(shell.fails(5, &["snapshot", "verify", file]).contains("damaged at byte"));
    assert!(shell.fails(5, &["snapshot", "restore", file]).contains("damaged at byte"));
}

fn words_for_programs(shell: &Shell<'_>) {
    let error = shell.fails(1, &["get", "absent", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!((&error["error"]["code"], &error["exit"]), (&"absent".into(), &1.into()));
    let nobody = ["get", "k", "--endpoints", "127.0.0.1:1", "--timeout", "300ms"];
    assert!(shell.fails(3, &nobody).contains("help: "));
}

#[test]
fn a_watch_sees_every_change() {
    let _alone = alone();
    let cluster = Cluster::start_empty(1);
    let shell = Shell { cluster: &cluster };
    shell.ok(&["put", "a", "1"]);
    let log = cluster.dir().path().join("watch.out");
    let mut command = cairn();
    command.args(["watch", "--revision", "1", "--endpoints", &cluster.endpoints()]);
    command.stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::null());
    let mut watch = Process::start(&mut command);
    shell.ok(&["put", "b", "2"]);
    shell.ok(&["del", "a"]);
    let seen = eventually("all changes", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.lines().count() >= 3).then_some(text)
    });
    assert_eq!(seen, "2\tput\ta\t1\n3\tput\tb\t2\n4\tdelete\ta\n");
    watch.signal(rustix::process::Signal::INT);
    assert!(watch.wait(Duration::from_secs(5)).success());
}

#[test]
fn a_snapshot_brings_all_back_into_an_empty_cluster() {
    let _alone = alone();
    let (all, saved, dir) = {
        let cluster = Cluster::start_empty(1);
        let shell = Shell { cluster: &cluster };
        for number in 0..50 {
            shell.ok(&["put", &format!("k{number}"), &format!("v{number}")]);
        }
        let dir = TestDir::new();
        let file = dir.path().join("backup.cairn");
        let saved = shell.ok(&["snapshot", "save", file.to_str().unwrap(), "--output", "json"]);
        (shell.ok(&["scan"]), saved, dir)
    };
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    assert_eq!((&saved["keys"], &saved["revision"]), (&50.into(), &51.into()));
    let cluster = Cluster::start_empty(3);
    let shell = Shell { cluster: &cluster };
    let file = dir.path().join("backup.cairn");
    shell.ok(&["snapshot", "restore", file.to_str().unwrap()]);
    assert_eq!(shell.ok(&["scan"]), all);
    let json = shell.ok(&["get", "k7", "--output", "json"]);
    let item: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(item["modified"], 9, "keys keep their revisions");
    shell.fails(3, &["snapshot", "restore", file.to_str().unwrap()]);
}
