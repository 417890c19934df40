//! A connection to one address: made when it is needed, made anew when it broke.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use wire::{Denial, NodeId, Refusal, Request, Welcome};

use super::CONNECT_TIMEOUT;
use super::link::{Link, greet};
use super::login::Login;
use super::stream::Connector;
use crate::{Answer, CallError};

/// Where a connection leads, and whom it is for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`.
    pub address: String,
    /// The cluster that is meant; empty if any will do.
    pub cluster: String,
    /// Who calls, if it is a node.
    pub node: Option<NodeId>,
    /// Which node is meant; `None` if any will do.
    pub to: Option<NodeId>,
    /// How long a connection attempt may take, greeting included.
    pub connect_timeout: Duration,
    /// What encrypts the connection, if it is to be.
    pub connector: Option<Arc<dyn Connector>>,
    /// Who uses the connection, if he wants to say so.
    pub login: Option<Login>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: String::new(),
            cluster: String::new(),
            node: None,
            to: None,
            connect_timeout: CONNECT_TIMEOUT,
            connector: None,
            login: None,
        }
    }
}

/// Requests to one address, many at a time. Clones share one TCP connection.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    link: Mutex<Option<Arc<Link>>>,
    /// What the node said when last connected.
    welcome: Mutex<Option<Welcome>>,
    /// Held by whoever connects; holds what came of the last try, if that failed.
    connecting: tokio::sync::Mutex<Option<CallError>>,
    /// Connection attempts that have ended.
    tries: AtomicU64,
    failing: AtomicBool,
}

impl Connection {
    /// A connection to be made when first needed, within a tokio runtime.
    pub fn new(settings: Settings) -> Self {
        let shared = Shared {
            settings,
            link: Mutex::new(None),
            welcome: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(None),
            tries: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Where it leads.
    pub fn address(&self) -> &str {
        &self.shared.settings.address
    }

    /// What the node there said of itself when last connected.
    pub fn welcome(&self) -> Option<Welcome> {
        self.shared.welcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it did not work when it was last tried.
    pub fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Acquire)
    }

    /// Sends a request and waits at most `timeout` for the answer, the time to connect included.
    /// `accept` may refuse the node that is met, by saying why.
    pub async fn call(
        &self,
        request: Request,
        timeout: Duration,
        accept: impl Fn(&Welcome) -> Result<(), String>,
    ) -> Result<Answer, CallError> {
        let until = Instant::now() + timeout;
        let Ok(link) = timeout_at(until, self.link(&accept)).await else {
            self.shared.failing.store(true, Ordering::Release);
            return Err(self.not_sent(format!("no connection within {timeout:?}")));
        };
        let link = link?;
        let result = match &self.shared.settings.login {
            None => link.call(&request, timeout, until).await,
            Some(login) => self.call_in_name(&link, login, &request, timeout, until).await,
        };
        if matches!(result, Err(CallError::Lost { .. })) {
            self.shared.failing.store(true, Ordering::Release);
        } else if result.is_ok() {
            self.shared.failing.store(false, Ordering::Release);
        }
        result
    }

    /// Proves first who asks, if that is not done yet; and again if what was proven holds no more, for
    /// the request was refused then, and nothing was done.
    async fn call_in_name(
        &self,
        link: &Link,
        login: &Login,
        request: &Request,
        timeout: Duration,
        until: Instant,
    ) -> Result<Answer, CallError> {
        if let Err(refusal) = link.log_in(login, 0, timeout, until).await? {
            return Ok(Err(refusal));
        }
        let count = link.logins();
        match link.call(request, timeout, until).await? {
            Err(Refusal::Denied { denial: Denial::NoUser | Denial::InvalidToken }) => {}
            answer => return Ok(answer),
        }
        match link.log_in(login, count, timeout, until).await? {
            Ok(()) => link.call(request, timeout, until).await,
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Connects, if that is not done yet, to learn who is there.
    pub async fn meet(
        &self,
        accept: impl Fn(&Welcome) -> Result<(), String>,
    ) -> Result<(), CallError> {
        self.link(&accept).await.map(drop)
    }

    async fn link(
        &self,
        accept: &impl Fn(&Welcome) -> Result<(), String>,
    ) -> Result<Arc<Link>, CallError> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let tries_before = self.shared.tries.load(Ordering::Acquire);
        let mut failure = self.shared.connecting.lock().await;
        if let Some(link) = self.live() {
            return Ok(link);
        }
        // Who waited while another's try failed shares its failure: a queue of callers must not
        // wait for one connection timeout each.
        let tried = self.shared.tries.load(Ordering::Acquire) > tries_before;
        if let Some(failure) = failure.as_ref().filter(|_| tried) {
            return Err(failure.clone());
        }
        let result = self.connect(accept).await;
        *failure = result.as_ref().err().cloned();
        self.shared.failing.store(result.is_err(), Ordering::Release);
        self.shared.tries.fetch_add(1, Ordering::AcqRel);
        result
    }

    fn live(&self) -> Option<Arc<Link>> {
        let link = self.shared.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.as_ref().filter(|link| link.is_open()).cloned()
    }

    async fn connect(
        &self,
        accept: &impl Fn(&Welcome) -> Result<(), String>,
    ) -> Result<Arc<Link>, CallError> {
        let settings = &self.shared.settings;
        let connect_timeout = settings.connect_timeout;
        let greeted = tokio::time::timeout(connect_timeout, greet(settings)).await;
        let late = |_| self.not_sent(format!("no connection within {connect_timeout:?}"));
        let (stream, buffer, welcome) = greeted.map_err(late)??;
        self.check(&welcome)?;
        accept(&welcome).map_err(|why| self.fatal(why))?;
        let link = Arc::new(Link::new(settings.address.clone(), stream, buffer));
        *self.shared.welcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(welcome);
        *self.shared.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Both sides check whom they meet.
    fn check(&self, welcome: &Welcome) -> Result<(), CallError> {
        let Settings { cluster, to, .. } = &self.shared.settings;
        if !cluster.is_empty() && *cluster != welcome.cluster {
            let theirs = &welcome.cluster;
            return Err(self.fatal(format!("it belongs to cluster {theirs:?}, not to {cluster:?}")));
        }
        match *to {
            Some(to) if to != welcome.node => {
                Err(self.fatal(format!("it is node {}, not {to}", welcome.node)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn not_sent(&self, why: String) -> CallError {
        CallError::NotSent { target: self.address().to_owned(), why }
    }

    fn fatal(&self, why: String) -> CallError {
        CallError::Fatal { target: self.address().to_owned(), why }
    }
}
