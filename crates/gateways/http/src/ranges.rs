//! Which keys: one key, a prefix, or from one key up to another.

use bytes::Bytes;
use wire::{KeyRange, MAX_KEY_BYTES, Refusal, check_key};

use crate::errors::Fault;
use crate::params::Params;

/// A range as a request names it: by `key`, or by `prefix`, or by `from` and `to`.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// Just this key.
    pub(crate) key: Option<Bytes>,
    /// Every key that begins so.
    pub(crate) prefix: Option<Bytes>,
    /// The first key.
    pub(crate) from: Option<Bytes>,
    /// The first key behind the range.
    pub(crate) to: Option<Bytes>,
}

impl Named {
    /// What a query names.
    pub(crate) fn in_query(params: &Params) -> Self {
        let [key, prefix, from, to] =
            ["key", "prefix", "from", "to"].map(|name| params.bytes(name));
        Self { key, prefix, from, to }
    }

    /// The range; `None` if nothing was named.
    pub(crate) fn range(self) -> Result<Option<KeyRange>, Fault> {
        for bound in [&self.prefix, &self.from, &self.to].into_iter().flatten() {
            check_bound(bound)?;
        }
        match (self.key, self.prefix, self.from, self.to) {
            (None, None, None, None) => Ok(None),
            (Some(key), None, None, None) => {
                check_key(&key)?;
                Ok(Some(KeyRange::single(key)))
            }
            (None, Some(prefix), None, None) => Ok(Some(KeyRange::prefix(prefix))),
            (None, None, from, to) => between(from, to).map(Some),
            _ => Err(Fault::invalid(
                "`key`, `prefix`, and `from` with `to` are three ways to name a range: use one",
            )),
        }
    }
}

fn between(from: Option<Bytes>, to: Option<Bytes>) -> Result<KeyRange, Fault> {
    let range = KeyRange { start: from.unwrap_or_default(), end: to };
    if range.is_empty() {
        return Err(Fault::invalid("no key lies in the range: `from` must be less than `to`"));
    }
    Ok(range)
}

/// A bound is as long as a key, or one byte longer: "just behind the longest key".
fn check_bound(bound: &Bytes) -> Result<(), Refusal> {
    const LIMIT: usize = MAX_KEY_BYTES + 1;
    if bound.len() <= LIMIT {
        return Ok(());
    }
    Err(Refusal::TooLarge {
        what: "bound of a range".into(),
        size: bound.len() as u64,
        limit: LIMIT as u64,
        flag: None,
    })
}
