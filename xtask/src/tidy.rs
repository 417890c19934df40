//! `cargo xtask tidy`: what the compiler does not check.

mod layers;
mod sources;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) fn main() -> ExitCode {
    let root = root();
    let mut complaints = layers::check(&root);
    complaints.extend(sources::check(&root));
    let mut err = io::stderr();
    for complaint in &complaints {
        let _gone = writeln!(err, "tidy: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The workspace's root: where cargo runs us from, or where we were built.
fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}
