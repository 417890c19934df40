//! Simple tokens: they say whose they are and until when, signed with a secret that is a part of the
//! replicated state. So every node verifies those of every other one, and none keeps a list.
//!
//! ```text
//! "c1." · base64url of ( user text · auth revision varint · log index varint · expiry varint · HMAC-SHA256 )
//! ```
//!
//! The expiry is in milliseconds of Unix time, by the clock of the node that issued it. A token lives for
//! five minutes whatever it is used for, and is then to be had anew: clients of etcd do so by
//! themselves. (etcd's own live on while they are used; here nobody would know of the use.)

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::hmac;
use wire::{Hidden, Principal, Reader, Writer};

/// How long a token lives.
pub(crate) const LIFETIME: Duration = Duration::from_mins(5);

const PREFIX: &str = "c1.";
const TAG_BYTES: usize = 32;

/// The longest token that is looked at: a name of 1024 bytes, and some numbers.
const LONGEST: usize = 2048;

/// A token that is read, and not yet believed.
#[derive(Debug)]
pub(crate) struct Token {
    /// Whose it says it is.
    pub(crate) principal: Principal,
    /// A log index at which the secret was known that signed it.
    pub(crate) index: u64,
    expiry_ms: u64,
    signed: Bytes,
    tag: Bytes,
}

/// A token for `principal`.
pub(crate) fn issue(secret: &Hidden, principal: &Principal, index: u64, now_ms: u64) -> String {
    let lifetime_ms = u64::try_from(LIFETIME.as_millis()).expect("some minutes");
    let mut out = Writer::new();
    principal.encode(&mut out);
    out.varint(index).varint(now_ms.saturating_add(lifetime_ms));
    let mut bytes = out.into_vec();
    let tag = hmac::sign(&key(secret), &bytes);
    bytes.extend_from_slice(tag.as_ref());
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn key(secret: &Hidden) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &secret.0)
}

impl Token {
    /// Reads a token. `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() <= LONGEST)?;
        let bytes = Bytes::from(URL_SAFE_NO_PAD.decode(encoded).ok()?);
        let signed = bytes.slice(..bytes.len().checked_sub(TAG_BYTES)?);
        let tag = bytes.slice(signed.len()..);
        let mut input = Reader::new(signed.clone());
        let principal = Principal::decode(&mut input).ok()?;
        let (index, expiry_ms) = (input.varint("index").ok()?, input.varint("expiry").ok()?);
        input.end("token").ok()?;
        if principal.user.is_empty() {
            return None;
        }
        Some(Self { principal, index, expiry_ms, signed, tag })
    }

    /// Whether it was signed with this secret.
    pub(crate) fn is_signed_with(&self, secret: &Hidden) -> bool {
        // An empty secret is none: nobody has enabled authentication yet.
        !secret.0.is_empty() && hmac::verify(&key(secret), &self.signed, &self.tag).is_ok()
    }

    /// Whether its time is over.
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.expiry_ms <= now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_believed_as_it_was_issued_and_for_its_time() {
        let (secret, other) = (Hidden("secret".into()), Hidden("other".into()));
        let principal = Principal { user: "jörg".into(), revision: 7 };
        let text = issue(&secret, &principal, 300, 1000);
        let token = Token::parse(&text).expect("a token");
        assert_eq!((&token.principal, token.index), (&principal, 300));
        assert!(token.is_signed_with(&secret));
        assert!(!token.is_signed_with(&other));
        assert!(!token.is_signed_with(&Hidden::default()));
        assert!(!token.is_expired(1000 + 299_999));
        assert!(token.is_expired(1000 + 300_000));
    }

    #[test]
    fn one_changed_letter_makes_it_worthless() {
        let secret = Hidden("secret".into());
        let principal = Principal { user: "u".into(), revision: 7 };
        let text = issue(&secret, &principal, 300, 1000);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            let token = Token::parse(&changed);
            assert!(token.is_none_or(|token| !token.is_signed_with(&secret)), "{changed}");
            assert!(Token::parse(&text[..at]).is_none_or(|token| !token.is_signed_with(&secret)));
        }
    }
}
