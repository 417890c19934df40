//! What may enter the dependency graph: checked with what cargo itself knows, so that it holds
//! wherever the tests run. `deny.toml` has the rules; `cargo deny`, where it is installed, also looks
//! for security advisories.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All crates that are built for this machine.
fn packages() -> Vec<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        _ => panic!("cargo metadata has no packages"),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

/// A list of strings in `deny.toml`.
fn rules(table: &str, list: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let rules: toml::Table = toml::from_str(&text).unwrap();
    let list = rules[table].get(list).and_then(|list| list.as_array()).cloned().unwrap_or_default();
    list.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect()
}

#[test]
fn everything_comes_from_the_registry() {
    for package in packages().iter().filter(|package| !is_ours(package)) {
        assert_eq!(text(package, "source"), REGISTRY, "{}", text(package, "name"));
    }
}

#[test]
fn every_licence_is_one_that_we_accept() {
    let allowed = rules("licenses", "allow");
    for package in packages() {
        let licence = text(&package, "license");
        let name = text(&package, "name");
        assert!(is_accepted(licence, &allowed), "{name} has the licence {licence:?}");
    }
}

#[test]
fn no_crate_is_there_twice() {
    let skipped = rules("bans", "skip");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let (name, version) = (text(&package, "name"), text(&package, "version"));
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    versions.retain(|name, versions| versions.len() > 1 && !skipped.contains(name));
    assert!(versions.is_empty(), "more than one version of: {versions:?}");
}

#[test]
fn each_direct_dependency_has_its_reason() {
    let document = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
    let packages = packages();
    let ours = packages.iter().filter(|package| is_ours(package));
    let direct: BTreeSet<&str> = ours
        .flat_map(|package| package["dependencies"].as_array().into_iter().flatten())
        .filter(|dependency| !dependency["source"].is_null())
        .map(|dependency| text(dependency, "name"))
        .collect();
    let missing: Vec<_> = direct.difference(&documented).collect();
    assert!(missing.is_empty(), "no reason in docs/dependencies.md for {missing:?}");
    let stale: Vec<_> = documented.difference(&direct).collect();
    assert!(stale.is_empty(), "docs/dependencies.md has reasons for {stale:?}, which nobody uses");
}

/// Whether a licence expression (SPDX) can be satisfied with what is allowed.
fn is_accepted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // Old crates write a slash for OR.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let accepted = parser.any();
    accepted == Some(true) && parser.words.is_empty()
}

/// `any := all ("OR" all)*`, `all := one ("AND" one)*`,
/// `one := "(" any ")" | licence ("WITH" exception)?`. `None` is a syntax error.
struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Parser<'_> {
    fn any(&mut self) -> Option<bool> {
        let mut accepted = self.all()?;
        while self.take("OR") {
            accepted |= self.all()?;
        }
        Some(accepted)
    }

    fn all(&mut self) -> Option<bool> {
        let mut accepted = self.one()?;
        while self.take("AND") {
            accepted &= self.one()?;
        }
        Some(accepted)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let accepted = self.any()?;
            return self.take(")").then_some(accepted);
        }
        let mut licence = self.word()?.to_owned();
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.word()?);
        }
        Some(self.allowed.contains(&licence))
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn word(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
    let allowed = allowed.into_iter().map(str::to_owned).collect();
    for (expression, accepted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("(MIT AND GPL-3.0) OR GPL-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
        ("MIT OR", false),
        ("(MIT", false),
        ("MIT MIT", false),
    ] {
        assert_eq!(is_accepted(expression, &allowed), accepted, "{expression}");
    }
}
