//! What the clients did and saw: all that the checkers know.

use std::fmt;

use bytes::Bytes;
use consensus::Time;
use wire::{
    AuthAnswer, AuthChange, AuthQuestion, Consistency, Event, Header, Item, KeyRange, LeaseStatus,
    NodeId, Principal, Revision,
};

/// One thing that a client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads one key.
    Read {
        /// Which.
        key: Bytes,
        /// What the read promises.
        level: Consistency,
    },
    /// Reads all keys with a prefix, one page.
    Scan {
        /// The prefix.
        prefix: Bytes,
        /// What the read promises.
        level: Consistency,
    },
    /// Changes keys, all together or not at all.
    Write(Write),
    /// Waits for changes.
    Watch {
        /// Of which keys.
        range: KeyRange,
        /// From which revision on.
        from: Revision,
        /// Whether to tell what was before.
        previous: bool,
    },
    /// Lets versions go that no read at or above this revision needs.
    Compact {
        /// The oldest revision that stays readable.
        before: Revision,
    },
    /// Has every replica read all that it holds.
    Scrub {
        /// The scrub's name.
        id: u64,
    },
    /// Hands leadership to a node.
    Transfer {
        /// To whom.
        to: NodeId,
    },
    /// Asks for a lease.
    Grant {
        /// Its name.
        lease: u64,
        /// How long it shall live. No two grants of one name ask for the same time.
        ttl_ms: u64,
    },
    /// Ends a lease.
    Revoke {
        /// Which.
        lease: u64,
    },
    /// Keeps a lease alive.
    KeepAlive {
        /// Which.
        lease: u64,
    },
    /// Asks how long a lease has left, and what hangs on it.
    Lease {
        /// Which.
        lease: u64,
    },
    /// Asks which leases there are.
    Leases,
    /// Proves to be somebody.
    Login {
        /// Who.
        user: String,
        /// By this password.
        password: Bytes,
    },
    /// Changes users, roles, or whether they matter.
    Change(AuthChange),
    /// Asks about users and roles.
    Ask(AuthQuestion),
}

/// What the keys of a write are to hang on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hang {
    /// Nothing.
    #[default]
    Nowhere,
    /// This lease.
    On(u64),
    /// What each hung on before; the key must exist.
    AsBefore,
}

/// A conditional change of some keys. Every value in a history is written by one write only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Done only if this key has this value (`None`: is absent).
    pub expect: Option<(Bytes, Option<Bytes>)>,
    /// The new values, `None` for a removal.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
    /// A key that is read in the same transaction: after the changes, or instead of them.
    pub observe: Option<Bytes>,
    /// Where the keys hang afterwards.
    pub hang: Hang,
    /// Done only if this key was created at this revision, and is still there.
    pub fence: Option<(Bytes, Revision)>,
    /// Asked for as a transaction within a transaction.
    pub nested: bool,
}

impl Write {
    /// The same with values that no other write has, to be tried for the `time`th time.
    pub(crate) fn with_other_values(&self, time: u32) -> Action {
        let renew = |(key, value): &(Bytes, Option<Bytes>)| {
            let value = value
                .as_ref()
                .map(|value| Bytes::from([&value[..], format!("-{time}").as_bytes()].concat()));
            (key.clone(), value)
        };
        Action::Write(Self { changes: self.changes.iter().map(renew).collect(), ..self.clone() })
    }
}

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A read's answer.
    Page {
        /// What was found.
        items: Vec<Item>,
        /// Whether the page ends before the range does.
        more: bool,
    },
    /// A write's answer.
    Written {
        /// The store's revision after it.
        revision: Revision,
        /// Whether the expectation held.
        succeeded: bool,
        /// Whether anything was changed: a removal of what was absent changes nothing.
        changed: bool,
        /// What `observe` found, if it was asked for.
        observed: Option<Vec<Item>>,
    },
    /// A watch's answer.
    Events {
        /// What happened.
        events: Vec<Event>,
        /// From where to ask next.
        next: Revision,
    },
    /// How a lease is.
    Lease(LeaseStatus),
    /// Which leases there are.
    Leases(Vec<u64>),
    /// As whom somebody may go on, having proven to be that.
    Proof(Principal),
    /// Something about users and roles.
    Auth(AuthAnswer),
    /// Nothing to be seen.
    Nothing,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended; whether it is done is unknown.
    Pending,
    /// Done, and this was seen.
    Done(Header, Seen),
    /// Not done, for the reason that stands in the word.
    NotDone(String),
    /// It may be done, or may be done later.
    Unknown(String),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who did it. A client does one thing at a time.
    pub client: u32,
    /// As which user; `None` says nothing of that.
    pub principal: Option<Principal>,
    /// What.
    pub action: Action,
    /// When it was begun.
    pub began: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// How.
    pub outcome: Outcome,
}

/// Names an operation: its place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub usize);

/// All operations, in the order in which they were begun.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
    /// What held in the run, and is needed to judge it.
    pub terms: Terms,
}

/// What was agreed before a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Nodes' clocks run as true ones do: leases rest on that.
    pub true_clocks: bool,
    /// The history of so many revisions stays, unless a client lets it go.
    pub retained: Option<u64>,
}

impl History {
    /// A client begins something.
    pub fn begin(
        &mut self,
        (client, principal): (u32, Option<Principal>),
        action: Action,
        now: Time,
    ) -> OpId {
        if let Some(last) = self.operations.last() {
            assert!(last.began <= now, "operations begin in the order of time");
        }
        let (began, ended, outcome) = (now, None, Outcome::Pending);
        self.operations.push(Operation { client, principal, action, began, ended, outcome });
        OpId(self.operations.len() - 1)
    }

