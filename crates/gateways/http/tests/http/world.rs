//! A gateway over a store in memory, and requests without sockets.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use client::Client;
use gateway_http::{AnswerBody, Config, Gateway, Introspect};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};

use crate::memory::{Memory, Wire};

/// Small, so that the tests can go over it.
pub(crate) const VALUE_LIMIT_BYTES: usize = 1000;

/// Items of one page.
const PAGE_ITEMS: usize = 1000;

/// Revisions are easier to follow here if the first write makes revision 1. A real store is at 1 while it
/// is empty.
const EMPTY_AT: usize = 0;

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) memory: Arc<Memory>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

struct Fine;

impl Introspect for Fine {
    fn metrics(&self) -> String {
        "# HELP cairn_elections Elections.\n# EOF\n".into()
    }

    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Err("no leader is known".into())
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config { value_limit_bytes: VALUE_LIMIT_BYTES, ..Config::default() })
    }

    pub(crate) fn with(config: Config) -> Self {
        let memory = Memory::new(config.value_limit_bytes, PAGE_ITEMS, EMPTY_AT);
        let wire = Arc::new(Wire(Arc::clone(&memory)));
        let client = Client::new(wire, client::Config::new(7, 1));
        Self {
            gateway: Gateway::new(client, Arc::new(client::Unguarded), Arc::new(Fine), config),
            memory,
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Told {
        let answer = self.open(method, uri, headers, body).await;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Told { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// As [`World::send`], with a body that is not yet read: for streams.
    pub(crate) async fn open(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<AnswerBody> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.gateway.handle(request.body(Full::<Bytes>::new(body.into())).unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Told {
        self.send("GET", uri, &[], "").await
    }

    pub(crate) async fn put(&self, uri: &str, value: impl Into<Bytes>) -> Told {
        self.send("PUT", uri, &[], value).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &str) -> Told {
        self.send("POST", uri, &[], body.to_owned()).await
    }
}

impl Told {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and outcome of a fault of the REST API.
    pub(crate) fn fault(&self) -> (u16, String, String) {
        let json = self.json();
        let word = |name: &str| json["error"][name].as_str().unwrap_or_default().to_owned();
        assert!(!word("message").is_empty(), "a fault has a sentence: {json}");
        (self.status, word("code"), word("outcome"))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// The next piece of a stream; `None` at its end.
pub(crate) async fn next_piece(answer: &mut Response<AnswerBody>) -> Option<String> {
    let frame: Result<_, Infallible> = answer.body_mut().frame().await?;
    let data = frame.unwrap().into_data().unwrap();
    Some(String::from_utf8(data.to_vec()).unwrap())
}
