//! Chatbots as models of the OpenAI API.

use axum::body::Body;
use axum::http::Request;
use docbrain_core::models::Endpoint;
use serde_json::{Value, json};
use sqlx::PgPool;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::chat::{endpoint, model};
use crate::clients;
use crate::harness::{Requests, World};

const QUESTION: &str = "Which command sets a timeout on a key?";

async fn world(owner: PgPool, chat: Option<Endpoint>) -> World {
    let world = World::with_chat(owner, chat).await;
    let texts = [
        "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.",
        "The PERSIST command removes the timeout from a key again.",
    ];
    world.index(world.acme, "docs", "guide/expire.md", &texts).await;
    world
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_official_client_lists_asks_and_raises(owner: PgPool) {
    let world = world(owner, None).await;
    clients::run("openai_client.py", &world).await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_question_is_kept_as_a_conversation(owner: PgPool) {
    let world = world(owner, None).await;
    let body = json!({"model": "helper", "messages": [{"role": "user", "content": QUESTION}]});
    let completion = world.post("/v1/chat/completions", &body).await.json(200);
    let kept: (String, String) = sqlx::query_as(
        "select conversation_id::text, content from messages where id = $1::uuid and role = 'assistant'",
    )
    .bind(completion["docbrain"]["message_id"].as_str())
    .fetch_one(&world.owner)
    .await
    .unwrap();
    assert_eq!(kept.1, completion["choices"][0]["message"]["content"]);
    assert_eq!(completion["id"], format!("chatcmpl-{}", kept.0));
    assert_eq!(completion["docbrain"]["conversation_id"], kept.0);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn every_refusal_below_v1_is_in_openais_form(owner: PgPool) {
    let world = world(owner, None).await;
    let nobody = Request::get("/v1/models").body(Body::empty()).unwrap();
    let unknown = json!({"model": "guide", "messages": [{"role": "user", "content": QUESTION}]});
    for (reply, status, code, kind) in [
        (world.send(nobody).await, 401, "unauthorized", "authentication_error"),
        (world.get("/v1/embeddings").await, 404, "route_not_found", "invalid_request_error"),
        (world.get("/v1/chat/completions").await, 405, "method_not_allowed", "invalid_request_error"),
        (world.post("/v1/chat/completions", &json!({"model": 7})).await, 422, "invalid_field", "invalid_request_error"),
        (world.post("/v1/chat/completions", &unknown).await, 404, "chatbot_not_found", "invalid_request_error"),
    ] {
        let error = &reply.json(status)["error"];
        assert_eq!((&error["code"], &error["type"], &error["param"]), (&json!(code), &json!(kind), &Value::Null));
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 20), "{error}");
    }
    let long = json!({"model": "helper", "messages": [{"role": "system", "content": "x".repeat(500_000)}, {"role": "user", "content": QUESTION}]});
    world.send(Request::post("/v1/chat/completions").admin("acme").json(&long)).await.json(200);
}

/// A streamed answer: the data of its events, but for the `[DONE]` that ends it.
async fn stream(world: &World) -> (Vec<Value>, bool) {
    let body = json!({
        "model": "helper", "messages": [{"role": "user", "content": QUESTION}],
        "stream": true, "stream_options": {"include_usage": true}
    });
    let reply = world.post("/v1/chat/completions", &body).await;
    assert_eq!((reply.status.as_u16(), &reply.headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    let data: Vec<&str> = reply.text().lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (chunks, done) = match data.split_last() {
        Some((&"[DONE]", chunks)) => (chunks, true),
        _ => (data.as_slice(), false),
    };
    (chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect(), done)
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_a_model_writes_is_streamed_with_its_usage(owner: PgPool) {
    let server = model(&["Call `EXPIRE key[1]`", " for that [1]."]).await;
    let world = world(owner, Some(endpoint(&server))).await;
    let (chunks, done) = stream(&world).await;
    assert!(done);
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Call `EXPIRE key[1]` for that [1].");
    let annotations: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["annotations"].as_array())
        .flatten()
        .map(|annotation| &annotation["url_citation"])
        .collect();
    let [citation] = annotations.as_slice() else { panic!("{annotations:?}") };
    assert_eq!((&citation["start_index"], &citation["end_index"]), (&json!(30), &json!(33)));
    let usage = json!({"prompt_tokens": 120, "completion_tokens": 9, "total_tokens": 129});
    assert_eq!(chunks.last().unwrap()["usage"], usage);
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_model_that_breaks_off_is_an_error_in_the_stream(owner: PgPool) {
    let server = MockServer::start().await;
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"Call EXPIRE and then \"}}]}\n\n";
    let broken = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    Mock::given(method("POST")).respond_with(broken).mount(&server).await;
    let world = world(owner, Some(endpoint(&server))).await;
    let (chunks, done) = stream(&world).await;
    assert!(!done);
    assert_eq!(chunks.last().unwrap()["error"]["code"], "model_failed");
    assert_eq!(chunks.last().unwrap()["error"]["type"], "server_error");
}
