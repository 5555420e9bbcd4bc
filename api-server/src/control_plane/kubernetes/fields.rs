//! Who owns which fields of an object, out of `metadata.managedFields` (FieldsV1).
//!
//! FieldsV1 is a tree: `f:NAME` is a field, `k:{…}` the item of a list with these keys, `v:…` a value of a set, `i:N` the
//! item at a place, `.` the node itself, and a node without children owns all below it.

use kube::api::ObjectMeta;
use serde_json::{Map, Value};

/// A manager and what it owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owner {
    /// Its name, such as `argocd-controller`.
    pub(super) name: String,
    /// Whether it applies its whole intent again and again, or has changed something once.
    pub(super) applies: bool,
    fields: Value,
}

/// A place in an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A field of this name.
    Field(String),
    /// The item of a list with these keys.
    Item(Map<String, Value>),
    /// A value of a set.
    Value(Value),
}

/// Everybody who owns a part of the object, but for its status.
pub(super) fn owners(metadata: &ObjectMeta) -> Vec<Owner> {
    let entries = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    entries
        .filter_map(|entry| {
            Some(Owner {
                name: entry.manager.clone()?,
                applies: entry.operation.as_deref() == Some("Apply"),
                fields: entry.fields_v1.as_ref()?.0.clone(),
            })
        })
        .collect()
}

impl Owner {
    /// What the manager owns of `object`, as it would apply it again: partial, without what others or defaults have added.
    pub(super) fn intent(&self, object: &Value) -> Value {
        project(object, &self.fields).unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// Whether it owns the place, or something below or above it.
    pub(super) fn owns(&self, path: &[Step]) -> bool {
        let mut fields = &self.fields;
        for step in path {
            let Some(children) = fields.as_object().filter(|children| !children.is_empty()) else { return true };
            match children.iter().find(|(key, _)| step.is_named(key)) {
                Some((_, child)) => fields = child,
                None => return false,
            }
        }
        true
    }

    /// The places below `spec` that it owns, as `spec.retrieval.topK` or `spec.knowledgeSources[name="docs"]`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        if let Some(spec) = self.fields.get("f:spec") {
            collect_paths(spec, "spec", &mut paths);
        }
        paths.sort();
        paths
    }
}

impl Step {
    /// Whether this is the key of FieldsV1 that stands for the step.
    fn is_named(&self, key: &str) -> bool {
        match (self, key.split_once(':')) {
            (Self::Field(name), Some(("f", field))) => name == field,
            (Self::Item(keys), Some(("k", text))) => {
                serde_json::from_str::<Map<String, Value>>(text).is_ok_and(|named| named == *keys)
            }
            (Self::Value(value), Some(("v", text))) => {
                serde_json::from_str::<Value>(text).is_ok_and(|named| named == *value)
            }
            _ => false,
        }
    }

    /// A path as people read it.
    pub(super) fn path(steps: &[Self]) -> String {
        let mut path = String::new();
        for step in steps {
            match step {
                Self::Field(name) if path.is_empty() => path.push_str(name),
                Self::Field(name) => path.extend([".", name]),
                Self::Item(keys) => path.push_str(&item(keys)),
                Self::Value(value) => path.extend(["[", &value.to_string(), "]"]),
            }
        }
        path
    }
}

/// The item of a list in the spelling of the API server's messages.
fn item(keys: &Map<String, Value>) -> String {
    let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("[{}]", keys.join(","))
}

