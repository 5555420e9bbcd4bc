//! Plays the node: pods of ingestion Jobs start and end as a test wants, and their runs with them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use docbrain_core::env;
use docbrain_core::ids::{KnowledgeSourceId, RunId, TenantId};
use docbrain_core::store::{Pool, TenantTx, runs};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its run ends well, and so does it.
    Succeeds,
    /// It never starts: it stays as the API server made it.
    Waits,
    /// Its image is not there.
    LacksImage,
    /// It ends well and leaves the run as it was.
    LeavesRun,
    /// It takes the run and holds it.
    Runs,
    /// It took the run, and dies with this exit code and reason.
    Dies { code: i32, reason: &'static str },
    /// It took the run; its node evicts it.
    IsEvicted,
}

#[derive(Clone)]
pub(crate) struct Kubelet {
    client: Client,
    owner: Pool,
    /// By namespace and knowledge source: what becomes of its next pods; the last fate is that of all further ones.
    fates: Arc<Mutex<HashMap<String, Vec<Fate>>>>,
    /// Pods that took a run, by namespace and name of the Job.
    pub(crate) started: Arc<Mutex<Vec<(String, String)>>>,
}

impl Kubelet {
    pub(super) fn at_work(client: Client, owner: Pool) -> Self {
        let kubelet = Self { client, owner, fates: Arc::default(), started: Arc::default() };
        tokio::spawn(kubelet.clone().work());
        kubelet
    }

    /// The pods of a knowledge source end so, one after the other.
    pub(crate) fn expect(&self, namespace: &str, source: &str, fates: &[Fate]) {
        self.fates.lock().unwrap().insert(format!("{namespace}/{source}"), fates.to_vec());
    }

    async fn work(self) {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let config = watcher::Config::default().labels("app.kubernetes.io/name=docbrain-ingest");
        let mut seen = HashSet::new();
        let mut pods = std::pin::pin!(watcher(pods, config).default_backoff().touched_objects());
        while let Some(pod) = pods.next().await {
            // The API server may be away.
            let Ok(pod) = pod else { continue };
            if pod.metadata.deletion_timestamp.is_none() && seen.insert(pod.uid().unwrap()) {
                let kubelet = self.clone();
                tokio::spawn(async move { kubelet.care_for(&pod).await });
            }
        }
    }

    async fn care_for(&self, pod: &Pod) {
        let status = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if status != Some("Pending") {
            return;
        }
        let namespace = pod.namespace().unwrap();
        let source = pod.labels()["docbrain.dev/knowledge-source"].clone();
        let fate = {
            let mut fates = self.fates.lock().unwrap();
            match fates.get_mut(&format!("{namespace}/{source}")) {
                Some(left) if left.len() > 1 => left.remove(0),
                Some(left) => left[0].clone(),
                None => Fate::Succeeds,
            }
        };
        if fate != Fate::Waits {
            self.await_secret(pod).await;
        }
        match fate {
            Fate::Waits => {}
            Fate::LacksImage => {
                let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
                self.patch(pod, &json!({ "phase": "Pending", "containerStatuses": [container(&waiting)] })).await;
            }
            Fate::Succeeds => {
                if let Some(lease) = self.take(pod, &namespace).await {
                    let mut tx = lease.1;
                    runs::succeed(&mut tx, lease.0).await.unwrap();
                    tx.commit().await.unwrap();
                }
                self.end(pod, "Succeeded", 0, "Completed", &json!({})).await;
            }
            Fate::LeavesRun => self.end(pod, "Succeeded", 0, "Completed", &json!({})).await,
            Fate::Runs => {
                if let Some(lease) = self.take(pod, &namespace).await {
                    lease.1.commit().await.unwrap();
                }
                let running = json!({ "running": {} });
                self.patch(pod, &json!({ "phase": "Running", "containerStatuses": [container(&running)] })).await;
            }
            Fate::Dies { code, reason } => {
                self.take_and_die(pod, &namespace).await;
                self.end(pod, "Failed", code, reason, &json!({})).await;
            }
            Fate::IsEvicted => {
                self.take_and_die(pod, &namespace).await;
                let evicted = json!({
                    "reason": "Evicted",
                    "message": "The node was low on resource: memory.",
                    "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" }],
                });
                self.end(pod, "Failed", 137, "Error", &evicted).await;
            }
        }
    }

    /// A container starts once the Secrets are there that its variables name.
    async fn await_secret(&self, pod: &Pod) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
        let env = pod.spec.as_ref().unwrap().containers[0].env.iter().flatten();
        let named = env.filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        for reference in named {
            let mut is_told = false;
            // A pod that is deleted waits for nothing.
            for _ in 0..600 {
                if matches!(secrets.get_opt(&reference.name).await, Ok(Some(_))) {
                    break;
                }
                if !is_told {
                    let waiting = json!({ "waiting": { "reason": "CreateContainerConfigError" } });
                    self.patch(pod, &json!({ "containerStatuses": [container(&waiting)] })).await;
                    is_told = true;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }

    /// A process that dies is not heard of any more; here nobody waits for its lease to run out.
    async fn take_and_die(&self, pod: &Pod, namespace: &str) {
        if let Some((lease, mut tx)) = self.take(pod, namespace).await {
            runs::expire(&mut tx, lease.run).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// The run that a pod is told to work on, in a transaction that is to be committed.
    async fn take(&self, pod: &Pod, namespace: &str) -> Option<(runs::Lease, TenantTx)> {
        let variables: HashMap<String, String> = pod.spec.as_ref().unwrap().containers[0]
            .env
            .iter()
            .flatten()
            .filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?)))
            .collect();
        let job = pod.labels()["batch.kubernetes.io/job-name"].clone();
        let tenant = TenantId(variables[env::TENANT_ID].parse().unwrap());
        let mut tx = TenantTx::begin(&self.owner, tenant).await.ok()?;
        let run = match variables.get(env::RUN_ID) {
            Some(run) => RunId(run.parse().unwrap()),
            None => {
                let source = KnowledgeSourceId(variables[env::SOURCE_ID].parse().unwrap());
                let trigger = variables[env::TRIGGER].replace("$(JOB_NAME)", &job);
                runs::enqueue(&mut tx, source, &trigger).await.unwrap()
            }
        };
        let (lease, _) = runs::acquire(&mut tx, run).await.unwrap()?;
        self.started.lock().unwrap().push((namespace.to_owned(), job));
        Some((lease, tx))
    }

    async fn end(&self, pod: &Pod, phase: &str, code: i32, reason: &str, more: &Value) {
        let state = json!({ "terminated": { "exitCode": code, "reason": reason } });
        let mut status = json!({ "phase": phase, "containerStatuses": [container(&state)] });
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.patch(pod, &status).await;
    }

    async fn patch(&self, pod: &Pod, status: &Value) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
        // It may be gone meanwhile, or the API server away.
        for _ in 0..50 {
            let patch = Patch::Merge(json!({ "status": status }));
            match pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            }
        }
    }
}

fn container(state: &Value) -> Value {
    json!({ "name": "ingest", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state })
}
