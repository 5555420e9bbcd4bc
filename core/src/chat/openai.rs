//! [`ChatModel`] over an OpenAI-compatible server.

use std::sync::{Mutex, PoisonError};

use async_openai::{Client, config::OpenAIConfig, types::stream::StreamResponse};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::thoughts::Thoughts;
use super::wire::{Chunk, Dialect, Request, Usage};
use super::{ChatDelta, ChatError, ChatModel, ChatRequest, Finish, TokenUsage, estimate_tokens};
use crate::models::Endpoint;
use crate::openai::{self, LONGEST_MESSAGE, ModelServerError};

/// A model behind an OpenAI-compatible `/chat/completions`.
pub struct OpenAiChat {
    client: Client<OpenAIConfig>,
    key: Option<SecretString>,
    model: String,
    dialect: Mutex<Dialect>,
}

impl OpenAiChat {
    /// The model called `model` at `endpoint`.
    pub fn new(endpoint: &Endpoint, model: &str) -> Self {
        Self::over(openai::client(endpoint), endpoint.api_key.clone(), model.to_owned())
    }

    /// As [`OpenAiChat::new`], over a client of another retry policy.
    pub(crate) fn over(client: Client<OpenAIConfig>, key: Option<SecretString>, model: String) -> Self {
        Self { client, key, model, dialect: Mutex::default() }
    }

    /// Sends the request, giving up one optional parameter after the other that the server refuses.
    async fn open(&self, request: &ChatRequest) -> Result<StreamResponse<Chunk>, ChatError> {
        let lock = || self.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dialect = *lock();
        loop {
            let body = Request::new(&self.model, request, dialect);
            let error = match self.client.chat().create_stream_byot(body).await {
                Ok(stream) => return Ok(stream),
                Err(error) => ModelServerError::from(error),
            };
            match &error {
                ModelServerError::Refused { status: 400 | 422, message } if dialect.adapt(message) => *lock() = dialect,
                _ => return Err(error.into()),
            }
        }
    }
}

#[async_trait]
impl ChatModel for OpenAiChat {
    async fn stream(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatDelta, ChatError>>, ChatError> {
        let reading = Reading {
            chunks: self.open(&request).await?,
            key: self.key.clone(),
            prompt_tokens: request.messages.iter().map(|m| estimate_tokens(&m.content)).sum(),
            thoughts: Thoughts::default(),
            said: String::new(),
            any_chunk: false,
            finish: None,
            usage: None,
            state: State::Reading,
        };
        Ok(stream::unfold(reading, Reading::next).boxed())
    }

    fn name(&self) -> &str {
        &self.model
    }
}

/// A stream being read, and what it has told so far.
struct Reading {
    chunks: StreamResponse<Chunk>,
    key: Option<SecretString>,
    prompt_tokens: u32,
    thoughts: Thoughts,
    said: String,
    any_chunk: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Reading,
    Ended,
    Told,
}

impl Reading {
    /// The next item of the answer, for [`stream::unfold`].
    async fn next(mut self) -> Option<(Result<ChatDelta, ChatError>, Self)> {
        while self.state == State::Reading {
            let text = match self.chunks.next().await {
                Some(Ok(chunk)) => match self.take_in(chunk) {
                    Ok(text) => self.thoughts.push(&text),
                    Err(error) => return Some((Err(error), self.told())),
                },
                Some(Err(error)) => {
                    let error = ModelServerError::from(error).into();
                    return Some((Err(error), self.told()));
                }
                None => {
                    self.state = State::Ended;
                    self.thoughts.finish()
                }
            };
            if !text.is_empty() {
                self.said.push_str(&text);
                return Some((Ok(ChatDelta::Text(text)), self));
            }
        }
        (self.state == State::Ended).then(|| (self.end(), self.told()))
    }

    fn told(self) -> Self {
        Self { state: State::Told, ..self }
    }

    fn take_in(&mut self, chunk: Chunk) -> Result<String, ChatError> {
        self.any_chunk = true;
        if let Some(error) = &chunk.error {
            return Err(ChatError::Reported { message: self.words_of(error) });
        }
        let (text, finish_reason, usage) = chunk.into_parts();
        self.usage = usage.or(self.usage);
        self.finish = match finish_reason.as_deref() {
            Some("length") => Some(Finish::Length),
            Some("content_filter") => Some(Finish::Filtered),
            // Some servers send "" with every piece, others only with the last, which has no text.
            Some("") | None if !text.is_empty() => None,
            Some(_) => Some(Finish::Complete),
            None => self.finish,
        };
        Ok(text)
    }

    fn end(&self) -> Result<ChatDelta, ChatError> {
        if !self.any_chunk {
            return Err(ChatError::NotAStream);
        }
        let finish = self.finish.ok_or(ChatError::CutOff)?;
        if self.said.trim().is_empty() {
            return Err(ChatError::Empty);
        }
        let counts = self.usage.and_then(Usage::counts);
        let (prompt_tokens, completion_tokens) =
            counts.unwrap_or_else(|| (self.prompt_tokens, estimate_tokens(&self.said)));
        let estimated = counts.is_none();
        let usage = TokenUsage { prompt_tokens, completion_tokens, estimated };
        Ok(ChatDelta::End { finish, usage })
    }

    /// What an error frame says, without the key a server may echo.
    fn words_of(&self, error: &Value) -> String {
        let words = error.get("message").unwrap_or(error).as_str().unwrap_or("no reason given");
        let words = match self.key.as_ref().map(ExposeSecret::expose_secret) {
            Some(key) if !key.is_empty() => words.replace(key, "[key]"),
            _ => words.to_owned(),
        };
        words.chars().take(LONGEST_MESSAGE).collect()
    }
}
