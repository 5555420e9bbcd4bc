//! The custom resources of DocBrain, group `docbrain.dev/v1alpha1`: [`Tenant`], [`Chatbot`], [`KnowledgeSource`].
//!
//! The same types describe a resource to Kubernetes (`kubectl apply`) and to one machine (`docbrain apply`), and the
//! same rules judge it: [`manifest::read`] checks a manifest against the schema and the CEL rules of the generated CRDs.

pub mod limits;
pub mod manifest;
pub mod resources;

pub use limits::{Budget, ChatLimits, Quota};
pub use resources::{
    Chatbot, ChatbotSpec, ChatbotStatus, Chunking, ChunkingStrategy, Condition, ConditionStatus, DeletionPolicy,
    KnowledgeRef, KnowledgeSource, KnowledgeSourceSpec, KnowledgeSourceStatus, Model, Retrieval, Source, Tenant,
    TenantSpec, TenantStatus, Upload,
};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The group of all resources.
pub const GROUP: &str = "docbrain.dev";
/// Group and version as they stand in `apiVersion`.
pub const API_VERSION: &str = "docbrain.dev/v1alpha1";

/// The definitions as they are installed into a cluster, in the order of their names.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![Chatbot::crd(), KnowledgeSource::crd(), Tenant::crd()]
}
