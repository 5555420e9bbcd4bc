//! Specs to rows, again and again.

use docbrain_core::ids::TenantId;
use docbrain_core::provision::{self, ProvisionError};
use docbrain_core::store::audit::{self, Actor, ActorKind};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::{runs, tenants};
use docbrain_crds::manifest::{self, Kind, Resource};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

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

fn by_hand() -> Actor {
    Actor { kind: ActorKind::Installation, name: "somebody".to_owned(), ip: None, request_id: "r".to_owned() }
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

/// The state of a custom resource in a cluster.
fn chatbot(uid: u128, generation: i64, name: &str) -> Resource {
    let mut resource = one(&format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: Chatbot\nmetadata: {{name: helper, namespace: acme}}\nspec: {{displayName: {name}}}"
    ));
    let Resource::Chatbot(chatbot) = &mut resource else { panic!("a chatbot") };
    chatbot.metadata.uid = Some(Uuid::from_u128(uid).to_string());
    chatbot.metadata.generation = Some(generation);
    resource
}

/// Whoever writes the spec of a chatbot in a cluster.
fn chatbot_of(manager: &str, generation: i64, name: &str) -> Resource {
    let mut resource = chatbot(1, generation, name);
    let Resource::Chatbot(chatbot) = &mut resource else { panic!("a chatbot") };
    let entry =
        json!({"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}});
    chatbot.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
    resource
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn every_change_is_noted_once_with_its_author(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let provisioner = world.provisioner();
    for (manager, generation, name) in [
        ("kubectl-create", 1, "First"),
        ("kubectl-create", 1, "First"),
        ("argocd-controller", 2, "Second"),
        // A later state of the resource with the same spec.
        ("argocd-controller", 3, "Second"),
        // Too late.
        ("kubectl-edit", 2, "Third"),
    ] {
        provisioner.apply(&chatbot_of(manager, generation, name)).await.unwrap();
    }
    provisioner.delete(&chatbot_of("argocd-controller", 4, "Second")).await.unwrap();
    provisioner.delete(&chatbot_of("argocd-controller", 4, "Second")).await.unwrap();
    let mut changes = audit::list(&mut world.begin(acme).await, None, 20).await.unwrap();
    changes.retain(|change| change.target == "helper");
    let told: Vec<_> = changes.iter().map(|c| (c.action.as_str(), c.actor_kind.as_str(), c.actor.as_str())).collect();
    assert_eq!(
        told,
        [
            ("chatbot.delete", "manager", "unknown"),
            ("chatbot.update", "manager", "argocd-controller"),
            ("chatbot.create", "manager", "kubectl-create"),
        ]
    );
    assert_eq!(changes[1].detail["patch"], json!({"displayName": "Second"}));
    assert_eq!(changes[1].detail["before"]["displayName"], "First");
    assert_eq!(changes[1].request_id, format!("{}/2", Uuid::from_u128(1)));
    assert_eq!(changes[0].detail["before"]["displayName"], "Second");

    // On one machine it is whoever holds the command line.
    provisioner.apply(&source(300)).await.unwrap();
    let changes = audit::list(&mut world.begin(acme).await, None, 1).await.unwrap();
    assert_eq!((changes[0].action.as_str(), changes[0].actor.as_str()), ("source.update", "command line"));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_late_writer_does_not_undo_a_newer_one(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await;
    let provisioner = world.provisioner();
    assert!(provisioner.apply(&chatbot(1, 2, "Second")).await.unwrap().changed);
    let late = provisioner.apply(&chatbot(1, 1, "First")).await.unwrap();
    assert!(!late.changed);
    let mut tx = world.begin(acme.id).await;
    let row = chatbots::get(&mut tx, &ChatbotRef::Name("helper".into())).await.unwrap();
    assert_eq!((row.spec.display_name.as_str(), row.id.0), ("Second", late.id));
    drop(tx);
    // A resource of the same name that was made anew counts from one again.
    assert!(provisioner.apply(&chatbot(2, 1, "Anew")).await.unwrap().changed);
    // And the deletion of the one before, which comes late, takes nothing of it.
    provisioner.delete(&chatbot(1, 3, "Second")).await.unwrap();
    let mut tx = world.begin(acme.id).await;
    let row = chatbots::get(&mut tx, &ChatbotRef::Name("helper".into())).await.unwrap();
    assert_eq!(row.spec.display_name, "Anew");
    drop(tx);
    provisioner.delete(&chatbot(2, 2, "Anew")).await.unwrap();
    provisioner.delete(&chatbot(2, 2, "Anew")).await.unwrap();
    let mut tx = world.begin(acme.id).await;
    assert!(chatbots::get(&mut tx, &ChatbotRef::Name("helper".into())).await.is_err());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_source_that_is_fetched_asks_for_a_run_when_it_comes_or_changes(owner: PgPool) {
    let world = World::new(owner).await;
    world.tenant("acme").await;
    let provisioner = world.provisioner();
    let web = |spec: &str| {
        one(&format!(
            "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: site, namespace: acme}}\nspec: {{source: {{web: {{startUrls: [{spec}"
        ))
    };
    let due = async || runs::due(&world.owner).await.unwrap();
    provisioner.apply(&web("'https://example.com/']}}}")).await.unwrap();
    let first = due().await;
    assert_eq!(first.len(), 1, "it is fetched at once");
    provisioner.apply(&web("'https://example.com/']}}, deletionPolicy: Retain}")).await.unwrap();
    assert_eq!(due().await, first, "what becomes of it later changes nothing now");
    let count = async |state: &str| {
        let count = "select count(*) from runs where state = $1";
        sqlx::query_scalar::<_, i64>(count).bind(state).fetch_one(&world.owner).await.unwrap()
    };
    assert_eq!(count("queued").await, 1);
    provisioner.apply(&web("'https://example.com/docs/']}}}")).await.unwrap();
    assert_eq!(count("queued").await, 2, "another site is another run");
    provisioner.apply(&web("'https://example.com/docs/']}}, suspended: true}")).await.unwrap();
    assert_eq!(count("queued").await, 2);
}

fn manifest_of(spec: &str) -> String {
    let head = "apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {name: acme}";
    format!("{head}\nspec: {{displayName: acme, {spec}}}")
}

/// Applies a Tenant as `docbrain apply` does it; whether that changed something.
async fn state(world: &World, spec: &str) -> bool {
    let stated = manifest::read_stated(&manifest_of(spec)).unwrap().remove(0);
    world.provisioner().apply_stated(&stated).await.unwrap().changed
}

/// Retention, quota of documents and whether it is suspended.
async fn spec_of(world: &World, tenant: TenantId) -> (Option<i32>, Option<i32>, bool) {
    let spec = tenants::get(&mut world.begin(tenant).await).await.unwrap().spec;
    (spec.conversation_retention_days, spec.quota.and_then(|quota| quota.max_documents), spec.suspended)
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_manifest_leaves_alone_what_it_never_said(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let edit = async |patch: serde_json::Value| {
        let mut tx = world.begin(acme).await;
        provision::edit(&mut tx, Kind::Tenant, "acme", "acme", &patch, None, &by_hand()).await.unwrap();
        tx.commit().await.unwrap();
    };
    edit(json!({"conversationRetentionDays": 30, "suspended": true})).await;
    assert!(state(&world, "quota: {maxDocuments: 5}").await);
    assert_eq!(spec_of(&world, acme).await, (Some(30), Some(5), true));
    assert!(!state(&world, "quota: {maxDocuments: 5}").await);

    // What the manifest says holds, what it says no longer goes.
    assert!(state(&world, "conversationRetentionDays: 7").await);
    assert_eq!(spec_of(&world, acme).await, (Some(7), None, true));
    assert!(state(&world, "suspended: false").await);
    assert_eq!(spec_of(&world, acme).await, (None, None, false));

    // Deleted and applied again, it is as new, whatever was set.
    edit(json!({"conversationRetentionDays": 30})).await;
    let stated = manifest::read_stated(&manifest_of("deletionPolicy: Retain")).unwrap().remove(0);
    world.provisioner().delete_stated(&stated).await.unwrap();
    assert!(spec_of(&world, acme).await.2);
    state(&world, "quota: {maxDocuments: 5}").await;
    assert_eq!(spec_of(&world, acme).await, (None, Some(5), false));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_a_manifest_and_other_edits_come_to_is_checked(owner: PgPool) {
    let world = World::new(owner).await;
    world.tenant("acme").await;
    let yaml = |spec: &str| {
        let head =
            "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {name: manual, namespace: acme}";
        manifest::read_stated(&format!("{head}\nspec: {{source: {{upload: {{}}}}, {spec}}}")).unwrap().remove(0)
    };
    let provisioner = world.provisioner();
    provisioner.apply_stated(&yaml("chunking: {overlap: 50}")).await.unwrap();
    let mut tx = world.begin(tenants::named(&world.api, "acme").await.unwrap().unwrap()).await;
    let patch = json!({"chunking": {"size": 60}});
    provision::edit(&mut tx, Kind::KnowledgeSource, "acme", "manual", &patch, None, &by_hand()).await.unwrap();
    tx.commit().await.unwrap();
    let refused = provisioner.apply_stated(&yaml("chunking: {overlap: 70}")).await.unwrap_err();
    assert!(refused.to_string().contains("overlap must be smaller than size"), "{refused}");
}

/// On one machine as in a cluster, where the API server sees to it.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_kind_of_a_source_stays(owner: PgPool) {
    let world = World::new(owner).await;
    world.tenant("acme").await;
    world.provisioner().apply(&source(200)).await.unwrap();
    let mut site = scheduled("schedule: '@daily'");
    let Resource::KnowledgeSource(site) = &mut site else { panic!("it is a source") };
    site.metadata.name = Some("manual".into());
    let refused = world.provisioner().apply(&Resource::KnowledgeSource(site.clone())).await.unwrap_err();
    assert!(refused.to_string().contains("the kind of source cannot change"), "{refused}");
    world.provisioner().apply(&source(300)).await.unwrap();
    // In a cluster one of the same name may have come anew.
    site.metadata.uid = Some(Uuid::from_u128(7).to_string());
    assert!(world.provisioner().apply(&Resource::KnowledgeSource(site.clone())).await.unwrap().changed);
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
