//! Requests to the nodes from inside one of them: to its own node through the mailbox, to the others
//! over a connection to their peer ports.
//!
//! The gateways' client goes through [`Local`] as [`client::Transport`]; what comes in frames from
//! outside is submitted by [`super::exchange`], and passed on to the leader ([`Local::pass_on`]) if that
//! is another node, so that every client gets an answer from every node.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Answer, CallError, CallFuture, Transport, tcp};
use node::{Event, Ticket};
use tokio::sync::oneshot;
use tokio::time::timeout;
use wire::{Consistency, NodeId, Refusal, Request};

use super::answers::ReplyTo;
use super::mailbox::{Incoming, Mailbox};
use super::metrics::Metrics;
use super::published::Published;
use super::roster::Roster;

/// How long a request from outside may take; its client has its own, shorter or longer, patience.
const OUTSIDE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a watch from outside may wait at most, whatever it asks for.
const LONGEST_WATCH_MS: u32 = 60_000;

/// How often a request is passed on anew, because leadership has moved meanwhile.
const HOPS: u32 = 2;

/// The door to all nodes. Clones are the same door.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    own: NodeId,
    mailbox: Arc<Mailbox>,
    applied: node::metrics::Level,
    published: Arc<Published>,
    tickets: AtomicU64,
    /// What the nodes are called together.
    cluster: String,
    /// The other nodes, and where they are.
    roster: Arc<Roster>,
    /// What encrypts the connections to them, if they speak TLS.
    connector: Option<Arc<dyn tcp::Connector>>,
    /// Those that were made, each to where its node was found then.
    connections: Mutex<BTreeMap<NodeId, tcp::Connection>>,
    metrics: Metrics,
}

/// The nodes, as one of them sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster<'a> {
    /// That one.
    pub(crate) own: NodeId,
    /// What they are called together.
    pub(crate) name: &'a str,
    /// The others.
    pub(crate) roster: &'a Arc<Roster>,
    /// What encrypts the connections between them, if they speak TLS.
    pub(crate) connector: Option<&'a Arc<dyn tcp::Connector>>,
}

/// Whether a request may be passed on to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassOn {
    /// It comes from a client.
    Yes,
    /// Another node has passed it on already.
    No,
}

