//! Whose changes of specs the audit log names, and what it says of them.

use docbrain_crds::ObjectMeta;
use docbrain_crds::manifest::Kind;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::origin_of;
use crate::store::audit::{self, Actor, ActorKind};
use crate::store::{self, TenantTx};

/// What became of a spec.
pub(super) enum Change<'a> {
    Made { spec: &'a Value },
    Changed { before: &'a Value, after: &'a Value },
    Deleted { before: &'a Value },
}

/// Notes it in the audit log.
pub(super) async fn note(
    tx: &mut TenantTx,
    actor: &Actor,
    kind: Kind,
    name: &str,
    change: Change<'_>,
) -> Result<(), store::Error> {
    let (verb, detail) = match change {
        Change::Made { spec } => ("create", json!({ "spec": spec })),
        // The same spec of another resource, or of a later state of it.
        Change::Changed { before, after } if before == after => return Ok(()),
        Change::Changed { before, after } => {
            ("update", json!({ "patch": difference(before, after), "before": before }))
        }
        Change::Deleted { before } => ("delete", json!({ "before": before })),
    };
    let noun = match kind {
        Kind::Tenant => "tenant",
        Kind::Chatbot => "chatbot",
        Kind::KnowledgeSource => "source",
    };
    audit::record(tx, actor, &format!("{noun}.{verb}"), name, &detail).await
}

/// Who made a resource what it is: in a cluster the manager that wrote its spec last, on one machine the command line.
pub fn author_of(metadata: &ObjectMeta) -> Actor {
    actor(metadata, last_writer(metadata))
}

/// Who deletes a resource: Kubernetes does not say.
pub(super) fn deleter_of(metadata: &ObjectMeta) -> Actor {
    actor(metadata, None)
}

fn actor(metadata: &ObjectMeta, manager: Option<&str>) -> Actor {
    let origin = origin_of(metadata);
    let (kind, name, request_id) = match origin.uid {
        Some(uid) => (ActorKind::Manager, manager.unwrap_or("unknown"), format!("{uid}/{}", origin.generation)),
        None => (ActorKind::Installation, "command line", Uuid::now_v7().to_string()),
    };
    Actor { kind, name: name.to_owned(), ip: None, request_id }
}

/// The field manager that wrote a resource's spec last. An entry without fields is taken to be of the spec.
pub fn last_writer(metadata: &ObjectMeta) -> Option<&str> {
    let of_spec = metadata.managed_fields.iter().flatten().filter(|entry| {
        entry.subresource.is_none() && entry.fields_v1.as_ref().is_none_or(|fields| fields.0.get("f:spec").is_some())
    });
    of_spec.max_by_key(|entry| entry.time.as_ref().map(|time| time.0)).and_then(|entry| entry.manager.as_deref())
}

/// The least merge patch (RFC 7396) that makes `after` of `before`.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let dropped = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let set = after.iter().filter_map(|(name, value)| match before.get(name) {
        Some(old) if old == value => None,
        Some(old) => Some((name.clone(), difference(old, value))),
        None => Some((name.clone(), value.clone())),
    });
    Value::Object(dropped.chain(set).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::super::merge;
    use super::*;

    #[test]
    fn a_difference_is_the_least_patch() {
        for (before, after, patch) in [
            (json!({"a": 1, "b": {"c": 2, "d": 3}}), json!({"a": 1, "b": {"c": 4, "d": 3}}), json!({"b": {"c": 4}})),
            (json!({"a": 1, "b": 2}), json!({"b": 2}), json!({"a": null})),
            (json!({"l": [1, 2]}), json!({"l": [1], "n": {"x": 1}}), json!({"l": [1], "n": {"x": 1}})),
            (json!({"s": {"upload": {}}}), json!({"s": {"web": {}}}), json!({"s": {"upload": null, "web": {}}})),
        ] {
            assert_eq!(difference(&before, &after), patch);
            let mut merged = before;
            merge(&mut merged, &patch);
            assert_eq!(merged, after);
        }
    }

    #[test]
    fn the_author_is_who_wrote_the_spec_last() {
        let entry = |manager: &str, minute: u32, part: &str| {
            json!({
                "manager": manager, "operation": "Apply", "time": format!("2026-11-28T10:{minute:02}:00Z"),
                "fieldsType": "FieldsV1", "fieldsV1": {part: {"f:any": {}}},
            })
        };
        let mut of_status = entry("docbrain-operator", 9, "f:spec");
        of_status["subresource"] = "status".into();
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "helper", "uid": Uuid::from_u128(7), "generation": 3,
            "managedFields": [
                entry("kubectl-edit", 2, "f:spec"), entry("argocd-controller", 4, "f:spec"),
                entry("docbrain-operator", 8, "f:metadata"), of_status,
            ],
        }))
        .unwrap();
        let author = author_of(&metadata);
        assert_eq!((author.kind, author.name.as_str()), (ActorKind::Manager, "argocd-controller"));
        assert_eq!(author.request_id, format!("{}/3", Uuid::from_u128(7)));
        assert_eq!(deleter_of(&metadata).name, "unknown");
        let of_machine = author_of(&ObjectMeta::default());
        assert_eq!((of_machine.kind, of_machine.name.as_str()), (ActorKind::Installation, "command line"));
    }
}
