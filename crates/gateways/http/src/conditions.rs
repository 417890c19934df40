//! `If-Match` and `If-None-Match`: an entity tag is the revision of the key's last change.
//!
//! On a write each condition becomes a comparison of the same transaction, so nothing can come in
//! between. On a read they are held against what was read.

use bytes::Bytes;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName};
use wire::{Compare, Operand, Operator, Revision};

use crate::errors::Fault;
use crate::params::{brief, header_text};

/// What must hold of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match: "n"`.
    At(Revision),
    /// `If-None-Match: "n"`.
    NotAt(Revision),
}

impl Condition {
    /// The condition as a comparison in a transaction.
    pub(crate) fn compare(self, key: &Bytes) -> Compare {
        let (operator, operand) = match self {
            Self::Exists => (Operator::Greater, Operand::Version(0)),
            Self::Absent => (Operator::Equal, Operand::Version(0)),
            Self::At(revision) => (Operator::Equal, Operand::Modified(revision)),
            Self::NotAt(revision) => (Operator::NotEqual, Operand::Modified(revision)),
        };
        Compare::key(key.clone(), operator, operand)
    }
}

/// The conditions of a write; all must hold.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Vec<Condition>, Fault> {
    let mut conditions = Vec::new();
    match &tags(headers, &IF_MATCH)?[..] {
        [] => {}
        [Tag::Any] => conditions.push(Condition::Exists),
        [Tag::Revision(revision)] => conditions.push(Condition::At(*revision)),
        _ => return Err(malformed(&IF_MATCH, "`*` or one entity tag such as `\"42\"`")),
    }
    for tag in tags(headers, &IF_NONE_MATCH)? {
        conditions.push(match tag {
            Tag::Any => Condition::Absent,
            Tag::Revision(revision) => Condition::NotAt(revision),
            Tag::Foreign => {
                return Err(malformed(&IF_NONE_MATCH, "`*` or entity tags such as `\"42\"`"));
            }
        });
    }
    Ok(conditions)
}

/// What a conditional read comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The reader has not what was read: send it.
    Send,
    /// The reader has it already.
    NotModified,
    /// The reader wanted another state.
    Failed,
}

/// Holds the conditions of a read against what was read. A tag that is not ours matches nothing, as
/// HTTP has it.
pub(crate) fn of_read(headers: &HeaderMap, current: Revision) -> Result<Freshness, Fault> {
    let matches = |tag: &Tag| match tag {
        Tag::Any => true,
        Tag::Revision(revision) => *revision == current,
        Tag::Foreign => false,
    };
    let wanted = tags(headers, &IF_MATCH)?;
    if !wanted.is_empty() && !wanted.iter().any(matches) {
        return Ok(Freshness::Failed);
    }
    if tags(headers, &IF_NONE_MATCH)?.iter().any(matches) {
        return Ok(Freshness::NotModified);
    }
    Ok(Freshness::Send)
}

enum Tag {
    Any,
    Revision(Revision),
    Foreign,
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Tag>, Fault> {
    let Some(text) = header_text(headers, name.as_str())? else { return Ok(Vec::new()) };
    text.split(',').map(|tag| read_tag(name, tag.trim())).collect()
}

fn read_tag(name: &HeaderName, text: &str) -> Result<Tag, Fault> {
    if text == "*" {
        return Ok(Tag::Any);
    }
    // A cache between us and the client may have weakened the tag.
    let strong = text.strip_prefix("W/").unwrap_or(text);
    let Some(inner) = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        let message = format!(
            "`{name}` takes `*` or an entity tag in double quotes such as `\"42\"`, not `{}`",
            brief(text)
        );
        return Err(Fault::invalid(message));
    };
    // No key was ever changed at revision 0: it means "absent" in a comparison, so it may not slip in.
    Ok(match inner.parse() {
        Ok(revision) if revision > 0 => Tag::Revision(Revision(revision)),
        _ => Tag::Foreign,
    })
}

fn malformed(name: &HeaderName, takes: &str) -> Fault {
    Fault::invalid(format!(
        "on a write `{name}` takes {takes}, with the revision of the key's last change from its `ETag`"
    ))
}
