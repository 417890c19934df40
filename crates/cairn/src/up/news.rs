//! What happens to the nodes, as `up` tells it.

use std::time::Duration;

use consensus::Protocol;
use serde_json::Value;

/// Something happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// To which one.
    pub(crate) node: u16,
    /// What.
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It was started.
    Started {
        /// Its process.
        pid: u32,
    },
    /// It has another role.
    Role {
        /// `leader`, `follower`, `candidate`, `pre-candidate` or `in-doubt`.
        role: String,
        /// In this term, round of a ballot, or epoch.
        epoch: u64,
        /// Whom it follows.
        leader: Option<u64>,
    },
    /// It reports an error.
    Error {
        /// Its words.
        words: String,
    },
    /// Its process ended.
    Ended {
        /// How.
        status: String,
        /// The last error that it reported.
        words: Option<String>,
        /// When it is started again, if it is.
        restart_in: Option<Duration>,
    },
}

impl What {
    /// Reads a line of a node's log. Most lines are no news.
    pub(crate) fn from_log_line(line: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(line).ok()?;
        // Fields stand under `fields`, or beside the rest where the log is flattened.
        let field = |name: &str| value.get("fields").and_then(|f| f.get(name)).or(value.get(name));
        if value.get("target").and_then(Value::as_str) == Some("cairn::role") {
            return Some(Self::Role {
                role: field("role").and_then(Value::as_str)?.to_owned(),
                epoch: number(field("epoch")?)?,
                leader: field("leader").and_then(number).filter(|&leader| leader != 0),
            });
        }
        if value.get("level").and_then(Value::as_str) != Some("ERROR") {
            return None;
        }
        let mut words = field("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        for name in ["error", "help"] {
            if let Some(text) = field(name).and_then(Value::as_str) {
                words.extend(["; ", text]);
            }
        }
        Some(Self::Error { words })
    }

    /// In words, after the node's number.
    pub(crate) fn words(&self, protocol: Protocol) -> String {
        let term = protocol.epoch_word();
        match self {
            Self::Started { pid } => format!("was started (pid {pid})"),
            Self::Role { role, epoch, leader } => match (role.as_str(), leader) {
                ("follower", Some(leader)) => format!("follows node {leader} ({term} {epoch})"),
                ("follower", None) => format!("follows nobody ({term} {epoch})"),
                ("candidate" | "pre-candidate", _) => format!("asks for votes ({term} {epoch})"),
                ("in-doubt", _) => {
                    format!("is in doubt of its log, and asks the others ({term} {epoch})")
                }
                (role, _) => format!("is {role} ({term} {epoch})"),
            },
            Self::Error { words } => format!("reports: {words}"),
            Self::Ended { status, words, restart_in } => {
                let mut text = format!("ended ({status})");
                if let Some(words) = words {
                    text.extend([": ", words]);
                }
                if let Some(pause) = restart_in {
                    let seconds = format!("{:.1} s", pause.as_secs_f64());
                    text.extend(["; starting it again in ", &seconds]);
                }
                text
            }
        }
    }
}

/// A number, or text that holds one, such as `n2`.
fn number(value: &Value) -> Option<u64> {
    let from_text =
        |text: &str| text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    value.as_u64().or_else(|| value.as_str().and_then(from_text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<String> {
        What::from_log_line(line.as_bytes()).map(|what| what.words(Protocol::Raft))
    }

    #[test]
    fn roles_are_news() {
        let line = |fields: &str| {
            format!(r#"{{"level":"INFO","target":"cairn::role","fields":{{{fields}}}}}"#)
        };
        let read = |fields: &str| words(&line(fields)).unwrap();
        assert_eq!(read(r#""role":"leader","epoch":4,"leader":2"#), "is leader (term 4)");
        assert_eq!(read(r#""role":"follower","epoch":4,"leader":"n2""#), "follows node 2 (term 4)");
        assert_eq!(read(r#""role":"follower","epoch":4"#), "follows nobody (term 4)");
        assert_eq!(read(r#""role":"candidate","epoch":5"#), "asks for votes (term 5)");
        let flat = r#"{"target":"cairn::role","role":"leader","epoch":1,"leader":1}"#;
        assert_eq!(words(flat).unwrap(), "is leader (term 1)");
    }

    #[test]
    fn errors_are_news_and_the_rest_is_not() {
        let line = r#"{"level":"ERROR","target":"x","fields":{"message":"no","error":"disk"}}"#;
        assert_eq!(words(line).unwrap(), "reports: no; disk");
        for line in [r#"{"level":"WARN","fields":{"message":"x"}}"#, "{}", "panic!", "", "\u{0}"] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn an_end_says_how_and_what_then() {
        let ended = What::Ended {
            status: "killed by signal 9".into(),
            words: None,
            restart_in: Some(Duration::from_millis(500)),
        };
        assert_eq!(
            ended.words(Protocol::Zab),
            "ended (killed by signal 9); starting it again in 0.5 s"
        );
    }
}
