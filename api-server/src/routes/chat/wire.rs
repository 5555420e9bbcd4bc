//! What a question and its reply look like to a client.

use docbrain_core::answer::{Answer, Citation};
use docbrain_core::ids::{ConversationId, MessageId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A question to a chatbot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"chatbot": "demo", "message": "How do I expire a key after ten seconds?"}))]
pub(crate) struct ChatRequest {
    /// Name or id of the chatbot.
    pub(super) chatbot: String,
    /// The question.
    #[schema(min_length = 1, max_length = 4000, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    pub(super) message: String,
    /// The conversation the question belongs to, as an earlier reply named it; left out, a new one begins.
    #[schema(value_type = Option<Uuid>)]
    pub(super) conversation_id: Option<ConversationId>,
}

/// More text of an answer.
#[derive(Serialize)]
pub(super) struct Delta<'a> {
    pub(super) text: &'a str,
}

/// A reply.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatReply {
    /// Markdown, with citations as `[1]`.
    #[schema(example = "Call `EXPIRE key 10`. [1]")]
    pub(crate) answer: String,
    /// `generated` by a chat model, `extractive`: quoted word for word, or the chatbot's `fallback` text.
    #[schema(example = "generated")]
    pub(crate) kind: &'static str,
    /// Whether the documents hold an answer.
    pub(crate) answerable: bool,
    /// The answer ends in the middle: the model reached a limit.
    pub(crate) truncated: bool,
    /// The passages that the answer cites, in the order of their numbers.
    pub(crate) citations: Vec<CitationBody>,
    /// The conversation, for the next question.
    #[schema(value_type = Uuid)]
    pub(crate) conversation_id: ConversationId,
    /// This answer.
    #[schema(value_type = Uuid)]
    pub(crate) message_id: MessageId,
    /// What the chat model counted.
    pub(crate) usage: Usage,
}

impl ChatReply {
    pub(super) fn new(
        answer: Answer,
        kind: &'static str,
        citations: Vec<CitationBody>,
        conversation_id: ConversationId,
        message_id: MessageId,
    ) -> Self {
        Self {
            answer: answer.text,
            kind,
            answerable: answer.answerable,
            truncated: answer.truncated,
            citations,
            conversation_id,
            message_id,
            usage: Usage {
                prompt_tokens: answer.usage.prompt_tokens,
                completion_tokens: answer.usage.completion_tokens,
            },
        }
    }
}

/// Tokens of a reply; zero without a chat model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Of what the model was sent.
    pub(crate) prompt_tokens: u32,
    /// Of what it wrote.
    pub(crate) completion_tokens: u32,
}

/// A passage that an answer cites.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CitationBody {
    /// The number in the text, `1` for `[1]`.
    #[schema(example = 1)]
    pub(crate) number: u32,
    /// The document.
    pub(crate) document_id: Uuid,
    /// The document's title.
    #[schema(example = "EXPIRE")]
    pub(crate) title: String,
    /// Where a visitor can open the document.
    pub(crate) url: Option<String>,
    /// The document's path within its knowledge source.
    #[schema(example = "commands/expire.md")]
    pub(crate) path: String,
    /// Headings from the outermost to the one the passage stands under.
    pub(crate) heading_path: Vec<String>,
    /// First page, from 1, where the format has pages.
    page: Option<u32>,
    /// First and last page.
    pages: Option<PageRange>,
    /// Where the passage stands in the document's text.
    span: Span,
    /// The words that bear the answer.
    #[schema(example = "Set a timeout on key.")]
    pub(crate) quote: String,
    /// Score of the passage in retrieval, 0 to 1.
    #[schema(example = 0.93)]
    pub(crate) score: f32,
}

/// Pages, from 1.
#[derive(Debug, Serialize, ToSchema)]
struct PageRange {
    first: u32,
    last: u32,
}

/// A span in characters of the document's Markdown.
#[derive(Debug, Serialize, ToSchema)]
struct Span {
    start: u32,
    end: u32,
}

impl From<&Citation> for CitationBody {
    fn from(citation: &Citation) -> Self {
        Self {
            number: citation.number,
            document_id: citation.document_id.0,
            title: citation.title.clone(),
            url: citation.url.clone(),
            path: citation.path.clone(),
            heading_path: citation.heading_path.clone(),
            page: citation.pages.map(|(first, _)| first),
            pages: citation.pages.map(|(first, last)| PageRange { first, last }),
            span: Span { start: citation.span.start, end: citation.span.end },
            quote: citation.quote.clone(),
            score: citation.score,
        }
    }
}
