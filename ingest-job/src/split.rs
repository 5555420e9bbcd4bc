//! Splitting one Markdown document into chunks: pure, deterministic, linear in the document's length.
//!
//! - `layout`: one pass of the Markdown parser: blocks, headings, and markup that carries no words
//! - `ruler`: the document's tokens, found once; counting a stretch is then two binary searches
//! - `sentence`: sentences across hard-wrapped lines, abbreviations and inline code
//! - `plan`: the document read and measured; what a chosen piece becomes as a chunk
//! - `pack`: evenly filled runs of blocks, and the cutting of a block that is too large
//! - `markdown`, `standard`, `semantic`, `window`: the four strategies
//!
//! Invariants: spans lie on character boundaries and increase; no chunk is empty; together the spans of a document hold
//! everything that is read (all but link definitions, HTML comments and whitespace). `Standard`, `Markdown` and
//! `Semantic` keep [`Chunk::tokens`] within [`SplitSettings::size`].

mod layout;
mod markdown;
mod pack;
mod plan;
mod ruler;
mod semantic;
mod sentence;
mod standard;
mod window;

#[cfg(test)]
mod tests;

use std::ops::Range;

use plan::Plan;
pub use ruler::TokenCounter;
use sentence::Sentence;

/// One document as the parser hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// Shown in front of each chunk's headings when it is embedded; may be empty.
    pub title: &'a str,
    /// The body, without front matter.
    pub markdown: &'a str,
    /// Byte offset in `markdown` at which page 1, 2, … begins; empty for documents without pages.
    pub page_starts: &'a [usize],
}

/// How a source's documents are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitSettings {
    /// Where cuts are made.
    pub strategy: Strategy,
    /// Most tokens of a chunk, with its context line and without the model's special tokens; at least [`MIN_SIZE`].
    pub size: usize,
    /// Tokens repeated from the chunk before ([`Strategy::Standard`] only); at most half of `size`.
    pub overlap: usize,
    /// Neighbouring sentences returned on each side ([`Strategy::Window`] only).
    pub window: usize,
}

/// Below this a chunk could not hold a context line and a sentence; smaller sizes are raised to it.
pub const MIN_SIZE: usize = 32;

/// Where cuts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Windows of `size` tokens that begin and end at sentences and overlap by `overlap` tokens.
    Standard,
    /// Sections, tables, lists and code stay whole where they fit; small neighbouring sections share a chunk.
    Markdown,
    /// Cuts where the meaning of neighbouring sentences changes most; needs their embeddings.
    Semantic,
    /// One chunk per sentence: the sentence is embedded, its neighbours are returned with it.
    Window,
}

/// A stretch of a document: what is found, shown and quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Markdown to store, show and quote: the slice at `span` without link definitions and HTML comments. The later
    /// parts of a table repeat its header row, and the parts of a code block are fenced again.
    pub text: String,
    /// What is embedded and indexed: a line `title › heading › heading`, then the text without markup, link targets and
    /// the headings the line already names. For [`Strategy::Window`] only the one sentence follows the line.
    pub embedding_text: String,
    /// Headings the whole chunk lies under, outermost first; for [`Strategy::Window`] those of the one sentence.
    pub heading_path: Vec<String>,
    /// Bytes of the document's Markdown.
    pub span: Range<usize>,
    /// First and last page, counted from 1.
    pub pages: Option<(u32, u32)>,
    /// Tokens of `embedding_text`, without the model's special tokens.
    pub tokens: usize,
}

/// The outcome of [`split`].
#[derive(Debug)]
pub enum Split<'a> {
    /// The chunks, in document order.
    Ready(Vec<Chunk>),
    /// [`Strategy::Semantic`] looks at embeddings first: embed [`Sentences::texts`], then [`Sentences::split`].
    NeedsSentenceEmbeddings(Box<Sentences<'a>>),
}

/// Cuts `document` as `settings` say; tokens are counted by `counter`, which should be the embedding model's.
pub fn split<'a>(document: Document<'a>, settings: SplitSettings, counter: &TokenCounter) -> Split<'a> {
    let plan = Plan::new(document, settings, counter);
    match settings.strategy {
        Strategy::Standard => Split::Ready(standard::split(&plan)),
        Strategy::Markdown => Split::Ready(markdown::split(&plan)),
        Strategy::Window => Split::Ready(window::split(&plan)),
        Strategy::Semantic => {
            let sentences = plan.sentences();
            Split::NeedsSentenceEmbeddings(Box::new(Sentences { plan, sentences }))
        }
    }
}

/// A document cut into sentences that wait for their embeddings.
#[derive(Debug)]
pub struct Sentences<'a> {
    plan: Plan<'a>,
    sentences: Vec<Sentence>,
}

impl Sentences<'_> {
    /// What to embed, in document order; a table or code block counts as one sentence.
    pub fn texts(&self) -> Vec<String> {
        self.sentences.iter().map(|sentence| self.plan.layout.read(&sentence.words())).collect()
    }

    /// The chunks, given one embedding per text of [`Self::texts`] in the same order, all of one dimension.
    pub fn split(&self, embeddings: &[Vec<f32>]) -> Result<Vec<Chunk>, WrongEmbeddingCount> {
        if embeddings.len() == self.sentences.len() {
            Ok(semantic::split(&self.plan, &self.sentences, embeddings))
        } else {
            Err(WrongEmbeddingCount { sentences: self.sentences.len(), embeddings: embeddings.len() })
        }
    }
}

/// The embedder answered with another number of vectors than it was given sentences.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{sentences} sentences were to be embedded, but {embeddings} embeddings came back")]
pub struct WrongEmbeddingCount {
    /// Sentences of the document.
    pub sentences: usize,
    /// Embeddings given.
    pub embeddings: usize,
}
