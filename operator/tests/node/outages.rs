//! Parts of the cluster that go away, while questions are asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::until;
use crate::installation::NAMESPACE;
use crate::model::MARK;
use crate::world::{CHATBOT, QUESTION, TENANT, World};

const API: &str = "app.kubernetes.io/component=api";
const OPERATOR: &str = "app.kubernetes.io/component=operator";

pub(crate) async fn of_the_api_server_of_kubernetes_stop_no_answer(world: Arc<World>) {
    let api = &world.installation().await.api;
    assert!(api.is_balanced, "a forwarded port goes through the API server of Kubernetes");
    let load = api.load(TENANT, CHATBOT, QUESTION);
    world.cluster.script("apiserver.sh", &["kill"]).await;
    assert!(!world.cluster.try_kubectl(&["get", "nodes", "--request-timeout=2s"], None).await.status.success());
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.cluster.script("apiserver.sh", &["start"]).await;
    let took = until_reconciled(&world, "back").await;
    load.end("an outage of the API server of Kubernetes").await;
    println!("measured: the operator was at work {:.1} s after the API server of Kubernetes was", took.as_secs_f32());
    assert!(took < Duration::from_mins(1), "the operator took {took:?} to recover");
}

pub(crate) async fn of_the_operator_delay_changes_alone(world: Arc<World>) {
    let api = &world.installation().await.api;
    let load = api.load(TENANT, CHATBOT, QUESTION);
    for round in 0..2 {
        let began = Instant::now();
        world.cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, "-l", OPERATOR, "--wait=false"]).await;
        until_reconciled(&world, &format!("again-{round}")).await;
        println!("measured: a change shows {:.1} s after the operator was deleted", began.elapsed().as_secs_f32());
        assert!(began.elapsed() < Duration::from_mins(1));
    }
    load.end("the operator's absence").await;
}

pub(crate) async fn of_an_api_pod_fail_no_question(world: Arc<World>) {
    let api = &world.installation().await.api;
    if !api.is_balanced {
        println!("skipped: a forwarded port goes with its pod; DOCBRAIN_TEST_API_URL names a way by the Service");
        return;
    }
    let load = api.load(TENANT, CHATBOT, QUESTION);
    let pods = names(&world, API).await;
    assert_eq!(pods.len(), 2, "{pods:?}");
    for pod in pods {
        world.cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, &pod, "--wait=false"]).await;
        // Others are ready before the next one goes, as a disruption budget sees to.
        until("two pods of the API", Duration::from_secs(90), async || {
            let deployment = world.cluster.get(&["-n", NAMESPACE, "deployment", "docbrain-api"]).await;
            let is_new = !names(&world, API).await.contains(&pod);
            let ready = deployment["status"]["readyReplicas"].as_i64();
            if is_new && ready == Some(2) { Ok(()) } else { Err(format!("{ready:?}")) }
        })
        .await;
    }
    load.end("the deletion of one API pod after the other").await;
}

/// Changes a chatbot and waits until the operator has seen it.
async fn until_reconciled(world: &World, mark: &str) -> Duration {
    let resource = format!("chatbot/{CHATBOT}");
    let prompt = json!({ "spec": { "systemPrompt": format!("You help customers of Acme. {MARK}{mark}") } });
    let began = Instant::now();
    world.cluster.patch(TENANT, &resource, &prompt).await;
    until("a status of the new generation", Duration::from_secs(90), async || {
        let chatbot = world.cluster.get(&["-n", TENANT, &resource]).await;
        let (wanted, seen) = (&chatbot["metadata"]["generation"], &chatbot["status"]["observedGeneration"]);
        if wanted == seen { Ok(()) } else { Err(format!("{seen} instead of {wanted}")) }
    })
    .await;
    began.elapsed()
}

/// Pods that are there, those that are going as well.
async fn names(world: &World, selector: &str) -> Vec<String> {
    let pods = world.cluster.get(&["-n", NAMESPACE, "pods", "-l", selector]).await;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    pods["items"].as_array().unwrap().iter().map(name).collect()
}
