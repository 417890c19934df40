//! What stands in paths, queries and headers beside the route: decoded, checked, and refused in a
//! sentence that names it.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use wire::{Consistency, RequestId, Revision};

use crate::errors::Fault;

/// The longest deadline that a request may ask for.
const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest `Request-Id`.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Keys of the hash that makes a client of a `Request-Id`. They are part of the protocol: with
/// others, a retry that crosses an upgrade would be done twice.
const REQUEST_ID_KEYS: (u64, u64) = (0x6361_6972_6e2d_6874, 0x7470_2d72_6571_6964);

/// The parameters of a query string.
pub(crate) struct Params {
    given: BTreeMap<&'static str, Bytes>,
}

impl Params {
    /// Takes a query apart. Every parameter must be one of `known`, and stand there once.
    pub(crate) fn parse(
        query: Option<&str>,
        known: &'static [&'static str],
    ) -> Result<Self, Fault> {
        let mut given = BTreeMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode_query(name)?;
            let Some(name) = known.iter().find(|known| known.as_bytes() == name) else {
                return Err(unknown(&String::from_utf8_lossy(&name), known));
            };
            if given.insert(*name, Bytes::from(decode_query(value)?)).is_some() {
                return Err(Fault::invalid(format!(
                    "the query parameter `{name}` stands there twice"
                )));
            }
        }
        Ok(Self { given })
    }

    /// A parameter's bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<Bytes> {
        self.given.get(name).cloned()
    }

    /// A parameter that is a word.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        let Some(bytes) = self.given.get(name) else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Fault::invalid(format!("the query parameter `{name}` is not UTF-8"))),
        }
    }

    /// A parameter that is a number from 1 on.
    pub(crate) fn number<N: FromStr + PartialOrd + From<u8>>(
        &self,
        name: &str,
    ) -> Result<Option<N>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match N::from_str(text) {
            Ok(number) if number >= N::from(1) => Ok(Some(number)),
            _ => Err(Fault::invalid(format!(
                "the query parameter `{name}` must be a whole number from 1 on, not `{}`",
                brief(text)
            ))),
        }
    }

    /// A parameter that is on (`true`, or no value at all) or off (`false`, or absent).
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.text(name)? {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(Fault::invalid(format!(
                "the query parameter `{name}` must be `true` or `false`, not `{}`",
                brief(other)
            ))),
        }
    }

    /// What the read shall promise. `?session=` says that it is a session's; so does the header
    /// `Cairn-Session`, unless `?consistency=` says otherwise.
    pub(crate) fn consistency(&self, headers: &HeaderMap) -> Result<Consistency, Fault> {
        let in_query = self.text("session")?.map(session_revision).transpose()?;
        let in_header = header_text(headers, "cairn-session")?.map(session_revision).transpose()?;
        let session = in_query.or(in_header);
        match (self.text("consistency")?, session) {
            (None | Some("session"), Some(revision)) => Ok(Consistency::Session(revision)),
            (Some("session"), None) => Err(Fault::invalid(
                "session consistency needs a revision: send the last `Cairn-Revision` as \
                 `Cairn-Session` or `?session=`",
            )),
            (Some("linearizable" | "eventual"), _) if in_query.is_some() => {
                Err(Fault::invalid("`session` goes with `consistency=session` only"))
            }
            (None, None) | (Some("linearizable"), _) => Ok(Consistency::Linearizable),
            (Some("eventual"), _) => Ok(Consistency::Eventual),
            (Some(other), _) => Err(Fault::invalid(format!(
                "the query parameter `consistency` must be `linearizable`, `session` or `eventual`, \
                 not `{}`",
                brief(other)
            ))),
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> Fault {
    let list = match known {
        [] => "this path takes none".to_owned(),
        known => format!("this path takes {}", known.join(", ")),
    };
    Fault::invalid(format!("unknown query parameter `{}`; {list}", brief(name)))
}

fn session_revision(text: &str) -> Result<Revision, Fault> {
    text.parse().map(Revision).map_err(|_| {
        Fault::invalid(format!("a session is a revision, a whole number, not `{}`", brief(text)))
    })
}

/// The bytes of the rest of a path. A `+` is a plus there.
pub(crate) fn decode_path(text: &str) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let byte = match tail {
            [high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let Some(byte) = byte else {
            return Err(Fault::invalid(format!(
                "`%` begins an escape of two hexadecimal digits; `{}` is none",
                brief(&String::from_utf8_lossy(&[b"%", tail].concat()))
            )));
        };
        out.push(byte);
        rest = &tail[2..];
    }
    Ok(out)
}

/// The bytes of a part of a query. A `+` is a space there, as forms and most libraries write it.
fn decode_query(text: &str) -> Result<Vec<u8>, Fault> {
    decode_path(&text.replace('+', " "))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The start of a text from outside, short enough to be repeated in a sentence.
pub(crate) fn brief(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    let mut brief: String = text.chars().take(MAX_CHARS).map(visible).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        brief.push('…');
    }
    brief
}

fn visible(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

/// A header that stands there at most once, as text.
pub(crate) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::invalid(format!("the header `{name}` stands there twice")));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => {
            Err(Fault::invalid(format!("the header `{name}` has bytes that are not visible ASCII")))
        }
    }
}

/// The `Cairn-Timeout` of a request: a number with `ms` or `s`.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(text) = header_text(headers, "cairn-timeout")? else { return Ok(None) };
    let parsed = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse().ok().map(Duration::from_millis),
        (None, Some(number)) => number.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    match parsed {
        Some(timeout) if !timeout.is_zero() && timeout <= MAX_TIMEOUT => Ok(Some(timeout)),
        _ => Err(Fault::invalid(format!(
            "`Cairn-Timeout` must be between 1ms and {}s, such as `500ms` or `2s`, not `{}`",
            MAX_TIMEOUT.as_secs(),
            brief(text)
        ))),
    }
}

/// The `Request-Id` of a write, as the cluster remembers it. The client is a hash of the id, so that
/// every gateway gives a retry the same one.
pub(crate) fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>, Fault> {
    let Some(id) = header_text(headers, "request-id")? else { return Ok(None) };
    let visible = id.bytes().all(|byte| byte.is_ascii_graphic());
    if id.is_empty() || id.len() > MAX_REQUEST_ID_BYTES || !visible {
        return Err(Fault::invalid(format!(
            "`Request-Id` must have 1 to {MAX_REQUEST_ID_BYTES} visible ASCII characters and no spaces"
        )));
    }
    let mut hasher = SipHasher24::new_with_keys(REQUEST_ID_KEYS.0, REQUEST_ID_KEYS.1);
    hasher.write(id.as_bytes());
    // 0 stands for the cluster itself.
    Ok(Some(RequestId { client: hasher.finish128().as_u128().max(1), number: 0 }))
}
