//! What a transaction came to, as the command line shows it. The transaction itself is read by the
//! gateway's code, so that both understand the same.

use serde_json::{Map, Value, json};
use wire::{Item, OpResult, TxnResult};

use super::get::item_json;
use super::keys::{KeyForm, printable};

/// What a transaction came to, for programs.
pub(crate) fn result(result: &TxnResult) -> Value {
    let results: Vec<Value> = result.results.iter().map(op_result).collect();
    json!({
        "revision": result.revision.0, "succeeded": result.succeeded, "results": results,
    })
}

fn op_result(result: &OpResult) -> Value {
    match result {
        OpResult::Put { .. } => json!({ "put": {} }),
        OpResult::Deleted { count, .. } => json!({ "delete": { "deleted": count } }),
        OpResult::Read(page) => {
            let form = KeyForm { hex_keys: false };
            let items: Vec<Map<String, Value>> =
                page.items.iter().map(|item| item_json(item, form)).collect();
            json!({ "get": { "items": items, "more": page.more, "count": page.count } })
        }
        OpResult::Txn { succeeded, results } => {
            let results: Vec<Value> = results.iter().map(op_result).collect();
            json!({ "txn": { "succeeded": succeeded, "results": results } })
        }
    }
}

/// What a transaction came to, for people: a line for each operation, and for each item read.
pub(crate) fn lines(result: &TxnResult) -> Vec<String> {
    lines_of(&result.results)
}

fn lines_of(results: &[OpResult]) -> Vec<String> {
    let mut lines = Vec::new();
    for result in results {
        match result {
            OpResult::Put { .. } => lines.push("put".to_owned()),
            OpResult::Deleted { count, .. } => lines.push(format!("deleted {count}")),
            OpResult::Read(page) if page.items.is_empty() => lines.push("got nothing".to_owned()),
            OpResult::Read(page) => {
                let line = |item: &Item| {
                    format!("got {}\t{}", printable(&item.key), printable(&item.value))
                };
                lines.extend(page.items.iter().map(line));
            }
            OpResult::Txn { results, .. } => lines.append(&mut lines_of(results)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use wire::Revision;

    use super::*;

    #[test]
    fn results_in_both_forms() {
        let done = TxnResult {
            revision: Revision(9),
            succeeded: true,
            results: vec![
                OpResult::Put { previous: None },
                OpResult::Deleted { count: 3, previous: Vec::new() },
            ],
        };
        assert_eq!(
            result(&done).to_string(),
            r#"{"results":[{"put":{}},{"delete":{"deleted":3}}],"revision":9,"succeeded":true}"#
        );
        assert_eq!(lines(&done), ["put", "deleted 3"]);
    }
}
