//! HTTP/2 and gRPC on the client ports of a real process, byte by byte; what the calls mean is tested
//! without sockets, in the gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use crate::support::http;
use crate::support::process::{Process, cairn};
use crate::support::{TestDir, alone, eventually, free_ports};

const PATIENCE: Duration = Duration::from_secs(10);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames, and the flags used here.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as literals that no table remembers.
fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let headers = headers.iter();
    headers.flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn next_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], payload))
}

fn open(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What `Range` says of this key: the message's bytes.
fn range(port: u16, key: &str) -> Vec<u8> {
    let mut stream = open(port);
    let headers = literals(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.KV/Range"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    let message = [&[0x0a, u8::try_from(key.len()).unwrap()], key.as_bytes()].concat();
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &len, &message].concat();
    let sent = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &headers),
        frame(DATA, END_STREAM, 1, &body),
    ];
    // In pieces, as a slow network has them.
    let sent = sent.concat();
    let (first, rest) = sent.split_at(2);
    stream.write_all(first).unwrap();
    stream.write_all(rest).unwrap();
    loop {
        match next_frame(&mut stream) {
            Some((DATA, message)) => return message,
            Some(_) => {}
            None => panic!("the connection ended without an answer"),
        }
    }
}

#[test]
fn both_client_ports_speak_both_versions_of_http() {
    let _alone = alone();
    let (dir, port) = (TestDir::new(), free_ports());
    let etcd_port = port + 1;
    let mut command = cairn();
    command.args(["serve", "--client-listen", &format!("127.0.0.1:{port}")]);
    command.args(["--etcd-listen", &format!("127.0.0.1:{etcd_port}")]);
    command.arg("--data-dir").arg(dir.path().join("data"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _node = Process::start(&mut command);
    eventually("the node is ready", PATIENCE, || {
        let answer = http::request(port, "GET", "/readyz", &[], b"", PATIENCE).ok()?;
        (answer.status == 200).then_some(())
    });

    let put = http::request(port, "PUT", "/v1/kv/hello", &[], b"world", PATIENCE).unwrap();
    assert_eq!(put.status, 201);
    for port in [port, etcd_port] {
        let message = range(port, "hello");
        assert!(message.windows(5).any(|bytes| bytes == b"world"), "{message:?}");
        let version = http::request(port, "GET", "/version", &[], b"", PATIENCE).unwrap();
        assert_eq!(version.json()["etcdserver"], "3.6.0");
        let found = http::request(port, "GET", "/v1/kv/hello", &[], b"", PATIENCE).unwrap();
        assert_eq!(found.text(), "world");
    }

    // What begins as HTTP/2 and is none is closed, and nobody else notices.
    let mut stream = open(port);
    stream.write_all(&[PREFACE, &[0xff; 100]].concat()).unwrap();
    while next_frame(&mut stream).is_some() {}
    assert!(!range(port, "hello").is_empty());
}
