//! Specs to rows, again and again.

use docbrain_core::provision::ProvisionError;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::{runs, tenants};
use docbrain_crds::manifest::{self, Resource};
use sqlx::PgPool;

use crate::harness::World;

fn one(yaml: &str) -> Resource {
    manifest::read(yaml).unwrap().remove(0)
}

fn source(size: u32) -> Resource {
    one(&format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: manual, namespace: acme}}\nspec: {{source: {{upload: {{}}}}, chunking: {{size: {size}}}}}"
    ))
}

fn tenant(policy: &str) -> Resource {
    one(&format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: acme}}\nspec: {{displayName: acme, deletionPolicy: {policy}}}"
    ))
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn applying_twice_is_applying_once(owner: PgPool) {
    let world = World::new(owner).await;
    world.tenant("acme").await;
    let provisioner = world.provisioner();
    assert!(provisioner.apply(&source(300)).await.unwrap().changed);
    assert!(!provisioner.apply(&source(300)).await.unwrap().changed);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_change_of_chunking_asks_for_a_run_once_there_are_documents(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let provisioner = world.provisioner();
    provisioner.apply(&source(300)).await.unwrap();
    assert_eq!(runs::due(&world.owner).await.unwrap(), []);
    world.document(&tenant, "a.md", &["text"]).await;
    provisioner.apply(&source(400)).await.unwrap();
    assert_eq!(runs::due(&world.owner).await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_namespace_without_a_tenant_is_refused(owner: PgPool) {
    let world = World::new(owner).await;
    let error = world.provisioner().apply(&source(300)).await.unwrap_err();
    assert!(matches!(error, ProvisionError::NoTenant { .. }), "{error}");
    assert!(error.to_string().contains("apply its Tenant first"));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn deletion_follows_the_policy(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await;
    world.document(&acme, "a.md", &["text"]).await;
    let provisioner = world.provisioner();
    provisioner.delete(&tenant("Retain")).await.unwrap();
    let mut tx = world.begin(acme.id).await;
    assert!(
        chatbots::get(&mut tx, &ChatbotRef::Name("manual".into())).await.unwrap().suspended,
        "rows stay, out of use"
    );
    drop(tx);
    provisioner.apply(&tenant("Delete")).await.unwrap();
    let mut tx = world.begin(acme.id).await;
    assert!(!chatbots::get(&mut tx, &ChatbotRef::Name("manual".into())).await.unwrap().suspended, "and come back");
    drop(tx);
    provisioner.delete(&tenant("Delete")).await.unwrap();
    assert_eq!(tenants::named(&world.api, "acme").await.unwrap(), None);
    provisioner.delete(&tenant("Delete")).await.unwrap();
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_chatbot_may_come_before_its_source(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await;
    world
        .apply("apiVersion: docbrain.dev/v1alpha1\nkind: Chatbot\nmetadata: {name: early, namespace: acme}\nspec: {displayName: E, knowledgeSources: [{name: later}]}")
        .await;
    let early = ChatbotRef::Name("early".into());
    let mut tx = world.begin(acme.id).await;
    assert_eq!(chatbots::get(&mut tx, &early).await.unwrap().sources, []);
    drop(tx);
    world
        .apply("apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {name: later, namespace: acme}\nspec: {source: {upload: {}}}")
        .await;
    let mut tx = world.begin(acme.id).await;
    assert_eq!(chatbots::get(&mut tx, &early).await.unwrap().sources.len(), 1);
}

/// A source that is fetched, with this schedule.
fn scheduled(schedule: &str) -> Resource {
    one(&format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: site, namespace: acme}}\nspec: {{source: {{web: {{startUrls: ['https://example.com/']}}}}, {schedule}}}"
    ))
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_bad_schedule_is_refused_by_its_field(owner: PgPool) {
    let world = World::new(owner).await;
    world.tenant("acme").await;
    for (schedule, expected) in [
        ("schedule: '61 * * * *'", "spec.schedule: the field minute cannot be \"61\""),
        ("schedule: '0 0 30 2 *'", "spec.schedule: \"0 0 30 2 *\" never comes"),
        ("schedule: '@daily', timeZone: Mars/Base", "spec.timeZone: \"Mars/Base\" is no time zone"),
    ] {
        let refused = world.provisioner().apply(&scheduled(schedule)).await.unwrap_err();
        assert!(matches!(refused, ProvisionError::Refused(_)) && refused.to_string().contains(expected), "{refused}");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn sources_with_a_schedule_are_listed_with_their_last_run(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await;
    let written = world.provisioner().apply(&scheduled("schedule: '@hourly', timeZone: Europe/Berlin")).await.unwrap();
    let source = docbrain_core::ids::KnowledgeSourceId(written.id);
    let listed = runs::scheduled(&world.owner).await.unwrap();
    assert_eq!((listed.len(), listed[0].tenant, listed[0].source), (1, acme.id, source));
    assert_eq!((listed[0].schedule.as_str(), listed[0].time_zone.as_deref()), ("@hourly", Some("Europe/Berlin")));
    assert_eq!(listed[0].last_trigger, None);
    let mut tx = world.begin(acme.id).await;
    for trigger in ["schedule:2026-11-25T17:07:00Z", "schedule:2026-11-25T18:07:00Z", "sync:9"] {
        runs::enqueue(&mut tx, source, trigger).await.unwrap();
    }
    tx.commit().await.unwrap();
    let listed = runs::scheduled(&world.owner).await.unwrap();
    assert_eq!(listed[0].last_trigger.as_deref(), Some("schedule:2026-11-25T18:07:00Z"));
    world.provisioner().apply(&scheduled("schedule: '@hourly', suspended: true")).await.unwrap();
    assert!(runs::scheduled(&world.owner).await.unwrap().is_empty());
    assert!(runs::due(&world.owner).await.unwrap().is_empty(), "what waits of a suspended source waits on");
}
