//! Chatbots: made, changed without overwriting anybody, deleted.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Reply, Requests, World};

async fn patch(world: &World, path: &str, revision: Option<&str>, spec: &Value) -> Reply {
    let mut request = Request::patch(path).admin("acme");
    if let Some(revision) = revision {
        request = request.header("if-match", revision);
    }
    world.send(request.json(&json!({ "spec": spec }))).await
}

async fn delete(world: &World, path: &str) -> Reply {
    world.send(Request::delete(path).admin("acme").body(Body::empty()).unwrap()).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_chatbot_lives_through_its_routes(owner: PgPool) {
    let world = World::new(owner).await;
    let spec = json!({"displayName": "Sales", "knowledgeSources": [{"name": "docs"}]});
    let made = world.post("/chatbots", &json!({"name": "sales", "spec": spec})).await;
    assert_eq!(made.headers["etag"], "\"1\"");
    let made = made.json(201);
    assert_eq!(made["spec"]["retrieval"], json!({"topK": 8, "hybrid": true}), "defaults are told");
    world.post("/chatbots", &json!({"name": "sales", "spec": spec})).await.problem(409, "chatbot_exists");

    let changed = patch(&world, "/chatbots/sales", Some("\"1\""), &json!({"systemPrompt": "Be brief."})).await;
    assert_eq!(changed.headers["etag"], "\"2\"");
    assert_eq!(changed.json(200)["spec"]["systemPrompt"], "Be brief.");
    let changed = patch(&world, "/chatbots/sales", Some("*"), &json!({"systemPrompt": null})).await.json(200);
    assert_eq!(changed["spec"].get("systemPrompt"), None);
    let read = world.get(&format!("/chatbots/{}", made["id"].as_str().unwrap())).await;
    assert_eq!(read.headers["etag"], "\"3\"");

    assert_eq!(delete(&world, "/chatbots/sales").await.status, 204);
    world.get("/chatbots/sales").await.problem(404, "chatbot_not_found");
    delete(&world, "/chatbots/sales").await.problem(404, "chatbot_not_found");
    let actions: Vec<Value> = world.get("/audit").await.json(200)["changes"].as_array().unwrap().clone();
    let of_sales = actions.iter().filter(|change| change["target"] == "sales");
    let actions: Vec<&str> = of_sales.map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["chatbot.delete", "chatbot.update", "chatbot.update", "chatbot.create"]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn nobody_overwrites_what_they_have_not_seen(owner: PgPool) {
    let world = World::new(owner).await;
    let mine = json!({"displayName": "Mine"});
    patch(&world, "/chatbots/helper", None, &mine).await.problem(428, "precondition_required");
    for stale in ["\"7\"", "7", "\"x\""] {
        patch(&world, "/chatbots/helper", Some(stale), &mine).await.problem(412, "precondition_failed");
    }
    let seen = world.get("/chatbots/helper").await.headers["etag"].to_str().unwrap().to_owned();
    patch(&world, "/chatbots/helper", Some(&seen), &mine).await.json(200);
    patch(&world, "/chatbots/helper", Some(&seen), &json!({"displayName": "Theirs"}))
        .await
        .problem(412, "precondition_failed");
    assert_eq!(world.get("/chatbots/helper").await.json(200)["display_name"], "Mine");
    let unchanged = patch(&world, "/chatbots/helper", Some("*"), &mine).await;
    assert_eq!(unchanged.headers["etag"], "\"2\"", "what changes nothing is no revision");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_longest_prompt_fits_in_any_language_and_however_it_is_escaped(owner: PgPool) {
    let world = World::new(owner).await;
    let prompt = |characters: usize| {
        let request = Request::patch("/chatbots/helper").admin("acme").header("if-match", "*");
        let body = format!(r#"{{"spec": {{"systemPrompt": "{}"}}}}"#, "\\ud83d\\ude00".repeat(characters));
        request.header("content-type", "application/json").body(Body::from(body)).unwrap()
    };
    let changed = world.send(prompt(16_000)).await.json(200);
    assert_eq!(changed["spec"]["systemPrompt"].as_str().unwrap().chars().count(), 16_000);
    let refused = world.send(prompt(16_001)).await.problem(422, "invalid_field");
    assert_eq!(refused["detail"], "spec.systemPrompt: it is longer than 16000 characters");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_spec_is_judged_as_kubectl_would(owner: PgPool) {
    let world = World::new(owner).await;
    for (spec, said) in [
        (json!({"displayName": ""}), "displayName"),
        (json!({"displayname": "x"}), "unknown field"),
        (json!({"retrieval": {"topK": 51}}), "topK"),
        (json!({"allowedOrigins": ["https://a.example/path"]}), "an origin is scheme and host"),
        (json!({"allowedOrigins": ["https://A.example"]}), "in lower case"),
        (json!({"allowedOrigins": ["*"]}), "an origin is scheme and host"),
        (json!({"displayName": null}), "displayName"),
    ] {
        let problem = patch(&world, "/chatbots/helper", Some("*"), &spec).await.problem(422, "invalid_field");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    for name in ["Not A Name", "", "-", &"x".repeat(64), "a\0b"] {
        let body = json!({"name": name, "spec": {"displayName": "x"}});
        world.post("/chatbots", &body).await.problem(422, "invalid_field");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_chatbot_takes_its_own_sources_with_it_but_no_shared_one(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "a.md", &["Shared by two chatbots."]).await;
    world.index(world.acme, "news", "b.md", &["Of one chatbot alone."]).await;
    assert_eq!(delete(&world, "/chatbots/pair").await.status, 204);
    world.get("/sources/docs").await.json(200);
    world.get("/sources/news").await.problem(404, "knowledge_source_not_found");
    assert_eq!(delete(&world, "/chatbots/helper?sources=keep").await.status, 204);
    assert_eq!(world.get("/sources/docs").await.json(200)["documents"]["indexed"], 1);
    delete(&world, "/chatbots/asleep?sources=burn").await.problem(400, "bad_request");
}
