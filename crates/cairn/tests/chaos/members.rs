//! A cluster whose members change, under the checked workload: it grows from three to five, loses a
//! node for good, has a bit flipped in every file of another, and shrinks to three again.
//! `just members`.
//!
//! Everything is done as an operator does it: by the command line, and new nodes are started with the
//! very command that it prints. What a seed decides is which node it hits and which bits, whether the new
//! node stands on the lost one's machine, and whether the operator has a copy of a spoilt `IDENTITY`.
//!
//! What must hold: writes go on after each step, whoever is no member any more ends and says why, and
//! doesn't come back; in the end the history is linearizable, every acknowledged write is there, the
//! members hold the same, and `cairn verify` finds all their disks whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::chance::Chance;
use crate::checks;
use crate::cluster::{Cluster, Node};
use crate::decay;
use crate::hosts::Host;
use crate::record::{Pause, Record};
use crate::rot;
use crate::workload::{APPENDS, Workload};

/// The whole run takes no longer; what is usual is a quarter of it.
pub(crate) const LIMIT: Duration = Duration::from_mins(6);

/// Machines beyond the first three: two that join, and one in a lost one's place.
pub(crate) const SPARE: u16 = 3;

/// How long any step of the cluster may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a node may take to end that was asked to, or is no member.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const TURN: Duration = Duration::from_millis(100);

/// Before each step the workload has some time for itself: it writes more than logs retain, so that who
/// joins needs a snapshot.
const CALM: Duration = Duration::from_secs(5);

/// How often an operator helps before he gives up.
const MOST_REMEDIES: u32 = 4;

/// What a node ends with that is no member, and those with which it may refuse to serve (docs/errors).
const NO_MEMBER: i32 = 6;
const REFUSALS: [i32; 3] = [3, 4, NO_MEMBER];

/// What `cairn verify` says of a directory.
const VERIFIED: [i32; 3] = [0, 1, 5];

/// What happens, step by step.
pub(crate) struct Changes<'a> {
    cluster: &'a mut Cluster,
    workload: &'a Workload,
    chance: Chance,
    begun: Instant,
    /// Machines without a node.
    spare: Vec<Host>,
    /// How many members there were after each step.
    counts: Vec<usize>,
    /// The longest pause of all, and in which step.
    longest: (Pause, String),
}

/// What a node said of its end.
struct Farewell {
    status: ExitStatus,
    code: String,
    /// What happened, and what to do.
    words: String,
}

impl<'a> Changes<'a> {
    /// Nothing has happened yet; `cluster` has three nodes.
    pub(crate) fn new(
        cluster: &'a mut Cluster,
        workload: &'a Workload,
        seed: u64,
        spare: &[Host],
    ) -> Self {
        let (chance, begun, spare) = (Chance::new(seed), Instant::now(), spare.to_vec());
        let counts = vec![cluster.numbers().len()];
        Self { cluster, workload, chance, begun, spare, counts, longest: Default::default() }
    }

