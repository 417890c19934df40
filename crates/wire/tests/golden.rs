//! The bytes of every kind of message. They are what `docs/formats/wire.md` says, and what other
//! releases read and write: a change here is a change of the protocol.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Body, Change, Command, Compare, Consistency,
    DecodeError, Denial, Event, Expiry, Fence, Frame, FrameKind, Granted, Header, Hello,
    HelloError, Hidden, Item, KeyRange, LeaseStatus, MAGIC, Member, MemberChange, MemberDenial,
    Members, NewPart, NodeId, NodeStatus, Op, OpResult, Operand, Operator, PROTOCOL_VERSION, Page,
    Part, PeerStatus, Permission, Principal, Projection, Purpose, Put, Query, Reader, Refusal,
    Remaining, Reply, Request, RequestId, RestoreChunk, Revision, ScrubStage, ScrubStatus, Txn,
    TxnResult, WatchBatch, Welcome, Writer, split_frame,
};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
    digits.chunks(2).map(|pair| byte(pair).expect("hex digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// `value` has these bytes, and they are read as `value`.
fn golden<T: Debug + PartialEq>(
    value: &T,
    bytes: &str,
    encode: impl Fn(&T, &mut Writer),
    decode: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) {
    let bytes = unhex(bytes);
    let mut out = Writer::new();
    encode(value, &mut out);
    assert_eq!(hex(&out.finish()), hex(&bytes), "{value:?}");
    let mut input = Reader::new(Bytes::from(bytes));
    assert_eq!(decode(&mut input).as_ref(), Ok(value));
    assert_eq!(input.remaining(), 0, "{value:?}");
}

fn request(value: &Request, bytes: &str) {
    golden(value, bytes, Request::encode, Request::decode);
}

fn command(body: Body, bytes: &str) {
    let id = RequestId { client: 0x0102, number: 300 };
    let command = Command { id, done_below: 299, since: 128, principal: None, body };
    let head = "02 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ac 02  ab 02  80 01";
    let bytes = format!("{head} {bytes}");
    let encode = |value: &Command, out: &mut Writer| {
        out.raw(&value.encode());
    };
    golden(&command, &bytes, encode, |input| Command::decode(input.rest()));
}

fn answer(value: &Result<(Header, Reply), Refusal>, bytes: &str) {
    golden(value, bytes, Reply::encode_answer, Reply::decode_answer);
}

fn reply(reply: Reply, bytes: &str) {
    let header =
        Header { revision: Revision(300), applied: 512, node: NodeId(2), leader: Some(NodeId(3)) };
    answer(&Ok((header, reply)), &format!("01  ac 02  80 04  02  01 03 {bytes}"));
}

fn item() -> Item {
    Item {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"hello"),
        created: Revision(7),
        modified: Revision(300),
        version: 2,
        lease: 0,
    }
}

fn hidden(bytes: &'static [u8]) -> Hidden {
    Hidden(Bytes::from_static(bytes))
}

fn principal() -> Principal {
    Principal { user: "u".into(), revision: 300 }
}

const ITEM: &str = "01 6b  07  ac 02  02  00  05 68 65 6c 6c 6f";

#[test]
fn numbers() {
    for (value, bytes) in [
        (0, "00"),
        (127, "7f"),
        (128, "80 01"),
        (300, "ac 02"),
        (u64::from(u32::MAX), "ff ff ff ff 0f"),
        (u64::MAX, "ff ff ff ff ff ff ff ff ff 01"),
    ] {
        let encode = |value: &u64, out: &mut Writer| {
            out.varint(*value);
        };
        golden(&value, bytes, encode, |input| input.varint("number"));
    }
}

#[test]
fn greetings() {
    assert_eq!(hex(MAGIC), "43 41 49 52 4e 0d 0a 1a");
    let hello = Hello {
        version: PROTOCOL_VERSION,
        purpose: Purpose::Peer,
        cluster: "prod".into(),
        node: Some(NodeId(1)),
        to: Some(NodeId(2)),
        consensus: "raft".into(),
        address: "a:1".into(),
        journal: 0x0102_0304_0506_0708,
    };
    golden(
        &hello,
        "03 00  01  04 70 72 6f 64  01 01  01 02  04 72 61 66 74  03 61 3a 31
         08 07 06 05 04 03 02 01",
        Hello::encode,
        Hello::decode,
    );
    let (purpose, cluster) = (Purpose::Client, String::new());
    let (consensus, address, journal) = (String::new(), String::new(), 0);
    let hello =
        Hello { purpose, cluster, node: None, to: None, consensus, address, journal, ..hello };
    golden(
        &hello,
        "03 00  02  00  00  00  00  00  00 00 00 00 00 00 00 00",
        Hello::encode,
        Hello::decode,
    );

    let welcome = |value: Result<Welcome, HelloError>, bytes| {
        golden(&value, bytes, Welcome::encode_answer, Welcome::decode_answer);
    };
    let cluster = "prod".into();
    welcome(
        Ok(Welcome { node: NodeId(3), cluster, applied: 300 }),
        "00  03  04 70 72 6f 64  ac 02",
    );
    welcome(Err(HelloError::Version { theirs: 2, ours: 1 }), "01  02 00  01 00");
    let (theirs, ours) = ("a".into(), "b".into());
    welcome(Err(HelloError::Cluster { theirs, ours }), "02  01 61  01 62");
    welcome(Err(HelloError::Node { wanted: NodeId(4), actual: NodeId(5) }), "03  04  05");
    welcome(Err(HelloError::Stranger { node: NodeId(6) }), "04  06");
    welcome(Err(HelloError::NotHere), "05");
    let (theirs, ours) = ("a".to_owned(), "b".to_owned());
    welcome(Err(HelloError::Consensus { theirs, ours }), "06  01 61  01 62");
}

#[test]
fn requests() {
    let range = KeyRange::prefix(Bytes::from_static(b"a"));
    let query = Query {
        range: range.clone(),
        revision: Some(Revision(300)),
        limit: 128,
        projection: Projection::KeysOnly,
    };
    let consistency = Consistency::Linearizable;
    request(&Request::Read { query, consistency }, "01  00  01 61  01 01 62  01 ac 02  80 01  01");
    let query = Query::range(KeyRange::all());
    let consistency = Consistency::Session(Revision(9));
    request(&Request::Read { query: query.clone(), consistency }, "01  01 09  00 00  00  00  00");
    let query = Query { projection: Projection::CountOnly, ..query };
    let consistency = Consistency::Eventual;
    request(&Request::Read { query, consistency }, "01  02  00 00  00  00  02");
    request(&Request::Write(Bytes::from_static(b"\xde\xad")), "02  de ad");
    let watch = Request::Watch { range, from: Revision(300), wait_ms: 5000, previous: true };
    request(&watch, "03  01 61  01 01 62  ac 02  88 27  01");
    request(&Request::Status, "04");
    request(&Request::Transfer { to: NodeId(2) }, "05  02");
    request(&Request::KeepAlive { lease: 300 }, "06  ac 02");
    request(&Request::Lease { lease: 300, keys: true }, "07  ac 02  01");
    request(&Request::Leases, "08");
    request(&Request::Members, "0c");
    request(&Request::Scrub, "0e");
    let (peer_address, client_address) = ("p".to_owned(), "c".to_owned());
    let add = MemberChange::Add {
        peer_address: peer_address.clone(),
        client_address: client_address.clone(),
        part: NewPart::Learner,
        priority: 7,
    };
    request(&Request::ChangeMembers(add), "0d  01  01 70  01 63  01  07");
    let add = MemberChange::Add {
        peer_address: peer_address.clone(),
        client_address: client_address.clone(),
        part: NewPart::Witness,
        priority: 7,
    };
    request(&Request::ChangeMembers(add), "0d  01  01 70  01 63  02  07");
    let node = NodeId(300);
    request(&Request::ChangeMembers(MemberChange::Promote { node }), "0d  02  ac 02");
    let remove = MemberChange::Remove { node, force: false };
    request(&Request::ChangeMembers(remove), "0d  03  ac 02  00");
    let replace = MemberChange::Replace {
        node,
        peer_address: peer_address.clone(),
        client_address: client_address.clone(),
    };
    request(&Request::ChangeMembers(replace), "0d  04  ac 02  01 70  01 63");
    let priority = Some(0);
    let update = MemberChange::Update { node, peer_address, client_address, priority };
    request(&Request::ChangeMembers(update), "0d  05  ac 02  01 70  01 63  01 00");
    let user = || "u".to_owned();
    request(&Request::Auth(AuthQuestion::Status), "09  01");
    request(&Request::Auth(AuthQuestion::User(user())), "09  02  01 75");
    request(&Request::Auth(AuthQuestion::Users), "09  03");
    request(&Request::Auth(AuthQuestion::Role("r".into())), "09  04  01 72");
    request(&Request::Auth(AuthQuestion::Roles), "09  05");
    let password = hidden(b"pw");
    request(&Request::Authenticate { user: user(), password }, "0a  01 75  02 70 77");
    request(&Request::Leases.by(principal()), "0b  01 75  ac 02  08");
}

#[test]
fn commands() {
    let key = || Bytes::from_static(b"k");
    let compare = |operator, operand| Compare::key(key(), operator, operand);
    let kept = Put { key: key(), value: None, lease: None, previous: true };
    let hello = Some(Bytes::from_static(b"hello"));
    let txn = Txn {
        fences: vec![Fence { key: key(), created: Revision(300) }],
        compares: vec![
            compare(Operator::Equal, Operand::Value(Bytes::from_static(b"v"))),
            compare(Operator::NotEqual, Operand::Version(1)),
            compare(Operator::Less, Operand::Created(Revision(2))),
            compare(Operator::Greater, Operand::Modified(Revision(300))),
            compare(Operator::Equal, Operand::Lease(5)),
        ],
        then: vec![
            Op::Put(Put { key: key(), value: hello, lease: Some(5), previous: false }),
            Op::Put(kept),
            Op::delete(KeyRange::single(key())),
            Op::Txn(Txn::default()),
        ],
        otherwise: vec![Op::Read(Query::key(key()))],
    };
    command(
        Body::Txn(txn),
        "01
         01  01 6b  ac 02
         05  01 6b 01 02 6b 00 00  00 01 76     01 6b 01 02 6b 00 01  01 01
             01 6b 01 02 6b 00 02  02 02        01 6b 01 02 6b 00 03  03 ac 02
             01 6b 01 02 6b 00 00  04 05
         04  00  01 6b  00  01 05  01 05 68 65 6c 6c 6f    00  01 6b  01  00  00
             01  01 6b  01 02 6b 00  00                    03  00  00  00  00
         01  02  01 6b  01 02 6b 00  00  00  00",
    );
    command(Body::Txn(Txn::default()), "01  00  00  00  00");
    command(Body::Compact { before: Revision(300) }, "02  ac 02");
    command(Body::Grant { lease: 7, ttl_ms: 300 }, "04  07  ac 02");
    command(Body::Revoke { lease: 300 }, "05  ac 02");
    command(Body::Scrub { id: 300 }, "0a  ac 02");
    let granted = Granted { lease: 7, index: 300 };
    command(Body::Expire(Expiry { epoch: 3, leases: vec![granted] }), "06  03  01  07 ac 02");
    let leases = vec![Remaining { granted, remaining_ms: 300 }];
    command(Body::Checkpoint { epoch: 3, leases }, "07  03  01  07 ac 02 ac 02");
    let (user, role, range) = (|| "u".to_owned(), || "r".to_owned(), || KeyRange::single(key()));
    for (change, bytes) in [
        (AuthChange::Enable { secret: hidden(b"s") }, "01  01 73"),
        (AuthChange::Disable, "02"),
        (AuthChange::UserAdd { user: user(), password: None }, "03  01 75  00"),
        (AuthChange::UserAdd { user: user(), password: Some(hidden(b"h")) }, "03  01 75  01 01 68"),
        (AuthChange::UserDelete { user: user() }, "04  01 75"),
        (AuthChange::UserPassword { user: user(), password: hidden(b"h") }, "05  01 75  01 68"),
        (AuthChange::UserGrant { user: user(), role: role() }, "06  01 75  01 72"),
        (AuthChange::UserRevoke { user: user(), role: role() }, "07  01 75  01 72"),
        (AuthChange::RoleAdd { role: role() }, "08  01 72"),
        (AuthChange::RoleDelete { role: role() }, "09  01 72"),
        (
            AuthChange::RoleGrant {
                role: role(),
                permission: Permission { access: Access::ReadWrite, range: range() },
            },
            "0a  01 72  02  01 6b 01 02 6b 00",
        ),
        (AuthChange::RoleRevoke { role: role(), range: range() }, "0b  01 72  01 6b 01 02 6b 00"),
    ] {
        command(Body::Auth(change), &format!("08  {bytes}"));
    }
    let id = RequestId { client: 1, number: 2 };
    let by = Command {
        id,
        done_below: 2,
        since: 0,
        principal: Some(principal()),
        body: Body::Revoke { lease: 7 },
    };
    let bytes =
        "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  02  02  00  09 01 75 ac 02  05  07";
    assert_eq!(hex(&by.encode()), hex(&unhex(bytes)));
    let chunk = RestoreChunk {
        restore: 0x0a0b,
        sequence: 3,
        items: vec![item()],
        revision: Revision(300),
        last: true,
    };
    let bytes = "03  0b 0a 00 00 00 00 00 00 00 00 00 00 00 00 00 00  03  ac 02  01  01";
    command(Body::Restore(chunk), &format!("{bytes} {ITEM}"));
}

#[test]
fn replies() {
    let page = Page { items: vec![item()], more: true, count: 1 };
    reply(Reply::Page(page.clone()), &format!("01  01 {ITEM}  01  01"));
    reply(Reply::Page(Page { items: Vec::new(), more: false, count: 300 }), "01  00  00  ac 02");
    let results = vec![
        OpResult::Put { previous: None },
        OpResult::Put { previous: Some(item()) },
        OpResult::Deleted { count: 300, previous: vec![item()] },
        OpResult::Read(page),
        OpResult::Txn { succeeded: false, results: vec![OpResult::Put { previous: None }] },
    ];
    let result = TxnResult { revision: Revision(8), succeeded: true, results };
    reply(
        Reply::Written(result),
        &format!(
            "02  08  01  05  00 00  00 01 {ITEM}  01 ac 02 01 {ITEM}  02 01 {ITEM} 01 01
             03  00  01  00 00"
        ),
    );
    let keys = vec![Bytes::from_static(b"k")];
    let status = LeaseStatus { lease: 7, ttl_ms: 300, remaining_ms: 9, keys };
    reply(Reply::Lease(status), "06  07  ac 02  09  01  01 6b");
    reply(Reply::Leases(vec![7, 300]), "07  02  07  ac 02");
    let replaces = Some(NodeId(2));
    let joins = |witness| Part::Joining { replaces, witness };
    let parts =
        [Part::Voter, Part::Learner, joins(false), Part::Leaving, Part::Witness, joins(true)];
    let list = (1..).zip(parts).map(|(node, part)| Member {
        node: NodeId(node),
        client_address: String::new(),
        peer_address: "p".into(),
        part,
        priority: Member::DEFAULT_PRIORITY,
    });
    let members = Members { list: list.collect(), next: NodeId(7) };
    reply(
        Reply::Members { members, node: Some(NodeId(3)) },
        "0a  07  06  01  00  01 70  05  01  02  00  01 70  05  02  03  00  01 70  05  03  01 02
         04  00  01 70  05  04  05  00  01 70  05  05  06  00  01 70  05  06  01 02  01 03",
    );
    let status = AuthAnswer::Status { enabled: true, revision: 300 };
    reply(Reply::Auth(status), "08  01  01  ac 02");
    reply(Reply::Auth(AuthAnswer::Names(vec!["u".into()])), "08  02  01  01 75");
    let range = KeyRange { start: Bytes::from_static(b"k"), end: None };
    let permission = Permission { access: Access::Read, range };
    reply(Reply::Auth(AuthAnswer::Permissions(vec![permission])), "08  03  01  00  01 6b  00");
    reply(Reply::Authenticated(principal()), "09  01 75  ac 02");
    let removed = Change::Delete { key: Bytes::from_static(b"d") };
    let events = vec![
        Event::new(Revision(300), Change::Put(item())),
        Event { previous: Some(item()), ..Event::new(Revision(301), removed) },
    ];
    let batch = WatchBatch { events, next: Revision(302) };
    let bytes = format!("03  ae 02  02  ac 02 00 {ITEM} 00  ad 02 01 01 64 01 {ITEM}");
    reply(Reply::Events(batch), &bytes);
    reply(Reply::Transferring, "05");
    reply(Reply::Scrub(None), "0b  00");
    for (stage, bytes) in [
        (ScrubStage::Running, "01"),
        (ScrubStage::Finished { checksum: 0x0403_0201 }, "02  01 02 03 04"),
        (ScrubStage::Broken { why: "w".into() }, "03  01 77"),
    ] {
        let revision = Revision(300);
        let status =
            ScrubStatus { id: 7, index: 5, revision, elapsed_ms: 8, keys: 3, bytes: 300, stage };
        reply(
            Reply::Scrub(Some(status)),
            &format!("0b  01  07  05  ac 02  08  03  ac 02  {bytes}"),
        );
    }
    let header = Header { revision: Revision(0), applied: 0, node: NodeId(1), leader: None };
    answer(&Ok((header, Reply::Transferring)), "01  00  00  01  00  05");
}

#[test]
fn statuses() {
    let status = NodeStatus {
        node: NodeId(1),
        cluster: "c".into(),
        version: "0.1".into(),
        role: "leader".into(),
        protocol: "zab".into(),
        standing: "s".into(),
        epoch: 4,
        leader: Some(NodeId(1)),
        revision: Revision(300),
        compacted: Revision(2),
        applied: 10,
        commit: 11,
        last: 12,
        durable: 9,
        ready: true,
        trouble: Some("disk".into()),
        notice: Some("slow".into()),
        members: vec![Member {
            node: NodeId(1),
            client_address: "a:1".into(),
            peer_address: "a:2".into(),
            part: Part::Voter,
            priority: Member::DEFAULT_PRIORITY,
        }],
        peers: vec![PeerStatus {
            node: NodeId(2),
            matched: 300,
            state: "probe".into(),
            active: true,
        }],
    };
    reply(
        Reply::Status(Box::new(status)),
        "04  01  01 63  03 30 2e 31  06 6c 65 61 64 65 72  03 7a 61 62  01 73  04  01 01
         ac 02  02  0a  0b  0c  09  01  01 04 64 69 73 6b
         01 04 73 6c 6f 77  01  01  03 61 3a 31  03 61 3a 32  05  01
         01  02  ac 02  05 70 72 6f 62 65  01",
    );
}

#[test]
fn refusals() {
    let why = || "w".to_owned();
    let (asked, compacted, current) = (Revision(1), Revision(300), Revision(2));
    let flag = Some("-f".to_owned());
    let key = || Bytes::from_static(b"k");
    let revision = Revision(300);
    for (refusal, bytes) in [
        (Refusal::NotLeader { leader: None }, "01  00"),
        (Refusal::NotLeader { leader: Some(NodeId(3)) }, "01  01 03"),
        (Refusal::Busy { what: why() }, "02  01 77"),
        (Refusal::Unanswered { why: why() }, "03  01 77"),
        (Refusal::Unavailable { why: why() }, "04  01 77"),
        (Refusal::Compacted { asked, compacted }, "05  01  ac 02"),
        (Refusal::Future { asked, current }, "06  01  02"),
        (
            Refusal::TooLarge { what: why(), size: 300, limit: 2, flag },
            "07  01 77  ac 02  02  01 02 2d 66",
        ),
        (Refusal::TooLarge { what: why(), size: 3, limit: 2, flag: None }, "07  01 77  03  02  00"),
        (Refusal::Invalid { what: why() }, "08  01 77"),
        (Refusal::Expired { id: why() }, "09  01 77"),
        (Refusal::AnswerForgotten { revision }, "0a  ac 02"),
        (Refusal::NotEmpty { revision }, "0b  ac 02"),
        (Refusal::Broken { why: why() }, "0c  01 77"),
        (Refusal::LeaseNotFound { lease: 300 }, "0d  ac 02"),
        (Refusal::LeaseExists { lease: 300 }, "0e  ac 02"),
        (Refusal::KeyNotFound { key: key() }, "0f  01 6b"),
        (Refusal::Fenced { key: key(), created: revision, current: None }, "10  01 6b  ac 02  00"),
        (
            Refusal::Fenced { key: key(), created: revision, current: Some(Revision(7)) },
            "10  01 6b  ac 02  01 07",
        ),
        (Refusal::Member { denial: MemberDenial::NotFound { node: NodeId(300) } }, "12  01  ac 02"),
        (Refusal::Member { denial: MemberDenial::FixedQuorums }, "12  08"),
        (
            Refusal::Member { denial: MemberDenial::TooManyWitnesses { voters: 3, witnesses: 2 } },
            "12  0a  03  02",
        ),
        (
            Refusal::Member { denial: MemberDenial::TooFewData { data: 1, forcible: true } },
            "12  0b  01  01",
        ),
        (Refusal::Denied { denial: Denial::NoUser }, "11  01"),
        (Refusal::Denied { denial: Denial::InvalidToken }, "11  02"),
        (Refusal::Denied { denial: Denial::Forbidden }, "11  03"),
        (Refusal::Denied { denial: Denial::Failed }, "11  04"),
        (Refusal::Denied { denial: Denial::NotEnabled }, "11  05"),
        (Refusal::Denied { denial: Denial::NoRootUser }, "11  06"),
        (Refusal::Denied { denial: Denial::NoRootRole }, "11  07"),
        (Refusal::Denied { denial: Denial::UserExists }, "11  08"),
        (Refusal::Denied { denial: Denial::UserNotFound }, "11  09"),
        (Refusal::Denied { denial: Denial::RoleExists }, "11  0a"),
        (Refusal::Denied { denial: Denial::RoleNotFound }, "11  0b"),
        (Refusal::Denied { denial: Denial::RoleNotGranted }, "11  0c"),
        (Refusal::Denied { denial: Denial::PermissionNotGranted }, "11  0d"),
        (Refusal::Denied { denial: Denial::Management }, "11  0e"),
    ] {
        answer(&Err(refusal), &format!("00  {bytes}"));
    }
}

#[test]
fn frames() {
    // length, crc32 (of all that follows), kind, stream, body
    for (kind, stream, body, bytes) in [
        (FrameKind::Hello, 0, "", "02 00 00 00  be 23 c2 58  01 00"),
        (FrameKind::Welcome, 0, "", "02 00 00 00  7d 70 ef 73  02 00"),
        (FrameKind::Request, 1, "04", "03 00 00 00  13 92 71 e3  03 01 04"),
        (FrameKind::Answer, 300, "00 01 00", "06 00 00 00  e8 68 96 2c  04 ac 02 00 01 00"),
        (FrameKind::Peer, 0, "ff", "03 00 00 00  74 f4 88 d4  05 00 ff"),
    ] {
        let body = unhex(body);
        let encoded = Frame::encode(kind, stream, |out| {
            out.raw(&body);
        });
        assert_eq!(hex(&encoded), hex(&unhex(bytes)), "{kind:?}");
        let mut buffer = BytesMut::from(&encoded[..]);
        let frame = split_frame(&mut buffer).expect("a frame").expect("a whole one");
        assert_eq!((frame.kind, frame.stream, &frame.body[..]), (kind, stream, &body[..]));
        assert!(buffer.is_empty());
    }
}

/// The hex digits of the first example on a page: of each line, what stands before its words.
fn example(page: &str) -> Vec<u8> {
    let text = page.split("```text\n").nth(1).expect("an example");
    let text = text.split("```").next().expect("its end");
    let is_byte = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
    let digits = |line: &str| line.split_whitespace().take_while(is_byte).collect::<String>();
    unhex(&text.lines().map(digits).collect::<String>())
}

#[test]
fn the_example_in_the_documentation_is_right() {
    let page = include_str!("../../../docs/formats/wire.md");
    let mut buffer = BytesMut::from(&example(page)[..]);
    let frame = split_frame(&mut buffer).expect("a frame").expect("a whole one");
    assert!(buffer.is_empty());
    assert_eq!((frame.kind, frame.stream), (FrameKind::Request, 1));
    let request = Request::decode(&mut Reader::new(frame.body)).expect("a request");
    let Request::Write(bytes) = request else { panic!("{request:?}") };
    let expected = Command {
        principal: None,
        id: RequestId { client: 42, number: 3 },
        done_below: 3,
        since: 300,
        body: Body::Txn(Txn::always(vec![Op::put("k", "hello")])),
    };
    assert_eq!(Command::decode(bytes), Ok(expected));
}
