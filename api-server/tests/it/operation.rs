//! Health checks and metrics.

use serde_json::json;
use sqlx::PgPool;

use crate::harness::World;

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_server_without_its_database_lives_but_is_not_ready(owner: PgPool) {
    let world = World::new(owner).await;
    assert_eq!(world.get("/healthz").await.json(200), json!({"status": "ok"}));
    assert_eq!(world.get("/readyz").await.json(200), json!({"status": "ok"}));
    world.api.close().await;
    world.get("/healthz").await.json(200);
    world.get("/readyz").await.problem(503, "not_ready");
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
    ] {
        assert!(metrics.text().lines().any(|found| found.starts_with(line)), "{line}\n{}", metrics.text());
    }
    assert!(!metrics.text().contains("particular"));
}
