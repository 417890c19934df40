//! `Fence: KEY@TOKEN`: a lock that whoever sends a write must still hold.
//!
//! `KEY` is the lock's key, percent-encoded where it must be, and `TOKEN` the revision that created it,
//! as `cairn lock` prints them. Several headers are several locks. The store compares in the very
//! transaction, so nothing can come in between.

use http::HeaderMap;
use layer_lock::Sequencer;
use wire::Fence;

use crate::errors::Fault;
use crate::params::brief;

/// The header's name.
const NAME: &str = "fence";

/// The most of one request.
const MOST: usize = 16;

/// The fences that a request bears.
pub(crate) fn of(headers: &HeaderMap) -> Result<Vec<Fence>, Fault> {
    let mut fences = Vec::new();
    for value in headers.get_all(NAME) {
        let text = value.to_str().map(str::trim).unwrap_or_default();
        let sequencer: Sequencer = text.parse().map_err(|_| {
            Fault::invalid(format!(
                "`Fence` must be KEY@TOKEN, a lock's key (percent-encoded) and the revision that \
                 created it, not `{}`",
                brief(text)
            ))
        })?;
        if fences.len() == MOST {
            return Err(Fault::invalid(format!("a request bears at most {MOST} fences")));
        }
        fences.push(sequencer.into());
    }
    Ok(fences)
}
