//! What is answered when a request fails: one table from reasons to HTTP.
//!
//! Every fault carries a stable code for programs, a sentence for humans, and the outcome, so that
//! nobody has to guess from a status whether a write has happened.

use std::fmt::Display;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use wire::{Denial, MemberDenial, Outcome, Refusal};

use crate::reply::{self, Answer};

/// How long to wait before a retry of what was busy or unavailable.
const RETRY_AFTER_SECONDS: u64 = 1;

/// How to say who one is: what is told to whoever did not.
const CHALLENGE: &str = r#"Basic realm="cairn", charset="UTF-8""#;

/// The flag of the binary that sets the limit on values.
pub(crate) const VALUE_LIMIT_FLAG: &str = "--max-value";

/// A request that failed, ready to be told.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
    outcome: Outcome,
    details: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Fault {
    /// Not done.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            outcome: Outcome::NotDone,
            details: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Not done: the request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Not done: `what` is too large, and `flag` sets the limit.
    pub(crate) fn too_large(what: &str, size: usize, limit: usize) -> Self {
        Self::from(Refusal::TooLarge {
            what: what.into(),
            size: size as u64,
            limit: limit as u64,
            flag: Some(VALUE_LIMIT_FLAG.into()),
        })
    }

    /// Not done: a bound of this gateway is reached.
    pub(crate) fn busy(what: impl Into<String>) -> Self {
        Self::from(Refusal::Busy { what: what.into() })
    }

    /// Not done: the method is not one of `allowed`.
    pub(crate) fn method(path: &str, allowed: &str) -> Self {
        let message = format!("{path} takes {allowed}");
        let allow = HeaderValue::from_str(allowed).expect("method names are visible ASCII");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .header(ALLOW, allow)
    }

    /// Nothing is done by this request: its id was first used for a write of another kind.
    pub(crate) fn request_id_reused() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "request_id_reused",
            "this Request-Id was already used for another write, whose answer does not fit this \
             one; choose a new id for each write",
        )
    }

    /// With this outcome.
    pub(crate) fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// With the place in the request that is meant, before the sentence.
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What is wrong, in words.
    pub(crate) fn into_message(self) -> String {
        self.message
    }

    /// With one more field in the error.
    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With a hint when to try again.
    pub(crate) fn retry_after(self) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
    }

    /// The sentence, with the outcome where it is not plain from the sentence.
    pub(crate) fn sentence(&self) -> String {
        match self.outcome {
            Outcome::NotDone => self.message.clone(),
            outcome => format!("{} (outcome: {outcome})", self.message),
        }
    }

    /// `{"error":{...}}`, as the REST API says it.
    pub(crate) fn json(&self) -> impl Serialize {
        RestError { error: Inner(self) }
    }

    /// The answer of the REST API.
    pub(crate) fn into_rest(self) -> Answer {
        let answer = reply::json(self.status, &self.json());
        self.dress(answer)
    }

    /// The answer of the storage-node API, with the same status and headers.
    pub(crate) fn into_storage_node(self) -> Answer {
        let told = StorageNodeError { status: "error", message: self.sentence() };
        let answer = reply::json(self.status, &told);
        self.dress(answer)
    }

    fn dress(self, mut answer: Answer) -> Answer {
        for (name, value) in self.headers {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

#[derive(serde::Serialize)]
struct RestError<'a> {
    error: Inner<'a>,
}

/// A fault as JSON: what every fault has first, then what this one has.
pub(crate) struct Inner<'a>(pub(crate) &'a Fault);

