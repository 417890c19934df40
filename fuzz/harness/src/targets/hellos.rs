//! The first words on a connection, of the caller and of the called.
//!
//! Each is encoded again to the same. A caller of another release is known by its version alone, and
//! refused for that alone; no caller is let in that says another cluster or another node.

use bytes::Bytes;
use wire::{Hello, HelloError, NodeId, PROTOCOL_VERSION, Purpose, Reader, Welcome};

use super::round_trip;
use crate::{input::Input, seeds};

/// Input: which of the two, its bytes.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let is_answer = input.u8() & 1 == 1;
    let bytes = input.rest();
    if is_answer {
        let decode = Welcome::decode_answer;
        round_trip(bytes, decode, Welcome::encode_answer);
    } else if let Ok(hello) = Hello::decode(&mut Reader::new(Bytes::copy_from_slice(bytes))) {
        if hello.version == PROTOCOL_VERSION {
            round_trip(bytes, Hello::decode, Hello::encode);
        }
        check(&hello);
    }
}

fn check(hello: &Hello) {
    let (cluster, own, member) = ("prod", NodeId(2), |node: NodeId| node.0 <= 3);
    let admits = |node| if member(node) { Ok(()) } else { Err(HelloError::Stranger { node }) };
    match hello.check(cluster, own, "raft", admits) {
        Ok(()) => {
            assert_eq!(hello.version, PROTOCOL_VERSION);
            assert!(hello.to.is_none_or(|to| to == own), "it means another node");
            if hello.purpose == Purpose::Peer {
                assert_eq!(hello.cluster, cluster);
                assert_eq!(hello.consensus, "raft");
                assert!(hello.node.is_some_and(|node| member(node) && node != own));
            }
        }
        Err(HelloError::Version { theirs, .. }) => assert_eq!(theirs, hello.version),
        Err(_) => assert_eq!(hello.version, PROTOCOL_VERSION),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (hellos, welcomes) = seeds::hellos();
    let seed = |which: u8| move |bytes: Vec<u8>| [&[which][..], &bytes].concat();
    hellos.into_iter().map(seed(0)).chain(welcomes.into_iter().map(seed(1))).collect()
}
