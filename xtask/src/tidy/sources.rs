//! The sources: no file too long, nothing left undone, a page for each error code.

use std::fs;
use std::path::{Path, PathBuf};

/// A file is one thought; beyond this it is a drawer.
const MOST_LINES: usize = 900;

/// Code that a generator writes: nobody reads it from top to bottom.
const GENERATED: [&str; 1] = ["crates/gateways/etcd/src/pb/"];

/// Where our sources are.
const PLACES: [&str; 3] = ["crates", "xtask", "tests"];

pub(super) fn check(root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for place in PLACES {
        for file in files(&root.join(place)) {
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            match fs::read_to_string(&file) {
                Ok(text) => complaints.extend(judge(&name, &text, &pages(root))),
                Err(error) => complaints.push(format!("read {name}: {error}")),
            }
        }
    }
    complaints
}

/// All Rust sources below `place`, in order.
fn files(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(place) else { return found };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Codes that `docs/errors` explains.
fn pages(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join("docs/errors")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".md").map(str::to_owned)).collect()
}

fn judge(name: &str, text: &str, pages: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    let generated = GENERATED.iter().any(|place| name.starts_with(place));
    if lines > MOST_LINES && !generated {
        complaints.push(format!("{name} has {lines} lines, more than {MOST_LINES}: split it"));
    }
    for (at, line) in text.lines().enumerate() {
        for macro_name in ["todo", "unimplemented"] {
            if line.contains(&format!("{macro_name}!(")) {
                complaints.push(format!("{name}:{}: {macro_name}!", at + 1));
            }
        }
    }
    if text.contains(DECLARES_CODES) {
        let missing = codes(text).filter(|code| !pages.iter().any(|page| page == code));
        complaints.extend(missing.map(|code| format!("{name}: docs/errors/{code}.md is missing")));
    }
    complaints
}

/// A file that says so declares error codes, each in the manner of `Self::Locked => "data-locked",`.
const DECLARES_CODES: &str = "//! Every fault has a code, and a page `docs/errors/<code>.md`";

fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, value) = line.split_once(" => \"")?;
        let code = value.strip_suffix("\",")?;
        let kebab = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        (kebab && !code.is_empty()).then_some(code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_undone_is_named() {
        let undone = ["to", "do!()"].concat();
        let text = format!("fn f() {{ {undone} }}\n");
        assert_eq!(judge("a.rs", &text, &[]), ["a.rs:1: todo!"]);
    }

    #[test]
    fn a_long_file_is_named() {
        let text = "x\n".repeat(MOST_LINES + 1);
        assert_eq!(judge("a.rs", &text, &[]).len(), 1);
        assert!(judge("a.rs", "x\n", &[]).is_empty());
        assert!(judge("crates/gateways/etcd/src/pb/a.rs", &text, &[]).is_empty());
    }

    #[test]
    fn a_code_without_a_page_is_named() {
        let text = format!("{DECLARES_CODES}\nSelf::Locked {{ .. }} => \"data-locked\",\n");
        assert_eq!(judge("a.rs", &text, &[]), ["a.rs: docs/errors/data-locked.md is missing"]);
        assert!(judge("a.rs", &text, &["data-locked".to_owned()]).is_empty());
    }
}
