use super::*;

fn hidden(text: &'static str) -> Hidden {
    Hidden(text.into())
}

fn add(user: &str) -> AuthChange {
    AuthChange::UserAdd { user: user.into(), password: Some(hidden("hash")) }
}

fn grant(user: &str, role: &str) -> AuthChange {
    AuthChange::UserGrant { user: user.into(), role: role.into() }
}

fn permit(role: &str, access: Access, range: KeyRange) -> AuthChange {
    AuthChange::RoleGrant { role: role.into(), permission: Permission { access, range } }
}

fn role(role: &str) -> AuthChange {
    AuthChange::RoleAdd { role: role.into() }
}

fn prefix(text: &'static str) -> KeyRange {
    KeyRange::prefix(text.into())
}

fn enable() -> AuthChange {
    AuthChange::Enable { secret: hidden("secret") }
}

/// With root, and a user `u` who may read `a…` and write `b…`.
fn enabled() -> Auth {
    let mut auth = Auth::default();
    for change in [
        add("root"),
        grant("root", "root"),
        add("u"),
        role("r"),
        permit("r", Access::Read, prefix("a")),
        permit("r", Access::Write, prefix("b")),
        grant("u", "r"),
        enable(),
    ] {
        auth.change(&change).expect("a change");
    }
    auth
}

fn by(user: &str, revision: u64) -> Principal {
    Principal { user: user.into(), revision }
}

fn restored(auth: &mut Auth) -> Auth {
    let entries: Vec<_> =
        auth.take_changes().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    Auth::restore(&entries).expect("what we wrote")
}

#[test]
fn it_survives_being_written_down() {
    let mut auth = enabled();
    let copy = restored(&mut auth);
    assert_eq!((&copy.users, &copy.roles), (&auth.users, &auth.roles));
    assert_eq!((&copy.rights, copy.enabled), (&auth.rights, true));
    assert_eq!(copy.guarding, auth.guarding);
    assert!(auth.take_changes().is_empty(), "nothing has changed since");
    auth.change(&AuthChange::RoleDelete { role: "r".into() }).expect("it is there");
    let keys: Vec<_> =
        auth.take_changes().into_iter().map(|(key, value)| (key, value.is_some())).collect();
    assert_eq!(keys, [("as".into(), true), ("auu".into(), true), ("arr".into(), false)]);
}

#[test]
fn the_revision_counts_as_etcds_does() {
    let mut auth = Auth::default();
    let mut after = |change: &AuthChange| {
        let done = auth.change(change);
        (done, auth.revision)
    };
    assert_eq!(after(&enable()), (Err(Denial::NoRootUser), 1));
    assert_eq!(after(&add("root")), (Ok(()), 2));
    assert_eq!(after(&add("root")), (Err(Denial::UserExists), 2));
    assert_eq!(after(&enable()), (Err(Denial::NoRootRole), 2));
    assert_eq!(after(&grant("root", "root")), (Ok(()), 3));
    assert_eq!(after(&grant("root", "root")), (Ok(()), 3), "he had it");
    assert_eq!(after(&grant("root", "r")), (Err(Denial::RoleNotFound), 3));
    assert_eq!(after(&enable()), (Ok(()), 3));
    assert_eq!(after(&enable()), (Ok(()), 3));
    assert_eq!(after(&AuthChange::Disable), (Ok(()), 4));
    assert_eq!(after(&AuthChange::Disable), (Ok(()), 4));
}

#[test]
fn root_can_not_be_lost_while_it_is_enabled() {
    let mut auth = enabled();
    let (user, root) = (|| "root".to_owned(), || "root".to_owned());
    for change in [
        AuthChange::UserDelete { user: user() },
        AuthChange::UserRevoke { user: user(), role: root() },
        AuthChange::RoleDelete { role: root() },
    ] {
        assert_eq!(auth.change(&change), Err(Denial::Management), "{change:?}");
    }
    auth.change(&AuthChange::Disable).expect("a change");
    assert_eq!(auth.change(&AuthChange::UserDelete { user: user() }), Ok(()));
}

