//! The committed OpenAPI document is the one this code serves.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sqlx::PgPool;

use crate::harness::World;

/// `UPDATE_OPENAPI=1` writes it anew.
#[test]
fn the_committed_document_is_fresh() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let fresh = docbrain_api::openapi();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&file, fresh.to_pretty_json().unwrap() + "\n").unwrap();
    }
    // In whatever order: other packages of a build decide on it.
    let committed: Value = serde_json::from_slice(&fs::read(&file).unwrap_or_default()).unwrap_or_default();
    assert!(committed == serde_json::to_value(fresh).unwrap(), "api-server/openapi.json is stale: run `make generate`");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_document_is_served(owner: PgPool) {
    let world = World::new(owner).await;
    assert_eq!(world.get("/openapi.json").await.json(200), serde_json::to_value(docbrain_api::openapi()).unwrap());
}

#[test]
fn every_operation_is_described_with_its_problems() {
    let document = serde_json::to_value(docbrain_api::openapi()).unwrap();
    let mut ids = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].to_string()), "{name} has the operation id of another");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{name} {status} has no description"
                );
                if !status.starts_with(['4', '5']) {
                    continue;
                }
                let (media_type, schema) = if path.starts_with("/v1/") {
                    ("application/json", "#/components/schemas/OpenAiProblem")
                } else {
                    ("application/problem+json", "#/components/schemas/ProblemBody")
                };
                assert_eq!(response["content"][media_type]["schema"]["$ref"], schema, "{name} {status}");
            }
            assert!(operation.get("x-problems").is_none(), "{name}");
        }
    }
    let kinds = document["components"]["schemas"]["ProblemKind"].to_string();
    let introduction = document["info"]["description"].as_str().unwrap();
    for code in ["chatbot_not_found", "unauthorized", "internal", "model_unavailable"] {
        assert!(kinds.contains(code) && introduction.contains(code), "{code}");
    }
    assert!(every_reference_resolves(&document, &document));
}

fn every_reference_resolves(document: &Value, value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().all(|(name, value)| match value {
            Value::String(reference) if name == "$ref" => document.pointer(reference.trim_start_matches('#')).is_some(),
            value => every_reference_resolves(document, value),
        }),
        Value::Array(values) => values.iter().all(|value| every_reference_resolves(document, value)),
        _ => true,
    }
}
