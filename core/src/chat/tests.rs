//! What every chat model promises, for the fake and the real one, and what servers really do.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::fake::{FakeChat, Script};
use super::*;
use crate::models::Endpoint;
use crate::openai::{RetryPolicy, client_with};

const KEY: &str = "sk-very-secret-key";

fn asking() -> ChatRequest {
    let message = |role, content: &str| ChatMessage { role, content: content.into() };
    ChatRequest {
        messages: vec![message(ChatRole::System, "Be brief."), message(ChatRole::User, "Hello?")],
        temperature: Some(0.5),
        max_tokens: Some(50),
    }
}

fn model(server: &MockServer) -> OpenAiChat {
    let key = SecretString::from(KEY);
    let policy =
        RetryPolicy { attempts: 3, first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(5) };
    let endpoint = Endpoint::new(format!("{}/v1", server.uri()), "a-model", Some(key.clone()));
    let client = client_with(&endpoint, policy);
    OpenAiChat::over(client, Some(key), "a-model".into())
}

/// Everything a stream gives: its text, then its end or its error.
async fn read(model: &dyn ChatModel) -> (String, Result<(Finish, TokenUsage), ChatError>) {
    let mut stream = match model.stream(asking()).await {
        Ok(stream) => stream,
        Err(error) => return (String::new(), Err(error)),
    };
    let mut said = String::new();
    let mut last = None;
    while let Some(item) = stream.next().await {
        assert!(last.is_none(), "nothing follows the end");
        match item {
            Ok(ChatDelta::Text(text)) => {
                assert!(!text.is_empty());
                said.push_str(&text);
            }
            Ok(ChatDelta::End { finish, usage }) => last = Some(Ok((finish, usage))),
            Err(error) => last = Some(Err(error)),
        }
    }
    (said, last.expect("a stream has an end"))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn piece(text: &str) -> String {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

fn stop(reason: &str) -> String {
    event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }))
}

const DONE: &str = "data: [DONE]\n\n";

fn usage() -> String {
    event(&json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 3 } }))
}

async fn serving(body: String) -> MockServer {
    answering(ResponseTemplate::new(200).set_body_raw(body, "text/event-stream")).await
}

async fn answering(response: impl Respond + 'static) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(response).mount(&server).await;
    server
}

/// The script as a server would tell it.
async fn served(script: &Script) -> MockServer {
    let (pieces, end) = match script {
        Script::Says(pieces) => (pieces, stop("stop") + &usage() + DONE),
        Script::ReachesLimit(pieces) => (pieces, stop("length") + &usage() + DONE),
        Script::BreaksOff(pieces) => (pieces, String::new()),
        Script::Fails(pieces) => (pieces, event(&json!({ "error": { "message": "overloaded" } }))),
    };
    serving(pieces.iter().map(|text| piece(text)).collect::<String>() + &end).await
}

