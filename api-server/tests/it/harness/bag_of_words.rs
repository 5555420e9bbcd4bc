//! An embedding model that needs no model.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use async_trait::async_trait;
use docbrain_core::embed::{EmbedError, Embedder, EmbeddingModel};

pub(super) const DIMENSIONS: usize = 64;

/// Embeds a text by hashing its words: alike are texts that share words.
pub(super) struct BagOfWords(EmbeddingModel);

impl BagOfWords {
    pub(super) fn new() -> Self {
        let (name, precision) = ("bag of words".to_owned(), "exact".to_owned());
        Self(EmbeddingModel { name, precision, dimensions: DIMENSIONS, max_tokens: 512 })
    }
}

#[async_trait]
impl Embedder for BagOfWords {
    fn model(&self) -> &EmbeddingModel {
        &self.0
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| embedding(text)).collect())
    }
}

pub(super) fn embedding(text: &str) -> Vec<f32> {
    let mut vector = vec![0.001_f32; DIMENSIONS];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3) {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        vector[usize::try_from(hasher.finish() % DIMENSIONS as u64).unwrap()] += 1.0;
    }
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / norm).collect()
}
