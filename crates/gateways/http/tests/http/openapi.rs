//! The OpenAPI document says what the router does, no more and no less.

use std::collections::BTreeSet;

use gateway_http::ROUTES;
use serde_json::Value;

use crate::world::World;

async fn document() -> Value {
    let told = World::new().get("/openapi.json").await;
    assert_eq!(told.header("content-type"), "application/json");
    told.json()
}

/// Follows a `$ref` within the document; panics where it leads nowhere.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        None => value,
        Some(path) => {
            let pointer = path.strip_prefix('#').expect("references stay in the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{path} leads nowhere"))
        }
    }
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let document = document().await;
    let mut routed = BTreeSet::new();
    for route in ROUTES {
        for verb in route.verbs {
            let mut params: Vec<&str> = verb.params.to_vec();
            params.sort_unstable();
            routed.insert(format!("{} {} {params:?}", verb.method, route.path));
        }
    }
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let none = Vec::new();
            let params = operation["parameters"].as_array().unwrap_or(&none);
            let params = params.iter().map(|param| resolve(&document, param));
            let query = params.filter(|param| param["in"] == "query");
            let mut names: Vec<&str> = query.map(|param| param["name"].as_str().unwrap()).collect();
            names.sort_unstable();
            // A HEAD comes with each GET; the document shows it where it is of use.
            if method != "head" {
                described.insert(format!("{} {path} {names:?}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(routed, described);
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn visit(document: &Value, value: &Value) {
        resolve(document, value);
        match value {
            Value::Object(fields) => fields.values().for_each(|value| visit(document, value)),
            Value::Array(values) => values.iter().for_each(|value| visit(document, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    visit(&document, &document);
    for schema in ["Listing", "Count", "Txn", "TxnAnswer", "Status", "Error"] {
        assert!(document["components"]["schemas"].get(schema).is_some(), "{schema}");
    }
}
