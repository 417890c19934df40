//! Errors as etcd tells them: clients match on the code and on the very text.

use client::Error;
use tonic::{Code, Status};
use wire::{Denial, MemberDenial, Refusal};

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
    user_empty: InvalidArgument, "etcdserver: user name is empty";
    role_empty: InvalidArgument, "etcdserver: role name is empty";
    invalid_token: Unauthenticated, "etcdserver: invalid auth token";
    permission_denied: PermissionDenied, "etcdserver: permission denied";
    auth_failed: InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    auth_not_enabled: FailedPrecondition, "etcdserver: authentication is not enabled";
    no_root_user: FailedPrecondition, "etcdserver: root user does not exist";
    no_root_role: FailedPrecondition, "etcdserver: root user does not have root role";
    user_exists: FailedPrecondition, "etcdserver: user name already exists";
    user_not_found: FailedPrecondition, "etcdserver: user name not found";
    role_exists: FailedPrecondition, "etcdserver: role name already exists";
    role_not_found: FailedPrecondition, "etcdserver: role name not found";
    role_not_granted: FailedPrecondition, "etcdserver: role is not granted to the user";
    permission_not_granted: FailedPrecondition, "etcdserver: permission is not granted to the role";
    permission_not_given: InvalidArgument, "etcdserver: permission not given";
    invalid_auth_management: InvalidArgument, "etcdserver: invalid auth management";
    member_not_found: NotFound, "etcdserver: member not found";
    peer_urls_exist: FailedPrecondition, "etcdserver: Peer URLs already exists";
    bad_member_urls: InvalidArgument, "etcdserver: given member URLs are invalid";
    too_few_started: FailedPrecondition,
        "etcdserver: re-configuration failed due to not enough started members";
    not_learner: FailedPrecondition, "etcdserver: can only promote a learner member";
    learner_not_ready: FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    too_many_learners: FailedPrecondition, "etcdserver: too many learner members in cluster";
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
        Refusal::Denied { denial } => of_denial(*denial),
        Refusal::Member { denial } => of_member_denial(denial),
    }
}

/// What it is for a client of etcd that the members can't be changed so.
fn of_member_denial(denial: &MemberDenial) -> Status {
    match denial {
        MemberDenial::NotFound { .. } => member_not_found(),
        MemberDenial::AddressTaken { .. } => peer_urls_exist(),
        MemberDenial::NotLearner { .. } => not_learner(),
        MemberDenial::NotCaughtUp { .. } => learner_not_ready(),
        // Who removes the last one leaves too few, too.
        MemberDenial::NoQuorum { .. } | MemberDenial::LastVoter { .. } => too_few_started(),
        MemberDenial::TooMany { what, .. } if what == "learners" => too_many_learners(),
        MemberDenial::TooMany { .. }
        | MemberDenial::TooManyWitnesses { .. }
        | MemberDenial::TooFewData { .. }
        | MemberDenial::FixedQuorums
        | MemberDenial::Unreachable { .. } => {
            Status::failed_precondition(format!("etcdserver: {denial}"))
        }
    }
}

/// What it is for a client of etcd that somebody may not do something, or that users and roles can't be
/// changed so.
fn of_denial(denial: Denial) -> Status {
    match denial {
        // In these very words etcd says that nobody said who he is.
        Denial::NoUser => user_empty(),
        Denial::InvalidToken => invalid_token(),
        Denial::Forbidden => permission_denied(),
        Denial::Failed => auth_failed(),
        Denial::NotEnabled => auth_not_enabled(),
        Denial::NoRootUser => no_root_user(),
        Denial::NoRootRole => no_root_role(),
        Denial::UserExists => user_exists(),
        Denial::UserNotFound => user_not_found(),
        Denial::RoleExists => role_exists(),
        Denial::RoleNotFound => role_not_found(),
        Denial::RoleNotGranted => role_not_granted(),
        Denial::PermissionNotGranted => permission_not_granted(),
        Denial::Management => invalid_auth_management(),
    }
}

#[cfg(test)]
mod tests {
    use wire::{NodeId, Outcome, Revision};

    use super::*;

