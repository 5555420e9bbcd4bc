//! A model server that answers with what it was sent: the mark in the prompt, and the key.

use std::net::{IpAddr, TcpListener};

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// What a mark in a prompt begins with.
pub(crate) const MARK: &str = "MARK-";

pub(crate) struct Model {
    server: MockServer,
}

impl Model {
    /// Listens where pods reach it.
    pub(crate) async fn start(host: IpAddr) -> Self {
        let server = MockServer::builder().listener(TcpListener::bind((host, 0)).unwrap()).start().await;
        Mock::given(path("/v1/chat/completions")).respond_with(Echo).mount(&server).await;
        Self { server }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.server.uri())
    }
}

struct Echo;

impl Respond for Echo {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        let prompt = body["messages"].to_string();
        let is_of_mark = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mark = prompt
            .find(MARK)
            .map(|at| &prompt[at..])
            .map_or("no mark", |rest| &rest[..rest.find(|c| !is_of_mark(c)).unwrap_or(rest.len())]);
        let key = request.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("no key");
        let key = key.trim_start_matches("Bearer ");
        let chunk = |delta: Value, finish: Option<&str>| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
            let chunk = json!({ "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "echo", "choices": [choice] });
            format!("data: {chunk}\n\n")
        };
        let text = format!("The prompt holds {mark}, and the request {key}. [1]");
        let events = chunk(json!({ "role": "assistant", "content": text }), None) + &chunk(json!({}), Some("stop"));
        ResponseTemplate::new(200).set_body_raw(events + "data: [DONE]\n\n", "text/event-stream")
    }
}
