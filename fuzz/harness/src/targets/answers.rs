//! A node's answer, as a client reads it. It is encoded again to the same.

use wire::Reply;

use super::round_trip;
use crate::seeds;

/// Input: the answer.
pub(super) fn run(data: &[u8]) {
    if let Some(Err(refusal)) = round_trip(data, Reply::decode_answer, Reply::encode_answer) {
        // Whatever a node says of it, a client can show it and tell what holds.
        let _ = (refusal.to_string(), refusal.outcome());
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    seeds::answers()
}
