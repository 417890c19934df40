//! One node's process: started, watched, stopped, and started again if wanted.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::directory::NodeFiles;
use super::log_file::{self, LogFile};
use super::news::{News, What};
use super::stderr;

/// How long a node may take to end when it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses before a node is started again: doubled each time, from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// A node that ran so long was well: the pauses begin anew.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// Settings that `up` chooses for each node.
const OWN_SETTINGS: [&str; 18] = [
    "CAIRN_CONFIG",
    "CAIRN_CLUSTER",
    "CAIRN_NODE",
    "CAIRN_DATA_DIR",
    "CAIRN_CLIENT_LISTEN",
    "CAIRN_CLIENT_ADVERTISE",
    "CAIRN_PEER_LISTEN",
    "CAIRN_CLIENT_TLS_CERT",
    "CAIRN_CLIENT_TLS_KEY",
    "CAIRN_CLIENT_TLS_CA",
    "CAIRN_CLIENT_TLS_AUTH",
    "CAIRN_PEER_TLS_CERT",
    "CAIRN_PEER_TLS_KEY",
    "CAIRN_PEER_TLS_CA",
    "CAIRN_MEMBERS",
    "CAIRN_MEMBER",
    "CAIRN_ENGINE",
    "CAIRN_LOG_FORMAT",
];

/// Whether a node that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// It is.
    Always,
    /// It stays dead.
    Never,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Not begun.
    No,
    /// Ask the nodes to end.
    Ask,
    /// End them.
    Kill,
}

/// Runs one node until it has ended for good, or until told to stop.
pub(crate) async fn keep(
    files: NodeFiles,
    program: PathBuf,
    restart: Restart,
    mut stop: watch::Receiver<Stop>,
    news: mpsc::Sender<News>,
) {
    let node = files.node;
    let mut pause = FIRST_PAUSE;
    while *stop.borrow() == Stop::No {
        let begun = Instant::now();
        let (status, words) = match start(&files, &program) {
            Ok(child) => run(node, &files, child, &mut stop, &news).await,
            Err(error) => (format!("it can't be started: {error}"), None),
        };
        if *stop.borrow() != Stop::No {
            return;
        }
        if begun.elapsed() >= WELL_AFTER {
            pause = FIRST_PAUSE;
        }
        let restart_in = (restart == Restart::Always).then_some(pause);
        let what = What::Ended { status, words, restart_in };
        if news.send(News { node, what }).await.is_err() || restart_in.is_none() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.changed() => {}
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn start(files: &NodeFiles, program: &PathBuf) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    // The environment beats the file: what makes a node this node must not come from there. All else
    // may, so that `CAIRN_MAX_VALUE=1MiB cairn up` does what it says.
    for name in OWN_SETTINGS {
        command.env_remove(name);
    }
    command
        .arg("serve")
        .arg("--config")
        .arg(&files.config)
        .args(["--log-format", "json", "--exit-with-parent"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C at the terminal goes to `up` alone, which stops the nodes.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits until the process has ended, stopping it when told to.
async fn run(
    node: u16,
    files: &NodeFiles,
    mut child: Child,
    stop: &mut watch::Receiver<Stop>,
    news: &mpsc::Sender<News>,
) -> (String, Option<String>) {
    // The node ends when this pipe does: it must live as long as the node shall.
    let _lifeline = child.stdin.take();
    let pid = child.id().expect("the process was not waited for yet");
    let _ = news.send(News { node, what: What::Started { pid } }).await;
    let stderr = child.stderr.take().expect("stderr is a pipe");
    // Without its log a node still serves.
    let log = LogFile::open(&files.data, log_file::MAX_BYTES).ok();
    let words = tokio::spawn(stderr::pump(node, stderr, log, news.clone()));
    let status = tokio::select! {
        status = child.wait() => status,
        () = told(stop, Stop::Ask) => end(&mut child, pid, stop).await,
    };
    let words = timeout(Duration::from_secs(1), words).await.ok().and_then(Result::ok).flatten();
    (status.map_or_else(|error| error.to_string(), describe), words)
}

/// Asks the process to end, and ends it if it does not.
async fn end(
    child: &mut Child,
    pid: u32,
    stop: &mut watch::Receiver<Stop>,
) -> std::io::Result<ExitStatus> {
    signal(pid, Signal::TERM);
    tokio::select! {
        status = child.wait() => return status,
        () = told(stop, Stop::Kill) => {}
        () = sleep(STOP_PATIENCE) => {}
    }
    child.kill().await?;
    child.wait().await
}

async fn told(stop: &mut watch::Receiver<Stop>, least: Stop) {
    if stop.wait_for(|&stop| stop >= least).await.is_err() {
        // Whoever could tell is gone, and with it everything else.
        std::future::pending::<()>().await;
    }
}

/// The process was not waited for yet, so the number is still its own.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended a moment ago.
        let _ = kill_process(pid, signal);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "it is gone".to_owned(),
    }
}
