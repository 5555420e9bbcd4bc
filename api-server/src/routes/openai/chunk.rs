//! What an OpenAI client is streamed.

use serde::Serialize;

use super::reply::{Annotation, Header, Outcome, TokenCount, finish_reason};
use crate::routes::chat::wire::ChatReply;

/// A piece of an answer.
#[derive(Debug, Serialize)]
pub(super) struct Chunk<'a> {
    #[serde(flatten)]
    header: &'a Header,
    object: &'static str,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<TokenCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    docbrain: Option<Outcome>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    delta: Delta,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Vec<Annotation>>,
}

impl<'a> Chunk<'a> {
    fn new(header: &'a Header, delta: Delta, finish_reason: Option<&'static str>) -> Self {
        let choices = vec![Choice { index: 0, delta, finish_reason }];
        Self { header, object: "chat.completion.chunk", choices, usage: None, docbrain: None }
    }

    /// The first chunk.
    pub(super) fn role(header: &'a Header) -> Self {
        Self::new(header, Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() }, None)
    }

    pub(super) fn text(header: &'a Header, text: String) -> Self {
        Self::new(header, Delta { content: Some(text), ..Delta::default() }, None)
    }

    /// The last chunks: what the answer cites, why it ended, and, if asked for, what it used.
    pub(super) fn of_end(header: &'a Header, reply: &ChatReply, with_usage: bool) -> Vec<Self> {
        let cited = Delta { annotations: Some(Annotation::all(reply)), ..Delta::default() };
        let mut end = Self::new(header, Delta::default(), Some(finish_reason(reply)));
        end.docbrain = Some(Outcome::from(reply));
        let mut chunks = vec![Self::new(header, cited, None), end];
        if with_usage {
            let mut usage = Self::new(header, Delta::default(), None);
            usage.choices.clear();
            usage.usage = Some(TokenCount::from(reply));
            chunks.push(usage);
        }
        chunks
    }
}
