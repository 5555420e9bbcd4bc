//! Reading, finding, deleting and rating what was said.

use axum::http::Request;
use axum::http::request::Builder;
use docbrain_core::store::conversations::{Channel, Visitor};
use docbrain_core::store::messages::{self, Rating};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{ORIGIN, Reply, Requests, World};

const LIST: &str = "/chatbots/helper/conversations";

fn questions(list: &Value) -> Vec<&str> {
    list["conversations"].as_array().unwrap().iter().map(|row| row["question"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_chat_can_be_read_afterwards(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "a.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let question = "Which command sets a timeout on a key?";
    let first = world.chat(question).await.json(200);
    let id = first["conversation_id"].as_str().unwrap();
    let second = json!({"chatbot": "helper", "message": "Who was Napoleon?", "conversation_id": id});
    let second = world.post("/conversation/chat", &second).await.json(200);
    let listed = world.get(LIST).await.json(200);
    let row = &listed["conversations"][0];
    assert_eq!(
        (&row["id"], &row["question"], &row["messages"]),
        (&first["conversation_id"], &json!(question), &json!(4))
    );
    assert_eq!((&row["unanswered"], &row["channel"], &row["visitor"]), (&json!(1), &json!("api"), &Value::Null));

    let told = world.get(&format!("/conversations/{id}")).await.json(200);
    assert_eq!((&told["id"], &told["messages"], &told["next"]), (&row["id"], &json!(4), &Value::Null));
    let transcript = told["transcript"].as_array().unwrap();
    let roles: Vec<&str> = transcript.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["visitor", "assistant", "visitor", "assistant"]);
    assert_eq!((&transcript[0]["content"], &transcript[0]["answer"]), (&json!(question), &Value::Null));
    assert_eq!((&transcript[1]["id"], &transcript[1]["content"]), (&first["message_id"], &first["answer"]));
    let answer = &transcript[1]["answer"];
    assert_eq!((&answer["citations"], &answer["kind"]), (&first["citations"], &json!("extractive")));
    assert!(answer["best_score"].as_f64().unwrap() > 0.0 && answer["milliseconds"].is_number(), "{answer}");
    assert_eq!(
        (&answer["model"], &answer["cost_micros"], &answer["feedback"]),
        (&Value::Null, &json!(0), &Value::Null)
    );
    assert_eq!((&transcript[3]["id"], &transcript[3]["answer"]["answerable"]), (&second["message_id"], &json!(false)));
    let paged = world.pages(&format!("/conversations/{id}?"), "transcript", async || {}).await;
    assert_eq!(&paged, transcript);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn conversations_are_found(owner: PgPool) {
    let world = World::new(owner).await;
    let visitor = Visitor { id: "v1".into(), identity: Some(json!({"email": "a@b.example"})) };
    let (_, plain) = world.exchange("plain", |_| {}).await;
    world
        .exchange("from a page", |exchange| {
            exchange.channel = Channel::Widget;
            exchange.visitor = Some(&visitor);
        })
        .await;
    let (_, bad) = world.exchange("100% unknown", |exchange| exchange.answerable = false).await;
    for (message, rating) in [(plain, "up"), (bad, "down")] {
        world.put(&format!("/messages/{message}/feedback"), &json!({"rating": rating})).await.body_is_empty(204);
    }
    let found = async |query: &str| -> Vec<String> {
        let list = world.get(&format!("{LIST}?{query}")).await.json(200);
        questions(&list).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(found("").await, ["100% unknown", "from a page", "plain"]);
    assert_eq!(found("answerable=false").await, ["100% unknown"]);
    assert_eq!(found("answerable=true").await, ["from a page", "plain"]);
    assert_eq!(found("feedback=up").await, ["plain"]);
    assert_eq!(found("feedback=down&answerable=false").await, ["100% unknown"]);
    assert_eq!(found("channel=widget").await, ["from a page"]);
    assert_eq!(found("search=FROM%20a").await, ["from a page"]);
    assert_eq!(found("search=expire").await.len(), 3, "answers are searched too");
    assert_eq!(found("search=100%25").await, ["100% unknown"]);
    assert!(found("search=_lain").await.is_empty(), "no character stands for others");
    let rows = world.get(LIST).await.json(200)["conversations"].clone();
    assert_eq!((&rows[1]["visitor"], &rows[1]["visitor_identity"]), (&json!("v1"), &json!({"email": "a@b.example"})));
    assert_eq!((&rows[0]["down"], &rows[2]["up"]), (&json!(1), &json!(1)));
    let now = chrono::Utc::now();
    let hour = |hours| (now + chrono::TimeDelta::hours(hours)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(found(&format!("from={}&to={}", hour(-1), hour(1))).await.len(), 3);
    assert!(found(&format!("to={}", hour(-1))).await.is_empty());
    assert!(found(&format!("from={}", hour(1))).await.is_empty());
    assert!(questions(&world.get("/chatbots/pair/conversations").await.json(200)).is_empty());

    for bad in ["feedback=good", "channel=phone", "search=%00", "limit=0", "after=x"] {
        world.get(&format!("{LIST}?{bad}")).await.problem(422, "invalid_field");
    }
    for bad in ["answerable=perhaps", "from=yesterday", "colour=red"] {
        world.get(&format!("{LIST}?{bad}")).await.problem(400, "bad_request");
    }
    world.get("/chatbots/nobody/conversations").await.problem(404, "chatbot_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn pages_neither_lose_nor_repeat_while_conversations_come(owner: PgPool) {
    let world = World::new(owner).await;
    let mut asked = Vec::new();
    for n in 0..7 {
        asked.push(world.exchange(&format!("question {n}"), |_| {}).await.0.to_string());
    }
    let late = async || {
        world.exchange("late", |_| {}).await;
    };
    let rows = world.pages(LIST, "conversations", late).await;
    let seen: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(seen.iter().eq(asked.iter().rev()), "{seen:?}");
    // What goes in the meantime takes no other row with it.
    let gone = async || {
        sqlx::query("delete from conversations where id = (select id from conversations order by id desc limit 1)")
            .execute(&world.owner)
            .await
            .map(drop)
            .unwrap();
    };
    let rows = world.pages(LIST, "conversations", gone).await;
    assert!(asked.iter().all(|id| rows.iter().any(|row| row["id"] == **id)), "{rows:?}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_deleted_conversation_stays_counted(owner: PgPool) {
    let world = World::new(owner).await;
    let (id, message) = world.exchange("q", |_| {}).await;
    let path = format!("/conversations/{id}");
    world.delete(&path).await.body_is_empty(204);
    world.delete(&path).await.problem(404, "conversation_not_found");
    world.get(&path).await.problem(404, "conversation_not_found");
    world.get("/conversations/latest").await.problem(404, "conversation_not_found");
    world
        .put(&format!("/messages/{message}/feedback"), &json!({"rating": "up"}))
        .await
        .problem(404, "message_not_found");
    assert!(questions(&world.get(LIST).await.json(200)).is_empty());
    assert_eq!(world.get("/stats/overview").await.json(200)["totals"]["chats"], 1);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_answer_is_rated(owner: PgPool) {
    let world = World::new(owner).await;
    let (id, message) = world.exchange("q", |_| {}).await;
    let path = format!("/messages/{message}/feedback");
    let rated = async || -> Value {
        world.get(&format!("/conversations/{id}")).await.json(200)["transcript"][1]["answer"]["feedback"].clone()
    };
    for _ in 0..2 {
        world.put(&path, &json!({"rating": "down", "comment": " wrong version "})).await.body_is_empty(204);
    }
    let feedback = rated().await;
    assert_eq!((&feedback["rating"], &feedback["comment"]), (&json!("down"), &json!("wrong version")));
    assert!(feedback["at"].is_string());
    world.put(&path, &json!({"rating": "up"})).await.body_is_empty(204);
    assert_eq!((&rated().await["rating"], &rated().await["comment"]), (&json!("up"), &Value::Null));
    let totals = world.get("/stats/overview").await.json(200)["totals"].clone();
    assert_eq!((&totals["up"], &totals["down"]), (&json!(1), &json!(0)));
    for _ in 0..2 {
        world.delete(&path).await.body_is_empty(204);
    }
    assert_eq!(rated().await, Value::Null);

    let question = world.get(&format!("/conversations/{id}")).await.json(200)["transcript"][0]["id"].clone();
    let question = format!("/messages/{}/feedback", question.as_str().unwrap());
    for unknown in [question.as_str(), "/messages/7/feedback"] {
        world.put(unknown, &json!({"rating": "up"})).await.problem(404, "message_not_found");
        world.delete(unknown).await.problem(404, "message_not_found");
    }
    for bad in [
        json!({"rating": "up", "comment": "x".repeat(2_001)}),
        json!({"rating": "up", "comment": "a\u{0}b"}),
        json!({"rating": "fine"}),
        json!({}),
    ] {
        world.put(&path, &bad).await.problem(422, "invalid_field");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_visitor_reaches_its_own_conversations_only(owner: PgPool) {
    let world = World::new(owner).await;
    let visitor = Visitor { id: "v1".into(), identity: None };
    let mut chatbot = None;
    let (conversation, message) = world
        .exchange("q", |exchange| {
            exchange.visitor = Some(&visitor);
            chatbot = Some(exchange.chatbot);
        })
        .await;
    for (visitor, reached) in [(Some("v1"), true), (Some("v2"), false), (None, true)] {
        let mut tx = world.begin(world.acme).await;
        assert_eq!(messages::rate(&mut tx, message, visitor, Some(Rating::Up), None).await.is_ok(), reached);
        let history =
            docbrain_core::store::conversations::history(&mut tx, chatbot.unwrap(), conversation, visitor, 10).await;
        assert_eq!(history.map_or(0, |said| said.len()), if reached { 2 } else { 0 });
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_visitor_of_the_widget_rates_what_it_was_answered(owner: PgPool) {
    let world = World::new(owner).await;
    let helper = world.chatbot("helper").await;
    let (own, other) = (world.visitor(&helper).await, world.visitor(&helper).await);
    let as_visitor = async |visitor: &str, request: Builder, body: &Value| -> Reply {
        world.send(request.bearer(visitor).header("origin", ORIGIN).json(body)).await
    };
    let question = json!({"chatbot": "helper", "message": "Which command sets a timeout on a key?"});
    let reply = as_visitor(&own, Request::post("/conversation/chat"), &question).await.json(200);
    let row = world.get(&format!("{LIST}?channel=widget")).await.json(200)["conversations"][0].clone();
    assert_eq!(row["id"], reply["conversation_id"]);
    assert!(row["visitor"].is_string(), "{row}");

    let feedback = format!("/messages/{}/feedback", reply["message_id"].as_str().unwrap());
    let down = json!({"rating": "down"});
    as_visitor(&other, Request::put(&feedback), &down).await.problem(404, "message_not_found");
    as_visitor(&other, Request::delete(&feedback), &Value::Null).await.problem(404, "message_not_found");
    as_visitor(&own, Request::put(&feedback), &down).await.body_is_empty(204);
    assert_eq!(world.get(LIST).await.json(200)["conversations"][0]["down"], 1);
    as_visitor(&own, Request::delete(&feedback), &Value::Null).await.body_is_empty(204);

    let follow_up = json!({"chatbot": "helper", "message": "And then?", "conversation_id": reply["conversation_id"]});
    let chat = || Request::post("/conversation/chat");
    as_visitor(&other, chat(), &follow_up).await.problem(404, "conversation_not_found");
    as_visitor(&own, chat(), &follow_up).await.json(200);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn who_deleted_a_conversation_is_noted(owner: PgPool) {
    let world = World::new(owner).await;
    let (id, _) = world.exchange("q", |_| {}).await;
    world.delete(&format!("/conversations/{id}")).await.body_is_empty(204);
    let change = world.get("/audit").await.json(200)["changes"][0].clone();
    assert_eq!((&change["action"], &change["target"]), (&json!("conversation.delete"), &json!(id)));
}
