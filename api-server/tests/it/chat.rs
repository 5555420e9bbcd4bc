//! Questions and their cited answers.

use axum::body::Body;
use axum::http::Request;
use docbrain_core::models::Endpoint;
use serde_json::{Value, json};
use sqlx::PgPool;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Reply, Requests, World};

const EXPIRE: &str = "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.";
const PERSIST: &str = "The PERSIST command removes the timeout from a key again.";
const QUESTION: &str = "Which command sets a timeout on a key?";

async fn world(owner: PgPool, chat: Option<Endpoint>) -> World {
    let world = World::with_chat(owner, chat).await;
    world.index(world.acme, "docs", "guide/expire.md", &[EXPIRE, PERSIST]).await;
    world
        .index(world.rival, "manual", "secret.md", &["The secret command of the rival sets a timeout on a key."])
        .await;
    world
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn without_a_model_an_answer_is_a_cited_quote(owner: PgPool) {
    let world = world(owner, None).await;
    let reply = world.chat(QUESTION).await.json(200);
    assert_eq!(reply["kind"], "extractive");
    assert_eq!(reply["answerable"], true);
    assert!(reply["answer"].as_str().unwrap().contains("EXPIRE"), "{reply}");
    let citation = &reply["citations"][0];
    assert_eq!(citation["number"], 1);
    assert_eq!(citation["title"], "The guide");
    assert_eq!(citation["path"], "guide/expire.md");
    assert_eq!(citation["url"], "https://docs.example/page");
    assert_eq!(citation["heading_path"], json!(["Commands"]));
    assert_eq!(citation["page"], 1);
    assert_eq!(citation["pages"], json!({"first": 1, "last": 1}));
    assert_eq!(citation["span"]["start"], 1_000);
    assert!(EXPIRE.contains(citation["quote"].as_str().unwrap().trim_end_matches('…')), "{citation}");
    assert_eq!(reply["usage"], json!({"prompt_tokens": 0, "completion_tokens": 0}));
    let kept: (String, bool, Value) =
        sqlx::query_as("select content, answerable, citations from messages where id = $1::uuid")
            .bind(reply["message_id"].as_str())
            .fetch_one(&world.owner)
            .await
            .unwrap();
    assert_eq!(kept, (reply["answer"].as_str().unwrap().to_owned(), true, reply["citations"].clone()));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_the_documents_do_not_hold_gets_the_fallback_text(owner: PgPool) {
    let world = world(owner, None).await;
    let reply = world.chat("Who painted the ceiling of the chapel?").await.json(200);
    assert_eq!(
        (&reply["answer"], &reply["kind"], &reply["answerable"]),
        (&json!("Ask a person."), &json!("fallback"), &json!(false))
    );
    assert_eq!(reply["citations"], json!([]));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_event_stream_tells_the_same(owner: PgPool) {
    let world = world(owner, None).await;
    let whole = world.chat(QUESTION).await.json(200);
    let events = ask_for_events(&world, &json!({"chatbot": "helper", "message": QUESTION})).await.events();
    let (deltas, done) = events.split_at(events.len() - 1);
    let text: String =
        deltas.iter().map(|(name, body)| (assert_eq!(name, "delta"), body["text"].as_str().unwrap()).1).collect();
    assert_eq!(text, whole["answer"]);
    assert_eq!(done[0].0, "done");
    for member in ["answer", "kind", "answerable", "citations", "usage"] {
        assert_eq!(done[0].1[member], whole[member], "{member}");
    }
}

async fn ask_for_events(world: &World, body: &Value) -> Reply {
    world.send(Request::post("/conversation/chat").admin("acme").header("accept", "text/event-stream").json(body)).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_conversation_goes_on_by_its_id(owner: PgPool) {
    let world = world(owner, None).await;
    let first = world.chat(QUESTION).await.json(200);
    let ask = |conversation: &Value| json!({"chatbot": "helper", "message": "And how is it removed again?", "conversation_id": conversation});
    let second = world.post("/conversation/chat", &ask(&first["conversation_id"])).await.json(200);
    assert_eq!(second["conversation_id"], first["conversation_id"]);
    assert_eq!(second["answerable"], true, "{second}");
    let unknown = json!("01980000-0000-7000-8000-000000000000");
    world.post("/conversation/chat", &ask(&unknown)).await.problem(404, "conversation_not_found");
    let (messages,): (i64,) = sqlx::query_as("select count(*) from messages").fetch_one(&world.owner).await.unwrap();
    assert_eq!(messages, 4);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn chatbots_that_are_unknown_suspended_or_another_tenants(owner: PgPool) {
    let world = world(owner, None).await;
    let ask = async |tenant: &str, chatbot: &str| {
        let body = json!({"chatbot": chatbot, "message": QUESTION});
        world.send(Request::post("/conversation/chat").admin(tenant).json(&body)).await
    };
    ask("acme", "nobody").await.problem(404, "chatbot_not_found");
    ask("acme", "guide").await.problem(404, "chatbot_not_found");
    ask("acme", "asleep").await.problem(409, "chatbot_suspended");
    let chatbots = world.get("/chatbots").await.json(200);
    let id = chatbots["chatbots"].as_array().unwrap().iter().find(|bot| bot["name"] == "helper").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(ask("acme", &id).await.json(200)["answerable"], true);
    ask("rival", &id).await.problem(404, "chatbot_not_found");
    let rivals = ask("rival", "guide").await;
    assert!(rivals.text().contains("secret") && !world.chat(QUESTION).await.text().contains("secret"));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_model_writes_the_answer_and_is_told_what_was_said_before(owner: PgPool) {
    let server = model(&["Call `EXPIRE key 10`", " for that [1]."]).await;
    let world = world(owner, Some(endpoint(&server))).await;
    let first = world.chat(QUESTION).await.json(200);
    assert_eq!(first["kind"], "generated");
    assert_eq!(first["answer"], "Call `EXPIRE key 10` for that [1].");
    assert_eq!(first["citations"][0]["path"], "guide/expire.md");
    assert_eq!(first["usage"], json!({"prompt_tokens": 120, "completion_tokens": 9}));
    let follow_up = json!({"chatbot": "helper", "message": "How is the timeout of a key removed?", "conversation_id": first["conversation_id"]});
    let events = ask_for_events(&world, &follow_up).await.events();
    assert_eq!(events.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().last(), Some(&"done"));
    assert!(events.len() > 2, "{events:?}");
    let asked = server.received_requests().await.unwrap();
    let prompt = String::from_utf8(asked[1].body.clone()).unwrap();
    assert!(prompt.contains("Which command sets a timeout") && prompt.contains("PERSIST"), "{prompt}");
    let [asked_before, answered] =
        ["Which command sets a timeout", "Call `EXPIRE key 10`"].map(|text| prompt.find(text));
    assert!(asked_before.unwrap() < answered.unwrap(), "a question comes before its answer: {prompt}");
    assert_eq!(asked[0].headers["authorization"], "Bearer key-of-the-model");
    let told = world.get(&format!("/conversations/{}", first["conversation_id"].as_str().unwrap())).await.json(200);
    let answer = &told["transcript"][1]["answer"];
    assert_eq!((&answer["prompt_tokens"], &answer["completion_tokens"]), (&json!(120), &json!(9)));
    assert_eq!((answer["model"].is_string(), &answer["cost_micros"]), (true, &json!(null)), "no price is known");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_model_that_fails_is_a_problem_without_its_words(owner: PgPool) {
    let server = MockServer::start().await;
    let refusal =
        ResponseTemplate::new(400).set_body_json(json!({"error": {"message": "no such model: internal-name"}}));
    Mock::given(method("POST")).respond_with(refusal).mount(&server).await;
    let world = world(owner, Some(endpoint(&server))).await;
    let reply = world.chat(QUESTION).await;
    reply.problem(502, "model_refused");
    assert!(!reply.text().contains("internal-name"), "{}", reply.text());
    let events = ask_for_events(&world, &json!({"chatbot": "helper", "message": QUESTION})).await.events();
    let (name, problem) = events.last().unwrap();
    assert_eq!((name.as_str(), &problem["code"]), ("error", &json!("model_refused")));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_model_that_breaks_off_is_told_as_such(owner: PgPool) {
    let server = MockServer::start().await;
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"Call EXPIRE and then \"}}]}\n\n";
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(body, "text/event-stream"))
        .mount(&server)
        .await;
    let world = world(owner, Some(endpoint(&server))).await;
    world.chat(QUESTION).await.problem(502, "model_failed");
    let events = ask_for_events(&world, &json!({"chatbot": "helper", "message": QUESTION})).await.events();
    assert_eq!(events[0].0, "delta");
    assert_eq!(
        (events.last().unwrap().0.as_str(), &events.last().unwrap().1["code"]),
        ("error", &json!("model_failed"))
    );
    let (messages,): (i64,) = sqlx::query_as("select count(*) from messages").fetch_one(&world.owner).await.unwrap();
    assert_eq!(messages, 0, "a broken answer is not kept");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_program_asks_without_http(owner: PgPool) {
    let world = world(owner, None).await;
    let ask = |chatbot: &str| json!({"chatbot": chatbot, "message": QUESTION});
    let reply = docbrain_api::chat_once(&world.state, world.acme, ask("helper")).await.unwrap();
    assert_eq!(reply["citations"][0]["path"], "guide/expire.md");
    let problem = docbrain_api::chat_once(&world.state, world.acme, ask("nobody")).await.unwrap_err();
    assert_eq!(problem["code"], "chatbot_not_found");
    let problem = docbrain_api::chat_once(&world.state, world.acme, json!({"chatbot": "helper"})).await.unwrap_err();
    assert_eq!(problem["code"], "invalid_field");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn questions_are_checked(owner: PgPool) {
    let world = world(owner, None).await;
    world.chat("").await.problem(422, "invalid_field");
    world.chat(&"x".repeat(4_001)).await.problem(422, "invalid_field");
    world.post("/conversation/chat", &json!({"chatbot": "helper"})).await.problem(422, "invalid_field");
    world
        .post("/conversation/chat", &json!({"chatbot": "helper", "message": "why?", "mesage": ""}))
        .await
        .problem(422, "invalid_field");
    let body = Request::post("/conversation/chat").admin("acme");
    world
        .send(body.header("content-type", "application/json").body(Body::from("{")).unwrap())
        .await
        .problem(400, "bad_request");
}

/// A model server that writes `pieces`.
pub(crate) async fn model(pieces: &[&str]) -> MockServer {
    let server = MockServer::start().await;
    let text = |piece: &&str| json!({"choices": [{"index": 0, "delta": {"content": piece}}]});
    let mut chunks: Vec<Value> = pieces.iter().map(text).collect();
    chunks.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
    chunks.push(json!({"choices": [], "usage": {"prompt_tokens": 120, "completion_tokens": 9}}));
    let body: String = chunks
        .iter()
        .map(Value::to_string)
        .chain(["[DONE]".to_owned()])
        .flat_map(|data| ["data: ".to_owned(), data, "\n\n".to_owned()])
        .collect();
    let reply = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(reply).mount(&server).await;
    server
}

pub(crate) fn endpoint(server: &MockServer) -> Endpoint {
    Endpoint::new(format!("{}/v1", server.uri()), "stub", Some("key-of-the-model".into()))
}