#[test]
fn each_operation_needs_its_permission() {
    let auth = enabled();
    let key = |text: &'static str| Bytes::from_static(text.as_bytes());
    let put = |text, previous| {
        Op::Put(Put { key: key(text), value: Some(Bytes::new()), lease: None, previous })
    };
    let delete = |text, previous| Op::Delete { range: prefix(text), previous };
    let read = |text| Op::Read(wire::Query::range(prefix(text)));
    let nested = |op| Op::Txn(Txn { otherwise: vec![op], ..Txn::default() });
    let compare = |text| {
        let (operator, operand) = (wire::Operator::Equal, wire::Operand::Version(0));
        wire::Compare { range: prefix(text), operator, operand }
    };
    let judge = |txn: Txn, user: Option<&str>| {
        let id = wire::RequestId { client: 1, number: 1 };
        let principal = user.map(|user| by(user, auth.revision));
        let body = Body::Txn(txn);
        let command = Command { id, done_below: 0, since: 0, principal, body };
        auth.judge(&command, &Leases::default())
    };
    for (op, may) in [
        (put("b1", false), true),
        (put("b1", true), false),
        (put("a1", false), false),
        (delete("b", false), true),
        (delete("b", true), false),
        (delete("a", false), false),
        (read("a"), true),
        (read("b"), false),
        (nested(put("b1", false)), true),
        (nested(put("a1", false)), false),
        (nested(nested(read("b"))), false),
    ] {
        let txn = Txn::always(vec![op]);
        let expected = if may { Ok(()) } else { Err(Denial::Forbidden) };
        assert_eq!(judge(txn.clone(), Some("u")), expected, "{txn:?}");
        assert_eq!(judge(txn.clone(), Some("root")), Ok(()));
        assert_eq!(judge(txn, None), Err(Denial::NoUser));
    }
    for (text, may) in [("a", true), ("b", false)] {
        let txn = Txn { compares: vec![compare(text)], ..Txn::default() };
        assert_eq!(judge(txn, Some("u")).is_ok(), may, "{text}");
        let fences = vec![wire::Fence { key: key(text), created: wire::Revision(1) }];
        let txn = Txn { fences, ..Txn::default() };
        assert_eq!(judge(txn, Some("u")).is_ok(), may, "{text}");
    }
}

#[test]
fn leases_are_as_well_guarded_as_their_keys() {
    let auth = enabled();
    let mut leases = Leases::default();
    leases.grant(7, 1000, 1);
    leases.grant(8, 1000, 2);
    leases.grant(9, 1000, 3);
    leases.move_key(&"a1".into(), 0, 7);
    leases.move_key(&"b1".into(), 0, 8);
    let user = by("u", auth.revision);
    let judge = |body: Body| {
        let id = wire::RequestId { client: 1, number: 1 };
        let principal = Some(user.clone());
        auth.judge(&Command { id, done_below: 0, since: 0, principal, body }, &leases).is_ok()
    };
    let put_on = |lease| {
        let (key, value) = (Bytes::from_static(b"b2"), Some(Bytes::new()));
        Body::Txn(Txn::always(vec![Op::Put(Put {
            key,
            value,
            lease: Some(lease),
            previous: false,
        })]))
    };
    let show = |lease, keys| {
        auth.judge_request(Some(&user), &Request::Lease { lease, keys }, &leases).is_ok()
    };
    assert!(!judge(Body::Revoke { lease: 7 }), "what he may only read would vanish");
    assert!(judge(Body::Revoke { lease: 8 }));
    assert!(judge(Body::Revoke { lease: 9 }) && judge(Body::Revoke { lease: 10 }));
    assert!(!judge(put_on(7)) && judge(put_on(8)) && judge(put_on(9)));
    assert!(show(7, true) && !show(8, true) && show(8, false) && show(9, true));
    let nobody = auth.judge_request(None, &Request::KeepAlive { lease: 7 }, &leases);
    assert_eq!(nobody, Err(Denial::NoUser));
}

