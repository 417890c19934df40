//! What is kept of a password: PBKDF2 over HMAC-SHA256, salted.
//!
//! ```text
//! version u8 (1) · iterations u32, little-endian · salt, 16 bytes · hash, 32 bytes
//! ```
//!
//! How often it is iterated stands in each hash, so that it may grow with later releases.

use std::num::NonZeroU32;

use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use wire::Hidden;

use crate::drivers::random;

const VERSION: u8 = 1;

/// So many that a guess costs some 30 ms of a core.
const ITERATIONS: u32 = 100_000;

/// More are not believed: comparing one password must not take minutes.
const MOST_ITERATIONS: u32 = 10_000_000;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = 5;

/// What is kept of `password`.
pub(crate) fn hash(password: &Hidden) -> Hidden {
    hash_with(password, ITERATIONS, random::draw().to_le_bytes())
}

fn hash_with(password: &Hidden, iterations: u32, salt: [u8; SALT_BYTES]) -> Hidden {
    let mut out = vec![VERSION];
    out.extend(iterations.to_le_bytes());
    out.extend(salt);
    let mut hash = [0; HASH_BYTES];
    let count = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(PBKDF2_HMAC_SHA256, count, &salt, &password.0, &mut hash);
    out.extend(hash);
    Hidden(out.into())
}

/// Whether `password` is the one of which `stored` was kept. Takes as long if nothing was.
pub(crate) fn is_right(password: &Hidden, stored: Option<&Hidden>) -> bool {
    if let Some((iterations, salt, hash)) = stored.and_then(parse) {
        return pbkdf2::verify(PBKDF2_HMAC_SHA256, iterations, salt, &password.0, hash).is_ok();
    }
    hash_with(password, ITERATIONS, [0; SALT_BYTES]);
    false
}

/// What was stored may be another release's: it is no password then that anybody could have.
fn parse(stored: &Hidden) -> Option<(NonZeroU32, &[u8], &[u8])> {
    let (head, rest) = stored.0.split_at_checked(HEAD_BYTES)?;
    let (salt, hash) = rest.split_at_checked(SALT_BYTES)?;
    let iterations = u32::from_le_bytes(head[1..].try_into().ok()?);
    let sound = head[0] == VERSION && hash.len() == HASH_BYTES && iterations <= MOST_ITERATIONS;
    Some((NonZeroU32::new(iterations).filter(|_| sound)?, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &'static str) -> Hidden {
        Hidden(text.into())
    }

    #[test]
    fn the_right_password_alone_is_right() {
        let stored = hash_with(&hidden("secret"), 10, [7; SALT_BYTES]);
        assert!(is_right(&hidden("secret"), Some(&stored)));
        assert!(!is_right(&hidden("Secret"), Some(&stored)));
        assert!(!is_right(&hidden(""), Some(&stored)));
        assert!(!is_right(&hidden("secret"), None));
        let other_salt = hash_with(&hidden("secret"), 10, [8; SALT_BYTES]);
        assert_ne!(stored, other_salt);
    }

    #[test]
    fn what_is_no_hash_of_ours_is_nobodys_password() {
        let stored = hash_with(&hidden("secret"), 10, [7; SALT_BYTES]);
        for len in 0..stored.0.len() {
            assert!(parse(&Hidden(stored.0.slice(..len))).is_none(), "{len} bytes");
        }
        let mut late = stored.0.to_vec();
        late[0] = 2;
        assert!(parse(&Hidden(late.into())).is_none(), "of a later release");
        let mut endless = stored.0.to_vec();
        endless[1..5].fill(0xff);
        assert!(parse(&Hidden(endless.into())).is_none(), "it would take minutes");
    }
}
