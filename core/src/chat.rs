//! The one client for OpenAI-compatible chat models.
//!
//! [`ChatModel`] is the border: a list of messages in, a stream of text out that ends with exactly
//! one [`ChatDelta::End`] or one error. [`OpenAiChat`] keeps that promise over servers that break
//! the protocol in the ways seen in the wild: fields left out, streams cut short, errors inside a
//! stream, web pages instead of answers.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::openai::ModelServerError;

mod openai;
mod price;
mod thoughts;
mod tokens;
mod wire;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use self::openai::OpenAiChat;
pub use self::price::Price;
pub use self::tokens::estimate_tokens;

/// A chat model that streams its answer.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Begins an answer. Tries again, where that can help, only before the first text has come.
    async fn stream(&self, request: ChatRequest)
    -> Result<BoxStream<'static, Result<ChatDelta, ChatError>>, ChatError>;

    /// The model's name as its server knows it.
    fn name(&self) -> &str;
}

/// What the model is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// The conversation, oldest message first.
    pub messages: Vec<ChatMessage>,
    /// Sampling temperature, 0 to 2; the server's own when `None`.
    pub temperature: Option<f32>,
    /// Longest answer in tokens; the server's own limit when `None`.
    pub max_tokens: Option<u32>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// The text.
    pub content: String,
}

/// Who speaks in a [`ChatMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    /// The operator of the chatbot.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatDelta {
    /// More text; never empty.
    Text(String),
    /// The answer is complete; nothing follows.
    End {
        /// Why the model stopped.
        finish: Finish,
        /// What the answer cost.
        usage: TokenUsage,
    },
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It had said all it wanted.
    Complete,
    /// It reached the token limit: the text ends in the middle.
    Length,
    /// The server's content filter stopped it.
    Filtered,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of the messages sent.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// The server did not count them: both numbers come from [`estimate_tokens`].
    pub estimated: bool,
}

/// Why a chat model gave no complete answer. No text of it holds the key.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The request did not succeed: unreachable, refused, limited, or not understood.
    #[error(transparent)]
    Server(ModelServerError),
    /// A success that is no event stream, such as a web page.
    #[error("the model server did not answer with a chat stream: check the base URL")]
    NotAStream,
    /// The server reported an error after the answer had begun.
    #[error("the model server reported an error in the middle of its answer: {message}")]
    Reported {
        /// The server's own words, cut to 300 characters, without the key.
        message: String,
    },
    /// The stream ended before the model was done.
    #[error("the model's answer broke off before it was complete: try again")]
    CutOff,
    /// The model ended its answer without having said anything.
    #[error("the model gave an empty answer: a larger token limit or another model may help")]
    Empty,
}

impl From<ModelServerError> for ChatError {
    fn from(error: ModelServerError) -> Self {
        match error {
            ModelServerError::Interrupted => Self::CutOff,
            other => Self::Server(other),
        }
    }
}
