//! Visitors: which pages may embed which chatbot, and what their sessions are good for.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{ORIGIN, Reply, Requests, World};

async fn session(world: &World, chatbot: &str, origin: Option<&str>) -> Reply {
    let mut request = Request::post("/widget/session");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    world.send(request.json(&json!({ "chatbot": chatbot }))).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn only_pages_of_allowed_origins_begin_a_session(owner: PgPool) {
    let world = World::new(owner).await;
    let helper = world.chatbot("helper").await;
    for origin in [None, Some("https://evil.example"), Some("http://acme.example"), Some("null")] {
        let refused = session(&world, &helper, origin).await;
        refused.problem(403, "origin_not_allowed");
        assert_eq!(refused.headers.get("access-control-allow-origin"), None);
    }
    let begun = session(&world, &helper, Some(ORIGIN)).await;
    assert_eq!(begun.headers["access-control-allow-origin"], ORIGIN);
    assert_eq!(begun.json(200)["chatbot"]["display_name"], "Helper");
    session(&world, &world.chatbot("pair").await, Some(ORIGIN)).await.problem(403, "origin_not_allowed");
    session(&world, "01980000-0000-7000-8000-000000000000", Some(ORIGIN)).await.problem(404, "chatbot_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_visitor_asks_its_chatbot_and_nothing_else(owner: PgPool) {
    let world = World::new(owner).await;
    let token = world.visitor(&world.chatbot("helper").await).await;
    let ask = async |chatbot: &str| {
        let body = json!({"chatbot": chatbot, "message": "Who painted the ceiling?"});
        world.send(Request::post("/conversation/chat").bearer(&token).header("origin", ORIGIN).json(&body)).await
    };
    let answered = ask("helper").await;
    assert_eq!(answered.headers["access-control-allow-origin"], ORIGIN);
    answered.json(200);
    let refused = ask("pair").await;
    refused.problem(404, "chatbot_not_found");
    assert_eq!(refused.headers["access-control-allow-origin"], ORIGIN, "the widget can read why");
    let list = Request::get("/chatbots").bearer(&token).body(Body::empty()).unwrap();
    world.send(list).await.problem(403, "forbidden");

    // The origin is taken off the list: the session ends with it.
    let change = Request::patch("/chatbots/helper").admin("acme").header("if-match", "*");
    world.send(change.json(&json!({"spec": {"allowedOrigins": []}}))).await.json(200);
    ask("helper").await.problem(403, "origin_not_allowed");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn preflight_requests_are_answered_for_known_origins_and_widget_routes(owner: PgPool) {
    let world = World::new(owner).await;
    let preflight = async |path: &str, origin: &str| {
        let request = Request::options(path).header("origin", origin).header("access-control-request-method", "POST");
        world.send(request.body(Body::empty()).unwrap()).await
    };
    for path in ["/widget/session", "/conversation/chat"] {
        let allowed = preflight(path, ORIGIN).await;
        assert_eq!(allowed.status, 204);
        assert_eq!(allowed.headers["access-control-allow-origin"], ORIGIN);
        assert_eq!(allowed.headers["access-control-allow-headers"], "authorization, content-type");
        let refused = preflight(path, "https://evil.example").await;
        assert_eq!(refused.headers.get("access-control-allow-origin"), None);
    }
    let other = preflight("/chatbots", ORIGIN).await;
    assert_eq!(other.headers.get("access-control-allow-origin"), None);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_host_vouches_for_its_visitors(owner: PgPool) {
    let world = World::new(owner).await;
    let helper = world.chatbot("helper").await;
    let key = world.post("/chatbots/helper/identity-key", &json!({})).await.json(201)["key"].clone();
    let begin = async |key: &str| {
        let claims = json!({"sub": "u-1", "name": "Ada", "exp": chrono::Utc::now().timestamp() + 60});
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        let signer = jsonwebtoken::EncodingKey::from_secret(key.as_bytes());
        let body = json!({"chatbot": helper, "identity": jsonwebtoken::encode(&header, &claims, &signer).unwrap()});
        world.send(Request::post("/widget/session").header("origin", ORIGIN).json(&body)).await
    };
    begin("another key").await.problem(403, "identity_refused");
    let session = begin(key.as_str().unwrap()).await.json(200);
    let token = session["token"].as_str().unwrap();
    let ask = json!({"chatbot": "helper", "message": "Why?"});
    let asked = world.send(Request::post("/conversation/chat").bearer(token).json(&ask)).await.json(200);
    let kept = world.get(&format!("/conversations/{}", asked["conversation_id"].as_str().unwrap())).await.json(200);
    assert_eq!((&kept["channel"], &kept["visitor_identity"]["name"]), (&json!("widget"), &json!("Ada")), "{kept}");
    let delete = Request::delete("/chatbots/helper/identity-key").admin("acme").body(Body::empty()).unwrap();
    assert_eq!(world.send(delete).await.status, 204);
    begin(key.as_str().unwrap()).await.problem(403, "identity_refused");
}
