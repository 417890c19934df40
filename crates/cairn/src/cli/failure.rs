//! Why a command failed: in words for people, in JSON for programs, as an exit code for scripts.

use std::path::Path;

use serde_json::json;
use wire::Outcome;

use super::Output;

/// Exit codes. They are part of the interface: scripts rely on them.
pub(crate) mod exit {
    /// The answer is no: the key is absent, or a comparison did not hold.
    pub(crate) const NO: u8 = 1;
    /// The command line or the configuration makes no sense.
    pub(crate) const USAGE: u8 = 2;
    /// Refused or unreachable; nothing has changed.
    pub(crate) const NOT_DONE: u8 = 3;
    /// It may or may not be done.
    pub(crate) const UNKNOWN: u8 = 4;
    /// A file could not be read or written, or is damaged.
    pub(crate) const FILE: u8 = 5;
}

/// A command that did not end as hoped.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process ends with; see [`exit`].
    pub(crate) exit: u8,
    /// A short stable word for programs.
    pub(crate) code: &'static str,
    /// What happened.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// What holds now, if the command was to change something.
    pub(crate) outcome: Option<Outcome>,
}

impl Failure {
    /// The answer is no.
    pub(crate) fn no(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(exit::NO, code, message)
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, "usage", message)
    }

    /// Not done.
    pub(crate) fn not_done(code: &'static str, message: impl Into<String>) -> Self {
        Self { outcome: Some(Outcome::NotDone), ..Self::new(exit::NOT_DONE, code, message) }
    }

    /// It may or may not be done.
    pub(crate) fn unknown(code: &'static str, message: impl Into<String>) -> Self {
        Self { outcome: Some(Outcome::Unknown), ..Self::new(exit::UNKNOWN, code, message) }
    }

    /// Not begun, for what stands in the way is named.
    pub(crate) fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(exit::NOT_DONE, code, message)
    }

    /// A file is not what it should be.
    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(exit::FILE, "damaged", message)
    }

    /// A file could not be used.
    pub(crate) fn file(path: &Path, action: &str, error: &std::io::Error) -> Self {
        Self::new(exit::FILE, "file", format!("{action} {}: {error}", path.display()))
    }

    fn new(exit: u8, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), help: None, outcome: None }
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Its text on stderr, ending in a newline.
    pub(crate) fn text(&self, output: Output) -> String {
        match output {
            Output::Text => {
                let mut text = format!("cairn: {}\n", self.message);
                if let Some(outcome) = self.outcome {
                    text.extend(["  outcome: ", &outcome.to_string(), "\n"]);
                }
                if let Some(help) = &self.help {
                    text.extend(["  help: ", help, "\n"]);
                }
                text
            }
            Output::Json => {
                let mut error = json!({ "code": self.code, "message": self.message });
                if let Some(outcome) = self.outcome {
                    error["outcome"] = outcome.to_string().into();
                }
                if let Some(help) = &self.help {
                    error["help"] = help.as_str().into();
                }
                format!("{}\n", json!({ "error": error, "exit": self.exit }))
            }
        }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let outcome = error.outcome();
        let exit = match outcome {
            Outcome::NotDone => exit::NOT_DONE,
            // Done, but its answer is lost: the caller still has to look.
            Outcome::Unknown | Outcome::Done => exit::UNKNOWN,
        };
        Self {
            exit,
            code: error.code(),
            message: error.to_string(),
            help: help_for(&error).map(Into::into),
            outcome: Some(outcome),
        }
    }
}

/// What the reader of an error can do, where its message does not say.
fn help_for(error: &client::Error) -> Option<&'static str> {
    use wire::{Denial, Refusal};
    match error {
        client::Error::Refused(Refusal::Compacted { .. }) => {
            Some("read at a newer revision, or leave --revision out")
        }
        client::Error::Refused(Refusal::Future { .. }) => {
            Some("`cairn status` shows the newest revision")
        }
        client::Error::Refused(Refusal::NotEmpty { .. }) => {
            Some("restore into a new cluster, with empty data directories")
        }
        client::Error::Refused(Refusal::Fenced { .. }) => {
            Some("the lock is lost: stop what you do under it, and acquire it anew")
        }
        client::Error::Refused(Refusal::Denied {
            denial: Denial::NoUser | Denial::InvalidToken,
        }) => Some(
            "say who you are with --user NAME[:PASSWORD] or CAIRN_USER, or with --cert and --key",
        ),
        client::Error::Refused(Refusal::Denied { denial: Denial::NoRootUser }) => {
            Some("`cairn user add root`, then `cairn user grant-role root root`")
        }
        client::Error::Refused(Refusal::Denied { denial: Denial::NoRootRole }) => {
            Some("`cairn user grant-role root root`")
        }
        client::Error::Refused(Refusal::LeaseNotFound { .. }) => {
            Some("`cairn lease grant` makes a new one")
        }
        client::Error::Refused(Refusal::AnswerForgotten { .. }) | client::Error::Unknown { .. } => {
            Some("read the key to see what holds now, before you repeat the command")
        }
        client::Error::Unavailable { .. } => Some(
            "`cairn status` shows who answers; name the nodes with --endpoints or CAIRN_ENDPOINTS",
        ),
        client::Error::Refused(_) | client::Error::Fatal { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_say_the_same() {
        let failure = Failure::not_done("unavailable", "no node answers").help("start one");
        assert_eq!(
            failure.text(Output::Text),
            "cairn: no node answers\n  outcome: not done\n  help: start one\n"
        );
        assert_eq!(
            failure.text(Output::Json),
            "{\"error\":{\"code\":\"unavailable\",\"help\":\"start one\",\
             \"message\":\"no node answers\",\"outcome\":\"not done\"},\"exit\":3}\n"
        );
    }

    #[test]
    fn outcomes_have_their_exit_codes() {
        let refused = |refusal| Failure::from(client::Error::Refused(refusal)).exit;
        let revision = wire::Revision(7);
        assert_eq!(refused(wire::Refusal::Busy { what: "log".into() }), exit::NOT_DONE);
        assert_eq!(refused(wire::Refusal::Expired { id: "1-1".into() }), exit::UNKNOWN);
        assert_eq!(refused(wire::Refusal::AnswerForgotten { revision }), exit::UNKNOWN);
    }
}
