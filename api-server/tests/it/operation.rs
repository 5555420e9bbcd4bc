//! Health checks and metrics.

use docbrain_core::store::schema;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::World;

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_server_without_its_database_lives_but_is_not_ready(owner: PgPool) {
    let world = World::new(owner).await;
    assert_eq!(world.get("/healthz").await.json(200), json!({"status": "ok"}));
    for probe in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(world.get(probe).await.json(200), json!({"status": "ok"}), "{probe}");
    }
    world.api.close().await;
    world.get("/healthz").await.json(200);
    world.get("/livez").await.json(200);
    world.get("/readyz").await.problem(503, "not_ready");
    world.get("/startupz").await.problem(503, "not_ready");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_schema_older_than_the_program_is_not_served(owner: PgPool) {
    let world = World::new(owner).await;
    let newest = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(newest).execute(&world.owner).await.unwrap();
    assert!(matches!(schema::check(&world.api).await, Err(schema::Unfit::Outdated)));
    world.get("/startupz").await.problem(503, "not_ready");
    sqlx::query("drop function schema_version()").execute(&world.owner).await.unwrap();
    assert!(matches!(schema::check(&world.api).await, Err(schema::Unfit::Outdated)));
    assert!(matches!(schema::check(&world.owner).await, Err(schema::Unfit::Unbound)));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn requests_and_answers_are_counted(owner: PgPool) {
    let world = World::new(owner).await;
    world.chat("Who painted the ceiling?").await.json(200);
    world.get("/nowhere/in/particular").await.problem(404, "route_not_found");
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "docbrain_http_requests_total{method=\"POST\",route=\"/conversation/chat\",status=\"200\"}",
        "docbrain_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"}",
        "docbrain_http_request_seconds_count{route=\"/conversation/chat\"}",
        "docbrain_chat_seconds_count{kind=\"fallback\"}",
        "docbrain_unanswered_total",
        "docbrain_http_requests_in_flight",
        "docbrain_database_connections{state=\"used\"}",
        "docbrain_database_connections_max 4",
    ] {
        assert!(metrics.text().lines().any(|found| found.starts_with(line)), "{line}\n{}", metrics.text());
    }
    assert!(!metrics.text().contains("particular"));
}