#[tokio::test]
async fn the_fake_and_the_real_model_keep_the_same_promises() {
    let counted = TokenUsage { prompt_tokens: 7, completion_tokens: 3, estimated: false };
    for script in [
        Script::Says(vec!["It ", "works."]),
        Script::ReachesLimit(vec!["It "]),
        Script::BreaksOff(vec!["It ", "wor"]),
        Script::Fails(vec!["It "]),
    ] {
        let server = served(&script).await;
        let models: [Arc<dyn ChatModel>; 2] = [Arc::new(FakeChat::new(script.clone())), Arc::new(model(&server))];
        for model in models {
            let (said, end) = read(model.as_ref()).await;
            let name = model.name();
            match &script {
                Script::Says(pieces) => {
                    assert_eq!(said, pieces.concat(), "{name}");
                    assert_eq!(end.unwrap(), (Finish::Complete, counted), "{name}");
                }
                Script::ReachesLimit(_) => {
                    assert_eq!(end.unwrap(), (Finish::Length, counted), "{name}");
                }
                Script::BreaksOff(pieces) => {
                    assert_eq!(said, pieces.concat(), "{name}");
                    assert!(matches!(end, Err(ChatError::CutOff)), "{name}: {end:?}");
                }
                Script::Fails(_) => {
                    assert!(
                        matches!(&end, Err(ChatError::Reported { message }) if message == "overloaded"),
                        "{name}: {end:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_request_is_what_servers_expect() {
    let server = MockServer::start().await;
    Mock::given(header("authorization", format!("Bearer {KEY}")))
        .and(body_partial_json(json!({
            "model": "a-model",
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": 0.5,
            "max_tokens": 50,
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Hello?" },
            ],
        })))
        .respond_with(ResponseTemplate::new(200).set_body_raw(piece("Hi") + &stop("stop"), "text/event-stream"))
        .expect(1)
        .mount(&server)
        .await;
    assert_eq!(read(&model(&server)).await.0, "Hi");
}

#[tokio::test]
async fn lenient_with_what_servers_leave_out_or_add() {
    let odd_streams = [
        // Nothing but the text; no [DONE].
        r#"{"choices":[{"delta":{"content":"Hi"}}]}"#.to_owned()
            + "\n\ndata: "
            + r#"{"choices":[{"finish_reason":"eos"}]}"#,
        // Nulls, unknown fields, numbers as floats, an empty finish reason with every piece.
        r#"{"id":null,"created":1.5,"service_tier":"on_demand","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":""}]}"#.to_owned()
            + "\n\ndata: "
            + r#"{"error":null,"choices":[{"delta":{"content":"Hi","tool_calls":[{}]},"finish_reason":""}],"usage":null}"#
            + "\n\ndata: "
            + r#"{"choices":[{"delta":{"content":""},"finish_reason":""}],"usage":{"prompt_tokens":7.0,"completion_tokens":1.0}}"#,
        // The reason and the last text in one event; a second choice; reasoning beside the text.
        r#"{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"reasoning_content":"hm","content":"Hi"},"finish_reason":"stop"}]}"#.to_owned(),
        // A thought in the text.
        r#"{"choices":[{"delta":{"content":"<think>hm"}}]}"#.to_owned()
            + "\n\ndata: "
            + r#"{"choices":[{"delta":{"content":"</think>\n\nHi"},"finish_reason":"stop"}]}"#,
    ];
    for stream in odd_streams {
        let server = serving(format!(": a comment\n\ndata: {stream}\n\n")).await;
        let (said, end) = read(&model(&server)).await;
        assert_eq!(said, "Hi", "{stream}");
        assert_eq!(end.unwrap().0, Finish::Complete, "{stream}");
    }
}

#[tokio::test]
async fn tokens_are_estimated_where_they_are_not_counted() {
    let server = serving(piece("Twelve chars") + &stop("stop") + DONE).await;
    let (_, end) = read(&model(&server)).await;
    let expected = TokenUsage { prompt_tokens: 5, completion_tokens: 3, estimated: true };
    assert_eq!(end.unwrap().1, expected);
}

#[tokio::test]
async fn streams_without_an_end_are_errors() {
    let half = r#"data: {"choices":[{"delta":{"content":"lo"#;
    for tail in [String::new(), DONE.to_owned(), half.to_owned(), usage() + DONE] {
        let server = serving(piece("Hel") + &tail).await;
        let (said, end) = read(&model(&server)).await;
        assert_eq!(said, "Hel");
        assert!(matches!(end, Err(ChatError::CutOff)), "{tail}: {end:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        let text = piece("Hel");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let body = format!("{head}{:x}\r\n{text}\r\n", text.len());
        socket.write_all(body.as_bytes()).await.unwrap();
    });
    let (said, end) = read(&OpenAiChat::new(&Endpoint::new(format!("http://{address}/v1"), "m", None), "m")).await;
    assert_eq!(said, "Hel");
    assert!(matches!(end, Err(ChatError::CutOff)), "{end:?}");
}

#[tokio::test]
async fn a_page_or_a_plain_answer_is_no_stream() {
    for (body, kind) in [
        ("<!doctype html><html><body>Welcome</body></html>", "text/html"),
        (r#"{"choices":[{"message":{"content":"Hi"}}]}"#, "application/json"),
        ("", "text/event-stream"),
    ] {
        let server = answering(ResponseTemplate::new(200).set_body_raw(body, kind)).await;
        let (_, end) = read(&model(&server)).await;
        assert!(matches!(end, Err(ChatError::NotAStream)), "{kind}: {end:?}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_an_error() {
    let server = serving(piece("Hel") + "data: oops\n\n" + &piece("lo") + &stop("stop")).await;
    let (said, end) = read(&model(&server)).await;
    assert_eq!(said, "Hel");
    assert!(matches!(end, Err(ChatError::Server(ModelServerError::Malformed { .. }))), "{end:?}");
}

#[tokio::test]
async fn an_answer_of_nothing_is_an_error() {
    for body in [stop("stop"), piece(" \n") + &stop("length"), piece("<think>hm") + &stop("length")] {
        let server = serving(body).await;
        let (_, end) = read(&model(&server)).await;
        assert!(matches!(end, Err(ChatError::Empty)), "{end:?}");
    }
}

#[tokio::test]
async fn an_error_in_the_stream_is_told_without_the_key() {
    for error in [
        json!({ "error": { "message": format!("bad key {KEY}"), "code": 500 } }),
        json!({ "error": format!("bad key {KEY}") }),
    ] {
        let server = serving(piece("Hel") + &event(&error) + &piece("lo") + &stop("stop")).await;
        let (said, end) = read(&model(&server)).await;
        assert_eq!(said, "Hel");
        let text = end.unwrap_err().to_string();
        assert_eq!(text, "the model server reported an error in the middle of its answer: bad key [key]");
    }
}

#[tokio::test]
async fn refusals_have_names_and_no_key() {
    use ModelServerError::{RateLimited, Refused, Unauthorized};
    let echo = format!("Incorrect API key provided: {KEY}");
    for (status, expected) in [
        (401, "the model server refused the key (status 401)"),
        (404, "the model server answered with status 404: Incorrect API key provided: [key]"),
        (429, "the model server limits the request rate: try again later"),
        (500, "the model server answered with status 500: Incorrect API key provided: [key]"),
    ] {
        let body = json!({ "error": { "message": echo } });
        let server = answering(ResponseTemplate::new(status).set_body_json(body)).await;
        let error = read(&model(&server)).await.1.unwrap_err();
        assert!(
            matches!(error, ChatError::Server(Unauthorized { .. } | Refused { .. } | RateLimited { .. })),
            "{error:?}"
        );
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    }
}

/// Gives its answers in turn, the last one for ever.
struct InTurn(std::sync::Mutex<Vec<ResponseTemplate>>);

impl InTurn {
    fn new(mut answers: Vec<ResponseTemplate>) -> Self {
        answers.reverse();
        Self(answers.into())
    }
}

impl Respond for InTurn {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let mut answers = self.0.lock().unwrap();
        if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() }
    }
}

fn good() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(piece("Hi") + &stop("stop"), "text/event-stream")
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_but_never_after_the_first_text() {
    let server = answering(InTurn::new(vec![ResponseTemplate::new(503), ResponseTemplate::new(429), good()])).await;
    assert_eq!(read(&model(&server)).await.0, "Hi");
    assert_eq!(server.received_requests().await.unwrap().len(), 3);

    let server = serving(piece("Hel")).await;
    assert!(matches!(read(&model(&server)).await.1, Err(ChatError::CutOff)));
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn parameters_a_server_refuses_are_given_up_once_and_for_all() {
    let refuse =
        |status, words: &str| ResponseTemplate::new(status).set_body_json(json!({ "error": { "message": words } }));
    let server = answering(InTurn::new(vec![
        refuse(422, "unknown field stream_options"),
        refuse(400, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        refuse(400, "'temperature' does not support 0.5 with this model."),
        good(),
    ]))
    .await;
    let model = model(&server);
    assert_eq!(read(&model).await.0, "Hi");
    assert_eq!(read(&model).await.0, "Hi");
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 5, "the second answer needs one request");
    let last: Value = requests[4].body_json().unwrap();
    let mut names: Vec<&str> = last.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["max_completion_tokens", "messages", "model", "stream"]);
}

#[tokio::test]
async fn a_refusal_that_names_no_parameter_is_final() {
    let body = json!({ "error": { "message": "This model's maximum context length is 8192 tokens." } });
    let server = answering(ResponseTemplate::new(400).set_body_json(body)).await;
    let (_, end) = read(&model(&server)).await;
    assert!(matches!(end, Err(ChatError::Server(ModelServerError::Refused { status: 400, .. }))));
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}
