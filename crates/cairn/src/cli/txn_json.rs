//! A transaction as JSON: the form of `POST /v1/txn`, read strictly, so that a misspelt field is an
//! error and not a comparison that is silently left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::{
    Compare, Item, KeyRange, Op, OpResult, Operand, Operator, Projection, Query, Revision, Txn,
    TxnResult, check_key,
};

use super::get::item_json;
use super::keys::{KeyForm, printable};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TxnJson {
    #[serde(default)]
    compare: Vec<CompareJson>,
    #[serde(default)]
    then: Vec<OpJson>,
    #[serde(default, rename = "else")]
    otherwise: Vec<OpJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareJson {
    key: Option<String>,
    key_base64: Option<String>,
    target: Target,
    operator: OperatorJson,
    operand: Option<Value>,
    operand_base64: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    Value,
    Version,
    Created,
    Modified,
}

#[derive(Clone, Copy, Deserialize)]
enum OperatorJson {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = ">")]
    Greater,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum OpJson {
    Put(PutJson),
    Delete(RangeJson),
    Get(GetJson),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutJson {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeJson {
    key: Option<String>,
    key_base64: Option<String>,
    prefix: Option<String>,
    prefix_base64: Option<String>,
    from: Option<String>,
    from_base64: Option<String>,
    to: Option<String>,
    to_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetJson {
    key: Option<String>,
    key_base64: Option<String>,
    prefix: Option<String>,
    prefix_base64: Option<String>,
    from: Option<String>,
    from_base64: Option<String>,
    to: Option<String>,
    to_base64: Option<String>,
    #[serde(default)]
    limit: u32,
    #[serde(default)]
    keys_only: bool,
    #[serde(default)]
    count_only: bool,
}

/// Reads a transaction; an error says what was wrong, and where.
pub(crate) fn parse(text: &[u8]) -> Result<Txn, String> {
    let json: TxnJson = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let compares = json.compare.into_iter().enumerate();
    let compares = compares.map(|(at, c)| c.read().map_err(|why| format!("compare {at}: {why}")));
    Ok(Txn {
        compares: compares.collect::<Result<_, _>>()?,
        then: read_ops("then", json.then)?,
        otherwise: read_ops("else", json.otherwise)?,
    })
}

fn read_ops(branch: &str, ops: Vec<OpJson>) -> Result<Vec<Op>, String> {
    let ops = ops.into_iter().enumerate();
    ops.map(|(at, op)| op.read().map_err(|why| format!("{branch} {at}: {why}"))).collect()
}

impl CompareJson {
    fn read(self) -> Result<Compare, String> {
        let key = key("key", self.key, self.key_base64)?;
        let operand = match (self.target, self.operand, self.operand_base64) {
            (Target::Value, Some(Value::String(text)), None) => Operand::Value(Bytes::from(text)),
            (Target::Value, None, Some(text)) => Operand::Value(unbase64("operand", &text)?),
            (Target::Value, ..) => {
                return Err("the operand of a value is a string in `operand`, or bytes in \
                            `operand_base64`"
                    .into());
            }
            (target, Some(Value::Number(number)), None) => {
                let number =
                    number.as_u64().ok_or("the operand is not a whole number from 0 on")?;
                match target {
                    Target::Version => Operand::Version(number),
                    Target::Created => Operand::Created(Revision(number)),
                    Target::Modified | Target::Value => Operand::Modified(Revision(number)),
                }
            }
            _ => return Err("the operand of version, created and modified is a number".into()),
        };
        let operator = match self.operator {
            OperatorJson::Equal => Operator::Equal,
            OperatorJson::NotEqual => Operator::NotEqual,
            OperatorJson::Less => Operator::Less,
            OperatorJson::Greater => Operator::Greater,
        };
        Ok(Compare { key, operator, operand })
    }
}

impl OpJson {
    fn read(self) -> Result<Op, String> {
        Ok(match self {
            Self::Put(put) => Op::Put {
                key: key("key", put.key, put.key_base64)?,
                value: bytes("value", put.value, put.value_base64)?
                    .ok_or("`put` needs `value` or `value_base64`")?,
                lease: 0,
            },
            Self::Delete(range) => Op::Delete { range: range.read()? },
            Self::Get(get) => {
                let limit = get.limit;
                let projection = match (get.keys_only, get.count_only) {
                    (false, false) => Projection::Full,
                    (true, false) => Projection::KeysOnly,
                    (false, true) => Projection::CountOnly,
                    (true, true) => {
                        return Err("`keys_only` and `count_only` exclude each other".into());
                    }
                };
                let range = RangeJson {
                    key: get.key,
                    key_base64: get.key_base64,
                    prefix: get.prefix,
                    prefix_base64: get.prefix_base64,
                    from: get.from,
                    from_base64: get.from_base64,
                    to: get.to,
                    to_base64: get.to_base64,
                };
                Op::Read(Query { limit, projection, ..Query::range(range.read()?) })
            }
        })
    }
}

impl RangeJson {
    fn read(self) -> Result<KeyRange, String> {
        let key = bytes("key", self.key, self.key_base64)?;
        let prefix = bytes("prefix", self.prefix, self.prefix_base64)?;
        let from = bytes("from", self.from, self.from_base64)?;
        let to = bytes("to", self.to, self.to_base64)?;
        match (key, prefix, from, to) {
            (Some(key), None, None, None) => {
                check_key(&key).map_err(|refusal| refusal.to_string())?;
                Ok(KeyRange::single(key))
            }
            (None, Some(prefix), None, None) => Ok(KeyRange::prefix(prefix)),
            (None, None, Some(start), end) => Ok(KeyRange { start, end }),
            (None, None, None, Some(end)) => Ok(KeyRange { start: Bytes::new(), end: Some(end) }),
            _ => Err("it needs `key`, or `prefix`, or `from` and `to`".into()),
        }
    }
}

fn key(name: &str, text: Option<String>, base64: Option<String>) -> Result<Bytes, String> {
    let key = bytes(name, text, base64)?.ok_or_else(|| format!("`{name}` is missing"))?;
    check_key(&key).map_err(|refusal| refusal.to_string())?;
    Ok(key)
}

fn bytes(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("`{name}` and `{name}_base64` exclude each other")),
        (Some(text), None) => Ok(Some(Bytes::from(text))),
        (None, Some(text)) => unbase64(name, &text).map(Some),
        (None, None) => Ok(None),
    }
}

fn unbase64(name: &str, text: &str) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("`{name}_base64`: {error}"))?;
    Ok(Bytes::from(bytes))
}

