//! Why the pods of a Job do not start, or ended.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::context::Context;
use crate::reconcile::{Doing, ReconcileError};

/// Exit code of `docbrain-ingest` for what trying again does not mend.
pub(super) const MISCONFIGURED: i32 = 2;

/// How long a pod may wait for its Secret, which is made after its Job: a kubelet looks for it again at least once a minute
/// (`--sync-frequency`).
const PATIENCE: Duration = Duration::from_secs(90);

/// Why a Job's pod does not start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In a sentence; `None` while it may well start by itself.
    pub(super) told: Option<String>,
    /// It waits for a Secret.
    pub(super) lacks_secret: bool,
}

/// Why a Job's pod does not start; `None`: it runs, or is about to.
pub(super) async fn trouble(context: &Context, namespace: &str, job: &str) -> Result<Option<Trouble>, ReconcileError> {
    let now = Timestamp::now();
    Ok(of_job(context, namespace, job).await?.iter().find_map(|pod| not_starting(pod, now)))
}

/// Why the pods of a Job ended, in a sentence; `None`: nothing is left that could tell.
pub(super) async fn why_ended(context: &Context, namespace: &str, job: &str) -> Result<Option<String>, ReconcileError> {
    let pods = of_job(context, namespace, job).await?;
    let latest = pods.iter().max_by_key(|pod| pod.creation_timestamp().map(|created| created.0));
    Ok(latest.and_then(ended))
}

async fn of_job(context: &Context, namespace: &str, job: &str) -> Result<Vec<Pod>, ReconcileError> {
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    Ok(context.namespaced::<Pod>(namespace).list(&of_job).await.doing("list the pods of a Job")?.items)
}

fn states(pod: &Pod) -> impl Iterator<Item = &ContainerState> {
    let status = pod.status.as_ref();
    status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .filter_map(|container| container.state.as_ref())
}

fn not_starting(pod: &Pod, now: Timestamp) -> Option<Trouble> {
    /// What a container waits for in the course of things.
    const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    /// What it waits for where a Secret or one of its keys is missing.
    const LACKS_SECRET: &str = "CreateContainerConfigError";
    let mut lacks_secret = false;
    let waiting = states(pod).filter_map(|state| state.waiting.as_ref()).find_map(|waiting| {
        let reason = waiting.reason.as_deref().filter(|reason| !ORDINARY.contains(reason))?;
        lacks_secret = reason == LACKS_SECRET;
        Some(told(reason, waiting.message.as_deref()))
    });
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .find_map(|condition| Some(told(condition.reason.as_deref()?, condition.message.as_deref())));
    let told = format!("the ingestion pod does not start: {}", waiting.or(unscheduled)?);
    let is_new =
        pod.creation_timestamp().is_some_and(|created| now.duration_since(created.0).unsigned_abs() < PATIENCE);
    Some(Trouble { told: Some(told).filter(|_| !(lacks_secret && is_new)), lacks_secret })
}

fn ended(pod: &Pod) -> Option<String> {
    let terminated = states(pod).find_map(|state| state.terminated.as_ref());
    let why = match terminated {
        Some(ended) if ended.reason.as_deref() == Some("OOMKilled") => {
            "it used more memory than it may; split large documents".to_owned()
        }
        Some(ended) if ended.exit_code == MISCONFIGURED => {
            "its configuration cannot be used; the pod's log says what is wrong".to_owned()
        }
        Some(ended) => format!("exit code {}; its log says more", ended.exit_code),
        None => told(pod.status.as_ref()?.reason.as_deref()?, pod.status.as_ref()?.message.as_deref()),
    };
    Some(format!("the ingestion pod {} ended too often: {why}", pod.name_any()))
}

fn told(reason: &str, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(
            json!({ "metadata": { "name": "p", "creationTimestamp": "2026-11-28T12:00:00Z" }, "status": status }),
        )
        .unwrap()
    }

    #[test]
    fn what_keeps_a_pod_from_starting_is_told() {
        let created: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let after = |seconds: u64, pod: &Pod| not_starting(pod, created + Duration::from_secs(seconds));
        let waiting = |reason: &str| {
            let state = json!({ "waiting": { "reason": reason, "message": "no such thing" } });
            pod(&json!({ "containerStatuses": [container(&state)] }))
        };
        assert_eq!(after(100, &waiting("ContainerCreating")), None);
        let told = |reason: &str| Some(format!("the ingestion pod does not start: {reason}: no such thing"));
        let trouble = after(1, &waiting("ImagePullBackOff"));
        assert_eq!(trouble, Some(Trouble { told: told("ImagePullBackOff"), lacks_secret: false }));
        let unconfigured = waiting("CreateContainerConfigError");
        assert_eq!(after(1, &unconfigured), Some(Trouble { told: None, lacks_secret: true }));
        let lasting = Trouble { told: told("CreateContainerConfigError"), lacks_secret: true };
        assert_eq!(after(100, &unconfigured), Some(lasting));
        let unscheduled =
            json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node" });
        let told = after(1, &pod(&json!({ "conditions": [unscheduled] }))).unwrap().told.unwrap();
        assert!(told.ends_with("Unschedulable: no node"), "{told}");
    }

    #[test]
    fn why_a_pod_ended_is_told() {
        let with = |terminated: serde_json::Value| {
            ended(&pod(&json!({ "containerStatuses": [container(&json!({ "terminated": terminated }))] }))).unwrap()
        };
        assert!(with(json!({ "exitCode": 137, "reason": "OOMKilled" })).contains("more memory"));
        assert!(with(json!({ "exitCode": 2 })).contains("configuration"));
        assert!(with(json!({ "exitCode": 1 })).contains("exit code 1"));
        let evicted = pod(&json!({ "reason": "Evicted", "message": "disk" }));
        assert!(ended(&evicted).unwrap().contains("Evicted: disk"));
    }

    fn container(state: &serde_json::Value) -> serde_json::Value {
        json!({ "name": "ingest", "ready": false, "restartCount": 0, "image": "i", "imageID": "", "state": state })
    }
}
