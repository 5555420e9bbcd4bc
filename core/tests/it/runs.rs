//! Runs: one process at a time, fenced, never stuck.

use std::time::Duration;

use docbrain_core::store::documents::NewDocument;
use docbrain_core::store::runs::{self, DocumentOutcome, RunEvent, RunEvents, RunState};
use docbrain_core::store::{Error, documents};
use sqlx::PgPool;

use crate::harness::World;

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_trigger_runs_once_and_one_process_has_the_lease(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let mut tx = world.begin(tenant.id).await;
    let run = runs::enqueue(&mut tx, tenant.source, "monday").await.unwrap();
    assert_eq!(runs::enqueue(&mut tx, tenant.source, "monday").await.unwrap(), run);
    assert_ne!(runs::enqueue(&mut tx, tenant.source, "tuesday").await.unwrap(), run);
    tx.commit().await.unwrap();
    assert_eq!(runs::due(&world.owner).await.unwrap(), [(tenant.id, run)], "the second one waits for the first");

    let mut tx = world.begin(tenant.id).await;
    let (first, source) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    assert_eq!(source, tenant.source);
    assert_eq!(runs::acquire(&mut tx, run).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(runs::due(&world.owner).await.unwrap(), []);

    // The process died; its successor fences it off.
    let mut tx = world.begin(tenant.id).await;
    runs::expire(&mut tx, run).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(runs::due(&world.owner).await.unwrap(), [(tenant.id, run)]);
    let mut tx = world.begin(tenant.id).await;
    let (second, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    assert!(matches!(runs::heartbeat(&mut tx, first).await, Err(Error::LeaseLost)));
    assert!(matches!(runs::succeed(&mut tx, first).await, Err(Error::LeaseLost)));
    runs::heartbeat(&mut tx, second).await.unwrap();
    runs::succeed(&mut tx, second).await.unwrap();
    assert_eq!(runs::get(&mut tx, run).await.unwrap().state, RunState::Succeeded);
    assert_eq!(runs::acquire(&mut tx, run).await.unwrap(), None);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn outcomes_are_counted_and_failures_have_reasons(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let mut tx = world.begin(tenant.id).await;
    let mut ids = Vec::new();
    for path in ["a.md", "b.md", "c.md"] {
        let document = NewDocument { path, url: None, bytes: path.as_bytes() };
        ids.push(documents::put(&mut tx, tenant.source, &document).await.unwrap().id());
    }
    let run = runs::enqueue(&mut tx, tenant.source, "t").await.unwrap();
    let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    runs::begin(&mut tx, lease, tenant.generation.id).await.unwrap();
    let outcome = |n: usize, failure| DocumentOutcome {
        id: ids[n],
        path: ["a.md", "b.md"][n],
        failure,
        chunks: 5,
        bytes: 10,
        took: Duration::from_millis(3),
    };
    runs::record(&mut tx, lease, &outcome(0, None)).await.unwrap();
    runs::record(&mut tx, lease, &outcome(1, Some("the file is empty"))).await.unwrap();
    runs::succeed(&mut tx, lease).await.unwrap();
    let row = runs::get(&mut tx, run).await.unwrap();
    assert_eq!(
        (row.documents_total, row.documents_indexed, row.documents_failed, row.documents_unchanged),
        (3, 1, 1, 1)
    );
    assert_eq!((row.chunks, row.bytes), (10, 20));
    let failures = runs::failures(&mut tx, run, 10).await.unwrap();
    assert_eq!(
        (failures.len(), failures[0].path.as_str(), failures[0].reason.as_str()),
        (1, "b.md", "the file is empty")
    );
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_failed_run_says_why_and_makes_way(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let mut tx = world.begin(tenant.id).await;
    let run = runs::enqueue(&mut tx, tenant.source, "t").await.unwrap();
    let next = runs::enqueue(&mut tx, tenant.source, "u").await.unwrap();
    let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    runs::fail(&mut tx, run, "the model server is gone").await.unwrap();
    assert_eq!(
        runs::get(&mut tx, run).await.unwrap().state,
        RunState::Failed { reason: "the model server is gone".into() }
    );
    assert!(matches!(runs::heartbeat(&mut tx, lease).await, Err(Error::LeaseLost)));
    tx.commit().await.unwrap();
    assert_eq!(runs::due(&world.owner).await.unwrap(), [(tenant.id, next)]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn how_a_source_stands_is_told_with_its_last_runs(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    world.document(&tenant, "a.md", &["text"]).await;
    let mut tx = world.begin(tenant.id).await;
    for trigger in ["one", "two", "three"] {
        let run = runs::enqueue(&mut tx, tenant.source, trigger).await.unwrap();
        let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
        if trigger == "three" {
            runs::fail(&mut tx, run, "the site is down").await.unwrap();
        } else {
            runs::succeed(&mut tx, lease).await.unwrap();
        }
        // Times within one transaction are the same.
        tx.commit().await.unwrap();
        tx = world.begin(tenant.id).await;
    }
    let waiting = runs::enqueue(&mut tx, tenant.source, "four").await.unwrap();
    let running = runs::enqueue(&mut tx, tenant.source, "five").await.unwrap();
    runs::acquire(&mut tx, running).await.unwrap().unwrap();
    let standing = runs::standing(&mut tx, tenant.source).await.unwrap();
    assert_eq!((standing.documents.indexed, standing.documents.chunks), (1, 1));
    let open: Vec<_> = standing.open.iter().map(|run| (run.id, run.held)).collect();
    assert_eq!(open, [(running, true), (waiting, false)]);
    let ended: Vec<_> = standing.ended.iter().map(|run| run.trigger.as_str()).collect();
    assert_eq!(ended, ["three", "two", "one"]);
    assert_eq!(standing.last_success.unwrap().trigger, "two");
    runs::expire(&mut tx, running).await.unwrap();
    assert!(!runs::standing(&mut tx, tenant.source).await.unwrap().open[0].held);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn runs_are_heard_of_as_they_come_and_change(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    let mut events = RunEvents::listen(&world.owner).await.unwrap();
    let mut heard = async || {
        let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("it is heard").unwrap();
        assert_eq!(event, RunEvent::Changed { namespace: "acme".into(), source: "manual".into() });
    };
    let mut tx = world.begin(tenant.id).await;
    let run = runs::enqueue(&mut tx, tenant.source, "monday").await.unwrap();
    tx.commit().await.unwrap();
    heard().await;
    assert_eq!(runs::due_by_name(&world.owner).await.unwrap(), [("acme".to_owned(), "manual".to_owned())]);
    // The process of a run logs in as its tenant's role, and is heard of all the same.
    let ingest = world.ingest(tenant.id).await;
    let mut tx = docbrain_core::store::TenantTx::begin(&ingest, tenant.id).await.unwrap();
    let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    heard().await;
    let mut tx = docbrain_core::store::TenantTx::begin(&ingest, tenant.id).await.unwrap();
    runs::heartbeat(&mut tx, lease).await.unwrap();
    runs::succeed(&mut tx, lease).await.unwrap();
    tx.commit().await.unwrap();
    heard().await;
}
