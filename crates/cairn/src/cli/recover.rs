//! `cairn recover`: what is to be done when the disks of a majority are lost.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::connect::Global;
use super::output::{Ended, print};
use super::{Failure, Output, exit};
use crate::config::check_cluster_name;
use crate::errors::Fault;
use crate::recover::{Found, Refusal};
use crate::serve::data_dir::Identity;

/// `cairn recover`.
#[derive(Debug, Args)]
#[command(after_help = "\
For a cluster that has lost the disks of a majority for good. What only the lost nodes had is gone, though
they may have acknowledged it. While enough disks are left, start their nodes instead.

1. Stop the nodes that are left, and look at each: the one whose last entry has the higher epoch, and if
   these are alike the higher index, has most.
2. Let that one go on alone, under another name, so that lost nodes that come back after all stay apart.
3. Start it with that name, and add nodes with empty directories: `cairn member add`.

Exit codes: 0 done; 3 not done: a process has the directory; 5 the directory is damaged.

Examples:
  cairn recover /var/lib/cairn                     what this node has
  cairn recover /var/lib/cairn --cluster blue-2    it goes on alone, as the cluster blue-2")]
pub(crate) struct RecoverArgs {
    /// The data directory of a node that is left, and stopped
    dir: PathBuf,
    /// Go on alone, as the cluster of this name: another one than before
    #[arg(long, value_name = "NAME", value_parser = check_cluster_name)]
    cluster: Option<String>,
}

/// Carries out `cairn recover`.
pub(crate) fn recover(global: &Global, args: &RecoverArgs) -> Result<(), Ended> {
    let found = Found::in_dir(&args.dir).map_err(|refusal| explain(&args.dir, refusal))?;
    let Some(cluster) = &args.cluster else {
        return match global.output {
            Output::Text => print(&look(&found)),
            Output::Json => print(&json_of(&found, None).to_string()),
        };
    };
    // A second try, after a crash in the middle of the first, finds the name there already.
    let is_begun = found.identity.left_over_by.is_some() && !found.survivor.is_alone();
    if *cluster == found.identity.cluster && !is_begun {
        let what = format!("node {} is of the cluster {cluster} already", found.identity.node);
        return Err(Failure::usage(what)
            .help("take another name: lost nodes that come back must not take this one for theirs")
            .into());
    }
    let json = json_of(&found, Some(cluster));
    let had = words(&found);
    let identity = found.go_on_alone(&args.dir, cluster).map_err(|fault| failure(&fault))?;
    match global.output {
        Output::Text => print(&done(&identity, &had)),
        Output::Json => print(&json.to_string()),
    }
}

/// What a node has, in one line.
fn words(found: &Found) -> String {
    let survivor = &found.survivor;
    let last = survivor.last;
    let word = found.identity.protocol().map_or("epoch", consensus::Protocol::epoch_word);
    let undecided = match survivor.undecided {
        0 => String::new(),
        count => format!("; of its last {count} it does not know whether they were acknowledged"),
    };
    format!("last entry: {word} {}, index {}{undecided}", last.epoch, last.index)
}

fn look(found: &Found) -> String {
    let identity = &found.identity;
    let members = found.survivor.members.list.iter().map(|member| member.node.0.to_string());
    format!(
        "node {} of cluster {}, whose members are {}\n{}\n\
         it is a node of that cluster still; `--cluster NAME` lets it go on alone",
        identity.node,
        identity.cluster,
        members.collect::<Vec<_>>().join(", "),
        words(found),
    )
}

fn done(identity: &Identity, had: &str) -> String {
    format!(
        "node {} is the only node of cluster {} now\n{had}; it keeps all of them\n\
         next: set `cluster` to {} in its configuration, start it, and add nodes: `cairn member add ADDRESS`",
        identity.node, identity.cluster, identity.cluster,
    )
}

fn json_of(found: &Found, cluster: Option<&str>) -> Value {
    let (identity, survivor) = (&found.identity, &found.survivor);
    let last = survivor.last;
    json!({
        "result": if cluster.is_some() { "recovered" } else { "looked" },
        "node": identity.node,
        "cluster": cluster.unwrap_or(&identity.cluster),
        "former_cluster": identity.cluster,
        "members": survivor.members.list.iter().map(|member| member.node.0).collect::<Vec<_>>(),
        "last": { "epoch": last.epoch.round, "proposer": last.epoch.proposer, "index": last.index.0 },
        "undecided": survivor.undecided,
    })
}

fn explain(dir: &Path, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoDataDir => Failure::usage(format!(
            "{} is not the data directory of a node: there is no IDENTITY in it",
            dir.display()
        ))
        .help("name the directory of one node, such as ./cairn-data/node-1"),
        Refusal::Unknown(what) => Failure::damaged(format!("{}: {what}", dir.display()))
            .help("take the release that made it"),
        Refusal::Fault(fault) => failure(&fault),
    }
}

fn failure(fault: &Fault) -> Failure {
    let refused = Failure::refused(fault.code(), fault.to_string());
    match fault {
        Fault::Locked { .. } => refused.help("stop the node first"),
        _ => Failure { exit: exit::FILE, ..refused.help(fault.help()) },
    }
}
