//! What comes from outside and is not our language: nobody panics, nobody waits, nobody else notices.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::{
    Frame, FrameKind, Hello, HelloError, MAGIC, NodeId, PROTOCOL_VERSION, Purpose, Reader, Refusal,
    Reply, Request, Revision, Welcome, split_frame,
};

use super::exchange::Exchange;
use super::hello::{HelloFault, Host, Port};
use super::journals::Journals;
use super::local::{Cluster, Local, PassOn};
use super::mailbox::{Batch, Limits, Mailbox};
use super::metrics::Metrics;
use super::roster::Roster;
use super::test_dir::TestDir;
use super::test_status::published;
use super::{frames, hearing};

const FRAME_LIMIT_BYTES: usize = 100_000;

fn host(dir: &TestDir) -> Host {
    Host::new(NodeId(1), "blue".into(), roster(dir), consensus::Protocol::Raft)
}

/// Two nodes, of which this is the first, and leads.
fn roster(dir: &TestDir) -> Arc<Roster> {
    let journals = Arc::new(Journals::open(dir.path()).unwrap());
    let published = published();
    published.set_leader(Some(NodeId(1)));
    let roster = Roster::new(NodeId(1), &[], journals, published, None);
    let member = |node| wire::Member::unknown(NodeId(node));
    roster.set(Arc::new(wire::Members::first(&[member(1), member(2)])));
    Arc::new(roster)
}

const LIMITS: Limits = Limits { requests: 8, request_bytes: 1 << 20, peer_bytes: 1 << 20 };

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(LIMITS))
}

fn take(mailbox: &Mailbox) -> Batch {
    let mut batch = Batch::default();
    mailbox.take(&mut batch);
    batch
}

fn hello(purpose: Purpose) -> Hello {
    let node = (purpose == Purpose::Peer).then_some(NodeId(2));
    let consensus = node.map_or("", |_| "raft").to_owned();
    Hello {
        version: PROTOCOL_VERSION,
        purpose,
        cluster: "blue".into(),
        node,
        to: None,
        consensus,
        address: String::new(),
        journal: 7,
    }
}

fn greeting(hello: &Hello) -> Vec<u8> {
    let frame = Frame::encode(FrameKind::Hello, 0, |out| hello.encode(out));
    [&MAGIC[..], &frame].concat()
}

/// What a host makes of these first bytes, after which the caller hangs up.
async fn greet(bytes: &[u8], port: Port) -> (Result<Hello, HelloFault>, Vec<u8>) {
    let (mut caller, mut server) = duplex(1 << 20);
    caller.write_all(bytes).await.unwrap();
    caller.shutdown().await.unwrap();
    let dir = TestDir::new();
    let host = host(&dir);
    let mut buffer = BytesMut::new();
    let welcome = host.welcome("10.0.0.9", &mut server, &mut buffer, port, 7).await;
    let result = welcome.map(|(hello, _)| hello);
    drop(server);
    let mut said = Vec::new();
    caller.read_to_end(&mut said).await.unwrap();
    (result, said)
}

fn answer_in(said: &[u8]) -> Result<Welcome, HelloError> {
    let frame = split_frame(&mut BytesMut::from(said)).unwrap().expect("a whole frame");
    Welcome::decode_answer(&mut Reader::new(frame.body)).unwrap()
}

#[tokio::test]
async fn a_good_hello_is_welcome() {
    let (result, said) = greet(&greeting(&hello(Purpose::Peer)), Port::Peer).await;
    assert_eq!(result.unwrap().node, Some(NodeId(2)));
    let welcome = Welcome { node: NodeId(1), cluster: "blue".into(), applied: 7 };
    assert_eq!(answer_in(&said), Ok(welcome));
}

#[tokio::test]
async fn a_wrong_hello_is_told_why() {
    let wrong = [
        Hello { version: PROTOCOL_VERSION + 1, ..hello(Purpose::Peer) },
        Hello { cluster: "green".into(), ..hello(Purpose::Peer) },
        Hello { to: Some(NodeId(2)), ..hello(Purpose::Peer) },
        Hello { node: Some(NodeId(3)), ..hello(Purpose::Peer) },
        Hello { consensus: "zab".into(), ..hello(Purpose::Peer) },
        Hello { node: None, ..hello(Purpose::Peer) },
    ];
    for hello in wrong {
        let (result, said) = greet(&greeting(&hello), Port::Peer).await;
        let Err(HelloFault::Refused(refusal)) = result else { panic!("{hello:?} was taken") };
        assert_eq!(answer_in(&said), Err(refusal));
    }
    let (_, said) = greet(&greeting(&hello(Purpose::Peer)), Port::Client).await;
    assert_eq!(answer_in(&said), Err(HelloError::NotHere));
}

