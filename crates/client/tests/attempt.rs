//! Golden scripts of [`client::Attempt`]: what is done and told above `---`, what comes of it below.
//! `UPDATE=1 cargo test -p client --test attempt` writes them anew.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use client::{Attempt, CallError, Error, Kind, Next, PATIENCE, Plan, Target};
use proptest::prelude::*;
use wire::{Header, NodeId, Refusal, Reply, RequestId, Revision};

const ID: RequestId = RequestId { client: 0xc, number: 5 };

fn ok() -> (Header, Reply) {
    let leader = Some(NodeId(1));
    let header = Header { revision: Revision(1), applied: 1, node: NodeId(1), leader };
    (header, Reply::Transferring)
}

fn refusal(words: &[&str]) -> Refusal {
    match words {
        ["not-leader"] => Refusal::NotLeader { leader: None },
        ["not-leader", leader] => {
            Refusal::NotLeader { leader: Some(NodeId(leader[1..].parse().expect("a node"))) }
        }
        ["busy"] => Refusal::Busy { what: "too many requests".into() },
        ["unanswered"] => Refusal::Unanswered { why: "the leader changed".into() },
        ["unavailable"] => Refusal::Unavailable { why: "1 of 3 nodes".into() },
        ["compacted"] => Refusal::Compacted { asked: Revision(1), compacted: Revision(5) },
        ["future"] => Refusal::Future { asked: Revision(9), current: Revision(5) },
        ["too-large"] => Refusal::TooLarge { what: "value".into(), size: 2, limit: 1, flag: None },
        ["invalid"] => Refusal::Invalid { what: "the key is empty".into() },
        ["expired"] => Refusal::Expired { id: ID.to_string() },
        ["answer-forgotten"] => Refusal::AnswerForgotten { revision: Revision(4) },
        ["not-empty"] => Refusal::NotEmpty { revision: Revision(4) },
        ["broken"] => Refusal::Broken { why: "its disk is damaged".into() },
        other => panic!("no such refusal: {other:?}"),
    }
}

fn call_error(word: &str) -> Option<CallError> {
    let target = "n?".to_owned();
    match word {
        "not-sent" => Some(CallError::NotSent { target, why: "connection refused".into() }),
        "lost" => Some(CallError::Lost { target, why: "no answer within 2s".into() }),
        "fatal" => Some(CallError::Fatal { target, why: "it belongs to another cluster".into() }),
        _ => None,
    }
}

fn begin(words: &[&str]) -> Attempt {
    let [target, kind, options @ ..] = words else { panic!("begin TARGET KIND ...") };
    let node = |text: &str| NodeId(text[1..].parse().expect("a node"));
    let mut plan = Plan {
        target: match *target {
            "leader" => Target::Leader,
            "any" => Target::Any,
            only => Target::Only(node(only)),
        },
        kind: match *kind {
            "read" => Kind::Read,
            "write" => Kind::Write(ID),
            "transfer" => Kind::Cluster,
            other => panic!("no such kind: {other}"),
        },
        nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
        leader: None,
        limit: Duration::from_secs(10),
        patience: PATIENCE,
        seed: 1,
    };
    for option in options {
        match option.split_once('=').expect("name=value") {
            ("nodes", "") => plan.nodes = Vec::new(),
            ("nodes", nodes) => plan.nodes = nodes.split(',').map(node).collect(),
            ("leader", leader) => plan.leader = Some(node(leader)),
            ("limit", ms) => plan.limit = Duration::from_millis(ms.parse().expect("ms")),
            other => panic!("no such option: {other:?}"),
        }
    }
    Attempt::new(plan)
}

fn describe(error: &Error) -> String {
    format!("{} ({}): {error}", error.code(), error.outcome())
}

