//! The checker of users and roles on histories made by hand: the good ones pass, and each bad one is
//! named.

use bytes::Bytes;
use consensus::Time;
use sim::check::judge;
use sim::history::{Action, History, Operation, Outcome, Seen, Write};
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Consistency, Header, Hidden, KeyRange, NodeId,
    Permission, Principal, ROOT, Revision,
};

/// Operations one after the other, each with the log index that its answer bears.
#[derive(Clone, Default)]
struct Maker {
    history: History,
    /// The last log index.
    index: u64,
    /// The store's revision.
    revision: u64,
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn range(start: &str, end: &str) -> KeyRange {
    KeyRange { start: key(start), end: Some(key(end)) }
}

fn proof(revision: u64) -> Principal {
    Principal { user: "u".to_owned(), revision }
}

fn password(word: &str) -> Hidden {
    Hidden(key(word))
}

fn no(why: &str) -> Outcome {
    Outcome::NotDone(why.to_owned())
}

impl Maker {
    /// Users root and `u`, whose role may read and write from `a` to `c`; at log index 7.
    fn with_users() -> Self {
        let (user, role) = (|| "u".to_owned(), || "r".to_owned());
        let permission = Permission { access: Access::ReadWrite, range: range("a", "c") };
        Self::default()
            .change(AuthChange::UserAdd { user: ROOT.into(), password: None })
            .change(AuthChange::UserGrant { user: ROOT.into(), role: ROOT.into() })
            .change(AuthChange::UserAdd { user: user(), password: Some(password("p")) })
            .change(AuthChange::RoleAdd { role: role() })
            .change(AuthChange::RoleGrant { role: role(), permission })
            .change(AuthChange::UserGrant { user: user(), role: role() })
            .change(AuthChange::Enable { secret: password("s") })
            .login("p", 7)
    }

    fn now(&self) -> u64 {
        self.history.operations.len() as u64 * 10
    }

    /// Something from one moment to another.
    fn at(
        mut self,
        (began, ended): (u64, u64),
        principal: Option<Principal>,
        action: Action,
        outcome: Outcome,
    ) -> Self {
        let (began, ended) = (Time::from_nanos(began), Some(Time::from_nanos(ended)));
        let client = 0;
        let operation = Operation { client, principal, action, began, ended, outcome };
        self.history.operations.push(operation);
        self
    }

    fn add(self, principal: Option<Principal>, action: Action, outcome: Outcome) -> Self {
        let now = self.now();
        self.at((now, now + 5), principal, action, outcome)
    }

    fn header(&self, applied: u64) -> Header {
        Header { revision: Revision(self.revision), applied, node: NodeId(1), leader: None }
    }

    fn written(&self, changed: bool) -> Outcome {
        let (revision, succeeded, observed) = (Revision(self.revision), true, None);
        let seen = Seen::Written { revision, succeeded, changed, observed };
        Outcome::Done(self.header(self.index), seen)
    }

    fn change(mut self, change: AuthChange) -> Self {
        self.index += 1;
        let done = self.written(false);
        self.add(Some(Principal::of_certificate(ROOT)), Action::Change(change), done)
    }

    fn revoke(self) -> Self {
        self.change(AuthChange::RoleRevoke { role: "r".into(), range: range("a", "c") })
    }

    fn login(self, word: &str, revision: u64) -> Self {
        let action = Action::Login { user: "u".into(), password: key(word) };
        let done = Outcome::Done(self.header(self.index), Seen::Proof(proof(revision)));
        self.add(None, action, done)
    }

    fn write(mut self, who: Option<Principal>, name: &str) -> Self {
        self.index += 1;
        self.revision += 1;
        let done = self.written(true);
        self.add(who, put(name), done)
    }

    /// A read that is answered at this log index.
    fn read(self, name: &str, level: Consistency, index: u64) -> Self {
        let seen = Seen::Page { items: Vec::new(), more: false };
        let done = Outcome::Done(self.header(index), seen);
        self.add(Some(proof(7)), Action::Read { key: key(name), level }, done)
    }

