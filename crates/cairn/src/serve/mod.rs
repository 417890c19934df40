//! `cairn serve`: one node, from its configuration to its end.
//!
//! The order of a start is chosen so that a mistake is found before anything is touched: the
//! configuration, then the data directory's lock and identity, then the ports, then the journal and
//! the engine, and only then threads. The order of an end is the reverse: leadership is handed over,
//! no new work is taken, what is under way is finished within a few seconds, the journal is closed.

pub(crate) mod data_dir;
mod expectation;
mod introspect;
mod ports;
pub(crate) mod storage;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use client::Client;
use client::tcp::Connector;
use node::{Event, Node};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};
use wire::{Member, NodeId};

use crate::auth::guard::Gatekeeper;
use crate::auth::jwt::{Jwt, Tokens};
use crate::config::{Config, LogFormat, ServeArgs};
use crate::drivers::clients::Server;
use crate::drivers::clock::Clock;
use crate::drivers::entrance::Keyrings;
use crate::drivers::hello::Host;
use crate::drivers::http::{Tls, Web};
use crate::drivers::journal_thread::{self, Task};
use crate::drivers::local::{Cluster, Local};
use crate::drivers::mailbox::{Limits, Mailbox};
use crate::drivers::manners::Pressure;
use crate::drivers::metrics::Metrics;
use crate::drivers::passwords::Passwords;
use crate::drivers::peers::Dialing;
use crate::drivers::published::Published;
use crate::drivers::queue::Queue;
use crate::drivers::readers::{self, Read};
use crate::drivers::refusals::Refusals;
use crate::drivers::roster::Roster;
use crate::drivers::{
    answers, certificates, node_loop, own_entry, random, scrub_thread, worker_thread,
};
use crate::errors::Fault;
use crate::logging;
use crate::tls::files::{TOKEN_KEY, TlsFiles, read_file, unusable};
use crate::tls::keyring::{Keyring, Ring};
use crate::tls::outgoing::Outgoing;

use data_dir::{DataDir, Identity};
use expectation::Expectation;
use introspect::Introspection;
use ports::Listeners;
use storage::Storage;

/// How long writes under way and the hand-over of leadership may take at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long connections may live on after that.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a request's frame may have beyond the command in it.
const FRAME_SLACK_BYTES: usize = 64 << 10;

/// Messages of peers that may wait for the node, in bytes; beyond it they are dropped.
const PEER_MAILBOX_BYTES: usize = 128 << 20;

/// The part of the limit on unflushed state at which the storage's work presses: its inverse. A
/// flush that is due, and what gathers during it, are below.
const UNFLUSHED_PART: u64 = 4;

/// What the process ends with when a second signal does not let it finish.
const ENDED_AT_ONCE: i32 = 1;

/// Runs a node until it is told to end.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    let ServeArgs { settings, exit_with_parent } = args;
    let config = match Config::load(&settings) {
        Ok(config) => config,
        Err(error) => return report(&error.into(), LogFormat::Text),
    };
    logging::start(config.log_level, config.log_format);
    match serve(&config, exit_with_parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => report(&fault, config.log_format),
    }
}

fn report(fault: &Fault, format: LogFormat) -> ExitCode {
    match format {
        LogFormat::Text => fault.print(),
        LogFormat::Json => tracing::error!(code = fault.code(), help = fault.help(), "{fault}"),
    }
    ExitCode::from(fault.exit())
}

