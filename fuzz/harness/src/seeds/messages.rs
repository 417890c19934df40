//! What clients and nodes say.

use bytes::Bytes;
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Body, Change, Command, Compare, Consistency,
    Denial, Event, Expiry, Fence, Frame, FrameKind, Granted, Header, Hello, HelloError, Hidden,
    Item, KeyRange, LeaseStatus, MAGIC, Member, MemberChange, Members, NewPart, NodeId, NodeStatus,
    Op, OpResult, Operand, Operator, PROTOCOL_VERSION, Page, Part, PeerStatus, Permission,
    Principal, Projection, Purpose, Put, Query, Refusal, Remaining, Reply, Request, RequestId,
    RestoreChunk, Revision, Txn, TxnResult, WatchBatch, Welcome, Writer,
};

fn bytes(encode: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::new();
    encode(&mut out);
    out.into_vec()
}

fn put(key: &'static str, value: &'static str) -> Op {
    Op::put(key, value)
}

fn command(client: u128, number: u64, body: Body) -> Bytes {
    let id = RequestId { client, number };
    Command { id, done_below: number.saturating_sub(2), since: 0, principal: None, body }.encode()
}

fn txn(client: u128, number: u64, then: Vec<Op>) -> Bytes {
    command(client, number, Body::Txn(Txn::always(then)))
}

fn item(key: &'static str, modified: u64) -> Item {
    Item {
        key: key.into(),
        value: "value".into(),
        created: Revision(1),
        modified: Revision(modified),
        version: 2,
        lease: 0,
    }
}

/// Writes that give a store something to read, delete and watch.
pub(crate) fn some_writes() -> Vec<Request> {
    let then = vec![
        vec![put("a", "1"), put("b", "2")],
        vec![put("a", "3")],
        vec![Op::delete(KeyRange::single("b".into())), put("c/d", "4")],
    ];
    (1..).zip(then).map(|(number, then)| Request::Write(txn(5, number, then))).collect()
}

/// Writes of clients 2 to 6, each done before by some memory of requests.
pub(crate) fn retried_writes() -> Vec<Request> {
    let of_client = |client| (0..3).map(move |number| txn(client, number, vec![put("k", "v")]));
    (2..7).flat_map(of_client).map(Request::Write).collect()
}

/// A chain of commands of every kind.
pub(crate) fn commands() -> Vec<Bytes> {
    let compare = |operator, operand| Compare::key("a".into(), operator, operand);
    let conditional = Txn {
        compares: vec![
            compare(Operator::Equal, Operand::Value("1".into())),
            compare(Operator::NotEqual, Operand::Version(9)),
            compare(Operator::Less, Operand::Created(Revision(5))),
            compare(Operator::Greater, Operand::Modified(Revision(0))),
        ],
        then: vec![put("a", "2"), Op::Read(Query::range(KeyRange::all()))],
        otherwise: vec![Op::delete(KeyRange::prefix("a".into()))],
        fences: vec![Fence { key: "a".into(), created: Revision(2) }],
    };
    let leased = Op::Put(Put { key: "l".into(), value: None, lease: Some(7), previous: true });
    let life = Granted { lease: 7, index: 1 };
    let left = vec![Remaining { granted: life, remaining_ms: 9 }];
    let auth = |number, change| command(7, number, Body::Auth(change));
    let by = |user: &str, bytes: &Bytes| {
        let principal = Principal { user: user.into(), revision: 9 };
        Command::stamp(bytes, &principal).expect("a command")
    };
    let range = KeyRange::prefix("a".into());
    let permission = Permission { access: Access::ReadWrite, range: range.clone() };
    vec![
        txn(1, 1, vec![put("a", "1"), put("b", "1")]),
        txn(1, 1, vec![put("a", "1"), put("b", "1")]),
        command(2, 1, Body::Txn(conditional)),
        txn(1, 2, vec![Op::delete(KeyRange::single("b".into()))]),
        command(3, 1, Body::Compact { before: Revision(2) }),
        command(3, 2, Body::Scrub { id: 7 }),
        txn(4, 1, vec![put("c", "1")]),
        txn(5, 1, vec![put("c", "2")]),
        txn(0, 0, vec![put("c", "3")]),
        command(6, 1, Body::Grant { lease: 7, ttl_ms: 60_000 }),
        txn(6, 2, vec![put("l", "1"), leased, Op::Txn(Txn::always(vec![put("m", "1")]))]),
        command(0, 0, Body::Checkpoint { epoch: 1, leases: left }),
        command(0, 0, Body::Expire(Expiry { epoch: 1, leases: vec![life] })),
        command(6, 3, Body::Revoke { lease: 7 }),
        auth(1, AuthChange::RoleAdd { role: "r".into() }),
        auth(2, AuthChange::RoleGrant { role: "r".into(), permission }),
        auth(3, AuthChange::UserAdd { user: "root".into(), password: Some(hidden("hash")) }),
        auth(4, AuthChange::UserAdd { user: "u".into(), password: None }),
        auth(5, AuthChange::UserGrant { user: "root".into(), role: "root".into() }),
        auth(6, AuthChange::UserGrant { user: "u".into(), role: "r".into() }),
        auth(7, AuthChange::Enable { secret: hidden("secret") }),
        txn(8, 1, vec![put("a", "nobody")]),
        by("u", &txn(8, 2, vec![put("a", "u"), Op::Read(Query::key("b".into()))])),
        by("root", &auth(8, AuthChange::RoleRevoke { role: "r".into(), range })),
        by("u", &txn(8, 3, vec![put("a", "u")])),
        by("root", &auth(9, AuthChange::UserPassword { user: "u".into(), password: hidden("h") })),
        by("root", &auth(10, AuthChange::UserRevoke { user: "u".into(), role: "r".into() })),
        by("root", &auth(11, AuthChange::UserDelete { user: "u".into() })),
        by("root", &auth(12, AuthChange::RoleDelete { role: "r".into() })),
        by("root", &auth(13, AuthChange::Disable)),
        Bytes::from_static(b"of another release"),
    ]
}

