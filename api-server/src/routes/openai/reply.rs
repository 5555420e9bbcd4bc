//! What an OpenAI client is answered.

use std::ops::Range;

use chrono::{DateTime, Utc};
use docbrain_core::answer::citation_places;
use docbrain_core::ids::{ChatbotId, ConversationId};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::routes::chat::wire::{ChatReply, CitationBody};

/// What an answer and each of its chunks begin with.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = openai::Header)]
pub(super) struct Header {
    /// Names the conversation that was kept.
    #[schema(example = "chatcmpl-0198f1de-7c1b-7c3e-9f0a-3b0d4a1c2e5f")]
    id: String,
    /// When it began, in seconds since 1970.
    created: i64,
    /// The chatbot, as the request named it.
    #[schema(example = "demo")]
    model: String,
}

impl Header {
    pub(super) fn new(conversation: ConversationId, now: DateTime<Utc>, model: String) -> Self {
        Self { id: format!("chatcmpl-{conversation}"), created: now.timestamp(), model }
    }
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::ChatCompletion)]
pub(crate) struct ChatCompletion {
    #[serde(flatten)]
    header: Header,
    /// `chat.completion`.
    object: &'static str,
    /// The one answer.
    choices: Vec<Choice>,
    usage: TokenCount,
    docbrain: Outcome,
}

/// The answer of a completion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Choice)]
struct Choice {
    /// Always 0.
    index: u32,
    message: Answer,
    /// `stop`, or `length` when the answer ends in the middle.
    #[schema(example = "stop")]
    finish_reason: &'static str,
}

/// The chatbot's message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Answer)]
struct Answer {
    /// `assistant`.
    role: &'static str,
    /// Markdown, with citations as `[1]`.
    content: String,
    /// Always null.
    refusal: Option<String>,
    /// What it cites, in the order of the text.
    annotations: Vec<Annotation>,
}

/// Tokens that the chat model counted; zero without one.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "they are OpenAI's names")]
#[schema(as = openai::TokenCount)]
pub(super) struct TokenCount {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

/// What OpenAI's answers have no word for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Outcome)]
pub(super) struct Outcome {
    /// Whether the documents hold an answer.
    answerable: bool,
    /// `generated`, `extractive` or `fallback`.
    #[schema(example = "generated")]
    kind: &'static str,
    /// The conversation that was kept.
    conversation_id: Uuid,
    /// This answer.
    message_id: Uuid,
}

/// A place of the text that cites.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Annotation)]
pub(super) struct Annotation {
    /// `url_citation`.
    r#type: &'static str,
    url_citation: UrlCitation,
}

/// What is cited there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::UrlCitation)]
struct UrlCitation {
    /// First character of the `[1]` in the text.
    start_index: usize,
    /// The character after it.
    end_index: usize,
    /// The document's title.
    #[schema(example = "EXPIRE")]
    title: String,
    /// Where a visitor can open the document; a URN of its id where it has no address.
    #[schema(example = "https://redis.io/commands/expire")]
    url: String,
    /// The document.
    document_id: Uuid,
    /// The document's path within its knowledge source.
    #[schema(example = "commands/expire.md")]
    path: String,
    /// The words that bear the answer.
    quote: String,
}

impl Annotation {
    fn new(citation: &CitationBody, place: Range<usize>) -> Self {
        let url = citation.url.clone().unwrap_or_else(|| citation.document_id.urn().to_string());
        let url_citation = UrlCitation {
            start_index: place.start,
            end_index: place.end,
            title: citation.title.clone(),
            url,
            document_id: citation.document_id,
            path: citation.path.clone(),
            quote: citation.quote.clone(),
        };
        Self { r#type: "url_citation", url_citation }
    }

    /// The places of a reply's text that cite, in their order.
    pub(super) fn all(reply: &ChatReply) -> Vec<Self> {
        let cited = |(number, place)| {
            let citation = reply.citations.iter().find(|citation| citation.number == number)?;
            Some(Self::new(citation, place))
        };
        citation_places(&reply.answer).into_iter().filter_map(cited).collect()
    }
}

impl ChatCompletion {
    pub(super) fn new(header: Header, reply: ChatReply) -> Self {
        let (usage, docbrain) = (TokenCount::from(&reply), Outcome::from(&reply));
        let finish_reason = finish_reason(&reply);
        let annotations = Annotation::all(&reply);
        let message = Answer { role: "assistant", content: reply.answer, refusal: None, annotations };
        Self {
            header,
            object: "chat.completion",
            choices: vec![Choice { index: 0, message, finish_reason }],
            usage,
            docbrain,
        }
    }
}

/// Why a reply ends where it ends.
pub(super) fn finish_reason(reply: &ChatReply) -> &'static str {
    if reply.truncated { "length" } else { "stop" }
}

impl From<&ChatReply> for TokenCount {
    fn from(reply: &ChatReply) -> Self {
        let (prompt_tokens, completion_tokens) = (reply.usage.prompt_tokens, reply.usage.completion_tokens);
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens.saturating_add(completion_tokens) }
    }
}

impl From<&ChatReply> for Outcome {
    fn from(reply: &ChatReply) -> Self {
        Self {
            answerable: reply.answerable,
            kind: reply.kind,
            conversation_id: reply.conversation_id.0,
            message_id: reply.message_id.0,
        }
    }
}

/// The chatbots of a tenant as models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::ModelList)]
pub(crate) struct ModelList {
    /// `list`.
    object: &'static str,
    /// By name.
    data: Vec<Model>,
}

impl ModelList {
    pub(super) fn new(data: Vec<Model>) -> Self {
        Self { object: "list", data }
    }
}

/// A chatbot as a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Model)]
pub(crate) struct Model {
    /// Name of the chatbot.
    #[schema(example = "demo")]
    id: String,
    /// `model`.
    object: &'static str,
    /// When it was made, in seconds since 1970.
    created: i64,
    /// `docbrain`.
    owned_by: &'static str,
}

impl Model {
    pub(super) fn new(name: String, id: ChatbotId) -> Self {
        // The id is a UUIDv7, which begins with the time.
        let created = id.0.get_timestamp().map_or(0, |made| i64::try_from(made.to_unix().0).unwrap_or(i64::MAX));
        Self { id: name, object: "model", created, owned_by: "docbrain" }
    }
}
