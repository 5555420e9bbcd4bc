//! Generations: beside each other, switched at once, dropped with their tables.

use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::{generations, sources, tenants};
use sqlx::PgPool;

use crate::harness::{DIMENSIONS, World, settings};

async fn own_tables(owner: &PgPool) -> i64 {
    sqlx::query_scalar(r"select count(*) from pg_class where relkind = 'r' and relname like 'chunks\_%'")
        .fetch_one(owner)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn new_settings_build_beside_and_switch_at_once(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let mut changed = settings();
    changed.chunking.size = 99;
    let name = ChatbotRef::Name("manual".into());

    let mut tx = world.begin(tenant.id).await;
    let building = generations::ensure(&mut tx, tenant.source, &changed).await.unwrap();
    assert!(!building.active && building.id != tenant.generation.id);
    assert_eq!(
        generations::ensure(&mut tx, tenant.source, &changed).await.unwrap(),
        building,
        "a second run goes on with it"
    );
    assert_eq!(chatbots::get(&mut tx, &name).await.unwrap().generations, [tenant.generation.id]);
    generations::activate(&mut tx, tenant.source, building.id).await.unwrap();
    assert_eq!(chatbots::get(&mut tx, &name).await.unwrap().generations, [building.id]);

    // The old one stays for a rollback; the one before it goes with the next switch.
    let third = generations::ensure(&mut tx, tenant.source, &settings()).await.unwrap();
    generations::activate(&mut tx, tenant.source, third.id).await.unwrap();
    assert!(generations::get(&mut tx, tenant.generation.id).await.is_err());
    assert!(generations::get(&mut tx, building.id).await.is_ok());
    assert!(generations::drop(&mut tx, third.id).await.is_err(), "the one that answers cannot be dropped");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn another_change_of_settings_drops_what_was_begun(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let mut tx = world.begin(tenant.id).await;
    let mut changed = settings();
    changed.chunking.size = 99;
    let abandoned = generations::ensure(&mut tx, tenant.source, &changed).await.unwrap();
    changed.chunking.size = 98;
    generations::ensure(&mut tx, tenant.source, &changed).await.unwrap();
    assert!(generations::get(&mut tx, abandoned.id).await.is_err());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn own_tables_go_with_their_source_and_tenant(owner: PgPool) {
    let world = World::new(owner).await;
    for (name, whole_tenant) in [("acme", false), ("rival", true)] {
        let tenant = world.tenant(name).await;
        world.document(&tenant, "a.md", &["one", "two"]).await;
        let mut tx = world.begin(tenant.id).await;
        generations::give_own_table(&mut tx, tenant.generation.id, DIMENSIONS).await.unwrap();
        assert!(generations::get(&mut tx, tenant.generation.id).await.unwrap().own_table);
        tx.commit().await.unwrap();
        assert_eq!(own_tables(&world.owner).await, 1);

        let mut tx = docbrain_core::store::TenantTx::begin(&world.owner, tenant.id).await.unwrap();
        if whole_tenant {
            tenants::delete(&mut tx).await.unwrap();
        } else {
            sources::delete(&mut tx, tenant.source).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(own_tables(&world.owner).await, 0);
    }
}
