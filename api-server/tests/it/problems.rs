//! Refusals: each one is a problem, and none says what the server's insides said.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Requests, TOKEN, World};

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_axum_refuses_itself_is_a_problem_too(owner: PgPool) {
    let world = World::new(owner).await;
    world.get("/nowhere").await.problem(404, "route_not_found");
    world.send(Request::get("/nowhere").body(Body::empty()).unwrap()).await.problem(404, "route_not_found");
    let method = world.get("/conversation/chat").await;
    method.problem(405, "method_not_allowed");
    assert_eq!(method.headers["allow"], "POST");
    let typed = |kind: &str, body: Vec<u8>| {
        Request::post("/conversation/chat").admin("acme").header("content-type", kind).body(Body::from(body)).unwrap()
    };
    world.send(typed("text/plain", b"{}".to_vec())).await.problem(415, "unsupported_media_type");
    world.send(typed("application/json", vec![b' '; 300_000])).await.problem(413, "body_too_large");
    world.send(typed("application/json", b"{\"chatbot\": 7}".to_vec())).await.problem(422, "invalid_field");
    world.send(typed("application/json", b"\xff".to_vec())).await.problem(400, "bad_request");
    world.send(typed("multipart/form-data", Vec::new())).await.problem(415, "unsupported_media_type");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn nul_is_refused_wherever_it_stands(owner: PgPool) {
    let world = World::new(owner).await;
    let ask = |chatbot: &str, message: &str| json!({"chatbot": chatbot, "message": message});
    world.post("/conversation/chat", &ask("help\0er", "why?")).await.problem(422, "invalid_field");
    world.post("/conversation/chat", &ask("helper", "wh\0y?")).await.problem(422, "invalid_field");
    world.get("/chatbots/help%00er/documents").await.problem(404, "route_not_found");
    world.get("/chatbots/%ff/documents").await.problem(404, "route_not_found");
    world.get("/chatbots/helper/documents?after=%00").await.problem(422, "invalid_field");
    world
        .send(Request::get("/chatbots").admin("ac%00me").body(Body::empty()).unwrap())
        .await
        .problem(404, "tenant_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_poisoned_database_is_a_500_that_says_nothing_of_it(owner: PgPool) {
    let world = World::new(owner).await;
    sqlx::query("alter table chatbots rename to poisoned").execute(&world.owner).await.unwrap();
    let requests = [
        ("/conversation/chat", Some(json!({"chatbot": "helper", "message": "why?"}))),
        ("/chatbots", None),
        ("/chatbots/helper/documents", None),
    ];
    for (path, body) in requests {
        let reply = match &body {
            Some(body) => world.post(path, body).await,
            None => world.get(path).await,
        };
        let mut problem = reply.problem(500, "internal");
        for varying in ["timestamp", "request_id"] {
            problem.as_object_mut().unwrap().remove(varying);
        }
        let constant = json!({
            "code": "internal", "status": 500, "title": "The server failed", "type": "urn:docbrain:problem:internal",
            "detail": "try again; if it happens again, look for the request id in the server's log"
        });
        assert_eq!(problem, constant);
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_request_keeps_its_id(owner: PgPool) {
    let world = World::new(owner).await;
    let ask = async |id: &str| {
        world.send(Request::get("/chatbots").header("x-request-id", id).body(Body::empty()).unwrap()).await
    };
    let named = ask("caller.42").await;
    assert_eq!(named.problem(401, "unauthorized")["request_id"], "caller.42");
    let odd = ask("a b").await.problem(401, "unauthorized");
    assert_eq!(odd["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(world.get("/healthz").await.headers["x-content-type-options"], "nosniff");
    assert!(!named.text().contains(TOKEN));
}
