//! What a change of a spec comes to: the least that differs, the complete intent it leads to, and what did not follow.
//!
//! Lists whose items have owners of their own (`x-kubernetes-list-type: map` and `set`) are compared without their order,
//! and an intent holds only the items that are its manager's.

use serde_json::{Map, Value, json};

use super::fields::Step;

/// How the items of a list are told apart; of other lists, the whole is one value.
enum Items<'a> {
    ByKeys(Vec<&'a str>),
    ByValue,
}

impl<'a> Items<'a> {
    fn of(schema: &'a Value) -> Option<Self> {
        match schema.get("x-kubernetes-list-type")?.as_str()? {
            "map" => {
                let keys = schema.get("x-kubernetes-list-map-keys")?.as_array()?;
                Some(Self::ByKeys(keys.iter().filter_map(Value::as_str).collect()))
            }
            "set" => Some(Self::ByValue),
            _ => None,
        }
    }

    fn step(&self, item: &Value) -> Step {
        match self {
            Self::ByKeys(keys) => {
                let value = |key: &&str| ((*key).to_owned(), item.get(*key).cloned().unwrap_or_default());
                Step::Item(keys.iter().map(value).collect())
            }
            Self::ByValue => Step::Value(item.clone()),
        }
    }

    fn find<'v>(&self, items: &'v [Value], step: &Step) -> Option<&'v Value> {
        items.iter().find(|item| self.step(item) == *step)
    }
}

fn property<'a>(schema: &'a Value, name: &str) -> &'a Value {
    &schema["properties"][name]
}

