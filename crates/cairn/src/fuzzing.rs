//! The program's readers of texts and files, for the fuzz targets: what they make of some bytes, in
//! a form that can be compared.

use crate::cli::keys::KeyForm;
use crate::serve::data_dir::Identity;
use crate::up::cluster::{Cluster, Wanted};
use crate::up::news::What;
use crate::{cli, config};

/// What one kind of value made of a text: the value in its plainest form, or what is wrong.
pub type Reading = Result<String, String>;

/// Every setting by name with its effective text, empty where it is not set, of a node whose
/// configuration file holds `text`.
pub fn effective_settings(text: &str) -> Result<Vec<(&'static str, String)>, String> {
    config::fuzzing::effective(text)
}

/// What each kind of value of settings and flags makes of `text`, by the kind's name.
pub fn readings(text: &str) -> Vec<(&'static str, Reading)> {
    let flag_time = cli::units::duration(text).map(|time| format!("{}ms", time.as_millis()));
    let mut readings = config::fuzzing::readings(text);
    readings.push(("flag time", flag_time));
    readings
}

/// A key in hexadecimal on the command line, and how it is shown again.
pub fn hex_key(text: &str) -> Option<(Vec<u8>, String)> {
    let form = KeyForm { hex_keys: true };
    let key = form.parse_bound(text).ok()?;
    Some((key.to_vec(), form.show(&key)))
}

/// A key as it is shown to people.
pub fn shown_key(key: &[u8]) -> String {
    KeyForm { hex_keys: false }.show(key)
}

/// The text that `IDENTITY` of a data directory would be written as, if it was understood.
pub fn identity(text: &str) -> Result<String, String> {
    Identity::parse(text).map(|identity| {
        // Panics if it should not have been accepted.
        identity.journal_id();
        identity.text()
    })
}

/// `cluster.toml` of `cairn up`, carried on with: the text that it would be written as, and the
/// configuration file of each node.
pub fn local_cluster(text: &str) -> Result<(String, Vec<String>), String> {
    let cluster = Cluster::from_toml(text)?.resume(&Wanted::default())?;
    let nodes = cluster.numbers().map(|node| cluster.node_toml(node, "/data", "/tls")).collect();
    Ok((cluster.to_toml(), nodes))
}

/// What a line of a node's log tells `cairn up`, in words.
pub fn log_line(line: &[u8]) -> Option<String> {
    What::from_log_line(line).map(|what| what.words(consensus::Protocol::default()))
}
