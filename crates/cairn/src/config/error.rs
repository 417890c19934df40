//! Why a configuration is refused.

use std::path::PathBuf;

use super::layer::{Origin, Raw};

/// The configuration can't be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What the parser said.
        what: String,
    },
    /// No such setting.
    #[error("{}:{line}: unknown setting `{name}`{}", path.display(), nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value that can't be.
    #[error("{name} = {text:?} ({origin}): {what}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Its value.
        text: String,
        /// Where it came from.
        origin: String,
        /// What is wrong and what was expected.
        what: String,
    },
    /// Settings that don't go together.
    #[error("{what}")]
    Contradiction {
        /// What is wrong and what to do.
        what: String,
    },
}

impl ConfigError {
    pub(super) fn value(name: &'static str, raw: &Raw, what: impl Into<String>) -> Self {
        let origin = match &raw.origin {
            Origin::Default => "by default".to_owned(),
            origin => format!("from {origin}"),
        };
        Self::Value { name, text: raw.text.clone(), origin, what: what.into() }
    }
}
