//! Visitors: which pages may embed which chatbot, and what their sessions are good for.

use axum::body::Body;
use axum::http::Request;
use docbrain_core::store::members::Role;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{ORIGIN, Reply, Requests, World, expired};

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
    // It is the origin of another chatbot, and of none that there is.
    for (chatbot, status, code) in [
        (&*world.chatbot("pair").await, 403, "origin_not_allowed"),
        ("01980000-0000-7000-8000-000000000000", 404, "chatbot_not_found"),
    ] {
        let refused = session(&world, chatbot, Some(ORIGIN)).await;
        refused.problem(status, code);
        assert_eq!(refused.headers.get("access-control-allow-origin"), None, "{code}");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_page_can_read_why_it_gets_no_session(owner: PgPool) {
    let world = World::new(owner).await;
    let helper = world.chatbot("helper").await;
    let body = json!({"chatbot": helper, "identity": "signed by nobody"});
    let refused = world.send(Request::post("/widget/session").header("origin", ORIGIN).json(&body)).await;
    refused.problem(403, "identity_refused");
    assert_eq!(refused.headers["access-control-allow-origin"], ORIGIN);
    let change = Request::patch("/chatbots/helper").admin("acme").header("if-match", "*");
    world.send(change.json(&json!({"spec": {"suspended": true}}))).await.json(200);
    let refused = session(&world, &helper, Some(ORIGIN)).await;
    refused.problem(409, "chatbot_suspended");
    assert_eq!(refused.headers["access-control-allow-origin"], ORIGIN);
    assert_eq!(session(&world, &helper, Some("null")).await.headers.get("access-control-allow-origin"), None);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_page_can_read_that_its_session_has_expired(owner: PgPool) {
    let world = World::new(owner).await;
    let helper = world.chatbot("helper").await;
    let token = expired(&world.visitor(&helper).await);
    let body = json!({"chatbot": "helper", "message": "Who painted the ceiling?"});
    let ask = async |token: &str| {
        world.send(Request::post("/conversation/chat").bearer(token).header("origin", ORIGIN).json(&body)).await
    };
    let refused = ask(&token).await;
    refused.problem(401, "token_expired");
    assert_eq!(refused.headers["access-control-allow-origin"], ORIGIN);
    // What was not signed here says nothing.
    let (signed, _) = token.rsplit_once('.').unwrap();
    for forged in [format!("{signed}.AAAA"), format!("{signed}.")] {
        let refused = ask(&forged).await;
        refused.problem(401, "unauthorized");
        assert_eq!(refused.headers.get("access-control-allow-origin"), None);
    }
    // An account's token is for no page.
    let admin = expired(&world.member(world.acme, Role::Admin, "ada@acme.example").await);
    let refused = ask(&admin).await;
    refused.problem(401, "token_expired");
    assert_eq!(refused.headers.get("access-control-allow-origin"), None);
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
    let made = world.post("/chatbots/helper/identity-key", &json!({})).await;
    assert_eq!(made.headers["cache-control"], "no-store");
    let key = made.json(201)["key"].clone();
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
