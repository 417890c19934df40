//! The life of a cluster: started, seen to serve, watched, stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use client::tcp::{Connector, Tcp};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::Consistency;

use super::child::{self, Restart, Stop};
use super::cluster::Cluster;
use super::directory::NodeFiles;
use super::news::{News, What};
use super::show::{Row, Show};
use super::tls;
use crate::cli::{Failure, Output};
use crate::drivers::random;

/// How long a cluster may take until it serves.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// News that wait to be shown. When they are full, the nodes' logs wait, not the nodes: a node's
/// stderr is read into its file first.
const NEWS_LIMIT: usize = 256;

/// What is known of a node.
#[derive(Debug)]
struct State {
    files: NodeFiles,
    pid: Option<u32>,
    role: String,
    starts: u32,
    shown: Option<What>,
}

/// Starts the nodes and stays with them until told to stop, or until all have ended.
pub(crate) async fn supervise(
    cluster: Cluster,
    nodes: Vec<NodeFiles>,
    tls: Option<tls::Files>,
    dir: &Path,
    restart: Restart,
    output: Output,
) -> Result<(), Failure> {
    let connector = tls.as_ref().map(tls::Files::connector).transpose()?;
    let show = Show::new(output, dir, tls, cluster.protocol);
    show.starting(&cluster);
    let mut signals = Signals::new()?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::not_done("system", format!("find this program: {error}")))?;
    let (stop, stopping) = watch::channel(Stop::No);
    let (sender, mut news) = mpsc::channel(NEWS_LIMIT);
    let mut keepers = JoinSet::new();
    for files in &nodes {
        let (files, program) = (files.clone(), program.clone());
        keepers.spawn(child::keep(files, program, restart, stopping.clone(), sender.clone()));
    }
    drop((sender, stopping));
    let mut watched = Watched::new(cluster, connector, nodes, &show);
    let end = watched.watch(&mut news, &mut signals).await;
    if !matches!(end, Ok(End::Gone)) {
        if end.is_ok() {
            show.stopping();
        }
        stop_all(&stop, &mut keepers, &mut news, &mut signals).await;
    }
    match end? {
        End::Asked => {
            show.stopped();
            Ok(())
        }
        End::Gone => Err(Failure::refused("all_ended", "all nodes have ended").help(format!(
            "the data is in {}; `{}` starts them again",
            dir.display(),
            show.up_again()
        ))),
    }
}

/// Why watching ended.
enum End {
    /// Somebody wants it.
    Asked,
    /// No node is left.
    Gone,
}

struct Watched<'a> {
    cluster: Cluster,
    connector: Option<Arc<dyn Connector>>,
    states: Vec<State>,
    show: &'a Show,
    ready: bool,
}

impl<'a> Watched<'a> {
    fn new(
        cluster: Cluster,
        connector: Option<Arc<dyn Connector>>,
        nodes: Vec<NodeFiles>,
        show: &'a Show,
    ) -> Self {
        let states = nodes.into_iter().map(|files| State {
            files,
            pid: None,
            role: "starting".to_owned(),
            starts: 0,
            shown: None,
        });
        Self { cluster, connector, states: states.collect(), show, ready: false }
    }

    async fn watch(
        &mut self,
        news: &mut mpsc::Receiver<News>,
        signals: &mut Signals,
    ) -> Result<End, Failure> {
        let (cluster, connector) = (self.cluster.clone(), self.connector.clone());
        let serves = serves(&cluster, connector.as_ref());
        tokio::pin!(serves);
        loop {
            tokio::select! {
                answer = &mut serves, if !self.ready => {
                    self.note_roles(answer?);
                    self.ready = true;
                    self.show_table();
                }
                () = signals.next() => return Ok(End::Asked),
                item = news.recv() => match item {
                    Some(item) => self.take(&item)?,
                    None => return Ok(End::Gone),
                },
            }
        }
    }

