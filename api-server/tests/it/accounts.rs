//! Accounts: made, signed in and out, invited, locked.

use axum::body::Body;
use axum::http::Request;
use docbrain_api::{Registration, Settings};
use docbrain_core::store::members::Role;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Reply, Requests, World, expired, settings};

const PASSWORD: &str = "correct horse battery staple";

async fn post(world: &World, path: &str, body: &Value) -> Reply {
    world.send(Request::post(path).json(body)).await
}

async fn register(world: &World, email: &str) -> Reply {
    post(world, "/auth/register", &json!({"email": email, "password": PASSWORD, "company": "Globex Inc."})).await
}

async fn login(world: &World, email: &str, password: &str) -> Reply {
    post(world, "/auth/login", &json!({"email": email, "password": password})).await
}

async fn me(world: &World, token: &str) -> Reply {
    world.send(Request::get("/auth/me").bearer(token).body(Body::empty()).unwrap()).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn registering_makes_a_tenant_with_a_chatbot(owner: PgPool) {
    let world = World::new(owner).await;
    let made = register(&world, "ada@globex.example").await.json(201);
    assert_eq!(made["tenants"], json!([{"name": "globex-inc", "display_name": "Globex Inc.", "role": "admin"}]));
    let token = text(&made["access_token"]);
    let get = async |path: &str| world.send(Request::get(path).bearer(&token).body(Body::empty()).unwrap()).await;
    let chatbots = get("/chatbots").await.json(200);
    assert_eq!(chatbots["chatbots"][0]["name"], "assistant");
    assert_eq!(chatbots["chatbots"][0]["knowledge_sources"], json!(["docs"]));
    assert_eq!(get("/chatbots/assistant/sources").await.json(200)["sources"][0]["name"], "docs");
    let changes = get("/audit").await.json(200)["changes"].clone();
    let actions: Vec<String> = changes.as_array().unwrap().iter().map(|change| text(&change["action"])).collect();
    assert_eq!(actions, ["chatbot.create", "source.create", "tenant.register", "tenant.create"]);

    // Another company of that name gets a name of its own.
    let other = register(&world, "bob@globex.example").await.json(201);
    let name = text(&other["tenants"][0]["name"]);
    assert!(name.starts_with("globex-inc-"), "{name}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_registration_that_fails_leaves_nothing(owner: PgPool) {
    let world = World::new(owner).await;
    register(&world, "ada@globex.example").await.json(201);
    let tenants =
        async || -> i64 { sqlx::query_scalar("select count(*) from tenants").fetch_one(&world.owner).await.unwrap() };
    let before = tenants().await;
    register(&world, "ADA@globex.example").await.problem(409, "email_taken");
    let body = json!({"email": "eve@globex.example", "password": PASSWORD, "tenant": "acme"});
    post(&world, "/auth/register", &body).await.problem(409, "tenant_name_taken");
    for (field, value) in [
        ("email", json!("nobody")),
        ("password", json!("short")),
        ("tenant", json!("Not A Name")),
        ("company", json!("two\nlines")),
        ("nmae", json!("x")),
    ] {
        let mut body = json!({"email": "eve@globex.example", "password": PASSWORD});
        body[field] = value;
        post(&world, "/auth/register", &body).await.problem(422, "invalid_field");
    }
    assert_eq!(tenants().await, before);
    login(&world, "eve@globex.example", PASSWORD).await.problem(401, "invalid_credentials");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_closed_installation_takes_nobody(owner: PgPool) {
    let world = World::with(owner, None, Settings { registration: Registration::Invite, ..settings() }).await;
    register(&world, "ada@globex.example").await.problem(403, "registration_closed");
    let invited = invite(&world, "grace@acme.example", "editor").await;
    let mut body = json!({"email": "eve@acme.example", "password": PASSWORD, "invitation": invited});
    post(&world, "/auth/register", &body).await.problem(404, "invitation_not_found");
    body["email"] = "Grace@acme.example".into();
    let made = post(&world, "/auth/register", &body).await.json(201);
    assert_eq!(made["tenants"], json!([{"name": "acme", "display_name": "Acme", "role": "editor"}]));
    body["email"] = "grace@acme.example".into();
    post(&world, "/auth/register", &body).await.problem(404, "invitation_not_found");
}

async fn invite(world: &World, email: &str, role: &str) -> String {
    let made = world.post("/invitations", &json!({"email": email, "role": role})).await.json(201);
    text(&made["invitation"])
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_account_joins_a_second_tenant_by_invitation(owner: PgPool) {
    let world = World::new(owner).await;
    let token = world.member(world.rival, Role::Admin, "ada@rival.example").await;
    let invitation = invite(&world, "ada@rival.example", "viewer").await;
    let accept = Request::post("/auth/accept").bearer(&token).json(&json!({"invitation": invitation}));
    assert_eq!(world.send(accept).await.status, 204);
    let tenants = me(&world, &token).await.json(200)["tenants"].clone();
    assert_eq!(tenants[1]["name"], "acme");
    // The token is for the first tenant; the header chooses the other one.
    let chatbots = Request::get("/chatbots").bearer(&token).header("x-docbrain-tenant", "acme");
    let chatbots = world.send(chatbots.body(Body::empty()).unwrap()).await.json(200);
    assert_eq!(chatbots["chatbots"][1]["name"], "helper");
    let forbidden = Request::get("/tokens").bearer(&token).header("x-docbrain-tenant", "acme");
    world.send(forbidden.body(Body::empty()).unwrap()).await.problem(403, "forbidden");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn wrong_passwords_and_unknown_accounts_are_refused_alike_and_then_locked_out(owner: PgPool) {
    let world = World::new(owner).await;
    register(&world, "ada@globex.example").await.json(201);
    let unknown = login(&world, "eve@globex.example", PASSWORD).await.problem(401, "invalid_credentials");
    let wrong = login(&world, "ada@globex.example", "correct horse battery").await.problem(401, "invalid_credentials");
    assert_eq!(unknown["detail"], wrong["detail"]);
    login(&world, "ada@globex.example", PASSWORD).await.json(200);
    for email in ["ada@globex.example", "eve@globex.example"] {
        let mut refusals = 0;
        let locked = loop {
            let reply = login(&world, email, "wrong").await;
            if reply.status == 429 {
                break reply;
            }
            reply.problem(401, "invalid_credentials");
            refusals += 1;
            assert!(refusals < 24, "{email} is never locked");
        };
        locked.problem(429, "too_many_attempts");
        assert!(locked.headers.contains_key("retry-after"));
    }
    login(&world, "ada@globex.example", PASSWORD).await.problem(429, "too_many_attempts");
    login(&world, "a\0b", PASSWORD).await.problem(401, "invalid_credentials");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_expired_access_token_is_to_be_refreshed(owner: PgPool) {
    let world = World::new(owner).await;
    let token = world.member(world.acme, Role::Admin, "ada@acme.example").await;
    let get =
        async |path: &str, token: &str| world.send(Request::get(path).bearer(token).body(Body::empty()).unwrap()).await;
    get("/chatbots", &token).await.json(200);
    for path in ["/chatbots", "/auth/me", "/audit"] {
        let refused = get(path, &expired(&token)).await;
        let problem = refused.problem(401, "token_expired");
        assert!(problem["detail"].as_str().unwrap().contains("refresh it"), "{problem}");
        assert!(refused.headers.contains_key("www-authenticate"));
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn refresh_tokens_are_used_once(owner: PgPool) {
    let world = World::new(owner).await;
    let first = register(&world, "ada@globex.example").await.json(201);
    let refresh = async |token: &str| post(&world, "/auth/refresh", &json!({"refresh_token": token})).await;
    let second = refresh(&text(&first["refresh_token"])).await.json(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    me(&world, &text(&second["access_token"])).await.json(200);
    // Somebody else shows the spent one: nobody knows which of the two is the thief.
    refresh(&text(&first["refresh_token"])).await.problem(401, "unauthorized");
    refresh(&text(&second["refresh_token"])).await.problem(401, "unauthorized");
    me(&world, &text(&second["access_token"])).await.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn signing_out_ends_every_token_of_the_session(owner: PgPool) {
    let world = World::new(owner).await;
    let made = register(&world, "ada@globex.example").await.json(201);
    let token = text(&made["access_token"]);
    me(&world, &token).await.json(200);
    let out = world.send(Request::post("/auth/logout").bearer(&token).body(Body::empty()).unwrap()).await;
    assert_eq!(out.status, 204);
    me(&world, &token).await.problem(401, "unauthorized");
    post(&world, "/auth/refresh", &json!({"refresh_token": made["refresh_token"]})).await.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_browser_gets_a_cookie_and_must_show_that_a_change_is_its_own(owner: PgPool) {
    let world = World::new(owner).await;
    register(&world, "ada@globex.example").await.json(201);
    let body = json!({"email": "ada@globex.example", "password": PASSWORD, "session": "cookie"});
    let signed_in = post(&world, "/auth/login", &body).await;
    let csrf = text(&signed_in.json(200)["csrf_token"]);
    assert_eq!(signed_in.json(200)["access_token"], Value::Null);
    assert_eq!(signed_in.json(200)["refresh_token"], Value::Null);
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    let list = Request::get("/chatbots").header("cookie", cookie).body(Body::empty()).unwrap();
    assert_eq!(world.send(list).await.json(200)["chatbots"][0]["name"], "assistant");
    let body = json!({"name": "build", "scopes": ["read"]});
    let change = || Request::post("/tokens").header("cookie", cookie);
    world.send(change().json(&body)).await.problem(403, "csrf_failed");
    world.send(change().header("x-csrf-token", "bm8").json(&body)).await.problem(403, "csrf_failed");
    world.send(change().header("x-csrf-token", &csrf).json(&body)).await.json(201);
    let me = Request::get("/auth/me").header("cookie", cookie).body(Body::empty()).unwrap();
    assert_eq!(world.send(me).await.json(200)["csrf_token"], csrf);

    let out = Request::post("/auth/logout").header("cookie", cookie).header("x-csrf-token", csrf);
    let out = world.send(out.body(Body::empty()).unwrap()).await;
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let list = Request::get("/chatbots").header("cookie", cookie).body(Body::empty()).unwrap();
    world.send(list).await.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_new_password_ends_the_other_sessions(owner: PgPool) {
    let world = World::new(owner).await;
    let first = text(&register(&world, "ada@globex.example").await.json(201)["access_token"]);
    let second = text(&login(&world, "ada@globex.example", PASSWORD).await.json(200)["access_token"]);
    let change = async |current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        world.send(Request::put("/auth/password").bearer(&second).json(&body)).await
    };
    change("wrong", "another horse battery").await.problem(401, "invalid_credentials");
    change(PASSWORD, "short").await.problem(422, "invalid_field");
    assert_eq!(change(PASSWORD, "another horse battery").await.status, 204);
    me(&world, &second).await.json(200);
    me(&world, &first).await.problem(401, "unauthorized");
    login(&world, "ada@globex.example", PASSWORD).await.problem(401, "invalid_credentials");
    login(&world, "ada@globex.example", "another horse battery").await.json(200);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_tenant_keeps_an_admin(owner: PgPool) {
    let world = World::new(owner).await;
    let admin = world.member(world.acme, Role::Admin, "ada@acme.example").await;
    let viewer = world.member(world.acme, Role::Viewer, "bob@acme.example").await;
    let members = world.get("/members").await.json(200)["members"].clone();
    let (ada, bob) = (text(&members[0]["id"]), text(&members[1]["id"]));
    let delete = async |id: &str| {
        world.send(Request::delete(format!("/members/{id}")).bearer(&admin).body(Body::empty()).unwrap()).await
    };
    delete(&ada).await.problem(409, "last_admin");
    let role =
        |id: &str, role: &str| Request::patch(format!("/members/{id}")).bearer(&admin).json(&json!({ "role": role }));
    world.send(role(&ada, "editor")).await.problem(409, "last_admin");
    world.send(role(&bob, "owner")).await.problem(422, "invalid_field");
    assert_eq!(world.send(role(&bob, "admin")).await.status, 204);
    assert_eq!(delete(&ada).await.status, 204);
    assert_eq!(world.get("/members").await.json(200)["members"].as_array().unwrap().len(), 1);
    let listed = world.get("/audit").await.json(200)["changes"].clone();
    assert_eq!((&listed[0]["action"], &listed[0]["actor"]), (&json!("member.delete"), &json!("ada@acme.example")));
    drop(viewer);
}
