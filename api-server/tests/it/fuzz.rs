//! The API does what its OpenAPI document says, whatever it is sent (`tools/fuzz.sh`).

use std::path::Path;

use docbrain_core::store::runs;
use sqlx::PgPool;
use tokio::process::Command;

use crate::clients::{program, succeed};
use crate::harness::{TOKEN, World};

/// Requests are drawn from this number, so that a failure comes again.
const SEED: &str = "4";

async fn fuzz(owner: PgPool, caller: &[&str]) {
    if program("schemathesis").is_none() {
        return;
    }
    let world = World::new(owner).await;
    let document =
        world.index(world.acme, "docs", "guide/expire.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let source = world.source(world.acme, "docs").await;
    let mut tx = world.begin(world.acme).await;
    let run = runs::enqueue(&mut tx, source, "test").await.unwrap();
    // Whoever follows a run that has ended is done.
    runs::fail(&mut tx, run, "there is nothing to do").await.unwrap();
    tx.commit().await.unwrap();
    let known = format!("helper\npair\nasleep\nguide\ndocs\nclosed\n{document}\n{run}");
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/fuzz.sh"));
    command
        .env("DOCBRAIN_KNOWN", known)
        .arg(world.serve().await)
        .args(["--seed", SEED, "--max-examples", "20"])
        .args(caller);
    succeed(command).await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn as_the_admin_of_a_tenant(owner: PgPool) {
    let token = format!("Authorization: Bearer {TOKEN}");
    fuzz(owner, &["--header", &token, "--header", "X-DocBrain-Tenant: acme"]).await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn as_nobody(owner: PgPool) {
    fuzz(owner, &[]).await;
}
