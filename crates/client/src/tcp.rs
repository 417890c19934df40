//! Requests over TCP: one connection to each endpoint, made when it is first needed, shared by all
//! requests.
//!
//! Addresses are known before nodes are. So the nodes of this transport are numbered by endpoint
//! ([`FIRST_ENDPOINT`] and up), and [`Tcp::locate`] translates a node's own number once the node at
//! an address has said who it is; if it is asked for a node that it does not know, it connects in
//! the background to those endpoints that it has not met. Until then, and for a leader that is not
//! among the endpoints, any of them will do: nodes pass requests on.

mod address;
mod connection;
mod link;
mod login;
mod stream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wire::{NodeId, Request, Welcome};

pub use address::{AddressError, Endpoint, Scheme, host_of, parse};
pub use connection::{Connection, Settings};
pub use login::Login;
pub use stream::{Connector, Duplex, ReadHalf, Securing, Stream, WriteHalf};

use crate::{CallError, CallFuture, Transport};

/// The number of the first endpoint. Nodes' own numbers stay below.
pub const FIRST_ENDPOINT: u64 = 1 << 48;

/// How long a connection attempt may take, greeting included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Endpoints that have not been met are looked up in the background no more often than this.
const MEET_INTERVAL: Duration = Duration::from_secs(10);

/// A transport over TCP. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Tcp {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Vec<Connection>,
    met: Met,
    /// When the endpoints not yet met were last looked up.
    looked_up: Mutex<Option<Instant>>,
}

/// What the nodes have told of their cluster.
#[derive(Debug, Default)]
struct Met {
    /// Its name: given, or that of the first node met.
    cluster: OnceLock<String>,
    /// A log index that it had applied when we met it.
    since: AtomicU64,
}

impl Tcp {
    /// A transport to these endpoints (`host:port` or `http://host:port`), the nearest first, of the
    /// cluster of this name, or of the one that is met first. Connects when first asked; must be
    /// used within a tokio runtime. Endpoints that ask for TLS are refused.
    pub fn new(endpoints: &[String], cluster: Option<String>) -> Result<Self, AddressError> {
        Self::with_connector(endpoints, cluster, None)
    }

    /// The same, and endpoints may also be written as `https://host:port`. Those, and those that do not
    /// say, are spoken to through `connector` if there is one; `http://` stays as it is.
    pub fn with_connector(
        endpoints: &[String],
        cluster: Option<String>,
        connector: Option<&Arc<dyn Connector>>,
    ) -> Result<Self, AddressError> {
        Self::with_login(endpoints, cluster, connector, None)
    }

    /// The same, with connections that prove who uses them.
    pub fn with_login(
        endpoints: &[String],
        cluster: Option<String>,
        connector: Option<&Arc<dyn Connector>>,
        login: Option<&Login>,
    ) -> Result<Self, AddressError> {
        if endpoints.is_empty() {
            return Err(AddressError::None);
        }
        let connection = |endpoint: &String| {
            let cluster = cluster.clone().unwrap_or_default();
            let Endpoint { scheme, address } = parse(endpoint)?;
            let connector = match (scheme, connector) {
                (Scheme::Tls, None) => {
                    return Err(AddressError::Tls { endpoint: endpoint.clone() });
                }
                (Scheme::Plain, _) => None,
                (Scheme::Unsaid | Scheme::Tls, connector) => connector.cloned(),
            };
            let login = login.cloned();
            let settings = Settings { address, cluster, connector, login, ..Settings::default() };
            Ok(Connection::new(settings))
        };
        let endpoints = endpoints.iter().map(connection).collect::<Result<_, _>>()?;
        let met = Met::default();
        if let Some(cluster) = cluster {
            met.cluster.set(cluster).expect("nobody was met yet");
        }
        Ok(Self { shared: Arc::new(Shared { endpoints, met, looked_up: Mutex::new(None) }) })
    }

    fn endpoint(&self, node: NodeId) -> Option<&Connection> {
        let place = node.0.checked_sub(FIRST_ENDPOINT)?;
        self.shared.endpoints.get(usize::try_from(place).ok()?)
    }

    /// Connects in the background to the endpoints that were not met yet.
    fn look_up(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let unmet = self.shared.endpoints.iter().filter(|e| e.welcome().is_none());
        let mut looked_up = self.shared.looked_up.lock().unwrap_or_else(PoisonError::into_inner);
        if looked_up.is_some_and(|at| at.elapsed() < MEET_INTERVAL) {
            return;
        }
        *looked_up = Some(Instant::now());
        for endpoint in unmet {
            let (endpoint, shared) = (endpoint.clone(), Arc::clone(&self.shared));
            // Whatever comes of it is remembered by the endpoint.
            runtime.spawn(async move { endpoint.meet(|welcome| shared.met.check(welcome)).await });
        }
    }
}

impl Transport for Tcp {
    /// Endpoints that failed when last tried stand behind the others.
    fn nodes(&self) -> Vec<NodeId> {
        let endpoints = (FIRST_ENDPOINT..).map(NodeId).zip(&self.shared.endpoints);
        let (bad, good): (Vec<_>, Vec<_>) = endpoints.partition(|(_, e)| e.is_failing());
        good.into_iter().chain(bad).map(|(node, _)| node).collect()
    }

    fn locate(&self, node: NodeId) -> Option<NodeId> {
        if self.endpoint(node).is_some() {
            return Some(node);
        }
        let mut endpoints = (FIRST_ENDPOINT..).map(NodeId).zip(&self.shared.endpoints);
        let at = endpoints.find(|(_, e)| e.welcome().is_some_and(|w| w.node == node));
        if at.is_none() {
            self.look_up();
        }
        at.map(|(endpoint, _)| endpoint)
    }

    fn name(&self, node: NodeId) -> String {
        self.endpoint(node).map_or_else(|| node.to_string(), |e| e.address().to_owned())
    }

    fn since(&self) -> u64 {
        self.shared.met.since.load(Ordering::Acquire)
    }

    fn call(&self, to: NodeId, request: Request, timeout: Duration) -> CallFuture {
        let endpoint = self.locate(to).and_then(|to| self.endpoint(to)).cloned();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let Some(endpoint) = endpoint else {
                let why = "it is not among the endpoints".into();
                return Err(CallError::NotSent { target: to.to_string(), why });
            };
            endpoint.call(request, timeout, |welcome| shared.met.check(welcome)).await
        })
    }
}

impl Met {
    /// Takes in what a node says of itself; refuses one of another cluster than the nodes before it.
    fn check(&self, welcome: &Welcome) -> Result<(), String> {
        let cluster = self.cluster.get_or_init(|| welcome.cluster.clone());
        if *cluster != welcome.cluster {
            return Err(format!(
                "it belongs to cluster {:?}, not to {cluster:?}; check the endpoints",
                welcome.cluster
            ));
        }
        // The first is enough, and the client learns later ones from answers.
        let _ =
            self.since.compare_exchange(0, welcome.applied, Ordering::AcqRel, Ordering::Acquire);
        Ok(())
    }
}
