//! What each finding means, and what to do about it.

use consensus::{LogIndex, Position};
use wire::GroupId;

use super::{Finding, Severity};
use crate::errors::Fault;

const LOOK_AT_THE_DISK: &str =
    "look at the disk (`dmesg`) and at the permissions of the file, then verify again";
const RESTORE: &str = "restore a backup into a new directory (`cairn snapshot restore`): this node is the cluster's only one";
const NOTHING: &str = "nothing; the next start removes it";
const FROM_THE_OTHERS: &str = "start the node, and let all other nodes be reachable: it is repaired from them, and neither votes nor leads before";
const MAKE_IT_DOUBT: &str = "make an empty file `journal/damage` in the data directory, then start the node: so it doubts its journal, and is repaired from the other nodes";

/// What can be done in this cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remedies {
    /// The node is the cluster's only one.
    pub(super) alone: bool,
    /// The journal alone makes up the whole state.
    pub(super) journal_has_all: bool,
}

/// `IDENTITY` can't be used.
pub(super) fn identity(fault: &Fault) -> Finding {
    let what = match fault {
        Fault::IdentityDamaged { what, .. } => what.clone(),
        other => other.to_string(),
    };
    finding("IDENTITY", 0, Severity::Damaged, what, fault.help())
}

impl Remedies {
    /// Something in the journal.
    pub(super) fn journal(self, found: &journal::Finding) -> Finding {
        use journal::Flaw;
        let (severity, what, to_do): (_, String, String) = match &found.flaw {
            Flaw::Damaged(reason) => {
                let what = format!(
                    "what was acknowledged is not as it was written ({reason}), and all behind it is in doubt"
                );
                let to_do = "restore a backup into a new directory; or, to accept the loss, start the node, let it end, move `journal/damage` away and start it again";
                self.of_others(what, to_do)
            }
            Flaw::Marked(earlier) => {
                let what =
                    format!("an earlier start found damage that is not repaired ({earlier})");
                let to_do = "restore a backup into a new directory; or, to accept the loss, move this file away and start the node";
                self.of_others(what, to_do)
            }
            Flaw::CutShort { bytes } => {
                let what = format!(
                    "the segment ends here, at {bytes} bytes, and was made as a multiple of 4096: somebody has cut it"
                );
                let to_do = if self.alone { RESTORE } else { MAKE_IT_DOUBT };
                (Severity::Damaged, what, to_do.to_owned())
            }
            Flaw::TornTail { bytes } => {
                let what = format!(
                    "{bytes} bytes of a write that a crash cut off before it was acknowledged"
                );
                (Severity::Note, what, NOTHING.to_owned())
            }
            Flaw::SetAside => {
                let what = "a segment as it was when damage was found";
                (
                    Severity::Note,
                    what.to_owned(),
                    "remove it once nobody wants to inspect it".into(),
                )
            }
            Flaw::WrongJournal { found, expected } => {
                let what = format!("it belongs to journal {found:016x}, not to {expected:016x}");
                let to_do = "take the file away, or put the right directory in its place";
                (Severity::Damaged, what, to_do.to_owned())
            }
            Flaw::UnknownVersion { version } => {
                let what =
                    format!("it has journal format {version}, which this release does not know");
                (Severity::Damaged, what, "use the release that wrote it".into())
            }
            Flaw::Unreadable { what } => {
                (Severity::Damaged, what.clone(), LOOK_AT_THE_DISK.to_owned())
            }
        };
        finding(&found.file, found.offset, severity, what, to_do)
    }

    /// Something in the engine.
    pub(super) fn engine(self, found: &engine::Finding) -> Finding {
        use engine::Flaw;
        let (severity, what, to_do): (_, String, String) = match &found.flaw {
            Flaw::Damaged { what } => {
                (Severity::Damaged, format!("not as it was written: {what}"), self.rebuild().into())
            }
            Flaw::UnknownFormat => {
                let what = "it is of another release, or none of its files";
                let to_do = format!("use the release that wrote it; or {}", self.rebuild());
                (Severity::Damaged, what.to_owned(), to_do)
            }
            Flaw::Unreadable { what } => {
                (Severity::Damaged, what.clone(), LOOK_AT_THE_DISK.to_owned())
            }
            Flaw::Leftover { what } => (Severity::Note, what.clone(), NOTHING.to_owned()),
        };
        finding(&found.file, found.offset, severity, what, to_do)
    }

    /// The journal begins behind the engine's end.
    pub(super) fn state_missing(
        self,
        path: &str,
        group: GroupId,
        applied: Position,
        base: Position,
    ) -> Finding {
        let what = format!(
            "{group}: the engine ends at entry {}, and the journal begins behind entry {}",
            applied.index, base.index
        );
        let (severity, to_do) = if self.alone {
            let to_do =
                "put the right `engine` directory back, or restore a backup into a new directory";
            (Severity::Damaged, to_do)
        } else {
            (Severity::Heals, "start the node: it fetches a snapshot from another one")
        };
        finding(path, 0, severity, what, to_do)
    }

    /// The engine ends behind the journal's end.
    pub(super) fn log_behind(
        self,
        path: &str,
        group: GroupId,
        applied: Position,
        last: LogIndex,
    ) -> Finding {
        let what = format!(
            "{group}: the engine ends at entry {}, and the journal already at entry {last}",
            applied.index
        );
        let (severity, to_do) = if self.alone {
            (Severity::Damaged, RESTORE)
        } else {
            let to_do = "nothing, after a crash: what the others have acknowledged may be applied before it is in this journal";
            (Severity::Note, to_do)
        };
        finding(path, 0, severity, what, to_do)
    }

    /// Both halves have an entry, and not the same one.
    pub(super) fn halves_differ(
        self,
        path: &str,
        group: GroupId,
        applied: Position,
        held: Position,
    ) -> Finding {
        let what = format!("{group}: the engine has applied {applied}, and the journal has {held}");
        finding(path, 0, Severity::Damaged, what, self.rebuild())
    }

    /// The engine has a group of which the journal knows nothing.
    pub(super) fn log_missing(self, path: &str, group: GroupId, applied: Position) -> Finding {
        let what = format!(
            "{group}: the engine has applied entries up to {}, and the journal knows nothing of the group: its promises are forgotten",
            applied.index
        );
        let to_do = if self.alone { RESTORE } else { MAKE_IT_DOUBT };
        finding(path, 0, Severity::Damaged, what, to_do)
    }

    /// Damage that others can repair, if there are others.
    fn of_others(self, what: String, alone: &str) -> (Severity, String, String) {
        if self.alone {
            (Severity::Damaged, what, alone.to_owned())
        } else {
            (Severity::Heals, what, FROM_THE_OTHERS.to_owned())
        }
    }

    /// How to get the engine's state back.
    fn rebuild(self) -> &'static str {
        match (self.alone, self.journal_has_all) {
            (false, _) => {
                "move the `engine` directory away, and only that one, and start the node: its state is rebuilt from its journal and the other nodes"
            }
            (true, true) => {
                "move the `engine` directory away, and only that one, and start the node: its journal has all that is needed to rebuild the state"
            }
            (true, false) => RESTORE,
        }
    }
}

fn finding(
    file: &str,
    offset: u64,
    severity: Severity,
    what: impl Into<String>,
    to_do: impl Into<String>,
) -> Finding {
    Finding { file: file.to_owned(), offset, severity, what: what.into(), to_do: to_do.into() }
}
