//! Whatever is encoded is read back; whatever else comes is refused with a name, never a panic.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Body, Change, Command, Compare, Consistency,
    Denial, Event, Expiry, FRAME_HEADER_BYTES, Fence, Frame, FrameError, FrameKind, Granted,
    Header, Hello, HelloError, Hidden, Item, KeyRange, LeaseStatus, MAX_FRAME_BYTES, Member,
    MemberChange, MemberDenial, Members, NewPart, NodeId, NodeStatus, Op, OpResult, Operand,
    Operator, Page, Part, PeerStatus, Permission, Principal, Projection, Purpose, Put, Query,
    Reader, Refusal, Remaining, Reply, Request, RequestId, RestoreChunk, Revision, ScrubStage,
    ScrubStatus, Txn, TxnResult, WatchBatch, Welcome, Writer, split_frame,
};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..300, any::<u64>()]
}

fn revision() -> impl Strategy<Value = Revision> {
    number().prop_map(Revision)
}

fn node() -> impl Strategy<Value = NodeId> {
    number().prop_map(NodeId)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,8}"
}

fn range() -> impl Strategy<Value = KeyRange> {
    (bytes(), option::of(bytes())).prop_map(|(start, end)| KeyRange { start, end })
}

fn query() -> impl Strategy<Value = Query> {
    let projection =
        prop::sample::select(vec![Projection::Full, Projection::KeysOnly, Projection::CountOnly]);
    (range(), option::of(revision()), any::<u32>(), projection).prop_map(
        |(range, revision, limit, projection)| Query { range, revision, limit, projection },
    )
}

fn item() -> impl Strategy<Value = Item> {
    (bytes(), bytes(), revision(), revision(), number(), number()).prop_map(
        |(key, value, created, modified, version, lease)| Item {
            key,
            value,
            created,
            modified,
            version,
            lease,
        },
    )
}

