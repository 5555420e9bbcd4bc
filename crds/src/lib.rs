//! The custom resources of DocBrain, group `docbrain.dev/v1alpha1`: [`Tenant`], [`Chatbot`], [`KnowledgeSource`].
//!
//! The same types describe a resource to Kubernetes (`kubectl apply`) and to one machine (`docbrain apply`), and the
//! same rules judge it: [`manifest::read`] checks a manifest against the schema and the CEL rules of the generated CRDs.

pub mod limits;
pub mod manifest;
pub mod resources;

pub use limits::{Budget, ChatLimits, Quota};
pub use resources::{
    Chatbot, ChatbotSpec, ChatbotStatus, Chunking, ChunkingStrategy, Condition, ConditionStatus, CurrentRun,
    DeletionPolicy, EndedRun, GitSource, KnowledgeRef, KnowledgeSource, KnowledgeSourceSpec, KnowledgeSourceStatus,
    Model, ProviderKind, Retrieval, RunResult, SecretKeyRef, SecretRef, Source, Tenant, TenantSpec, TenantStatus,
    Upload, WebSource,
};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;

/// The group of all resources.
pub const GROUP: &str = "docbrain.dev";
/// Group and version as they stand in `apiVersion`.
pub const API_VERSION: &str = "docbrain.dev/v1alpha1";

/// Asks for a run of a [`KnowledgeSource`] whenever its value changes; the status answers with
/// `lastHandledSyncRequest`.
pub const SYNC_REQUESTED_AT: &str = "docbrain.dev/sync-requested-at";
/// `true` on a [`Tenant`] lets it be deleted, with all that it has; the chart's admission policy asks for it.
pub const ALLOW_DELETE: &str = "docbrain.dev/allow-delete";
/// `true` on a resource that is being deleted gives up what cannot be reached any more, such as a database that is gone.
pub const FORCE_FINALIZE: &str = "docbrain.dev/force-finalize";
/// The tenant that a namespace belongs to: the name of its [`Tenant`].
pub const TENANT_LABEL: &str = "docbrain.dev/tenant";
/// `dashboard` on resources that were made over the API.
pub const MANAGED_BY_LABEL: &str = "docbrain.dev/managed-by";

/// `pending` on a [`Tenant`] whose registration over the API has not ended; one that has broken off is taken back.
pub const REGISTRATION_LABEL: &str = "docbrain.dev/registration";

/// The definitions as they are installed into a cluster, in the order of their names.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [Chatbot::crd(), KnowledgeSource::crd(), Tenant::crd()].map(with_unobserved_status).into()
}

/// A resource that the operator has not seen yet says so: without a status, `kubectl wait`, Helm and Flux would take it
/// for done (kstatus).
fn with_unobserved_status(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"))
            .expect("each resource has a status");
        status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
    }
    definition
}
