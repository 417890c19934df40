//! One source of settings: names to texts, each with its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::settings::SETTINGS;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File { path: PathBuf, line: usize },
    /// A variable of the environment.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A value before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// As it was written; `members` in the form of its flag.
    pub(super) text: String,
    /// Where.
    pub(super) origin: Origin,
}

/// Settings by name. What is absent was not set by this source.
pub(super) type Layer = BTreeMap<&'static str, Raw>;

/// The table's defaults.
pub(super) fn defaults() -> Layer {
    let raw = |text: &str| Raw { text: text.to_owned(), origin: Origin::Default };
    SETTINGS.iter().map(|setting| (setting.name, raw(setting.default))).collect()
}

/// What the environment sets. Other variables that begin with `CAIRN_` are not looked at: container
/// platforms make some up for a service of that name.
pub(super) fn environment(env: &dyn Fn(&str) -> Option<String>) -> Layer {
    let set = |variable: String| {
        env(&variable).map(|text| Raw { text, origin: Origin::Variable(variable) })
    };
    SETTINGS.iter().filter_map(|setting| Some((setting.name, set(setting.variable())?))).collect()
}
