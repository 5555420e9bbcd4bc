//! Runs as they stand and as they go on.

use std::time::Duration;

use docbrain_core::ids::RunId;
use docbrain_core::store::runs::{self, DocumentOutcome};
use docbrain_core::store::{TenantTx, generations};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Form, World};

/// Carries a run of two documents out, one of which fails.
async fn carry_out(world: &World, run: RunId, pause: Duration) {
    let mut tx = world.begin(world.acme).await;
    let (lease, source) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    let settings = generations::GenerationSettings {
        embedding_model: "m".into(),
        embedding_precision: "p".into(),
        dimensions: 8,
        chunking: docbrain_crds::Chunking::default(),
        pipeline: 1,
    };
    let generation = generations::ensure(&mut tx, source, &settings).await.unwrap();
    runs::begin(&mut tx, lease, generation.id).await.unwrap();
    let work = docbrain_core::store::documents::work(&mut tx, source, generation.id).await.unwrap();
    tx.commit().await.unwrap();
    for document in &work {
        tokio::time::sleep(pause).await;
        let failure = (document.path == "bad.pdf").then_some("it is protected by a password");
        let outcome =
            DocumentOutcome { id: document.id, path: &document.path, failure, chunks: 3, bytes: 100, took: pause };
        let mut tx = TenantTx::begin(&world.api, world.acme).await.unwrap();
        runs::record(&mut tx, lease, &outcome).await.unwrap();
        tx.commit().await.unwrap();
    }
    tokio::time::sleep(pause).await;
    let mut tx = world.begin(world.acme).await;
    runs::succeed(&mut tx, lease).await.unwrap();
    tx.commit().await.unwrap();
}

async fn uploaded(world: &World) -> RunId {
    let form = Form::default().field("source", "docs").file("good.md", b"good").file("bad.pdf", b"bad");
    world.upload(&form).await.json(202)["run_id"].as_str().unwrap().parse().unwrap()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_run_is_told_with_counts_rates_and_failures(owner: PgPool) {
    let world = World::new(owner).await;
    let run = uploaded(&world).await;
    carry_out(&world, run, Duration::from_millis(20)).await;
    let body = world.get(&format!("/runs/{run}")).await.json(200);
    assert_eq!(body["state"], "succeeded");
    assert_eq!(body["documents_total"], 2);
    assert_eq!(body["documents_indexed"], 1);
    assert_eq!(body["documents_failed"], 1);
    assert_eq!(body["chunks"], 6);
    assert_eq!(body["bytes"], 200);
    assert_eq!(body["failures"], json!([{"path": "bad.pdf", "reason": "it is protected by a password"}]));
    let seconds = body["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && (body["chunks_per_second"].as_f64().unwrap() - 6.0 / seconds).abs() < 1e-6, "{body}");
    world.get("/runs/01980000-0000-7000-8000-000000000000").await.problem(404, "run_not_found");
    world.get("/runs/latest").await.problem(404, "run_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_run_is_followed_to_its_end(owner: PgPool) {
    let world = World::new(owner).await;
    let run = uploaded(&world).await;
    let path = format!("/runs/{run}/events");
    let (reply, ()) = tokio::join!(world.get(&path), carry_out(&world, run, Duration::from_millis(400)));
    let events = reply.events();
    let (last, progress) = events.split_last().unwrap();
    assert!(progress.iter().all(|(name, _)| name == "progress"));
    assert_eq!(
        (last.0.as_str(), &last.1["state"], &last.1["documents_indexed"]),
        ("done", &json!("succeeded"), &json!(1))
    );
    let told: Vec<u64> = progress.iter().map(|(_, run)| run["chunks"].as_u64().unwrap()).collect();
    assert!(told.is_sorted() && told.contains(&3), "{told:?}");
    assert!(
        progress
            .windows(2)
            .all(|pair| (&pair[0].1["state"], &pair[0].1["chunks"]) != (&pair[1].1["state"], &pair[1].1["chunks"]))
    );
    // What has ended is told at once.
    let again = world.get(&path).await.events();
    assert_eq!(again.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["done"]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_run_that_failed_says_why(owner: PgPool) {
    let world = World::new(owner).await;
    let run = uploaded(&world).await;
    let mut tx = world.begin(world.acme).await;
    runs::fail(&mut tx, run, "the embedding model cannot be reached").await.unwrap();
    tx.commit().await.unwrap();
    let body = world.get(&format!("/runs/{run}")).await.json(200);
    assert_eq!((&body["state"], &body["reason"]), (&json!("failed"), &json!("the embedding model cannot be reached")));
    assert_eq!(body["documents_per_second"], 0.0);
}
