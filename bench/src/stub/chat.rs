//! `POST /v1/chat/completions`: answers that quote the first passages of the prompt and cite them.

use std::convert::Infallible;
use std::fmt::Write;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Behaviour, CREATED, bad_request};
use crate::random::mix;

/// How many passages an answer quotes.
const QUOTED: usize = 3;
/// The longest quote, in characters.
const QUOTE_CHARS: usize = 240;
pub(super) const NO_PASSAGES: &str = "The documents given do not say.";

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n"),
        }
    }
}

pub(super) async fn create_chat_completion(State(behaviour): State<Behaviour>, body: Bytes) -> Response {
    let params: Params = match serde_json::from_slice(&body) {
        Ok(params) => params,
        Err(error) => return bad_request(&format!("the body is not a chat request: {error}")),
    };
    let texts: Vec<String> =
        params.messages.into_iter().filter_map(|message| message.content).map(Content::into_text).collect();
    if texts.is_empty() {
        return bad_request("messages must hold at least one message with text");
    }
    let content = answer(&texts);
    let completion = Completion {
        id: format!("chatcmpl-{:016x}", content.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)))),
        prompt_tokens: texts.iter().map(|text| tokens(text)).sum(),
        model: params.model,
        content,
    };
    if params.stream {
        completion.stream(params.stream_options.is_some_and(|options| options.include_usage), behaviour)
    } else {
        behaviour.think().await;
        Json(completion.whole()).into_response()
    }
}

struct Completion {
    id: String,
    model: String,
    content: String,
    prompt_tokens: usize,
}

impl Completion {
    fn whole(&self) -> Value {
        json!({
            "id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": self.content}, "finish_reason": "stop"}],
            "usage": self.usage(),
        })
    }

    fn usage(&self) -> Value {
        let completion_tokens = tokens(&self.content);
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        })
    }

    /// Role, one event per word, finish reason, usage when asked for, `[DONE]`.
    fn stream(&self, include_usage: bool, behaviour: Behaviour) -> Response {
        let events = self.events(include_usage, behaviour.cut_stream);
        let thought = stream::once(behaviour.think()).filter_map(async |()| None);
        let body = Body::from_stream(thought.chain(stream::iter(events.into_iter().map(Ok::<_, Infallible>))));
        ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
    }

    /// The events share one allocation: a stub that spends its time on them would be measured instead of its client.
    fn events(&self, include_usage: bool, cut: bool) -> Vec<Bytes> {
        let head = format!(
            r#"data: {{"id":"{}","object":"chat.completion.chunk","created":{CREATED},"model":{},"choices":["#,
            self.id,
            Value::from(self.model.as_str()),
        );
        let no_usage = if include_usage { r#","usage":null"# } else { "" };
        let mut text = String::new();
        let mut ends = Vec::new();
        let mut push = |delta: &str, finish: &str| {
            text.push_str(&head);
            for part in [r#"{"index":0,"delta":"#, delta, r#","finish_reason":"#, finish, "}]", no_usage, "}\n\n"] {
                text.push_str(part);
            }
            ends.push(text.len());
        };
        push(r#"{"role":"assistant","content":""}"#, "null");
        for word in self.content.split_inclusive(' ') {
            push(&format!(r#"{{"content":{}}}"#, Value::from(word)), "null");
        }
        if cut {
            ends.truncate(ends.len().div_ceil(2));
            text.truncate(ends.last().map_or(0, |end| end - head.len() / 2));
            ends.pop();
            ends.push(text.len());
        } else {
            push("{}", r#""stop""#);
            if include_usage {
                // Writing into a string cannot fail.
                let _ = write!(text, "{head}],\"usage\":{}}}\n\n", self.usage());
                ends.push(text.len());
            }
            text.push_str("data: [DONE]\n\n");
            ends.push(text.len());
        }
        let text = Bytes::from(text);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| text.slice(start..end)).collect()
    }
}

/// Usage has to be plausible and stable, not exact: a token is taken for four bytes.
fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}

/// Quotes the beginning of each of the first passages, in their order, followed by its number.
fn answer(messages: &[String]) -> String {
    let passages = messages.iter().rev().map(|text| passages(text)).find(|passages| !passages.is_empty());
    let Some(passages) = passages else {
        return NO_PASSAGES.to_owned();
    };
    let mut answer = String::from("The documents say:");
    for (index, passage) in passages.iter().take(QUOTED).enumerate() {
        // Writing into a string cannot fail.
        let _ = write!(answer, " \"{}\" [{}]", first_sentence(passage), index + 1);
    }
    answer
}

/// The texts of the passages of a prompt, which are numbered from 1. One starts with a line `[n] …` or with an opening tag that has
/// an attribute `number="n"` or `id="n"`, and reaches to the next one or to the closing tag.
fn passages(prompt: &str) -> Vec<&str> {
    let mut passages = Vec::new();
    let mut open: Option<(usize, Option<&str>)> = None;
    let mut offset = 0;
    for line in prompt.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let closes = |tag| {
            line.strip_prefix("</").is_some_and(|rest| rest.strip_prefix(tag).is_some_and(|end| end.starts_with('>')))
        };
        if let Some((from, Some(tag))) = open {
            if closes(tag) {
                passages.push(prompt[from..start].trim());
                open = None;
            }
        } else if let Some(head) =
            head(line).filter(|head| head.number == passages.len() + 1 + usize::from(open.is_some()))
        {
            passages.extend(open.map(|(from, _)| prompt[from..start].trim()));
            open = Some((start + head.length, head.tag));
        }
    }
    passages.extend(open.map(|(from, _)| prompt[from..].trim()));
    passages
}

/// How a line opens a passage: its number, the bytes before its text, and the name of the tag it is in.
struct Head<'a> {
    number: usize,
    length: usize,
    tag: Option<&'a str>,
}

fn head(line: &str) -> Option<Head<'_>> {
    if let Some(rest) = line.strip_prefix('[') {
        let (number, _) = rest.split_once(']')?;
        return Some(Head { number: number.parse().ok()?, length: number.len() + 2, tag: None });
    }
    let (tag, attributes) = line.trim_end().strip_prefix('<')?.strip_suffix('>')?.split_once(' ')?;
    let value = ["number=\"", "id=\""].into_iter().find_map(|name| attributes.split_once(name))?.1;
    Some(Head { number: value.split_once('"')?.0.parse().ok()?, length: line.len(), tag: Some(tag) })
}

/// The first sentence of a passage: of its first line that is not a heading, a fence or a table, if there is one.
fn first_sentence(passage: &str) -> String {
    let lines = || passage.lines().map(str::trim).filter(|line| !line.is_empty());
    let prose = lines().find(|line| !line.starts_with(['#', '|', '`', '<']));
    let line = prose.or_else(|| lines().next()).unwrap_or_default();
    let ends = line.match_indices(['.', '?', '!']).map(|(at, mark)| at + mark.len());
    let end = ends.into_iter().find(|&end| line[end..].starts_with(' ')).unwrap_or(line.len());
    line[..end].chars().take(QUOTE_CHARS).collect()
}
