//! `cairn scrub`: every node reads all that it holds, as it is at one place in the log, and what they come
//! to is compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use client::{Client, Consistent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use wire::{Members, NodeId, ScrubStage, ScrubStatus};

use super::connect::{Door, reach};
use super::output::{Ended, print, stderr_is_terminal};
use super::{Failure, Output, table, units};
use crate::drivers::{clock, random};

/// `cairn scrub`.
#[derive(Debug, Args)]
#[command(after_help = "\
All nodes go on serving meanwhile: each reads 64 MiB in a second at most. A scrub that is begun while another
one runs takes its place. Needs the right to everything, where users have rights.

Exit codes:
  0  all nodes hold the same
  3  a node did not answer, or did not finish; those that did hold the same
  5  a node holds something else than the others, or can't read what it holds

Examples:
  cairn scrub
  cairn scrub --wait-limit 30m --output json | jq '.nodes[] | select(.result != \"read\")'")]
pub(crate) struct ScrubArgs {
    /// How long to wait for the nodes, as 90s or 30m; without it, as long as they read
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    wait_limit: Option<Duration>,
}

/// How long a node may take to say how far it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a node that says nothing, or does not come as far as the scrub, is waited for.
const SILENCE: Duration = Duration::from_secs(10);

/// How often the nodes are asked.
const PAUSE: Duration = Duration::from_millis(300);

/// What to do about a node whose state can't be trusted: see docs/operations.md.
const REMEDY: &str = "stop that node, move the `engine` directory in its data directory away, and start it: its \
    state is rebuilt from its journal and the other nodes. Or put another in its place: `cairn member replace`";

const NO_MAJORITY: &str = "no majority of the nodes agrees, so nobody can tell which is right: keep a copy of each \
    data directory, stop the nodes one after the other, and `cairn verify` each";

/// What is known of the scrub on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// It does not answer.
    Nothing,
    /// It has not come to the scrub yet: so far it has applied the log.
    Behind(u64),
    /// It is past the scrub, and knows nothing of it: it was started anew, or rebuilt, meanwhile.
    Forgotten,
    /// It is at another scrub.
    Another,
    /// It is at it, or through.
    Begun(ScrubStatus),
}

impl Heard {
    fn of(answer: &Consistent<Option<ScrubStatus>>, id: u64, index: u64) -> Self {
        match &answer.value {
            Some(status) if status.id == id => Self::Begun(status.clone()),
            Some(status) if status.index > index => Self::Another,
            Some(_) | None if answer.header.applied < index => Self::Behind(answer.header.applied),
            Some(_) | None => Self::Forgotten,
        }
    }

    /// Whether nothing more will come of it.
    fn is_final(&self) -> bool {
        match self {
            Self::Nothing | Self::Behind(_) => false,
            Self::Forgotten | Self::Another => true,
            Self::Begun(status) => status.stage != ScrubStage::Running,
        }
    }

    /// One word, for people and programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "silent",
            Self::Behind(_) => "behind",
            Self::Forgotten => "restarted",
            Self::Another => "replaced",
            Self::Begun(status) => match status.stage {
                ScrubStage::Running => "running",
                ScrubStage::Finished { .. } => "read",
                ScrubStage::Broken { .. } => "unreadable",
            },
        }
    }

    fn status(&self) -> Option<&ScrubStatus> {
        match self {
            Self::Begun(status) => Some(status),
            Self::Nothing | Self::Behind(_) | Self::Forgotten | Self::Another => None,
        }
    }

    /// What a replica that has read all holds.
    fn sum(&self) -> Option<Sum> {
        let status = self.status()?;
        match status.stage {
            ScrubStage::Finished { checksum } => Some((status.keys, status.bytes, checksum)),
            ScrubStage::Running | ScrubStage::Broken { .. } => None,
        }
    }
}

/// Keys, their bytes, and the checksum.
type Sum = (u64, u64, u32);

/// All that is known, by node.
type Rows = BTreeMap<NodeId, Heard>;

/// What all of it means.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// Those that hold something else than the majority; all that have read, if there is none.
    differing: Vec<NodeId>,
    /// Those that can't read what they hold.
    unreadable: Vec<NodeId>,
    /// Those that have not come to an end.
    missing: Vec<NodeId>,
    /// Whether more than half of those that have read hold the same.
    majority: bool,
}