impl Serialize for Inner<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.0.code)?;
        map.serialize_entry("message", &self.0.message)?;
        map.serialize_entry("outcome", &self.0.outcome.to_string())?;
        for (name, value) in &self.0.details {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct StorageNodeError {
    status: &'static str,
    message: String,
}

/// JSON that did not parse, or did not fit: serde says where.
pub(crate) fn bad_json(error: &impl Display) -> Fault {
    Fault::new(
        StatusCode::BAD_REQUEST,
        "bad_json",
        format!("the body is not the JSON that is taken here: {error}"),
    )
}

/// The table: what each refusal is in HTTP, and whether a later retry is worth while.
fn row(refusal: &Refusal) -> (StatusCode, Retry) {
    match refusal {
        Refusal::NotLeader { .. }
        | Refusal::Busy { .. }
        | Refusal::Unavailable { .. }
        | Refusal::Broken { .. } => (StatusCode::SERVICE_UNAVAILABLE, Retry::Later),
        Refusal::Unanswered { .. } => (StatusCode::GATEWAY_TIMEOUT, Retry::SameIdOnly),
        Refusal::Compacted { .. } => (StatusCode::GONE, Retry::No),
        Refusal::Future { .. } | Refusal::Invalid { .. } => (StatusCode::BAD_REQUEST, Retry::No),
        Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Retry::No),
        Refusal::Expired { .. }
        | Refusal::AnswerForgotten { .. }
        | Refusal::NotEmpty { .. }
        | Refusal::LeaseExists { .. } => (StatusCode::CONFLICT, Retry::No),
        Refusal::LeaseNotFound { .. } | Refusal::KeyNotFound { .. } => {
            (StatusCode::NOT_FOUND, Retry::No)
        }
        Refusal::Fenced { .. } => (StatusCode::PRECONDITION_FAILED, Retry::No),
        Refusal::Denied { denial } => (status_of(*denial), Retry::No),
        Refusal::Member { denial } => match denial {
            MemberDenial::NotFound { .. } => (StatusCode::NOT_FOUND, Retry::No),
            // The others may start, and the new node catch up.
            MemberDenial::NotCaughtUp { .. } | MemberDenial::NoQuorum { .. } => {
                (StatusCode::CONFLICT, Retry::Later)
            }
            MemberDenial::AddressTaken { .. }
            | MemberDenial::NotLearner { .. }
            | MemberDenial::LastVoter { .. }
            | MemberDenial::TooMany { .. }
            | MemberDenial::TooManyWitnesses { .. }
            | MemberDenial::TooFewData { .. }
            | MemberDenial::FixedQuorums
            | MemberDenial::Unreachable { .. } => (StatusCode::CONFLICT, Retry::No),
        },
    }
}

