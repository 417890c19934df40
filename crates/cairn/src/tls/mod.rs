//! TLS: what this program shows of itself, whom it trusts, and in which words it says so when the
//! other side is not trusted, or does not trust us.
//!
//! The protocol is rustls'. Ours is the rest: files that operators give ([`files`]), and may change
//! while the node runs ([`keyring`]); connections to others ([`outgoing`]); who a caller has proven to
//! be ([`identity`]); what an error means for whoever reads it ([`words`]).

pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod keyring;
pub(crate) mod make;
pub(crate) mod outgoing;
#[cfg(test)]
mod tests;
pub(crate) mod words;

/// The first byte of whatever begins in TLS: a record that holds a handshake.
pub(crate) const HANDSHAKE: u8 = 0x16;