    fn watch(self, range: KeyRange) -> Self {
        let action = Action::Watch { range, from: Revision(0), previous: false };
        let seen = Seen::Events { events: Vec::new(), next: Revision(self.revision + 1) };
        let done = Outcome::Done(self.header(self.index), seen);
        self.add(Some(proof(7)), action, done)
    }

    fn told(self, question: AuthQuestion, answer: AuthAnswer) -> Self {
        let done = Outcome::Done(self.header(self.index), Seen::Auth(answer));
        self.add(Some(Principal::of_certificate(ROOT)), Action::Ask(question), done)
    }

    fn passes(self) -> bool {
        let violations = judge(&self.history, &[]).violations;
        assert!(violations.iter().all(|violation| violation.check == "auth"), "{violations:?}");
        violations.is_empty()
    }
}

fn put(name: &str) -> Action {
    let changes = vec![(key(name), Some(key("value")))];
    Action::Write(Write { changes, ..Write::default() })
}

#[test]
fn who_may_passes_and_who_may_not_is_named() {
    let users = Maker::with_users;
    assert!(users().write(Some(proof(7)), "a").passes());
    assert!(!users().write(Some(proof(7)), "c").passes());
    assert!(!users().write(None, "a").passes(), "he did not say who he is");
    assert!(users().change(AuthChange::Disable).write(None, "c").passes());
    assert!(users().write(Some(Principal::of_certificate(ROOT)), "c").passes());
}

#[test]
fn what_is_done_after_its_right_was_revoked_is_named() {
    let revoked = || Maker::with_users().revoke();
    assert!(!revoked().write(Some(proof(7)), "a").passes());
    // It began before, and nobody has answered it: but its value is there, and behind the revocation.
    let doubtful = |maker: Maker| {
        let unknown = Outcome::Unknown("time is up".to_owned());
        maker.at((75, 500), Some(proof(7)), put("a"), unknown)
    };
    let seen = |mut maker: Maker, revision| {
        maker.index += 1;
        maker.revision = revision;
        let modified = Revision(revision);
        let (created, version, lease) = (modified, 1, 0);
        let (key, value) = (key("a"), key("value"));
        let item = wire::Item { key, value, created, modified, version, lease };
        let seen = Seen::Page { items: vec![item], more: false };
        let level = Consistency::Linearizable;
        let action = Action::Read { key: self::key("a"), level };
        let done = Outcome::Done(maker.header(maker.index), seen);
        maker.at((600, 605), Some(Principal::of_certificate(ROOT)), action, done)
    };
    let root = || Some(Principal::of_certificate(ROOT));
    let before = doubtful(Maker::with_users().write(root(), "b"));
    let behind = |mut maker: Maker| {
        // The revocation's answer bears revision 1, and the value has revision 2.
        maker.index += 1;
        let done = maker.written(false);
        let range = range("a", "c");
        let change = AuthChange::RoleRevoke { role: "r".into(), range };
        maker.at((100, 105), root(), Action::Change(change), done)
    };
    assert!(!seen(behind(before.clone()), 2).passes());
    assert!(seen(before, 2).passes());
}

#[test]
fn an_answer_is_judged_at_the_log_index_that_it_bears() {
    let revoked = || Maker::with_users().revoke();
    assert!(!revoked().read("a", Consistency::Eventual, 8).passes());
    assert!(revoked().read("a", Consistency::Eventual, 7).passes(), "its node lags");
    assert!(!revoked().read("a", Consistency::Linearizable, 7).passes(), "and may not lag so");
    assert!(Maker::with_users().read("b", Consistency::Linearizable, 7).passes());
}

#[test]
fn a_range_is_allowed_when_nothing_of_it_is_left_out() {
    let more = |start: &str| {
        let permission = Permission { access: Access::Read, range: range(start, "z") };
        let role = "r".to_owned();
        Maker::with_users().change(AuthChange::RoleGrant { role, permission })
    };
    assert!(more("c").watch(range("b", "x")).passes());
    assert!(more("b").watch(range("a", "z")).passes());
    assert!(!more("d").watch(range("b", "x")).passes(), "nobody gave him what begins with c");
    assert!(!more("c").watch(KeyRange { start: key("b"), end: None }).passes());
}

#[test]
fn a_refusal_of_who_may_is_named() {
    let denied = |maker: Maker, action: Action| {
        maker.add(Some(proof(7)), action, no("permission_denied")).passes()
    };
    let read = |level| Action::Read { key: key("a"), level };
    assert!(!denied(Maker::with_users(), put("a")));
    assert!(denied(Maker::with_users(), put("c")));
    assert!(denied(Maker::with_users().revoke(), put("a")));
    assert!(!denied(Maker::with_users(), read(Consistency::Linearizable)));
    assert!(!denied(Maker::with_users(), read(Consistency::Eventual)), "he always could");
    // For a while he could not, and a node that lags may not know better.
    let again = || {
        let permission = Permission { access: Access::Read, range: range("a", "b") };
        let role = "r".to_owned();
        Maker::with_users().revoke().change(AuthChange::RoleGrant { role, permission })
    };
    assert!(!denied(again(), read(Consistency::Linearizable)));
    assert!(denied(again(), read(Consistency::Eventual)));
    let root = Some(Principal::of_certificate(ROOT));
    let level = Consistency::Eventual;
    let refused = Action::Read { key: key("c"), level };
    assert!(!Maker::with_users().add(root, refused, no("permission_denied")).passes());
}

#[test]
fn a_refusal_while_rights_change_is_right_either_way() {
    let revoke = AuthChange::RoleRevoke { role: "r".into(), range: range("a", "c") };
    let maker = Maker::with_users();
    let now = maker.now();
    let refused = maker.at((now, now + 90), Some(proof(7)), put("a"), no("permission_denied"));
    let meanwhile = refused.clone().at(
        (now + 20, now + 30),
        Some(Principal::of_certificate(ROOT)),
        Action::Change(revoke),
        Outcome::Unknown("time is up".to_owned()),
    );
    assert!(!refused.passes());
    assert!(meanwhile.passes());
}

#[test]
fn a_proof_ends_with_its_password_and_its_user() {
    let user = || "u".to_owned();
    let changed = || {
        let change = AuthChange::UserPassword { user: user(), password: password("q") };
        Maker::with_users().change(change)
    };
    assert!(!changed().write(Some(proof(7)), "a").passes());
    assert!(changed().login("q", 8).write(Some(proof(8)), "a").passes());
    assert!(!changed().login("p", 8).passes(), "that is not the password any more");
    let refused =
        |maker: Maker| maker.add(Some(proof(7)), put("a"), no("invalid_auth_token")).passes();
    assert!(refused(changed()));
    assert!(!refused(Maker::with_users()));
    let gone = Maker::with_users().change(AuthChange::UserDelete { user: user() });
    assert!(!gone.write(Some(proof(7)), "a").passes());
}

#[test]
fn what_is_told_of_users_must_be_so() {
    let role = |permissions| {
        let question = AuthQuestion::Role("r".to_owned());
        Maker::with_users().told(question, AuthAnswer::Permissions(permissions)).passes()
    };
    let permission = Permission { access: Access::ReadWrite, range: range("a", "c") };
    assert!(role(vec![permission.clone()]));
    assert!(!role(Vec::new()), "what was granted is lost");
    assert!(!role(vec![Permission { access: Access::Read, ..permission }]));
    let users = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Maker::with_users().told(AuthQuestion::Users, AuthAnswer::Names(names)).passes()
    };
    assert!(users(&["root", "u"]));
    assert!(!users(&["root"]));
    let status = |maker: Maker, revision| {
        maker.told(AuthQuestion::Status, AuthAnswer::Status { enabled: true, revision })
    };
    assert!(status(status(Maker::with_users(), 7).revoke(), 8).passes());
    assert!(!status(status(Maker::with_users(), 7).revoke(), 6).passes());
}