fn project(value: &Value, fields: &Value) -> Option<Value> {
    let children = fields.as_object()?;
    if children.is_empty() {
        return Some(value.clone());
    }
    let itself = children.contains_key(".");
    match value {
        Value::Object(object) => {
            let mut kept = Map::new();
            for (key, child) in children {
                let Some(name) = key.strip_prefix("f:") else { continue };
                if let Some(value) = object.get(name).and_then(|value| project(value, child)) {
                    kept.insert(name.to_owned(), value);
                }
            }
            (itself || !kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let kept: Vec<Value> =
                items.iter().enumerate().filter_map(|(index, item)| project_item(index, item, children)).collect();
            (itself || !kept.is_empty()).then_some(Value::Array(kept))
        }
        scalar => itself.then(|| scalar.clone()),
    }
}

fn project_item(index: usize, item: &Value, children: &Map<String, Value>) -> Option<Value> {
    children.iter().find_map(|(key, child)| match key.split_once(':')? {
        ("k", text) => {
            let keys: Map<String, Value> = serde_json::from_str(text).ok()?;
            if !keys.iter().all(|(name, value)| item.get(name) == Some(value)) {
                return None;
            }
            let mut kept = project(item, child)?;
            // An item is applied with its keys, whoever owns them.
            kept.as_object_mut()?.extend(keys);
            Some(kept)
        }
        ("v", text) => serde_json::from_str::<Value>(text).is_ok_and(|value| value == *item).then(|| item.clone()),
        ("i", text) => (text.parse() == Ok(index)).then(|| project(item, child))?,
        _ => None,
    })
}

fn collect_paths(fields: &Value, path: &str, paths: &mut Vec<String>) {
    let children = fields.as_object().into_iter().flatten().filter(|(key, _)| *key != ".");
    let mut is_leaf = true;
    for (key, child) in children {
        is_leaf = false;
        match key.split_once(':') {
            Some(("f", name)) => collect_paths(child, &format!("{path}.{name}"), paths),
            Some(("k", text)) => {
                let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
                let path = format!("{path}{}", item(&keys));
                // The keys themselves say nothing that the item does not.
                let others = child.as_object().into_iter().flatten().filter(|(key, _)| {
                    *key != "." && !key.strip_prefix("f:").is_some_and(|name| keys.contains_key(name))
                });
                let others: Map<String, Value> = others.map(|(key, value)| (key.clone(), value.clone())).collect();
                collect_paths(&Value::Object(others), &path, paths);
            }
            Some((_, text)) => paths.push(format!("{path}[{text}]")),
            None => {}
        }
    }
    if is_leaf {
        paths.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(fields: Value) -> Owner {
        Owner { name: "tests".to_owned(), applies: true, fields }
    }

    #[test]
    fn an_intent_is_what_the_manager_owns_and_nothing_else() {
        let object = json!({
            "metadata": {"name": "bot", "labels": {"a": "1", "b": "2"}},
            "spec": {
                "displayName": "Bot",
                "suspended": false,
                "model": {"model": "m", "provider": "compatible"},
                "knowledgeSources": [{"name": "docs", "weight": 1}, {"name": "faq"}, {"name": "news"}],
                "allowedOrigins": ["https://a.example", "https://b.example"],
                "include": ["/a", "/b"],
                "source": {"upload": {}},
            }
        });
        for (fields, intent) in [
            (json!({"f:spec": {"f:displayName": {}}}), json!({"spec": {"displayName": "Bot"}})),
            (json!({"f:spec": {"f:model": {"f:model": {}}}}), json!({"spec": {"model": {"model": "m"}}})),
            (json!({"f:spec": {"f:model": {".": {}, "f:model": {}}}}), json!({"spec": {"model": {"model": "m"}}})),
            (json!({"f:spec": {"f:model": {".": {}}}}), json!({"spec": {"model": {}}})),
            // A leaf owns all below it.
            (json!({"f:spec": {"f:model": {}}}), json!({"spec": {"model": {"model": "m", "provider": "compatible"}}})),
            (json!({"f:spec": {"f:source": {"f:upload": {}}}}), json!({"spec": {"source": {"upload": {}}}})),
            (json!({"f:spec": {"f:include": {}}}), json!({"spec": {"include": ["/a", "/b"]}})),
            (
                json!({"f:spec": {"f:knowledgeSources": {r#"k:{"name":"faq"}"#: {".": {}, "f:name": {}}}}}),
                json!({"spec": {"knowledgeSources": [{"name": "faq"}]}}),
            ),
            // In the order of the object, and with the keys that somebody else owns.
            (
                json!({"f:spec": {"f:knowledgeSources": {
                    r#"k:{"name":"news"}"#: {".": {}, "f:name": {}},
                    r#"k:{"name":"docs"}"#: {"f:weight": {}},
                    r#"k:{"name":"gone"}"#: {".": {}, "f:name": {}},
                }}}),
                json!({"spec": {"knowledgeSources": [{"weight": 1, "name": "docs"}, {"name": "news"}]}}),
            ),
            (
                json!({"f:spec": {"f:allowedOrigins": {r#"v:"https://b.example""#: {}, r#"v:"https://z.example""#: {}}}}),
                json!({"spec": {"allowedOrigins": ["https://b.example"]}}),
            ),
            (json!({"f:spec": {"f:allowedOrigins": {".": {}}}}), json!({"spec": {"allowedOrigins": []}})),
            (json!({"f:spec": {"f:include": {"i:1": {}}}}), json!({"spec": {"include": ["/b"]}})),
            (json!({"f:metadata": {"f:labels": {".": {}, "f:b": {}}}}), json!({"metadata": {"labels": {"b": "2"}}})),
            // What is not there any more is nobody's intent.
            (json!({"f:spec": {"f:systemPrompt": {}}}), json!({})),
            (json!({"f:spec": {"f:model": {"f:baseUrl": {}}}}), json!({})),
        ] {
            assert_eq!(owner(fields.clone()).intent(&object), intent, "{fields}");
        }
    }

    #[test]
    fn an_owner_of_a_place_is_found() {
        let fields = json!({"f:spec": {
            "f:displayName": {}, "f:retrieval": {"f:topK": {}}, "f:include": {},
            "f:knowledgeSources": {r#"k:{"name":"docs"}"#: {".": {}, "f:name": {}}},
            "f:allowedOrigins": {r#"v:"https://a.example""#: {}},
        }});
        let owner = owner(fields);
        let field = |name: &str| Step::Field(name.to_owned());
        let item = |name: &str| Step::Item(json!({ "name": name }).as_object().unwrap().clone());
        let origin = |origin: &str| Step::Value(origin.into());
        for (path, owns) in [
            (vec![field("spec"), field("displayName")], true),
            (vec![field("spec"), field("suspended")], false),
            (vec![field("spec"), field("retrieval")], true),
            (vec![field("spec"), field("retrieval"), field("hybrid")], false),
            (vec![field("spec"), field("include"), field("0")], true),
            (vec![field("spec"), field("knowledgeSources"), item("docs")], true),
            (vec![field("spec"), field("knowledgeSources"), item("faq")], false),
            (vec![field("spec"), field("allowedOrigins"), origin("https://a.example")], true),
            (vec![field("spec"), field("allowedOrigins"), origin("https://b.example")], false),
        ] {
            assert_eq!(owner.owns(&path), owns, "{}", Step::path(&path));
        }
        assert_eq!(
            owner.paths(),
            [
                r#"spec.allowedOrigins["https://a.example"]"#,
                "spec.displayName",
                "spec.include",
                r#"spec.knowledgeSources[name="docs"]"#,
                "spec.retrieval.topK",
            ]
        );
        assert_eq!(
            Step::path(&[field("spec"), field("knowledgeSources"), item("docs")]),
            r#"spec.knowledgeSources[name="docs"]"#
        );
    }
}
