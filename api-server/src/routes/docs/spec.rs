//! Schemas of the resources' specs, from the CRDs' dialect to OpenAPI 3.1.

use docbrain_crds::manifest::{self, Kind};
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};

/// The schema of a kind's spec.
pub(super) fn schema(kind: Kind) -> RefOr<Schema> {
    let mut schema = manifest::spec_schema(kind);
    translate(&mut schema);
    serde_json::from_value(schema).expect("the CRDs' schemas are OpenAPI's")
}

/// A CRD says `nullable` where JSON Schema 2020-12 has a type, and carries rules of its own.
fn translate(value: &mut Value) {
    let Value::Object(schema) = value else {
        return;
    };
    schema.retain(|name, _| !name.starts_with("x-kubernetes-"));
    if schema.remove("nullable") == Some(Value::Bool(true)) {
        if let Some(kind) = schema.get_mut("type") {
            *kind = Value::Array(vec![kind.take(), "null".into()]);
        }
        if let Some(Value::Array(words)) = schema.get_mut("enum") {
            words.push(Value::Null);
        }
    }
    for name in ["properties", "items", "anyOf", "oneOf", "allOf", "additionalProperties"] {
        match schema.get_mut(name) {
            Some(Value::Object(inner)) if name == "properties" => inner.values_mut().for_each(translate),
            Some(Value::Array(inner)) => inner.iter_mut().for_each(translate),
            Some(inner) => translate(inner),
            None => {}
        }
    }
    forbid_unknown(schema);
}

/// Unknown fields are refused, as `kubectl --validate=strict` refuses them.
fn forbid_unknown(schema: &mut Map<String, Value>) {
    if schema.contains_key("properties") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}