impl Local {
    /// A door to the nodes of `cluster`. `applied` is the log index that the own node has applied.
    pub(crate) fn new(
        cluster: Cluster<'_>,
        mailbox: Arc<Mailbox>,
        applied: node::metrics::Level,
        published: Arc<Published>,
        metrics: Metrics,
    ) -> Self {
        let Cluster { own, name, roster, connector } = cluster;
        let shared = Shared {
            own,
            mailbox,
            applied,
            published,
            tickets: AtomicU64::new(1),
            cluster: name.to_owned(),
            roster: Arc::clone(roster),
            connector: connector.cloned(),
            connections: Mutex::default(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// A log index that the own node has applied.
    pub(crate) fn applied(&self) -> u64 {
        self.shared.applied.get()
    }

    /// Whether it may matter who asks, as far as the own node knows.
    pub(crate) fn names_users(&self) -> bool {
        !self.shared.published.guarding().secret.0.is_empty()
    }

    /// The own node.
    pub(crate) fn own(&self) -> NodeId {
        self.shared.own
    }

    /// A name for a request.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a request to the own node, or refuses it at once.
    pub(crate) fn submit(&self, incoming: Incoming) -> Result<(), Refusal> {
        self.shared.submit(incoming)
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        self.shared.mailbox.event(Event::Cancel(ticket));
    }

    /// Passes a request from outside on to the node that leads, or to whom that one names. There is
    /// always an answer, if only a refusal.
    pub(crate) async fn pass_on(
        &self,
        mut leader: NodeId,
        request: Request,
        patience: Duration,
    ) -> Answer {
        for hop in 0.. {
            self.shared.metrics.forwarded.inc();
            match self.shared.other_call(leader, request.clone(), patience).await {
                // Nothing was done: leadership has moved, and we may know where to.
                Ok(Err(Refusal::NotLeader { .. })) if hop < HOPS => {}
                answer => return answer.unwrap_or_else(|error| Err(refusal_of(error, &request))),
            }
            match self.shared.own_call(request.clone(), patience).await {
                Ok(Err(Refusal::NotLeader { leader: Some(next) })) => leader = next,
                answer => return answer.unwrap_or_else(|error| Err(refusal_of(error, &request))),
            }
        }
        unreachable!("the last hop returns")
    }
}

/// How long a request from outside may take. A watch must not ask for more than a while.
pub(crate) fn patience_with(request: &mut Request) -> Duration {
    match request.bare_mut() {
        Request::Watch { wait_ms, .. } => {
            *wait_ms = (*wait_ms).min(LONGEST_WATCH_MS);
            OUTSIDE_TIMEOUT + Duration::from_millis(u64::from(*wait_ms))
        }
        _ => OUTSIDE_TIMEOUT,
    }
}

/// What is said of a request from outside that took too long.
pub(crate) fn too_late(own: &str, request: &Request) -> Refusal {
    let why = "no answer in time".to_owned();
    refusal_of(CallError::Lost { target: own.to_owned(), why }, request)
}

/// Says what holds when no answer came.
fn refusal_of(error: CallError, request: &Request) -> Refusal {
    let changes = matches!(
        request.bare(),
        Request::Write(_) | Request::Transfer { .. } | Request::ChangeMembers(_)
    );
    match error {
        CallError::Lost { target, why } if changes => {
            Refusal::Unanswered { why: format!("{target} answered: {why}") }
        }
        CallError::Lost { .. } | CallError::NotSent { .. } | CallError::Fatal { .. } => {
            Refusal::Unavailable { why: error.to_string() }
        }
    }
}

impl Shared {
    fn submit(&self, incoming: Incoming) -> Result<(), Refusal> {
        if self.mailbox.request(incoming) {
            return Ok(());
        }
        self.metrics.mailbox_full.inc();
        let what = "too many requests wait for the node (request_limit, inflight_limit)";
        Err(Refusal::Busy { what: what.to_owned() })
    }

    /// Asks the own node. When the caller goes away, the node is told.
    fn own_call(
        self: &Arc<Self>,
        request: Request,
        patience: Duration,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + 'static {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let (reply_to, answer) = oneshot::channel();
        let reply_to = ReplyTo::Task(reply_to);
        let taken = self.submit(Incoming { ticket, request, reply_to });
        let shared = Arc::clone(self);
        async move {
            if let Err(refusal) = taken {
                return Ok(Err(refusal));
            }
            let target = shared.own.to_string();
            let pending = Pending { shared, ticket: Some(ticket) };
            let Ok(answer) = timeout(patience, answer).await else {
                let why = format!("no answer within {patience:?}");
                return Err(CallError::Lost { target, why });
            };
            pending.answered();
            answer.map_err(|_| CallError::Lost { target, why: "the node stopped".to_owned() })
        }
    }
}

impl Shared {
    /// A connection to where the node is found now. Those to nodes that have gone are let go.
    fn connection(&self, to: NodeId) -> Option<tcp::Connection> {
        let address = self.roster.address(to)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = connections.get(&to)
            && made.address() == address
        {
            return Some(made.clone());
        }
        connections.retain(|node, _| self.roster.address(*node).is_some());
        let made = tcp::Connection::new(tcp::Settings {
            address,
            cluster: self.cluster.clone(),
            node: Some(self.own),
            to: Some(to),
            connector: self.connector.clone(),
            ..tcp::Settings::default()
        });
        connections.insert(to, made.clone());
        Some(made)
    }

    /// Asks another node.
    ///
    /// What only a leader answers is given up when another leader is known: a leader that is stopped or
    /// cut off would be waited for in vain, although the cluster goes on.
    async fn other_call(
        &self,
        to: NodeId,
        request: Request,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let Some(connection) = self.connection(to) else {
            let why = "it is not a member of this cluster".to_owned();
            return Err(CallError::NotSent { target: to.to_string(), why });
        };
        let for_leader = match request.bare() {
            Request::Write(_)
            | Request::Transfer { .. }
            | Request::Members
            | Request::ChangeMembers(_)
            | Request::KeepAlive { .. }
            | Request::Lease { .. }
            | Request::Leases
            | Request::Auth(_)
            | Request::Authenticate { .. } => true,
            Request::Read { consistency, .. } => *consistency == Consistency::Linearizable,
            Request::Watch { .. } | Request::Status | Request::Scrub | Request::As { .. } => false,
        };
        let deposed = async {
            if !for_leader {
                std::future::pending::<()>().await;
            }
            self.published.until_led_by_another(to).await;
        };
        tokio::select! {
            biased;
            answer = connection.call(request, patience, |_| Ok(())) => answer,
            () = deposed => {
                let why = "it leads no more".to_owned();
                Err(CallError::Lost { target: to.to_string(), why })
            }
        }
    }
}

/// Cancels the request when it is dropped before an answer came.
struct Pending {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Pending {
    fn answered(mut self) {
        self.ticket = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.mailbox.event(Event::Cancel(ticket));
        }
    }
}

impl Transport for Local {
    fn nodes(&self) -> Vec<NodeId> {
        std::iter::once(self.shared.own).chain(self.shared.roster.numbers()).collect()
    }

    fn since(&self) -> u64 {
        self.applied()
    }

    fn call(&self, to: NodeId, request: Request, patience: Duration) -> CallFuture {
        if to == self.shared.own {
            return Box::pin(self.shared.own_call(request, patience));
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.other_call(to, request, patience).await })
    }
}
