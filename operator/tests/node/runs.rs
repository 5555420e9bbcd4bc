//! Ingestion in real pods that are deleted, killed, evicted, or never start.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::until;
use crate::world::{TENANT, World};

/// Enough for a run that is disturbed before it is over: some ten seconds of it.
const DOCUMENTS: usize = 60;
const PATIENCE: Duration = Duration::from_mins(4);

/// A knowledge source with documents whose run has indexed some.
struct Disturbed<'a> {
    world: &'a World,
    source: &'static str,
    pod: String,
}

impl<'a> Disturbed<'a> {
    async fn begin(world: &'a World, source: &'static str) -> Self {
        let api = &world.installation().await.api;
        world.cluster.apply(&source_of_uploads(source)).await;
        api_knows(world, source).await;
        let documents = (0..DOCUMENTS).map(|number| (format!("chapter-{number:02}.md"), chapter(number))).collect();
        api.upload(TENANT, source, documents).await;
        until("a run that has indexed some documents", PATIENCE, async || {
            let counts = counts(world, source).await;
            if counts.0 >= 2 { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
        let (pod, _) = until("the pod of the run", Duration::from_secs(10), async || {
            pods(world, source).await.first().map(name).ok_or_else(|| "no pod".to_owned())
        })
        .await;
        Self { world, source, pod }
    }

    /// The run ends well: each document is indexed once, and there was one Job.
    async fn end(self, what: &str) {
        let (world, source) = (self.world, self.source);
        let at_first = counts(world, source).await;
        assert!(at_first.0 < DOCUMENTS as u64, "{what}: the run was over before it was disturbed");
        let resource = format!("knowledgesource/{source}");
        let (status, took) = until("the end of the run", PATIENCE, async || {
            let status = world.cluster.get(&["-n", TENANT, &resource]).await["status"].clone();
            if status["recentRuns"].as_array().is_some_and(|runs| !runs.is_empty()) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
        .await;
        println!("measured: {what}: the run ended {:.1} s later", took.as_secs_f32());
        assert_eq!(status["recentRuns"][0]["result"], "Succeeded", "{what}: {status}");
        assert_eq!(counts(world, source).await, (DOCUMENTS as u64, 0, 0), "{what}: indexed, pending, failed");
        let jobs = world.cluster.get(&["-n", TENANT, "jobs", "-l", &selector(source)]).await;
        let jobs: HashSet<String> = jobs["items"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(jobs.len(), 1, "{what}: {jobs:?}");
        world.cluster.delete(&["-n", TENANT, &resource]).await;
    }
}

pub(crate) async fn go_on_after_their_pod_was_deleted(world: Arc<World>) {
    let run = Disturbed::begin(&world, "deleted").await;
    world.cluster.kubectl(&["delete", "pod", "-n", TENANT, &run.pod, "--grace-period=0", "--force"]).await;
    run.end("a deleted pod").await;
}

pub(crate) async fn go_on_after_their_process_was_killed(world: Arc<World>) {
    let run = Disturbed::begin(&world, "killed").await;
    let pod = world.cluster.get(&["-n", TENANT, "pod", &run.pod]).await;
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let container = container.trim_start_matches("containerd://");
    world.cluster.ctr(&["tasks", "kill", "-s", "SIGKILL", container]).await;
    run.end("a killed process").await;
}

pub(crate) async fn go_on_after_their_pod_was_evicted(world: Arc<World>) {
    let run = Disturbed::begin(&world, "evicted").await;
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": run.pod, "namespace": TENANT },
    });
    let path = format!("/api/v1/namespaces/{TENANT}/pods/{}/eviction", run.pod);
    let output = world.cluster.try_kubectl(&["create", "--raw", &path, "-f", "-"], Some(&eviction.to_string())).await;
    assert!(output.status.success(), "{output:?}");
    run.end("an evicted pod").await;
}

pub(crate) async fn without_an_image_say_so(world: Arc<World>) {
    const SOURCE: &str = "imageless";
    let resource = format!("knowledgesource/{SOURCE}");
    let installation = world.installation().await;
    let nowhere = format!("--set=image.digests.ingestJob=sha256:{}", "0".repeat(64));
    installation.upgrade(&world.cluster, &[&nowhere]).await;
    world.cluster.apply(&source_of_uploads(SOURCE)).await;
    api_knows(&world, SOURCE).await;
    installation.api.upload(TENANT, SOURCE, vec![("lamp.md".to_owned(), chapter(1))]).await;
    let ready_says = async |word: &str| {
        let says = world.cluster.condition(TENANT, &resource, "Ready").await;
        if says.contains(word) { Ok(says) } else { Err(says) }
    };
    let (says, _) =
        until("a word about the image", Duration::from_mins(1), async || ready_says("PodNotStarting").await).await;
    assert!(says.contains("Image") && says.starts_with("False"), "{says}");

    // The remedy: the image, and a Job that has it.
    installation.upgrade(&world.cluster, &[]).await;
    world.cluster.delete(&["jobs", "-n", TENANT, "-l", &selector(SOURCE)]).await;
    until("the run with its image", PATIENCE, async || ready_says("Indexed").await).await;
    assert_eq!(counts(&world, SOURCE).await, (1, 0, 0));
    world.cluster.delete(&["-n", TENANT, &resource]).await;
}

fn selector(source: &str) -> String {
    format!("{}={source}", docbrain_operator::knowledge_source::SOURCE_LABEL)
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

async fn pods(world: &World, source: &str) -> Vec<Value> {
    let pods = world.cluster.get(&["-n", TENANT, "pods", "-l", &selector(source)]).await;
    let runs = |pod: &&Value| pod["status"]["phase"] == "Running";
    pods["items"].as_array().unwrap().iter().filter(runs).cloned().collect()
}

/// Documents of a source: indexed, pending, failed.
async fn counts(world: &World, source: &str) -> (u64, u64, u64) {
    let sources = world.installation().await.api.get(TENANT, &format!("/sources/{source}")).await;
    let count = |state: &str| sources["documents"][state].as_u64().unwrap();
    (count("indexed"), count("pending"), count("failed"))
}

/// Waits until the operator has told the API of a source.
async fn api_knows(world: &World, source: &str) {
    let resource = format!("knowledgesource/{source}");
    until("a projected source", Duration::from_secs(20), async || {
        let status = world.cluster.get(&["-n", TENANT, &resource]).await["status"].clone();
        if status["id"].is_string() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

fn source_of_uploads(name: &str) -> String {
    format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: {name}, namespace: {TENANT}}}\n\
         spec:\n  source: {{upload: {{}}}}\n  chunking: {{strategy: Standard, size: 64, overlap: 0}}\n"
    )
}

/// A document of some chunks.
fn chapter(number: usize) -> String {
    let mut text = format!("# Chapter {number}\n\n");
    for section in 0..6 {
        write!(
            text,
            "## Section {section} of {number}\n\nThe valve number {number} is opened by turning handle {section} to the left. After \
             {section} minutes the pressure falls, the lamp of chamber {number} goes out, and whoever stands at gate {section} may \
             enter the hall of chapter {number} without a mask, as long as the bell of tower {section} has not rung.\n\n"
        )
        .unwrap();
    }
    text
}
