//! The storage-node API: `POST /` with a JSON object that names what to do.
//!
//! Its answers are fixed to the byte, so they are written as structs whose fields stand in the order
//! in which they are sent. Requests are taken strictly: a field that means nothing here is refused by
//! name, and so is one that stands there twice.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use wire::{Consistency, KeyRange, Op, OpResult, Query, Txn, check_key};

use crate::call::Call;
use crate::errors::{self, Fault};
use crate::params::brief;
use crate::reply::{self, Answer};

const STORED: &str = "Data stored successfully";
const FETCHED: &str = "Data fetched successfully";
const DELETED: &str = "Data deleted successfully";
const NOT_FOUND: &str = "Data not found";
const INVALID_TYPE: &str = "Invalid request type";

#[derive(Serialize)]
struct Told<'a> {
    status: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Store { key: Bytes, value: Bytes },
    Fetch { key: Bytes },
    Delete { key: Bytes },
}

/// `POST /`: stores, fetches or deletes one key.
pub(crate) async fn execute(call: &Call<'_>) -> Result<Answer, Fault> {
    match read_wish(&call.body)? {
        Wish::Store { key, value } => {
            check_key(&key)?;
            call.check_value(&value)?;
            store(call, key, value).await
        }
        Wish::Fetch { key } => {
            check_key(&key)?;
            fetch(call, key).await
        }
        Wish::Delete { key } => {
            check_key(&key)?;
            delete(call, key).await
        }
    }
}

async fn store(call: &Call<'_>, key: Bytes, value: Bytes) -> Result<Answer, Fault> {
    let result = call.store.txn(Txn::always(vec![Op::put(key, value)])).await?;
    match result.results[..] {
        [OpResult::Put { .. }] => Ok(success(STORED, None)),
        _ => Err(Fault::request_id_reused()),
    }
}

async fn fetch(call: &Call<'_>, key: Bytes) -> Result<Answer, Fault> {
    let (_, page) = call.store.read(Query::key(key), Consistency::Linearizable).await?;
    let Some(item) = page.items.first() else { return Err(not_found()) };
    match std::str::from_utf8(&item.value) {
        Ok(value) => Ok(success(FETCHED, Some(value))),
        Err(_) => Err(Fault::new(
            StatusCode::CONFLICT,
            "not_text",
            "the value is not UTF-8 text, so JSON can't carry it; read its bytes with GET \
             /v1/kv/{key}, the key percent-encoded",
        )),
    }
}

async fn delete(call: &Call<'_>, key: Bytes) -> Result<Answer, Fault> {
    let range = KeyRange::single(key);
    let result = call.store.txn(Txn::always(vec![Op::delete(range)])).await?;
    match result.results[..] {
        [OpResult::Deleted { count: 0, .. }] => Err(not_found()),
        [OpResult::Deleted { .. }] => Ok(success(DELETED, None)),
        _ => Err(Fault::request_id_reused()),
    }
}

fn success(message: &'static str, value: Option<&str>) -> Answer {
    reply::json(StatusCode::OK, &Told { status: "success", message, value })
}

fn not_found() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "not_found", NOT_FOUND)
}

/// Looks at the type first: what else a request of an unknown type holds means nothing.
fn read_wish(body: &[u8]) -> Result<Wish, Fault> {
    let mut fields = read_fields(body)?;
    let Some(Value::String(kind)) = fields.remove("type") else {
        return Err(Fault::invalid(INVALID_TYPE));
    };
    let wish = match &kind[..] {
        "store" => {
            Wish::Store { key: text(&mut fields, "key")?, value: text(&mut fields, "value")? }
        }
        "fetch" => Wish::Fetch { key: text(&mut fields, "key")? },
        "delete" => Wish::Delete { key: text(&mut fields, "key")? },
        _ => return Err(Fault::invalid(INVALID_TYPE)),
    };
    match fields.keys().next() {
        None => Ok(wish),
        Some(name) => Err(Fault::invalid(format!(
            "unknown field `{}` in a {kind} request; it takes {}",
            brief(name),
            wish.fields()
        ))),
    }
}

impl Wish {
    fn fields(&self) -> &'static str {
        match self {
            Self::Store { .. } => "`type`, `key` and `value`",
            Self::Fetch { .. } | Self::Delete { .. } => "`type` and `key`",
        }
    }
}

fn text(fields: &mut BTreeMap<String, Value>, name: &str) -> Result<Bytes, Fault> {
    let kind = match fields.remove(name) {
        Some(Value::String(text)) => return Ok(Bytes::from(text)),
        None => return Err(Fault::invalid(format!("missing field `{name}`"))),
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    Err(Fault::invalid(format!("field `{name}` must be a string, not {kind}")))
}

fn read_fields(body: &[u8]) -> Result<BTreeMap<String, Value>, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Fault::invalid(format!("the body is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    if text.trim().is_empty() {
        return Err(Fault::invalid(
            "the body is empty; it must be JSON such as {\"type\":\"fetch\",\"key\":\"hello\"}",
        ));
    }
    let Fields(fields) = serde_json::from_str(text).map_err(|error| errors::bad_json(&error))?;
    Ok(fields)
}

/// A JSON object in which no field stands twice: serde's own maps would silently keep the last one.
struct Fields(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                let twice = format!("field `{}` stands there twice", brief(&name));
                return Err(A::Error::custom(twice));
            }
            let value = map.next_value()?;
            fields.insert(name, value);
        }
        Ok(Fields(fields))
    }
}
