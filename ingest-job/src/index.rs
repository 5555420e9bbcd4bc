//! One document's bytes to chunks with their vectors and weights: parse, split, embed. Stores nothing.

use std::path::Path;
use std::sync::Arc;

use docbrain_core::embed::{EmbedError, Embedder};
use docbrain_core::lexical::{self, Language};
use docbrain_core::models::OpenedEmbedder;
use docbrain_core::store::chunks::NewChunk;
use docbrain_crds::{Chunking, ChunkingStrategy};
use tokio::task::block_in_place;

use crate::parse::ParsedDocument;
use crate::sandbox::{ParseFailure, Parsers};
use crate::split::{Chunk, Document, Split, SplitSettings, Strategy, TokenCounter, split};

/// Chunks of one document that are kept; a document beyond it says nothing a chatbot could use, and would fill the
/// index of its tenant alone.
const MAX_CHUNKS: usize = 100_000;

/// A document ready to be stored.
pub struct Indexed {
    /// Its title, or the last part of its path.
    pub title: String,
    /// The language its words are stemmed in.
    pub language: Language,
    /// Number of pages, where the format has pages.
    pub pages: Option<u32>,
    /// Its chunks, in order.
    pub chunks: Vec<NewChunk>,
}

/// Why a document cannot be indexed. The document is to blame; another may well succeed.
pub struct Rejection {
    /// One word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
}

impl Rejection {
    /// The tenant has `count` chunks already, of `limit` that its quota allows.
    pub fn over_quota(limit: u32, count: u32) -> Self {
        Self {
            code: "quota_exceeded",
            detail: format!(
                "the tenant's quota of {limit} chunks does not leave room for this file: there are {count}; \
                 delete documents or ask for a larger quota, and upload it again"
            ),
        }
    }

    /// The document was begun several times, and each time the process ended.
    pub fn ends_the_process(attempts: i32) -> Self {
        Self {
            code: "ends_the_process",
            detail: format!(
                "indexing this file ended the ingestion process {attempts} times; split or simplify it and upload it again"
            ),
        }
    }
}

/// Turns documents into chunks; several at a time, each parsed in a worker process of its own.
pub struct Indexer {
    embedder: Arc<dyn Embedder>,
    counter: TokenCounter,
    parsers: Parsers,
}

impl Indexer {
    /// `program` is this program, which is started again as a parser; at most `workers` of them run at a time.
    pub fn new(model: OpenedEmbedder, program: &Path, workers: usize) -> Self {
        Self {
            embedder: model.embedder,
            counter: model
                .tokenizer
                .map_or_else(TokenCounter::approximate, |tokenizer| TokenCounter::exact(&tokenizer)),
            parsers: Parsers::new(program, workers),
        }
    }

    /// The embedder.
    pub fn embedder(&self) -> &dyn Embedder {
        self.embedder.as_ref()
    }

    /// The parsers, for others who meet untrusted files.
    pub fn parsers(&self) -> &Parsers {
        &self.parsers
    }

    /// Parses, splits and embeds the file `name`. The outer error is the model's or the installation's: no document can be
    /// indexed now.
    pub async fn index(
        &self,
        name: &str,
        bytes: &[u8],
        chunking: &Chunking,
    ) -> anyhow::Result<Result<Indexed, Rejection>> {
        let parsed = match self.parsers.parse(name, bytes).await {
            Ok(parsed) => parsed,
            Err(failure @ ParseFailure::NotStarted { .. }) => return Err(failure.into()),
            Err(failure) => return Ok(Err(Rejection { code: failure.code(), detail: failure.to_string() })),
        };
        let title = parsed
            .title
            .clone()
            .filter(|title| !title.trim().is_empty())
            .unwrap_or_else(|| name.rsplit('/').next().unwrap_or(name).to_owned());
        let cut = self.cut(&title, &parsed, chunking).await?;
        if cut.len() > MAX_CHUNKS {
            let detail = format!(
                "this file makes {} chunks, more than the {MAX_CHUNKS} one document may have; split it",
                cut.len()
            );
            return Ok(Err(Rejection { code: "too_many_chunks", detail }));
        }
        let texts: Vec<String> = cut.iter().map(|chunk| chunk.embedding_text.clone()).collect();
        let vectors = if texts.is_empty() { Vec::new() } else { self.embedder.embed(&texts).await? };
        let language = Language::detect(&parsed.markdown);
        let chunks = block_in_place(|| weigh(&parsed.markdown, cut, vectors, language));
        let pages = u32::try_from(parsed.page_starts.len()).ok().filter(|&pages| pages > 0);
        Ok(Ok(Indexed { title, language, pages, chunks }))
    }

    async fn cut(&self, title: &str, parsed: &ParsedDocument, chunking: &Chunking) -> Result<Vec<Chunk>, EmbedError> {
        let document = Document { title, markdown: &parsed.markdown, page_starts: &parsed.page_starts };
        match block_in_place(|| split(document, settings(chunking), &self.counter)) {
            Split::Ready(chunks) => Ok(chunks),
            Split::NeedsSentenceEmbeddings(sentences) => {
                let vectors = self.embedder.embed(&sentences.texts()).await?;
                Ok(block_in_place(|| sentences.split(&vectors)).expect("an embedder answers with a vector a text"))
            }
        }
    }
}

fn settings(chunking: &Chunking) -> SplitSettings {
    let size = |tokens: i32| usize::try_from(tokens).unwrap_or(0);
    SplitSettings {
        strategy: match chunking.strategy {
            ChunkingStrategy::Standard => Strategy::Standard,
            ChunkingStrategy::Markdown => Strategy::Markdown,
            ChunkingStrategy::Semantic => Strategy::Semantic,
            ChunkingStrategy::Window => Strategy::Window,
        },
        size: size(chunking.size),
        overlap: size(chunking.overlap),
        window: size(chunking.window),
    }
}

fn weigh(markdown: &str, cut: Vec<Chunk>, vectors: Vec<Vec<f32>>, language: Language) -> Vec<NewChunk> {
    let mut byte = 0;
    let mut character = 0;
    cut.into_iter()
        .zip(vectors)
        .map(|(chunk, embedding)| {
            // Spans begin in increasing order, so that the text is counted through once.
            character += markdown[byte..chunk.span.start].chars().count();
            byte = chunk.span.start;
            let end = character + markdown[chunk.span.clone()].chars().count();
            NewChunk {
                weights: lexical::weights(&lexical::terms(&chunk.embedding_text, language)),
                span: character..end,
                text: chunk.text,
                heading_path: chunk.heading_path,
                pages: chunk.pages,
                tokens: chunk.tokens,
                embedding,
            }
        })
        .collect()
}
