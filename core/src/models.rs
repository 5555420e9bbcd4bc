//! Which models an installation uses, as its configuration names them.

use std::path::PathBuf;
use std::sync::Arc;

pub use docbrain_crds::ProviderKind;
use secrecy::SecretString;
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
