//! [`Chatbot`].
#![expect(unreachable_pub, reason = "the schema derive makes a hidden copy of each struct")]
#![expect(clippy::duplicated_attributes, reason = "two columns may have one type")]

use std::str::FromStr;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::limits::ChatLimits;

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
    selectable = ".spec.suspended",
    selectable = ".spec.model.provider",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Sources", type_ = "string", json_path = ".status.sourcesReady"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ChatbotSpec {
    /// Name shown to visitors.
    #[schemars(length(min = 1, max = 120))]
    pub display_name: String,
    /// The chat model. Left out, and with no model configured for the tenant or the installation, answers are quotes.
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

/// The chat model of a chatbot: a model of the tenant's or the installation's provider, or one of a provider of its own.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.apiKeySecretRef) || has(self.baseUrl)")
    .message("apiKeySecretRef needs baseUrl: a key is sent only where you say"))]
#[x_kube(validation = Rule::new("!has(self.baseUrl) || has(self.model)")
    .message("baseUrl needs model: name one that this server has"))]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name of the model, such as `gpt-4.1-mini`; the provider's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub model: Option<String>,
    /// Base URL of an OpenAI-compatible server of this chatbot's own, such as `https://api.openai.com/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    #[x_kube(validation = Rule::new("isURL(self) && self.matches('^(?i:https?)://[^/?#]')")
        .message("baseUrl is an http or https URL, such as https://api.openai.com/v1"))]
    pub base_url: Option<String>,
    /// Whose server `baseUrl` is; they differ in how they want the key.
    #[serde(default)]
    pub provider: ProviderKind,
    /// The key for `baseUrl`, in a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyRef>,
    /// Sampling temperature in hundredths: 20 is 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 200))]
    pub temperature_percent: Option<i32>,
}

/// Whose server a model is behind.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// `OpenAI`'s own.
    Openai,
    /// Azure `OpenAI`, at its `/openai/v1`.
    Azure,
    /// Any other that speaks `OpenAI`'s protocol, such as Ollama or vLLM.
    #[default]
    Compatible,
}

impl ProviderKind {
    /// As specs, settings and environment variables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Azure => "azure",
            Self::Compatible => "compatible",
        }
    }
}

impl FromStr for ProviderKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Openai, Self::Azure, Self::Compatible]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| "one of openai, azure, compatible is wanted".to_owned())
    }
}

/// One value of a Secret of the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Key within it.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A knowledge source by its name.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeRef {
    /// Name of a [`KnowledgeSource`](super::KnowledgeSource) in the chatbot's namespace.
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
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatbotStatus {
    /// Generation of the spec this status speaks of; -1 before the operator has seen the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The chatbot's id in the API and the widget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where the API describes the chatbot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Ready knowledge sources of all, as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources_ready: Option<String>,
    /// Hash of the configuration that answers now, the version of its key included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Conditions, one a type.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
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
