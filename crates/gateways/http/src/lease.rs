//! `/v1/lease`: leases, on which keys can hang and with which they vanish.

use bytes::Bytes;
use http::StatusCode;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use wire::{Body, LeaseStatus};

use crate::call::Call;
use crate::errors::{self, Fault};
use crate::json;
use crate::params::brief;
use crate::reply::{self, Answer, CAIRN_REVISION};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    ttl_ms: u64,
    lease: Option<u64>,
}

#[derive(Serialize)]
struct Granted {
    lease: u64,
    ttl_ms: u64,
}

/// `POST /v1/lease`: grants one.
pub(crate) async fn grant(call: &Call<'_>) -> Result<Answer, Fault> {
    let GrantBody { ttl_ms, lease } =
        serde_json::from_slice(&call.body).map_err(|error| errors::bad_json(&error))?;
    let lease = lease.unwrap_or_else(|| call.store.new_lease());
    call.store.write(Body::Grant { lease, ttl_ms }).await?;
    Ok(reply::json(StatusCode::CREATED, &Granted { lease, ttl_ms }))
}

#[derive(Serialize)]
struct Listed {
    leases: Vec<u64>,
}

/// `GET /v1/lease`: all of them.
pub(crate) async fn list(call: &Call<'_>) -> Result<Answer, Fault> {
    let leases = call.store.leases().await?;
    Ok(reply::json(StatusCode::OK, &Listed { leases }))
}

#[derive(Serialize)]
struct Shown {
    lease: u64,
    ttl_ms: u64,
    remaining_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<KeyJson>>,
}

/// A key as an object, for it may not be text.
struct KeyJson(Bytes);

impl Serialize for KeyJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        json::field(&mut map, "key", "key_base64", &self.0)?;
        map.end()
    }
}

impl Shown {
    /// Without its keys.
    fn of(status: &LeaseStatus) -> Self {
        let LeaseStatus { lease, ttl_ms, remaining_ms, keys: _ } = *status;
        Self { lease, ttl_ms, remaining_ms, keys: None }
    }
}

/// `GET /v1/lease/{lease}`: how long it has left, and with `?keys=true` what hangs on it.
pub(crate) async fn show(call: &Call<'_>, lease: &[u8]) -> Result<Answer, Fault> {
    let lease = number(lease)?;
    let keys = call.params.flag("keys")?;
    let status = call.store.lease(lease, keys).await?;
    let mut shown = Shown::of(&status);
    shown.keys = keys.then(|| status.keys.into_iter().map(KeyJson).collect());
    Ok(reply::json(StatusCode::OK, &shown))
}

/// `POST /v1/lease/{lease}`: gives it all of its time anew.
pub(crate) async fn keep_alive(call: &Call<'_>, lease: &[u8]) -> Result<Answer, Fault> {
    let status = call.store.keep_alive(number(lease)?).await?;
    Ok(reply::json(StatusCode::OK, &Shown::of(&status)))
}

#[derive(Serialize)]
struct Revoked {
    lease: u64,
    revision: u64,
}

/// `DELETE /v1/lease/{lease}`: ends it, and removes the keys that hang on it.
pub(crate) async fn revoke(call: &Call<'_>, lease: &[u8]) -> Result<Answer, Fault> {
    let lease = number(lease)?;
    let revision = call.store.write(Body::Revoke { lease }).await?.revision.0;
    let mut answer = reply::json(StatusCode::OK, &Revoked { lease, revision });
    reply::set_number(answer.headers_mut(), CAIRN_REVISION, revision);
    Ok(answer)
}

fn number(text: &[u8]) -> Result<u64, Fault> {
    let text = String::from_utf8_lossy(text);
    text.parse().ok().filter(|lease| *lease > 0).ok_or_else(|| {
        Fault::invalid(format!("a lease is a whole number from 1 on, not `{}`", brief(&text)))
    })
}
