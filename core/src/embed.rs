//! Text to vectors: the built-in model ([`local`]) or an OpenAI-compatible endpoint ([`openai`]).
//!
//! Vectors are unit-length, so a dot product is a cosine. Vectors of different models, or of one
//! model in different precisions, never mix: [`EmbeddingModel`] is part of a generation's identity.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::openai::ModelServerError;

pub mod local;
pub mod openai;

/// Which model made a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingModel {
    /// For example `all-MiniLM-L6-v2`.
    pub name: String,
    /// `int8`, `fp32`, or `remote` where the server does not tell.
    pub precision: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// Tokens of a text that count, special tokens included; what follows is cut off.
    pub max_tokens: usize,
}

/// What tells the vectors of two embedding models apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// [`EmbeddingModel::name`].
    pub name: String,
    /// [`EmbeddingModel::precision`].
    pub precision: String,
}

impl From<&EmbeddingModel> for ModelName {
    fn from(model: &EmbeddingModel) -> Self {
        Self { name: model.name.clone(), precision: model.precision.clone() }
    }
}

/// Turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The model behind it.
    fn model(&self) -> &EmbeddingModel;

    /// One unit-length vector of [`EmbeddingModel::dimensions`] for each text, in the same order.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError>;
}

/// Why texts could not be turned into vectors.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The model's folder, or a file it needs, is not there.
    #[error("no embedding model at {}: `make up` prepares one", path.display())]
    MissingModel {
        /// What was looked for.
        path: PathBuf,
    },
    /// A file of the model cannot be read or is damaged.
    #[error("failed to load {}: delete the folder and let `make up` prepare it again", path.display())]
    BrokenModel {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The folder holds a model of a kind that is not supported.
    #[error("the embedding model in {} cannot be used: {reason}", path.display())]
    UnusableModel {
        /// The folder.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The graph fails on what the tokenizer gives it.
    #[error("the tokenizer.json and the ONNX file in {} do not belong together", path.display())]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// What the first run ended with.
        source: Box<Self>,
    },
    /// The built-in model failed on a text.
    #[error("the embedding model failed on a text")]
    Inference {
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint gave no usable answer.
    #[error("failed to get embeddings from the model server")]
    Server {
        /// What went wrong there.
        #[from]
        source: ModelServerError,
    },
    /// The endpoint answered with too few or too many vectors, or named one twice.
    #[error("the model server returned {got} vectors for {expected} texts")]
    VectorCount {
        /// Texts sent.
        expected: usize,
        /// Vectors that came back, each counted once.
        got: usize,
    },
    /// The endpoint answered with vectors of another length than before.
    #[error("the model server returned a vector of {got} numbers instead of {expected}: check the model's dimensions")]
    VectorLength {
        /// [`EmbeddingModel::dimensions`].
        expected: usize,
        /// What came back.
        got: usize,
    },
    /// A vector with no direction: all zero, infinite or not a number.
    #[error("the embedding model returned a vector without a direction")]
    NoDirection,
}

/// Scales `vector` to length 1.
fn normalise(vector: &mut [f32]) -> Result<(), EmbedError> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if !length.is_normal() {
        return Err(EmbedError::NoDirection);
    }
    for x in vector {
        *x /= length;
    }
    Ok(())
}
