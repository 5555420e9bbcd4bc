//! Health checks and metrics.

use docbrain_core::store::schema;
use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

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

/// Ends every connection of the API to its database, as a failover does.
async fn kill_connections(world: &World, but_only: &str) -> i64 {
    let kill = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database() and usename = 'docbrain_api' and {but_only}"
    );
    sqlx::query_scalar(AssertSqlSafe(kill)).fetch_one(&world.owner).await.unwrap()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_connection_that_dies_in_the_middle_of_a_request_is_a_503(owner: PgPool) {
    let world = World::new(owner).await;
    // The exchange cannot be written, so the request is caught in the middle.
    let mut lock = world.owner.begin().await.unwrap();
    sqlx::query("lock table messages in access exclusive mode").execute(&mut *lock).await.unwrap();
    let killed = async {
        while kill_connections(&world, "wait_event_type = 'Lock'").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (reply, ()) = tokio::join!(world.chat("Who painted the ceiling?"), killed);
    reply.problem(503, "database_unavailable");
    assert_eq!(reply.headers["retry-after"], "1");
    lock.rollback().await.unwrap();

    assert!(kill_connections(&world, "true").await > 0);
    // Each connection that has died fails one request at most.
    for _ in 0..4 {
        let reply = world.chat("Who painted the ceiling?").await;
        if reply.status == 200 {
            break;
        }
        reply.problem(503, "database_unavailable");
    }
    world.chat("Who painted the ceiling?").await.json(200);
}