impl Verdict {
    fn of(rows: &Rows) -> Self {
        let mut groups: BTreeMap<Sum, usize> = BTreeMap::new();
        for sum in rows.values().filter_map(Heard::sum) {
            *groups.entry(sum).or_default() += 1;
        }
        let read: usize = groups.values().sum();
        let most = groups.iter().find(|(_, count)| **count * 2 > read).map(|(sum, _)| *sum);
        let those = |holds: &dyn Fn(&Heard) -> bool| -> Vec<NodeId> {
            rows.iter().filter(|(_, heard)| holds(heard)).map(|(node, _)| *node).collect()
        };
        let is_broken = |heard: &Heard| heard.word() == "unreadable";
        Self {
            differing: those(&|heard| heard.sum().is_some() && heard.sum() != most),
            unreadable: those(&is_broken),
            missing: those(&|heard| heard.sum().is_none() && !is_broken(heard)),
            majority: most.is_some(),
        }
    }

    /// One word for it, for programs.
    fn word(&self) -> &'static str {
        match (&self.differing[..], &self.unreadable[..], &self.missing[..]) {
            ([], [], []) => "alike",
            ([], [], _) => "incomplete",
            ([], ..) => "unreadable",
            _ => "different",
        }
    }

    fn end(&self, rows: &Rows) -> Result<(), Failure> {
        let Self { differing, unreadable, missing, majority } = self;
        let mut said = Vec::new();
        if !differing.is_empty() && *majority {
            said.push(format!("{} not what the others hold", holds(differing)));
        } else if !differing.is_empty() {
            said.push(format!("{} hold different things", names(differing)));
        }
        for node in unreadable {
            if let Some(ScrubStage::Broken { why }) = rows[node].status().map(|s| &s.stage) {
                said.push(format!("node {} can't read what it holds: {why}", node.0));
            }
        }
        let damaged = !said.is_empty();
        for node in missing {
            said.push(format!("node {} {}", node.0, reason(&rows[node])));
        }
        if said.is_empty() {
            return Ok(());
        }
        let said = said.join("; ");
        if !damaged {
            let failure = Failure::refused("unavailable", said);
            return Err(failure.help("`cairn status` shows who answers; then scrub again"));
        }
        let no_majority = !differing.is_empty() && !majority;
        let help = if no_majority { NO_MAJORITY } else { REMEDY };
        Err(Failure::damaged(said).help(help))
    }
}

/// Why a node has come to no end.
fn reason(heard: &Heard) -> String {
    match heard {
        Heard::Nothing => "does not answer".to_owned(),
        Heard::Behind(applied) => format!("is behind: it has applied the log up to {applied}"),
        Heard::Forgotten => "was started again, or rebuilt, meanwhile".to_owned(),
        Heard::Another => "is at another scrub, which was begun after this one".to_owned(),
        Heard::Begun(_) => "has not finished".to_owned(),
    }
}

fn names(nodes: &[NodeId]) -> String {
    let numbers: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
    let word = if nodes.len() == 1 { "node" } else { "nodes" };
    format!("{word} {}", numbers.join(", "))
}

fn holds(nodes: &[NodeId]) -> String {
    let verb = if nodes.len() == 1 { "holds" } else { "hold" };
    format!("{} {verb}", names(nodes))
}

