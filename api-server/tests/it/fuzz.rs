//! The API does what its OpenAPI document says, whatever it is sent (`tools/fuzz.sh`).

use std::path::Path;

use docbrain_core::provision::Provisioner;
use docbrain_core::store::runs;
use docbrain_crds::manifest;
use sqlx::PgPool;
use tokio::process::Command;

use crate::clients::{program, succeed};
use crate::harness::{TOKEN, World};

/// Requests are drawn from the seed, so that a failure comes again. `DOCBRAIN_FUZZ` has other options (`make fuzz`).
const OPTIONS: &str = "--seed 4 --max-examples 15";

/// What the examples of the document name.
const DEMO: &str = "
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {name: demo, namespace: acme}
spec: {displayName: Demo, knowledgeSources: [{name: docs}]}
";

async fn fuzz(owner: PgPool, caller: &[&str]) {
    let Some(schemathesis) = program("schemathesis") else { return };
    if !schemathesis.exists() {
        println!("SKIPPED: the API was not fuzzed, for schemathesis is not there; it needs Python 3.11");
        return;
    }
    let world = World::new(owner).await;
    for resource in manifest::read(DEMO).unwrap() {
        Provisioner::new(world.owner.clone(), "unused".into()).apply(&resource).await.unwrap();
    }
    let document =
        world.index(world.acme, "docs", "guide/expire.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let source = world.source(world.acme, "docs").await;
    let mut tx = world.begin(world.acme).await;
    let run = runs::enqueue(&mut tx, source, "test").await.unwrap();
    // Whoever follows a run that has ended is done.
    runs::fail(&mut tx, run, "there is nothing to do").await.unwrap();
    tx.commit().await.unwrap();
    let options = std::env::var("DOCBRAIN_FUZZ").unwrap_or_else(|_| OPTIONS.to_owned());
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/fuzz.sh"));
    command
        .env("DOCBRAIN_KNOWN", format!("demo pair asleep guide docs closed {document} {run}"))
        .arg(world.serve().await)
        .args(options.split_whitespace())
        .args(caller);
    succeed(command, &world).await;
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
