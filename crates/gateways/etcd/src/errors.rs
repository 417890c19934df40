//! Errors as etcd tells them: clients match on the code and on the very text.

use client::Error;
use tonic::{Code, Status};
use wire::Refusal;

/// Declares what is told and how, one function each.
macro_rules! texts {
    ($($name:ident: $code:ident, $text:literal;)*) => {
        $(
            #[doc = $text]
            pub(crate) fn $name() -> Status {
                Status::new(Code::$code, $text)
            }
        )*
    };
}

texts! {
    empty_key: InvalidArgument, "etcdserver: key is not provided";
    key_not_found: InvalidArgument, "etcdserver: key not found";
    value_provided: InvalidArgument, "etcdserver: value is provided";
    lease_provided: InvalidArgument, "etcdserver: lease is provided";
    too_many_ops: InvalidArgument, "etcdserver: too many operations in txn request";
    duplicate_key: InvalidArgument, "etcdserver: duplicate key given in txn request";
    invalid_sort: InvalidArgument, "etcdserver: invalid sort option";
    compacted: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    future_revision: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    lease_not_found: NotFound, "etcdserver: requested lease not found";
    lease_exists: FailedPrecondition, "etcdserver: lease already exists";
    request_too_large: InvalidArgument, "etcdserver: request is too large";
    too_many_requests: ResourceExhausted, "etcdserver: too many requests";
    no_leader: Unavailable, "etcdserver: no leader";
    timed_out: Unavailable, "etcdserver: request timed out";
    unanswered: Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    unhealthy: Unavailable, "etcdserver: unhealthy cluster";
    bad_transferee: FailedPrecondition, "etcdserver: bad leader transferee";
    wrong_downgrade_version: InvalidArgument, "etcdserver: wrong downgrade target version format";
    invalid_downgrade_version: InvalidArgument, "etcdserver: invalid downgrade target version";
    no_downgrade: FailedPrecondition, "etcdserver: no inflight downgrade job";
}

/// Not done: it is not there yet. `what` begins the sentence.
pub(crate) fn not_yet(what: &str) -> Status {
    Status::unimplemented(format!("etcdserver: {what} is not supported by this release of Cairn"))
}

/// What an error of the client is for a client of etcd.
pub(crate) fn of_client(error: &Error) -> Status {
    match error {
        Error::Refused(refusal) => of_refusal(refusal),
        // Nobody could do it in time: not done.
        Error::Unavailable { .. } => timed_out(),
        // It may be done. etcd says it in the same words as above, and its clients repeat no write
        // that ended so.
        Error::Unknown { .. } => unanswered(),
        Error::Fatal { why } => Status::internal(format!("etcdserver: {why}")),
    }
}

/// What a node's refusal is for a client of etcd.
pub(crate) fn of_refusal(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NotLeader { .. } | Refusal::Unavailable { .. } => no_leader(),
        Refusal::Busy { .. } => too_many_requests(),
        Refusal::Unanswered { .. } | Refusal::Expired { .. } | Refusal::AnswerForgotten { .. } => {
            unanswered()
        }
        Refusal::Compacted { .. } => compacted(),
        Refusal::Future { .. } => future_revision(),
        Refusal::TooLarge { .. } => request_too_large(),
        Refusal::Invalid { what } => Status::invalid_argument(format!("etcdserver: {what}")),
        Refusal::NotEmpty { .. } | Refusal::Fenced { .. } => {
            Status::failed_precondition(format!("etcdserver: {refusal}"))
        }
        Refusal::Broken { .. } => unhealthy(),
        Refusal::LeaseNotFound { .. } => lease_not_found(),
        Refusal::LeaseExists { .. } => lease_exists(),
        Refusal::KeyNotFound { .. } => key_not_found(),
    }
}