/// Carries out `cairn scrub`.
pub(crate) async fn scrub(door: Door, args: ScrubArgs) -> Result<(), Ended> {
    let mut members = door.client.members().await?.value;
    // A witness holds nothing that could be read.
    members.list.retain(|member| !member.is_witness());
    let id = random::draw_u64();
    let index = door.client.scrub(id).await?.header.applied;
    let mut watcher = Watcher::new(&door, &members, (id, index));
    let bar = bar();
    let begun = clock::instant();
    loop {
        watcher.ask(&door, &members).await;
        bar.set_message(progress(&watcher.rows));
        let over = args.wait_limit.is_some_and(|limit| begun.elapsed() >= limit);
        if over || watcher.is_done() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    bar.finish_and_clear();
    let rows = watcher.rows;
    let verdict = Verdict::of(&rows);
    match door.output {
        Output::Text => print(&text(&rows, &verdict))?,
        Output::Json => print(&json_of(&rows, &verdict, index).to_string())?,
    }
    Ok(verdict.end(&rows)?)
}

/// Asks the nodes again and again.
struct Watcher {
    id: u64,
    index: u64,
    rows: Rows,
    /// When each was last heard to be further than before.
    moved: BTreeMap<NodeId, Instant>,
    given: Client,
    /// Those that the given addresses do not reach.
    others: Option<Client>,
}

impl Watcher {
    fn new(door: &Door, members: &Members, (id, index): (u64, u64)) -> Self {
        let now = clock::instant();
        let nodes = || members.list.iter().map(|member| member.node);
        Self {
            id,
            index,
            rows: nodes().map(|node| (node, Heard::Nothing)).collect(),
            moved: nodes().map(|node| (node, now)).collect(),
            given: door.client.with_timeout(door.timeout.min(PATIENCE)),
            others: None,
        }
    }

    async fn ask(&mut self, door: &Door, members: &Members) {
        let mut found = Rows::new();
        self.hear(&self.given, &mut found).await;
        let is_missing = |node: &NodeId| !found.contains_key(node);
        if self.rows.keys().any(is_missing) {
            if self.others.is_none() {
                let missing = members.list.iter().filter(|member| is_missing(&member.node));
                let addresses = missing.map(|member| member.client_address.clone());
                let addresses: Vec<String> = addresses.filter(|text| !text.is_empty()).collect();
                let patience = door.timeout.min(PATIENCE);
                self.others = reach(&addresses, &door.via, patience).ok();
            }
            if let Some(others) = &self.others {
                self.hear(others, &mut found).await;
            }
        }
        let now = clock::instant();
        for (node, heard) in &mut self.rows {
            let new = found.remove(node).unwrap_or(Heard::Nothing);
            // What has ended stays known, whatever becomes of the node.
            if heard.is_final() && new == Heard::Nothing {
                continue;
            }
            let runs = matches!(new, Heard::Begun(_));
            if runs || (new != *heard && new != Heard::Nothing) {
                self.moved.insert(*node, now);
            }
            *heard = new;
        }
    }

    async fn hear(&self, client: &Client, found: &mut Rows) {
        for (_, answer) in client.scrub_statuses().await {
            if let Ok(answer) = answer {
                found.insert(answer.header.node, Heard::of(&answer, self.id, self.index));
            }
        }
    }

    /// Whether nothing more is to be expected.
    fn is_done(&self) -> bool {
        let given_up = |node| self.moved[node].elapsed() >= SILENCE;
        self.rows.iter().all(|(node, heard)| heard.is_final() || given_up(node))
    }
}

/// What a person sees meanwhile.
fn bar() -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{wide_msg}").expect("our template is well formed"));
    bar
}

fn progress(rows: &Rows) -> String {
    let one = |(node, heard): (&NodeId, &Heard)| {
        let so_far = heard.status().map_or_else(String::new, |status| {
            format!(" {} keys, {}", status.keys, units::bytes(status.bytes))
        });
        format!("{}: {}{so_far}", node.0, heard.word())
    };
    rows.iter().map(one).collect::<Vec<_>>().join("   ")
}

const HEADER: [&str; 6] = ["NODE", "RESULT", "KEYS", "BYTES", "CHECKSUM", "INDEX"];

/// Places of numbers in [`HEADER`].
const NUMBERS: [usize; 3] = [2, 3, 5];

fn text(rows: &Rows, verdict: &Verdict) -> String {
    let cells = rows.iter().map(|(node, heard)| {
        let dash = || "-".to_owned();
        let odd = verdict.differing.contains(node);
        let result = if odd { "different" } else { heard.word() };
        let status = heard.status();
        let number = |of: fn(&ScrubStatus) -> u64| status.map_or_else(dash, |s| of(s).to_string());
        vec![
            node.0.to_string(),
            result.to_owned(),
            number(|status| status.keys),
            number(|status| status.bytes),
            heard.sum().map_or_else(dash, |(_, _, checksum)| format!("{checksum:08x}")),
            number(|status| status.index),
        ]
    });
    let mut lines = table(&HEADER, &NUMBERS, cells);
    if verdict.word() == "alike" {
        lines.push_str("\nall nodes hold the same");
    }
    lines
}

fn json_of(rows: &Rows, verdict: &Verdict, index: u64) -> Value {
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let nodes = rows.iter().map(|(node, heard)| {
        let mut object = json!({ "node": node.0, "result": heard.word() });
        if let Some(status) = heard.status() {
            object["index"] = status.index.into();
            object["revision"] = status.revision.0.into();
            object["keys"] = status.keys.into();
            object["bytes"] = status.bytes.into();
            object["elapsed_ms"] = status.elapsed_ms.into();
            match &status.stage {
                ScrubStage::Running => {}
                ScrubStage::Finished { checksum } => {
                    object["checksum"] = format!("{checksum:08x}").into();
                }
                ScrubStage::Broken { why } => object["error"] = why.as_str().into(),
            }
        }
        object
    });
    json!({
        "result": verdict.word(),
        "index": index,
        "nodes": nodes.collect::<Vec<_>>(),
        "different": numbers(&verdict.differing),
        "majority": verdict.majority,
        "unreadable": numbers(&verdict.unreadable),
        "missing": numbers(&verdict.missing),
    })
}

