//! `cairn verify`: what a stopped node has on its disk, read to the last byte.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::connect::Global;
use super::output::{Ended, Stdout, stderr_is_terminal};
use super::{Failure, Output, exit, units};
use crate::errors::Fault;
use crate::verify::{Finding, Refusal, Report, Severity, verify as read_all};

/// `cairn verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
The node must not run: its directory is locked meanwhile. Nothing in it is changed.
Each finding is a line: file and offset, what it is, what to do. A `note` is nothing to worry about.

Exit codes:
  0  whole
  1  damaged, and the node heals by itself: start it, with the other nodes reachable
  3  not done: a process has the directory
  5  damaged, and somebody has to do what the findings say

Examples:
  cairn verify /var/lib/cairn
  cairn verify ./cairn-data/node-1 --output json")]
pub(crate) struct VerifyArgs {
    /// The data directory of one node
    dir: PathBuf,
}

/// Carries out `cairn verify`.
pub(crate) fn verify(global: &Global, args: &VerifyArgs) -> Result<(), Ended> {
    let bar = bar();
    let drawn = bar.clone();
    let report = read_all(
        &args.dir,
        &|total| bar.set_length(total),
        // What looks broken is read a second time.
        Arc::new(move |bytes| drawn.set_position(bytes.min(drawn.length().unwrap_or(bytes)))),
    );
    bar.finish_and_clear();
    let report = report.map_err(|refusal| explain(&args.dir, refusal))?;
    let mut out = Stdout::new();
    match global.output {
        Output::Text => {
            for finding in &report.findings {
                out.line(&line(finding))?;
            }
            out.line(&summary(&args.dir, &report))?;
        }
        Output::Json => out.line(&json_of(&args.dir, &report).to_string())?,
    }
    out.flush()?;
    match report.severity() {
        Severity::Note => Ok(()),
        Severity::Heals => Err(Ended::Command(exit::NO)),
        Severity::Damaged => Err(Ended::Command(exit::FILE)),
    }
}

/// What a person sees meanwhile.
fn bar() -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style());
    bar
}

fn style() -> ProgressStyle {
    let template = "reading: {wide_bar} {binary_bytes} of {binary_total_bytes}";
    ProgressStyle::with_template(template).expect("our template is well formed")
}

fn explain(dir: &Path, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoDataDir => Failure::usage(format!(
            "{} is not the data directory of a node: there is neither IDENTITY nor a journal in it",
            dir.display()
        ))
        .help("name the directory of one node, such as ./cairn-data/node-1"),
        Refusal::Fault(fault @ Fault::Locked { .. }) => {
            Failure::refused(fault.code(), fault.to_string()).help(
                "stop the node first; what a node that runs has on its disk changes all the time",
            )
        }
        Refusal::Fault(fault) => Failure {
            exit: exit::FILE,
            ..Failure::refused(fault.code(), fault.to_string()).help(fault.help())
        },
        Refusal::Disturbed => Failure::refused(
            "data-locked",
            format!("a node began to use {} meanwhile", dir.display()),
        )
        .help("stop it, and verify again"),
    }
}

fn line(finding: &Finding) -> String {
    let Finding { file, offset, severity, what, to_do } = finding;
    format!("{}: {file}: byte {offset}: {what}; to do: {to_do}", severity.word())
}

/// What it comes to, in one word for programs.
fn result(report: &Report) -> &'static str {
    match report.severity() {
        Severity::Note => "whole",
        Severity::Heals => "heals",
        Severity::Damaged => "damaged",
    }
}

fn summary(dir: &Path, report: &Report) -> String {
    let result = match report.severity() {
        Severity::Note => "whole",
        Severity::Heals => "damaged, and the node heals by itself",
        Severity::Damaged => "damaged, and somebody has to do what is said above",
    };
    let whose = report.identity.as_ref().map_or_else(
        || "of nobody knows which node".to_owned(),
        |identity| format!("node {} of cluster {}", identity.node, identity.cluster),
    );
    format!(
        "{}: {result}; {whose}; {} read: segments of the journal {}, files of the engine {}",
        dir.display(),
        units::bytes(report.bytes),
        report.segments,
        report.engine_files,
    )
}

fn json_of(dir: &Path, report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "file": finding.file, "offset": finding.offset, "severity": finding.severity.word(),
            "what": finding.what, "to_do": finding.to_do,
        })
    };
    let identity = report.identity.as_ref();
    json!({
        "result": result(report), "directory": dir.display().to_string(),
        "cluster": identity.map(|identity| identity.cluster.clone()),
        "node": identity.map(|identity| identity.node),
        "segments": report.segments, "engine_files": report.engine_files, "bytes": report.bytes,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_the_worst_of_them_is_the_result() {
        let finding = |severity| Finding {
            file: "engine/tree".into(),
            offset: 8,
            severity,
            what: "no whole edit".into(),
            to_do: "nothing".into(),
        };
        assert_eq!(
            line(&finding(Severity::Heals)),
            "heals: engine/tree: byte 8: no whole edit; to do: nothing"
        );
        let findings = vec![finding(Severity::Damaged), finding(Severity::Note)];
        let report = Report { identity: None, findings, segments: 1, engine_files: 2, bytes: 2048 };
        let json = json_of(Path::new("d"), &report);
        assert_eq!(
            (&json["result"], &json["findings"][0]["offset"]),
            (&"damaged".into(), &8.into())
        );
        assert_eq!(
            summary(Path::new("d"), &report),
            "d: damaged, and somebody has to do what is said above; of nobody knows which node; \
             2.0 KiB read: segments of the journal 1, files of the engine 2"
        );
        style();
    }
}
