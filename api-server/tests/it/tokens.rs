//! API tokens: made, shown once, good for their scopes, revoked.

use axum::body::Body;
use axum::http::Request;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Reply, Requests, World};

async fn make(world: &World, scopes: &[&str]) -> String {
    let body = json!({"name": "build", "scopes": scopes});
    let made = world.post("/tokens", &body).await;
    assert_eq!(made.headers["cache-control"], "no-store");
    made.json(201)["token"].as_str().unwrap().to_owned()
}

async fn get(world: &World, path: &str, token: &str) -> Reply {
    world.send(Request::get(path).bearer(token).body(Body::empty()).unwrap()).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_token_is_shown_once_and_good_for_its_scopes(owner: PgPool) {
    let world = World::new(owner).await;
    let token = make(&world, &["read"]).await;
    assert!(token.starts_with("docb_"));
    get(&world, "/chatbots", &token).await.json(200);
    get(&world, "/members", &token).await.problem(403, "forbidden");
    get(&world, "/auth/me", &token).await.problem(403, "forbidden");
    let ask = json!({"chatbot": "helper", "message": "Why?"});
    world.send(Request::post("/conversation/chat").bearer(&token).json(&ask)).await.problem(403, "forbidden");
    let chat = make(&world, &["chat"]).await;
    world.send(Request::post("/conversation/chat").bearer(&chat).json(&ask)).await.json(200);
    get(&world, "/chatbots", &chat).await.problem(403, "forbidden");

    let listed = world.get("/tokens").await;
    assert!(!listed.text().contains(&token) && !listed.text().contains("sha256"), "{}", listed.text());
    let listed = listed.json(200)["tokens"].clone();
    assert_eq!(listed[1]["hint"], format!("…{}", &token[token.len() - 4..]));
    assert_ne!(listed[1]["last_used_at"], Value::Null);
    let kept: Vec<String> =
        sqlx::query_scalar("select row_to_json(t)::text from api_tokens t").fetch_all(&world.owner).await.unwrap();
    assert!(kept.iter().all(|row| !row.contains(&token)));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_token_ends_by_its_date_or_by_hand(owner: PgPool) {
    let world = World::new(owner).await;
    let token = make(&world, &["read"]).await;
    sqlx::query("update api_tokens set expires_at = now() - interval '1 s'").execute(&world.owner).await.unwrap();
    get(&world, "/chatbots", &token).await.problem(401, "token_expired");
    let id = world.get("/tokens").await.json(200)["tokens"][0]["id"].as_str().unwrap().to_owned();
    let revoke = Request::delete(format!("/tokens/{id}")).admin("acme").body(Body::empty()).unwrap();
    assert_eq!(world.send(revoke).await.status, 204);
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    get(&world, "/chatbots", &token).await.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn tokens_are_checked(owner: PgPool) {
    let world = World::new(owner).await;
    let past = Utc::now() - TimeDelta::hours(1);
    for body in [
        json!({"name": "", "scopes": ["read"]}),
        json!({"name": "x", "scopes": []}),
        json!({"name": "x", "scopes": ["everything"]}),
        json!({"name": "x", "scopes": ["read"], "expires_at": past}),
    ] {
        world.post("/tokens", &body).await.problem(422, "invalid_field");
    }
    let token = make(&world, &["read"]).await;
    let other = Request::get("/chatbots").bearer(&token).header("x-docbrain-tenant", "rival");
    world.send(other.body(Body::empty()).unwrap()).await.problem(404, "tenant_not_found");
}
