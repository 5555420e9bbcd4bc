//! Runs as Jobs: one for each reason to run, whatever happens to pods.

use docbrain_core::store::runs::RunState;
use docbrain_crds::KnowledgeSource;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Fate, Judged, Lab, beside_others, resource, site};

/// The names of a source's Jobs.
async fn jobs(lab: &Lab, namespace: &str) -> Vec<String> {
    let jobs = lab.api::<Job>(namespace).list(&ListParams::default()).await.unwrap();
    let mut names: Vec<String> = jobs.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}

/// Waits until this many runs have ended, and none is left.
async fn ended(lab: &Lab, namespace: &str, source: &str, count: usize) -> KnowledgeSource {
    lab.judged(&lab.sources(namespace), source, &format!("done with {count} runs"), |source| {
        let status = source.status.as_ref().unwrap();
        source.seen() == source.metadata.generation && status.current_run.is_none() && status.recent_runs.len() == count
    })
    .await
}

fn chunked(namespace: &str, name: &str, size: i32) -> Value {
    let mut source = site(namespace, name);
    source["spec"]["chunking"] = json!({ "size": size });
    source
}

async fn annotate(lab: &Lab, namespace: &str, name: &str, value: &str) {
    let patch = json!({ "metadata": { "annotations": { "docbrain.dev/sync-requested-at": value } } });
    lab.sources(namespace).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

#[test]
fn each_reason_to_run_is_one_job() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("runs").await;
            lab.put(&site("runs", "web")).await;
            let source = ended(lab, "runs", "web", 1).await;
            let id = source.status.unwrap().recent_runs[0].id.replace('-', "");
            assert_eq!(jobs(lab, "runs").await, [format!("web-{}", &id[..16])], "its name follows from the run");

            // Other chunks are another index; another schedule or policy is not.
            lab.put(&chunked("runs", "web", 300)).await;
            ended(lab, "runs", "web", 2).await;
            let mut kept = chunked("runs", "web", 300);
            kept["spec"]["deletionPolicy"] = "Retain".into();
            lab.put(&kept).await;
            lab.judged(&lab.sources("runs"), "web", "seen", |source| source.seen() == source.metadata.generation).await;
            assert_eq!(jobs(lab, "runs").await.len(), 2);

            for value in ["now", "now", "2026-11-25T19:00:00Z"] {
                annotate(lab, "runs", "web", value).await;
                lab.judged(&lab.sources("runs"), "web", "synced", |source| {
                    source.status.as_ref().unwrap().last_handled_sync_request.as_deref() == Some(value)
                })
                .await;
            }
            ended(lab, "runs", "web", 4).await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            assert_eq!(jobs(lab, "runs").await.len(), 4, "one for each value");
            let started = lab.kubelet.started.lock().unwrap().clone();
            assert_eq!(started.iter().filter(|(namespace, _)| namespace == "runs").count(), 4);

            // The Secret of a run is its Job's.
            let secrets = lab.api::<Secret>("runs").list(&ListParams::default()).await.unwrap();
            assert_eq!(secrets.items.len(), 4);
            for secret in secrets {
                let owners = secret.metadata.owner_references.unwrap();
                assert!(owners.iter().all(|owner| owner.kind == "Job") && owners.len() == 1, "{owners:?}");
                let keys: Vec<_> = secret.data.unwrap().into_keys().collect();
                assert_eq!(keys, ["database-url"], "no key of the installation is among them");
            }
        })
    });
}

