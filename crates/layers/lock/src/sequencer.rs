//! The fencing token, as it is handed out and written down.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use wire::{Fence, Revision};

/// A lock's key and the revision that created it, the token. Of two holders of one lock the later one
/// has the higher token, and the store refuses what bears one whose key is gone or was created anew.
///
/// As text it is `KEY@TOKEN`; what is no visible ASCII in the key, and `%`, stands there as `%` and
/// two hexadecimal digits. So it fits into a header and on a command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sequencer {
    /// The key.
    pub key: Bytes,
    /// The revision that created it.
    pub token: Revision,
}

impl Sequencer {
    /// As a transaction bears it.
    pub fn fence(&self) -> Fence {
        Fence { key: self.key.clone(), created: self.token }
    }
}

impl From<Sequencer> for Fence {
    fn from(sequencer: Sequencer) -> Self {
        Self { key: sequencer.key, created: sequencer.token }
    }
}

impl From<Fence> for Sequencer {
    fn from(fence: Fence) -> Self {
        Self { key: fence.key, token: fence.created }
    }
}

impl fmt::Display for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.key {
            if byte.is_ascii_graphic() && byte != b'%' {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02x}")?;
            }
        }
        write!(f, "@{}", self.token)
    }
}

/// A text that is no fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fencing token is KEY@TOKEN: a lock's key, percent-encoded, and the revision that created it"
)]
pub struct ParseSequencerError;

impl FromStr for Sequencer {
    type Err = ParseSequencerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, token) = text.rsplit_once('@').ok_or(ParseSequencerError)?;
        let key = decode(key).filter(|key| !key.is_empty()).ok_or(ParseSequencerError)?;
        let token = token.parse().map_err(|_| ParseSequencerError)?;
        Ok(Self { key: Bytes::from(key), token: Revision(token) })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, behind) = tail.split_at_checked(2)?;
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            let byte = nibble(digits[0])? << 4 | nibble(digits[1])?;
            out.push(u8::try_from(byte).expect("two nibbles are a byte"));
            rest = behind;
        } else {
            out.push(*first);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_survives_as_text() {
        for (key, text) in [
            (&b"jobs/694d"[..], "jobs/694d@7"),
            (b"a@b", "a@b@7"),
            (b"100% \xff\0", "100%25%20%ff%00@7"),
        ] {
            let sequencer = Sequencer { key: Bytes::copy_from_slice(key), token: Revision(7) };
            assert_eq!(sequencer.to_string(), text);
            assert_eq!(text.parse(), Ok(sequencer));
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for bad in ["", "k", "k@", "@7", "k@x", "k@-1", "%@7", "%4@7", "%zz@7", "%é@7"] {
            assert_eq!(bad.parse::<Sequencer>(), Err(ParseSequencerError), "{bad}");
        }
    }
}
