//! Conversations as files.

use axum::body::Body;
use axum::http::Request;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use futures::StreamExt;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Requests, World};

const EXPORT: &str = "/chatbots/helper/conversations/export";

fn records(csv: &[u8]) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(csv).into_records().map(Result::unwrap).collect()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn both_forms_hold_the_same_rows(owner: PgPool) {
    let world = World::new(owner).await;
    let (older, _) = world.exchange("older, \"quoted\"\nand broken", |_| {}).await;
    let (newer, message) = world.exchange("newer", |exchange| exchange.answerable = false).await;
    world.exchange("newer still", |exchange| exchange.conversation = newer).await;
    world.put(&format!("/messages/{message}/feedback"), &json!({"rating": "down", "comment": "no"})).await;

    let csv = world.get(&format!("{EXPORT}?format=csv")).await;
    assert_eq!(csv.status, 200);
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(
        csv.headers["content-disposition"],
        "attachment; filename=\"helper-conversations.csv\"; filename*=UTF-8''helper-conversations.csv"
    );
    let rows = records(&csv.body);
    let cells = |column: usize| rows.iter().map(|row| row[column].to_owned()).collect::<Vec<_>>();
    assert_eq!(cells(0), [newer, newer, newer, newer, older, older].map(|id| id.to_string()));
    assert_eq!(cells(4), ["visitor", "assistant", "visitor", "assistant", "visitor", "assistant"]);
    assert_eq!((&rows[4][6], &rows[5][6]), ("older, \"quoted\"\nand broken", "Call EXPIRE. [1]"));
    assert_eq!((&rows[1][3], &rows[1][10], &rows[1][11]), (message.to_string().as_str(), "down", "no"));

    let json = world.get(&format!("{EXPORT}?format=json")).await;
    let objects = json.json(200);
    let objects = objects.as_array().unwrap();
    let header = csv::Reader::from_reader(csv.body.as_slice()).headers().unwrap().clone();
    assert_eq!(objects.len(), rows.len());
    for (object, row) in objects.iter().zip(&rows) {
        assert_eq!(object.as_object().unwrap().len(), header.len());
        for (name, cell) in header.iter().zip(row) {
            let value = match &object[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(value, cell, "{name}");
        }
    }
    let filtered = world.get(&format!("{EXPORT}?format=csv&feedback=down")).await;
    assert_eq!(records(&filtered.body).len(), 4);
    let nothing = world.get(&format!("{EXPORT}?search=nowhere")).await;
    assert_eq!(nothing.json(200), json!([]));
    world.get(&format!("{EXPORT}?format=xlsx")).await.problem(400, "bad_request");
    world.get(&format!("{EXPORT}?feedback=good")).await.problem(422, "invalid_field");
    world.get("/chatbots/nobody/conversations/export").await.problem(404, "chatbot_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn no_visitor_writes_a_formula_into_a_spreadsheet(owner: PgPool) {
    let world = World::new(owner).await;
    let formulas = ["=HYPERLINK(\"http://evil.example\",\"x\")", "+1+1", "-1+1", "@SUM(A1)"];
    for formula in formulas {
        let (_, message) = world.exchange(formula, |exchange| exchange.answer = formula).await;
        world.put(&format!("/messages/{message}/feedback"), &json!({"rating": "up", "comment": formula})).await;
    }
    let rows = records(&world.get(&format!("{EXPORT}?format=csv")).await.body);
    assert_eq!(rows.len(), 8);
    let begins = rows.iter().flatten().filter(|cell| cell.starts_with(['=', '+', '-', '@'])).count();
    assert_eq!(begins, 0);
    assert_eq!(rows.iter().flatten().filter(|cell| cell.starts_with('\'')).count(), 12);
    let objects = world.get(EXPORT).await.json(200);
    assert!(formulas.contains(&objects[0]["content"].as_str().unwrap()), "JSON is not changed");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn ten_thousand_messages_are_never_in_memory_together(owner: PgPool) {
    let world = World::new(owner).await;
    let bot = chatbots::get(&mut world.begin(world.acme).await, &ChatbotRef::from("helper")).await.unwrap();
    // Half of them in one conversation, half in conversations of two.
    sqlx::query(
        "with c as (
            insert into conversations (tenant_id, id, chatbot_id)
            select $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $2 from generate_series(1, 2501) n returning id)
         insert into messages (tenant_id, id, conversation_id, role, content)
         select $1, gen_random_uuid(), c.id, case when m % 2 = 1 then 'visitor' else 'assistant' end, repeat('x', 2000)
         from (select id, row_number() over (order by id) as n from c) c, generate_series(1, case when c.n = 1000 then 5000 else 2 end) m",
    )
    .bind(world.acme.0)
    .bind(bot.id.0)
    .execute(&world.owner)
    .await
    .unwrap();
    for format in ["csv", "json"] {
        let request = Request::get(format!("{EXPORT}?format={format}")).admin("acme");
        let response = world.open(request.body(Body::empty()).unwrap()).await;
        let mut pieces = response.into_body().into_data_stream();
        let (mut largest, mut bytes) = (0, Vec::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            largest = largest.max(piece.len());
            bytes.extend_from_slice(&piece);
        }
        assert!(largest < 1_500_000, "{largest} bytes in one piece");
        let ids: std::collections::HashSet<String> = if format == "csv" {
            records(&bytes).iter().map(|row| row[3].to_owned()).collect()
        } else {
            let rows: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(rows.len(), 10_000);
            rows.iter().map(|row| row["message_id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ids.len(), 10_000);
    }
    // What the client has not taken yet has not been read yet.
    let response = world.open(Request::get(EXPORT).admin("acme").body(Body::empty()).unwrap()).await;
    let mut pieces = response.into_body().into_data_stream();
    for _ in 0..2 {
        pieces.next().await.unwrap().unwrap();
    }
    sqlx::query("delete from conversations").execute(&world.owner).await.unwrap();
    let rest: usize = pieces.map(|piece| piece.unwrap().len()).fold(0, async |sum, length| sum + length).await;
    assert!(rest < 100, "{rest} bytes were read ahead");
}
