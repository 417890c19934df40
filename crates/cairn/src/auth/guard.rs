//! The guard of this process's gateways: what they ask about tokens and passwords.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Client, Guard, Guarded};
use node::Guarding;
use ring::hmac;
use tokio::time::{Instant, timeout_at};
use wire::{Denial, Header, Hidden, Principal, Refusal};

use super::jwt::Jwt;
use super::simple::{self, Token};
use crate::drivers::local::Local;
use crate::drivers::passwords::Passwords;
use crate::drivers::published::Published;
use crate::drivers::{clock, random};

/// How long the own node may take to hear of what another one's token rests on.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long a password is remembered to be the right one.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Users whose passwords are remembered at once.
const MOST_REMEMBERED: usize = 1024;

/// The guard.
#[derive(Clone, Debug)]
pub(crate) struct Gatekeeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    door: Local,
    published: Arc<Published>,
    passwords: Passwords,
    /// Signs web tokens, if the configuration wants them.
    jwt: Option<Jwt>,
    client: Client,
    /// Who has proven who he is by a password. Neither the password is kept nor anything that
    /// would help to guess it: the key is drawn at the start and dies with the process.
    remembered: Mutex<BTreeMap<Vec<u8>, Remembered>>,
    remembered_key: hmac::Key,
}

/// Whose password it was.
#[derive(Debug)]
struct Remembered {
    principal: Principal,
    since: Instant,
    /// As of this auth revision: any change ends it.
    revision: u64,
}

impl Gatekeeper {
    /// A guard that knows what the own node knows.
    pub(crate) fn new(
        door: Local,
        published: Arc<Published>,
        passwords: Passwords,
        jwt: Option<Jwt>,
        client: Client,
    ) -> Self {
        let remembered_key = hmac::Key::new(hmac::HMAC_SHA256, &draw_secret().0);
        let remembered = Mutex::default();
        let shared = Shared { door, published, passwords, jwt, client, remembered, remembered_key };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    async fn verify(&self, token: &str) -> Result<Option<Principal>, Refusal> {
        let now_ms = clock::wall_ms();
        let guarding = self.published.guarding();
        let principal = match &self.jwt {
            Some(jwt) => jwt.verify(token, now_ms),
            None => match Token::parse(token) {
                Some(token) if token.is_expired(now_ms) => None,
                Some(token) => self.is_ours(&token, &guarding).await.then_some(token.principal),
                None => None,
            },
        };
        match principal {
            Some(principal) => Ok(Some(principal)),
            // Whoever needs no token may bear any. If the own node has not yet heard that one is
            // needed, the leader has: it then misses one.
            None if !self.published.guarding().enabled => Ok(None),
            None => Err(Denial::InvalidToken.into()),
        }
    }

    async fn log_in(&self, user: String, password: Hidden) -> Result<Option<Principal>, Refusal> {
        // Lengths stand before, so that no two pairs look alike.
        let mut claim = wire::Writer::new();
        claim.bytes(user.as_bytes()).bytes(&password.0);
        let claim = hmac::sign(&self.remembered_key, &claim.finish()).as_ref().to_vec();
        let revision = self.published.guarding().revision;
        if let Some(principal) = self.recall(&claim, revision) {
            return Ok(Some(principal));
        }
        match self.client.authenticate(user, password).await {
            Ok(proven) => {
                self.remember(claim, proven.value.clone(), revision);
                Ok(Some(proven.value))
            }
            Err(client::Error::Refused(Refusal::Denied { denial: Denial::NotEnabled })) => Ok(None),
            Err(client::Error::Refused(refusal)) => Err(refusal),
            Err(error) => Err(Refusal::Unavailable { why: error.to_string() }),
        }
    }

    fn recall(&self, claim: &[u8], revision: u64) -> Option<Principal> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(claim)?;
        let holds = found.revision == revision && found.since.elapsed() < REMEMBERED;
        holds.then(|| found.principal.clone())
    }

    fn remember(&self, claim: Vec<u8>, principal: Principal, revision: u64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, known| known.since.elapsed() < REMEMBERED);
        }
        if remembered.len() < MOST_REMEMBERED {
            let since = Instant::now();
            remembered.insert(claim, Remembered { principal, since, revision });
        }
    }

    /// Whether a token was signed by our nodes. Another one may have heard earlier than the own one that
    /// the secret has changed.
    async fn is_ours(&self, token: &Token, guarding: &Arc<Guarding>) -> bool {
        let until = Instant::now() + CATCH_UP;
        let mut known = Arc::clone(guarding);
        while !token.is_signed_with(&known.secret) {
            if token.index <= self.door.applied() {
                // Both may have come in between.
                return token.is_signed_with(&self.published.guarding().secret);
            }
            match timeout_at(until, self.published.until_guarding_differs(&known)).await {
                Ok(newer) => known = newer,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Guard for Gatekeeper {
    fn verify(&self, token: &str) -> Guarded<Option<Principal>> {
        let (shared, token) = (Arc::clone(&self.shared), token.to_owned());
        Box::pin(async move { shared.verify(&token).await })
    }

    fn is_enabled(&self) -> bool {
        self.shared.published.guarding().enabled
    }

    fn changes(&self) -> u64 {
        self.shared.published.guarding_count()
    }

    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.published.until_guarding_counts_more(seen).await })
    }

    fn log_in(&self, user: String, password: Hidden) -> Guarded<Option<Principal>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.log_in(user, password).await })
    }

    fn issue(&self, principal: &Principal, header: &Header) -> Result<String, Refusal> {
        let now_ms = clock::wall_ms();
        if let Some(jwt) = &self.shared.jwt {
            return jwt.issue(principal, now_ms).map_err(|why| Refusal::Broken { why });
        }
        let guarding = self.shared.published.guarding();
        if guarding.secret.0.is_empty() {
            let why = "this node has not heard yet that authentication is enabled".to_owned();
            return Err(Refusal::Unavailable { why });
        }
        Ok(simple::issue(&guarding.secret, principal, header.applied, now_ms))
    }

    fn hash(&self, password: Hidden) -> Guarded<Hidden> {
        let passwords = self.shared.passwords.clone();
        Box::pin(async move { passwords.hash(password).await })
    }

    fn draw_secret(&self) -> Hidden {
        draw_secret()
    }
}

/// 256 random bits.
pub(crate) fn draw_secret() -> Hidden {
    let halves = [random::draw().to_le_bytes(), random::draw().to_le_bytes()];
    Hidden(halves.concat().into())
}