    /// It has ended.
    pub fn end(&mut self, id: OpId, outcome: Outcome, now: Time) {
        let operation = &mut self.operations[id.0];
        assert_eq!(operation.outcome, Outcome::Pending, "an operation ends once");
        operation.ended = Some(now);
        operation.outcome = outcome;
    }

    /// The operation of this name.
    pub fn operation(&self, id: OpId) -> &Operation {
        &self.operations[id.0]
    }
}

/// Seconds, to the microsecond.
pub(crate) struct Seconds(pub(crate) Time);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_nanos() / 1000;
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Bytes as people read them, the first of them: our keys and values are text.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 24;
        let (head, tail) = self.0.split_at(self.0.len().min(SHOWN));
        write!(f, "{}", head.escape_ascii())?;
        if tail.is_empty() { Ok(()) } else { write!(f, "…+{}", tail.len()) }
    }
}

struct Value<'a>(&'a Option<Bytes>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{}", Text(value)),
            None => f.write_str("absent"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key, level } => write!(f, "read {} ({})", Text(key), Level(*level)),
            Self::Scan { prefix, level } => {
                write!(f, "scan {}* ({})", Text(prefix), Level(*level))
            }
            Self::Write(write) => write.fmt(f),
            Self::Watch { range, from, .. } => {
                write!(f, "watch {}.. from {from}", Text(&range.start))
            }
            Self::Compact { before } => write!(f, "compact before {before}"),
            Self::Scrub { id } => write!(f, "scrub {id}"),
            Self::Transfer { to } => write!(f, "transfer to {to}"),
            Self::Grant { lease, ttl_ms } => write!(f, "grant {lease} for {ttl_ms} ms"),
            Self::Revoke { lease } => write!(f, "revoke {lease}"),
            Self::KeepAlive { lease } => write!(f, "keep {lease} alive"),
            Self::Lease { lease } => write!(f, "look at lease {lease}"),
            Self::Leases => f.write_str("look at all leases"),
            Self::Login { user, password } => {
                write!(f, "log in as {user} with {}", Text(password))
            }
            Self::Change(change) => write!(f, "{change:?}"),
            Self::Ask(question) => write!(f, "ask for {question:?}"),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write")?;
        for (key, value) in &self.changes {
            write!(f, " {}={}", Text(key), Value(value))?;
        }
        if let Some((key, value)) = &self.expect {
            write!(f, " if {}={}", Text(key), Value(value))?;
        }
        match self.hang {
            Hang::Nowhere => {}
            Hang::On(lease) => write!(f, " on lease {lease}")?,
            Hang::AsBefore => f.write_str(" on its lease")?,
        }
        if let Some((key, created)) = &self.fence {
            write!(f, " under {} of {created}", Text(key))?;
        }
        Ok(())
    }
}

struct Level(Consistency);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Consistency::Linearizable => f.write_str("linearizable"),
            Consistency::Session(revision) => write!(f, "session {revision}"),
            Consistency::Eventual => f.write_str("eventual"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("no answer"),
            Self::Done(header, seen) => {
                write!(f, "{seen} (at {} by {})", header.revision, header.node)
            }
            Self::NotDone(why) => write!(f, "not done: {why}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let items = |f: &mut fmt::Formatter<'_>, items: &[Item]| {
            if items.is_empty() {
                f.write_str("nothing")?;
            }
            for (at, item) in items.iter().take(SHOWN).enumerate() {
                let comma = if at > 0 { ", " } else { "" };
                let (key, value) = (Text(&item.key), Text(&item.value));
                write!(f, "{comma}{key}={value}@{}v{}", item.modified, item.version)?;
            }
            if items.len() > SHOWN {
                write!(f, ", … {} in all", items.len())?;
            }
            Ok(())
        };
        match self {
            Self::Page { items: found, .. } => items(f, found),
            Self::Written { revision, succeeded, observed, .. } => {
                let verdict = if *succeeded { "done" } else { "expectation failed" };
                write!(f, "{verdict} at {revision}")?;
                if let Some(found) = observed {
                    f.write_str(", saw ")?;
                    items(f, found)?;
                }
                Ok(())
            }
            Self::Events { events, next } => write!(f, "{} events, next {next}", events.len()),
            Self::Lease(LeaseStatus { ttl_ms, remaining_ms, keys, .. }) => {
                write!(f, "{remaining_ms} of {ttl_ms} ms, {} keys", keys.len())
            }
            Self::Leases(leases) => write!(f, "leases {leases:?}"),
            Self::Proof(principal) => {
                write!(f, "is {} as of {}", principal.user, principal.revision)
            }
            Self::Auth(answer) => write!(f, "{answer:?}"),
            Self::Nothing => f.write_str("ok"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} .. ", Seconds(self.began))?;
        match self.ended {
            Some(ended) => write!(f, "{}", Seconds(ended))?,
            None => f.write_str("-")?,
        }
        write!(f, "] c{}", self.client)?;
        match &self.principal {
            None => {}
            Some(principal) if principal.is_of_certificate() => {
                write!(f, " as {}", principal.user)?;
            }
            Some(Principal { user, revision }) => {
                write!(f, " as {user} of {revision}")?;
            }
        }
        write!(f, " {} -> {}", self.action, self.outcome)
    }
}
