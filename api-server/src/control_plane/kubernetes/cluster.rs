//! Calls to the API server of Kubernetes: each within ten seconds, tried once, its failure told apart.

use std::future::Future;
use std::time::Duration;

use docbrain_crds::manifest::Kind;
use docbrain_crds::{ALLOW_DELETE, Chatbot, KnowledgeSource, Tenant};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions, ValidationDirective,
};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::{Value, json};

/// Applies what is wanted over the API.
pub(super) const MANAGER: &str = "docbrain-dashboard";
/// Writes what is no part of anybody's intent, such as the word that a tenant may be deleted.
const OPERATIONS: &str = "docbrain-dashboard-ops";
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Somebody else owns what would change: each with the field.
    #[error("somebody else owns {}", fields_of(conflicts))]
    Owned {
        /// Manager and field.
        conflicts: Vec<(String, String)>,
    },
    /// The object has changed since it was read.
    #[error("the object has changed since it was read")]
    Stale,
    /// The object breaks a rule.
    #[error("the API server refuses the object: {}", problems.join("; "))]
    Invalid {
        /// What is wrong, in the words of the resource's schema and of policies.
        problems: Vec<String>,
    },
    /// The API server does not answer, or has no time.
    #[error("the API server of Kubernetes does not answer")]
    Unavailable {
        /// What the client said.
        #[source]
        source: Option<Box<kube::Error>>,
    },
    /// Anything else, such as a right that is missing.
    #[error("the API server of Kubernetes refuses the call")]
    Refused {
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
}

fn fields_of(conflicts: &[(String, String)]) -> String {
    conflicts.iter().map(|(_, field)| field.as_str()).collect::<Vec<_>>().join(", ")
}

/// Where an object is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) kind: Kind,
    /// Empty for a tenant.
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// A cluster; cheap to clone.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
}

impl Cluster {
    pub(super) fn new(mut config: Config) -> Result<Self, kube::Error> {
        // Whoever waits for an edit is told soon that it cannot be made.
        config.default_retry = false;
        config.connect_timeout = Some(PATIENCE / 2);
        Ok(Self { client: Client::try_from(config)? })
    }

    /// The object at this place; `None`: there is none.
    pub(super) async fn get(&self, place: Place<'_>) -> Result<Option<DynamicObject>, CallError> {
        self.call(self.objects(place.kind, place.namespace).get_opt(place.name)).await
    }

