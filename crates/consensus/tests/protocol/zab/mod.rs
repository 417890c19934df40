//! Zab: its scripts, and one test for each claim of its papers.

mod paper;
pub(crate) mod print;

use consensus::zab::{Ack, Link, Message, Notification, Outcome, Standing, Truncate, Vote};
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
    let looking = |leader| {
        let vote = Vote { last: Position::default(), blessed: false, leader: ReplicaId(leader) };
        let standing = Standing::Looking(vote);
        Message::Notification(Notification { round: 1, epoch, standing })
    };
    let (round, last, link) = (0, LogIndex(9), Link::default());
    match kind {
        "looking" => looking(1),
        "vote-for-stranger" => looking(9),
        "truncate-forwards" => {
            let (from, to) = (position(1, 1), position(2, 1));
            Message::Truncate(Truncate { epoch, from, to, round, last, link })
        }
        "follower-info" => Message::FollowerInfo { epoch, in_doubt: false },
        "commit" => Message::Commit { epoch, position: position(1, 99) },
        "ack-of-more" => {
            let outcome = Outcome::Accepted { matched: LogIndex(99) };
            Message::Ack(Ack { epoch, round, link, outcome })
        }
        other => panic!("no such forgery: {other}"),
    }
}
