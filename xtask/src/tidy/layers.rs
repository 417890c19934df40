//! The layer cake: each crate depends on lower layers alone, and pure crates on little else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// From this layer on a crate sees everything and is seen by nobody.
const TOOLS: u64 = 9;

/// Below it, siblings do not import one another.
const SIBLINGS_MEET: u64 = 3;

/// From this layer on the store is reached through `client` alone, …
const CLIENT: u64 = 3;

/// … up to the binary, which drives the nodes too.
const BINARY: u64 = 6;

/// What lies behind the client.
const STORE: [&str; 5] = ["consensus", "disk", "journal", "engine", "node"];

/// What a pure crate may use from outside: no clock, no thread, no socket in any of them.
const PURE_ALLOWED: [&str; 6] =
    ["bytes", "thiserror", "crc32fast", "crossbeam-skiplist", "prometheus-client", "siphasher"];

/// A crate of ours.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    layer: u64,
    pure: bool,
    /// What it needs, tests apart.
    needs: Vec<String>,
}

pub(super) fn check(root: &Path) -> Vec<String> {
    match rooms(root) {
        Ok((rooms, mut complaints)) => {
            complaints.extend(judge(&rooms));
            complaints
        }
        Err(complaint) => vec![complaint],
    }
}

fn rooms(root: &Path) -> Result<(BTreeMap<String, Room>, Vec<String>), String> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("run cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("read what cargo metadata says: {error}"))?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let mut rooms = BTreeMap::new();
    let mut complaints = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        match place_of(package) {
            Some(place) => {
                rooms.insert(name, place);
            }
            None => complaints.push(format!(
                "{name} does not declare its layer under [package.metadata.architecture]"
            )),
        }
    }
    Ok((rooms, complaints))
}

fn place_of(package: &Value) -> Option<Room> {
    let place = &package["metadata"]["architecture"];
    let needs = package["dependencies"].as_array()?.iter();
    let needs = needs.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
    let needs = needs.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned));
    Some(Room {
        layer: place["layer"].as_u64()?,
        pure: place["pure"].as_bool()?,
        needs: needs.collect(),
    })
}

fn judge(rooms: &BTreeMap<String, Room>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, room) in rooms.iter().filter(|(_, room)| room.layer < TOOLS) {
        for need in &room.needs {
            let fault = match rooms.get(need) {
                Some(other) => forbidden(room, need, other),
                None if room.pure && !PURE_ALLOWED.contains(&need.as_str()) => Some(
                    "it is pure, and that is not on the short list of what a pure crate may use",
                ),
                None => None,
            };
            if let Some(why) = fault {
                complaints.push(format!("{name} must not depend on {need}: {why}"));
            }
        }
    }
    complaints
}

fn forbidden(room: &Room, need: &str, other: &Room) -> Option<&'static str> {
    if other.layer > room.layer {
        return Some("that is a higher layer");
    }
    if other.layer == room.layer && room.layer < SIBLINGS_MEET {
        return Some("siblings do not import one another");
    }
    if room.pure && !other.pure {
        return Some("it is pure, and that is not");
    }
    if (CLIENT..BINARY).contains(&room.layer) && STORE.contains(&need) {
        return Some("the store is reached through `client` alone");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cake(rooms: &[(&str, u64, bool, &[&str])]) -> Vec<String> {
        let rooms = rooms.iter().map(|(name, layer, pure, needs)| {
            let needs = needs.iter().map(|&need| need.to_owned()).collect();
            ((*name).to_owned(), Room { layer: *layer, pure: *pure, needs })
        });
        judge(&rooms.collect())
    }

    #[test]
    fn lower_layers_may_be_used() {
        let rooms: &[(&str, u64, bool, &[&str])] = &[
            ("wire", 0, true, &["bytes"]),
            ("client", 3, false, &["wire", "tokio"]),
            ("lock", 4, false, &["client", "wire"]),
            ("node", 2, true, &["wire"]),
            ("cairn", 6, false, &["lock", "client", "node"]),
            ("sim", 9, false, &["cairn"]),
        ];
        assert!(cake(rooms).is_empty());
    }

    #[test]
    fn each_way_to_break_a_layer_is_named() {
        let rooms: &[(&str, u64, bool, &[&str])] = &[
            ("wire", 0, true, &["consensus", "tokio"]),
            ("consensus", 0, true, &["client"]),
            ("client", 3, false, &["node"]),
            ("node", 2, true, &[]),
        ];
        assert_eq!(
            cake(rooms),
            [
                "client must not depend on node: the store is reached through `client` alone",
                "consensus must not depend on client: that is a higher layer",
                "wire must not depend on consensus: siblings do not import one another",
                "wire must not depend on tokio: it is pure, and that is not on the short list of \
                 what a pure crate may use",
            ]
        );
    }
}