#[tokio::test]
async fn a_torn_or_flipped_hello_is_never_welcome() {
    let good = greeting(&hello(Purpose::Client));
    for end in 0..good.len() {
        let (result, said) = greet(&good[..end], Port::Client).await;
        assert!(matches!(result, Err(HelloFault::Io(_))) && said.is_empty(), "cut at {end}");
    }
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        let (result, _) = greet(&flipped, Port::Client).await;
        assert!(result.is_err(), "flipped at {at}");
    }
}

#[tokio::test]
async fn a_handshake_of_tls_is_told_apart() {
    let client_hello = [0x16, 3, 1, 0, 0xf8, 1, 0, 0, 0xf4, 3, 3];
    for port in [Port::Client, Port::Peer] {
        let (result, said) = greet(&client_hello, port).await;
        assert!(matches!(result, Err(HelloFault::Tls)) && said.is_empty());
    }
}

#[tokio::test]
async fn a_huge_hello_is_refused_by_its_length() {
    let mut huge = MAGIC.to_vec();
    huge.extend_from_slice(&(60_u32 << 20).to_le_bytes());
    huge.extend_from_slice(&[0; 4]);
    let (result, _) = greet(&huge, Port::Peer).await;
    assert!(matches!(result, Err(HelloFault::Garbage(_))));
}

struct Served {
    client: DuplexStream,
    mailbox: Arc<Mailbox>,
    session: JoinHandle<Result<(), String>>,
    ending: watch::Sender<bool>,
}

fn serve() -> Served {
    serve_with(LIMITS)
}

fn serve_with(limits: Limits) -> Served {
    let (client, server) = duplex(1 << 20);
    let mailbox = Arc::new(Mailbox::new(limits));
    let applied = node::metrics::Metrics::default().applied_index;
    let (published, roster) = (published(), roster(&TestDir::new()));
    let door = Local::new(
        Cluster { own: NodeId(1), name: "blue", roster: &roster, connector: None },
        Arc::clone(&mailbox),
        applied,
        published,
        Metrics::new(),
    );
    let (ending, seen) = watch::channel(false);
    let (read, write) = split(server);
    let buffer = BytesMut::new();
    let session = tokio::spawn(frames::serve(
        read,
        write,
        buffer,
        Arc::new(Exchange::new(door, PassOn::Yes, None)),
        FRAME_LIMIT_BYTES,
        seen,
    ));
    Served { client, mailbox, session, ending }
}

fn request(stream: u64, request: &Request) -> Vec<u8> {
    Frame::encode(FrameKind::Request, stream, |out| request.encode(out))
}

/// Lets all other tasks of the runtime do what they can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn read_answers(client: &mut DuplexStream, count: usize) -> Vec<(u64, node::Answer)> {
    let mut buffer = BytesMut::new();
    let mut answers = Vec::new();
    loop {
        while let Some(frame) = split_frame(&mut buffer).unwrap() {
            assert_eq!(frame.kind, FrameKind::Answer);
            let answer = Reply::decode_answer(&mut Reader::new(frame.body)).unwrap();
            answers.push((frame.stream, answer));
        }
        if answers.len() >= count {
            return answers;
        }
        assert!(client.read_buf(&mut buffer).await.unwrap() > 0, "no answer came");
    }
}

#[tokio::test]
async fn answers_go_to_their_requests_in_any_order() {
    let mut served = serve();
    for stream in [7, 9] {
        served.client.write_all(&request(stream, &Request::Status)).await.unwrap();
    }
    settle().await;
    let requests = take(&served.mailbox).requests;
    for incoming in requests.into_iter().rev() {
        let what = format!("ticket {}", incoming.ticket.0);
        incoming.reply_to.answer(Err(Refusal::Busy { what }));
    }
    let mut answers = read_answers(&mut served.client, 2).await;
    answers.sort_by_key(|(stream, _)| *stream);
    for ((stream, answer), expected) in answers.into_iter().zip([(7, 1), (9, 2)]) {
        let what = format!("ticket {}", expected.1);
        assert_eq!((stream, answer), (expected.0, Err(Refusal::Busy { what })));
    }
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection() {
    let huge = Request::Write(Bytes::from(vec![0; FRAME_LIMIT_BYTES]));
    let mut flipped = request(1, &Request::Status);
    flipped[9] ^= 1;
    let garbage: [Vec<u8>; 5] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        flipped,
        Frame::encode(FrameKind::Peer, 0, |out| {
            out.u8(1);
        }),
        request(1, &huge),
    ];
    for bytes in garbage {
        let mut served = serve();
        served.client.write_all(&bytes).await.unwrap();
        let result = served.session.await.unwrap();
        assert!(result.is_err(), "{bytes:?} was taken");
        assert!(take(&served.mailbox).requests.is_empty());
    }
}

