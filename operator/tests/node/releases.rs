//! `helm upgrade`, `rollback` and `uninstall`, as `charts/docbrain/README.md` promises them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::chat::Api;
use crate::cluster::until;
use crate::installation::{Database, Installation, NAMESPACE, RELEASE, Version, wipe};
use crate::world::{CHATBOT, QUESTION, SOURCE, TENANT, World};

pub(crate) async fn are_upgraded_and_rolled_back_under_load(world: Arc<World>) {
    let installation = world.installation().await;
    let api = &installation.api;
    let load = api.is_balanced.then(|| api.load(TENANT, CHATBOT, QUESTION));
    let before = (keys(&world).await, migrations(&world).await);
    let url_of_chatbot = async |begin: &str| {
        until(&format!("a chatbot at {begin}"), Duration::from_mins(1), async || {
            let chatbot = world.cluster.get(&["-n", TENANT, &format!("chatbot/{CHATBOT}")]).await;
            let url = chatbot["status"]["url"].as_str().unwrap_or_default().to_owned();
            if url.starts_with(begin) { Ok(()) } else { Err(url) }
        })
        .await;
    };
    installation.upgrade(&world.cluster, &["--set=publicUrl=https://docs.example.com"]).await;
    url_of_chatbot("https://docs.example.com/").await;
    world.cluster.helm(&["rollback", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "4m"]).await;
    url_of_chatbot("http://127.0.0.1:8080/").await;
    if let Some(load) = load {
        load.end("an upgrade and a rollback").await;
    }
    assert_eq!((keys(&world).await, migrations(&world).await), before, "neither keys nor the migration have changed");
}

/// The chart and the images of an earlier version, with data; then those of this one, which migrate; then the earlier ones
/// again, over the schema of this one.
pub(crate) async fn of_an_earlier_version_are_upgraded_and_come_back(world: Arc<World>) {
    let cluster = &world.cluster;
    let database = Database::of_ones_own(cluster).await.expect("there is a database outside of the cluster");
    let installation = world.install_and_ask(Version::previous(cluster), &database, None).await;
    let api = &installation.api;
    let answer = async || api.ask(TENANT, CHATBOT, QUESTION).await.unwrap()["answer"].clone();
    let counts = async || {
        let status = cluster.get(&["-n", TENANT, &format!("knowledgesource/{SOURCE}")]).await["status"].clone();
        (status["documents"].clone(), status["chunks"].clone())
    };
    let before = (answer().await, counts().await, tenant_id(&world).await);

    let load = api.load(TENANT, CHATBOT, QUESTION);
    installation.upgrade_to(cluster, &Version::this(cluster)).await;
    assert_eq!((answer().await, counts().await, tenant_id(&world).await), before, "nothing is lost or indexed anew");
    learn(api, "garden", "To water the garden robot, fill its blue tank with rain water every Monday.").await;
    cluster.helm(&["rollback", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "4m"]).await;
    assert_eq!(
        (answer().await, tenant_id(&world).await),
        (before.0, before.2),
        "the earlier version answers as it did"
    );
    learn(api, "attic", "To open the attic hatch, pull the golden cord twice and step back.").await;
    load.end("an upgrade from an earlier version and the way back").await;
    wipe(cluster).await;
}

/// A document is indexed, and its text is cited.
async fn learn(api: &Api, name: &str, text: &str) {
    let path = format!("{name}.md");
    api.upload(TENANT, SOURCE, vec![(path.clone(), format!("# The {name}\n\n{text}\n"))]).await;
    until(&format!("an answer from {path}"), Duration::from_mins(2), async || {
        let reply = api.ask(TENANT, CHATBOT, text).await?;
        let cited = reply["citations"].as_array().unwrap().iter().any(|citation| citation["path"] == *path);
        if cited { Ok(()) } else { Err(reply.to_string()) }
    })
    .await;
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
    until("an end of all pods", Duration::from_mins(3), async || {
        let pods = world.cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "name"]).await;
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    })
    .await;
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