#[cfg(test)]
mod tests {
    use wire::{Header, Revision};

    use super::*;
    use crate::cli::exit;

    fn begun(stage: ScrubStage) -> Heard {
        let revision = Revision(4);
        let (id, index, elapsed_ms, keys, bytes) = (1, 9, 5, 3, 2048);
        Heard::Begun(ScrubStatus { id, index, revision, elapsed_ms, keys, bytes, stage })
    }

    fn read(checksum: u32) -> Heard {
        begun(ScrubStage::Finished { checksum })
    }

    fn rows(heard: &[Heard]) -> Rows {
        (1..).map(NodeId).zip(heard.iter().cloned()).collect()
    }

    fn end(heard: &[Heard]) -> Result<(), (u8, String)> {
        let rows = rows(heard);
        let end = Verdict::of(&rows).end(&rows);
        end.map_err(|failure| (failure.exit, failure.text(Output::Text)))
    }

    #[test]
    fn the_odd_one_out_is_named() {
        assert_eq!(end(&[read(1), read(1), read(1)]), Ok(()));
        let (code, said) = end(&[read(1), read(2), read(1)]).unwrap_err();
        assert_eq!(code, exit::FILE);
        assert!(said.contains("node 2 holds not what the others hold"), "{said}");
        assert!(said.contains("move the `engine` directory"), "{said}");
        let (code, said) = end(&[read(1), read(2)]).unwrap_err();
        assert_eq!(code, exit::FILE);
        assert!(said.contains("nodes 1, 2 hold different things"), "{said}");
        assert!(said.contains("no majority"), "{said}");
    }

    #[test]
    fn who_can_not_read_is_worse_than_who_is_silent() {
        let (code, said) = end(&[read(1), Heard::Nothing, read(1)]).unwrap_err();
        assert_eq!(code, exit::NOT_DONE);
        assert!(said.contains("node 2 does not answer"), "{said}");
        let broken = begun(ScrubStage::Broken { why: "run 7".into() });
        let (code, said) = end(&[Heard::Nothing, broken, Heard::Forgotten]).unwrap_err();
        assert_eq!(code, exit::FILE);
        assert!(said.contains("node 2 can't read what it holds: run 7"), "{said}");
        assert!(said.contains("node 3 was started again"), "{said}");
    }

    #[test]
    fn a_node_is_at_this_scrub_or_before_or_behind_it() {
        let of = |value: Option<(u64, u64)>, applied| {
            let header = Header { revision: Revision(4), applied, node: NodeId(1), leader: None };
            let value = value.map(|(id, index)| match begun(ScrubStage::Running) {
                Heard::Begun(status) => ScrubStatus { id, index, ..status },
                other => panic!("{other:?}"),
            });
            Heard::of(&Consistent { value, header }, 1, 9).word()
        };
        assert_eq!(of(None, 8), "behind");
        assert_eq!(of(None, 9), "restarted");
        assert_eq!(of(Some((5, 7)), 8), "behind");
        assert_eq!(of(Some((5, 7)), 10), "restarted");
        assert_eq!(of(Some((5, 12)), 12), "replaced");
        assert_eq!(of(Some((1, 9)), 12), "running");
    }

    #[test]
    fn the_table_and_the_document_say_the_same() {
        let rows = rows(&[read(0xab), Heard::Nothing]);
        let verdict = Verdict::of(&rows);
        assert_eq!(
            text(&rows, &verdict),
            "NODE  RESULT  KEYS  BYTES  CHECKSUM  INDEX\n\
             1     read       3   2048  000000ab      9\n\
             2     silent     -      -  -             -"
        );
        let json = json_of(&rows, &verdict, 9);
        assert_eq!((&json["result"], &json["missing"][0]), (&"incomplete".into(), &2.into()));
        assert_eq!(json["nodes"][0]["checksum"], "000000ab");
        assert_eq!(progress(&rows), "1: read 3 keys, 2.0 KiB   2: silent");
    }
}
