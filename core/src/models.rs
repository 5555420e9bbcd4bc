//! Which models an installation uses, as its configuration names them.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use tokenizers::Tokenizer;

use crate::chat::{ChatModel, OpenAiChat};
use crate::embed::local::LocalEmbedder;
use crate::embed::openai::OpenAiEmbedder;
use crate::embed::{EmbedError, Embedder};

/// An OpenAI-compatible server and a model there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Its key, where it wants one.
    pub api_key: Option<SecretString>,
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
                let embedder =
                    OpenAiEmbedder::connect(&endpoint.base_url, endpoint.api_key.clone(), &endpoint.model, None)
                        .await?;
                Ok(OpenedEmbedder { embedder: Arc::new(embedder), tokenizer: None })
            }
        }
    }
}

impl Endpoint {
    /// The chat model of this name there, or the endpoint's own.
    pub fn chat(&self, model: Option<&str>) -> Arc<dyn ChatModel> {
        Arc::new(OpenAiChat::new(&self.base_url, self.api_key.clone(), model.unwrap_or(&self.model)))
    }
}