    /// Applies the whole intent of [`MANAGER`], and takes nothing from others. The object as it is then, or would be.
    pub(super) async fn apply(
        &self,
        place: Place<'_>,
        intent: &Value,
        dry_run: bool,
    ) -> Result<DynamicObject, CallError> {
        let parameters = PatchParams {
            dry_run,
            force: false,
            field_manager: Some(MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let objects = self.objects(place.kind, place.namespace);
        self.call(objects.patch(place.name, &parameters, &Patch::Apply(intent))).await
    }

    /// Deletes the object with this uid, if it is still at this version; `false`: it is gone already.
    pub(super) async fn delete(
        &self,
        place: Place<'_>,
        uid: Option<String>,
        version: Option<String>,
    ) -> Result<bool, CallError> {
        let preconditions = Some(Preconditions { resource_version: version, uid });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        let objects = self.objects(place.kind, place.namespace);
        let deleted = self.call(async {
            match objects.delete(place.name, &parameters).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
                deleted => deleted.map(|_| true),
            }
        });
        deleted.await
    }

    /// Lets a tenant be deleted.
    pub(super) async fn allow_deletion(&self, name: &str) -> Result<(), CallError> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { ALLOW_DELETE: "true" } } }));
        let parameters = PatchParams { field_manager: Some(OPERATIONS.to_owned()), ..PatchParams::default() };
        let tenants = self.objects(Kind::Tenant, "");
        self.call(async { tenants.patch_metadata(name, &parameters, &patch).await.map(drop) }).await
    }

    /// The tenants with this label, or all.
    pub(super) async fn tenants(&self, label: Option<&str>) -> Result<Vec<DynamicObject>, CallError> {
        let parameters = ListParams { label_selector: label.map(str::to_owned), ..ListParams::default() };
        let tenants = self.objects(Kind::Tenant, "");
        Ok(self.call(tenants.list(&parameters)).await?.items)
    }

    /// The namespace of this name.
    pub(super) async fn namespace(&self, name: &str) -> Result<Option<Namespace>, CallError> {
        self.call(Api::<Namespace>::all(self.client.clone()).get_opt(name)).await
    }

    fn objects(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = match kind {
            Kind::Tenant => ApiResource::erase::<Tenant>(&()),
            Kind::Chatbot => ApiResource::erase::<Chatbot>(&()),
            Kind::KnowledgeSource => ApiResource::erase::<KnowledgeSource>(&()),
        };
        match kind {
            Kind::Tenant => Api::all_with(self.client.clone(), &resource),
            Kind::Chatbot | Kind::KnowledgeSource => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(answer) => answer.map_err(CallError::from),
            Err(_) => Err(CallError::Unavailable { source: None }),
        }
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        let status = match &error {
            kube::Error::Api(status) => status,
            kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::Auth(_) => {
                return Self::Unavailable { source: Some(Box::new(error)) };
            }
            _ => return Self::Refused { source: Box::new(error) },
        };
        if status.is_conflict() {
            let conflicts = conflicts(status);
            return if conflicts.is_empty() { Self::Stale } else { Self::Owned { conflicts } };
        }
        match status.code {
            400 | 422 => Self::Invalid { problems: problems(status) },
            // A namespace or a definition that is not there; an object that is not there is no error.
            404 | 429 | 500.. => Self::Unavailable { source: Some(Box::new(error)) },
            _ => Self::Refused { source: Box::new(error) },
        }
    }
}

/// Managers and fields of a refused apply, out of causes such as `conflict with "argocd-controller" using
/// docbrain.dev/v1alpha1` at `.spec.displayName`.
fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let owned = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    owned
        .map(|cause| {
            let manager = cause.message.split('"').nth(1).unwrap_or("another manager");
            (manager.to_owned(), cause.field.trim_start_matches('.').to_owned())
        })
        .collect()
}

fn problems(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let problems: Vec<String> = causes
        .map(|cause| {
            let field = cause.field.trim_start_matches("spec.");
            if field.is_empty() { cause.message.clone() } else { format!("{field}: {}", cause.message) }
        })
        .collect();
    if problems.is_empty() { vec![status.message.clone()] } else { problems }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(code: u16, reason: &str, causes: &Value) -> CallError {
        let status = json!({
            "status": "Failure", "code": code, "reason": reason, "message": "as the server puts it", "details": {"causes": causes},
        });
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())).into()
    }

    #[test]
    fn refusals_are_told_apart() {
        let causes = json!([{
            "reason": "FieldManagerConflict", "field": ".spec.displayName",
            "message": "conflict with \"argocd-controller\" using docbrain.dev/v1alpha1",
        }]);
        let CallError::Owned { conflicts } = error(409, "Conflict", &causes) else { panic!("it is owned") };
        assert_eq!(conflicts, [("argocd-controller".to_owned(), "spec.displayName".to_owned())]);
        assert!(matches!(error(409, "Conflict", &json!([])), CallError::Stale));
        let causes = json!([{"reason": "FieldValueInvalid", "field": "spec.source", "message": "it cannot change"}]);
        let CallError::Invalid { problems } = error(422, "Invalid", &causes) else { panic!("it is invalid") };
        assert_eq!(problems, ["source: it cannot change"]);
        let CallError::Invalid { problems } = error(422, "Invalid", &json!([])) else { panic!("it is invalid") };
        assert_eq!(problems, ["as the server puts it"]);
        for code in [404, 429, 500, 503, 504] {
            assert!(matches!(error(code, "x", &json!([])), CallError::Unavailable { .. }), "{code}");
        }
        assert!(matches!(error(403, "Forbidden", &json!([])), CallError::Refused { .. }));
    }
}