#[test]
fn an_old_proof_is_worth_nothing_once_the_user_is_another() {
    let mut auth = enabled();
    let read = |auth: &Auth, by: &Principal| auth.judge_read(Some(by), &prefix("a"));
    let user = by("u", auth.revision);
    let certified = Principal::of_certificate("u");
    auth.change(&role("other")).expect("a change");
    assert_eq!(read(&auth, &user), Ok(()), "he is still who he was");
    let password = hidden("new");
    auth.change(&AuthChange::UserPassword { user: "u".into(), password }).expect("a change");
    assert_eq!(read(&auth, &user), Err(Denial::InvalidToken));
    assert_eq!(read(&auth, &certified), Ok(()));
    let (stored, proven) = auth.claim("u").expect("it is enabled");
    assert_eq!(stored, Some(hidden("new")));
    assert_eq!(read(&auth, &proven), Ok(()));
    auth.change(&AuthChange::UserDelete { user: "u".into() }).expect("a change");
    assert_eq!(read(&auth, &proven), Err(Denial::InvalidToken));
    assert_eq!(read(&auth, &certified), Err(Denial::Forbidden));
    auth.change(&add("u")).expect("a change");
    assert_eq!(read(&auth, &proven), Err(Denial::InvalidToken), "it is somebody else");
    assert_eq!(auth.claim("nobody").expect("it is enabled").0, None);
}

#[test]
fn users_see_themselves_and_root_sees_all() {
    let auth = enabled();
    let (user, root) = (by("u", auth.revision), by("root", auth.revision));
    let may = |by: &Principal, question: AuthQuestion| {
        auth.judge_request(Some(by), &Request::Auth(question), &Leases::default()).is_ok()
    };
    for (question, allowed) in [
        (AuthQuestion::User("u".into()), true),
        (AuthQuestion::User("root".into()), false),
        (AuthQuestion::Role("r".into()), true),
        (AuthQuestion::Role("root".into()), false),
        (AuthQuestion::Users, false),
        (AuthQuestion::Roles, false),
        (AuthQuestion::Status, false),
    ] {
        assert_eq!(may(&user, question.clone()), allowed, "{question:?}");
        assert!(may(&root, question));
    }
    assert!(auth.judge_request(None, &Request::Status, &Leases::default()).is_ok());
    let transfer = Request::Transfer { to: wire::NodeId(2) };
    let judged = auth.judge_request(Some(&user), &transfer, &Leases::default());
    assert_eq!(judged, Err(Denial::Forbidden));
}

#[test]
fn permissions_are_told_as_they_were_granted() {
    let mut auth = enabled();
    auth.change(&permit("r", Access::ReadWrite, prefix("a"))).expect("a change");
    let Ok(AuthAnswer::Permissions(told)) = auth.answer(&AuthQuestion::Role("r".into())) else {
        panic!("there is such a role");
    };
    let told: Vec<_> = told.into_iter().map(|told| (told.access, told.range)).collect();
    assert_eq!(told, [(Access::ReadWrite, prefix("a")), (Access::Write, prefix("b"))]);
    let revoke = |range| AuthChange::RoleRevoke { role: "r".into(), range };
    assert_eq!(auth.change(&revoke(prefix("a1"))), Err(Denial::PermissionNotGranted));
    assert_eq!(auth.change(&revoke(prefix("a"))), Ok(()));
    let empty = KeyRange { start: "b".into(), end: Some("b".into()) };
    assert_eq!(auth.change(&permit("r", Access::Read, empty)), Err(Denial::Management));
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let mut auth = enabled();
    let entries: Vec<_> =
        auth.take_changes().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    assert!(Auth::restore(&entries).is_ok());
    for (at, (key, _)) in entries.iter().enumerate() {
        let mut without = entries.clone();
        without.remove(at);
        // Without the user nobody misses him; without the rest somebody does.
        assert_eq!(Auth::restore(&without).is_ok(), key == "auu", "without {key:?}");
        let mut longer = entries.clone();
        longer[at].1 = [&longer[at].1[..], b"x"].concat().into();
        assert!(Auth::restore(&longer).is_err(), "{key:?} with something behind");
    }
    let strange = [(Bytes::from_static(b"ax"), Bytes::new())];
    assert!(Auth::restore(&strange).is_err());
}
