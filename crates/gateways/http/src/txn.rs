//! `/v1/txn`: if all comparisons hold do this, else that.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use wire::{
    Compare, KeyRange, Op, OpResult, Operand, Operator, Page, Projection, Put, Query, Revision, Txn,
};

use crate::call::{self, Call};
use crate::errors::{self, Fault};
use crate::json::{self, ItemJson, Values};
use crate::ranges::Named;
use crate::reply::{self, Answer, CAIRN_REVISION};

/// The most comparisons and operations in one transaction, both branches taken together.
const MAX_PARTS: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TxnBody {
    #[serde(default)]
    compare: Vec<CompareBody>,
    #[serde(default)]
    then: Vec<OpBody>,
    #[serde(default, rename = "else")]
    otherwise: Vec<OpBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareBody {
    key: Option<String>,
    key_base64: Option<String>,
    target: Target,
    operator: OperatorBody,
    operand: Option<OperandBody>,
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
enum OperatorBody {
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
#[serde(untagged, expecting = "`operand` must be a string or a whole number")]
enum OperandBody {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpBody {
    Put(PutBody),
    Delete(RangeBody),
    Get(GetBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutBody {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    lease: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeBody {
    key: Option<String>,
    key_base64: Option<String>,
    prefix: Option<String>,
    prefix_base64: Option<String>,
    from: Option<String>,
    from_base64: Option<String>,
    to: Option<String>,
    to_base64: Option<String>,
}

/// [`RangeBody`] with more fields: serde can't refuse unknown fields and flatten at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetBody {
    key: Option<String>,
    key_base64: Option<String>,
    prefix: Option<String>,
    prefix_base64: Option<String>,
    from: Option<String>,
    from_base64: Option<String>,
    to: Option<String>,
    to_base64: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    keys_only: bool,
    #[serde(default)]
    count_only: bool,
}

#[derive(Serialize)]
struct Answered<'a> {
    revision: u64,
    succeeded: bool,
    results: Vec<ResultJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ResultJson<'a> {
    Put {},
    Delete { deleted: u64 },
    Get { items: Vec<ItemJson<'a>>, more: bool, count: u64 },
    Txn { succeeded: bool, results: Vec<ResultJson<'a>> },
}

/// `POST`: does the transaction.
pub(crate) async fn execute(call: &Call<'_>) -> Result<Answer, Fault> {
    let fences = call.fences()?;
    let txn = Txn { fences, ..parse(&call.body, call.value_limit_bytes)? };
    let shown = Shown::of(&txn);
    let result = call.store.txn(txn).await?;
    let values = if result.succeeded { &shown.then } else { &shown.otherwise };
    let results = result.results.iter().enumerate();
    let results = results
        .map(|(i, result)| result_json(result, values.get(i).copied().unwrap_or(Values::Shown)))
        .collect();
    let told = Answered { revision: result.revision.0, succeeded: result.succeeded, results };
    let mut answer = reply::json(StatusCode::OK, &told);
    reply::set_number(answer.headers_mut(), CAIRN_REVISION, result.revision.0);
    Ok(answer)
}

/// Reads a transaction in the form of `POST /v1/txn`. An error says what is wrong, and where.
pub fn read_txn(json: &[u8]) -> Result<Txn, String> {
    // How large a value may be is for the node to say.
    parse(json, usize::MAX).map_err(Fault::into_message)
}

fn parse(json: &[u8], value_limit_bytes: usize) -> Result<Txn, Fault> {
    let body: TxnBody = serde_json::from_slice(json).map_err(|error| errors::bad_json(&error))?;
    body.txn(value_limit_bytes)
}

/// Of each operation whether its result shows values.
struct Shown {
    then: Vec<Values>,
    otherwise: Vec<Values>,
}

impl Shown {
    fn of(txn: &Txn) -> Self {
        let values = |op: &Op| match op {
            Op::Read(Query { projection: Projection::KeysOnly, .. }) => Values::Hidden,
            Op::Read(_) | Op::Put(_) | Op::Delete { .. } | Op::Txn(_) => Values::Shown,
        };
        Self {
            then: txn.then.iter().map(values).collect(),
            otherwise: txn.otherwise.iter().map(values).collect(),
        }
    }
}

fn result_json(result: &OpResult, values: Values) -> ResultJson<'_> {
    match result {
        OpResult::Put { .. } => ResultJson::Put {},
        OpResult::Deleted { count, .. } => ResultJson::Delete { deleted: *count },
        OpResult::Read(page) => {
            let Page { more, count, .. } = *page;
            ResultJson::Get { items: json::items(page, values), more, count }
        }
        // Nobody can ask for one here.
        OpResult::Txn { succeeded, results } => ResultJson::Txn {
            succeeded: *succeeded,
            results: results.iter().map(|result| result_json(result, values)).collect(),
        },
    }
}

impl TxnBody {
    fn txn(self, value_limit_bytes: usize) -> Result<Txn, Fault> {
        let parts = self.compare.len() + self.then.len() + self.otherwise.len();
        if parts > MAX_PARTS {
            return Err(Fault::invalid(format!(
                "a transaction of {parts} comparisons and operations is over the limit of {MAX_PARTS}"
            )));
        }
        let ops = |branch: &str, ops: Vec<OpBody>| {
            let ops = ops.into_iter().enumerate();
            let op = |op: OpBody| op.op(value_limit_bytes);
            ops.map(|(i, o)| op(o).map_err(|fault| fault.within(&format!("{branch}[{i}]"))))
                .collect::<Result<Vec<_>, _>>()
        };
        let compares = self.compare.into_iter().enumerate();
        Ok(Txn {
            compares: compares
                .map(|(i, c)| c.compare().map_err(|fault| fault.within(&format!("compare[{i}]"))))
                .collect::<Result<_, _>>()?,
            then: ops("then", self.then)?,
            otherwise: ops("else", self.otherwise)?,
            fences: Vec::new(),
        })
    }
}

impl CompareBody {
    fn compare(self) -> Result<Compare, Fault> {
        let key = checked_key(self.key, self.key_base64)?;
        let operator = match self.operator {
            OperatorBody::Equal => Operator::Equal,
            OperatorBody::NotEqual => Operator::NotEqual,
            OperatorBody::Less => Operator::Less,
            OperatorBody::Greater => Operator::Greater,
        };
        let operand = operand(self.target, self.operand, self.operand_base64)?;
        Ok(Compare::key(key, operator, operand))
    }
}

fn operand(
    target: Target,
    operand: Option<OperandBody>,
    base64: Option<String>,
) -> Result<Operand, Fault> {
    let of_number: fn(u64) -> Operand = match target {
        Target::Value => return value_operand(operand, base64),
        Target::Version => Operand::Version,
        Target::Created => |number| Operand::Created(Revision(number)),
        Target::Modified => |number| Operand::Modified(Revision(number)),
    };
    match (operand, base64) {
        (Some(OperandBody::Number(number)), None) => Ok(of_number(number)),
        _ => Err(Fault::invalid(
            "`version`, `created` and `modified` are compared with a number in `operand`",
        )),
    }
}

fn value_operand(operand: Option<OperandBody>, base64: Option<String>) -> Result<Operand, Fault> {
    let text = match operand {
        None => None,
        Some(OperandBody::Text(text)) => Some(text),
        Some(OperandBody::Number(_)) => {
            return Err(Fault::invalid("a `value` is compared with a string, not with a number"));
        }
    };
    json::required("operand", text, base64).map(Operand::Value)
}

impl OpBody {
    fn op(self, value_limit_bytes: usize) -> Result<Op, Fault> {
        match self {
            Self::Put(put) => {
                let key = checked_key(put.key, put.key_base64)?;
                let value = json::required("value", put.value, put.value_base64)?;
                call::check_value(&value, value_limit_bytes)?;
                let (value, lease) = (Some(value), Some(put.lease.unwrap_or(0)));
                Ok(Op::Put(Put { key, value, lease, previous: false }))
            }
            Self::Delete(range) => Ok(Op::delete(range.range()?)),
            Self::Get(get) => get.query().map(Op::Read),
        }
    }
}

impl RangeBody {
    /// A delete must say what: to remove everything, `{"prefix":""}`.
    fn range(self) -> Result<KeyRange, Fault> {
        let named = Named {
            key: json::bytes("key", self.key, self.key_base64)?,
            prefix: json::bytes("prefix", self.prefix, self.prefix_base64)?,
            from: json::bytes("from", self.from, self.from_base64)?,
            to: json::bytes("to", self.to, self.to_base64)?,
        };
        named.range()?.ok_or_else(|| {
            Fault::invalid("which keys? Name a `key`, a `prefix` (\"\" is all), or `from` and `to`")
        })
    }
}

impl GetBody {
    fn query(self) -> Result<Query, Fault> {
        let projection = match (self.keys_only, self.count_only) {
            (false, false) => Projection::Full,
            (true, false) => Projection::KeysOnly,
            (false, true) => Projection::CountOnly,
            (true, true) => {
                return Err(Fault::invalid("`keys_only` and `count_only` exclude each other"));
            }
        };
        let limit = self.limit.unwrap_or(0);
        let Self {
            key, key_base64, prefix, prefix_base64, from, from_base64, to, to_base64, ..
        } = self;
        let range =
            RangeBody { key, key_base64, prefix, prefix_base64, from, from_base64, to, to_base64 };
        Ok(Query { range: range.range()?, revision: None, limit, projection })
    }
}

fn checked_key(text: Option<String>, base64: Option<String>) -> Result<Bytes, Fault> {
    let key = json::required("key", text, base64)?;
    wire::check_key(&key)?;
    Ok(key)
}
