//! What providers look like to a client.

use std::collections::BTreeMap;

use docbrain_core::models::ProviderKind;
use docbrain_core::providers::{KeyChange, Price, Probe, Provider, ProviderSettings, Purpose, WantedProvider};
use docbrain_core::store::secrets::SecretSummary;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The tenant's own providers; without one, the installation's is used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProviderList {
    /// For chat.
    chat: Option<ProviderBody>,
    /// For embeddings.
    embeddings: Option<ProviderBody>,
}

/// A model provider.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderBody {
    /// `openai`, `azure`, or `compatible` for any other that speaks OpenAI's protocol.
    #[schema(value_type = Kind)]
    kind: ProviderKind,
    /// Its base URL.
    #[schema(example = "https://api.openai.com/v1")]
    base_url: String,
    /// The model's name there.
    #[schema(example = "gpt-4.1-mini")]
    model: String,
    /// The last four characters of the stored key; a short key shows none.
    #[schema(example = "…wxyz")]
    api_key: Option<String>,
    /// What models there cost, by name.
    #[schema(value_type = BTreeMap<String, PriceBody>)]
    prices: BTreeMap<String, Price>,
}

/// A provider to use.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "openai", "model": "gpt-4.1-mini", "api_key": "sk-…"}))]
pub(crate) struct PutProvider {
    /// `openai`, `azure`, or `compatible` for any other that speaks OpenAI's protocol, such as Ollama or vLLM.
    #[schema(value_type = Kind)]
    kind: ProviderKind,
    /// Its base URL; OpenAI's is known, Azure's is `https://NAME.openai.azure.com/openai/v1`.
    base_url: Option<String>,
    /// The model's name there.
    #[schema(min_length = 1, max_length = 200)]
    model: String,
    /// Its key. Left out, the stored one stays, if the base URL does; an empty one removes it.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only)]
    api_key: Option<SecretString>,
    /// What models there cost, by name.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, PriceBody>)]
    prices: BTreeMap<String, Price>,
}

/// Which settings to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestProvider {
    /// These, which are not stored; left out, the stored ones.
    pub(super) settings: Option<PutProvider>,
}

/// What came of a call to a provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProbeBody {
    /// Whether it answered as it should.
    ok: bool,
    /// How long it took.
    #[schema(example = 420)]
    milliseconds: u64,
    /// The model that was asked.
    #[schema(example = "gpt-4.1-mini")]
    model: String,
    /// What the provider said.
    #[schema(example = "the model answered")]
    message: String,
}

/// Whose server a model is behind.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes `ProviderKind`, whose crate knows no OpenAPI")]
enum Kind {
    Openai,
    Azure,
    Compatible,
}

/// US dollars per million tokens.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `Price`, whose crate knows no OpenAPI")]
struct PriceBody {
    /// Of what the model reads.
    #[schema(minimum = 0, example = 0.4)]
    prompt: f64,
    /// Of what it writes.
    #[schema(minimum = 0, example = 1.6)]
    completion: f64,
}

impl PutProvider {
    pub(super) fn into_parts(self) -> (WantedProvider, KeyChange) {
        let Self { kind, base_url, model, api_key, prices } = self;
        let key = match api_key {
            None => KeyChange::Keep,
            Some(key) if key.expose_secret().is_empty() => KeyChange::Remove,
            Some(key) => KeyChange::Set(key),
        };
        (WantedProvider { kind, base_url, model, prices }, key)
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

impl ProviderList {
    pub(super) fn new(settings: ProviderSettings, secrets: &[SecretSummary]) -> Self {
        let body = |provider: Option<Provider>, purpose: Purpose| {
            let key = secrets.iter().find(|secret| secret.name == purpose.secret());
            provider.map(|Provider { kind, base_url, model, prices }| ProviderBody {
                kind,
                base_url,
                model,
                api_key: key.map(|key| format!("…{}", key.hint)),
                prices,
            })
        };
        let ProviderSettings { chat, embeddings } = settings;
        Self { chat: body(chat, Purpose::Chat), embeddings: body(embeddings, Purpose::Embeddings) }
    }
}

impl ProbeBody {
    pub(super) fn new(probe: Probe, model: String) -> Self {
        let Probe { ok, took, message } = probe;
        Self { ok, milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX), model, message }
    }
}