#[tokio::test]
async fn every_prefix_of_requests_is_a_clean_end() {
    let bytes = [request(1, &Request::Status), request(2, &Request::Write(Bytes::new()))].concat();
    for end in 0..bytes.len() {
        let mut served = serve();
        served.client.write_all(&bytes[..end]).await.unwrap();
        drop(served.client);
        assert_eq!(served.session.await.unwrap(), Ok(()), "cut at {end}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_what_it_asked() {
    let mut served = serve();
    served.client.write_all(&request(1, &Request::Status)).await.unwrap();
    settle().await;
    let incoming = take(&served.mailbox).requests.pop().expect("one request");
    drop(served.client);
    settle().await;
    let events = take(&served.mailbox).events;
    assert!(
        matches!(events[..], [node::Event::Cancel(ticket)] if ticket == incoming.ticket),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_full_node_is_busy_at_once() {
    let mut served = serve();
    for stream in 1..=9 {
        served.client.write_all(&request(stream, &Request::Status)).await.unwrap();
    }
    let answers = read_answers(&mut served.client, 1).await;
    assert!(matches!(answers[..], [(9, Err(Refusal::Busy { .. }))]), "{answers:?}");
}

#[tokio::test]
async fn watches_beyond_the_limit_are_refused_and_hold_up_nothing_else() {
    let mut served = serve_with(Limits { requests: 4096, ..LIMITS });
    let range = wire::KeyRange::all();
    let watch = Request::Watch { range, from: Revision(1), wait_ms: 60_000, previous: false };
    for stream in 1..=1026 {
        served.client.write_all(&request(stream, &watch)).await.unwrap();
    }
    let refused = read_answers(&mut served.client, 2).await;
    let is_busy = |answer: &node::Answer| matches!(answer, Err(Refusal::Busy { .. }));
    assert!(refused.iter().all(|(stream, answer)| *stream > 1024 && is_busy(answer)));
    served.client.write_all(&request(2000, &Request::Status)).await.unwrap();
    settle().await;
    assert_eq!(take(&served.mailbox).requests.len(), 1025);
}

#[tokio::test]
async fn a_connection_with_much_under_way_is_not_read_until_it_has_room() {
    let mut served = serve_with(Limits { requests: 4096, ..LIMITS });
    for stream in 1..=1500 {
        served.client.write_all(&request(stream, &Request::Status)).await.unwrap();
    }
    settle().await;
    let first = take(&served.mailbox).requests;
    assert_eq!(first.len(), 1024);
    for incoming in first {
        incoming.reply_to.answer(Err(Refusal::Busy { what: "x".into() }));
    }
    assert_eq!(read_answers(&mut served.client, 1024).await.len(), 1024);
    settle().await;
    assert_eq!(take(&served.mailbox).requests.len(), 1500 - 1024);
}

#[tokio::test]
async fn at_the_end_what_is_under_way_is_answered() {
    let mut served = serve();
    served.client.write_all(&request(1, &Request::Status)).await.unwrap();
    settle().await;
    served.ending.send_replace(true);
    settle().await;
    let incoming = take(&served.mailbox).requests.pop().expect("one request");
    incoming.reply_to.answer(Err(Refusal::Busy { what: "x".into() }));
    assert_eq!(read_answers(&mut served.client, 1).await[0].0, 1);
    assert_eq!(served.session.await.unwrap(), Ok(()));
}

fn message(from: u64) -> Vec<u8> {
    let envelope = node::PeerEnvelope {
        cluster: node::peer::fingerprint("blue"),
        from: NodeId(from),
        to: NodeId(1),
        message: node::PeerMessage::NoChunk { group: wire::GroupId(1), fetch: 3 },
    };
    Frame::encode(FrameKind::Peer, 0, |out| envelope.encode(out))
}

#[tokio::test]
async fn a_nodes_messages_reach_the_mailbox_until_it_talks_nonsense() {
    for nonsense in [message(3), request(1, &Request::Status), vec![7; 40]] {
        let (mut caller, server) = duplex(1 << 20);
        let (mailbox, metrics) = (mailbox(), Metrics::new());
        caller.write_all(&[message(2), message(2), nonsense].concat()).await.unwrap();
        let (buffer, stays) = (BytesMut::new(), std::future::pending());
        let result = hearing::hear(server, buffer, NodeId(2), stays, &mailbox, &metrics).await;
        assert!(result.is_err());
        let batch = take(&mailbox);
        assert!(matches!(batch.events[..], [node::Event::PeerLost(NodeId(2))]), "{batch:?}");
    }
}

#[test]
fn small_messages_share_their_blocks() {
    let mut buffer = BytesMut::new();
    let mut held = Vec::new();
    let mut blocks = 0;
    for _ in 0..1000 {
        let before = buffer.capacity();
        frames::make_room(&mut buffer);
        blocks += usize::from(buffer.capacity() > before);
        buffer.extend_from_slice(&[7; 100]);
        held.push(buffer.split().freeze());
    }
    assert!(blocks <= 3, "{blocks} blocks for 100 kB");
}