fn page() -> impl Strategy<Value = Page> {
    (vec(item(), 0..4), any::<bool>(), number()).prop_map(|(items, more, count)| Page {
        items,
        more,
        count,
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let operator = prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::Greater,
    ]);
    let operand = prop_oneof![
        bytes().prop_map(Operand::Value),
        number().prop_map(Operand::Version),
        revision().prop_map(Operand::Created),
        revision().prop_map(Operand::Modified),
        number().prop_map(Operand::Lease),
    ];
    (range(), operator, operand).prop_map(|(range, operator, operand)| Compare {
        range,
        operator,
        operand,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (bytes(), option::of(bytes()), option::of(number()), any::<bool>())
            .prop_map(|(key, value, lease, previous)| Op::Put(Put { key, value, lease, previous })),
        (range(), any::<bool>()).prop_map(|(range, previous)| Op::Delete { range, previous }),
        query().prop_map(Op::Read),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let fence = (bytes(), revision()).prop_map(|(key, created)| Fence { key, created });
    let with = |op: BoxedStrategy<Op>| {
        (vec(compare(), 0..4), vec(op.clone(), 0..4), vec(op, 0..4)).prop_map(
            |(compares, then, otherwise)| Txn { compares, then, otherwise, ..Txn::default() },
        )
    };
    let nested = with(op().boxed()).prop_map(Op::Txn);
    (vec(fence, 0..2), with(prop_oneof![4 => op(), 1 => nested].boxed()))
        .prop_map(|(fences, txn)| Txn { fences, ..txn })
}

fn granted() -> impl Strategy<Value = Granted> {
    (number(), number()).prop_map(|(lease, index)| Granted { lease, index })
}

fn principal() -> impl Strategy<Value = Principal> {
    (text(), number()).prop_map(|(user, revision)| Principal { user, revision })
}

fn permission() -> impl Strategy<Value = Permission> {
    let access = prop::sample::select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    (access, range()).prop_map(|(access, range)| Permission { access, range })
}

fn auth_change() -> impl Strategy<Value = AuthChange> {
    let hidden = || bytes().prop_map(Hidden);
    prop_oneof![
        hidden().prop_map(|secret| AuthChange::Enable { secret }),
        Just(AuthChange::Disable),
        (text(), option::of(hidden()))
            .prop_map(|(user, password)| AuthChange::UserAdd { user, password }),
        text().prop_map(|user| AuthChange::UserDelete { user }),
        (text(), hidden()).prop_map(|(user, password)| AuthChange::UserPassword { user, password }),
        (text(), text()).prop_map(|(user, role)| AuthChange::UserGrant { user, role }),
        (text(), text()).prop_map(|(user, role)| AuthChange::UserRevoke { user, role }),
        text().prop_map(|role| AuthChange::RoleAdd { role }),
        text().prop_map(|role| AuthChange::RoleDelete { role }),
        (text(), permission())
            .prop_map(|(role, permission)| AuthChange::RoleGrant { role, permission }),
        (text(), range()).prop_map(|(role, range)| AuthChange::RoleRevoke { role, range }),
    ]
}

fn auth_question() -> impl Strategy<Value = AuthQuestion> {
    prop_oneof![
        Just(AuthQuestion::Status),
        text().prop_map(AuthQuestion::User),
        Just(AuthQuestion::Users),
        text().prop_map(AuthQuestion::Role),
        Just(AuthQuestion::Roles),
    ]
}

fn auth_answer() -> impl Strategy<Value = AuthAnswer> {
    prop_oneof![
        (any::<bool>(), number())
            .prop_map(|(enabled, revision)| AuthAnswer::Status { enabled, revision }),
        vec(text(), 0..3).prop_map(AuthAnswer::Names),
        vec(permission(), 0..3).prop_map(AuthAnswer::Permissions),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let remaining = (granted(), number())
        .prop_map(|(granted, remaining_ms)| Remaining { granted, remaining_ms });
    prop_oneof![
        txn().prop_map(Body::Txn),
        (number(), number()).prop_map(|(lease, ttl_ms)| Body::Grant { lease, ttl_ms }),
        number().prop_map(|lease| Body::Revoke { lease }),
        (number(), vec(granted(), 0..4))
            .prop_map(|(epoch, leases)| Body::Expire(Expiry { epoch, leases })),
        (number(), vec(remaining, 0..4))
            .prop_map(|(epoch, leases)| Body::Checkpoint { epoch, leases }),
        revision().prop_map(|before| Body::Compact { before }),
        number().prop_map(|id| Body::Scrub { id }),
        auth_change().prop_map(Body::Auth),
        (any::<u128>(), number(), vec(item(), 0..4), revision(), any::<bool>()).prop_map(
            |(restore, sequence, items, revision, last)| {
                Body::Restore(RestoreChunk { restore, sequence, items, revision, last })
            }
        ),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let by = (number(), option::of(principal()));
    (any::<u128>(), number(), number(), by, body()).prop_map(
        |(client, number, done_below, (since, principal), body)| Command {
            id: RequestId { client, number },
            done_below,
            since,
            principal,
            body,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let consistency = prop_oneof![
        Just(Consistency::Linearizable),
        revision().prop_map(Consistency::Session),
        Just(Consistency::Eventual),
    ];
    let bare = prop_oneof![
        (query(), consistency)
            .prop_map(|(query, consistency)| Request::Read { query, consistency }),
        command().prop_map(|command| Request::Write(command.encode())),
        (range(), revision(), any::<u32>(), any::<bool>()).prop_map(
            |(range, from, wait_ms, previous)| Request::Watch { range, from, wait_ms, previous }
        ),
        number().prop_map(|lease| Request::KeepAlive { lease }),
        (number(), any::<bool>()).prop_map(|(lease, keys)| Request::Lease { lease, keys }),
        Just(Request::Leases),
        Just(Request::Members),
        member_change().prop_map(Request::ChangeMembers),
        Just(Request::Status),
        Just(Request::Scrub),
        node().prop_map(|to| Request::Transfer { to }),
        auth_question().prop_map(Request::Auth),
        (text(), bytes()).prop_map(|(user, password)| {
            Request::Authenticate { user, password: Hidden(password) }
        }),
    ];
    (option::of(principal()), bare).prop_map(|(principal, request)| match principal {
        Some(principal) => request.by(principal),
        None => request,
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        option::of(node()).prop_map(|leader| Refusal::NotLeader { leader }),
        text().prop_map(|what| Refusal::Busy { what }),
        text().prop_map(|why| Refusal::Unanswered { why }),
        text().prop_map(|why| Refusal::Unavailable { why }),
        (revision(), revision())
            .prop_map(|(asked, compacted)| Refusal::Compacted { asked, compacted }),
        (revision(), revision()).prop_map(|(asked, current)| Refusal::Future { asked, current }),
        (text(), number(), number(), option::of(text()))
            .prop_map(|(what, size, limit, flag)| Refusal::TooLarge { what, size, limit, flag }),
        text().prop_map(|what| Refusal::Invalid { what }),
        text().prop_map(|id| Refusal::Expired { id }),
        revision().prop_map(|revision| Refusal::AnswerForgotten { revision }),
        revision().prop_map(|revision| Refusal::NotEmpty { revision }),
        text().prop_map(|why| Refusal::Broken { why }),
        number().prop_map(|lease| Refusal::LeaseNotFound { lease }),
        number().prop_map(|lease| Refusal::LeaseExists { lease }),
        bytes().prop_map(|key| Refusal::KeyNotFound { key }),
        (bytes(), revision(), option::of(revision()))
            .prop_map(|(key, created, current)| Refusal::Fenced { key, created, current }),
        prop::sample::select(Denial::all().collect::<Vec<_>>())
            .prop_map(|denial| Refusal::Denied { denial }),
        member_denial().prop_map(|denial| Refusal::Member { denial }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let change =
        prop_oneof![item().prop_map(Change::Put), bytes().prop_map(|key| Change::Delete { key }),];
    (revision(), change, option::of(item())).prop_map(|(revision, change, previous)| Event {
        revision,
        change,
        previous,
    })
}

fn status() -> impl Strategy<Value = NodeStatus> {
    let peer = (node(), number(), text(), any::<bool>())
        .prop_map(|(node, matched, state, active)| PeerStatus { node, matched, state, active });
    let names = (node(), text(), text(), text(), option::of(node()), option::of(text()));
    let protocol = (text(), text(), option::of(text()));
    let numbers = (number(), revision(), revision(), number(), number(), number(), number());
    let lists = (any::<bool>(), vec(member(), 0..3), vec(peer, 0..3));
    (names, protocol, numbers, lists).prop_map(|(names, protocol, numbers, lists)| {
        let (protocol, standing, notice) = protocol;
        let (node, cluster, version, role, leader, trouble) = names;
        let (epoch, revision, compacted, applied, commit, last, durable) = numbers;
        let (ready, members, peers) = lists;
        NodeStatus {
            node,
            cluster,
            version,
            role,
            protocol,
            standing,
            epoch,
            leader,
            revision,
            compacted,
            applied,
            commit,
            last,
            durable,
            ready,
            trouble,
            notice,
            members,
            peers,
        }
    })
}

fn scrub_status() -> impl Strategy<Value = ScrubStatus> {
    let stage = prop_oneof![
        Just(ScrubStage::Running),
        any::<u32>().prop_map(|checksum| ScrubStage::Finished { checksum }),
        text().prop_map(|why| ScrubStage::Broken { why }),
    ];
    (number(), number(), revision(), number(), number(), number(), stage).prop_map(
        |(id, index, revision, elapsed_ms, keys, bytes, stage)| ScrubStatus {
            id,
            index,
            revision,
            elapsed_ms,
            keys,
            bytes,
            stage,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let result = prop_oneof![
        option::of(item()).prop_map(|previous| OpResult::Put { previous }),
        (number(), vec(item(), 0..3))
            .prop_map(|(count, previous)| OpResult::Deleted { count, previous }),
        page().prop_map(OpResult::Read),
    ];
    let result = prop_oneof![
        4 => result.clone(),
        1 => (any::<bool>(), vec(result, 0..3))
            .prop_map(|(succeeded, results)| OpResult::Txn { succeeded, results }),
    ];
    let lease = (number(), number(), number(), vec(bytes(), 0..3)).prop_map(
        |(lease, ttl_ms, remaining_ms, keys)| LeaseStatus { lease, ttl_ms, remaining_ms, keys },
    );
    let written = (revision(), any::<bool>(), vec(result, 0..4))
        .prop_map(|(revision, succeeded, results)| TxnResult { revision, succeeded, results });
    let batch =
        (vec(event(), 0..4), revision()).prop_map(|(events, next)| WatchBatch { events, next });
    prop_oneof![
        page().prop_map(Reply::Page),
        lease.prop_map(Reply::Lease),
        vec(number(), 0..4).prop_map(Reply::Leases),
        (vec(member(), 0..4), node(), option::of(node())).prop_map(|(list, next, node)| {
            Reply::Members { members: Members { list, next }, node }
        }),
        auth_answer().prop_map(Reply::Auth),
        principal().prop_map(Reply::Authenticated),
        written.prop_map(Reply::Written),
        batch.prop_map(Reply::Events),
        status().prop_map(|status| Reply::Status(Box::new(status))),
        Just(Reply::Transferring),
        option::of(scrub_status()).prop_map(Reply::Scrub),
    ]
}

fn answer() -> impl Strategy<Value = Result<(Header, Reply), Refusal>> {
    let header = (revision(), number(), node(), option::of(node()))
        .prop_map(|(revision, applied, node, leader)| Header { revision, applied, node, leader });
    prop_oneof![(header, reply()).prop_map(Ok), refusal().prop_map(Err)]
}

fn member() -> impl Strategy<Value = Member> {
    let part = prop_oneof![
        Just(Part::Voter),
        Just(Part::Learner),
        Just(Part::Witness),
        (option::of(node()), any::<bool>())
            .prop_map(|(replaces, witness)| Part::Joining { replaces, witness }),
        Just(Part::Leaving),
    ];
    (node(), text(), text(), part, priority()).prop_map(
        |(node, client_address, peer_address, part, priority)| Member {
            node,
            client_address,
            peer_address,
            part,
            priority,
        },
    )
}

fn priority() -> impl Strategy<Value = u8> {
    0..=Member::HIGHEST_PRIORITY
}

fn member_change() -> impl Strategy<Value = MemberChange> {
    let change = (0..5_u8, node(), text(), text(), any::<bool>(), priority());
    change.prop_map(|(kind, node, peer_address, client_address, flag, priority)| match kind {
        0 => {
            let part = if flag { NewPart::Witness } else { NewPart::Learner };
            MemberChange::Add { peer_address, client_address, part, priority }
        }
        1 => MemberChange::Promote { node },
        2 => MemberChange::Remove { node, force: flag },
        3 => MemberChange::Replace { node, peer_address, client_address },
        _ => {
            let priority = flag.then_some(priority);
            MemberChange::Update { node, peer_address, client_address, priority }
        }
    })
}

fn member_denial() -> impl Strategy<Value = MemberDenial> {
    (0..11_u8, node(), text(), number(), number()).prop_map(|(kind, node, text, a, b)| match kind {
        0 => MemberDenial::NotFound { node },
        1 => MemberDenial::AddressTaken { node, address: text },
        2 => MemberDenial::NotLearner { node },
        3 => MemberDenial::NotCaughtUp { node, matched: a, last: b },
        4 => MemberDenial::NoQuorum { voters: a, active: b, needed: a },
        5 => MemberDenial::LastVoter { node },
        7 => MemberDenial::Unreachable { node },
        6 => MemberDenial::TooMany { what: text, limit: a },
        8 => MemberDenial::TooManyWitnesses { voters: a, witnesses: b },
        9 => MemberDenial::TooFewData { data: a, forcible: b % 2 == 0 },
        _ => MemberDenial::FixedQuorums,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let purpose = prop::sample::select(vec![Purpose::Peer, Purpose::Client]);
    let strategy =
        (purpose, text(), option::of(node()), option::of(node()), text(), text(), number());
    strategy.prop_map(|(purpose, cluster, node, to, consensus, address, journal)| Hello {
        version: wire::PROTOCOL_VERSION,
        purpose,
        cluster,
        node,
        to,
        consensus,
        address,
        journal,
    })
}

fn welcome() -> impl Strategy<Value = Result<Welcome, HelloError>> {
    prop_oneof![
        (node(), text(), number()).prop_map(|(node, cluster, applied)| Ok(Welcome {
            node,
            cluster,
            applied
        })),
        (any::<u16>(), any::<u16>())
            .prop_map(|(theirs, ours)| Err(HelloError::Version { theirs, ours })),
        (text(), text()).prop_map(|(theirs, ours)| Err(HelloError::Cluster { theirs, ours })),
        (node(), node()).prop_map(|(wanted, actual)| Err(HelloError::Node { wanted, actual })),
        node().prop_map(|node| Err(HelloError::Stranger { node })),
        Just(Err(HelloError::NotHere)),
    ]
}

fn encoded(encode: impl FnOnce(&mut Writer)) -> Bytes {
    let mut out = Writer::new();
    encode(&mut out);
    out.finish()
}

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

/// Every decoder of ours is given these bytes; it must come back.
fn feed(bytes: &[u8]) {
    let _ = Request::decode(&mut reader(bytes));
    let _ = Reply::decode_answer(&mut reader(bytes));
    let _ = Hello::decode(&mut reader(bytes));
    let _ = Welcome::decode_answer(&mut reader(bytes));
    let _ = Command::decode(Bytes::copy_from_slice(bytes));
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(frame)) = split_frame(&mut buffer) {
        let _ = Request::decode(&mut Reader::new(frame.body));
    }
}

proptest! {
    #[test]
    fn a_command_is_stamped_as_if_it_had_been_made_so(value in command(), by in principal()) {
        let bare = Command { principal: None, ..value };
        let bytes = bare.encode();
        prop_assert_eq!(Command::principal_of(&bytes), Ok(None));
        let stamped = Command::stamp(&bytes, &by).expect("a command's bytes");
        prop_assert_eq!(Command::principal_of(&stamped), Ok(Some(by.clone())));
        prop_assert_eq!(stamped, Command { principal: Some(by), ..bare }.encode());
    }

    #[test]
    fn requests_come_back(value in request()) {
        let bytes = encoded(|out| value.encode(out));
        prop_assert_eq!(Request::decode(&mut Reader::new(bytes)), Ok(value));
    }

    #[test]
    fn commands_come_back(value in command()) {
        prop_assert_eq!(Command::decode(value.encode()), Ok(value));
    }

    #[test]
    fn answers_come_back(value in answer()) {
        let bytes = encoded(|out| Reply::encode_answer(&value, out));
        prop_assert_eq!(Reply::decode_answer(&mut Reader::new(bytes)), Ok(value));
    }

    #[test]
    fn greetings_come_back(hello in hello(), welcome in welcome()) {
        let bytes = encoded(|out| hello.encode(out));
        prop_assert_eq!(Hello::decode(&mut Reader::new(bytes)), Ok(hello));
        let bytes = encoded(|out| Welcome::encode_answer(&welcome, out));
        prop_assert_eq!(Welcome::decode_answer(&mut Reader::new(bytes)), Ok(welcome));
    }

    /// Cut off anywhere, or with something behind it, a message is refused; the error names a field
    /// and a place within the bytes.
    #[test]
    fn cut_off_messages_are_refused(value in answer(), command in command()) {
        let bytes = encoded(|out| Reply::encode_answer(&value, out));
        for len in 0..bytes.len() {
            let error = Reply::decode_answer(&mut Reader::new(bytes.slice(..len)));
            let error = error.expect_err("it is cut off");
            prop_assert!(!error.what.is_empty() && error.at <= len, "{}", error);
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert!(Reply::decode_answer(&mut reader(&longer)).is_err());
        let bytes = command.encode();
        for len in 0..bytes.len() {
            let error = Command::decode(bytes.slice(..len)).expect_err("it is cut off");
            prop_assert!(!error.what.is_empty() && error.at <= len, "{}", error);
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert!(Command::decode(longer.into()).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        feed(&bytes);
    }

    /// Nearly right bytes reach deeper than random ones.
    #[test]
    fn damaged_messages_never_panic(
        value in answer(),
        request in request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for bytes in [
            encoded(|out| Reply::encode_answer(&value, out)),
            encoded(|out| request.encode(out)),
        ] {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            feed(&bytes);
            if let Ok(Request::Write(command)) = Request::decode(&mut reader(&bytes)) {
                let _ = Command::decode(command);
            }
        }
    }

    /// However the stream is cut into pieces, the same frames come out of it.
    #[test]
    fn frames_survive_any_cut_of_the_stream(
        bodies in vec((number(), vec(any::<u8>(), 0..300)), 1..6),
        pieces in vec(1usize..200, 1..20),
    ) {
        let mut stream = Vec::new();
        for (name, body) in &bodies {
            stream.extend(Frame::encode(FrameKind::Request, *name, |out| {
                out.raw(body);
            }));
        }
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        let mut pieces = pieces.iter().cycle();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let len = (*pieces.next().expect("it cycles")).min(rest.len());
            buffer.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
            while let Some(frame) = split_frame(&mut buffer).expect("frames") {
                found.push((frame.stream, frame.body.to_vec()));
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, bodies);
    }

    /// One flipped bit anywhere never gives another frame.
    #[test]
    fn a_flipped_bit_is_never_taken_in(
        body in vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = Frame::encode(FrameKind::Answer, 9, |out| {
            out.raw(&body);
        });
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut buffer = BytesMut::from(&bytes[..]);
        prop_assert!(!matches!(split_frame(&mut buffer), Ok(Some(_))));
    }

    #[test]
    fn a_prefix_holds_what_begins_with_it(prefix in bytes(), key in bytes()) {
        let range = KeyRange::prefix(prefix.clone());
        prop_assert_eq!(range.contains(&key), key.starts_with(&prefix));
    }

    #[test]
    fn a_single_holds_one_key(key in bytes(), other in bytes()) {
        let range = KeyRange::single(key.clone());
        prop_assert!(range.is_single() && !range.is_empty());
        prop_assert_eq!(range.contains(&other), key == other);
    }
}

#[test]
fn an_unfinished_frame_waits_and_makes_little_room() {
    let whole = Frame::encode(FrameKind::Request, 1, |out| {
        out.raw(&[7; 100]);
    });
    for len in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..len]);
        assert_eq!(split_frame(&mut buffer), Ok(None));
        assert_eq!(buffer.len(), len);
    }
    // A header alone, of the longest frame there is, must not take 64 MiB.
    let len = u32::try_from(MAX_FRAME_BYTES).expect("it fits");
    let mut header = len.to_le_bytes().to_vec();
    header.extend([0; 4]);
    let mut buffer = BytesMut::from(&header[..]);
    assert_eq!(split_frame(&mut buffer), Ok(None));
    assert!(buffer.capacity() <= 1 << 20, "{}", buffer.capacity());
}

#[test]
fn what_is_wrong_with_a_frame_is_said() {
    let split = |bytes: &[u8]| split_frame(&mut BytesMut::from(bytes));
    let with_len = |len: u32| [len.to_le_bytes(), [0; 4]].concat();
    let too_long = MAX_FRAME_BYTES + 1;
    let header = with_len(u32::try_from(too_long).expect("it fits"));
    assert_eq!(split(&header), Err(FrameError::Length { len: too_long }));
    assert_eq!(split(&with_len(0)), Err(FrameError::Length { len: 0 }));
    assert_eq!(split(&with_len(1)), Err(FrameError::Length { len: 1 }));
    let mut frame = Frame::encode(FrameKind::Peer, 0, |_| {});
    frame[4] ^= 1;
    assert_eq!(split(&frame), Err(FrameError::Checksum));
    let mut frame = Frame::encode(FrameKind::Peer, 0, |_| {});
    frame[FRAME_HEADER_BYTES] = 9;
    let crc = crc32fast::hash(&frame[FRAME_HEADER_BYTES..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    let error = split(&frame).expect_err("there is no kind 9").to_string();
    assert_eq!(error, "malformed frame kind at byte 1");
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let varint = |bytes: &[u8]| reader(bytes).varint("number").is_ok();
    let nine = [0xff; 9];
    assert!(varint(&[&nine[..], &[0x01]].concat()));
    assert!(!varint(&[&nine[..], &[0x02]].concat()), "65 bits");
    assert!(!varint(&[&nine[..], &[0x81, 0x00]].concat()), "eleven bytes");
    assert!(!varint(&[0x80]), "cut off");
    assert!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint32("number").is_ok());
    assert!(reader(&[0x80, 0x80, 0x80, 0x80, 0x10]).varint32("number").is_err());
}

#[test]
fn counts_and_lengths_are_believed_only_as_far_as_bytes_follow() {
    // Four thousand million items in five bytes; a byte string of 2^63.
    let mut many = reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(many.list("items", Item::decode).is_err());
    let mut long = reader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]);
    let error = long.bytes("value").expect_err("it is not there");
    assert_eq!(error.to_string(), "malformed value at byte 9");
}

#[test]
fn another_release_is_known_by_its_first_bytes() {
    let mut input = reader(&[9, 0, 0xff, 0xff, 0xff]);
    let hello = Hello::decode(&mut input).expect("the version can be read");
    let error = hello.check("c", NodeId(1), "raft", |_| Ok(())).expect_err("another release");
    assert_eq!(error, HelloError::Version { theirs: 9, ours: wire::PROTOCOL_VERSION });
}
