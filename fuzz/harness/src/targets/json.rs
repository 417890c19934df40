//! JSON bodies of every path that takes one, and transactions as the command line reads them.
//!
//! What `http` says of answers holds. A transaction that is read is one that can be sent; if it is
//! refused, then in words.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use wire::{Body, Command, RequestId};

use crate::input::Input;
use crate::seeds;

const PATHS: [&str; 4] = ["/", "/v1/txn", "/v1/compact", "/v1/leader"];

/// Input: which path, the body.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let path = PATHS[usize::from(input.u8()) % PATHS.len()];
    let body = input.rest();
    match gateway_http::read_txn(body) {
        Ok(txn) => {
            let id = RequestId { client: 1, number: 1 };
            let command =
                Command { id, done_below: 0, since: 0, principal: None, body: Body::Txn(txn) };
            assert_eq!(Command::decode(command.encode()), Ok(command));
        }
        Err(message) => assert!(!message.is_empty(), "a fault has words"),
    }
    let body = Full::new(Bytes::copy_from_slice(body));
    super::http::check(Request::post(path).body(body).expect("a good request"));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    seeds::json().into_iter().map(|(path, body)| [&[path][..], body.as_bytes()].concat()).collect()
}
