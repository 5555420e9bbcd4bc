//! Settings of a tenant, and tenants as whoever runs the installation sees them.

use axum::body::Body;
use axum::http::Request;
use docbrain_core::store::accounts;
use docbrain_core::store::members::Role;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Requests, World};

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn settings_are_read_and_changed(owner: PgPool) {
    let world = World::new(owner).await;
    let read = world.get("/tenant/settings").await;
    assert_eq!(read.json(200)["display_name"], "Acme");
    let change = |revision: &str| {
        let body = json!({"display_name": "Acme GmbH"});
        Request::patch("/tenant/settings").admin("acme").header("if-match", revision).json(&body)
    };
    let changed = world.send(change(read.headers["etag"].to_str().unwrap())).await.json(200);
    assert_eq!(changed["spec"]["displayName"], "Acme GmbH");
    world.send(change("\"1\"")).await.problem(412, "precondition_failed");
    let suspend = Request::patch("/tenant/settings").admin("acme").header("if-match", "*");
    world.send(suspend.json(&json!({"suspended": true}))).await.problem(422, "invalid_field");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_superuser_suspends_tenants_and_nobody_else_does(owner: PgPool) {
    let world = World::new(owner).await;
    let token = world.member(world.rival, Role::Admin, "root@rival.example").await;
    let list = || Request::get("/admin/tenants").bearer(&token).body(Body::empty()).unwrap();
    world.send(list()).await.problem(403, "forbidden");
    let email = "root@rival.example";
    assert!(accounts::set_superuser(&world.api, email, true).await.is_err(), "the API's role cannot make superusers");
    accounts::set_superuser(&world.owner, email, true).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;

    let listed = world.send(list()).await.json(200);
    let names: Vec<&str> = listed["tenants"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "rival"]);
    assert_eq!(listed["tenants"][0]["chatbots"], 3);
    let suspend =
        |suspended: bool| Request::patch("/admin/tenants/acme").bearer(&token).json(&json!({ "suspended": suspended }));
    assert_eq!(world.send(suspend(true)).await.json(200)["suspended"], true);
    world.chat("Why?").await.problem(409, "chatbot_suspended");
    assert_eq!(world.send(suspend(false)).await.json(200)["suspended"], false);
    world.chat("Why?").await.json(200);
    let changes = world.get("/audit").await.json(200)["changes"].clone();
    assert_eq!(changes[0]["actor"], "root@rival.example");
    let unknown = Request::patch("/admin/tenants/nobody").bearer(&token).json(&json!({"suspended": true}));
    world.send(unknown).await.problem(404, "tenant_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn changes_are_read_in_pages(owner: PgPool) {
    let world = World::new(owner).await;
    let change = async |name: &str| {
        let token = json!({"name": name, "scopes": ["read"]});
        world.post("/tokens", &token).await.json(201);
    };
    for name in ["1", "2", "3", "4"] {
        change(name).await;
    }
    // Newest first: what is changed while somebody reads stands before the first page.
    let read = world.pages("/audit", "changes", async || change("meanwhile").await).await;
    let of_tokens = read.iter().filter(|change| change["action"] == "token.create");
    let names: Vec<&str> = of_tokens.map(|change| change["target"].as_str().unwrap()).collect();
    assert_eq!(names, ["4", "3", "2", "1"]);
    world.get("/audit?limit=0").await.problem(422, "invalid_field");
    let id = read[0]["id"].as_str().unwrap();
    world.get(&format!("/audit?after={id}")).await.problem(422, "invalid_field");
}
