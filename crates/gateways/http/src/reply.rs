//! Answers: how they are put together, whatever they say.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use serde::Serialize;
use wire::Revision;

/// The body of every answer. It never fails: a watch that ends early says so in an event.
pub type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// An answer.
pub(crate) type Answer = Response<AnswerBody>;

/// The revision at which a read was served, or that a write reached.
pub(crate) const CAIRN_REVISION: HeaderName = HeaderName::from_static("cairn-revision");
/// The revision that brought the key into being.
pub(crate) const CAIRN_CREATED: HeaderName = HeaderName::from_static("cairn-created");
/// How many times the key was written.
pub(crate) const CAIRN_VERSION: HeaderName = HeaderName::from_static("cairn-version");

/// Compact JSON, without a newline at the end.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let bytes =
        serde_json::to_vec(value).expect("our answers have string keys and no maps that fail");
    of_type(status, "application/json", Bytes::from(bytes))
}

/// Text for humans.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    of_type(status, "text/plain; charset=utf-8", text.into())
}

/// Bytes of the given media type.
pub(crate) fn of_type(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// No body at all.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// What a HEAD request gets: the headers of a GET, with the length of the body that is left out.
pub(crate) fn without_body(answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    if let Some(len) = body.size_hint().exact().filter(|_| parts.status != StatusCode::NOT_MODIFIED)
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    Response::from_parts(parts, Full::new(Bytes::new()).boxed_unsync())
}

/// Sets a header to a number.
pub(crate) fn set_number(headers: &mut HeaderMap, name: HeaderName, number: u64) {
    headers.insert(name, HeaderValue::from(number));
}

/// A revision as an entity tag: `"42"`.
pub(crate) fn entity_tag(revision: Revision) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits and quotes are visible ASCII")
}