/// The least merge patch (RFC 7396) that makes `after` of `before`; an empty object when there is nothing to change.
pub(super) fn least(before: &Value, after: &Value, schema: &Value) -> Value {
    let mut patch = Map::new();
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return after.clone() };
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        let schema = property(schema, name);
        match old.get(name) {
            Some(old) if is_same(old, value, schema) => {}
            Some(old) if old.is_object() && value.is_object() => {
                patch.insert(name.clone(), least(old, value, schema));
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

fn is_same(before: &Value, after: &Value, schema: &Value) -> bool {
    differences(before, after, schema).is_empty()
}

/// The places where two specs differ.
pub(super) fn differences(wanted: &Value, got: &Value, schema: &Value) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    compare(wanted, got, schema, &mut Vec::new(), &mut found);
    found
}

fn compare(wanted: &Value, got: &Value, schema: &Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    match (wanted, got, Items::of(schema)) {
        (Value::Object(wanted), Value::Object(got), _) => {
            let names = wanted.keys().chain(got.keys().filter(|name| !wanted.contains_key(*name)));
            for name in names {
                path.push(Step::Field(name.clone()));
                match (wanted.get(name), got.get(name)) {
                    (Some(wanted), Some(got)) => compare(wanted, got, property(schema, name), path, found),
                    _ => found.push(path.clone()),
                }
                path.pop();
            }
        }
        (Value::Array(wanted), Value::Array(got), Some(items)) => {
            let steps = wanted.iter().chain(got).map(|item| items.step(item));
            let mut seen = Vec::new();
            for step in steps {
                if seen.contains(&step) {
                    continue;
                }
                let pair = (items.find(wanted, &step), items.find(got, &step));
                path.push(step.clone());
                seen.push(step);
                match pair {
                    (Some(wanted), Some(got)) => compare(wanted, got, &schema["items"], path, found),
                    _ => found.push(path.clone()),
                }
                path.pop();
            }
        }
        (wanted, got, _) if wanted == got => {}
        _ => found.push(path.clone()),
    }
}

/// Carries the least patch from `before` to `after` over into an intent, which is a part of `before`.
pub(super) fn follow(intent: &mut Value, patch: &Value, before: &Value, schema: &Value) {
    if !intent.is_object() {
        *intent = json!({});
    }
    let (Some(intent), Some(patch)) = (intent.as_object_mut(), patch.as_object()) else { return };
    for (name, change) in patch {
        let (before, schema) = (&before[name], property(schema, name));
        match (change, Items::of(schema)) {
            (Value::Null, _) => {
                intent.remove(name);
            }
            (Value::Array(wanted), Some(items)) => {
                let own = items_of(intent.get(name), before, wanted, &items);
                if own.is_empty() {
                    intent.remove(name);
                } else {
                    intent.insert(name.clone(), Value::Array(own));
                }
            }
            (Value::Object(_), _) if before.is_object() => {
                follow(intent.entry(name.as_str()).or_insert_with(|| json!({})), change, before, schema);
            }
            _ => {
                intent.insert(name.clone(), without_nulls(change));
            }
        }
    }
}

/// Of the wanted items, those that are the intent's already, and those that are new or changed.
fn items_of(own: Option<&Value>, before: &Value, wanted: &[Value], items: &Items<'_>) -> Vec<Value> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (own, before) = (list(own), list(Some(before)));
    let is_own = |item: &Value| {
        let step = items.step(item);
        items.find(&own, &step).is_some() || items.find(&before, &step) != Some(item)
    };
    wanted.iter().filter(|item| is_own(item)).map(without_nulls).collect()
}

/// A field that is null is one that is not there; applied, it would be owned.
pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use docbrain_crds::manifest::{Kind, spec_schema};

    use super::*;

    fn sources(names: &[&str]) -> Value {
        names.iter().map(|name| json!({ "name": name })).collect()
    }

    #[test]
    fn a_patch_is_cut_down_to_what_differs() {
        let schema = spec_schema(Kind::Chatbot);
        let before = json!({
            "displayName": "Bot", "suspended": false, "retrieval": {"topK": 8, "hybrid": true},
            "knowledgeSources": sources(&["docs", "faq"]), "systemPrompt": "Be brief.",
        });
        for (patch, left) in [
            (json!({"displayName": "Bot", "suspended": false}), json!({})),
            (json!({"displayName": "Other", "suspended": false}), json!({"displayName": "Other"})),
            (json!({"retrieval": {"topK": 9, "hybrid": true}}), json!({"retrieval": {"topK": 9}})),
            (json!({"knowledgeSources": sources(&["faq", "docs"])}), json!({})),
            (json!({"knowledgeSources": sources(&["faq"])}), json!({"knowledgeSources": sources(&["faq"])})),
            (json!({"systemPrompt": null, "model": null}), json!({"systemPrompt": null})),
            (json!({"model": {"model": "m", "baseUrl": null}}), json!({"model": {"model": "m"}})),
        ] {
            let mut after = before.clone();
            docbrain_core::provision::merge(&mut after, &patch);
            assert_eq!(least(&before, &after, &schema), left, "{patch}");
        }
    }

    #[test]
    fn an_intent_follows_a_change_and_takes_no_more() {
        let schema = spec_schema(Kind::Chatbot);
        let before = json!({
            "displayName": "Bot", "retrieval": {"topK": 8, "hybrid": true},
            "knowledgeSources": sources(&["theirs", "mine", "both"]),
            "allowedOrigins": ["https://theirs.example", "https://mine.example"],
        });
        let own = json!({
            "retrieval": {"topK": 8}, "knowledgeSources": sources(&["mine", "both"]), "allowedOrigins": ["https://mine.example"],
        });
        let mut all = own.clone();
        all["displayName"] = "New".into();
        let with = |field: &str, value: Value| {
            let mut changed = own.clone();
            changed[field] = value;
            changed
        };
        let without = |field: &str| {
            let mut changed = own.clone();
            changed.as_object_mut().unwrap().remove(field);
            changed
        };
        for (patch, intent) in [
            (json!({}), own.clone()),
            (json!({"displayName": "New"}), all.clone()),
            (json!({"retrieval": {"hybrid": false}}), with("retrieval", json!({"topK": 8, "hybrid": false}))),
            (json!({"retrieval": {"topK": null}}), with("retrieval", json!({}))),
            (json!({"retrieval": null}), without("retrieval")),
            (json!({"model": {"model": "m", "baseUrl": null}}), with("model", json!({"model": "m"}))),
            // One that is added is its own, theirs stay theirs.
            (
                json!({"knowledgeSources": sources(&["theirs", "mine", "both", "new"])}),
                with("knowledgeSources", sources(&["mine", "both", "new"])),
            ),
            (json!({"knowledgeSources": sources(&["theirs", "both"])}), with("knowledgeSources", sources(&["both"]))),
            // Theirs cannot be taken away: the intent is as it was, and the difference is seen afterwards.
            (json!({"knowledgeSources": sources(&["mine", "both"])}), own.clone()),
            (json!({"knowledgeSources": sources(&["theirs"])}), without("knowledgeSources")),
            (json!({"knowledgeSources": []}), without("knowledgeSources")),
            (
                json!({"allowedOrigins": ["https://theirs.example", "https://new.example"]}),
                with("allowedOrigins", json!(["https://new.example"])),
            ),
        ] {
            let mut after = before.clone();
            docbrain_core::provision::merge(&mut after, &patch);
            let mut followed = own.clone();
            follow(&mut followed, &least(&before, &after, &schema), &before, &schema);
            assert_eq!(followed, intent, "{patch}");
        }
    }

    #[test]
    fn differences_name_their_places() {
        let schema = spec_schema(Kind::Chatbot);
        let paths = |wanted: Value, got: Value| -> Vec<String> {
            differences(&wanted, &got, &schema).iter().map(|path| Step::path(path)).collect()
        };
        assert_eq!(paths(json!({"displayName": "a"}), json!({"displayName": "b"})), ["displayName"]);
        assert_eq!(
            paths(
                json!({"knowledgeSources": sources(&["a", "b"]), "allowedOrigins": ["https://x.example"]}),
                json!({"knowledgeSources": sources(&["c", "b"]), "allowedOrigins": ["https://x.example"]}),
            ),
            [r#"knowledgeSources[name="a"]"#, r#"knowledgeSources[name="c"]"#]
        );
        assert_eq!(paths(json!({"retrieval": {"topK": 1}}), json!({"retrieval": {"topK": 2}, "model": {}})).len(), 2);
    }

    #[test]
    fn nulls_go() {
        assert_eq!(without_nulls(&json!({"a": null, "b": {"c": null, "d": [{"e": null}]}})), json!({"b": {"d": [{}]}}));
    }
}
