//! `helm upgrade`, `rollback` and `uninstall`, as `charts/docbrain/README.md` promises them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::installation::{Installation, NAMESPACE, RELEASE, wipe};
use crate::world::{CHATBOT, QUESTION, TENANT, World};

pub(crate) async fn are_upgraded_and_rolled_back_under_load(world: Arc<World>) {
    let installation = world.installation().await;
    let api = &installation.api;
    let load = api.is_balanced.then(|| api.load(TENANT, CHATBOT, QUESTION));
    let before = (keys(&world).await, migrations(&world).await);
    let registration = async || {
        let body = json!({ "email": "ada@example.com", "password": "short", "name": "Ada", "company": "Ada", "tenant": "ada" });
        api.post_status("/auth/register", "https://example.com", &body).await
    };
    let closed = registration().await;
    installation.upgrade(&world.cluster, &["--set=accounts.registration=open"]).await;
    assert_ne!(registration().await, closed, "the new value holds");
    world.cluster.helm(&["rollback", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "4m"]).await;
    assert_eq!(registration().await, closed, "the old value holds again");
    if let Some(load) = load {
        load.end("an upgrade and a rollback").await;
    }
    assert_eq!((keys(&world).await, migrations(&world).await), before, "neither keys nor the migration have changed");
}

/// The same images under another name: what a new version looks like to Kubernetes.
pub(crate) async fn of_another_version_migrate_first(world: Arc<World>) {
    const NEXT: &str = "next";
    let installation = world.installation().await;
    let before = migrations(&world).await;
    for image in ["operator", "api-server", "ingest-job"] {
        let name = |tag: &str| format!("{}/{image}:{tag}", world.cluster.registry);
        world.cluster.ctr(&["images", "tag", "--force", &name(&world.cluster.tag), &name(NEXT)]).await;
    }
    let load = installation.api.load(TENANT, CHATBOT, QUESTION);
    installation.upgrade(&world.cluster, &[&format!("--set=image.tag={NEXT}")]).await;
    let after = migrations(&world).await;
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    world.cluster.helm(&["rollback", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "4m"]).await;
    load.end("an upgrade to another version and back").await;
    assert_eq!(migrations(&world).await, before, "the older migration is back, and has ended well");
}

pub(crate) async fn leave_definitions_and_tenants_when_they_go(world: Arc<World>) {
    let installation = world.installation().await;
    let (kept, id) = (keys(&world).await, tenant_id(&world).await);
    crate::installation::uninstall(&world.cluster).await;
    let pods = world.cluster.get(&["-n", NAMESPACE, "pods"]).await;
    assert_eq!(pods["items"], json!([]), "no pod is left");
    assert_eq!(keys(&world).await, kept, "the Secret stays");
    assert_eq!(tenant_id(&world).await, id, "definitions and tenants stay");

    // Installed again, it finds all of it: no document is indexed anew.
    let again = Installation::again(&world.cluster, installation).await;
    again.api.ask(TENANT, CHATBOT, QUESTION).await.unwrap();
    assert_eq!(tenant_id(&world).await, id);
    wipe(&world.cluster).await;
}

async fn keys(world: &World) -> Value {
    world.cluster.get(&["-n", NAMESPACE, "secret", RELEASE]).await["data"].clone()
}

async fn tenant_id(world: &World) -> Value {
    world.cluster.get(&["tenant", TENANT]).await["status"]["id"].clone()
}

/// The names of the migrations that ended well.
async fn migrations(world: &World) -> Vec<String> {
    let jobs = world.cluster.get(&["-n", NAMESPACE, "jobs", "-l", "app.kubernetes.io/component=migration"]).await;
    let jobs = jobs["items"].as_array().unwrap();
    assert!(jobs.iter().all(|job| job["status"]["succeeded"] == 1), "{jobs:?}");
    jobs.iter().map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
