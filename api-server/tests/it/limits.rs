//! Limits as a client meets them.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chrono::{Timelike, Utc};
use docbrain_core::models::Endpoint;
use serde_json::{Value, json};
use sqlx::PgPool;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Form, Reply, Requests, World};

const EXPIRE: &str = "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.";
const QUESTION: &str = "Which command sets a timeout on a key?";

/// Waits until the minute has some seconds left, so that what follows falls into one.
pub(crate) async fn in_one_minute() {
    while Utc::now().second() >= 45 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(crate) async fn limit_chatbot(world: &World, limits: &Value) {
    sqlx::query("update chatbots set spec = spec || jsonb_build_object('limits', $1) where name = 'helper'")
        .bind(limits)
        .execute(&world.owner)
        .await
        .unwrap();
}

async fn limit_tenant(world: &World, quota: &Value) {
    sqlx::query("update tenants set spec = spec || jsonb_build_object('quota', $1) where name = 'acme'")
        .bind(quota)
        .execute(&world.owner)
        .await
        .unwrap();
}

async fn ask(world: &World, chatbot: &str) -> Reply {
    world.post("/conversation/chat", &json!({"chatbot": chatbot, "message": QUESTION})).await
}

fn pause(reply: &Reply) -> u64 {
    reply.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_chatbot_answers_so_many_questions_a_minute(owner: PgPool) {
    let world = World::new(owner).await;
    limit_chatbot(&world, &json!({"questionsPerMinute": 3})).await;
    in_one_minute().await;
    for _ in 0..3 {
        ask(&world, "helper").await.json(200);
    }
    let refused = ask(&world, "helper").await;
    let problem = refused.problem(429, "rate_limited");
    assert!(problem["detail"].as_str().unwrap().contains("wait a moment"), "{problem}");
    assert!((1..=60).contains(&pause(&refused)));
    let streamed = Request::post("/conversation/chat").admin("acme").header("accept", "text/event-stream");
    world.send(streamed.json(&json!({"chatbot": "helper", "message": QUESTION}))).await.problem(429, "rate_limited");
    ask(&world, "pair").await.json(200);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_tenants_chatbots_share_its_quota(owner: PgPool) {
    let world = World::new(owner).await;
    limit_tenant(&world, &json!({"requestsPerMinute": 3})).await;
    in_one_minute().await;
    for chatbot in ["helper", "pair", "helper"] {
        ask(&world, chatbot).await.json(200);
    }
    ask(&world, "pair").await.problem(429, "rate_limited");
    let rivals = Request::post("/conversation/chat").admin("rival");
    world.send(rivals.json(&json!({"chatbot": "guide", "message": QUESTION}))).await.json(200);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_budget_of_tokens_ends(owner: PgPool) {
    let server = MockServer::start().await;
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"Call EXPIRE. [1]\"},\"finish_reason\":\"stop\"}]}\n\n\
                data: {\"choices\":[],\"usage\":{\"prompt_tokens\":60,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n";
    let reply = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    Mock::given(method("POST")).respond_with(reply).mount(&server).await;
    let endpoint = Endpoint::new(server.uri(), "stub", None);
    let world = World::with_chat(owner, Some(endpoint)).await;
    world.index(world.acme, "docs", "guide/expire.md", &[EXPIRE]).await;
    limit_chatbot(&world, &json!({"budget": {"tokensPerDay": 100}})).await;
    assert_eq!(ask(&world, "helper").await.json(200)["kind"], "generated");
    ask(&world, "helper").await.json(200);
    let refused = ask(&world, "helper").await;
    let problem = refused.problem(429, "budget_exhausted");
    assert!(problem["detail"].as_str().unwrap().contains("tomorrow"), "{problem}");
    assert!((1..=86_400).contains(&pause(&refused)));
    assert_eq!(server.received_requests().await.unwrap().len(), 2, "the model is not asked in vain");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_quota_of_documents_refuses_what_is_new(owner: PgPool) {
    let world = World::new(owner).await;
    limit_tenant(&world, &json!({"maxDocuments": 2})).await;
    let form = |path: &str, text: &[u8]| Form::default().field("source", "docs").file(path, text);
    let both = form("a.md", b"a").file("b.md", b"b").file("c.md", b"c");
    let problem = world.upload(&both).await.problem(409, "quota_exceeded");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("quota is 2 documents, and there are 2") && detail.contains("stored: 2"), "{detail}");
    world.upload(&form("b.md", b"changed")).await.json(202);
    world.upload(&Form::default().field("source", "news").file("d.md", b"d")).await.problem(409, "quota_exceeded");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn at_once_no_more_documents_are_stored_than_the_quota_has(owner: PgPool) {
    let world = World::new(owner).await;
    limit_tenant(&world, &json!({"maxDocuments": 5})).await;
    let forms: Vec<Form> =
        (0..12).map(|number| Form::default().field("source", "docs").file(&format!("{number}.md"), b"text")).collect();
    let replies = futures::future::join_all(forms.iter().map(|form| world.upload(form))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 5);
    assert_eq!(replies.iter().filter(|reply| reply.status == 409).count(), 7);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_quota_of_chunks_refuses_files_once_it_is_full(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "guide/expire.md", &[EXPIRE, EXPIRE]).await;
    sqlx::query("update generations set state = 'active'").execute(&world.owner).await.unwrap();
    limit_tenant(&world, &json!({"maxChunks": 2})).await;
    let form = Form::default().field("source", "docs").file("more.md", b"more");
    let problem = world.upload(&form).await.problem(409, "quota_exceeded");
    assert!(problem["detail"].as_str().unwrap().contains("2 chunks"), "{problem}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn uploads_are_counted(owner: PgPool) {
    let world = World::new(owner).await;
    limit_tenant(&world, &json!({"uploadsPerMinute": 2})).await;
    in_one_minute().await;
    let form = Form::default().field("source", "docs").file("a.md", b"a");
    for _ in 0..2 {
        world.upload(&form).await.json(202);
    }
    let refused = world.upload(&form).await;
    refused.problem(429, "rate_limited");
    assert!((1..=60).contains(&pause(&refused)));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_database_that_is_away_is_a_503(owner: PgPool) {
    let world = World::new(owner).await;
    world.get("/chatbots").await.json(200);
    world.api.close().await;
    let replies = [
        ask(&world, "helper").await,
        world.get("/chatbots").await,
        world.send(Request::get("/chatbots").admin("rival").body(Body::empty()).unwrap()).await,
    ];
    for reply in replies {
        reply.problem(503, "database_unavailable");
        assert_eq!(pause(&reply), 1);
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_busy_model_says_when_to_come_back(owner: PgPool) {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "77");
    Mock::given(method("POST")).respond_with(busy).mount(&server).await;
    let endpoint = Endpoint::new(server.uri(), "stub", None);
    let world = World::with_chat(owner, Some(endpoint)).await;
    world.index(world.acme, "docs", "guide/expire.md", &[EXPIRE]).await;
    let reply = ask(&world, "helper").await;
    reply.problem(503, "model_busy");
    assert_eq!(pause(&reply), 77);
}
