//! Chatbots as models of the OpenAI API.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::clients;
use crate::harness::{Requests, World};

const QUESTION: &str = "Which command sets a timeout on a key?";

async fn world(owner: PgPool) -> World {
    let world = World::new(owner).await;
    let texts = [
        "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.",
        "The PERSIST command removes the timeout from a key again.",
    ];
    world.index(world.acme, "docs", "guide/expire.md", &texts).await;
    world
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_official_client_lists_asks_and_raises(owner: PgPool) {
    let world = world(owner).await;
    clients::run("openai_client.py", &world).await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_question_is_kept_as_a_conversation(owner: PgPool) {
    let world = world(owner).await;
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
    let world = world(owner).await;
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
