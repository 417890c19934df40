//! One request on its way through the gateway.

use bytes::Bytes;
use http::HeaderMap;
use wire::Fence;

use crate::errors::Fault;
use crate::fence;
use crate::params::Params;
use crate::store::Store;

/// What an action may look at: everything that is known of a request once its route is found.
pub(crate) struct Call<'a> {
    /// The parameters of its query.
    pub(crate) params: Params,
    /// Its headers.
    pub(crate) headers: &'a HeaderMap,
    /// Its body; empty where the route takes none.
    pub(crate) body: Bytes,
    /// The cluster, with the request's own deadline and id.
    pub(crate) store: Store,
    /// The longest value that is taken.
    pub(crate) value_limit_bytes: usize,
}

impl Call<'_> {
    /// The locks that whoever sent this must still hold.
    pub(crate) fn fences(&self) -> Result<Vec<Fence>, Fault> {
        fence::of(self.headers)
    }

    /// Refuses a value over the limit, naming both.
    pub(crate) fn check_value(&self, value: &Bytes) -> Result<(), Fault> {
        check_value(value, self.value_limit_bytes)
    }
}

/// Refuses a value that is too long.
pub(crate) fn check_value(value: &Bytes, limit: usize) -> Result<(), Fault> {
    if value.len() > limit {
        return Err(Fault::too_large("value", value.len(), limit));
    }
    Ok(())
}
