//! Garbage, truncated and foreign bytes on both ports: the connection ends, the node lives, and the
//! others do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use wire::{
    Frame, FrameKind, Hello, HelloError, MAGIC, NodeId, PROTOCOL_VERSION, Purpose, Reader, Request,
    Welcome, split_frame,
};

use crate::support::cluster::Cluster;
use crate::support::{alone, eventually};

/// Longer than a node may take to turn a caller away.
const PATIENCE: Duration = Duration::from_secs(15);

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes, and reads until the node ends the connection.
fn send(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(port);
    // The node may end the connection before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the node does not hang up");
    }
    answer
}

fn hello(hello: &Hello) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(Frame::encode(FrameKind::Hello, 0, |out| hello.encode(out)));
    bytes
}

fn client_hello(cluster: &str) -> Hello {
    let (version, purpose) = (PROTOCOL_VERSION, Purpose::Client);
    let (cluster, consensus) = (cluster.into(), String::new());
    Hello {
        version,
        purpose,
        cluster,
        node: None,
        to: None,
        consensus,
        address: String::new(),
        journal: 7,
    }
}

/// What a node answers to a hello.
fn greet(port: u16, greeting: &Hello) -> Result<Welcome, HelloError> {
    let mut stream = connect(port);
    stream.write_all(&hello(greeting)).unwrap();
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(frame) = split_frame(&mut buffer).unwrap() {
            assert_eq!(frame.kind, FrameKind::Welcome);
            return Welcome::decode_answer(&mut Reader::new(frame.body)).unwrap();
        }
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the node hung up without an answer");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// Bytes that make no sense, each in another way.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let noise: Vec<u8> =
        (0_u32..5000).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let magic = |rest: &[u8]| [&MAGIC[..], rest].concat();
    let mut flipped = hello(&client_hello("e2e"));
    *flipped.last_mut().unwrap() ^= 1;
    let huge = magic(&[&u32::MAX.to_le_bytes()[..], &[0; 64]].concat());
    let before_hello = Frame::encode(FrameKind::Request, 1, |out| Request::Status.encode(out));
    vec![
        ("noise", noise.clone()),
        ("zeros", vec![0; 5000]),
        ("half a magic word, then noise", [&MAGIC[..4], &noise].concat()),
        ("noise behind the magic word", magic(&noise)),
        ("an empty frame", magic(&[0; 64])),
        ("a frame that says it is huge", huge),
        ("a hello with a flipped bit", flipped),
        ("a request before any hello", magic(&before_hello)),
        ("a request line without end", vec![b'G'; 100_000]),
        ("a broken HTTP request", b"GET / HTTP/9.9\r\n\r\n".to_vec()),
    ]
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    let follower = cluster.numbers().into_iter().find(|&node| node != leader).unwrap();
    let epoch = cluster.status(leader).unwrap()["epoch"].clone();
    for node in [leader, follower] {
        for (what, bytes) in nonsense() {
            for port in [cluster.client_port(node), cluster.peer_port(node)] {
                let answer = send(port, &bytes);
                assert!(answer.len() < 1000, "{what}: {} bytes of answer", answer.len());
            }
        }
        half_sentences(&cluster, node);
    }
    for node in cluster.numbers() {
        assert!(cluster.process(node).is_alive(), "node {node} lives");
        assert!(cluster.is_ready(node), "node {node} serves");
    }
    assert_eq!(cluster.leader(), Some(leader), "nobody had to be elected anew");
    assert_eq!(cluster.status(leader).unwrap()["epoch"], epoch);
    cluster.wait_for_leader();
}

/// Every beginning of a good conversation, broken off.
fn half_sentences(cluster: &Cluster, node: u16) {
    let mut good = hello(&client_hello("e2e"));
    good.extend(Frame::encode(FrameKind::Request, 1, |out| Request::Status.encode(out)));
    for port in [cluster.client_port(node), cluster.peer_port(node)] {
        for end in 0..good.len() {
            connect(port).write_all(&good[..end]).unwrap();
        }
    }
}

#[test]
fn strangers_are_told_why() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    let (client, peer) = (cluster.client_port(1), cluster.peer_port(1));
    for port in [client, peer] {
        let welcome = greet(port, &client_hello("e2e")).unwrap();
        assert_eq!((welcome.node, welcome.cluster.as_str()), (NodeId(1), "e2e"));
        let refused = greet(port, &client_hello("another")).unwrap_err();
        assert!(matches!(&refused, HelloError::Cluster { ours, .. } if ours == "e2e"), "{refused}");
        let newer = Hello { version: PROTOCOL_VERSION + 1, ..client_hello("e2e") };
        let refused = greet(port, &newer).unwrap_err();
        assert!(matches!(refused, HelloError::Version { ours: PROTOCOL_VERSION, .. }), "{refused}");
        let astray = Hello { to: Some(NodeId(2)), ..client_hello("e2e") };
        let refused = greet(port, &astray).unwrap_err();
        assert!(matches!(refused, HelloError::Node { actual: NodeId(1), .. }), "{refused}");
    }
    let node = |number| Hello {
        purpose: Purpose::Peer,
        node: Some(NodeId(number)),
        consensus: "raft".into(),
        ..client_hello("e2e")
    };
    // Who leads knows of every number that was ever given.
    let leader = cluster.wait_for_leader();
    let refused = greet(cluster.peer_port(leader), &node(9)).unwrap_err();
    assert!(matches!(refused, HelloError::Stranger { node: NodeId(9) }), "{refused}");
    // The journal that this one names is not node 2's.
    eventually("node 2 is known", Duration::from_secs(10), || {
        let data = cluster.dir().path().join("node-1/PEERS");
        std::fs::read_to_string(data).is_ok_and(|text| text.contains("\n2 = ")).then_some(())
    });
    let refused = greet(peer, &node(2)).unwrap_err();
    assert!(matches!(refused, HelloError::Forgetful { node: NodeId(2) }), "{refused}");
    let refused = greet(client, &node(2)).unwrap_err();
    assert!(matches!(refused, HelloError::NotHere), "{refused}");
    for node in cluster.numbers() {
        assert!(cluster.process(node).is_alive());
    }
    cluster.wait_for_leader();
}