fn status_of(denial: Denial) -> StatusCode {
    match denial {
        Denial::NoUser | Denial::InvalidToken | Denial::Failed => StatusCode::UNAUTHORIZED,
        Denial::Forbidden => StatusCode::FORBIDDEN,
        Denial::UserNotFound | Denial::RoleNotFound => StatusCode::NOT_FOUND,
        Denial::NotEnabled
        | Denial::NoRootUser
        | Denial::NoRootRole
        | Denial::UserExists
        | Denial::RoleExists
        | Denial::RoleNotGranted
        | Denial::PermissionNotGranted
        | Denial::Management => StatusCode::CONFLICT,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Told by `Retry-After`.
    Later,
    /// Not told by a header, for a blind retry could do the write twice.
    SameIdOnly,
    No,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (status, retry) = row(&refusal);
        let mut fault =
            Self::new(status, refusal.code(), refusal.to_string()).outcome(refusal.outcome());
        fault.details = details(&refusal);
        if status == StatusCode::UNAUTHORIZED {
            fault = fault.header(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        match retry {
            Retry::Later => fault.retry_after(),
            Retry::SameIdOnly | Retry::No => fault,
        }
    }
}

impl From<client::Error> for Fault {
    fn from(error: client::Error) -> Self {
        let outcome = error.outcome();
        let fault = |status| Self::new(status, error.code(), error.to_string()).outcome(outcome);
        match &error {
            client::Error::Refused(refusal) => Self::from(refusal.clone()),
            client::Error::Unavailable { .. } => {
                fault(StatusCode::SERVICE_UNAVAILABLE).retry_after()
            }
            client::Error::Unknown { .. } => fault(StatusCode::GATEWAY_TIMEOUT),
            client::Error::Fatal { .. } => fault(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

fn details(refusal: &Refusal) -> Vec<(&'static str, Value)> {
    match refusal {
        Refusal::NotLeader { leader: Some(leader) } => vec![("leader", leader.0.into())],
        Refusal::Compacted { asked, compacted } => {
            vec![("asked", asked.0.into()), ("oldest", compacted.0.into())]
        }
        Refusal::Future { asked, current } => {
            vec![("asked", asked.0.into()), ("newest", current.0.into())]
        }
        Refusal::TooLarge { size, limit, flag, .. } => {
            let mut details = vec![("size", (*size).into()), ("limit", (*limit).into())];
            details.extend(flag.as_ref().map(|flag| ("flag", flag.as_str().into())));
            details
        }
        Refusal::AnswerForgotten { revision } | Refusal::NotEmpty { revision } => {
            vec![("revision", revision.0.into())]
        }
        Refusal::LeaseNotFound { lease } | Refusal::LeaseExists { lease } => {
            vec![("lease", (*lease).into())]
        }
        Refusal::Fenced { created, current, .. } => {
            vec![("token", created.0.into()), ("current", current.map(|now| now.0).into())]
        }
        Refusal::KeyNotFound { .. }
        | Refusal::Denied { .. }
        | Refusal::Member { .. }
        | Refusal::NotLeader { leader: None }
        | Refusal::Busy { .. }
        | Refusal::Unanswered { .. }
        | Refusal::Unavailable { .. }
        | Refusal::Invalid { .. }
        | Refusal::Expired { .. }
        | Refusal::Broken { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use client::Error;
    use wire::{NodeId, Revision};

    use super::*;

    fn told(fault: &Fault) -> (u16, &'static str, String, bool) {
        let retry = fault.headers.iter().any(|(name, _)| name == RETRY_AFTER);
        (fault.status.as_u16(), fault.code, fault.outcome.to_string(), retry)
    }

    #[test]
    fn every_refusal_has_a_row() {
        let (what, why, id) = (String::new, String::new, String::new);
        let (asked, revision) = (Revision(1), Revision(2));
        let too_large =
            Refusal::TooLarge { what: what(), size: 2, limit: 1, flag: Some("--flag".into()) };
        let table = [
            (Refusal::NotLeader { leader: Some(NodeId(2)) }, 503, "not_leader", "not done", true),
            (Refusal::Busy { what: what() }, 503, "busy", "not done", true),
            (Refusal::Unanswered { why: why() }, 504, "unanswered", "unknown", false),
            (Refusal::Unavailable { why: why() }, 503, "unavailable", "not done", true),
            (
                Refusal::Compacted { asked, compacted: revision },
                410,
                "compacted",
                "not done",
                false,
            ),
            (
                Refusal::Future { asked, current: revision },
                400,
                "future_revision",
                "not done",
                false,
            ),
            (too_large, 413, "too_large", "not done", false),
            (Refusal::Invalid { what: what() }, 400, "invalid", "not done", false),
            (Refusal::Expired { id: id() }, 409, "expired", "unknown", false),
            (Refusal::AnswerForgotten { revision }, 409, "answer_forgotten", "done", false),
            (Refusal::NotEmpty { revision }, 409, "not_empty", "not done", false),
            (Refusal::Broken { why: why() }, 503, "broken", "not done", true),
            (Refusal::LeaseNotFound { lease: 7 }, 404, "lease_not_found", "not done", false),
            (Refusal::LeaseExists { lease: 7 }, 409, "lease_exists", "not done", false),
            (Refusal::KeyNotFound { key: "k".into() }, 404, "key_not_found", "not done", false),
            (
                Refusal::Fenced { key: "k".into(), created: asked, current: None },
                412,
                "fenced",
                "not done",
                false,
            ),
            (Denial::NoUser.into(), 401, "unauthenticated", "not done", false),
            (Denial::Forbidden.into(), 403, "permission_denied", "not done", false),
            (Denial::UserExists.into(), 409, "user_exists", "not done", false),
            (Denial::RoleNotFound.into(), 404, "role_not_found", "not done", false),
        ];
        for (refusal, status, code, outcome, retry) in table {
            let fault = Fault::from(Error::from(refusal));
            assert_eq!(told(&fault), (status, code, outcome.to_owned(), retry));
        }
    }

    #[test]
    fn every_error_of_the_client_has_a_row() {
        let why = || "n1: gone".to_owned();
        for (error, status, outcome, retry) in [
            (Error::Unavailable { why: why() }, 503, "not done", true),
            (Error::Unknown { request: None, why: why() }, 504, "unknown", false),
            (Error::Fatal { why: why() }, 500, "not done", false),
        ] {
            let code = error.code();
            let fault = Fault::from(error);
            assert_eq!(told(&fault), (status, code, outcome.to_owned(), retry));
        }
    }

    #[test]
    fn a_fault_as_json_begins_with_what_all_have() {
        let fault = Fault::too_large("value", 9, 5);
        assert_eq!(
            serde_json::to_string(&fault.json()).unwrap(),
            "{\"error\":{\"code\":\"too_large\",\"message\":\"value of 9 bytes is over the limit of 5 \
             bytes (set by --max-value)\",\"outcome\":\"not done\",\"size\":9,\"limit\":5,\
             \"flag\":\"--max-value\"}}"
        );
    }
}