fn serve(config: &Config, exit_with_parent: bool) -> Result<(), Fault> {
    let clock = Clock::start();
    let proofs = Proofs { keyrings: load_keyrings(config)?, jwt: load_jwt(config)? };
    let dir = DataDir::open(config)?;
    let listeners = Listeners::bind(config)?;
    let storage = Storage::open(config, &dir)?;
    let runtime = single_threaded_runtime()?;
    let running = Running::start(config, proofs, &dir, storage, clock, listeners, &runtime)?;
    info!(
        node = config.node.0,
        cluster = dir.identity().cluster,
        client = config.client_listen,
        etcd = config.etcd_listen,
        peer = config.peer_listen,
        data = %dir.path().display(),
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    runtime.block_on(running.until_end(config, exit_with_parent))?;
    // Tasks that still hold connections end with the runtime. A look-up of a peer's name may hang for
    // long on a thread of its own; nobody waits for it.
    runtime.shutdown_background();
    info!(node = config.node.0, "stopped");
    Ok(())
}

/// What this node proves itself with, and its users.
struct Proofs {
    keyrings: Keyrings,
    /// Signs web tokens, if those are wanted.
    jwt: Option<Jwt>,
}

/// A node with its threads.
struct Running {
    /// The client port, served until the end is near.
    clients: tokio::task::JoinHandle<()>,
    mailbox: Arc<Mailbox>,
    published: Arc<Published>,
    journal: Arc<Queue<Task>>,
    jobs: Arc<Queue<engine::Job>>,
    reads: Arc<Queue<Read>>,
    scrubs: Arc<Queue<node::ScrubTask>>,
    passwords: Passwords,
    /// Closed to end the thread that looks after certificates.
    certificates: Arc<Queue<()>>,
    node_thread: JoinHandle<()>,
    /// In the order in which they end.
    other_threads: Vec<JoinHandle<()>>,
    ending: watch::Sender<bool>,
}

impl Running {
    /// The connections to the other nodes are served by the node's thread, those of clients by it,
    /// too, or by `runtime`, which is this thread's.
    fn start(
        config: &Config,
        proofs: Proofs,
        dir: &DataDir,
        storage: Storage,
        clock: Clock,
        listeners: Listeners,
        runtime: &Runtime,
    ) -> Result<Self, Fault> {
        let Proofs { keyrings, jwt } = proofs;
        let node_runtime = single_threaded_runtime()?;
        let clients_on = if config.client_threads == 0 { &node_runtime } else { runtime };
        let cluster = dir.identity().cluster.clone();
        let metrics = Metrics::new();
        let mailbox = Arc::new(Mailbox::new(Limits {
            requests: config.tuning.waiting_limit,
            request_bytes: config.tuning.inflight_limit_bytes,
            peer_bytes: PEER_MAILBOX_BYTES,
        }));
        let Storage { journal, recovered, engine, worker } = storage;
        let node = Node::new(node_config(config, dir.identity()), recovered, engine, clock.now())
            .map_err(Fault::State)?;
        let published = Arc::new(Published::new(clock, node.status(), Arc::clone(node.guarding())));
        let (answers, delivery) = answers::channel(metrics.clone());
        clients_on.spawn(delivery.run());
        let connector = keyrings.peers.clone().map(|keyring| {
            let connector: Arc<dyn Connector> = Arc::new(Outgoing::of_node(keyring));
            connector
        });
        let dialing = Arc::new(Dialing {
            own: config.node,
            cluster: cluster.clone(),
            protocol: config.protocol,
            address: config.own_member().peer_address.clone(),
            journal: dir.identity().journal_id(),
            mailbox: Arc::clone(&mailbox),
            refusals: Refusals::new(config.node, dir.age(), Arc::clone(&published)),
            metrics: metrics.clone(),
            connector: connector.clone(),
        });
        let roster = Arc::new(Roster::new(
            config.node,
            &first_members(config, dir.identity()),
            dir.journals()?,
            Arc::clone(&published),
            Some((node_runtime.handle().clone(), dialing)),
        ));
        let passwords = Passwords::default();
        let ports = node_loop::Ports {
            journal: Arc::new(Queue::new()),
            jobs: Arc::new(Queue::new()),
            reads: Arc::new(Queue::new()),
            scrubs: Arc::new(Queue::new()),
            answers: answers.clone(),
            roster: Arc::clone(&roster),
            passwords: passwords.clone(),
            published: Arc::clone(&published),
        };
        let (journal_queue, jobs, reads) =
            (Arc::clone(&ports.journal), Arc::clone(&ports.jobs), Arc::clone(&ports.reads));
        let scrubs = Arc::clone(&ports.scrubs);
        let node_metrics = node.metrics().clone();
        let (ending, ending_seen) = watch::channel(false);
        let door = Local::new(
            Cluster {
                own: config.node,
                name: &cluster,
                roster: &roster,
                connector: connector.as_ref(),
            },
            Arc::clone(&mailbox),
            node_metrics.applied_index.clone(),
            Arc::clone(&published),
            metrics.clone(),
        );
        let introspection = Arc::new(Introspection::new(
            clock,
            Arc::clone(&published),
            &node_metrics,
            &metrics,
            &cluster,
        ));
        let client = Client::new(
            Arc::new(door.clone()),
            client::Config::new(random::draw(), random::draw_u64()),
        );
        let own = config.own_member().clone();
        let (expectation, list) = (Expectation::of(config, dir), Arc::clone(&roster));
        clients_on.spawn(async move {
            // The node tells it with the first that it says.
            let list = list.until(|_| true).await;
            expectation.check(&list.list).unwrap_or_else(|fault| fault.end_process());
        });
        clients_on.spawn(own_entry::watch_removal(Arc::clone(&roster), config.node));
        clients_on.spawn(own_entry::keep_addresses(Arc::clone(&roster), client.clone(), own));
        let guard: Arc<dyn client::Guard> = Arc::new(Gatekeeper::new(
            door.clone(),
            Arc::clone(&published),
            passwords.clone(),
            jwt,
            client.clone(),
        ));
        let tls = Tls { clients: config.client_tls.is_some(), peers: config.peer_tls.is_some() };
        let limit = config.tuning.value_limit_bytes;
        let web = Web::new(&client, &guard, introspection, limit, tls);
        let server = Arc::new(Server {
            keyrings: keyrings.clone(),
            host: Host::new(config.node, cluster, Arc::clone(&roster), config.protocol),
            door,
            mailbox: Arc::clone(&mailbox),
            web: Arc::new(web),
            metrics: metrics.clone(),
            frame_limit_bytes: config.tuning.command_limit_bytes + FRAME_SLACK_BYTES,
            ending: ending_seen,
        });
        let mut other_threads = readers::start(config.reader_threads, &reads, &mailbox, &answers)?;
        other_threads.push(passwords.start(answers)?);
        other_threads.push(scrub_thread::start(
            Arc::clone(&scrubs),
            Arc::clone(&mailbox),
            metrics.clone(),
        )?);
        let all_keyrings = [keyrings.clients, keyrings.peers].into_iter().flatten();
        let all_keyrings: Vec<_> = all_keyrings.collect();
        let certificates = Arc::new(Queue::new());
        if !all_keyrings.is_empty() {
            let (closing, metrics) = (Arc::clone(&certificates), metrics.clone());
            other_threads.push(certificates::start(all_keyrings, closing, metrics)?);
        }
        other_threads.push(worker_thread::start(
            worker,
            Arc::clone(&jobs),
            Arc::clone(&mailbox),
            metrics.clone(),
            Pressure {
                gathered: node_metrics.unflushed_bytes.clone(),
                limit: config.tuning.unflushed_limit_bytes as u64 / UNFLUSHED_PART,
            },
        )?);
        other_threads.push(journal_thread::start(
            journal,
            Arc::clone(&journal_queue),
            Arc::clone(&mailbox),
            metrics.clone(),
        )?);
        let clients = listeners.serve(config, &server, clients_on, &node_runtime)?;
        let node_thread = node_loop::start(
            node_runtime,
            node,
            config.node,
            clock,
            Arc::clone(&mailbox),
            ports,
            metrics,
        )?;
        let journal = journal_queue;
        Ok(Self {
            clients,
            mailbox,
            published,
            journal,
            jobs,
            reads,
            scrubs,
            passwords,
            certificates,
            node_thread,
            other_threads,
            ending,
        })
    }

    async fn until_end(mut self, config: &Config, exit_with_parent: bool) -> Result<(), Fault> {
        let mut end = End::watch(exit_with_parent)?;
        let why = end.wait().await;
        info!(node = config.node.0, why, "stopping");
        self.mailbox.event(Event::Retire);
        self.ending.send_replace(true);
        let farewell = async {
            let quiet = timeout(FAREWELL, self.published.until_quiet()).await.is_ok();
            // What remains are watches, which have no end of their own, and who hears its answer.
            let _ = timeout(LAST_WORDS, &mut self.clients).await;
            quiet
        };
        tokio::select! {
            quiet = farewell => if !quiet {
                warn!(node = config.node.0, "not all was finished in time; what is durable is safe");
            },
            _ = end.wait() => std::process::exit(ENDED_AT_ONCE),
        }
        self.close();
        Ok(())
    }

    /// The node first, then those who work for it; the journal is closed last.
    fn close(self) {
        self.mailbox.close();
        // A thread that panicked has ended the process.
        let _ = self.node_thread.join();
        self.certificates.close();
        self.reads.close();
        self.scrubs.close();
        self.passwords.close();
        self.jobs.close();
        self.journal.close();
        for thread in self.other_threads {
            let _ = thread.join();
        }
    }
}

/// A runtime for one thread of ours.
fn single_threaded_runtime() -> Result<Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Fault::System { action: "start a network runtime", source })
}