fn hidden(text: &'static str) -> Hidden {
    Hidden(text.into())
}

/// A backup's chunks on their way into an empty store.
pub(crate) fn restore() -> Vec<Bytes> {
    let chunk = |sequence, items, last| {
        let revision = Revision(9);
        let chunk = RestoreChunk { restore: 77, sequence, items, revision, last };
        command(6, sequence + 1, Body::Restore(chunk))
    };
    let opened = txn(6, 9, vec![put("a", "after")]);
    vec![
        chunk(0, vec![item("a", 3), item("b", 4)], false),
        chunk(1, vec![item("c", 9)], true),
        opened,
    ]
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let range = KeyRange::prefix("a".into());
    let query = Query {
        range: range.clone(),
        revision: Some(Revision(2)),
        limit: 1,
        projection: Projection::KeysOnly,
    };
    let count = Query { projection: Projection::CountOnly, ..Query::range(KeyRange::all()) };
    let read = |query, consistency| Request::Read { query, consistency };
    let mut requests = vec![
        read(query, Consistency::Linearizable),
        read(Query::range(KeyRange::all()), Consistency::Session(Revision(3))),
        read(Query::key("a".into()), Consistency::Session(Revision(30))),
        read(count, Consistency::Eventual),
        Request::Watch { range: range.clone(), from: Revision(1), wait_ms: 10, previous: false },
        Request::Watch { range, from: Revision(0), wait_ms: 5000, previous: true },
        Request::Status,
        Request::Scrub,
        Request::Transfer { to: NodeId(1) },
        Request::Transfer { to: NodeId(2) },
        Request::KeepAlive { lease: 7 },
        Request::Lease { lease: 7, keys: true },
        Request::Leases,
        Request::Members,
        Request::ChangeMembers(MemberChange::Promote { node: NodeId(4) }),
        Request::ChangeMembers(MemberChange::Add {
            peer_address: "n4:9000".into(),
            client_address: "n4:8000".into(),
            part: NewPart::Witness,
            priority: 7,
        }),
        Request::Auth(AuthQuestion::Status),
        Request::Auth(AuthQuestion::User("u".into())),
        Request::Auth(AuthQuestion::Roles),
        Request::Authenticate { user: "u".into(), password: hidden("pw") },
        Request::Leases.by(Principal { user: "u".into(), revision: 9 }),
    ];
    requests.extend(commands().into_iter().chain(restore()).map(Request::Write));
    requests.iter().map(|request| bytes(|out| request.encode(out))).collect()
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let header =
        Header { revision: Revision(300), applied: 5, node: NodeId(1), leader: Some(NodeId(2)) };
    let page = Page { items: vec![item("a", 3), item("b", 300)], more: true, count: 2 };
    let results = vec![
        OpResult::Put { previous: None },
        OpResult::Deleted { count: 3, previous: vec![] },
        OpResult::Read(page.clone()),
    ];
    let events = vec![
        Event::new(Revision(3), Change::Put(item("a", 3))),
        Event::new(Revision(4), Change::Delete { key: "a".into() }),
    ];
    let replies = [
        Reply::Page(page),
        Reply::Written(TxnResult { revision: Revision(3), succeeded: true, results }),
        Reply::Events(WatchBatch { events, next: Revision(5) }),
        Reply::Status(Box::new(status())),
        Reply::Transferring,
        Reply::Scrub(None),
        Reply::Lease(LeaseStatus {
            lease: 7,
            ttl_ms: 300,
            remaining_ms: 9,
            keys: vec!["l".into()],
        }),
        Reply::Leases(vec![7, 300]),
        Reply::Members {
            members: Members { list: status().members, next: NodeId(4) },
            node: Some(NodeId(1)),
        },
        Reply::Auth(AuthAnswer::Status { enabled: true, revision: 9 }),
        Reply::Auth(AuthAnswer::Names(vec!["root".into()])),
        Reply::Authenticated(Principal { user: "u".into(), revision: 9 }),
    ];
    let answers = replies.into_iter().map(|reply| Ok((header, reply)));
    let answers = answers.chain(refusals().into_iter().map(Err));
    answers.map(|answer| bytes(|out| Reply::encode_answer(&answer, out))).collect()
}

