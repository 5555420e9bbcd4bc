//! What an OpenAI client asks, as far as it means something for a chatbot.

use docbrain_core::answer::{Role, Turn};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::problem::{Problem, ProblemKind};

/// A question as an OpenAI client asks it. Other members of OpenAI's request may be there, and are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"model": "demo", "messages": [{"role": "user", "content": "How do I expire a key after ten seconds?"}]}))]
#[schema(as = openai::CompletionRequest)]
pub(crate) struct CompletionRequest {
    /// Name or id of the chatbot.
    pub(super) model: String,
    /// The conversation. The last message is the question, and the user's.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
    /// `true`: the answer comes as it is written.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// How many answers; there is always one.
    #[schema(minimum = 1, maximum = 1)]
    n: Option<u32>,
}

/// What a stream tells besides the answer.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = openai::StreamOptions)]
struct StreamOptions {
    /// `true`: a last chunk without choices holds the usage.
    include_usage: Option<bool>,
}

/// A message.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = openai::Message)]
struct Message {
    role: Author,
    /// Its text; null where a tool was called.
    content: Option<Content>,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = openai::Author)]
enum Author {
    Developer,
    System,
    User,
    Assistant,
    Tool,
    Function,
}

/// A text, or its parts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = openai::Content)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message. Of a question only texts are read.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = openai::Part)]
struct Part {
    /// `text`, or what is not read.
    #[schema(example = "text")]
    r#type: String,
    /// Its text.
    text: Option<String>,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
        }
    }

    fn is_text(&self) -> bool {
        let Some(Content::Parts(parts)) = &self.content else { return true };
        parts.iter().all(|part| part.r#type == "text")
    }
}

impl CompletionRequest {
    /// The question, and what was said before.
    pub(super) fn question(&self) -> Result<(String, Vec<Turn>), Problem> {
        let refused = |detail| Err(Problem::new(ProblemKind::InvalidField, detail));
        if self.n.is_some_and(|n| n != 1) {
            return refused("`n` must be 1");
        }
        let (question, before) = match self.messages.split_last() {
            Some((question, before)) if question.role == Author::User => (question, before),
            _ => return refused("the last of `messages` must be the user's"),
        };
        if !question.is_text() {
            return refused("the parts of a question must be of the type `text`");
        }
        let turn = |message: &Message| {
            let role = match message.role {
                Author::User => Role::Visitor,
                Author::Assistant => Role::Assistant,
                Author::Developer | Author::System | Author::Tool | Author::Function => return None,
            };
            Some(Turn { role, content: message.text() }).filter(|turn| !turn.content.is_empty())
        };
        Ok((question.text(), before.iter().filter_map(turn).collect()))
    }

    pub(super) fn wants_stream(&self) -> bool {
        self.stream == Some(true)
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<(String, Vec<Turn>), Problem> {
        serde_json::from_value::<CompletionRequest>(body).unwrap().question()
    }

    #[test]
    fn the_last_message_is_the_question_and_instructions_are_left_out() {
        let (question, history) = read(json!({
            "model": "demo", "temperature": 0.2, "tools": [],
            "messages": [
                {"role": "system", "content": "You are a pirate."},
                {"role": "user", "content": "Which command?"},
                {"role": "assistant", "content": [{"type": "text", "text": "EXPIRE."}]},
                {"role": "assistant", "content": null, "tool_calls": []},
                {"role": "tool", "content": "42"},
                {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "back?"}]},
            ]
        }))
        .unwrap();
        assert_eq!(question, "And back?");
        let said: Vec<(Role, &str)> = history.iter().map(|turn| (turn.role, turn.content.as_str())).collect();
        assert_eq!(said, [(Role::Visitor, "Which command?"), (Role::Assistant, "EXPIRE.")]);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let user = json!({"role": "user", "content": "why?"});
        let image = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]});
        for body in [
            json!({"model": "demo", "messages": []}),
            json!({"model": "demo", "messages": [user, {"role": "assistant", "content": "because"}]}),
            json!({"model": "demo", "messages": [image]}),
            json!({"model": "demo", "messages": [user], "n": 2}),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().kind, ProblemKind::InvalidField, "{body}");
        }
    }
}
