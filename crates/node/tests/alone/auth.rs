//! Who may do what, from the first user to the last retry.

use std::time::Duration;

use bytes::Bytes;
use disk::mem::MemDisk;
use node::{Answer, Event, Ticket, Tuning};
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Body, Command, Consistency, Denial, Hidden,
    KeyRange, Op, Permission, Principal, Query, Refusal, Reply, Request, RequestId, Revision, Txn,
};

use super::Alone;

fn hidden(text: &'static str) -> Hidden {
    Hidden(text.into())
}

fn proven(user: &str) -> Principal {
    Principal { user: user.into(), revision: 100 }
}

fn permission(access: Access, prefix: &'static str) -> Permission {
    Permission { access, range: KeyRange::prefix(prefix.into()) }
}

fn put(key: &'static str) -> Body {
    Body::Txn(Txn::always(vec![Op::put(key, "v")]))
}

fn read(key: &'static str) -> Request {
    let consistency = Consistency::Linearizable;
    Request::Read { query: Query::key(key.into()), consistency }
}

fn watch(prefix: &'static str, from: u64) -> Request {
    let range = KeyRange::prefix(prefix.into());
    Request::Watch { range, from: Revision(from), wait_ms: 60_000, previous: false }
}

fn denied(denial: Denial) -> Refusal {
    Refusal::Denied { denial }
}

impl Alone {
    fn by(&mut self, user: Option<&str>, number: u64, body: Body) -> Result<Revision, Refusal> {
        let id = RequestId { client: 11, number };
        let principal = user.map(proven);
        let command = Command { id, done_below: 0, since: 0, principal, body };
        Ok(self.ask(Request::Write(command.encode()))?.0.revision)
    }

    fn root(&mut self, number: u64, change: AuthChange) -> Result<Revision, Refusal> {
        self.by(Some("root"), number, Body::Auth(change))
    }

    /// Users root and `u`, who may read and write `a…`; numbers up to 20 are used.
    fn with_users(disk: MemDisk) -> Self {
        Self::with_users_and(disk, Tuning::default())
    }

    fn with_users_and(disk: MemDisk, tuning: Tuning) -> Self {
        let mut alone = Self::start(disk, tuning);
        let (user, role) = (|| "u".to_owned(), || "r".to_owned());
        for (number, change) in (1..).zip([
            AuthChange::UserAdd { user: "root".into(), password: Some(hidden("toor")) },
            AuthChange::UserGrant { user: "root".into(), role: "root".into() },
            AuthChange::UserAdd { user: user(), password: Some(hidden("pass")) },
            AuthChange::RoleAdd { role: role() },
            AuthChange::RoleGrant { role: role(), permission: permission(Access::ReadWrite, "a") },
            AuthChange::UserGrant { user: user(), role: role() },
            AuthChange::Enable { secret: hidden("secret") },
        ]) {
            alone.by(None, number, Body::Auth(change)).expect("nobody is asked who he is yet");
        }
        alone
    }

    fn park(&mut self, ticket: u64, request: Request) -> Ticket {
        let ticket = Ticket(ticket);
        self.node.handle(self.now, Event::Request { ticket, request });
        self.settle();
        ticket
    }

    fn answer_to(&mut self, ticket: Ticket) -> Option<Answer> {
        let at = self.answers.iter().position(|(answered, _)| *answered == ticket)?;
        Some(self.answers.remove(at).1)
    }
}

#[test]
fn who_says_nothing_gets_nothing_and_each_gets_his_own() {
    let mut alone = Alone::with_users(MemDisk::new(1));
    assert_eq!(alone.by(None, 21, put("a1")), Err(denied(Denial::NoUser)));
    assert_eq!(alone.ask(read("a1")).err(), Some(denied(Denial::NoUser)));
    assert_eq!(alone.by(Some("u"), 22, put("b1")), Err(denied(Denial::Forbidden)));
    alone.by(Some("u"), 23, put("a1")).expect("his own");
    assert!(alone.ask(read("a1").by(proven("u"))).is_ok());
    assert_eq!(alone.ask(read("b1").by(proven("u"))).err(), Some(denied(Denial::Forbidden)));
    for eventual in [Consistency::Eventual, Consistency::Session(Revision(1))] {
        let query = Query::range(KeyRange::all());
        let all = Request::Read { query, consistency: eventual };
        assert_eq!(alone.ask(all.clone().by(proven("u"))).err(), Some(denied(Denial::Forbidden)));
        assert!(alone.ask(all.by(proven("root"))).is_ok());
    }
    let compact = Body::Compact { before: Revision(2) };
    assert_eq!(alone.by(Some("u"), 24, compact.clone()), Err(denied(Denial::Forbidden)));
    alone.by(Some("root"), 25, compact).expect("root may");
    assert!(alone.ask(Request::Status).is_ok(), "how the node is everybody may know");
}

