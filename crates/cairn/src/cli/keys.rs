//! Keys and values between a terminal and the store: both are bytes, a terminal has text.

use bytes::Bytes;
use clap::Args;
use serde_json::{Map, Value};
use wire::KeyRange;

use super::Failure;

/// How keys are written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct KeyForm {
    /// Keys are hexadecimal, on the command line and in what is printed
    #[arg(long)]
    pub(crate) hex_keys: bool,
}

impl KeyForm {
    /// The bytes of a key that stands on the command line.
    pub(crate) fn parse(self, text: &str) -> Result<Bytes, Failure> {
        let key = self.parse_bound(text)?;
        wire::check_key(&key).map_err(|refusal| Failure::usage(refusal.to_string()))?;
        Ok(key)
    }

    /// Like [`KeyForm::parse`], for a prefix or an end of a range, which may be empty.
    pub(crate) fn parse_bound(self, text: &str) -> Result<Bytes, Failure> {
        if !self.hex_keys {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        unhex(text).map(Bytes::from).ok_or_else(|| {
            Failure::usage(format!("{text:?} is not hexadecimal: two digits for each byte"))
        })
    }

    /// A key for people, on one line.
    pub(crate) fn show(self, key: &[u8]) -> String {
        if self.hex_keys { hex(key) } else { printable(key) }
    }

    /// Puts a key into a JSON object: `key` if it is text, else `key_base64`; `key_hex` if asked.
    pub(crate) fn insert(self, object: &mut Map<String, Value>, key: &[u8]) {
        if self.hex_keys {
            object.insert("key_hex".into(), hex(key).into());
        } else {
            insert_bytes(object, "key", key);
        }
    }
}

/// Puts bytes into a JSON object: under `name` if they are text, else under `name_base64`.
pub(crate) fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    use base64::Engine;
    if let Ok(text) = std::str::from_utf8(bytes) {
        object.insert(name.into(), text.into());
    } else {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        object.insert(format!("{name}_base64"), text.into());
    }
}

/// Which keys a command means.
#[derive(Clone, Debug, Args)]
pub(crate) struct RangeArgs {
    /// Keys that begin with this; all keys without it
    #[arg(conflicts_with_all = ["from", "to"])]
    pub(crate) prefix: Option<String>,
    /// First key
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// First key that is no longer meant
    #[arg(long)]
    pub(crate) to: Option<String>,
}

impl RangeArgs {
    /// The range of keys.
    pub(crate) fn range(&self, form: KeyForm) -> Result<KeyRange, Failure> {
        if let Some(prefix) = &self.prefix {
            return Ok(KeyRange::prefix(form.parse_bound(prefix)?));
        }
        let bound =
            |text: &Option<String>| text.as_deref().map(|t| form.parse_bound(t)).transpose();
        let range =
            KeyRange { start: bound(&self.from)?.unwrap_or_default(), end: bound(&self.to)? };
        if range.is_empty() {
            return Err(Failure::usage("--to must stand behind --from"));
        }
        Ok(range)
    }
}

/// Bytes on one line: text as it is; control characters and what is not UTF-8 as escapes.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str("\\x");
            push_hex(&mut out, *byte);
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        push_hex(&mut out, *byte);
    }
    out
}

fn push_hex(out: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16"));
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |c: u8| char::from(c).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(nibble(*high)? * 16 + nibble(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_on_one_line() {
        assert_eq!(printable("grüße".as_bytes()), "grüße");
        assert_eq!(printable(b"a\nb\\\xff\x00"), "a\\nb\\\\\\xff\\u{0}");
    }

    #[test]
    fn hex_keys_round_trip() {
        let form = KeyForm { hex_keys: true };
        assert_eq!(form.parse("00ff10").unwrap(), Bytes::from_static(&[0, 255, 16]));
        assert_eq!(form.show(&[0, 255, 16]), "00ff10");
        for wrong in ["0", "zz", "0x00", "é0", ""] {
            assert_eq!(form.parse(wrong).unwrap_err().exit, super::super::exit::USAGE, "{wrong:?}");
        }
    }

    #[test]
    fn json_is_text_where_it_can_be() {
        let mut object = Map::new();
        KeyForm { hex_keys: false }.insert(&mut object, b"a");
        insert_bytes(&mut object, "value", &[0xff, 0]);
        let expected = r#"{"key":"a","value_base64":"/wA="}"#;
        assert_eq!(Value::Object(object).to_string(), expected);
    }

    #[test]
    fn ranges_are_a_prefix_or_have_two_ends() {
        let form = KeyForm { hex_keys: false };
        let args = |prefix: Option<&str>, from: Option<&str>, to: Option<&str>| RangeArgs {
            prefix: prefix.map(Into::into),
            from: from.map(Into::into),
            to: to.map(Into::into),
        };
        assert_eq!(args(None, None, None).range(form).unwrap(), KeyRange::all());
        let users = args(Some("user/"), None, None).range(form).unwrap();
        assert!(users.contains(b"user/1") && !users.contains(b"user0"));
        assert!(args(None, Some("b"), Some("a")).range(form).is_err());
    }
}
