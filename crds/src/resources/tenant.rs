//! [`Tenant`].
#![expect(unreachable_pub, reason = "the schema derive makes a hidden copy of each struct")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::limits::Quota;

/// A customer of the platform: one namespace and an isolated slice of the database.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "docbrain.dev",
    version = "v1alpha1",
    kind = "Tenant",
    shortname = "tnt",
    category = "docbrain",
    status = "TenantStatus",
    derive = "PartialEq",
    cel,
    selectable = ".spec.suspended",
    validation = Rule::new("size(self.metadata.name) <= 40").message("a tenant's name has at most 40 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(oldSelf.namespace) == has(self.namespace)")
    .message("namespace cannot change; create a new Tenant instead"))]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// Name shown to people.
    #[schemars(length(min = 1, max = 120))]
    pub display_name: String,
    /// Namespace of the tenant's resources; the tenant's own name when left out. It cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("namespace cannot change; create a new Tenant instead"))]
    pub namespace: Option<String>,
    /// Upper limits; no limit where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Days for which conversations are kept after their last answer; for ever when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub conversation_retention_days: Option<i32>,
    /// Chat and ingestion stand still while true; nothing is lost.
    #[serde(default)]
    pub suspended: bool,
    /// What becomes of the tenant's rows when the resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Whether rows outlive their resource.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// Rows stay, unreachable until the resource is applied again.
    #[default]
    Retain,
    /// Rows go with the resource.
    Delete,
}

/// What the operator says of a tenant.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// Generation of the spec this status speaks of; -1 before the operator has seen the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The tenant's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The tenant's id in the API and the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Conditions, one a type.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl Tenant {
    /// The namespace that is the tenant's, whether or not it is there yet.
    pub fn own_namespace(&self) -> &str {
        self.spec.namespace.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}