fn node_config(config: &Config, identity: &Identity) -> node::Config {
    node::Config {
        node: config.node,
        cluster: identity.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        members: first_members(config, identity),
        joins: identity.joined,
        witness: identity.witness,
        protocol: config.protocol,
        seed: random::draw_u64(),
        tuning: config.tuning.clone(),
        rare: node::Rare::closed(),
    }
}

/// With whom the node begins, if it knows nothing newer: those with whom the cluster began, where the
/// configuration has them; for one that joins, those whom the configuration names.
fn first_members(config: &Config, identity: &Identity) -> Vec<Member> {
    if identity.joined {
        return config.members.clone();
    }
    let member = |number: &u64| {
        let node = NodeId(*number);
        let configured = config.members.iter().find(|member| member.node == node);
        // One that the configuration has forgotten says where it is when it calls.
        configured.cloned().unwrap_or_else(|| Member::unknown(node))
    };
    identity.members.iter().map(member).collect()
}

/// The key that web tokens are signed with.
fn load_jwt(config: &Config) -> Result<Option<Jwt>, Fault> {
    let Tokens::Jwt { method, key, lifetime } = &config.auth_token else { return Ok(None) };
    let bytes = read_file(TOKEN_KEY, key)?;
    let jwt = Jwt::new(method, &bytes, *lifetime);
    Ok(Some(jwt.map_err(|why| unusable(TOKEN_KEY, key, why))?))
}

