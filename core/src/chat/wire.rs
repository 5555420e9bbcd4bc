//! The JSON of `/chat/completions`, as strict as needed to send and as lenient as possible to read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChatMessage, ChatRequest, ChatRole};

/// The request body.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// Which optional parameters a server takes, learnt from its refusals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    stream_options: bool,
    temperature: bool,
    /// The limit is called `max_completion_tokens`, as reasoning models want it.
    completion_limit: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { stream_options: true, temperature: true, completion_limit: false }
    }
}

impl Dialect {
    /// Gives up the parameter that `refusal` (the server's words) complains about. False when it
    /// names none that could still be given up.
    pub(super) fn adapt(&mut self, refusal: &str) -> bool {
        let before = (self.stream_options, self.temperature, self.completion_limit);
        if refusal.contains("stream_options") || refusal.contains("include_usage") {
            self.stream_options = false;
        } else if refusal.contains("max_completion_tokens") {
            self.completion_limit = true;
        } else if refusal.contains("temperature") {
            self.temperature = false;
        }
        before != (self.stream_options, self.temperature, self.completion_limit)
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(model: &'a str, request: &'a ChatRequest, dialect: Dialect) -> Self {
        let limit = |wanted| request.max_tokens.filter(|_| wanted);
        Self {
            model,
            messages: request.messages.iter().map(Message::from).collect(),
            stream: true,
            stream_options: dialect.stream_options.then_some(StreamOptions { include_usage: true }),
            temperature: request.temperature.filter(|_| dialect.temperature),
            max_tokens: limit(!dialect.completion_limit),
            max_completion_tokens: limit(dialect.completion_limit),
        }
    }
}

impl<'a> From<&'a ChatMessage> for Message<'a> {
    fn from(message: &'a ChatMessage) -> Self {
        let role = match message.role {
            ChatRole::System => "system",
            ChatRole::User => "user",
            ChatRole::Assistant => "assistant",
        };
        Self { role, content: &message.content }
    }
}

/// One event of the stream. `Option` everywhere: servers leave out fields and send `null` for them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    pub(super) error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    index: Option<u32>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
}

/// Counts, which some servers send as floats.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
}

impl Usage {
    /// Prompt and completion tokens, if both were counted.
    pub(super) fn counts(self) -> Option<(u32, u32)> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float cast to an integer saturates, which is what is wanted here"
        )]
        Some((self.prompt_tokens? as u32, self.completion_tokens? as u32))
    }
}

impl Chunk {
    /// The text and the finish reason of the first choice, and the usage: what a chunk can bring.
    pub(super) fn into_parts(self) -> (String, Option<String>, Option<Usage>) {
        let first = |choice: &Choice| choice.index.unwrap_or(0) == 0;
        let choice = self.choices.into_iter().flatten().find(first).unwrap_or_default();
        let delta = choice.delta.unwrap_or_default();
        let text = delta.content.filter(|text| !text.is_empty()).or(delta.refusal);
        (text.unwrap_or_default(), choice.finish_reason, self.usage)
    }
}
