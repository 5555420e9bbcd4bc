//! A tenant's own model providers: which model answers, what is indexed again, and that no key comes out.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use docbrain_core::models::ProviderKind;
use docbrain_core::providers::{KeyChange, Purpose, WantedProvider};
use serde_json::{Value, json};
use sqlx::PgPool;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Reply, Requests, World, providers, settings, state_of};

const CANARY: &str = "sk-canary-0123456789-zwitscher";
const EXPIRE: &str = "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.";
const QUESTION: &str = "Which command sets a timeout on a key?";

/// A chat model that says `text`, to whoever shows the key.
async fn chat_server(text: &str) -> MockServer {
    let server = MockServer::start().await;
    let body: String = [
        json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string(),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string(),
        "[DONE]".to_owned(),
    ]
    .into_iter()
    .flat_map(|data| ["data: ".to_owned(), data, "\n\n".to_owned()])
    .collect();
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", format!("Bearer {CANARY}")))
        .respond_with(ResponseTemplate::new(200).set_body_raw(body, "text/event-stream"))
        .mount(&server)
        .await;
    server
}

fn compatible(server: &MockServer) -> Value {
    json!({"kind": "compatible", "base_url": format!("{}/v1", server.uri()), "model": "m-1", "api_key": CANARY})
}

async fn world(owner: PgPool) -> World {
    let world = World::new(owner).await;
    for (tenant, source) in [(world.acme, "docs"), (world.rival, "manual")] {
        world.index(tenant, source, "expire.md", &[EXPIRE]).await;
    }
    world
}