#[test]
fn a_schedule_is_a_cron_job_while_there_is_one() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("scheduled").await;
            let mut source = site("scheduled", "web");
            source["spec"]["schedule"] = "@daily".into();
            source["spec"]["timeZone"] = "Europe/Berlin".into();
            lab.put(&source).await;
            let sources = lab.sources("scheduled");
            lab.ready(&sources, "web").await;
            let cron_jobs = lab.api::<CronJob>("scheduled");
            let spec = cron_jobs.get("web-schedule").await.unwrap().spec;
            assert_eq!(spec.time_zone.as_deref(), Some("Europe/Berlin"));
            assert_eq!((spec.suspend, spec.concurrency_policy.as_deref()), (Some(false), Some("Forbid")));
            let minute = spec.schedule.split(' ').next().unwrap().parse::<u8>().unwrap();
            assert!(minute < 60 && spec.schedule != "@daily", "at a minute of its own: {}", spec.schedule);

            // What the CronJob makes is a run under the Job's own name.
            lab.kubectl(&["create", "job", "web-28000000", "--from=cronjob/web-schedule", "--namespace", "scheduled"])
                .unwrap();
            let trigger = |run: &docbrain_core::store::runs::RunStanding| run.trigger == "schedule:web-28000000";
            lab.eventually("the scheduled run has ended", async || {
                lab.standing("scheduled", "web").await.ended.iter().any(trigger).then_some(())
            })
            .await;
            assert_eq!(jobs(lab, "scheduled").await.len(), 2, "the operator made no second Job for it");

            source["spec"]["suspended"] = true.into();
            lab.put(&source).await;
            lab.judged(&sources, "web", "suspended", |source| {
                source.condition("ScheduleActive").is_some_and(|condition| condition.reason == "Suspended")
            })
            .await;
            assert_eq!(cron_jobs.get("web-schedule").await.unwrap().spec.suspend, Some(true));
            annotate(lab, "scheduled", "web", "while suspended").await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            assert!(lab.standing("scheduled", "web").await.open.is_empty(), "no run while suspended");

            let spec = source["spec"].as_object_mut().unwrap();
            spec.remove("schedule");
            spec.remove("timeZone");
            lab.put(&source).await;
            lab.gone(&cron_jobs, "web-schedule").await;
            lab.gone(&lab.api::<Secret>("scheduled"), "web-schedule").await;
        })
    });
}

#[test]
fn a_suspended_tenant_starts_nothing() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("paused").await;
            let mut source = site("paused", "web");
            source["spec"]["schedule"] = "@hourly".into();
            lab.put(&source).await;
            lab.ready(&lab.sources("paused"), "web").await;
            lab.api::<CronJob>("paused").get("web-schedule").await.unwrap();
            let mut tenant = crate::harness::tenant("paused");
            tenant["spec"]["suspended"] = true.into();
            lab.put(&tenant).await;
            lab.eventually("the schedule of a suspended tenant rests", async || {
                (lab.api::<CronJob>("paused").get("web-schedule").await.ok()?.spec.suspend == Some(true)).then_some(())
            })
            .await;
            lab.judged(&lab.sources("paused"), "web", "suspended", |source| {
                source.condition("Ready").is_some_and(|ready| ready.reason == "Suspended")
            })
            .await;
            annotate(lab, "paused", "web", "now").await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            assert_eq!(jobs(lab, "paused").await.len(), 1, "no run starts while the tenant is suspended");
            tenant["spec"]["suspended"] = false.into();
            lab.put(&tenant).await;
            lab.eventually("the run that was asked for starts then", async || {
                (jobs(lab, "paused").await.len() == 2).then_some(())
            })
            .await;
        })
    });
}

