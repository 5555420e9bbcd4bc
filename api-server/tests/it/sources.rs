//! Knowledge sources: made for a chatbot, changed, indexed again, deleted.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::harness::{Reply, Requests, World};

async fn patch(world: &World, path: &str, spec: &Value) -> Reply {
    world.send(Request::patch(path).admin("acme").header("if-match", "*").json(&json!({ "spec": spec }))).await
}

async fn queued(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from runs where state = 'queued'").fetch_one(&world.owner).await.unwrap()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_source_is_made_for_a_chatbot(owner: PgPool) {
    let world = World::new(owner).await;
    let made = world.post("/chatbots/helper/sources", &json!({"name": "manual"})).await.json(201);
    assert_eq!(made["spec"]["source"], json!({"upload": {}}));
    assert_eq!(world.get("/chatbots/helper").await.json(200)["knowledge_sources"], json!(["docs", "manual"]));
    let listed = world.get("/chatbots/helper/sources").await.json(200);
    let names: Vec<&str> = listed["sources"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["docs", "manual"]);
    world.post("/chatbots/helper/sources", &json!({"name": "manual"})).await.problem(409, "knowledge_source_exists");
    world.post("/chatbots/nobody/sources", &json!({"name": "x"})).await.problem(404, "chatbot_not_found");
    let spec = json!({"source": {"upload": {}}, "chunking": {"size": 100, "overlap": 200}});
    let problem = world
        .post("/chatbots/helper/sources", &json!({"name": "odd", "spec": spec}))
        .await
        .problem(422, "invalid_field");
    assert!(problem["detail"].as_str().unwrap().contains("overlap must be smaller than size"), "{problem}");
}

/// With an `Idempotency-Key` and without one, at whichever of its awaits the request is dropped.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_client_that_goes_away_leaves_nothing_half_made(owner: PgPool) {
    let world = World::new(owner).await;
    for polls in 0..60 {
        let name = format!("manual-{polls}");
        let make = || {
            let request = Request::post("/chatbots/helper/sources").admin("acme");
            let request = if polls % 2 == 0 { request.header("idempotency-key", &name) } else { request };
            request.json(&json!({ "name": name }))
        };
        world.send_and_leave(polls, make()).await;
        let until_made = async {
            loop {
                let again = world.send(make()).await;
                let chatbot = world.get("/chatbots/helper").await.json(200);
                if chatbot["knowledge_sources"].as_array().unwrap().iter().any(|source| *source == *name) {
                    return again.status;
                }
                assert_eq!(again.status, 409);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let status = timeout(Duration::from_secs(10), until_made).await;
        let status = status.unwrap_or_else(|_| panic!("{name} is half made after {polls} polls"));
        assert!(status == 201 || polls % 2 == 1, "{name}: {status}");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_change_of_chunking_and_a_sync_ask_for_a_run(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "a.md", &["A text."]).await;
    let changed = patch(&world, "/sources/docs", &json!({"chunking": {"size": 400}})).await.json(200);
    assert_eq!(changed["spec"]["chunking"]["size"], 400);
    assert_eq!(changed["documents"]["indexed"], 1);
    assert_eq!(queued(&world).await, 1);
    let sync = world.post("/sources/docs/sync", &json!({})).await.json(202);
    let run = world.get(&format!("/runs/{}", sync["run_id"].as_str().unwrap())).await.json(200);
    assert_eq!(run["state"], "queued");
    world.post("/sources/closed/sync", &json!({})).await.problem(409, "knowledge_source_suspended");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_deleted_source_is_gone_with_its_documents(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "a.md", &["A text."]).await;
    let delete = || Request::delete("/sources/docs").admin("acme").body(Body::empty()).unwrap();
    assert_eq!(world.send(delete()).await.status, 204);
    world.send(delete()).await.problem(404, "knowledge_source_not_found");
    let left: i64 = sqlx::query_scalar("select count(*) from documents").fetch_one(&world.owner).await.unwrap();
    assert_eq!(left, 0);
}
