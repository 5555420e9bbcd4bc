//! Who manages a resource, in words for whoever wants to change it.

use docbrain_crds::manifest::Kind;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::cluster::MANAGER;
use super::fields::{self, Owner, Step};
use super::noun;
use crate::control_plane::{Manager, Refusal};

/// Fields that a refusal names.
const MOST_FIELDS: usize = 8;

/// What [`MANAGER`] has applied of the object so far, as it would apply it again.
pub(super) fn own_intent(object: &DynamicObject) -> Value {
    let own = fields::owners(&object.metadata).into_iter().find(is_own);
    let whole = serde_json::to_value(object).expect("an object is JSON");
    let mut intent = own.map_or_else(|| json!({}), |own| own.intent(&whole));
    // `null` is no object to add to.
    for part in ["metadata", "spec"] {
        if !intent[part].is_object() {
            intent[part] = json!({});
        }
    }
    intent
}

/// Everybody else who owns a part of the spec.
pub(super) fn others(object: &DynamicObject) -> impl Iterator<Item = Owner> {
    fields::owners(&object.metadata).into_iter().filter(|owner| !is_own(owner) && !owner.paths().is_empty())
}

fn is_own(owner: &Owner) -> bool {
    owner.name == MANAGER && owner.applies
}

/// Everybody who owns a part of the spec, the API itself included.
pub(super) fn managers(object: &DynamicObject) -> Vec<Manager> {
    let owners = fields::owners(&object.metadata).into_iter();
    let managers = owners.map(|owner| Manager { is_own: is_own(&owner), fields: owner.paths(), name: owner.name });
    managers.filter(|manager| !manager.fields.is_empty()).collect()
}

/// The other managers of places in the spec, each with its place; a place of nobody's stands alone.
pub(super) fn of_places(object: &DynamicObject, places: Vec<Vec<Step>>) -> Vec<(String, String)> {
    let others: Vec<Owner> = others(object).collect();
    let places = places.into_iter().map(|mut place| {
        place.insert(0, Step::Field("spec".to_owned()));
        place
    });
    places
        .flat_map(|place| {
            let owners = others.iter().filter(|owner| owner.owns(&place)).map(|owner| owner.name.clone());
            let mut owners: Vec<String> = owners.collect();
            if owners.is_empty() {
                owners.push(String::new());
            }
            let path = Step::path(&place);
            owners.into_iter().map(move |owner| (owner, path.clone()))
        })
        .collect()
}

/// Refuses a change that somebody else would undo.
pub(super) fn refusal_of(owned: &[(String, String)]) -> Refusal {
    let mut managers: Vec<&str> = owned.iter().map(|(manager, _)| manager.as_str()).collect();
    managers.sort_unstable();
    managers.dedup();
    let sentences = managers.into_iter().map(|manager| {
        let mut fields: Vec<&str> =
            owned.iter().filter(|(owner, _)| owner == manager).map(|(_, field)| field.as_str()).collect();
        fields.dedup();
        sentence(&fields, manager)
    });
    Refusal::Owned { detail: sentences.collect::<Vec<_>>().join("; ") }
}

fn sentence(fields: &[&str], manager: &str) -> String {
    let (verb, it) = if fields.len() == 1 { ("is", "it") } else { ("are", "them") };
    let more = fields.len().saturating_sub(MOST_FIELDS);
    let named = fields[..fields.len() - more].join(", ");
    let named = if more > 0 { format!("{named} and {more} more") } else { named };
    if manager.is_empty() {
        return format!("{named} {verb} kept by the cluster, which names nobody for {it}");
    }
    format!("{named} {verb} managed by {}; change {it} there", described(manager))
}

/// A manager with what it is, where that is known.
fn described(manager: &str) -> String {
    let kind = match manager {
        "argocd-controller"
        | "argocd-application-controller"
        | "kustomize-controller"
        | "helm-controller"
        | "gitops" => "GitOps",
        "helm" | "Helm" => "a Helm release",
        "before-first-apply" => "whoever made it",
        "kubectl" | "kubectl-client-side-apply" => "kubectl apply",
        _ if manager.starts_with("kubectl") => "by hand",
        MANAGER => "over this API, in another way",
        _ => return manager.to_owned(),
    };
    format!("{manager} ({kind})")
}

/// Refuses to delete what somebody declares elsewhere, who would make it again. What was changed by hand is not declared.
pub(super) fn check_deletion(kind: Kind, object: &DynamicObject) -> Result<(), Refusal> {
    let is_declared = |owner: &Owner| {
        let by_hand = owner.name.starts_with("kubectl-") && owner.name != "kubectl-client-side-apply";
        owner.applies || !by_hand
    };
    let owners: Vec<String> = others(object).filter(is_declared).map(|owner| described(&owner.name)).collect();
    if owners.is_empty() {
        return Ok(());
    }
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let detail = format!("the {} {name:?} is managed by {}; delete it there", noun(kind), owners.join(", "));
    Err(Refusal::Owned { detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(owned: &[(&str, &str)]) -> String {
        let owned: Vec<_> = owned.iter().map(|(name, field)| ((*name).to_owned(), (*field).to_owned())).collect();
        match refusal_of(&owned) {
            Refusal::Owned { detail } => detail,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_refusal_names_manager_and_fields() {
        assert_eq!(
            detail(&[("argocd-controller", "spec.displayName")]),
            "spec.displayName is managed by argocd-controller (GitOps); change it there"
        );
        assert_eq!(
            detail(&[("kubectl-edit", "spec.a"), ("ours", "spec.b"), ("kubectl-edit", "spec.c")]),
            "spec.a, spec.c are managed by kubectl-edit (by hand); change them there; spec.b is managed by ours; change it there"
        );
        let many: Vec<(String, String)> = (0..10).map(|n| ("m".to_owned(), format!("spec.f{n}"))).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, field)| (name.as_str(), field.as_str())).collect();
        assert!(detail(&many).contains("spec.f7 and 2 more are managed by m"), "{}", detail(&many));
        assert!(detail(&[("", "spec.a")]).contains("names nobody"));
    }
}
