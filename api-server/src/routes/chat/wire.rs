//! What a question and its reply look like to a client.

use docbrain_core::answer::{Answer, Citation};
use docbrain_core::ids::{ConversationId, MessageId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::{Problem, ProblemKind};

/// Longest message in characters.
const LONGEST_MESSAGE: usize = 4_000;

/// A question to a chatbot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"chatbot": "demo", "message": "How do I expire a key after ten seconds?"}))]
pub(crate) struct ChatRequest {
    /// Name or id of the chatbot.
    pub(super) chatbot: String,
    /// The question.
    #[schema(min_length = 1, max_length = 4000)]
    message: String,
    /// The conversation the question belongs to, as an earlier reply named it; left out, a new one begins.
    #[schema(value_type = Option<Uuid>)]
    pub(super) conversation_id: Option<ConversationId>,
}

impl ChatRequest {
    /// The question, if it is one.
    pub(super) fn message(&self) -> Result<&str, Problem> {
        let message = self.message.trim();
        // Postgres stores no NUL.
        let fits = (1..=LONGEST_MESSAGE).contains(&message.chars().count()) && !message.contains('\0');
        let refused =
            || Problem::new(ProblemKind::InvalidField, "`message` must be a text of 1 to 4000 characters, without NUL");
        fits.then_some(message).ok_or_else(refused)
    }
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
    answer: String,
    /// `generated` by a chat model, `extractive`: quoted word for word, or the chatbot's `fallback` text.
    #[schema(example = "generated")]
    kind: &'static str,
    /// Whether the documents hold an answer.
    answerable: bool,
    /// The answer ends in the middle: the model reached a limit.
    truncated: bool,
    /// The passages that the answer cites, in the order of their numbers.
    citations: Vec<CitationBody>,
    /// The conversation, for the next question.
    #[schema(value_type = Uuid)]
    conversation_id: ConversationId,
    /// This answer.
    #[schema(value_type = Uuid)]
    message_id: MessageId,
    /// What the chat model counted.
    usage: Usage,
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
struct Usage {
    /// Of what the model was sent.
    prompt_tokens: u32,
    /// Of what it wrote.
    completion_tokens: u32,
}

/// A passage that an answer cites.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CitationBody {
    /// The number in the text, `1` for `[1]`.
    #[schema(example = 1)]
    number: u32,
    /// The document.
    document_id: Uuid,
    /// The document's title.
    #[schema(example = "EXPIRE")]
    title: String,
    /// Where a visitor can open the document.
    url: Option<String>,
    /// The document's path within its knowledge source.
    #[schema(example = "commands/expire.md")]
    path: String,
    /// Headings from the outermost to the one the passage stands under.
    heading_path: Vec<String>,
    /// First page, from 1, where the format has pages.
    page: Option<u32>,
    /// First and last page.
    pages: Option<PageRange>,
    /// Where the passage stands in the document's text.
    span: Span,
    /// The words that bear the answer.
    #[schema(example = "Set a timeout on key.")]
    quote: String,
    /// Score of the passage in retrieval, 0 to 1.
    #[schema(example = 0.93)]
    score: f32,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_counted_in_characters_without_its_margins() {
        let request = |message: String| ChatRequest { chatbot: "demo".into(), message, conversation_id: None };
        assert_eq!(request("  why? \n".into()).message().unwrap(), "why?");
        assert!(request("ü".repeat(4_000)).message().is_ok());
        for bad in [String::new(), " \n".into(), "ü".repeat(4_001), "a\0b".into()] {
            assert_eq!(request(bad).message().unwrap_err().kind, ProblemKind::InvalidField);
        }
    }
}