async fn as_rival(world: &World, request: axum::http::request::Builder, body: &Value) -> Reply {
    world.send(request.admin("rival").json(body)).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_tenants_own_chat_model_answers_for_it_alone(owner: PgPool) {
    let world = world(owner).await;
    let server = chat_server("Call EXPIRE. [1]").await;
    assert_eq!(world.get("/tenant/providers").await.json(200), json!({"chat": null, "embeddings": null}));
    assert_eq!(world.chat(QUESTION).await.json(200)["kind"], "extractive");

    let listed = world.put("/tenant/providers/chat", &compatible(&server)).await.json(200);
    let own = json!({"kind": "compatible", "base_url": format!("{}/v1", server.uri()), "model": "m-1", "api_key": "…cher", "prices": {}});
    assert_eq!(listed, json!({"chat": own, "embeddings": null}));
    assert_eq!(world.get("/tenant/providers").await.json(200), listed);
    let reply = world.chat(QUESTION).await.json(200);
    assert_eq!((&reply["kind"], &reply["answer"]), (&json!("generated"), &json!("Call EXPIRE. [1]")));
    let asked: Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!(asked["model"], "m-1");

    // The other tenant neither sees nor uses it.
    let seen = world.send(Request::get("/tenant/providers").admin("rival").body(Body::empty()).unwrap()).await;
    assert_eq!(seen.json(200), json!({"chat": null, "embeddings": null}));
    let ask = json!({"chatbot": "guide", "message": QUESTION});
    let reply = as_rival(&world, Request::post("/conversation/chat"), &ask).await;
    assert_eq!(reply.json(200)["kind"], "extractive");
    as_rival(&world, Request::post("/tenant/providers/chat/test"), &json!({})).await.problem(404, "provider_not_found");
    let gone = world.send(Request::delete("/tenant/providers/chat").admin("rival").body(Body::empty()).unwrap()).await;
    gone.problem(404, "provider_not_found");

    assert_eq!(world.delete("/tenant/providers/chat").await.status, 204);
    world.delete("/tenant/providers/chat").await.problem(404, "provider_not_found");
    assert_eq!(world.chat(QUESTION).await.json(200)["kind"], "extractive");
    let secrets: i64 = sqlx::query_scalar("select count(*) from secrets").fetch_one(&world.owner).await.unwrap();
    assert_eq!(secrets, 0, "the key goes with its provider");
}

/// Another replica has changed the settings: this one sees it within two seconds.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_change_made_elsewhere_is_seen_soon(owner: PgPool) {
    let world = world(owner).await;
    let server = chat_server("Call EXPIRE. [1]").await;
    let one = state_of(&world.api, world.providers.clone(), settings());
    let ask = json!({"chatbot": "helper", "message": QUESTION});
    assert_eq!(docbrain_api::chat_once(&one, world.acme, ask.clone()).await.unwrap()["kind"], "extractive");
    let mut tx = world.begin(world.acme).await;
    let (base_url, model) = (Some(format!("{}/v1", server.uri())), "m-1".to_owned());
    let wanted = WantedProvider { kind: ProviderKind::Compatible, base_url, model, prices: [].into() };
    world.providers.put(&mut tx, Purpose::Chat, wanted, KeyChange::Set(CANARY.into())).await.unwrap();
    tx.commit().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(docbrain_api::chat_once(&one, world.acme, ask).await.unwrap()["kind"], "generated");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn another_embedding_model_has_everything_indexed_again(owner: PgPool) {
    let world = world(owner).await;
    let server = MockServer::start().await;
    // As many numbers as the index has, but of another model.
    let vector = json!({"data": [{"index": 0, "embedding": vec![0.5; 64]}]});
    Mock::given(path("/v1/embeddings"))
        .respond_with(ResponseTemplate::new(200).set_body_json(vector))
        .mount(&server)
        .await;
    let runs = async || -> Vec<String> {
        sqlx::query_scalar("select state from runs order by created_at").fetch_all(&world.owner).await.unwrap()
    };
    world.put("/tenant/providers/embeddings", &compatible(&server)).await.json(200);
    assert_eq!(runs().await, ["queued"], "one for the source that has an index");

    // Until it has run, words find the passage; nothing is compared with vectors of the other model.
    let hits = server.received_requests().await.unwrap().len();
    let provider = chat_server("Call EXPIRE. [1]").await;
    world.put("/tenant/providers/chat", &compatible(&provider)).await.json(200);
    let reply = world.chat(QUESTION).await.json(200);
    assert_eq!((&reply["kind"], &reply["answerable"]), (&json!("generated"), &json!(true)), "{reply}");
    assert_eq!(world.chat("Who painted the chapel's ceiling?").await.json(200)["kind"], "fallback");
    assert_eq!(server.received_requests().await.unwrap().len(), hits + 1, "asked for its dimensions alone");

    // A run that has begun keeps its model, so another one follows it.
    sqlx::query("update runs set state = 'running'").execute(&world.owner).await.unwrap();
    world.put("/tenant/providers/embeddings", &compatible(&server)).await.json(200);
    assert_eq!(runs().await, ["running", "queued"]);

    // Back to the installation's model, the old index fits again.
    assert_eq!(world.delete("/tenant/providers/embeddings").await.status, 204);
    assert_eq!(world.chat(QUESTION).await.json(200)["answerable"], true);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_provider_can_be_tried_out(owner: PgPool) {
    let world = world(owner).await;
    let good = chat_server("OK").await;
    let strict = MockServer::start().await;
    let refusal = json!({"error": {"message": format!("no model m-1 for {CANARY}: {}", "x".repeat(1_000))}});
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(404).set_body_json(refusal)).mount(&strict).await;
    let test = async |purpose: &str, body: &Value| {
        world.post(&format!("/tenant/providers/{purpose}/test"), body).await.json(200)
    };
    let settings = |server: &MockServer| json!({"settings": compatible(server)});

    let probe = test("chat", &settings(&good)).await;
    assert_eq!(
        (&probe["ok"], &probe["model"], &probe["message"]),
        (&json!(true), &json!("m-1"), &json!("the model answered"))
    );
    assert!(probe["milliseconds"].is_u64());
    for purpose in ["chat", "embeddings"] {
        let probe = test(purpose, &settings(&strict)).await;
        let message = probe["message"].as_str().unwrap();
        assert_eq!(probe["ok"], false);
        assert!(message.contains("404: no model m-1 for [key]") && message.len() < 400, "{message}");
    }
    assert_eq!(strict.received_requests().await.unwrap().len(), 2, "one real call each");
    let down = json!({"settings": {"kind": "compatible", "base_url": "http://127.0.0.1:1/v1", "model": "m"}});
    assert!(test("chat", &down).await["message"].as_str().unwrap().contains("failed to reach the model server"));
    let page = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_string("<html>")).mount(&page).await;
    assert_eq!(test("embeddings", &settings(&page)).await["ok"], false);
    assert_eq!(world.get("/tenant/providers").await.json(200)["chat"], Value::Null, "nothing was stored");

    world.put("/tenant/providers/chat", &compatible(&good)).await.json(200);
    assert_eq!(test("chat", &json!({})).await["ok"], true);
    // The stored key is tried with another model, and not at another server.
    let mut other = compatible(&good);
    other.as_object_mut().unwrap().remove("api_key");
    other["model"] = json!("m-2");
    assert_eq!(test("chat", &json!({"settings": other})).await["ok"], true);
    other["base_url"] = json!(format!("{}/v1", strict.uri()));
    let problem = world.post("/tenant/providers/chat/test", &json!({"settings": other})).await;
    let problem = problem.problem(422, "invalid_field");
    assert!(problem["detail"].as_str().unwrap().starts_with("`api_key` is needed"), "{problem}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn settings_are_checked_field_by_field(owner: PgPool) {
    let world = world(owner).await;
    let put = async |body: Value| world.put("/tenant/providers/chat", &body).await;
    for (body, field) in [
        (json!({"kind": "compatible", "model": "m"}), "`base_url`"),
        (json!({"kind": "azure", "model": "m"}), "`base_url`"),
        (json!({"kind": "compatible", "model": "m", "base_url": "http://169.254.169.254/"}), "`base_url`"),
        (json!({"kind": "compatible", "model": "m", "base_url": "http://10.0.0.1/"}), "DOCBRAIN_ALLOWED_NETWORKS"),
        (json!({"kind": "openai", "model": ""}), "`model`"),
        (json!({"kind": "openai", "model": "m", "api_key": "two words"}), "`api_key`"),
        (json!({"kind": "openai", "model": "m", "prices": {"m": {"prompt": -1, "completion": 0}}}), "`prices`"),
        (json!({"kind": "gemini", "model": "m"}), "kind"),
        (json!({"kind": "openai", "model": "m", "temperature": 1}), "temperature"),
    ] {
        let problem = put(body).await.problem(422, "invalid_field");
        assert!(problem["detail"].as_str().unwrap().contains(field), "{problem}");
    }
    world
        .put("/tenant/providers/images", &json!({"kind": "openai", "model": "m"}))
        .await
        .problem(404, "route_not_found");

    let prices = json!({"m": {"prompt": 0.4, "completion": 1.6}});
    let listed = put(json!({"kind": "openai", "model": "m", "api_key": CANARY, "prices": prices})).await.json(200);
    assert_eq!(
        (&listed["chat"]["base_url"], &listed["chat"]["prices"]),
        (&json!("https://api.openai.com/v1"), &prices)
    );
    // A key stays with its server; elsewhere it must be given again, or removed.
    let listed = put(json!({"kind": "openai", "model": "m-2"})).await.json(200);
    assert_eq!((&listed["chat"]["model"], &listed["chat"]["api_key"]), (&json!("m-2"), &json!("…cher")));
    let elsewhere = json!({"kind": "compatible", "model": "m", "base_url": "https://thief.example/v1"});
    let problem = put(elsewhere.clone()).await.problem(422, "invalid_field");
    assert!(problem["detail"].as_str().unwrap().starts_with("`api_key` is needed"), "{problem}");
    let mut without = elsewhere;
    without["api_key"] = json!("");
    assert_eq!(put(without).await.json(200)["chat"]["api_key"], Value::Null);
}

/// A key that went in is in no response, no metric, no Debug output and no row.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_key_never_comes_out(owner: PgPool) {
    let world = world(owner).await;
    let echo = MockServer::start().await;
    let refusal = json!({"error": {"message": format!("Incorrect API key provided: {CANARY}")}});
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(400).set_body_json(refusal)).mount(&echo).await;
    let mut told = Vec::new();
    for purpose in ["chat", "embeddings"] {
        let at = format!("/tenant/providers/{purpose}");
        told.push(world.put(&at, &compatible(&echo)).await);
        told.push(world.post(&format!("{at}/test"), &json!({})).await);
        told.push(world.post(&format!("{at}/test"), &json!({"settings": compatible(&echo)})).await);
        let mut wrong = compatible(&echo);
        wrong["model"] = json!("");
        told.push(world.put(&at, &wrong).await);
        wrong["api_key"] = json!([CANARY]);
        told.push(world.put(&at, &wrong).await);
        wrong["api_key"] = json!({"value": CANARY});
        told.push(world.put(&at, &wrong).await);
    }
    told.push(world.get("/tenant/providers").await);
    told.push(world.chat(QUESTION).await);
    told.push(world.delete("/tenant/providers/embeddings").await);
    told.push(world.chat(QUESTION).await);
    told.push(world.get("/metrics").await);
    let changes = world.get("/audit").await;
    assert!(changes.text().contains("provider.update") && changes.text().contains("provider.delete"));
    told.push(changes);
    told.push(world.get("/openapi.json").await);
    for reply in &told {
        assert!(!reply.text().contains("canary"), "{}", reply.text());
        assert!(!format!("{:?}", reply.headers).contains("canary"));
    }
    let mut tx = world.begin(world.acme).await;
    let endpoint = world.providers.stored(&mut tx, Purpose::Chat).await.unwrap().unwrap();
    let shown = format!("{endpoint:?} {:?}", KeyChange::Set(CANARY.into()));
    assert!(shown.contains("REDACTED") && !shown.contains("canary"), "{shown}");
    let rows: Vec<String> = sqlx::query_scalar(
        "select p::text from provider_settings p union all select s::text from secrets s union all select k::text from tenant_keys k",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(rows.len(), 3);
    // Bytes are shown in hexadecimal; this is "canary".
    assert!(rows.iter().all(|row| !row.contains("canary") && !row.contains("63616e617279")), "{rows:?}");
}

