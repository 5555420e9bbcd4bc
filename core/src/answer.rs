//! Passages and a question in, a cited answer out.
//!
//! [`answer`] decides whether the passages fit the question at all ([`Relevance`]); if they do, a chat
//! model writes the answer, or, with no model configured, the best sentences are quoted. Everything
//! but the calls of the model and the embedder is pure: the prompt, the rewriting of citations while
//! the text streams, the choice of quotes.
//!
//! Text of documents is data. It stands in the prompt between tags it cannot guess, never decides a
//! role, and can only be cited by the number it was given.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::chat::{ChatError, ChatModel, TokenUsage};
use crate::embed::{EmbedError, Embedder};
use crate::ids::{ChunkId, DocumentId};
use crate::lexical::Language;
use crate::retrieve::Passage;

mod citations;
mod extractive;
mod followup;
mod generated;
mod markdown;
mod prompt;
mod relevance;
mod sentinel;
#[cfg(test)]
mod tests;

pub use self::citations::citation_places;
pub use self::followup::search_text;
pub use self::relevance::Relevance;

/// What a visitor asks, and what was said before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub text: String,
    /// The conversation so far, oldest turn first, without the question.
    pub history: Vec<Turn>,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who spoke.
    pub role: Role,
    /// What was said.
    pub content: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person who asks.
    Visitor,
    /// The chatbot.
    Assistant,
}

/// What a chatbot's owner decides about its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct BotProfile {
    /// The name the chatbot goes by.
    pub display_name: String,
    /// The owner's own instructions, such as a tone.
    pub system_prompt: Option<String>,
    /// What is said when the passages do not hold an answer.
    pub fallback_text: String,
    /// Sampling temperature, 0 to 2; the server's own when `None`.
    pub temperature: Option<f32>,
    /// Longest answer in tokens; the server's own limit when `None`.
    pub max_answer_tokens: Option<u32>,
    /// Most passages shown to the model.
    pub max_passages: usize,
    /// Most tokens (estimated) of all passages together.
    pub max_passage_tokens: u32,
    /// When passages count as fitting the question.
    pub relevance: Relevance,
    /// Languages of the documents: words of questions and documents are compared as these write them.
    pub languages: Vec<Language>,
}

impl Default for BotProfile {
    fn default() -> Self {
        Self {
            display_name: "DocBrain".to_owned(),
            system_prompt: None,
            fallback_text: "I could not find an answer to that in the documentation.".to_owned(),
            temperature: None,
            max_answer_tokens: None,
            max_passages: 8,
            max_passage_tokens: 3_000,
            relevance: Relevance::default(),
            languages: vec![Language::English],
        }
    }
}

/// A step of an answer. The deltas of one answer together are its text.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// More text.
    Delta(String),
    /// The whole answer; nothing follows.
    Done(Answer),
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Markdown, with citations as `[1]`.
    pub text: String,
    /// How it came about.
    pub kind: AnswerKind,
    /// Whether the knowledge sources hold an answer, as far as retrieval and model can tell.
    pub answerable: bool,
    /// The passages the text cites, by number from 1.
    pub citations: Vec<Citation>,
    /// What the chat model counted; zero without a model.
    pub usage: TokenUsage,
    /// The text ends in the middle: the model reached its token limit or a content filter.
    pub truncated: bool,
}

impl Answer {
    /// A model wrote an answer without pointing at any passage: nothing vouches for it.
    pub fn is_unsupported(&self) -> bool {
        self.kind == AnswerKind::Generated && self.answerable && self.citations.is_empty()
    }
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// Written by a chat model.
    Generated,
    /// Quoted from the passages, word for word.
    Extractive,
    /// The chatbot's fallback text.
    Fallback,
}

/// A passage that an answer cites.
#[derive(Clone, Debug, PartialEq)]
pub struct Citation {
    /// The number in the text, `1` for `[1]`.
    pub number: u32,
    /// The document.
    pub document_id: DocumentId,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// The document's title.
    pub title: String,
    /// Where a visitor can open the document.
    pub url: Option<String>,
    /// The document's path within its knowledge source.
    pub path: String,
    /// Headings from the outermost to the one the chunk stands under.
    pub heading_path: Vec<String>,
    /// First and last page (from 1), where the format has pages.
    pub pages: Option<(u32, u32)>,
    /// Span in characters of the document's Markdown.
    pub span: Range<u32>,
    /// The words of the passage that bear the answer, at most [`LONGEST_QUOTE`] characters.
    pub quote: String,
    /// The passage's fused retrieval score, 0 to 1.
    pub score: f32,
}

/// Longest [`Citation::quote`] in characters.
pub const LONGEST_QUOTE: usize = 280;

impl Citation {
    fn new(number: u32, passage: &Passage, quote: &str) -> Self {
        Self {
            number,
            document_id: passage.document_id,
            chunk_id: passage.chunk_id,
            title: passage.title.clone(),
            url: passage.url.clone(),
            path: passage.path.clone(),
            heading_path: passage.heading_path.clone(),
            pages: passage.pages,
            span: passage.span.clone(),
            quote: markdown::shorten(quote, LONGEST_QUOTE),
            score: passage.score,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The chat model failed.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The sentences to quote could not be compared with the question.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

/// Answers `question` from `passages` (best first), with `model` if there is one. The stream ends
/// with [`AnswerEvent::Done`] or an error.
pub fn answer(
    question: Question,
    mut passages: Vec<Passage>,
    bot: Arc<BotProfile>,
    model: Option<Arc<dyn ChatModel>>,
    embedder: Arc<dyn Embedder>,
) -> BoxStream<'static, Result<AnswerEvent, AnswerError>> {
    passages.truncate(bot.max_passages);
    if !bot.relevance.covers(&search_text(&question), &bot.languages, &passages) {
        return told(fallback(&bot, TokenUsage::default()));
    }
    match model {
        Some(model) => generated::stream(&question, passages, bot, model).boxed(),
        None => stream::once(async move {
            extractive::answer(&search_text(&question), &passages, &bot, embedder.as_ref()).await
        })
        .flat_map(|result| match result {
            Ok(answer) => told(answer),
            Err(error) => stream::iter([Err(error.into())]).boxed(),
        })
        .boxed(),
    }
}

/// A finished answer as the stream that tells it.
fn told(answer: Answer) -> BoxStream<'static, Result<AnswerEvent, AnswerError>> {
    let text = AnswerEvent::Delta(answer.text.clone());
    stream::iter([Ok(text), Ok(AnswerEvent::Done(answer))]).boxed()
}

fn fallback(bot: &BotProfile, usage: TokenUsage) -> Answer {
    Answer {
        text: bot.fallback_text.clone(),
        kind: AnswerKind::Fallback,
        answerable: false,
        citations: Vec::new(),
        usage,
        truncated: false,
    }
}
