//! The resources as types; their documentation is the schema's.
#![expect(unreachable_pub, reason = "the schema derive makes a hidden copy of each struct")]
#![expect(clippy::duplicated_attributes, reason = "two columns may have one type")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{ChatLimits, Quota};

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
    validation = Rule::new("size(self.metadata.name) <= 40").message("a tenant's name has at most 40 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(oldSelf.namespace) == has(self.namespace) && (!has(self.namespace) || self.namespace == oldSelf.namespace)")
    .message("namespace cannot change; create a new Tenant instead"))]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// Name shown to people.
    #[schemars(length(min = 1, max = 120))]
    pub display_name: String,
    /// Namespace of the tenant's resources; the tenant's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
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
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The tenant's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Conditions, one a type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A chatbot that answers visitors from its knowledge sources.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "docbrain.dev",
    version = "v1alpha1",
    kind = "Chatbot",
    namespaced,
    shortname = "bot",
    category = "docbrain",
    status = "ChatbotStatus",
    derive = "PartialEq",
    cel,
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Sources", type_ = "string", json_path = ".status.sourcesReady"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ChatbotSpec {
    /// Name shown to visitors.
    #[schemars(length(min = 1, max = 120))]
    pub display_name: String,
    /// The chat model. Left out, and with no model configured for the installation, answers are quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// What the model is told of its role, before the rules about passages and citations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16000))]
    pub system_prompt: Option<String>,
    /// Said when the knowledge sources do not hold an answer.
    #[serde(default = "default_fallback_text")]
    #[schemars(length(min = 1, max = 2000))]
    pub fallback_text: String,
    /// Knowledge sources of the same namespace that answers are drawn from.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub knowledge_sources: Vec<KnowledgeRef>,
    /// Origins of pages that may embed the widget, such as `https://example.com`; none by default.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 255)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(o, o.matches('^https?://[a-z0-9.:-]+$'))")
            .message("an origin is scheme and host in lower case without a path, such as https://example.com")
    )]
    pub allowed_origins: Vec<String>,
    /// How passages are found.
    #[serde(default)]
    pub retrieval: Retrieval,
    /// How much may be asked.
    #[serde(default)]
    pub limits: ChatLimits,
    /// Questions are refused while true.
    #[serde(default)]
    pub suspended: bool,
}

/// The chat model of a chatbot, at the installation's endpoint.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name of the model, such as `gpt-4.1-mini`; the installation's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub model: Option<String>,
    /// Sampling temperature in hundredths: 20 is 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 200))]
    pub temperature_percent: Option<i32>,
}

/// A knowledge source by its name.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeRef {
    /// Name of a [`KnowledgeSource`] in the chatbot's namespace.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
}

/// How passages are found for a question.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retrieval {
    /// Passages an answer is made from.
    #[serde(default = "default_top_k")]
    #[schemars(range(min = 1, max = 50))]
    pub top_k: i32,
    /// Search by words as well as by meaning.
    #[serde(default = "default_hybrid")]
    pub hybrid: bool,
}

impl Default for Retrieval {
    fn default() -> Self {
        Self { top_k: default_top_k(), hybrid: default_hybrid() }
    }
}

/// What the operator says of a chatbot.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatbotStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready knowledge sources of all, as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources_ready: Option<String>,
    /// Conditions, one a type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Documents that belong together, and how they are indexed.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "docbrain.dev",
    version = "v1alpha1",
    kind = "KnowledgeSource",
    namespaced,
    shortname = "ks",
    category = "docbrain",
    status = "KnowledgeSourceStatus",
    derive = "PartialEq",
    cel,
    validation = Rule::new("size(self.metadata.name) <= 52").message("a knowledge source's name has at most 52 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Documents", type_ = "integer", json_path = ".status.documents"),
    printcolumn(name = "Chunks", type_ = "integer", json_path = ".status.chunks"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeSourceSpec {
    /// Where documents come from; exactly one kind, which cannot change later.
    pub source: Source,
    /// How documents are cut into chunks. A change builds a new generation of the index beside the old one.
    #[serde(default)]
    pub chunking: Chunking,
    /// No run starts while true.
    #[serde(default)]
    pub suspended: bool,
    /// What becomes of documents and index when the resource is deleted.
    #[serde(default = "default_source_deletion_policy")]
    pub deletion_policy: DeletionPolicy,
}

/// Where documents come from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.upload)").message("name exactly one kind of source; today that is `upload: {}`"))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Files that people or programs upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Upload>,
}

/// Uploaded files; there is nothing to set.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {}

/// How documents are cut into chunks; sizes are tokens of the embedding model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.overlap < self.size").message("overlap must be smaller than size"))]
#[serde(rename_all = "camelCase")]
pub struct Chunking {
    /// Which strategy cuts.
    #[serde(default)]
    pub strategy: ChunkingStrategy,
    /// Most tokens of a chunk.
    #[serde(default = "default_chunk_size")]
    #[schemars(range(min = 32, max = 8000))]
    pub size: i32,
    /// Tokens that neighbouring chunks share (Standard).
    #[serde(default = "default_chunk_overlap")]
    #[schemars(range(min = 0, max = 2000))]
    pub overlap: i32,
    /// Sentences returned on each side of the one that was found (Window).
    #[serde(default = "default_chunk_window")]
    #[schemars(range(min = 0, max = 20))]
    pub window: i32,
}

impl Default for Chunking {
    fn default() -> Self {
        Self {
            strategy: ChunkingStrategy::default(),
            size: default_chunk_size(),
            overlap: default_chunk_overlap(),
            window: default_chunk_window(),
        }
    }
}

/// The four ways to cut a document.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkingStrategy {
    /// Windows of a fixed number of tokens that end at sentences and overlap.
    Standard,
    /// By structure: headings, tables, code and lists stay whole.
    #[default]
    Markdown,
    /// Where the meaning of neighbouring sentences changes most.
    Semantic,
    /// Single sentences, returned with their neighbours.
    Window,
}

/// What the operator says of a knowledge source.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeSourceStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Documents of the source.
    #[serde(default)]
    pub documents: i32,
    /// Chunks of the active index generation.
    #[serde(default)]
    pub chunks: i32,
    /// Conditions, one a type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

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
    /// When it last changed (RFC 3339).
    pub last_transition_time: String,
}

/// Whether a condition holds.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the three values of Kubernetes")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

fn default_fallback_text() -> String {
    "I could not find an answer to that in the documentation.".to_owned()
}

fn default_top_k() -> i32 {
    8
}

fn default_hybrid() -> bool {
    true
}

fn default_source_deletion_policy() -> DeletionPolicy {
    DeletionPolicy::Delete
}

fn default_chunk_size() -> i32 {
    220
}

fn default_chunk_overlap() -> i32 {
    40
}

fn default_chunk_window() -> i32 {
    2
}