/// What a transaction came to, for programs.
pub(crate) fn result(result: &TxnResult) -> Value {
    let results: Vec<Value> = result.results.iter().map(op_result).collect();
    json!({
        "revision": result.revision.0, "succeeded": result.succeeded, "results": results,
    })
}

fn op_result(result: &OpResult) -> Value {
    match result {
        OpResult::Put => json!({ "put": {} }),
        OpResult::Deleted { count } => json!({ "delete": { "deleted": count } }),
        OpResult::Read(page) => {
            let form = KeyForm { hex_keys: false };
            let items: Vec<Map<String, Value>> =
                page.items.iter().map(|item| item_json(item, form)).collect();
            json!({ "get": { "items": items, "more": page.more, "count": page.count } })
        }
    }
}

/// What a transaction came to, for people: a line for each operation, and for each item read.
pub(crate) fn lines(result: &TxnResult) -> Vec<String> {
    let mut lines = Vec::new();
    for result in &result.results {
        match result {
            OpResult::Put => lines.push("put".to_owned()),
            OpResult::Deleted { count } => lines.push(format!("deleted {count}")),
            OpResult::Read(page) if page.items.is_empty() => lines.push("got nothing".to_owned()),
            OpResult::Read(page) => {
                let line = |item: &Item| {
                    format!("got {}\t{}", printable(&item.key), printable(&item.value))
                };
                lines.extend(page.items.iter().map(line));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_transaction() {
        let text = br#"{
            "compare": [{"key":"a","target":"value","operator":"!=","operand":"1"},
                        {"key_base64":"/w==","target":"version","operator":"=","operand":0}],
            "then": [{"put":{"key":"a","value":"2"}}, {"delete":{"prefix":"t/"}}],
            "else": [{"get":{"from":"a","to":"b","limit":5}}]
        }"#;
        let txn = parse(text).unwrap();
        assert_eq!(txn.compares[0].operator, Operator::NotEqual);
        assert_eq!(txn.compares[1].key, Bytes::from_static(&[0xff]));
        assert_eq!(txn.compares[1].operand, Operand::Version(0));
        assert_eq!(txn.then.len(), 2);
        let range = KeyRange { start: Bytes::from("a"), end: Some(Bytes::from("b")) };
        assert_eq!(txn.otherwise, [Op::Read(Query { limit: 5, ..Query::range(range) })]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("{", "EOF"),
            (r#"{"compares":[]}"#, "compares"),
            (r#"{"then":[{"put":{"key":"a"}}]}"#, "then 0: `put` needs `value`"),
            (r#"{"then":[{"put":{"key":"","value":""}}]}"#, "the key is empty"),
            (r#"{"then":[{"move":{}}]}"#, "move"),
            (r#"{"then":[{"delete":{}}]}"#, "it needs `key`, or `prefix`"),
            (r#"{"else":[{"get":{"key":"a","prefix":"b"}}]}"#, "else 0: it needs"),
            (r#"{"then":[{"put":{"key":"a","key_base64":"","value":""}}]}"#, "exclude each other"),
            (r#"{"then":[{"put":{"key_base64":"?","value":""}}]}"#, "key_base64"),
            (
                r#"{"compare":[{"key":"a","target":"value","operator":"=","operand":1}]}"#,
                "a string",
            ),
            (
                r#"{"compare":[{"key":"a","target":"version","operator":"=","operand":"1"}]}"#,
                "a number",
            ),
            (
                r#"{"compare":[{"key":"a","target":"version","operator":"=","operand":-1}]}"#,
                "whole number",
            ),
            (r#"{"compare":[{"key":"a","target":"size","operator":"=","operand":1}]}"#, "size"),
        ] {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn results_in_both_forms() {
        let done = TxnResult {
            revision: Revision(9),
            succeeded: true,
            results: vec![OpResult::Put, OpResult::Deleted { count: 3 }],
        };
        assert_eq!(
            result(&done).to_string(),
            r#"{"results":[{"put":{}},{"delete":{"deleted":3}}],"revision":9,"succeeded":true}"#
        );
        assert_eq!(lines(&done), ["put", "deleted 3"]);
    }
}
