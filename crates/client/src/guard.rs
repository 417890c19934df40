//! Who the callers of a gateway are: what only the binary can find out for it.

use std::future::Future;
use std::pin::Pin;

use wire::{Denial, Header, Hidden, Principal, Refusal};

/// What a guard comes to, later.
pub type Guarded<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// Finds out who somebody is, and issues tokens. Whether he may do what he asks for is not its affair: the
/// nodes say so, of every single request.
pub trait Guard: Send + Sync + 'static {
    /// Whose token this is. Nobody's, if nobody needs one here; refused, if it is none of ours, or is
    /// too old.
    fn verify(&self, token: &str) -> Guarded<Option<Principal>>;

    /// Whether anybody must say who he is, as far as the own node has heard.
    fn is_enabled(&self) -> bool;

    /// How often users, or what they may do, have changed, as far as the own node has heard. It has heard
    /// of a change before it tells anything that came after it.
    fn changes(&self) -> u64;

    /// Waits until they have changed since this returned `seen`; 0 has seen
    /// nothing, and is answered at once.
    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>>;

    /// Who this user is, if the password is his; nobody, if nobody is asked who he is here. What was
    /// proven is remembered for a while: a password is slow to prove, and HTTP sends it every time.
    fn log_in(&self, user: String, password: Hidden) -> Guarded<Option<Principal>>;

    /// A token for somebody who has just proven who he is, as [`crate::Client::authenticate`] said with
    /// this header.
    fn issue(&self, principal: &Principal, header: &Header) -> Result<String, Refusal>;

    /// What is kept of a password. It takes long on purpose, and no runtime's thread.
    fn hash(&self, password: Hidden) -> Guarded<Hidden>;

    /// What tokens shall be signed with from now on, drawn at random.
    fn draw_secret(&self) -> Hidden;
}

/// Where there are no users: nobody is asked who he is, and nobody can prove it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unguarded;

impl Guard for Unguarded {
    fn verify(&self, _token: &str) -> Guarded<Option<Principal>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn is_enabled(&self) -> bool {
        false
    }

    fn changes(&self) -> u64 {
        0
    }

    fn changed(&self, _seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(std::future::pending())
    }

    fn log_in(&self, _user: String, _password: Hidden) -> Guarded<Option<Principal>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn issue(&self, _principal: &Principal, _header: &Header) -> Result<String, Refusal> {
        Err(Denial::NotEnabled.into())
    }

    fn hash(&self, _password: Hidden) -> Guarded<Hidden> {
        Box::pin(std::future::ready(Err(Denial::NotEnabled.into())))
    }

    fn draw_secret(&self) -> Hidden {
        Hidden::default()
    }
}
