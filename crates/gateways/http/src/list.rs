//! `/v1/kv`: keys in order, a page at a time.
//!
//! All pages of a listing show one state: the token of the next page is the whole query, pinned to
//! the revision of the first page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use wire::{Consistency, KeyRange, Page, Projection, Query, Reader, Revision, Writer};

use crate::call::Call;
use crate::errors::Fault;
use crate::json::{self, ItemJson, Values};
use crate::ranges::Named;
use crate::reply::{self, Answer, CAIRN_REVISION};

/// Stands first in every token, so that another release can tell its own from ours.
const TOKEN_VERSION: u8 = 1;

/// What a page token must stand alone of: it holds all of them already.
const HELD_BY_TOKEN: [&str; 8] =
    ["prefix", "from", "to", "revision", "keys_only", "count_only", "consistency", "session"];

#[derive(Serialize)]
struct Listing<'a> {
    revision: u64,
    items: Vec<ItemJson<'a>>,
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Count {
    revision: u64,
    count: u64,
}

/// `GET`: one page, or only a count.
pub(crate) async fn list(call: &Call<'_>) -> Result<Answer, Fault> {
    let (query, consistency) = match call.params.text("page")? {
        Some(token) => next_page(call, token)?,
        None => (first_page(call)?, call.params.consistency(call.headers)?),
    };
    let (header, page) = call.store.read(query.clone(), consistency).await?;
    let revision = query.revision.unwrap_or(header.revision);
    let mut answer = match query.projection {
        Projection::CountOnly => {
            let count = Count { revision: revision.0, count: page.count };
            reply::json(StatusCode::OK, &count)
        }
        Projection::Full => listing(&query, &page, revision, Values::Shown),
        Projection::KeysOnly => listing(&query, &page, revision, Values::Hidden),
    };
    reply::set_number(answer.headers_mut(), CAIRN_REVISION, header.revision.0);
    Ok(answer)
}

fn listing(query: &Query, page: &Page, revision: Revision, values: Values) -> Answer {
    let next = page.items.last().filter(|_| page.more).map(|last| {
        let start = KeyRange::single(last.key.clone()).end.expect("a single key's range ends");
        let range = KeyRange { start, end: query.range.end.clone() };
        token(&Query { range, revision: Some(revision), ..query.clone() })
    });
    let items = json::items(page, values);
    reply::json(
        StatusCode::OK,
        &Listing { revision: revision.0, items, more: next.is_some(), next },
    )
}

fn first_page(call: &Call<'_>) -> Result<Query, Fault> {
    let params = &call.params;
    let projection = match (params.flag("keys_only")?, params.flag("count_only")?) {
        (false, false) => Projection::Full,
        (true, false) => Projection::KeysOnly,
        (false, true) => Projection::CountOnly,
        (true, true) => {
            return Err(Fault::invalid("`keys_only` and `count_only` exclude each other"));
        }
    };
    Ok(Query {
        range: Named::in_query(params).range()?.unwrap_or_else(KeyRange::all),
        revision: params.number("revision")?.map(Revision),
        limit: params.number("limit")?.unwrap_or(0),
        projection,
    })
}

/// A later page: any node that has reached the revision shows the same, so a session's read does.
fn next_page(call: &Call<'_>, token: &str) -> Result<(Query, Consistency), Fault> {
    if let Some(name) = HELD_BY_TOKEN.iter().find(|name| call.params.bytes(name).is_some()) {
        return Err(Fault::invalid(format!(
            "`page` holds the whole query already: `{name}` can't stand beside it"
        )));
    }
    let (mut query, revision) = read_token(token).ok_or_else(|| {
        Fault::invalid("`page` is not a token from the `next` of an earlier answer of this release")
    })?;
    if let Some(limit) = call.params.number("limit")? {
        query.limit = limit;
    }
    Ok((query, Consistency::Session(revision)))
}

fn token(query: &Query) -> String {
    let mut out = Writer::with_capacity(64 + query.range.start.len());
    out.u8(TOKEN_VERSION);
    query.encode(&mut out);
    URL_SAFE_NO_PAD.encode(out.finish())
}

fn read_token(token: &str) -> Option<(Query, Revision)> {
    let mut input = Reader::new(Bytes::from(URL_SAFE_NO_PAD.decode(token).ok()?));
    if input.u8("token version").ok()? != TOKEN_VERSION {
        return None;
    }
    let query = Query::decode(&mut input).ok()?;
    input.end("token").ok()?;
    let revision = query.revision?;
    Some((query, revision))
}