#[test]
fn a_new_leader_refuses_nobody_by_what_held_before() {
    let flushed = Tuning { flush_log_bytes: 1, ..Tuning::default() };
    let mut alone = Alone::with_users_and(MemDisk::new(9), flushed).restart(Tuning::default());
    let permission = permission(Access::ReadWrite, "b");
    alone.root(21, AuthChange::RoleGrant { role: "r".into(), permission }).expect("root may");
    alone.disk.crash();
    // It leads, and has not yet applied what its journal holds.
    let mut alone = Alone::boot(alone.disk, Tuning::default());
    while alone.node.status().role != "leader" {
        alone.turn();
    }
    let write = |number, key| {
        let id = RequestId { client: 11, number };
        let principal = Some(proven("u"));
        let command = Command { id, done_below: 0, since: 0, principal, body: put(key) };
        Request::Write(command.encode())
    };
    for (number, key) in [(22, "b1"), (23, "c1")] {
        let (ticket, request) = (Ticket(number), write(number, key));
        alone.node.handle(alone.now, Event::Request { ticket, request });
    }
    assert!(alone.answers.is_empty(), "what it has not applied may allow either");
    alone.settle();
    let answer = alone.answer_to(Ticket(22)).expect("an answer came");
    assert!(answer.is_ok(), "this was granted before the crash: {answer:?}");
    let answer = alone.answer_to(Ticket(23)).expect("an answer came");
    assert_eq!(answer.err(), Some(denied(Denial::Forbidden)), "this never was");
    assert_eq!(alone.node.metrics().inflight_bytes.get(), 0);
}

#[test]
fn it_is_all_there_after_a_crash() {
    let mut alone = Alone::with_users(MemDisk::new(2)).restart(Tuning::default());
    assert_eq!(alone.by(None, 21, put("a1")), Err(denied(Denial::NoUser)));
    alone.by(Some("u"), 22, put("a1")).expect("his own");
    assert_eq!(alone.node.guarding().secret, hidden("secret"));
    alone.root(23, AuthChange::Disable).expect("root may");
    let mut alone = alone.restart(Tuning::default());
    alone.by(None, 24, put("b1")).expect("nobody is asked any more");
    assert!(!alone.node.guarding().enabled);
}

#[test]
fn a_command_is_judged_by_what_stands_before_it_in_the_log() {
    let mut alone = Alone::with_users(MemDisk::new(3));
    let revoke = AuthChange::UserRevoke { user: "u".into(), role: "r".into() };
    let command = |number, user, body| {
        let id = RequestId { client: 11, number };
        let principal = Some(proven(user));
        Request::Write(Command { id, done_below: 0, since: 0, principal, body }.encode())
    };
    // Both are taken in before either is applied.
    let first = command(21, "root", Body::Auth(revoke));
    let second = command(22, "u", put("a1"));
    let (first_ticket, second_ticket) = (Ticket(1001), Ticket(1002));
    for (ticket, request) in [(first_ticket, first), (second_ticket, second)] {
        alone.node.handle(alone.now, Event::Request { ticket, request });
    }
    alone.settle();
    assert!(alone.answer_to(first_ticket).is_some_and(|answer| answer.is_ok()));
    let refused = alone.answer_to(second_ticket).expect("an answer");
    assert_eq!(refused.err(), Some(denied(Denial::Forbidden)));
    assert!(
        alone
            .ask(read("a1").by(proven("root")))
            .is_ok_and(|(_, reply)| matches!(reply, Reply::Page(page) if page.items.is_empty()))
    );
}