    /// Every refusal, with its code and the beginning of its text.
    fn table() -> Vec<(Refusal, Code, &'static str)> {
        let (what, why, id) = (|| "no".to_owned(), || "gone".to_owned(), || "7-1".to_owned());
        let (asked, revision) = (Revision(1), Revision(2));
        let key = || bytes::Bytes::from_static(b"k");
        let large = Refusal::TooLarge { what: what(), size: 2, limit: 1, flag: None };
        let uncertain = "etcdserver: request timed out, possibly due to connection lost";
        vec![
            (
                Refusal::NotLeader { leader: Some(NodeId(2)) },
                Code::Unavailable,
                "etcdserver: no leader",
            ),
            (Refusal::Unavailable { why: why() }, Code::Unavailable, "etcdserver: no leader"),
            (
                Refusal::Busy { what: what() },
                Code::ResourceExhausted,
                "etcdserver: too many requests",
            ),
            (Refusal::Unanswered { why: why() }, Code::Unavailable, uncertain),
            (Refusal::Expired { id: id() }, Code::Unavailable, uncertain),
            (Refusal::AnswerForgotten { revision }, Code::Unavailable, uncertain),
            (
                Refusal::Compacted { asked, compacted: revision },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                Refusal::Future { asked, current: revision },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (large, Code::InvalidArgument, "etcdserver: request is too large"),
            (Refusal::Invalid { what: what() }, Code::InvalidArgument, "etcdserver: no"),
            (Refusal::NotEmpty { revision }, Code::FailedPrecondition, "etcdserver: "),
            (Refusal::Broken { why: why() }, Code::Unavailable, "etcdserver: unhealthy cluster"),
            (
                Refusal::LeaseNotFound { lease: 1 },
                Code::NotFound,
                "etcdserver: requested lease not found",
            ),
            (
                Refusal::LeaseExists { lease: 1 },
                Code::FailedPrecondition,
                "etcdserver: lease already exists",
            ),
            (
                Refusal::KeyNotFound { key: key() },
                Code::InvalidArgument,
                "etcdserver: key not found",
            ),
            (
                Refusal::Fenced { key: key(), created: asked, current: None },
                Code::FailedPrecondition,
                "etcdserver: the fencing token 1 of k is stale: the key is gone",
            ),
        ]
    }

    #[test]
    fn why_members_do_not_change_has_etcds_code_and_text() {
        let node = NodeId(3);
        let too_many = |what: &str| MemberDenial::TooMany { what: what.into(), limit: 9 };
        for (denial, code, text) in [
            (MemberDenial::NotFound { node }, Code::NotFound, "etcdserver: member not found"),
            (
                MemberDenial::AddressTaken { node, address: "a:1".into() },
                Code::FailedPrecondition,
                "etcdserver: Peer URLs already exists",
            ),
            (
                MemberDenial::NotLearner { node },
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member",
            ),
            (
                MemberDenial::NotCaughtUp { node, matched: 1, last: 9 },
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
            ),
            (
                MemberDenial::NoQuorum { voters: 2, active: 1, needed: 2 },
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            (
                too_many("learners"),
                Code::FailedPrecondition,
                "etcdserver: too many learner members in cluster",
            ),
            (
                too_many("voters"),
                Code::FailedPrecondition,
                "etcdserver: the cluster has 9 voters already, and no more are allowed; remove one first",
            ),
        ] {
            let status = of_refusal(&Refusal::Member { denial });
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }

    #[test]
    fn every_refusal_has_etcds_code_and_text() {
        for (refusal, code, text) in table() {
            let status = of_client(&Error::Refused(refusal.clone()));
            assert_eq!(status.code(), code, "{refusal:?}");
            assert!(status.message().starts_with(text), "{refusal:?}: {}", status.message());
        }
    }

    #[test]
    fn what_may_be_done_is_never_told_as_not_done() {
        for (refusal, code, _) in table() {
            if refusal.outcome() != Outcome::NotDone {
                // What a client must not take for a refusal.
                assert_eq!(code, Code::Unavailable, "{refusal:?}");
            }
        }
        let unknown = Error::Unknown { request: None, why: String::new() };
        assert_eq!(of_client(&unknown).code(), Code::Unavailable);
    }
}