/// Without leave, a tenant's provider is not looked for in the network around the server.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_provider_is_not_reached_in_the_network_around(owner: PgPool) {
    let world = world(owner).await;
    let server = chat_server("OK").await;
    let strict = providers(&world.api, None, "");
    let app = state_of(&world.api, strict, settings());
    let port = server.address().port();
    let named =
        |host: &str| json!({"kind": "compatible", "base_url": format!("http://{host}:{port}/v1"), "model": "m"});
    let put = world.send_to(&app, Request::put("/tenant/providers/chat").admin("acme").json(&named("127.0.0.1"))).await;
    let problem = put.problem(422, "invalid_field");
    assert!(problem["detail"].as_str().unwrap().contains("DOCBRAIN_ALLOWED_NETWORKS"), "{problem}");
    // What a name resolves to is known at the call.
    world.send_to(&app, Request::put("/tenant/providers/chat").admin("acme").json(&named("localhost"))).await.json(200);
    let test = Request::post("/tenant/providers/chat/test").admin("acme").json(&json!({}));
    let probe = world.send_to(&app, test).await.json(200);
    assert!(probe["message"].as_str().unwrap().contains("localhost is not a public address"), "{probe}");
    let chat =
        Request::post("/conversation/chat").admin("acme").json(&json!({"chatbot": "helper", "message": QUESTION}));
    world.send_to(&app, chat).await.problem(502, "model_unavailable");
    assert!(server.received_requests().await.unwrap().is_empty());
}
