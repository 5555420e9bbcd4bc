//! Chat models that a chatbot names itself, at an endpoint of its own with a key of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use docbrain_core::models::Endpoint;
use docbrain_core::store::members::Role;
use docbrain_core::store::secret_refs;
use docbrain_crds::{Model, SecretKeyRef};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::PgPool;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Reply, Requests, World};

const FIRST: &str = "sk-first-0123456789-zwitscher";
const SECOND: &str = "sk-second-0123456789-pfeif";
const EXPIRE: &str = "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.";
const QUESTION: &str = "Which command sets a timeout on a key?";

async fn chat_server(text: &str) -> MockServer {
    let server = MockServer::start().await;
    let events = [
        json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string(),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}).to_string(),
        "[DONE]".to_owned(),
    ];
    let body = events.map(|data| format!("data: {data}\n\n")).concat();
    let answer = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(answer).mount(&server).await;
    server
}

/// What the server was last asked with: its model and key.
async fn last(server: &MockServer) -> (Value, Option<String>) {
    let requests = server.received_requests().await.unwrap();
    let last = requests.last().unwrap();
    let key = last.headers.get("authorization").map(|key| key.to_str().unwrap().to_owned());
    (last.body_json::<Value>().unwrap()["model"].clone(), key)
}

async fn count(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

async fn world(owner: PgPool, installation: &MockServer) -> World {
    let endpoint = Endpoint::new(format!("{}/v1", installation.uri()), "m-all", Some("sk-of-the-installation".into()));
    let world = World::with_chat(owner, Some(endpoint)).await;
    world.index(world.acme, "docs", "expire.md", &[EXPIRE]).await;
    world
}

async fn set_model(world: &World, model: &Value) -> Reply {
    let request = Request::patch("/chatbots/helper").admin("acme").header("if-match", "*");
    world.send(request.json(&json!({ "spec": { "model": model } }))).await
}

fn reference() -> SecretKeyRef {
    SecretKeyRef { name: "openai".to_owned(), key: "api-key".to_owned() }
}

/// As the operator brings the value of a Secret here.
async fn project(world: &World, key: &'static str) -> bool {
    let mut tx = world.begin(world.acme).await;
    let key = SecretString::from(key);
    let secrets = world.providers.secrets();
    let changed = secret_refs::put_if_changed(&mut tx, secrets, &reference(), &key).await.unwrap();
    tx.commit().await.unwrap();
    changed
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_key_goes_to_its_own_base_url_alone_and_rotates(owner: PgPool) {
    let (all, own) = (chat_server("Of all. [1]").await, chat_server("My own. [1]").await);
    let world = world(owner, &all).await;
    assert_eq!(world.chat(QUESTION).await.json(200)["answer"], "Of all. [1]");

    let base_url = format!("{}/v1", own.uri());
    let model = json!({"model": "m-own", "baseUrl": base_url, "apiKeySecretRef": {"name": "openai", "key": "api-key"}});
    set_model(&world, &model).await.json(200);
    // The key is not there: the answer says so, and no other key is tried.
    let before = count(&all).await;
    let refused = world.chat(QUESTION).await.problem(502, "provider_key_missing");
    assert!(refused["detail"].as_str().unwrap().contains("\"api-key\" of the Secret \"openai\""), "{refused}");
    assert_eq!((count(&all).await, count(&own).await), (before, 0));

    assert!(project(&world, FIRST).await);
    assert!(!project(&world, FIRST).await, "what is the same is not written");
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert_eq!(world.chat(QUESTION).await.json(200)["answer"], "My own. [1]");
    assert_eq!(last(&own).await, (json!("m-own"), Some(format!("Bearer {FIRST}"))));
    assert!(project(&world, SECOND).await);
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    world.chat(QUESTION).await.json(200);
    assert_eq!(last(&own).await.1, Some(format!("Bearer {SECOND}")), "within two seconds");
    assert_eq!(count(&all).await, before, "nothing of it went to the installation's model");
    let cost: Option<i64> = sqlx::query_scalar("select max(cost_micros) from usage where model = 'm-own'")
        .fetch_one(&world.owner)
        .await
        .unwrap();
    assert_eq!(cost, None, "what it costs is not known");

    // The same Secret at another base URL is another decision of whoever writes the spec; without one, no key is sent.
    set_model(&world, &json!({"apiKeySecretRef": null})).await.json(200);
    world.chat(QUESTION).await.json(200);
    let (_, key) = last(&own).await;
    assert!(key.is_none_or(|key| !key.contains("sk-")), "neither the old key nor the installation's");
    set_model(&world, &json!({"baseUrl": null})).await.json(200);
    world.chat(QUESTION).await.json(200);
    assert_eq!(last(&all).await, (json!("m-own"), Some("Bearer sk-of-the-installation".to_owned())));

    // Nobody names it any more.
    let mut tx = world.begin(world.acme).await;
    assert!(secret_refs::wanted(&mut tx).await.unwrap().is_empty());
    assert_eq!(secret_refs::delete_unreferenced(&mut tx).await.unwrap(), 1);
    assert_eq!(secret_refs::delete_unreferenced(&mut tx).await.unwrap(), 0);
}

/// Whoever edits chatbots does not get to read a key by sending it to a place of his own.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn where_a_key_goes_is_for_admins(owner: PgPool) {
    let all = chat_server("Of all. [1]").await;
    let world = world(owner, &all).await;
    let model = |base_url: &str| json!({"model": "m", "baseUrl": base_url, "apiKeySecretRef": {"name": "openai", "key": "api-key"}});
    set_model(&world, &model("https://models.example/v1")).await.json(200);
    let editor = world.member(world.acme, Role::Editor, "editor@acme.example").await;
    let admin = world.member(world.acme, Role::Admin, "admin@acme.example").await;
    let patch = async |token: &str, spec: Value| {
        let request = Request::patch("/chatbots/helper").bearer(token).header("if-match", "*");
        world.send(request.json(&json!({ "spec": spec }))).await
    };
    let stolen = json!({"model": model("https://thief.example/v1")});
    patch(&editor, stolen.clone()).await.problem(403, "forbidden");
    patch(&editor, json!({"displayName": "Mine", "model": model("https://models.example/v1")})).await.json(200);
    let made = json!({"name": "thief", "spec": {"displayName": "T", "model": model("https://thief.example/v1")}});
    world.send(Request::post("/chatbots").bearer(&editor).json(&made)).await.problem(403, "forbidden");
    let git = json!({"git": {"url": "https://thief.example/x.git", "credentialsSecretRef": {"name": "git"}}});
    let made = json!({"name": "thief", "spec": {"source": git}});
    world.send(Request::post("/chatbots/helper/sources").bearer(&editor).json(&made)).await.problem(403, "forbidden");
    patch(&admin, stolen).await.json(200);
}

/// Its client, with its connections, stays for as long as nothing changes.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_client_is_used_again(owner: PgPool) {
    let all = chat_server("Of all. [1]").await;
    let world = world(owner, &all).await;
    let model: Model = serde_json::from_value(json!({
        "model": "m", "baseUrl": "https://models.example/v1", "apiKeySecretRef": {"name": "openai", "key": "api-key"},
    }))
    .unwrap();
    project(&world, FIRST).await;
    let client = async || world.providers.chat_model(world.acme, Some(&model)).await.unwrap().unwrap().model;
    let first = client().await;
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert!(Arc::ptr_eq(&first, &client().await));
    project(&world, SECOND).await;
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert!(!Arc::ptr_eq(&first, &client().await), "a rotated key has a client of its own");
    // Another tenant's chatbot with the same words finds no key.
    assert!(world.providers.chat_model(world.rival, Some(&model)).await.is_err());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn only_what_a_chatbot_names_is_kept(owner: PgPool) {
    let all = chat_server("Of all. [1]").await;
    let world = world(owner, &all).await;
    let model = json!({"model": "m", "baseUrl": "https://models.example/v1", "apiKeySecretRef": {"name": "openai", "key": "api-key"}});
    set_model(&world, &model).await.json(200);
    project(&world, FIRST).await;
    let mut tx = world.begin(world.acme).await;
    let longest = SecretKeyRef { name: "n".repeat(63), key: "k".repeat(63) };
    secret_refs::put_if_changed(&mut tx, world.providers.secrets(), &longest, &FIRST.into()).await.unwrap();
    assert_eq!(secret_refs::wanted(&mut tx).await.unwrap(), [reference()]);
    assert_eq!(secret_refs::delete_unreferenced(&mut tx).await.unwrap(), 1);
    assert!(secret_refs::delete(&mut tx, &reference()).await.unwrap());
    assert!(!secret_refs::delete(&mut tx, &reference()).await.unwrap());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_own_endpoint_is_reached_through_the_guard(owner: PgPool) {
    let all = chat_server("Of all. [1]").await;
    let world = world(owner, &all).await;
    for base_url in ["http://169.254.169.254/v1", "http://10.0.0.1/v1", "http://[::ffff:10.0.0.1]/v1"] {
        set_model(&world, &json!({"model": "m", "baseUrl": base_url})).await.json(200);
        let refused = world.chat(QUESTION).await.problem(502, "model_unavailable");
        assert!(refused["detail"].as_str().unwrap().contains("not at an address"), "{refused}");
    }
    assert_eq!(count(&all).await, 0);
}
