//! Files that the program keeps for itself: `IDENTITY` of a data directory, `cluster.toml` of
//! `cairn up`, and the lines of its nodes' logs.
//!
//! A file that is taken is written again as one that is taken, with the same meaning; what `up` makes
//! of it is a configuration that a node takes. What a log line tells is fit to be shown.

use cairn::fuzzing::{effective_settings, identity, local_cluster, log_line};

use crate::input::Input;
use crate::seeds;

/// Input: which of the three, its text.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 3;
    let bytes = input.rest();
    if kind == 2 {
        if let Some(words) = log_line(bytes) {
            assert!(!words.is_empty(), "news have words");
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if kind == 0 {
        match identity(text) {
            Ok(written) => assert_eq!(identity(&written), Ok(written.clone())),
            Err(why) => assert!(!why.is_empty(), "a fault has words"),
        }
        return;
    }
    match local_cluster(text) {
        Ok((written, nodes)) => {
            let again = local_cluster(&written).expect("it wrote this itself");
            assert_eq!(again, (written, nodes.clone()));
            for node in nodes {
                effective_settings(&node).expect("a node takes it");
            }
        }
        Err(why) => assert!(!why.is_empty(), "a fault has words"),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    seeds::node_files()
        .into_iter()
        .map(|(kind, text)| [&[kind][..], text.as_bytes()].concat())
        .collect()
}
