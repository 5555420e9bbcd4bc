//! Chats, counted.

use chrono::{Days, NaiveDate, Utc};
use docbrain_core::ids::MessageId;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::World;

/// Moves what an answer used to noon some days ago.
async fn antedate(world: &World, message: MessageId, days: u64) {
    let noon = day(days).and_hms_opt(12, 0, 0).unwrap().and_utc();
    sqlx::query("update usage set created_at = $2 where id = $1")
        .bind(message.0)
        .bind(noon)
        .execute(&world.owner)
        .await
        .unwrap();
}

fn day(ago: u64) -> NaiveDate {
    Utc::now().date_naive() - Days::new(ago)
}

/// Five chats: two today, two three days ago, one 39 days ago.
async fn chats(world: &World) {
    let (conversation, first) = world.exchange("first", |_| {}).await;
    world
        .exchange("second", |exchange| {
            exchange.conversation = conversation;
            exchange.answerable = false;
            exchange.milliseconds = 3_000;
        })
        .await;
    let (_, unpriced) = world
        .exchange("unpriced", |exchange| {
            exchange.model = Some("m2");
            exchange.cost_micros = None;
        })
        .await;
    let (_, quoted) = world
        .exchange("quoted", |exchange| {
            exchange.model = None;
            exchange.cost_micros = Some(0);
            exchange.prompt_tokens = 0;
            exchange.completion_tokens = 0;
        })
        .await;
    let (_, old) = world.exchange("old", |_| {}).await;
    for (message, days) in [(unpriced, 3), (quoted, 3), (old, 39)] {
        antedate(world, message, days).await;
    }
    for (message, rating) in [(first, "up"), (unpriced, "down"), (old, "down")] {
        world.put(&format!("/messages/{message}/feedback"), &json!({"rating": rating})).await.body_is_empty(204);
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_period_is_told_in_numbers(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "a.md", &["The EXPIRE command sets a timeout on a key."]).await;
    chats(&world).await;
    let overview = world.get("/stats/overview").await.json(200);
    assert_eq!((&overview["from"], &overview["to"]), (&json!(day(29)), &json!(day(0))));
    assert_eq!(
        overview["totals"],
        json!({"chats": 4, "conversations": 3, "answered": 3, "unanswered": 1, "up": 1, "down": 1,
               "prompt_tokens": 300, "completion_tokens": 30, "cost_micros": 14})
    );
    let days = overview["days"].as_array().unwrap();
    assert_eq!(days.len(), 30);
    let of_day = |ago: u64| days.iter().find(|row| row["day"] == json!(day(ago))).unwrap();
    assert_eq!((&of_day(0)["chats"], &of_day(0)["up"], &of_day(0)["unanswered"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(
        (&of_day(3)["chats"], &of_day(3)["down"], &of_day(3)["conversations"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!((&of_day(1)["chats"], &of_day(1)["cost_micros"]), (&json!(0), &Value::Null));
    let models: Vec<_> = overview["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["model"], &row["chats"], &row["cost_micros"]))
        .collect();
    assert_eq!(
        models,
        [
            (&json!("m1"), &json!(2), &json!(14)),
            (&Value::Null, &json!(1), &json!(0)),
            (&json!("m2"), &json!(1), &Value::Null)
        ]
    );
    let bots = overview["chatbots"].as_array().unwrap();
    assert_eq!(
        (bots.len(), &bots[0]["chatbot"], &bots[0]["chats"], &bots[0]["down"]),
        (1, &json!("helper"), &json!(4), &json!(1))
    );
    let near = |value: &Value, milliseconds: f64| (value.as_f64().unwrap() / milliseconds - 1.0).abs() < 0.06;
    assert!(
        near(&overview["latency"]["p50_milliseconds"], 200.0)
            && near(&overview["latency"]["p95_milliseconds"], 3_000.0)
    );
    assert_eq!(overview["documents"], json!({"pending": 0, "indexed": 1, "failed": 0, "chunks": 1}));
    let gaps = overview["unanswered_questions"].as_array().unwrap();
    assert_eq!((gaps.len(), &gaps[0]["question"]), (1, &json!("second")));

    let other = world.get("/stats/overview?chatbot=pair").await.json(200);
    assert_eq!((&other["totals"]["chats"], &other["latency"]["p50_milliseconds"]), (&json!(0), &Value::Null));
    assert_eq!((&other["totals"]["cost_micros"], &other["unanswered_questions"]), (&Value::Null, &json!([])));
    let one_day = world.get(&format!("/stats/overview?from={0}&to={0}", day(39))).await.json(200);
    assert_eq!((&one_day["totals"]["chats"], one_day["days"].as_array().unwrap().len()), (&json!(1), 1));
    for bad in ["from=2024-01-02&to=2024-01-01", "from=2020-01-01&to=2024-01-01", "from=-0001-01-01&to=-0001-01-01"] {
        world.get(&format!("/stats/overview?{bad}")).await.problem(422, "invalid_field");
    }
    world.get("/stats/overview?from=monday").await.problem(400, "bad_request");
    world.get("/stats/overview?chatbot=nobody").await.problem(404, "chatbot_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn days_that_are_counted_once_give_the_same_numbers(owner: PgPool) {
    let world = World::new(owner).await;
    chats(&world).await;
    let paths =
        ["/stats/overview", &format!("/stats/overview?from={}", day(60)), &format!("/stats/usage?from={}", day(60))];
    let told = async || -> Vec<Value> {
        let mut told = Vec::new();
        for path in paths {
            told.push(world.get(path).await.json(200));
        }
        told
    };
    let before = told().await;
    for _ in 0..2 {
        docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
        assert_eq!(told().await, before);
    }
    let (closed,): (i64,) = sqlx::query_as("select sum(chats) from usage_days").fetch_one(&world.owner).await.unwrap();
    assert_eq!(closed, 3);
    // Later days are added to those, and a rating of an old answer counts.
    let (_, late) = world.exchange("late", |_| {}).await;
    antedate(&world, late, 1).await;
    let overview = world.get("/stats/overview").await.json(200);
    assert_eq!(overview["totals"]["chats"], 5);
    docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
    assert_eq!(world.get("/stats/overview").await.json(200), overview);
    world.put(&format!("/messages/{late}/feedback"), &json!({"rating": "up"})).await.body_is_empty(204);
    assert_eq!(world.get("/stats/overview").await.json(200)["totals"]["up"], 2);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn usage_is_told_in_rows(owner: PgPool) {
    let world = World::new(owner).await;
    chats(&world).await;
    let path = format!("/stats/usage?from={}", day(60));
    let rows = world.pages(&path, "usage", async || {}).await;
    let told: Vec<_> =
        rows.iter().map(|row| (&row["day"], &row["model"], &row["chats"], &row["cost_micros"])).collect();
    assert_eq!(
        told,
        [
            (&json!(day(39)), &json!("m1"), &json!(1), &json!(7)),
            (&json!(day(3)), &Value::Null, &json!(1), &json!(0)),
            (&json!(day(3)), &json!("m2"), &json!(1), &Value::Null),
            (&json!(day(0)), &json!("m1"), &json!(2), &json!(14)),
        ]
    );
    assert_eq!(
        (&rows[3]["chatbot"], &rows[3]["conversations"], &rows[3]["prompt_tokens"]),
        (&json!("helper"), &json!(1), &json!(200))
    );
    let csv = world.get(&format!("{path}&format=csv")).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let lines: Vec<&str> = csv.text().lines().collect();
    assert_eq!(
        lines[0],
        "day,chatbot_id,chatbot,model,chats,conversations,prompt_tokens,completion_tokens,cost_micros"
    );
    assert!(lines[3].ends_with(",helper,m2,1,1,100,10,"), "{}", lines[3]);
    assert_eq!(lines.len(), 5);
    // A chatbot that is gone is billed still.
    sqlx::query("delete from chatbots where name = 'helper'").execute(&world.owner).await.unwrap();
    let rows = world.get(&path).await.json(200)["usage"].clone();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["chatbot"]), (4, &Value::Null));
    world.get(&format!("{path}&after=x")).await.problem(422, "invalid_field");
}
