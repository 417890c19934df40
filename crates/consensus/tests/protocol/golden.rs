//! Runs the scripts in `tests/scripts`: commands above `---`, everything that came out below.
//!
//! `UPDATE=1 cargo test -p consensus --test protocol` writes what comes out now; the diff is then
//! read by a person. A script begins with the cluster's shape; lines with `#` are for the reader.
//!
//! ```text
//! cluster 3 [paxos|zab] [witness=N] [append=BYTES] [window=N] [retain=BYTES] [notice=MS] [phase1=N phase2=N]
//!               [lease=PER_MILLE]
//! timeout r1            time passes until r1's deadline      advance 600ms | tick r1
//! pass 900ms [without r3]    heartbeats and timeouts as they come; what concerns r3 is lost
//! deliver [WHICH]       delivers what is under way now       lose [WHICH] | twice [WHICH]
//! hold [WHICH]          keeps messages back                  release
//! settle [without r3]   delivers until nothing is under way  quiet COMMAND: without its trace
//! disk r1 manual|auto   flush r1 | crash r1 | restart r1 [in-doubt] | damage r1 ENTRIES
//! propose r1 a b | read r1 7 | transfer r1 r2 | unreachable r1 r2
//! join r4               a replica that knows of nobody starts
//! change r1 {1 2 4} +5 w4    r1 is to change the members: voters, learners, which are witnesses
//! checkpoint r1 | installed r2 5@1 | failed r2 | status r1
//! forge r1 r2 vote 9    a message that no correct replica sends; a ballot is given as 9.1
//! ```
//!
//! Lines about a host's own matters say `term` for Zab's epoch as for Raft's, and `vote` for whom it is
//! given to; Paxos's say `ballot`, and `promise` for what is on disk.
//! WHICH is any of `r1` (from or to), `r1>r2`, and the message's first word.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use consensus::quorum::Quorums;
use consensus::raft::{Cause, Message};
use consensus::{
    ClockDrift, Config, Epoch, Input, LogIndex, Membership, Position, Protocol, ReplicaId,
};

use crate::cluster::{Cluster, DiskMode, Mail};
use crate::{paxos, print, zab};

#[test]
fn scripts() {
    check("tests/scripts");
}

/// Runs the scripts of one directory.
pub(crate) fn check(directory: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("scripts")
        .map(|entry| entry.expect("one").path())
        .collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    assert!(!paths.is_empty(), "there are scripts");
    let mut failed = Vec::new();
    for path in paths {
        let expected = std::fs::read_to_string(&path).expect("a script");
        let actual = run(&expected);
        if actual == expected {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, actual).expect("it is written");
        } else {
            eprintln!("{}:\n{}", path.display(), difference(&expected, &actual));
            failed.push(path);
        }
    }
    assert!(failed.is_empty(), "UPDATE=1 rewrites what is meant: {failed:?}");
}

fn difference(expected: &str, actual: &str) -> String {
    let pairs = expected.lines().zip(actual.lines()).enumerate();
    let first = pairs.into_iter().find(|(_, (expected, actual))| expected != actual);
    match first {
        Some((line, (expected, actual))) => {
            format!("line {}:\n  expected {expected}\n  actual   {actual}", line + 1)
        }
        None => "one is longer than the other".to_owned(),
    }
}

/// Gives the script with what its commands really print.
fn run(script: &str) -> String {
    let mut player = Player { cluster: Cluster::new(1, |_| {}), held: Vec::new() };
    let mut result = String::new();
    let mut in_output = false;
    for line in script.lines() {
        if line == "---" {
            in_output = true;
            result += "---\n";
            for line in std::mem::take(&mut player.cluster.trace) {
                let _ = writeln!(result, "{line}");
            }
        } else if line.trim().is_empty() {
            in_output = false;
            result += "\n";
        } else if !in_output {
            let _ = writeln!(result, "{line}");
            if !line.starts_with('#') {
                player.play(line);
            }
        }
    }
    result
}

struct Player {
    cluster: Cluster,
    held: Vec<Mail>,
}

