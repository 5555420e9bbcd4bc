//! What is done every hour.

use chrono::{TimeDelta, Utc};
use docbrain_core::ids::ConversationId;
use docbrain_core::store::upkeep;
use sqlx::PgPool;

use crate::harness::World;

async fn left(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from conversations").fetch_one(&world.owner).await.unwrap()
}

/// A conversation that began and ended some days ago.
async fn conversation(world: &World, began: i64, ended: i64) -> ConversationId {
    let now = Utc::now();
    let id = ConversationId::since(now - TimeDelta::days(began));
    world.exchange("q", |exchange| exchange.conversation = id).await;
    sqlx::query("update conversations set last_at = $2 where id = $1")
        .bind(id.0)
        .bind(now - TimeDelta::days(ended))
        .execute(&world.owner)
        .await
        .unwrap();
    id
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn conversations_are_kept_as_long_as_the_tenant_says(owner: PgPool) {
    let world = World::new(owner).await;
    let mut fresh = vec![conversation(&world, 29, 29).await, conversation(&world, 90, 1).await];
    for began in [31, 45, 400] {
        conversation(&world, began, began).await;
    }
    fresh.sort();
    docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
    assert_eq!(left(&world).await, 5, "without a limit they are kept");
    // The rival's limit is not acme's.
    let limit = |name: &str, days: u32| {
        format!("update tenants set spec = spec || '{{\"conversationRetentionDays\": {days}}}' where name = '{name}'")
    };
    sqlx::query(sqlx::AssertSqlSafe(limit("rival", 1))).execute(&world.owner).await.unwrap();
    docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
    assert_eq!(left(&world).await, 5);
    sqlx::query(sqlx::AssertSqlSafe(limit("acme", 30))).execute(&world.owner).await.unwrap();

    let turn = upkeep::turn(&world.api).await.unwrap().unwrap();
    docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
    assert_eq!(left(&world).await, 5, "another process is at it");
    turn.end().await.unwrap();

    docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
    let kept: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from conversations order by id").fetch_all(&world.owner).await.unwrap();
    assert_eq!(kept.into_iter().map(ConversationId).collect::<Vec<_>>(), fresh);
    let counted: i64 = sqlx::query_scalar("select count(*) from usage").fetch_one(&world.owner).await.unwrap();
    assert_eq!(counted, 5, "what they used stays");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn more_than_a_batch_is_deleted(owner: PgPool) {
    let world = World::new(owner).await;
    conversation(&world, 400, 400).await;
    sqlx::query(
        "insert into conversations (tenant_id, id, chatbot_id, last_at)
         select tenant_id, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, chatbot_id, last_at
         from conversations, generate_series(1, 1200) n",
    )
    .execute(&world.owner)
    .await
    .unwrap();
    sqlx::query("update tenants set spec = spec || '{\"conversationRetentionDays\": 30}'")
        .execute(&world.owner)
        .await
        .unwrap();
    docbrain_api::keep_up(&world.api, Utc::now()).await.unwrap();
    assert_eq!(left(&world).await, 0);
}