    /// All of it.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            self.step("a node is added", Self::grow)?;
        }
        self.step("a node is lost and replaced", Self::lose)?;
        self.step("a bit flips in every file of a node", Self::spoil)?;
        self.step("the leader is drained", Self::drain_leader)?;
        self.step("a follower is removed", Self::remove_follower)?;
        sleep(CALM);
        Ok(())
    }

    /// How far it went, in a line.
    pub(crate) fn summary(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(usize::to_string).collect();
        let (pause, step) = &self.longest;
        let longest = match step.as_str() {
            "" => String::new(),
            step => format!("; the longest pause of writes was {pause} ({step})"),
        };
        format!("members {} in {} s{longest}", counts.join(" → "), self.begun.elapsed().as_secs())
    }

    fn step(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        sleep(CALM);
        let (begun, since) = (Instant::now(), self.workload.now());
        println!("{what}");
        work(self)?;
        checks::progress(self.cluster, self.workload)?;
        let pause = self.workload.longest_pause(since);
        self.say(&format!(
            "done within {:.1} s; writes paused for {pause}",
            begun.elapsed().as_secs_f64()
        ));
        self.counts.push(self.cluster.numbers().len());
        if pause.all >= self.longest.0.all {
            self.longest = (pause, what.to_owned());
        }
        Ok(())
    }

    fn grow(&mut self) -> Result<(), String> {
        let host = self.spare.pop().expect("there are machines enough");
        self.join(&["add", &host.peer_address()], &host)?;
        self.until_all_vote()
    }

    fn lose(&mut self) -> Result<(), String> {
        let victim = self.follower()?;
        let mut lost = self.cluster.dismiss(victim);
        lost.kill();
        fs::remove_dir_all(lost.data()).unwrap();
        self.say(&format!("node {victim}, a follower, is killed and its data removed"));
        checks::progress(self.cluster, self.workload)?;
        self.start_in_vain(&mut lost, &format!("cairn member replace {victim}"))?;
        let host = if self.chance.one_in(2) { lost.host.clone() } else { self.spare.remove(0) };
        self.replace(&lost, &host)
    }

    fn spoil(&mut self) -> Result<(), String> {
        let numbers = self.cluster.numbers();
        let victim = self.chance.pick(&numbers);
        let role = if self.leader()? == victim { "the leader" } else { "a follower" };
        self.say(&format!("node {victim}, {role}, is stopped"));
        let mut stopped = self.cluster.dismiss(victim);
        stopped.signal(Signal::TERM);
        let farewell = self.until_it_ends(&mut stopped, 0)?;
        if farewell.status.code() != Some(0) {
            return Err(format!("node {victim}: SIGTERM ended it with {}", farewell.status));
        }
        let data = stopped.data();
        rot::noticed(&stopped.journal());
        let identity = fs::read(data.join("IDENTITY")).unwrap();
        let places = decay::flip_everywhere(&data, &mut self.chance);
        self.say(&format!("a bit is flipped in: {}", places.join(", ")));
        let is_engine_damaged = self.verify(&stopped)?;
        self.heal(stopped, &identity, is_engine_damaged)
    }

    /// Starts a spoilt node and does what docs/errors says until it is whole, or replaced.
    fn heal(
        &mut self,
        mut node: Node,
        identity: &[u8],
        mut is_engine_damaged: bool,
    ) -> Result<(), String> {
        let (victim, data) = (node.number, node.data());
        for _ in 0..MOST_REMEDIES {
            let before = self.cluster.log(victim).len();
            self.cluster.launch_dismissed(&mut node);
            self.cluster.readmit(node);
            let status = self.cluster.wait_for_outcome(victim)?;
            let Some(status) = status else {
                if rot::noticed(&self.cluster.node(victim).journal()) {
                    self.say(&format!("node {victim} had its journal repaired by the others"));
                }
                if !is_engine_damaged {
                    self.say(&format!("node {victim} is whole"));
                    return self.until_all_vote();
                }
                self.say("`cairn verify` had said that its engine is damaged: it is moved away");
                node = self.cluster.dismiss(victim);
                node.kill();
                (is_engine_damaged, ()) = (false, decay::take_away(&data, "engine".as_ref()));
                continue;
            };
            node = self.cluster.dismiss(victim);
            let Farewell { code, words, .. } = self.farewell(victim, before, status);
            self.say(&format!("node {victim} refuses ({code}): {words}"));
            if !status.code().is_some_and(|code| REFUSALS.contains(&code)) {
                return Err(format!("node {victim} ended with {status}: {words}"));
            }
            match code.as_str() {
                "engine-open" | "node-stopped" | "state-unusable" => {
                    self.say("its engine is moved away");
                    decay::take_away(&data, "engine".as_ref());
                    is_engine_damaged = false;
                }
                "data-identity" | "data-identity-damaged" | "journal-open"
                    if self.chance.one_in(2) =>
                {
                    self.say("its IDENTITY is put back from a copy");
                    fs::write(data.join("IDENTITY"), identity).unwrap();
                }
                "data-identity" | "data-identity-damaged" | "journal-open" | "node-forgetful" => {
                    fs::remove_dir_all(&data).unwrap();
                    let host = node.host.clone();
                    return self.replace(&node, &host);
                }
                _ => return Err(format!("node {victim} ended with {status}, {code}: {words}")),
            }
        }
        Err(format!("node {victim} is not whole after {MOST_REMEDIES} starts, each with a remedy"))
    }

    /// What `cairn verify` finds in a directory; says whether it wants the engine moved away.
    fn verify(&mut self, node: &Node) -> Result<bool, String> {
        let (number, found) = (node.number, self.cluster.verify(node));
        let Some((code, report)) = found.filter(|(code, _)| VERIFIED.contains(code)) else {
            return Err(format!("node {number}: `cairn verify` did not read it"));
        };
        if report["error"].is_object() {
            self.say(&format!("`cairn verify` ends with {code}: {}", report["error"]["message"]));
            return Ok(false);
        }
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        let files = findings
            .iter()
            .map(|finding| format!("{} {}", text(&finding["severity"]), text(&finding["file"])));
        let files: Vec<String> = files.collect();
        self.say(&format!("`cairn verify` ends with {code}: {}", files.join(", ")));
        Ok(findings.iter().any(|finding| {
            finding["severity"] == "damaged" && text(&finding["file"]).starts_with("engine")
        }))
    }

    fn drain_leader(&mut self) -> Result<(), String> {
        let leader = self.leader()?;
        self.part_with(leader, &["drain"])
    }

    fn remove_follower(&mut self) -> Result<(), String> {
        let follower = self.follower()?;
        self.part_with(follower, &["member", "remove"])
    }

    /// Takes a node out, sees it end, and not come back.
    fn part_with(&mut self, number: u16, command: &[&str]) -> Result<(), String> {
        let before = self.cluster.log(number).len();
        let mut node = self.cluster.dismiss(number);
        let name = number.to_string();
        let mut arguments = command.to_vec();
        arguments.push(&name);
        let told = self.cluster.command(&arguments)?;
        self.say(told.trim());
        let farewell = self.until_it_ends(&mut node, before)?;
        self.must_be_no_member(number, &farewell, "was removed from its cluster")?;
        self.until_all_vote()?;
        self.start_in_vain(&mut node, "was removed from its cluster")
    }

    /// Starts a node that must be refused with these words.
    fn start_in_vain(&mut self, node: &mut Node, words: &str) -> Result<(), String> {
        let before = self.cluster.log(node.number).len();
        self.cluster.launch_dismissed(node);
        self.say(&format!("node {} is started once more", node.number));
        let farewell = self.until_it_ends(node, before)?;
        self.must_be_no_member(node.number, &farewell, words)
    }

    fn must_be_no_member(
        &self,
        number: u16,
        farewell: &Farewell,
        words: &str,
    ) -> Result<(), String> {
        let Farewell { status, code, words: said } = farewell;
        if status.code() != Some(NO_MEMBER) || !said.contains(words) {
            return Err(format!(
                "node {number} should have ended with {NO_MEMBER} and said {words:?}; it ended with \
                 {status} and said: {said}"
            ));
        }
        self.say(&format!("node {number} ends ({code}): {said}"));
        Ok(())
    }

    /// Puts a new node on `host` in the place of a lost one.
    fn replace(&mut self, lost: &Node, host: &Host) -> Result<(), String> {
        let _ = fs::remove_dir_all(lost.data());
        self.join(&["replace", &lost.number.to_string(), &host.peer_address()], host)?;
        self.until_all_vote()
    }

    /// Has a new node added, and starts it as the command says.
    fn join(&mut self, change: &[&str], host: &Host) -> Result<(), String> {
        let client_address = host.client_address();
        let mut arguments = vec!["--output", "json", "member"];
        arguments.extend(change);
        arguments.extend(["--client-address", &client_address]);
        let told = self.cluster.command(&arguments)?;
        let told: Value =
            serde_json::from_str(&told).map_err(|error| format!("{told}: {error}"))?;
        let start = told["start"].as_array().map(|words| words.iter().map(text));
        let start: Vec<String> = start.into_iter().flatten().map(str::to_owned).collect();
        let number = told["node"].as_u64().and_then(|number| u16::try_from(number).ok());
        let (Some(number), Some(["cairn", "serve"])) =
            (number, start.get(..2).map(|two| [two[0].as_str(), two[1].as_str()]))
        else {
            return Err(format!("{arguments:?} does not say how to start the node: {told}"));
        };
        self.say(&format!(
            "cairn member {}: node {number} at {}",
            change.join(" "),
            host.peer_address()
        ));
        self.cluster.admit(number, host, start[2..].to_vec());
        self.cluster.launch(&[number]);
        Ok(())
    }

    /// Waits until exactly the nodes that run are members, all of them vote, and all are whole.
    fn until_all_vote(&mut self) -> Result<(), String> {
        let wanted: BTreeMap<u64, String> =
            self.cluster.numbers().iter().map(|&node| (node.into(), "voter".to_owned())).collect();
        let begun = Instant::now();
        loop {
            self.cluster.bury()?;
            let members = self.members();
            if members.as_ref() == Ok(&wanted) {
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!(
                    "after {PATIENCE:?} the members are {members:?}, not {wanted:?}: {}",
                    Value::from(self.cluster.statuses())
                ));
            }
            sleep(TURN);
        }
        let names: Vec<String> = wanted.keys().map(u64::to_string).collect();
        self.say(&format!(
            "nodes {} vote, after {:.1} s",
            names.join(", "),
            begun.elapsed().as_secs_f64()
        ));
        self.cluster.wait_until_whole()
    }

    /// All members, and how each takes part.
    fn members(&self) -> Result<BTreeMap<u64, String>, String> {
        let told = self.cluster.command(&["--output", "json", "member", "list"])?;
        let told: Value =
            serde_json::from_str(&told).map_err(|error| format!("{told}: {error}"))?;
        let list = told["members"].as_array().cloned().unwrap_or_default();
        let member =
            |member: &Value| Some((member["node"].as_u64()?, text(&member["part"]).into()));
        Ok(list.iter().filter_map(member).collect())
    }

    fn leader(&mut self) -> Result<u16, String> {
        let begun = Instant::now();
        loop {
            self.cluster.bury()?;
            if let Some(leader) = self.cluster.leader() {
                return Ok(leader);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("no node leads after {PATIENCE:?}"));
            }
            sleep(TURN);
        }
    }

    fn follower(&mut self) -> Result<u16, String> {
        let leader = self.leader()?;
        let mut others = self.cluster.numbers();
        others.retain(|&number| number != leader);
        Ok(self.chance.pick(&others))
    }

    /// Waits until a node that was dismissed has ended; `before` is how much it had said already.
    fn until_it_ends(&mut self, node: &mut Node, before: usize) -> Result<Farewell, String> {
        let begun = Instant::now();
        loop {
            if let Some(status) = node.ended() {
                return Ok(self.farewell(node.number, before, status));
            }
            self.cluster.bury()?;
            if begun.elapsed() > END_PATIENCE {
                let words = self.cluster.last_words(node.number);
                return Err(format!(
                    "node {} has not ended after {END_PATIENCE:?}: {words}",
                    node.number
                ));
            }
            sleep(TURN);
        }
    }

    /// What a node said last that says why it ended.
    fn farewell(&self, number: u16, before: usize, status: ExitStatus) -> Farewell {
        let log = self.cluster.log(number);
        let lines = log.get(before..).unwrap_or_default().lines().rev();
        let mut said = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = said.find(|line| line["level"] == "ERROR").unwrap_or_default();
        let last = &last["fields"];
        let code = text(&last["code"]).to_owned();
        let words = format!("{}; {}", text(&last["message"]), text(&last["help"]));
        Farewell { status, code, words }
    }

    fn say(&self, what: &str) {
        println!("{:8.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

/// What must hold on each member alone, when the clients are gone.
pub(crate) fn judge_members(record: &Record, cluster: &mut Cluster) -> Vec<String> {
    if let Err(why) = cluster.wait_until_whole() {
        return vec![why];
    }
    let mut violations = Vec::new();
    let mut contents = BTreeSet::new();
    for number in cluster.numbers() {
        let appends = cluster.scan_node(number, APPENDS);
        let all = cluster.scan_node(number, "");
        match (appends, all) {
            (Ok(appends), Ok(all)) => {
                let wrong = record.check_appends(&appends);
                violations.extend(wrong.into_iter().map(|what| format!("node {number}: {what}")));
                contents.insert(all);
            }
            (Err(why), _) | (_, Err(why)) => violations.push(format!("node {number}: {why}")),
        }
    }
    if contents.len() > 1 {
        violations.push("the members do not hold the same".to_owned());
    }
    violations
}

/// Stops all nodes and reads their disks.
pub(crate) fn judge_disks(cluster: &mut Cluster) -> Vec<String> {
    let mut violations = Vec::new();
    for number in cluster.numbers() {
        let mut node = cluster.dismiss(number);
        node.signal(Signal::TERM);
        let begun = Instant::now();
        while node.ended().is_none() && begun.elapsed() < END_PATIENCE {
            sleep(TURN);
        }
        node.kill();
        match cluster.verify(&node) {
            Some((0, _)) => {}
            found => violations.push(format!("node {number}: `cairn verify` finds {found:?}")),
        }
    }
    violations
}

/// A text in a document, or nothing.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
