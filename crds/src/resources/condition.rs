//! Conditions, in the form that `kubectl wait`, Flux and Helm understand (kstatus).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A statement about a resource, in the form of Kubernetes' `metav1.Condition`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When its status last changed (RFC 3339).
    pub last_transition_time: String,
    /// Generation of the spec it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Whether a condition holds.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the three values of Kubernetes")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}
