//! The configuration file: TOML, flat but for `members`.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::layer::{Layer, Origin, Raw};
use super::settings::{SETTINGS, Setting};

/// The longest configuration file that is read, in bytes.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Settings of the file at `path`.
pub(super) fn read(path: &Path) -> Result<Layer, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_LIMIT_BYTES {
        return Err(unreadable(std::io::Error::other("it is longer than 1 MiB")));
    }
    parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
}

/// Settings of `text`; `path` is for errors.
pub(super) fn parse(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(span.start)),
        what: error.message().to_owned(),
    })?;
    let mut layer = Layer::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span().start);
        let Some(setting) = Setting::find(key.get_ref()) else {
            return Err(ConfigError::Unknown {
                path: path.to_owned(),
                line,
                name: key.get_ref().to_string(),
                nearest: nearest(key.get_ref(), SETTINGS.iter().map(|setting| setting.name)),
            });
        };
        let line = line_of(value.span().start);
        let origin = Origin::File { path: path.to_owned(), line };
        let text = text_of(setting, value.get_ref()).map_err(|fault| match fault {
            Fault::Value(what) => {
                let raw = Raw { text: String::new(), origin: origin.clone() };
                ConfigError::value(setting.name, &raw, what)
            }
            Fault::Field { name, at } => ConfigError::Unknown {
                path: path.to_owned(),
                line: line_of(at),
                nearest: nearest(&name, MEMBER_FIELDS.into_iter()),
                name: format!("members.{name}"),
            },
        })?;
        layer.insert(setting.name, Raw { text, origin });
    }
    Ok(layer)
}

const MEMBER_FIELDS: [&str; 3] = ["node", "client", "peer"];

enum Fault {
    Value(String),
    Field { name: String, at: usize },
}

fn text_of(setting: &Setting, value: &DeValue<'_>) -> Result<String, Fault> {
    match value {
        DeValue::Array(members) if setting.name == "members" => {
            let members: Result<Vec<String>, Fault> =
                members.iter().map(|member| member_text(member.get_ref())).collect();
            Ok(members?.join(","))
        }
        value => scalar(value)
            .ok_or_else(|| Fault::Value(format!("expected {} as a string", setting.form))),
    }
}

/// `{ node = 1, client = "host:port", peer = "host:port" }`, in the form of the flag.
fn member_text(value: &DeValue<'_>) -> Result<String, Fault> {
    let form = || {
        Fault::Value("expected { node = 1, client = \"host:port\", peer = \"host:port\" }".into())
    };
    let DeValue::Table(table) = value else { return scalar(value).ok_or_else(form) };
    for key in table.keys() {
        if !MEMBER_FIELDS.contains(&key.get_ref().as_ref()) {
            return Err(Fault::Field { name: key.get_ref().to_string(), at: key.span().start });
        }
    }
    let field = |name: &str| {
        let value = table.iter().find(|(key, _)| key.get_ref() == name);
        value.and_then(|(_, value)| scalar(value.get_ref())).ok_or_else(form)
    };
    Ok(format!("{}={}@{}", field("node")?, field("client")?, field("peer")?))
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// The known name that is written most like `name`, if any is close.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let limit = name.len() / 3 + 1;
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Characters to insert, remove or replace to get from one to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Layer, ConfigError> {
        super::parse(Path::new("cairn.toml"), text)
    }

    #[test]
    fn values_keep_their_line() {
        let layer = parse("# a comment\nnode = 2\nmax_value = \"16MiB\"\n").unwrap();
        assert_eq!(layer["node"].text, "2");
        assert_eq!(layer["max_value"].origin.to_string(), "cairn.toml:3");
    }

    #[test]
    fn members_are_tables_in_the_file() {
        let text = "[[members]]\nnode = 1\nclient = \"a:1\"\npeer = \"a:2\"\n\
                    [[members]]\nnode = 2\nclient = \"b:1\"\npeer = \"b:2\"\n";
        assert_eq!(parse(text).unwrap()["members"].text, "1=a:1@a:2,2=b:1@b:2");
        let inline = "members = [{ node = 1, client = \"a:1\", peer = \"a:2\" }]";
        assert_eq!(parse(inline).unwrap()["members"].text, "1=a:1@a:2");
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_line_and_the_nearest() {
        let error = parse("node = 1\nmax_vaule = \"1MiB\"\n").unwrap_err().to_string();
        assert_eq!(error, "cairn.toml:2: unknown setting `max_vaule`; did you mean `max_value`?");
        let error = parse("colour = 1\n").unwrap_err().to_string();
        assert_eq!(error, "cairn.toml:1: unknown setting `colour`");
    }

    #[test]
    fn an_unknown_field_of_a_member_is_named() {
        let text = "members = [\n  { node = 1, client = \"a:1\", pear = \"a:2\" },\n]\n";
        let error = parse(text).unwrap_err().to_string();
        assert_eq!(error, "cairn.toml:2: unknown setting `members.pear`; did you mean `peer`?");
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        let error = parse("node = 1\nmax_value = \n").unwrap_err().to_string();
        assert!(error.starts_with("cairn.toml:2: "), "{error}");
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let error = parse("heartbeat = [1]").unwrap_err().to_string();
        assert!(error.contains("heartbeat") && error.contains("expected TIME"), "{error}");
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