#[test]
fn pods_that_die_are_made_up_for_or_end_the_run_with_a_reason() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("dying").await;
            let killed = Fate::Dies { code: 137, reason: "Error" };
            lab.kubelet.expect("dying", "killed", &[killed, Fate::Succeeds]);
            lab.kubelet.expect("dying", "evicted", &[Fate::IsEvicted, Fate::IsEvicted, Fate::Succeeds]);
            lab.kubelet.expect("dying", "hungry", &[Fate::Dies { code: 137, reason: "OOMKilled" }]);
            lab.kubelet.expect("dying", "misconfigured", &[Fate::Dies { code: 2, reason: "Error" }]);
            lab.kubelet.expect("dying", "homeless", &[Fate::LacksImage]);
            for name in ["killed", "evicted", "hungry", "misconfigured", "homeless"] {
                lab.put(&site("dying", name)).await;
            }
            let sources = lab.sources("dying");
            let homeless = lab.stalled(&sources, "homeless", "PodNotStarting").await;
            let message = homeless.condition("Ready").unwrap().message;
            assert!(message.contains("ImagePullBackOff: no such image"), "{message}");
            let misconfigured = lab.stalled(&sources, "misconfigured", "RunFailed").await;
            let message = misconfigured.condition("Ready").unwrap().message;
            assert!(message.contains("configuration cannot be used"), "{message}");
            // The Job controller waits 10 s, then 20 s, before it replaces a pod that failed.
            lab.ready(&sources, "killed").await;
            lab.ready(&sources, "evicted").await;
            for name in ["killed", "evicted", "misconfigured"] {
                let standing = lab.standing("dying", name).await;
                assert!(standing.open.is_empty() && standing.ended.len() == 1, "{name}: {standing:?}");
            }

            // The image comes: the run goes on by itself.
            lab.kubelet.expect("dying", "homeless", &[Fate::Succeeds]);
            lab.kubectl(&[
                "delete",
                "pod",
                "--namespace",
                "dying",
                "--selector",
                "docbrain.dev/knowledge-source=homeless",
                "--force",
            ])
            .unwrap();
            lab.ready(&sources, "homeless").await;
        })
    });
}

#[test]
fn a_run_that_needs_too_much_memory_says_so() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("hungry").await;
            lab.kubelet.expect("hungry", "web", &[Fate::Dies { code: 137, reason: "OOMKilled" }]);
            lab.put(&site("hungry", "web")).await;
            // Four pods, and 10, 20 and 40 s between them, are too long for a test: the Job is told to give up.
            let job = lab.eventually("there is a Job", async || jobs(lab, "hungry").await.pop()).await;
            lab.eventually("its pod has died", async || {
                let job = lab.api::<Job>("hungry").get(&job).await.ok()?;
                (job.status?.failed? >= 1).then_some(())
            })
            .await;
            let patch = json!({ "spec": { "activeDeadlineSeconds": 1 } });
            lab.api::<Job>("hungry").patch(&job, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            let stalled = lab.stalled(&lab.sources("hungry"), "web", "RunFailed").await;
            let message = stalled.condition("Ready").unwrap().message;
            assert!(message.contains("more memory"), "{message}");
            let standing = lab.standing("hungry", "web").await;
            assert!(matches!(&standing.ended[0].state, RunState::Failed { reason } if reason.contains("more memory")));
            // A person asks for another one.
            lab.kubelet.expect("hungry", "web", &[Fate::Succeeds]);
            annotate(lab, "hungry", "web", "again").await;
            lab.ready(&lab.sources("hungry"), "web").await;
        })
    });
}

#[test]
fn a_run_whose_job_somebody_deleted_gets_another_one() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("deleted").await;
            lab.kubelet.expect("deleted", "web", &[Fate::Waits, Fate::Succeeds]);
            lab.put(&site("deleted", "web")).await;
            let job = lab.eventually("there is a Job", async || jobs(lab, "deleted").await.pop()).await;
            lab.kubectl(&["delete", "job", &job, "--namespace", "deleted"]).unwrap();
            lab.ready(&lab.sources("deleted"), "web").await;
            assert_eq!(jobs(lab, "deleted").await, [job], "under the same name");
        })
    });
}

#[test]
fn what_the_api_asks_for_becomes_a_job_at_once() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("asked").await;
            lab.put(&resource("KnowledgeSource", "asked", "docs", &json!({ "source": { "upload": {} } }))).await;
            let source = lab.ready(&lab.sources("asked"), "docs").await;
            assert_eq!(source.condition("Ready").unwrap().reason, "NoDocuments");
            let mut tx = lab.begin("asked").await;
            let id = docbrain_core::store::sources::by_name(&mut tx, "docs").await.unwrap().id;
            docbrain_core::store::runs::enqueue(&mut tx, id, "upload:1").await.unwrap();
            tx.commit().await.unwrap();
            lab.within(std::time::Duration::from_secs(2), "its Job is there", async || jobs(lab, "asked").await.pop())
                .await;
            ended(lab, "asked", "docs", 1).await;
        })
    });
}
