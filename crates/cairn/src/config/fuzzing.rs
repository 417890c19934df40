//! The configuration as the fuzz targets see it: texts in, texts out.

use std::path::Path;

use super::settings::SETTINGS;
use super::{Config, file, layer, resolve, show, values};

/// Every setting by name with its effective text, empty where it is not set, of a node whose
/// configuration file holds `text`.
pub(crate) fn effective(text: &str) -> Result<Vec<(&'static str, String)>, String> {
    let resolved = || {
        let mut merged = layer::defaults();
        merged.extend(file::parse(Path::new("cairn.toml"), text)?);
        resolve::resolve(merged)
    };
    let config: Config = resolved().map_err(|error: super::ConfigError| error.to_string())?;
    let table = show::table(&config);
    assert_eq!(table.lines().count(), SETTINGS.len(), "one line for each setting: {table}");
    let texts = config.effective.iter().map(|(name, raw)| (*name, raw.text.clone()));
    Ok(texts.collect())
}

/// What each kind of value makes of `text`, by the kind's name.
pub(crate) fn readings(text: &str) -> Vec<(&'static str, Result<String, String>)> {
    let members = |text: &str| {
        let members = values::members(text)?.into_iter();
        let member =
            |m: wire::Member| format!("{}={}@{}", m.node.0, m.client_address, m.peer_address);
        Ok(members.map(member).collect::<Vec<_>>().join(","))
    };
    vec![
        ("size", values::size(text).map(|bytes| format!("{bytes}B"))),
        ("time", values::duration(text).map(|time| format!("{}ms", time.as_millis()))),
        ("number", values::number(text).map(|number| number.to_string())),
        ("cluster", values::cluster(text)),
        ("address", values::address(text)),
        ("members", members(text)),
    ]
}
