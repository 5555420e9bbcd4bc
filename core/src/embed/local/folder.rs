//! Reads a sentence-transformers folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rten::{Model, ModelOptions};
use serde::{Deserialize, de::DeserializeOwned};
use tokenizers::Tokenizer;

use super::super::EmbedError;

/// Tokens of a text that count where the folder does not say.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Cost grows with the square of the length; longer windows retrieve no better.
const LARGEST_MAX_TOKENS: usize = 512;

/// What the folder holds.
pub(super) struct Folder {
    pub(super) name: String,
    pub(super) precision: String,
    pub(super) graph: Model,
    /// Neither truncates nor pads, whatever its file says.
    pub(super) tokenizer: Tokenizer,
    pub(super) pooling: Pooling,
    pub(super) max_tokens: usize,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    /// The vector of the first token.
    First,
    /// The vector of the last token.
    Last,
}

/// `docbrain.json`: what the files themselves do not tell.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    name: String,
    precision: String,
}

/// One entry of `modules.json`.
#[derive(Deserialize)]
struct Module {
    r#type: String,
}

/// `1_Pooling/config.json`.
#[derive(Deserialize)]
#[serde(default)]
struct PoolingModes {
    pooling_mode_mean_tokens: bool,
    pooling_mode_cls_token: bool,
    pooling_mode_lasttoken: bool,
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Limits {
    max_seq_length: Option<usize>,
}

impl Folder {
    pub(super) fn read(path: &Path) -> Result<Self, EmbedError> {
        let file = ["model.onnx", "onnx/model.onnx"]
            .map(|name| path.join(name))
            .into_iter()
            .find(|file| file.exists())
            .ok_or_else(|| EmbedError::MissingModel { path: path.join("model.onnx") })?;
        let modules: Vec<Module> = json(&path.join("modules.json"))?.unwrap_or_default();
        if let Some(module) = modules.iter().find(|module| !module.is_known()) {
            return Err(unusable(path, format!("it needs a step of the kind `{}`", module.r#type)));
        }
        let limits: Limits = json(&path.join("sentence_bert_config.json"))?.unwrap_or_default();
        let label = match json(&path.join("docbrain.json"))? {
            Some(label) => label,
            None => Label::guess(path, &file)?,
        };
        Ok(Self {
            name: label.name,
            precision: label.precision,
            // Packed once, not on every run: that is most of the time of a short text.
            graph: ModelOptions::with_all_ops().prepack_weights(true).load_file(&file).map_err(broken(&file))?,
            tokenizer: tokenizer(&path.join("tokenizer.json"))?,
            pooling: Pooling::read(path)?,
            max_tokens: limits.max_seq_length.unwrap_or(DEFAULT_MAX_TOKENS).min(LARGEST_MAX_TOKENS),
        })
    }
}

impl Pooling {
    fn read(folder: &Path) -> Result<Self, EmbedError> {
        let modes: PoolingModes = json(&folder.join("1_Pooling/config.json"))?.unwrap_or_default();
        match modes {
            PoolingModes { pooling_mode_mean_tokens: true, .. } => Ok(Self::Mean),
            PoolingModes { pooling_mode_cls_token: true, .. } => Ok(Self::First),
            PoolingModes { pooling_mode_lasttoken: true, .. } => Ok(Self::Last),
            _ => Err(unusable(folder, "its pooling is none of mean, first token and last token".to_owned())),
        }
    }

    /// One vector out of the `rows`, one for each token and at least one.
    pub(super) fn apply<'a>(
        self,
        mut rows: impl ExactSizeIterator<Item = &'a [f32]> + DoubleEndedIterator,
    ) -> Vec<f32> {
        let edge = match self {
            Self::Last => rows.next_back(),
            Self::Mean | Self::First => rows.next(),
        };
        let mut vector = edge.map(<[f32]>::to_vec).unwrap_or_default();
        // The sum does for the mean: the vector is scaled to length 1 anyway.
        if self == Self::Mean {
            for row in rows {
                for (sum, x) in vector.iter_mut().zip(row) {
                    *sum += x;
                }
            }
        }
        vector
    }
}

impl Default for PoolingModes {
    fn default() -> Self {
        Self { pooling_mode_mean_tokens: true, pooling_mode_cls_token: false, pooling_mode_lasttoken: false }
    }
}

impl Module {
    fn is_known(&self) -> bool {
        ["Transformer", "Pooling", "Normalize"].iter().any(|kind| self.r#type.ends_with(kind))
    }
}

impl Label {
    /// The folder's name, and the precision by whether integers are multiplied.
    fn guess(folder: &Path, graph: &Path) -> Result<Self, EmbedError> {
        const INTEGER_OPERATORS: [&[u8]; 2] = [b"MatMulInteger", b"QLinearMatMul"];
        let bytes = fs::read(graph).map_err(broken(graph))?;
        let quantised = INTEGER_OPERATORS.iter().any(|name| bytes.windows(name.len()).any(|window| window == *name));
        Ok(Self {
            name: folder.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned()),
            precision: if quantised { "int8" } else { "fp32" }.to_owned(),
        })
    }
}

fn tokenizer(file: &Path) -> Result<Tokenizer, EmbedError> {
    if !file.exists() {
        return Err(EmbedError::MissingModel { path: file.to_owned() });
    }
    let mut tokenizer =
        Tokenizer::from_file(file).map_err(|source| EmbedError::BrokenModel { path: file.to_owned(), source })?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|source| EmbedError::BrokenModel { path: file.to_owned(), source })?;
    Ok(tokenizer)
}

/// The contents of `file`, or nothing if there is no such file.
fn json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, EmbedError> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(broken(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(file)(error)),
    }
}

fn broken<E: std::error::Error + Send + Sync + 'static>(file: &Path) -> impl FnOnce(E) -> EmbedError {
    let path = file.to_owned();
    move |source| EmbedError::BrokenModel { path, source: Box::new(source) }
}

fn unusable(folder: &Path, reason: String) -> EmbedError {
    let path: PathBuf = folder.to_owned();
    EmbedError::UnusableModel { path, reason }
}