#[test]
fn a_watch_ends_when_it_is_enabled_or_its_permission_goes() {
    let mut alone = Alone::start(MemDisk::new(4), Tuning::default());
    for (number, change) in (1..).zip([
        AuthChange::UserAdd { user: "root".into(), password: None },
        AuthChange::UserGrant { user: "root".into(), role: "root".into() },
        AuthChange::UserAdd { user: "u".into(), password: None },
        AuthChange::RoleAdd { role: "r".into() },
        AuthChange::RoleGrant { role: "r".into(), permission: permission(Access::Read, "a") },
        AuthChange::UserGrant { user: "u".into(), role: "r".into() },
    ]) {
        alone.by(None, number, Body::Auth(change)).expect("a change");
    }
    let nobody = alone.park(1001, watch("a", 0));
    let user = alone.park(1002, watch("a", 0).by(proven("u")));
    let root = alone.park(1003, watch("", 0).by(proven("root")));
    assert!(alone.answers.is_empty(), "nothing happens");
    let enable = AuthChange::Enable { secret: hidden("secret") };
    alone.by(None, 21, Body::Auth(enable)).expect("a change");
    let ended = alone.answer_to(nobody).expect("it has ended");
    assert_eq!(ended.err(), Some(denied(Denial::NoUser)));
    assert!(alone.answers.is_empty(), "the others go on");
    let revoke = AuthChange::RoleRevoke { role: "r".into(), range: KeyRange::prefix("a".into()) };
    alone.root(22, revoke).expect("a change");
    let ended = alone.answer_to(user).expect("it has ended");
    assert_eq!(ended.err(), Some(denied(Denial::Forbidden)));
    let again = alone.ask(watch("a", 2).by(proven("u")));
    assert_eq!(again.err(), Some(denied(Denial::Forbidden)));
    alone.by(Some("root"), 23, put("a1")).expect("a put");
    let seen = alone.answer_to(root).expect("something happened");
    assert!(matches!(seen, Ok((_, Reply::Events(batch))) if batch.events.len() == 1));
}

#[test]
fn a_password_is_compared_and_proves_who_somebody_is() {
    let mut alone = Alone::with_users(MemDisk::new(5));
    let log_in = |user: &str, password: &'static str| Request::Authenticate {
        user: user.into(),
        password: hidden(password),
    };
    let Ok((_, Reply::Authenticated(principal))) = alone.ask(log_in("u", "pass")) else {
        panic!("it is the right one");
    };
    assert_eq!((principal.user.as_str(), principal.revision), ("u", 7));
    assert!(alone.ask(read("a1").by(principal.clone())).is_ok());
    for (user, password) in [("u", "Pass"), ("u", ""), ("nobody", "pass"), ("root", "pass")] {
        let answer = alone.ask(log_in(user, password));
        assert_eq!(answer.err(), Some(denied(Denial::Failed)), "{user} {password}");
    }
    let password = hidden("new");
    alone.root(21, AuthChange::UserPassword { user: "u".into(), password }).expect("root may");
    let outdated = alone.ask(read("a1").by(principal));
    assert_eq!(outdated.err(), Some(denied(Denial::InvalidToken)));
    alone.root(22, AuthChange::Disable).expect("root may");
    assert_eq!(alone.ask(log_in("u", "new")).err(), Some(denied(Denial::NotEnabled)));
}

#[test]
fn questions_are_answered_and_changes_refused_to_who_may_not() {
    let mut alone = Alone::with_users(MemDisk::new(6));
    let ask = |question| Request::Auth(question);
    let Ok((_, Reply::Auth(AuthAnswer::Names(users)))) =
        alone.ask(ask(AuthQuestion::Users).by(proven("root")))
    else {
        panic!("root may ask");
    };
    assert_eq!(users, ["root", "u"]);
    assert!(alone.ask(ask(AuthQuestion::Users).by(proven("u"))).is_err());
    assert!(alone.ask(ask(AuthQuestion::User("u".into())).by(proven("u"))).is_ok());
    let add = AuthChange::UserAdd { user: "v".into(), password: None };
    let refused = alone.by(Some("u"), 21, Body::Auth(add.clone()));
    assert_eq!(refused, Err(denied(Denial::Forbidden)));
    alone.root(22, add).expect("root may");
    let empty = AuthChange::RoleAdd { role: String::new() };
    assert_eq!(alone.root(23, empty), Err(Refusal::Invalid { what: "role name is empty".into() }));
}

#[test]
fn leases_end_by_themselves_though_nobody_may_end_them() {
    let mut alone = Alone::with_users(MemDisk::new(7));
    alone.by(Some("u"), 21, Body::Grant { lease: 7, ttl_ms: 1000 }).expect("a lease");
    let (key, value) = (Bytes::from_static(b"a1"), Some(Bytes::new()));
    let on_it = Op::Put(wire::Put { key, value, lease: Some(7), previous: false });
    alone.by(Some("u"), 22, Body::Txn(Txn::always(vec![on_it]))).expect("his own");
    let refused = alone.by(None, 23, Body::Revoke { lease: 7 });
    assert_eq!(refused, Err(denied(Denial::NoUser)));
    alone.pass(Duration::from_millis(1100));
    let Ok((_, Reply::Page(page))) = alone.ask(read("a1").by(proven("u"))) else {
        panic!("he may read it");
    };
    assert!(page.items.is_empty(), "the cluster itself needs no permission");
}