fn refusals() -> Vec<Refusal> {
    let words = || "words".to_owned();
    let revision = Revision(300);
    vec![
        Refusal::NotLeader { leader: Some(NodeId(3)) },
        Refusal::Busy { what: words() },
        Refusal::Unanswered { why: words() },
        Refusal::Unavailable { why: words() },
        Refusal::Compacted { asked: Revision(1), compacted: revision },
        Refusal::Future { asked: revision, current: Revision(1) },
        Refusal::TooLarge { what: words(), size: 300, limit: 2, flag: Some("--flag".into()) },
        Refusal::Invalid { what: words() },
        Refusal::Expired { id: words() },
        Refusal::AnswerForgotten { revision },
        Refusal::LeaseNotFound { lease: 300 },
        Refusal::LeaseExists { lease: 7 },
        Refusal::KeyNotFound { key: "a".into() },
        Refusal::Fenced { key: "a".into(), created: revision, current: Some(Revision(3)) },
        Refusal::NotEmpty { revision },
        Refusal::Denied { denial: Denial::Forbidden },
        Refusal::Broken { why: words() },
    ]
}

fn status() -> NodeStatus {
    NodeStatus {
        node: NodeId(1),
        cluster: "prod".into(),
        version: "0.1.0".into(),
        role: "leader".into(),
        protocol: "raft".into(),
        standing: "term 4".into(),
        epoch: 4,
        leader: Some(NodeId(1)),
        revision: Revision(300),
        compacted: Revision(2),
        applied: 10,
        commit: 11,
        last: 12,
        durable: 9,
        ready: true,
        trouble: Some("no room on the disk".into()),
        notice: Some("it handed leadership to node 2".into()),
        members: vec![Member {
            node: NodeId(1),
            client_address: "n1:8000".into(),
            peer_address: "n1:9000".into(),
            part: Part::Voter,
            priority: Member::DEFAULT_PRIORITY,
        }],
        peers: vec![PeerStatus {
            node: NodeId(2),
            matched: 300,
            state: "replicate".into(),
            active: true,
        }],
    }
}

/// Of callers, and of the called.
pub(crate) fn hellos() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let peer = Hello {
        version: PROTOCOL_VERSION,
        purpose: Purpose::Peer,
        cluster: "prod".into(),
        node: Some(NodeId(1)),
        to: Some(NodeId(2)),
        consensus: "raft".into(),
        address: "n1:9000".into(),
        journal: 7,
    };
    let client = Hello {
        purpose: Purpose::Client,
        cluster: String::new(),
        node: None,
        to: None,
        consensus: String::new(),
        address: String::new(),
        journal: 0,
        ..peer.clone()
    };
    let later = Hello { version: PROTOCOL_VERSION + 1, ..peer.clone() };
    let hellos = [peer, client, later].iter().map(|hello| bytes(|out| hello.encode(out))).collect();
    let (theirs, ours) = ("a".to_owned(), "b".to_owned());
    let welcomes = [
        Ok(Welcome { node: NodeId(3), cluster: "prod".into(), applied: 300 }),
        Err(HelloError::Version { theirs: 2, ours: 1 }),
        Err(HelloError::Cluster { theirs, ours }),
        Err(HelloError::Node { wanted: NodeId(4), actual: NodeId(5) }),
        Err(HelloError::Stranger { node: NodeId(6) }),
        Err(HelloError::NotHere),
        Err(HelloError::Removed { node: NodeId(7) }),
        Err(HelloError::Forgetful { node: NodeId(8) }),
        Err(HelloError::Consensus { theirs: "zab".into(), ours: "raft".into() }),
    ];
    let answer = |welcome| bytes(|out| Welcome::encode_answer(welcome, out));
    (hellos, welcomes.iter().map(answer).collect())
}

/// A stream of one frame of each kind.
pub(crate) fn frames() -> Vec<u8> {
    let (hellos, welcomes) = hellos();
    let (request, answer) = (requests().swap_remove(0), answers().swap_remove(0));
    let peer = super::peers().swap_remove(0);
    let kinds = [
        (FrameKind::Hello, 0, &hellos[0]),
        (FrameKind::Welcome, 0, &welcomes[0]),
        (FrameKind::Request, 1, &request),
        (FrameKind::Answer, 300, &answer),
        (FrameKind::Peer, 0, &peer),
    ];
    let mut stream = Vec::new();
    for (kind, name, body) in kinds {
        stream.extend(Frame::encode(kind, name, |out| {
            out.raw(body);
        }));
    }
    // Behind the rest it is a frame of impossible length.
    stream.extend_from_slice(MAGIC);
    stream
}
