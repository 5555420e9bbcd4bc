//! Embeddings from any server that speaks OpenAI's `/embeddings`.

use async_openai::{Client, config::OpenAIConfig};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{EmbedError, Embedder, EmbeddingModel, normalise};
use crate::models::Endpoint;
use crate::openai::{self, ModelServerError};

/// Texts in one request; most servers take more, few take less.
const BATCH_TEXTS: usize = 128;
/// Bytes of text in one request: about 64,000 tokens, well below the servers' limits.
const BATCH_BYTES: usize = 256 * 1024;
/// Requests under way at once for one call of [`Embedder::embed`].
const CONCURRENCY: usize = 4;
/// What hosted models take at least; the server cuts or refuses what is longer.
const MAX_TOKENS: usize = 8_192;

/// [`EmbeddingModel::precision`] of all models behind HTTP: servers do not tell.
pub const PRECISION: &str = "remote";

/// An embedding model behind HTTP.
pub struct OpenAiEmbedder {
    client: Client<OpenAIConfig>,
    model: EmbeddingModel,
    /// Sent along only if it was asked for: many servers refuse the field.
    requested_dimensions: Option<usize>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// The part of the answer that every server sends.
#[derive(Deserialize)]
struct Response {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    embedding: Vec<f32>,
    /// Missing: the items come in order.
    index: Option<usize>,
}

impl OpenAiEmbedder {
    /// An embedder for the model at `endpoint`. Without `dimensions` the server is asked once.
    pub async fn connect(endpoint: &Endpoint, dimensions: Option<usize>) -> Result<Self, EmbedError> {
        Self::over(openai::client(endpoint), &endpoint.model, dimensions).await
    }

    /// As [`OpenAiEmbedder::connect`], over a client of another retry policy.
    pub(crate) async fn over(
        client: Client<OpenAIConfig>,
        model: &str,
        dimensions: Option<usize>,
    ) -> Result<Self, EmbedError> {
        let mut embedder = Self {
            client,
            model: EmbeddingModel {
                name: model.to_owned(),
                precision: PRECISION.to_owned(),
                dimensions: dimensions.unwrap_or_default(),
                max_tokens: MAX_TOKENS,
            },
            requested_dimensions: dimensions,
        };
        if dimensions.is_none() {
            let probe = embedder.request(&["dimensions".to_owned()]).await?;
            embedder.model.dimensions = probe[0].len();
        }
        Ok(embedder)
    }

    /// One vector per text as the server gave it, in the order of the texts.
    async fn request(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let response: Response = self
            .client
            .embeddings()
            .create_byot(Request {
                model: &self.model.name,
                input: texts,
                encoding_format: "float",
                dimensions: self.requested_dimensions,
            })
            .await
            .map_err(ModelServerError::from)?;
        in_order(response.data, texts.len())
    }

    async fn embed_batch(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        // Servers refuse an empty input, and one such text would fail its whole batch.
        let texts: Vec<String> = texts
            .iter()
            .map(|text| match text.trim() {
                "" => " ".to_owned(),
                _ => text.clone(),
            })
            .collect();
        let mut vectors = self.request(&texts).await?;
        for vector in &mut vectors {
            if vector.len() != self.model.dimensions {
                return Err(EmbedError::VectorLength { expected: self.model.dimensions, got: vector.len() });
            }
            normalise(vector)?;
        }
        Ok(vectors)
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let requests: Vec<_> = batches(texts).into_iter().map(|batch| self.embed_batch(batch)).collect();
        stream::iter(requests).buffered(CONCURRENCY).try_concat().await
    }
}

/// Cuts `texts` into runs that one request may carry.
fn batches(texts: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, text) in texts.iter().enumerate() {
        if i > start && (i - start == BATCH_TEXTS || bytes + text.len() > BATCH_BYTES) {
            batches.push(&texts[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

/// Puts the items where their index says, or keeps their order where the server gives none.
fn in_order(items: Vec<Item>, expected: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
    let returned = items.len();
    let mut slots = vec![None; expected];
    for (position, item) in items.into_iter().enumerate() {
        if let Some(slot) = slots.get_mut(item.index.unwrap_or(position)) {
            *slot = Some(item.embedding);
        }
    }
    let vectors: Vec<_> = slots.into_iter().flatten().collect();
    if vectors.len() == expected && returned == expected {
        Ok(vectors)
    } else {
        Err(EmbedError::VectorCount { expected, got: if vectors.len() == expected { returned } else { vectors.len() } })
    }
}

#[cfg(test)]
mod tests;
