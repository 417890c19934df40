//! Keys, values and items in JSON.
//!
//! One scheme everywhere: a field such as `key` is a string where the bytes are UTF-8, and
//! `key_base64` (standard alphabet, padded) takes its place where they are not. Requests may send
//! either, not both.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use wire::{Change, Event, Item, Page};

use crate::errors::Fault;

/// Bytes from a pair of JSON fields: `name`, or `name` with `_base64` behind it.
pub(crate) fn bytes(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, Fault> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(Bytes::from(text))),
        (None, Some(base64)) => match STANDARD.decode(&base64) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) => {
                Err(Fault::invalid(format!("`{name}_base64` is not padded base64: {error}")))
            }
        },
        (Some(_), Some(_)) => {
            Err(Fault::invalid(format!("`{name}` and `{name}_base64` exclude each other")))
        }
    }
}

/// As [`bytes`], where the field must be there.
pub(crate) fn required(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Bytes, Fault> {
    bytes(name, text, base64)?.ok_or_else(|| {
        Fault::invalid(format!("the field `{name}` (or `{name}_base64`) is missing"))
    })
}

/// Writes bytes as a field, under the name that fits them.
pub(crate) fn field<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    name_base64: &'static str,
    bytes: &[u8],
) -> Result<(), M::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(name, text),
        Err(_) => map.serialize_entry(name_base64, &STANDARD.encode(bytes)),
    }
}

/// An item as JSON.
pub(crate) struct ItemJson<'a> {
    /// The item.
    pub(crate) item: &'a Item,
    /// Whether its value is known.
    pub(crate) values: Values,
}

/// Whether values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// They are.
    Shown,
    /// Only keys were asked for: an empty value would be a lie.
    Hidden,
}

impl Serialize for ItemJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_item(&mut map, self.item, self.values)?;
        map.end()
    }
}

fn write_item<M: SerializeMap>(map: &mut M, item: &Item, values: Values) -> Result<(), M::Error> {
    field(map, "key", "key_base64", &item.key)?;
    if values == Values::Shown {
        field(map, "value", "value_base64", &item.value)?;
    }
    map.serialize_entry("created", &item.created.0)?;
    map.serialize_entry("modified", &item.modified.0)?;
    map.serialize_entry("version", &item.version)?;
    if item.lease != 0 {
        map.serialize_entry("lease", &item.lease)?;
    }
    Ok(())
}

/// A page's items as JSON.
pub(crate) fn items(page: &Page, values: Values) -> Vec<ItemJson<'_>> {
    page.items.iter().map(|item| ItemJson { item, values }).collect()
}

/// A watch's event as JSON.
pub(crate) struct EventJson<'a>(pub(crate) &'a Event);

impl Serialize for EventJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0.change {
            Change::Put(item) => {
                map.serialize_entry("type", "put")?;
                write_item(&mut map, item, Values::Shown)?;
            }
            Change::Delete { key } => {
                map.serialize_entry("type", "delete")?;
                field(&mut map, "key", "key_base64", key)?;
            }
        }
        map.end()
    }
}
