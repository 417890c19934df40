//! A session: a lease that is kept alive, and the truth about how long it can be relied on.
//!
//! The cluster counts a lease's time from some moment after the keep-alive was sent, so counting from
//! the sending is on the safe side, whatever the answer's way took. A keep-alive is sent each third of
//! the time to live; one that fails is repeated soon. When the time counted so is over, the session is
//! lost, and says so at once, whether or not the cluster could be asked.
//!
//! # Invariants
//!
//! * [`Session::reliable_until`] never moves back, and is never later than the moment at which the
//!   cluster may end the lease.
//! * What is lost stays lost: an answer that comes too late revives nothing.
//!
//! # Reference
//!
//! Gray and Cheriton, *Leases* (1989), §3: the holder's end of the term is before the server's.

use std::time::Duration;

use client::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use wire::{Outcome, Refusal};

use crate::error::Error;

/// A keep-alive is sent whenever such a part of the time to live has passed.
const PARTS: u32 = 3;

/// After a failure it is repeated after such a part.
const RETRY_PARTS: u32 = 20;

/// The shortest time to live of a session: a shorter one dies of an ordinary election.
const SHORTEST: Duration = Duration::from_millis(100);

/// Why a session can't be relied on any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// No keep-alive was answered in time: the lease may have ended.
    #[error("no keep-alive of the lease was answered in time; it may have ended")]
    Silence,
    /// The lease has ended: its time was over, or it was revoked.
    #[error("the lease has ended: its time was over, or somebody revoked it")]
    Ended,
}

/// A lease that is kept alive as long as this lives. If it is dropped without [`Session::close`], the
/// lease ends by itself when its time is over.
#[derive(Debug)]
pub struct Session {
    client: Client,
    lease: u64,
    state: watch::Receiver<State>,
    keeper: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    until: Instant,
    lost: Option<Lost>,
}

impl Session {
    /// Grants a lease with this time to live, and keeps it alive.
    pub async fn open(client: &Client, ttl: Duration) -> Result<Self, Error> {
        let ttl = ttl.max(SHORTEST);
        let sent = Instant::now();
        let lease = client.grant(ttl).await?;
        Ok(Self::keep(client, lease, ttl, sent))
    }

    /// Keeps a lease alive that there is already.
    pub async fn adopt(client: &Client, lease: u64) -> Result<Self, Error> {
        let sent = Instant::now();
        let status = client.keep_alive(lease).await?.value;
        Ok(Self::keep(client, lease, Duration::from_millis(status.ttl_ms), sent))
    }

    fn keep(client: &Client, lease: u64, ttl: Duration, sent: Instant) -> Self {
        let (tell, state) = watch::channel(State { until: sent + ttl, lost: None });
        let keeper = Keeper { client: client.clone(), lease, ttl, sent };
        Self { client: client.clone(), lease, state, keeper: tokio::spawn(keeper.run(tell)) }
    }

    /// The lease.
    pub fn lease(&self) -> u64 {
        self.lease
    }

    /// Until when the lease can be relied on, if nothing more is heard.
    pub fn reliable_until(&self) -> Instant {
        self.state.borrow().until
    }

    /// Whether it is lost, and why.
    pub fn is_lost(&self) -> Option<Lost> {
        let state = *self.state.borrow();
        // The keeper may not have had its turn yet.
        state.lost.or((Instant::now() >= state.until).then_some(Lost::Silence))
    }

    /// Waits until the lease can no longer be relied on, and says why. Stop then, at once, whatever you
    /// do under its protection.
    pub async fn lost(&self) -> Lost {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.lost.is_some()).await {
            Ok(state) => state.lost.expect("it was waited for"),
            // The keeper says why before it ends.
            Err(_) => Lost::Silence,
        }
    }

    /// Revokes the lease, and with it all keys that hang on it.
    pub async fn close(self) -> Result<(), Error> {
        self.keeper.abort();
        match self.client.revoke(self.lease).await {
            Ok(_) | Err(client::Error::Refused(Refusal::LeaseNotFound { .. })) => Ok(()),
            Err(error) if error.outcome() == Outcome::Done => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What keeps a lease alive.
struct Keeper {
    client: Client,
    lease: u64,
    ttl: Duration,
    /// When the last question was sent that was answered.
    sent: Instant,
}

impl Keeper {
    async fn run(mut self, tell: watch::Sender<State>) {
        let lost = loop {
            if let Err(lost) = self.once().await {
                break lost;
            }
            let until = self.until();
            tell.send_modify(|state| state.until = until);
        };
        tell.send_modify(|state| state.lost = Some(lost));
    }

    fn until(&self) -> Instant {
        self.sent + self.ttl
    }

    /// Waits for the next time to ask, and asks until there is an answer.
    async fn once(&mut self) -> Result<(), Lost> {
        let until = self.until();
        let mut next = self.sent + self.ttl / PARTS;
        loop {
            sleep_until(next.min(until)).await;
            let sent = Instant::now();
            if sent >= until {
                return Err(Lost::Silence);
            }
            // A question that hangs must leave time for another one, on another way.
            let patience = (self.ttl / PARTS).min(until - sent);
            let client = self.client.with_timeout(patience);
            match timeout_at(until, client.keep_alive(self.lease)).await {
                // The process may have been paused for long before it read the answer.
                Ok(Ok(_)) if Instant::now() >= until => return Err(Lost::Silence),
                Ok(Ok(_)) => {
                    self.sent = sent;
                    return Ok(());
                }
                Ok(Err(client::Error::Refused(Refusal::LeaseNotFound { .. }))) => {
                    return Err(Lost::Ended);
                }
                Ok(Err(_)) => next = Instant::now() + self.ttl / RETRY_PARTS,
                Err(_) => return Err(Lost::Silence),
            }
        }
    }
}
