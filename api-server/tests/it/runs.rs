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

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_runs_of_a_source_are_listed_newest_first(owner: PgPool) {
    let world = World::new(owner).await;
    let source = world.source(world.acme, "docs").await;
    let mut asked = Vec::new();
    let enqueue = async |trigger: &str| {
        let mut tx = world.begin(world.acme).await;
        let run = runs::enqueue(&mut tx, source, trigger).await.unwrap();
        tx.commit().await.unwrap();
        run.to_string()
    };
    for n in 0..5 {
        asked.push(enqueue(&n.to_string()).await);
    }
    let mut late = 0;
    let rows = world
        .pages("/sources/docs/runs", "runs", async || {
            late += 1;
            enqueue(&format!("late {late}")).await;
        })
        .await;
    assert!(rows.iter().map(|run| run["id"].as_str().unwrap()).eq(asked.iter().rev()), "{rows:?}");
    assert_eq!(world.get(&format!("/sources/{source}/runs")).await.json(200)["runs"].as_array().unwrap().len(), 7);
    assert_eq!(world.get("/sources/news/runs").await.json(200), json!({"runs": [], "next": null}));
    world.get("/sources/manual/runs").await.problem(404, "knowledge_source_not_found");
    world.get("/sources/docs/runs?after=Mg").await.problem(422, "invalid_field");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn each_document_of_a_run_has_its_outcome(owner: PgPool) {
    let world = World::new(owner).await;
    let run = uploaded(&world).await;
    carry_out(&world, run, Duration::from_millis(5)).await;
    let path = format!("/runs/{run}/documents");
    let rows = world.pages(&path, "documents", async || {}).await;
    let told: Vec<_> =
        rows.iter().map(|row| (row["path"].as_str().unwrap(), row["outcome"].as_str().unwrap())).collect();
    assert_eq!(told, [("bad.pdf", "failed"), ("good.md", "indexed")]);
    assert_eq!(rows[0]["reason"], "it is protected by a password");
    let failed = world.get(&format!("{path}?outcome=failed")).await.json(200);
    assert_eq!(failed["documents"], json!([rows[0]]));
    let first = world.get(&format!("{path}?limit=1")).await.json(200);
    let second = world.get(&format!("{path}?limit=1&after={}", first["next"].as_str().unwrap())).await.json(200);
    assert_eq!((&first["documents"][0], &second["documents"][0], &second["next"]), (&rows[0], &rows[1], &json!(null)));
    let document = world.get(&format!("/document/{}", rows[1]["document_id"].as_str().unwrap())).await.json(200);
    assert_eq!((&document["last_run"]["run_id"], &document["last_run"]["outcome"]), (&json!(run), &json!("indexed")));
    world.get(&format!("{path}?outcome=lost")).await.problem(422, "invalid_field");
    world.get("/runs/01980000-0000-7000-8000-000000000000/documents").await.problem(404, "run_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_cancelled_run_ends_and_its_process_notices(owner: PgPool) {
    let world = World::new(owner).await;
    let run = uploaded(&world).await;
    let mut tx = world.begin(world.acme).await;
    let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let path = format!("/runs/{run}/cancel");
    for _ in 0..2 {
        let cancelled = world.post(&path, &json!(null)).await.json(200);
        assert_eq!((&cancelled["state"], &cancelled["reason"]), (&json!("failed"), &json!("cancelled")));
    }
    let mut tx = world.begin(world.acme).await;
    let beat = runs::heartbeat(&mut tx, lease).await;
    assert!(matches!(beat, Err(docbrain_core::store::Error::LeaseLost)), "{beat:?}");
    assert!(runs::due(&world.owner).await.unwrap().is_empty());
    let done = uploaded(&world).await;
    carry_out(&world, done, Duration::ZERO).await;
    assert_eq!(world.post(&format!("/runs/{done}/cancel"), &json!(null)).await.json(200)["state"], "succeeded");
    world.post("/runs/latest/cancel", &json!(null)).await.problem(404, "run_not_found");
}
