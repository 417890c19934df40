//! Zab's messages as one line each.

use consensus::zab::{Ack, Message, Notification, Outcome, Propose, Standing};

use crate::print::{entries, granted, tail, told_instead};

pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Notification(notification) => self::notification(notification),
        Message::FollowerInfo { epoch, in_doubt } => {
            format!("follower-info accepted={epoch}{}", flag(*in_doubt, " in-doubt"))
        }
        Message::NewEpoch { epoch, .. } => format!("new-epoch {epoch}"),
        Message::AckEpoch(ack) => format!(
            "ack-epoch {} last={}{}{}{}",
            ack.epoch,
            ack.last,
            if ack.binding == ack.last {
                String::new()
            } else {
                format!(" binding={}", ack.binding)
            },
            flag(!ack.promised, " no-promise"),
            flag(ack.doubt != 0, " in-doubt")
        ),
        Message::Truncate(cut) => format!(
            "truncate epoch={} from={} to={}{}",
            cut.epoch,
            cut.from,
            cut.to,
            tail(cut.round, cut.link)
        ),
        Message::Snapshot { epoch, position, round, link, skip, .. } => {
            format!(
                "snapshot epoch={epoch} {position}{}{}",
                tail(*round, *link),
                told_instead(skip.as_deref())
            )
        }
        Message::Propose(propose) => self::propose(propose),
        Message::Ack(ack) => self::ack(ack),
        Message::Commit { epoch, position } => format!("commit epoch={epoch} {position}"),
        Message::HandOver { epoch } => format!("hand-over epoch={epoch}"),
        Message::EpochQuery { epoch, .. } => format!("epoch? accepted={epoch}"),
        Message::EpochReply { epoch, in_doubt, .. } => {
            format!("epoch! accepted={epoch}{}", flag(*in_doubt, " in-doubt"))
        }
    }
}

fn notification(notification: &Notification) -> String {
    let (round, epoch) = (notification.round, notification.epoch);
    match notification.standing {
        Standing::Looking(vote) => format!(
            "looking round={round} vote={} last={}{}{} accepted={epoch}",
            vote.leader,
            vote.last,
            flag(vote.blessed, " blessed"),
            flag(vote.witness, " witness"),
        ),
        Standing::Watching => format!("watching accepted={epoch}"),
        Standing::Following(leader) => format!("following {leader} round={round} accepted={epoch}"),
        Standing::Leading => format!("leading round={round} accepted={epoch}"),
    }
}

fn propose(propose: &Propose) -> String {
    let list = if propose.entries.is_empty() {
        String::new()
    } else {
        format!(" [{}]", entries(&propose.entries))
    };
    format!(
        "propose epoch={} prev={}{list} commit={}{}",
        propose.epoch,
        propose.prev,
        propose.commit,
        tail(propose.round, propose.link)
    )
}

fn ack(ack: &Ack) -> String {
    let outcome = match ack.outcome {
        Outcome::Accepted { matched } => format!("ack {matched}"),
        Outcome::Ends { prev, last } => format!("ends last={last} asked={prev}"),
        Outcome::Fetching => "fetching".to_owned(),
        Outcome::InDoubt { last, .. } => format!("in-doubt last={last}"),
        Outcome::Stale => "stale".to_owned(),
    };
    format!("{outcome} epoch={}{}", ack.epoch, granted(ack.round, ack.link, ack.grant))
}

fn flag(is_set: bool, word: &str) -> &str {
    if is_set { word } else { "" }
}