impl Player {
    fn play(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (command, words) = words.split_first().expect("a command");
        let cluster = &mut self.cluster;
        match *command {
            "quiet" => {
                self.play(&words.join(" "));
                self.cluster.trace.clear();
            }
            "cluster" => *cluster = new_cluster(words),
            "timeout" => cluster.timeout(id(words[0])),
            "advance" => cluster.advance(duration(words[0])),
            "pass" => {
                let ids: Vec<_> = words.iter().skip(2).map(|word| id(word)).collect();
                cluster.pass(duration(words[0]), &ids);
            }
            "tick" => cluster.input(id(words[0]), Input::Tick),
            "deliver" => cluster.deliver(which(words)),
            "lose" => {
                for mail in cluster.take(which(words)) {
                    let line =
                        format!("{} ✗ {}: {}", mail.from, mail.to, print::message(&mail.message));
                    cluster.trace.push(line);
                }
            }
            "twice" => {
                let copies: Vec<_> =
                    cluster.mail.iter().filter(|m| which(words)(m)).cloned().collect();
                cluster.mail.extend(copies);
            }
            "hold" => self.held.extend(cluster.take(which(words))),
            "release" => cluster.mail.extend(self.held.drain(..)),
            "settle" => {
                let ids: Vec<_> = words.iter().skip(1).map(|word| id(word)).collect();
                cluster.settle_without(&ids);
            }
            _ => self.play_host(command, words),
        }
    }

    fn play_host(&mut self, command: &str, words: &[&str]) {
        let cluster = &mut self.cluster;
        let who = id(words[0]);
        match command {
            "disk" if words[1] == "manual" => cluster.set_disk(who, DiskMode::Manual),
            "disk" => cluster.set_disk(who, DiskMode::Auto),
            "flush" => cluster.flush(who),
            "crash" => cluster.crash(who),
            "restart" => cluster.restart(who, words.get(1) == Some(&"in-doubt")),
            "damage" => cluster.damage(who, words[1].parse().expect("a number")),
            "propose" => cluster.propose(who, &words[1..]),
            "read" => cluster.read(who, words[1].parse().expect("a number")),
            "transfer" => cluster.input(who, Input::Transfer { to: id(words[1]) }),
            "unreachable" => cluster.input(who, Input::Unreachable { peer: id(words[1]) }),
            "join" => cluster.join(who),
            "change" => cluster.change(who, membership(&words[1..].join(" "))),
            "checkpoint" => cluster.checkpoint(who),
            "installed" => cluster.install(who, position(words[1])),
            "failed" => cluster.input(who, Input::SnapshotFailed),
            "status" => {
                let line = print::status(cluster.protocol(), &cluster.status(who));
                cluster.trace.push(line);
            }
            "forge" => {
                let (to, kind, epoch) = (id(words[1]), words[2], epoch(words[3]));
                let message = match cluster.protocol() {
                    Protocol::Raft => consensus::Message::Raft(forged(kind, epoch)),
                    Protocol::Paxos => consensus::Message::Paxos(paxos::forged(kind, epoch)),
                    Protocol::Zab => consensus::Message::Zab(zab::forged(kind, epoch)),
                };
                cluster.hand_in(Mail { from: who, to, message });
            }
            other => panic!("no such command: {other}"),
        }
    }
}

fn new_cluster(words: &[&str]) -> Cluster {
    let size = words[0].parse().expect("a size");
    let named = words.get(1).and_then(|word| word.parse::<Protocol>().ok());
    let options = &words[if named.is_some() { 2 } else { 1 }..];
    let protocol = named.unwrap_or_default();
    let (mistakes, options): (Vec<&str>, Vec<&str>) =
        options.iter().partition(|word| word.starts_with('!'));
    Cluster::of(protocol, size, |config| {
        adjust(config, &options);
        for mistake in &mistakes {
            plant(config, protocol, mistake);
        }
    })
}

/// A mistake of all protocols, as the tests below write it into a script.
#[cfg(feature = "planted")]
fn plant(config: &mut Config, protocol: Protocol, mistake: &str) {
    use consensus::{Planted, paxos, raft, zab};
    config.planted = Some(match (protocol, mistake) {
        (Protocol::Raft, "!lagging") => Planted::Raft(raft::Planted::HandOverToLagging),
        (Protocol::Paxos, "!lagging") => Planted::Paxos(paxos::Planted::HandOverToLagging),
        (Protocol::Zab, "!lagging") => Planted::Zab(zab::Planted::HandOverToLagging),
        (Protocol::Raft, "!proposes") => Planted::Raft(raft::Planted::ProposesInHandOver),
        (Protocol::Paxos, "!proposes") => Planted::Paxos(paxos::Planted::ProposesInHandOver),
        (Protocol::Zab, "!proposes") => Planted::Zab(zab::Planted::ProposesInHandOver),
        (_, other) => panic!("no such mistake: {other}"),
    });
}

#[cfg(not(feature = "planted"))]
fn plant(_: &mut Config, _: Protocol, mistake: &str) {
    panic!("{mistake} needs the feature `planted`");
}

