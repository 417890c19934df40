//! A node's configuration file.
//!
//! It is taken, or refused in words. A configuration that is taken can be written down with all its
//! effective settings, and comes to the same ones again.

use cairn::fuzzing::effective_settings;

use crate::seeds;

/// Input: the file's text.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let settings = match effective_settings(text) {
        Ok(settings) => settings,
        Err(why) => return assert!(!why.is_empty(), "a fault has words"),
    };
    let set: Vec<_> = settings.iter().filter(|(_, text)| !text.is_empty()).cloned().collect();
    let again = effective_settings(&seeds::toml(&set)).expect("it was taken before");
    assert_eq!(again, settings, "written down it is another");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    seeds::configurations().into_iter().map(String::into_bytes).collect()
}