/// One line of a script; what came of it.
fn run(line: &str, attempt: &mut Option<Attempt>) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words[0] == "begin" {
        *attempt = Some(begin(&words[1..]));
        return None;
    }
    let attempt = attempt.as_mut().expect("begin comes first");
    if words[0] == "next" {
        let elapsed = Duration::from_millis(words[1].parse().expect("ms"));
        return Some(match attempt.next(elapsed) {
            Next::Ask(node, timeout) => format!("ask {node}, at most {timeout:?}"),
            Next::Wait(pause) => format!("wait {pause:?}"),
            Next::GiveUp(error) => format!("give up: {}", describe(&error)),
        });
    }
    if let Some(error) = call_error(words[0]) {
        attempt.failed(error);
        return None;
    }
    let answer = if words[0] == "ok" { Ok(ok()) } else { Err(refusal(&words)) };
    attempt.answered(answer).map(|result| match result {
        Ok(_) => "result: ok".into(),
        Err(error) => format!("result: {}", describe(&error)),
    })
}

fn replay(script: &str) -> String {
    let mut out = String::new();
    let mut attempt = None;
    let mut shown = String::new();
    let mut skipping = false;
    for line in script.lines().chain([""]) {
        if line.is_empty() {
            if skipping {
                writeln!(out, "---\n{shown}").expect("a string takes all");
                shown.clear();
            }
            skipping = false;
        } else if line == "---" {
            skipping = true;
        } else if !skipping {
            writeln!(out, "{line}").expect("a string takes all");
            if !line.starts_with('#') {
                let result = run(line, &mut attempt);
                shown.extend(result.map(|text| text + "\n"));
            }
        }
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

#[test]
fn golden_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/attempt");
    let mut paths: Vec<_> =
        folder.read_dir().expect("scripts").map(|e| e.expect("a file").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script");
        let actual = replay(&script);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, actual).expect("write the script");
        } else {
            assert_eq!(actual, script, "{}", path.display());
        }
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Refused(&'static [&'static str]),
    Failed(&'static str),
}

fn happens() -> impl Strategy<Value = Happens> {
    const REFUSALS: &[&[&str]] = &[
        &["not-leader"],
        &["not-leader", "n1"],
        &["not-leader", "n3"],
        &["not-leader", "n9"],
        &["busy"],
        &["unanswered"],
        &["unavailable"],
        &["invalid"],
        &["too-large"],
        &["broken"],
    ];
    prop_oneof![
        prop::sample::select(REFUSALS).prop_map(Happens::Refused),
        prop::sample::select(&["not-sent", "lost", "fatal"][..]).prop_map(Happens::Failed),
    ]
}

proptest! {
    /// However it goes: time is kept, and whoever may have done the write without our hearing of it
    /// is never said not to have.
    #[test]
    fn an_attempt_ends_in_time_and_tells_no_lie(
        story in prop::collection::vec((happens(), 0u64..900), 1..60),
        seed in any::<u64>(),
    ) {
        let limit = Duration::from_secs(10);
        let mut attempt = Attempt::new(Plan {
            target: Target::Leader,
            kind: Kind::Write(ID),
            nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
            leader: Some(NodeId(2)),
            limit,
            patience: PATIENCE,
            seed,
        });
        let mut elapsed = Duration::ZERO;
        let mut doubt = false;
        let mut immediate = 0;
        let mut story = story.into_iter().cycle();
        let error = loop {
            match attempt.next(elapsed) {
                Next::Wait(pause) => {
                    prop_assert!(pause >= Duration::from_millis(10));
                    prop_assert!(pause <= Duration::from_secs(2));
                    elapsed += pause;
                    immediate = 0;
                    continue;
                }
                Next::GiveUp(error) => break error,
                Next::Ask(_, timeout) => {
                    prop_assert!(elapsed + timeout <= limit);
                    immediate += 1;
                    prop_assert!(immediate <= 8, "it hammers the nodes without a pause");
                }
            }
            let (happens, took) = story.next().expect("it cycles");
            elapsed = (elapsed + Duration::from_millis(took)).min(limit);
            match happens {
                Happens::Failed(word) => {
                    doubt |= word == "lost";
                    attempt.failed(call_error(word).expect("a failure"));
                }
                Happens::Refused(words) => {
                    doubt |= words[0] == "unanswered";
                    if let Some(result) = attempt.answered(Err(refusal(words))) {
                        break result.expect_err("a refusal is no success");
                    }
                }
            }
        };
        prop_assert_eq!(doubt, error.outcome() == wire::Outcome::Unknown);
    }
}