/// Neither mistake breaks safety, so no storm finds it: elections compare logs, and what is not committed may
/// be lost. It costs time and answers; the scripts tell.
#[cfg(feature = "planted")]
#[test]
fn mistakes_in_a_hand_over_are_found() {
    for (cluster, script) in [
        ("cluster 3", include_str!("../scripts/transfer.txt")),
        ("cluster 3 paxos", include_str!("../scripts/paxos/transfer.txt")),
        ("cluster 3 zab", include_str!("../scripts/zab/transfer.txt")),
    ] {
        let with = |mistake: &str| {
            let planted = format!("{cluster} {mistake}\n");
            script.replacen(&format!("{cluster}\n"), &planted, 1)
        };
        for mistake in ["!lagging", "!proposes"] {
            let script = with(mistake);
            assert_ne!(run(&script), script, "{cluster}: {mistake} changes something");
        }
        assert_eq!(run(script), script, "{cluster}: without it all is as before");
    }
}

fn adjust(config: &mut Config, words: &[&str]) {
    for word in words {
        let (name, value) = word.split_once('=').expect("name=value");
        let value: usize = value.parse().expect("a number");
        match name {
            "witness" => drop(config.witnesses.insert(ReplicaId(value as u64))),
            "append" => config.max_append_bytes = value,
            "window" => config.max_inflight_appends = value,
            "retain" => config.log_retain_bytes = value,
            "notice" => config.commit_notice_delay = Duration::from_millis(value as u64),
            "lease" => config.lease = ClockDrift::per_mille(u16::try_from(value).expect("few")),
            "uncommitted" => config.max_uncommitted_bytes = value,
            "phase1" => quorums(config).phase1 = value,
            "phase2" => quorums(config).phase2 = value,
            other => panic!("no such option: {other}"),
        }
    }
}

fn quorums(config: &mut Config) -> &mut Quorums {
    let majorities = Quorums::majorities(config.voters.len());
    config.quorums.get_or_insert(majorities)
}

fn forged(kind: &str, term: Epoch) -> Message {
    match kind {
        "vote" => {
            let last = Position::default();
            Message::Vote { term, last, cause: Cause::Silence, nonce: 0 }
        }
        "pre-vote" => Message::PreVote { term, last: position("99@1") },
        "timeout-now" => Message::TimeoutNow { term },
        "commit" => Message::Commit { term, position: position("1@99") },
        other => panic!("no such forgery: {other}"),
    }
}

/// Whether all the words fit a message.
fn which(words: &[&str]) -> impl Fn(&Mail) -> bool {
    move |mail| words.iter().all(|word| fits(mail, word))
}

fn fits(mail: &Mail, word: &str) -> bool {
    if let Some((from, to)) = word.split_once('>') {
        return mail.from == id(from) && mail.to == id(to);
    }
    if word.starts_with('r') && word[1..].parse::<u64>().is_ok() {
        return mail.from == id(word) || mail.to == id(word);
    }
    print::message(&mail.message).split_whitespace().next() == Some(word)
}

fn id(word: &str) -> ReplicaId {
    ReplicaId(word.strip_prefix('r').and_then(|n| n.parse().ok()).expect("a replica like r1"))
}

/// Voters, learners, and which of them are witnesses: `{1 2 3} +4 w3 4`.
fn membership(text: &str) -> Membership {
    let ids = |text: &str| -> BTreeSet<_> {
        text.split_whitespace().map(|n| ReplicaId(n.parse().expect("a number"))).collect()
    };
    let (text, witnesses) = text.split_once('w').unwrap_or((text, ""));
    let (voters, learners) = text.split_once('}').expect("members like {1 2 3} +4");
    let voters = ids(voters.trim_start_matches('{'));
    let learners = ids(learners.trim_start().trim_start_matches('+'));
    Membership { learners, witnesses: ids(witnesses), ..Membership::of(voters) }
}

fn position(word: &str) -> Position {
    let (index, epoch) = word.split_once('@').expect("a position like 5@1");
    let index = LogIndex(index.parse().expect("an index"));
    Position { index, epoch: self::epoch(epoch) }
}

fn epoch(word: &str) -> Epoch {
    let (round, proposer) = word.split_once('.').unwrap_or((word, "0"));
    let number = |word: &str| word.parse().expect("an epoch like 5 or 5.1");
    Epoch { round: number(round), proposer: number(proposer) }
}

fn duration(word: &str) -> Duration {
    let millis = word.strip_suffix("ms").and_then(|n| n.parse().ok()).expect("a time like 600ms");
    Duration::from_millis(millis)
}
