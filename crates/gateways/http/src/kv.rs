//! `/v1/kv/{key}`: one key, its value as it is.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use wire::{
    Compare, Item, KeyRange, Op, OpResult, Projection, Put, Query, Revision, Txn, TxnResult,
};

use crate::call::Call;
use crate::conditions::{self, Freshness};
use crate::errors::Fault;
use crate::reply::{self, Answer, CAIRN_CREATED, CAIRN_REVISION, CAIRN_VERSION};

/// Leases are shown where a key hangs on one.
const CAIRN_LEASE: HeaderName = HeaderName::from_static("cairn-lease");

/// `GET`: the value, and what is known about it in headers.
pub(crate) async fn read(call: &Call<'_>, key: Bytes) -> Result<Answer, Fault> {
    wire::check_key(&key)?;
    let consistency = call.params.consistency(call.headers)?;
    let revision = call.params.number("revision")?.map(Revision);
    let query = Query { revision, ..Query::key(key) };
    let (header, page) = call.store.read(query, consistency).await?;
    let Some(item) = page.items.into_iter().next() else {
        return Err(absent(header.revision));
    };
    let mut answer = match conditions::of_read(call.headers, item.modified)? {
        Freshness::Failed => return Err(precondition_failed(Some(item.modified))),
        Freshness::NotModified => reply::empty(StatusCode::NOT_MODIFIED),
        Freshness::Send => {
            reply::of_type(StatusCode::OK, "application/octet-stream", item.value.clone())
        }
    };
    describe(answer.headers_mut(), header.revision, &item);
    Ok(answer)
}

fn describe(headers: &mut HeaderMap, revision: Revision, item: &Item) {
    headers.insert(ETAG, reply::entity_tag(item.modified));
    reply::set_number(headers, CAIRN_REVISION, revision.0);
    reply::set_number(headers, CAIRN_CREATED, item.created.0);
    reply::set_number(headers, CAIRN_VERSION, item.version);
    if item.lease != 0 {
        reply::set_number(headers, CAIRN_LEASE, item.lease);
    }
    // A cache may keep it, and must ask each time: a stale answer would break the promise of a read.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[derive(Serialize)]
struct Stored {
    revision: u64,
    created: bool,
}

/// `PUT`: stores the body, if the conditions hold.
pub(crate) async fn put(call: &Call<'_>, key: Bytes) -> Result<Answer, Fault> {
    wire::check_key(&key)?;
    let count =
        Query { projection: Projection::CountOnly, ..Query::range(KeyRange::single(key.clone())) };
    let lease = Some(call.params.number("lease")?.unwrap_or(0));
    let value = Some(call.body.clone());
    let put = Op::Put(Put { key: key.clone(), value, lease, previous: false });
    // Counting first tells whether the key is new, without a second copy of the value in the log.
    let result = conditional(call, key, vec![Op::Read(count), put]).await?;
    let [OpResult::Read(before), OpResult::Put { .. }] = &result.results[..] else {
        return Err(Fault::request_id_reused());
    };
    let created = before.count == 0;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = reply::json(status, &Stored { revision: result.revision.0, created });
    answer.headers_mut().insert(ETAG, reply::entity_tag(result.revision));
    reply::set_number(answer.headers_mut(), CAIRN_REVISION, result.revision.0);
    Ok(answer)
}

#[derive(Serialize)]
struct Deleted {
    revision: u64,
    deleted: u64,
}

/// `DELETE`: removes the key, if the conditions hold.
pub(crate) async fn delete(call: &Call<'_>, key: Bytes) -> Result<Answer, Fault> {
    wire::check_key(&key)?;
    let delete = Op::delete(KeyRange::single(key.clone()));
    let result = conditional(call, key, vec![delete]).await?;
    let [OpResult::Deleted { count: deleted, .. }] = result.results[..] else {
        return Err(Fault::request_id_reused());
    };
    if deleted == 0 {
        return Err(absent(result.revision));
    }
    let told = Deleted { revision: result.revision.0, deleted };
    let mut answer = reply::json(StatusCode::OK, &told);
    reply::set_number(answer.headers_mut(), CAIRN_REVISION, result.revision.0);
    Ok(answer)
}

/// Does `then` in one transaction with the request's conditions.
async fn conditional(call: &Call<'_>, key: Bytes, then: Vec<Op>) -> Result<TxnResult, Fault> {
    let compares: Vec<Compare> =
        conditions::of_write(call.headers)?.into_iter().map(|c| c.compare(&key)).collect();
    let current = Query { projection: Projection::KeysOnly, ..Query::key(key) };
    let otherwise = if compares.is_empty() { Vec::new() } else { vec![Op::Read(current)] };
    let fences = call.fences()?;
    let result = call.store.txn(Txn { fences, compares, then, otherwise }).await?;
    match &result.results[..] {
        _ if result.succeeded => Ok(result),
        [OpResult::Read(page)] => {
            Err(precondition_failed(page.items.first().map(|item| item.modified)))
        }
        _ => Err(Fault::request_id_reused()),
    }
}

/// The key is not there at `revision`.
fn absent(revision: Revision) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "not_found", "there is no such key")
        .detail("revision", revision.0)
        .header(CAIRN_REVISION, HeaderValue::from(revision.0))
}

fn precondition_failed(current: Option<Revision>) -> Fault {
    let fault = |message: String| {
        Fault::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", message)
    };
    match current {
        Some(current) => {
            fault(format!("the condition does not hold: the key was last changed at {current}"))
                .detail("current", current.0)
                .header(ETAG, reply::entity_tag(current))
        }
        None => fault("the condition does not hold: there is no such key".into()),
    }
}
