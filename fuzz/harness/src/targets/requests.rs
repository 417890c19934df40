//! A client's request, as a node meets it.
//!
//! It is encoded again to the same. A node answers it exactly once, within its own deadlines, without
//! stopping, and with something that can be sent; it goes on to serve.

use wire::{Command, Consistency, Query, Reader, Reply, Request, Writer};

use super::round_trip;
use crate::seeds;
use crate::solo::{Solo, VALUE_LIMIT_BYTES};

/// Input: the request.
pub(super) fn run(data: &[u8]) {
    let encode = |request: &Request, out: &mut Writer| request.encode(out);
    let Some(request) = round_trip(data, Request::decode, encode) else { return };
    if let Request::Write(command) = &request {
        check_command(command);
    }
    let mut solo = Solo::new(1);
    for write in seeds::some_writes() {
        solo.ask(write).expect("a write that is in order");
    }
    let answer = solo.ask(request);
    let mut out = Writer::new();
    Reply::encode_answer(&answer, &mut out);
    let sent = Reply::decode_answer(&mut Reader::new(out.finish()));
    assert_eq!(sent, Ok(answer), "an answer arrives as it was given");
    let (query, consistency) = (Query::key("a".into()), Consistency::Linearizable);
    solo.ask(Request::Read { query, consistency }).expect("it goes on to serve");
}

fn check_command(bytes: &[u8]) {
    let decode = |input: &mut Reader| Command::decode(input.rest());
    let encode = |command: &Command, out: &mut Writer| {
        out.raw(&command.encode());
    };
    if let Some(command) = round_trip(bytes, decode, encode) {
        // Refused or not, it says so without a panic.
        let _ = command.check(VALUE_LIMIT_BYTES);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    seeds::requests()
}
