//! Embeddings in this process: any sentence-transformers folder with an ONNX file and a
//! `tokenizer.json`, run by rten on the CPU.
//!
//! Each text is a run of its own: batches were measured to be no faster on a CPU, they need padding,
//! and many quantised models scale their numbers by the range of the whole batch, so that a text's
//! vector would depend on its neighbours. Many texts run side by side, one on each core; a single
//! text uses all cores.

use std::{
    num::NonZero,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use rten::{Model, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::{NdTensor, Tensor, prelude::*};
use tokenizers::{Encoding, PostProcessor, Tokenizer, TruncationDirection};

use self::folder::{Folder, Pooling};
use super::{EmbedError, Embedder, EmbeddingModel, normalise};

mod folder;
#[cfg(test)]
mod tests;

/// A model loaded into memory. Clones share it.
#[derive(Clone)]
pub struct LocalEmbedder {
    engine: Arc<Engine>,
}

struct Engine {
    model: EmbeddingModel,
    tokenizer: Arc<Tokenizer>,
    graph: Model,
    inputs: Vec<(NodeId, Feed)>,
    output: NodeId,
    pooling: Pooling,
    /// All cores, for one text.
    together: Arc<ThreadPool>,
    /// One core each, for many texts.
    apart: Vec<Arc<ThreadPool>>,
}

/// What an input of the graph wants to know of each token.
#[derive(Clone, Copy)]
enum Feed {
    Ids,
    Mask,
    Types,
}

impl LocalEmbedder {
    /// Loads the model in `folder`: `model.onnx` or `onnx/model.onnx`, `tokenizer.json`, and the
    /// small JSON files of sentence-transformers where they are present.
    pub fn load(folder: &Path) -> Result<Self, EmbedError> {
        let engine = Engine::load(folder)?;
        Ok(Self { engine: Arc::new(engine) })
    }

    /// The model's tokenizer, for counting tokens: it neither truncates nor pads.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        Arc::clone(&self.engine.tokenizer)
    }
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn model(&self) -> &EmbeddingModel {
        &self.engine.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let (engine, texts) = (Arc::clone(&self.engine), texts.to_vec());
        tokio::task::spawn_blocking(move || engine.embed(&texts)).await.map_err(inference)?
    }
}

impl Engine {
    fn load(path: &Path) -> Result<Self, EmbedError> {
        let Folder { name, precision, graph, tokenizer, pooling, max_tokens } = Folder::read(path)?;
        let unusable = |reason: String| EmbedError::UnusableModel { path: path.to_owned(), reason };
        let inputs = graph
            .input_ids()
            .iter()
            .map(|&id| {
                let name = graph.node_info(id).and_then(|node| node.name());
                Ok((id, Feed::named(name.unwrap_or_default())?))
            })
            .collect::<Result<_, String>>()
            .map_err(unusable)?;
        let output = ["last_hidden_state", "token_embeddings"]
            .iter()
            .find_map(|name| graph.find_node(name))
            .or_else(|| graph.output_ids().first().copied())
            .ok_or_else(|| unusable("its graph has no output".to_owned()))?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let mut engine = Self {
            model: EmbeddingModel { name, precision, dimensions: 0, max_tokens },
            tokenizer: Arc::new(tokenizer),
            graph,
            inputs,
            output,
            pooling,
            together: Arc::new(ThreadPool::with_num_threads(cores)),
            apart: (0..cores).map(|_| Arc::new(ThreadPool::with_num_threads(1))).collect(),
        };
        // A run tells the dimensions, and whether tokenizer and graph belong together.
        engine.model.dimensions = engine
            .embed_one("The tokenizer must fit the graph.", &engine.together)
            .map_err(|source| EmbedError::Mismatch { path: path.to_owned(), source: Box::new(source) })?
            .len();
        Ok(engine)
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        if let [text] = texts {
            return Ok(vec![self.embed_one(text, &self.together)?]);
        }
        // The longest first, so that the workers finish at about the same time.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(texts[i].len()));
        let next = AtomicUsize::new(0);
        let work = |pool| -> Result<Vec<(usize, Vec<f32>)>, EmbedError> {
            let mut done = Vec::new();
            while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((i, self.embed_one(&texts[i], pool)?));
            }
            Ok(done)
        };
        let mut vectors = vec![Vec::new(); texts.len()];
        thread::scope(|scope| {
            let workers: Vec<_> = self.apart.iter().take(texts.len()).map(|pool| scope.spawn(|| work(pool))).collect();
            for worker in workers {
                let done = worker.join().expect("a worker only returns")?;
                for (i, vector) in done {
                    vectors[i] = vector;
                }
            }
            Ok(vectors)
        })
    }

    fn embed_one(&self, text: &str, pool: &Arc<ThreadPool>) -> Result<Vec<f32>, EmbedError> {
        let tokens = self.tokenize(text).map_err(|source| EmbedError::Inference { source })?;
        let output = self.run(&tokens, pool)?;
        let mut vector = self.pool(&output)?;
        normalise(&mut vector)?;
        Ok(vector)
    }

    /// Cuts behind [`EmbeddingModel::max_tokens`] and keeps the special tokens around the rest.
    fn tokenize(&self, text: &str) -> tokenizers::Result<Encoding> {
        let mut tokens = self.tokenizer.encode_fast(text, false)?;
        let special = self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        let room = self.model.max_tokens.saturating_sub(special);
        tokens.truncate(room, 0, TruncationDirection::Right);
        self.tokenizer.post_process(tokens, None, true)
    }

    fn run(&self, tokens: &Encoding, pool: &Arc<ThreadPool>) -> Result<Tensor<f32>, EmbedError> {
        let inputs = self
            .inputs
            .iter()
            .map(|&(id, feed)| {
                let values = match feed {
                    Feed::Ids => tokens.get_ids(),
                    Feed::Mask => tokens.get_attention_mask(),
                    Feed::Types => tokens.get_type_ids(),
                };
                let row = NdTensor::from_fn([1, values.len()], |[_, i]| values[i].cast_signed());
                (id, ValueOrView::from(row))
            })
            .collect();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        let [output] = self.graph.run_n(inputs, [self.output], Some(options)).map_err(inference)?;
        output.try_into().map_err(inference)
    }

    /// One vector out of the graph's output: `[1, tokens, dimensions]`, or `[1, dimensions]` where
    /// the graph has done it already.
    fn pool(&self, output: &Tensor<f32>) -> Result<Vec<f32>, EmbedError> {
        match *output.shape() {
            [1, dimensions] if dimensions > 0 => Ok(output.to_vec()),
            [1, tokens, dimensions] if tokens > 0 && dimensions > 0 => {
                let rows = output.to_vec();
                Ok(self.pooling.apply(rows.chunks_exact(dimensions)))
            }
            ref shape => Err(inference(format!("its output has the shape {shape:?}"))),
        }
    }
}

impl Feed {
    fn named(input: &str) -> Result<Self, String> {
        match input {
            "input_ids" => Ok(Self::Ids),
            "attention_mask" => Ok(Self::Mask),
            "token_type_ids" => Ok(Self::Types),
            other => Err(format!("its graph wants an input called `{other}`")),
        }
    }
}

fn inference(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EmbedError {
    EmbedError::Inference { source: source.into() }
}