/// What the files of the configuration hold.
fn load_keyrings(config: &Config) -> Result<Keyrings, Fault> {
    let load = |ring, files: &Option<TlsFiles>| match files {
        None => Ok(None),
        Some(files) => Keyring::load(ring, files.clone()).map(|keyring| Some(Arc::new(keyring))),
    };
    Ok(Keyrings {
        clients: load(Ring::Clients, &config.client_tls)?,
        peers: load(Ring::Peers, &config.peer_tls)?,
    })
}

/// What ends a node from outside.
struct End {
    terminate: Signal,
    interrupt: Signal,
    parent: Option<oneshot::Receiver<()>>,
}

impl End {
    fn watch(with_parent: bool) -> Result<Self, Fault> {
        let watch = |kind| {
            signal(kind).map_err(|source| Fault::System { action: "watch for signals", source })
        };
        let parent = with_parent.then(watch_parent).transpose()?;
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            parent,
        })
    }

    /// Waits for the next one, and says which.
    async fn wait(&mut self) -> &'static str {
        let parent = async {
            match self.parent.as_mut() {
                Some(parent) => drop(parent.await),
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            _ = self.terminate.recv() => return "SIGTERM",
            _ = self.interrupt.recv() => return "SIGINT",
            () = parent => "the parent is gone",
        };
        self.parent = None;
        why
    }
}

/// Waits on a thread of its own until stdin ends. The thread lives as long as the process.
fn watch_parent() -> Result<oneshot::Receiver<()>, Fault> {
    let (gone, seen) = oneshot::channel();
    crate::drivers::threads::start("parent", move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = gone.send(());
    })?;
    Ok(seen)
}
