//! Zab: its scripts, and one test for each claim of its papers.

mod paper;
pub(crate) mod print;

use std::time::Duration;

use consensus::zab::{
    Ack, AckEpoch, Link, Message, Notification, Outcome, Standing, Truncate, Vote,
};
use consensus::{Epoch, LogIndex, Position, ReplicaId};

use crate::golden;

#[test]
fn scripts() {
    golden::check("tests/scripts/zab");
}

fn position(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round, proposer: 0 } }
}

/// Messages that no correct replica sends, or not then.
pub(crate) fn forged(kind: &str, epoch: Epoch) -> Message {
    let (round, last, link) = (0, LogIndex(9), Link::default());
    match kind {
        "looking" => {
            let vote = Vote {
                last: Position::default(),
                blessed: false,
                witness: false,
                leader: ReplicaId(1),
            };
            let standing = Standing::Looking(vote);
            Message::Notification(Notification { round: 1, epoch, standing })
        }
        "truncate-forwards" => {
            let (from, to) = (position(1, 1), position(2, 1));
            Message::Truncate(Truncate { epoch, from, to, round, last, link })
        }
        "follower-info" => Message::FollowerInfo { epoch, in_doubt: false },
        "binding-beyond-end" => {
            let (last, binding) = (position(1, 1), position(2, 1));
            Message::AckEpoch(AckEpoch { epoch, nonce: 1, promised: true, last, binding, doubt: 0 })
        }
        "commit" => Message::Commit { epoch, position: position(1, 99) },
        "ack-of-more" => {
            let outcome = Outcome::Accepted { matched: LogIndex(99) };
            Message::Ack(Ack { epoch, round, link, outcome, grant: Duration::ZERO })
        }
        other => panic!("no such forgery: {other}"),
    }
}