    fn take(&mut self, news: &News) -> Result<(), Failure> {
        let ready = self.ready;
        let state = &mut self.states[usize::from(news.node) - 1];
        assert_eq!(state.files.node, news.node, "nodes stand in the order of their numbers");
        match &news.what {
            What::Started { pid } => {
                state.pid = Some(*pid);
                state.starts += 1;
                if state.starts > 1 {
                    self.show.started_again(news.node, *pid);
                }
            }
            What::Role { role, .. } => {
                state.role.clone_from(role);
                // A role may be reported again when its leader is found; once is enough.
                if state.shown.as_ref() == Some(&news.what) {
                    return Ok(());
                }
                state.shown = Some(news.what.clone());
            }
            What::Error { .. } => {}
            What::Ended { status, words, restart_in } => {
                state.pid = None;
                "dead".clone_into(&mut state.role);
                state.shown = None;
                if !ready && restart_in.is_none() {
                    let why = words.as_deref().unwrap_or("it said nothing");
                    let message = format!("node {} ended ({status}): {why}", news.node);
                    let log = state.files.data.join("log.jsonl");
                    let help = format!("its log is {}", log.display());
                    return Err(Failure::refused("node_ended", message).help(help));
                }
            }
        }
        self.show.news(news, &state.files);
        Ok(())
    }

    /// The log may lag behind what the nodes say themselves.
    fn note_roles(&mut self, roles: Vec<(u64, String)>) {
        for (node, role) in roles {
            let found = self.states.iter_mut().find(|state| u64::from(state.files.node) == node);
            if let Some(state) = found {
                state.role = role;
            }
        }
    }

    fn show_table(&self) {
        let states = self.states.iter();
        let rows: Vec<Row<'_>> = states
            .map(|state| Row { files: &state.files, pid: state.pid, role: state.role.clone() })
            .collect();
        self.show.ready(&self.cluster, &rows);
    }
}

/// Waits until the cluster has answered a linearizable read; each node's role.
async fn serves(
    cluster: &Cluster,
    connector: Option<&Arc<dyn Connector>>,
) -> Result<Vec<(u64, String)>, Failure> {
    let endpoints: Vec<String> = cluster.numbers().map(|n| cluster.client_address(n)).collect();
    let transport = Tcp::with_connector(&endpoints, Some(cluster.name.clone()), connector)
        .map_err(|error| Failure::not_done("system", error.to_string()))?;
    let config =
        client::Config { timeout: READY_PATIENCE, ..client::Config::new(random::draw(), 0) };
    let client = Client::new(Arc::new(transport), config);
    if let Err(error) = client.get("cairn", Consistency::Linearizable).await {
        let patience = READY_PATIENCE.as_secs();
        let message = format!("no leader serves after {patience} s: {error}");
        return Err(Failure::refused("not_ready", message)
            .help("each node's log is in its directory, as log.jsonl"));
    }
    let statuses = client.with_timeout(Duration::from_secs(1)).statuses().await;
    let known = statuses.into_iter().filter_map(|(_, status)| status.ok());
    Ok(known.map(|status| (status.node.0, status.role)).collect())
}

/// Asks all nodes to end, and waits until they have. Another signal ends them at once.
async fn stop_all(
    stop: &watch::Sender<Stop>,
    keepers: &mut JoinSet<()>,
    news: &mut mpsc::Receiver<News>,
    signals: &mut Signals,
) {
    // No node has to wait until its last words are heard.
    news.close();
    while news.try_recv().is_ok() {}
    stop.send_replace(Stop::Ask);
    loop {
        tokio::select! {
            ended = keepers.join_next() => if ended.is_none() { return },
            () = signals.next() => { stop.send_replace(Stop::Kill); }
        }
    }
}

/// What asks `up` to end.
struct Signals {
    all: [tokio::signal::unix::Signal; 3],
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::not_done("system", format!("listen to signals: {error}")))
        };
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { all: [listen(interrupt)?, listen(terminate)?, listen(SignalKind::hangup())?] })
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.all;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
