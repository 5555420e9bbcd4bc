//! A chat model that says what a test tells it to.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{ChatDelta, ChatError, ChatModel, ChatRequest, Finish, TokenUsage};

/// How an answer goes.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// These pieces, then the end.
    Says(Vec<&'static str>),
    /// These pieces, then the token limit.
    ReachesLimit(Vec<&'static str>),
    /// These pieces, then nothing.
    BreaksOff(Vec<&'static str>),
    /// These pieces, then the server reports an error.
    Fails(Vec<&'static str>),
}

/// Follows its script and remembers what it was asked.
pub(crate) struct FakeChat {
    script: Script,
    pub(crate) asked: Mutex<Vec<ChatRequest>>,
}

impl FakeChat {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, asked: Mutex::default() }
    }
}

#[async_trait]
impl ChatModel for FakeChat {
    async fn stream(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatDelta, ChatError>>, ChatError> {
        self.asked.lock().unwrap().push(request);
        let usage = TokenUsage { prompt_tokens: 7, completion_tokens: 3, estimated: false };
        let end = |finish| Ok(ChatDelta::End { finish, usage });
        let (pieces, last) = match self.script.clone() {
            Script::Says(pieces) => (pieces, end(Finish::Complete)),
            Script::ReachesLimit(pieces) => (pieces, end(Finish::Length)),
            Script::BreaksOff(pieces) => (pieces, Err(ChatError::CutOff)),
            Script::Fails(pieces) => (pieces, Err(ChatError::Reported { message: "overloaded".into() })),
        };
        let texts = pieces.into_iter().map(|piece| Ok(ChatDelta::Text(piece.to_owned())));
        Ok(stream::iter(texts.chain([last]).collect::<Vec<_>>()).boxed())
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}
