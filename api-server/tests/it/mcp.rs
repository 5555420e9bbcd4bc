//! Chatbots as servers of the Model Context Protocol.

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::clients;
use crate::harness::{Requests, World};

async fn world(owner: PgPool) -> World {
    let world = World::new(owner).await;
    let texts = [
        "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.",
        "The PERSIST command removes the timeout from a key again.",
    ];
    world.index(world.acme, "docs", "guide/expire.md", &texts).await;
    world
}

fn list_tools() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
}

fn post(path: &str) -> Builder {
    Request::post(path).admin("acme").header("accept", "application/json, text/event-stream")
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_official_client_connects_and_calls_both_tools(owner: PgPool) {
    let world = world(owner).await;
    clients::run("mcp_client.py", &world).await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn access_is_checked_before_the_protocol(owner: PgPool) {
    let world = world(owner).await;
    let nobody = Request::post("/mcp/helper").header("host", "docs.example").json(&list_tools());
    world.send(nobody).await.problem(401, "unauthorized");
    world.send(post("/mcp/guide").json(&list_tools())).await.problem(404, "chatbot_not_found");
    world.send(post("/mcp/asleep").json(&list_tools())).await.problem(409, "chatbot_suspended");
    let listed = world.send(post("/mcp/helper").header("host", "docs.example").json(&list_tools())).await.json(200);
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 2);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn pages_and_strange_requests_are_refused(owner: PgPool) {
    let world = world(owner).await;
    let page = post("/mcp/helper").header("host", "docs.example").header("origin", "https://docs.example");
    world.send(page.json(&list_tools())).await.problem(403, "origin_refused");
    let anything = Request::post("/mcp/helper").admin("acme").header("host", "docs.example").header("accept", "*/*");
    world.send(anything.json(&list_tools())).await.json(200);
    let host = || post("/mcp/helper").header("host", "docs.example");
    let text = host().header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    world.send(text).await.problem(415, "unsupported_media_type");
    world.send(host().json(&json!("x".repeat(300_000)))).await.problem(413, "body_too_large");
    world.send(host().json(&json!({"method": "tools/list"}))).await.problem(422, "invalid_field");
    let whole = json!({"jsonrpc": "2.0", "id": 7.0, "method": "tools/list"});
    assert_eq!(world.send(host().json(&whole)).await.json(200)["id"], 7);
    world.send(host().json(&json!({"jsonrpc": "2.0", "id": 7.5, "method": "x"}))).await.problem(422, "invalid_field");
    world.send(host().header("mcp-protocol-version", "1").json(&list_tools())).await.problem(400, "bad_request");
    world.get("/mcp/helper").await.problem(405, "method_not_allowed");
    let unknown = world.send(host().json(&json!({"jsonrpc": "2.0", "id": 1, "method": "no/such"}))).await;
    assert!(unknown.text().contains("-32601"), "{}", unknown.text());
}
