//! One real call, to see whether a provider's settings work.

use std::time::{Duration, Instant};

use futures::TryStreamExt;

use super::Purpose;
use crate::chat::{ChatError, ChatMessage, ChatModel, ChatRequest, ChatRole, OpenAiChat};
use crate::embed::openai::OpenAiEmbedder;
use crate::embed::{EmbedError, Embedder};
use crate::models::Endpoint;
use crate::openai::{self, ModelServerError, RetryPolicy};

/// Whoever waits for the result can try again himself.
const ONCE: RetryPolicy = RetryPolicy { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
const PATIENCE: Duration = Duration::from_secs(30);
/// Enough for models that think before they speak to show that they work.
const MAX_TOKENS: u32 = 64;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether the provider answered as it should.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
    /// What the provider said, or why there was no answer. Never holds the key.
    pub message: String,
}

/// Makes one call for `purpose`, which costs a few tokens.
pub async fn probe(endpoint: &Endpoint, purpose: Purpose) -> Probe {
    let started = Instant::now();
    let call = async {
        match purpose {
            Purpose::Chat => chat(endpoint).await,
            Purpose::Embeddings => embed(endpoint).await,
        }
    };
    let said = tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(words(&ModelServerError::TimedOut)));
    Probe { ok: said.is_ok(), took: started.elapsed(), message: said.unwrap_or_else(|message| message) }
}

async fn chat(endpoint: &Endpoint) -> Result<String, String> {
    let client = openai::client_with(endpoint, ONCE);
    let model = OpenAiChat::over(client, endpoint.api_key.clone(), endpoint.model.clone());
    let message = ChatMessage { role: ChatRole::User, content: "Reply with the word OK.".to_owned() };
    let request = ChatRequest { messages: vec![message], temperature: None, max_tokens: Some(MAX_TOKENS) };
    let read = async { model.stream(request).await?.try_for_each(async |_| Ok(())).await };
    match read.await {
        // A model that has spent its tokens on thinking has answered, too.
        Ok(()) | Err(ChatError::Empty) => Ok("the model answered".to_owned()),
        Err(ChatError::Server(error)) => Err(words(&error)),
        Err(error) => Err(error.to_string()),
    }
}

async fn embed(endpoint: &Endpoint) -> Result<String, String> {
    match OpenAiEmbedder::over(openai::client_with(endpoint, ONCE), &endpoint.model, None).await {
        Ok(embedder) => Ok(format!("the model makes vectors of {} numbers", embedder.model().dimensions)),
        Err(EmbedError::Server { source }) => Err(words(&source)),
        Err(error) => Err(error.to_string()),
    }
}

/// An error in words that its reader can do something with.
fn words(error: &ModelServerError) -> String {
    match error {
        ModelServerError::Forbidden { source } => source.to_string(),
        error => error.to_string(),
    }
}
