//! Which models an installation uses, as its configuration names them.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::chat::{ChatModel, OpenAiChat};
use crate::embed::local::LocalEmbedder;
use crate::embed::openai::OpenAiEmbedder;
use crate::embed::{EmbedError, Embedder};
use crate::fetch::AddressPolicy;

/// An OpenAI-compatible server and a model there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Its key, where it wants one.
    pub api_key: Option<SecretString>,
    /// What kind of server it is.
    pub kind: ProviderKind,
    /// Which addresses it may be at, if a tenant chose it; the installation's own may be anywhere.
    pub guard: Option<AddressPolicy>,
}

/// Whose server a model is behind; they differ in how they want the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// OpenAI's own.
    Openai,
    /// Azure OpenAI, at its `/openai/v1`.
    Azure,
    /// Any other that speaks OpenAI's protocol, such as Ollama or vLLM.
    #[default]
    Compatible,
}

impl ProviderKind {
    /// As settings and environment variables name it.
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

/// The embedding model of an installation.
#[derive(Clone, Debug)]
pub enum EmbeddingChoice {
    /// The built-in model in this folder.
    BuiltIn(PathBuf),
    /// A model behind an endpoint.
    Remote(Endpoint),
}

/// An embedder and, where it is at hand, the tokenizer that its tokens are counted with.
#[derive(Clone)]
pub struct OpenedEmbedder {
    /// The embedder.
    pub embedder: Arc<dyn Embedder>,
    /// Its tokenizer; a remote model's is not known.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

impl EmbeddingChoice {
    /// Loads the model, or asks the endpoint for its dimensions.
    pub async fn open(&self) -> Result<OpenedEmbedder, EmbedError> {
        match self {
            Self::BuiltIn(folder) => {
                let embedder = LocalEmbedder::load(folder)?;
                let tokenizer = embedder.tokenizer();
                Ok(OpenedEmbedder { embedder: Arc::new(embedder), tokenizer: Some(tokenizer) })
            }
            Self::Remote(endpoint) => {
                let embedder = OpenAiEmbedder::connect(endpoint, None).await?;
                Ok(OpenedEmbedder { embedder: Arc::new(embedder), tokenizer: None })
            }
        }
    }
}

impl Endpoint {
    /// An endpoint that the installation's configuration names.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>, api_key: Option<SecretString>) -> Self {
        let (base_url, model) = (base_url.into(), model.into());
        Self { base_url, model, api_key, kind: ProviderKind::Compatible, guard: None }
    }

    /// The chat model of this name there, or the endpoint's own.
    pub fn chat(&self, model: Option<&str>) -> Arc<dyn ChatModel> {
        Arc::new(OpenAiChat::new(self, model.unwrap_or(&self.model)))
    }
}
