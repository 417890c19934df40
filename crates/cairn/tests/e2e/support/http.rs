//! The least HTTP that a test needs: one request on one connection. Byte for byte, so that a test
//! sees what the server really sent.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers, as they came.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Its body, which is text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Its body, which is JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

/// Why there was no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The request never left.
    NotSent,
    /// The request left.
    Lost,
}

/// Sends a request to a port of this machine.
pub(crate) fn request(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    patience: Duration,
) -> Result<Answer, NoAnswer> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream =
        TcpStream::connect_timeout(&address, patience).map_err(|_| NoAnswer::NotSent)?;
    let mut bytes =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        bytes.extend([name, ": ", value, "\r\n"]);
    }
    bytes.extend(["Content-Length: ", &body.len().to_string(), "\r\n\r\n"]);
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    exchange(&mut stream, &bytes, patience).map_err(|_| NoAnswer::Lost)
}

fn exchange(stream: &mut TcpStream, bytes: &[u8], patience: Duration) -> io::Result<Answer> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "half an answer"))
}

/// An answer, if it is whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
    match answer.header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if length == answer.body.len() => Some(answer),
        _ => None,
    }
}
