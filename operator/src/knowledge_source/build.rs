//! The Jobs and CronJobs of a knowledge source; no IO.

use docbrain_core::env;
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::ids::{KnowledgeSourceId, TenantId};
use docbrain_core::models::EmbeddingChoice;
use docbrain_core::schedule;
use docbrain_core::store::runs::RunStanding;
use docbrain_crds::{KnowledgeSource, KnowledgeSourceSpec, ObjectMeta};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::IngestImage;

mod pod;

/// On Jobs, and on the pods of Jobs: the name of their knowledge source.
pub const SOURCE_LABEL: &str = "docbrain.dev/knowledge-source";
/// What the name of a schedule's CronJob ends with, and how long it may be: its Jobs add eleven characters.
const SCHEDULE: &str = "-schedule";
const MOST_OF_CRON_JOB: usize = 52;
/// How much of a knowledge source's name stands in that of a Job, which has at most 63 characters.
const NAME_IN_JOB: usize = 46;
/// Pods that a run may use up by failing.
const ATTEMPTS: i32 = 3;
/// Seconds that an ended Job stays, for its log.
const KEPT_SECONDS: i32 = 3600;

/// Labels of all Jobs that the operator makes.
pub fn job_selector() -> String {
    SOURCE_LABEL.to_owned()
}

/// What the runs of a tenant are told.
pub(super) struct RunEnvironment {
    pub(super) tenant: TenantId,
    pub(super) database_url: SecretString,
    pub(super) embedding: EmbeddingChoice,
}

/// The Job of a run: that of its CronJob, where a schedule set it off.
pub(super) fn job_name(source: &KnowledgeSource, run: &RunStanding) -> String {
    if let Some(job) = run.trigger.strip_prefix(schedule::TRIGGER) {
        return job.to_owned();
    }
    let name: String = source.name_any().chars().take(NAME_IN_JOB).collect();
    format!("{name}-{}", &run.id.0.simple().to_string()[..16])
}

/// The CronJob of a source's schedule, and its Secret. Not the source's own name: the controller of CronJobs takes every
/// Job whose owner is called like one of them for that one's.
pub(super) fn schedule_name(source: &str) -> String {
    if source.len() + SCHEDULE.len() <= MOST_OF_CRON_JOB {
        return format!("{source}{SCHEDULE}");
    }
    let hash = hex::encode(&Sha256::digest(source)[..4]);
    let room = MOST_OF_CRON_JOB - SCHEDULE.len() - hash.len() - 1;
    format!("{}-{hash}{SCHEDULE}", source.chars().take(room).collect::<String>())
}

/// The Secret that the spec names for credentials.
pub(super) fn credentials(spec: &KnowledgeSourceSpec) -> Option<&str> {
    let git = spec.source.git.as_ref()?;
    git.credentials_secret_ref.as_ref().map(|secret| secret.name.as_str())
}

/// The Job of a run.
pub(super) fn run(
    source: &KnowledgeSource,
    run: &RunStanding,
    environment: &RunEnvironment,
    ingest: &IngestImage,
    addresses: &AddressPolicy,
) -> Job {
    let name = job_name(source, run);
    let mut variables = vec![(env::RUN_ID, run.id.to_string())];
    variables.extend(run.request_id.clone().map(|request| (env::REQUEST_ID, request)));
    let template = pod::template(source, &name, &variables, environment, ingest, addresses);
    Job { metadata: metadata(source, &name), spec: Some(job_spec(template, ingest.run_seconds)), ..Job::default() }
}

/// The Secret that the pod of a run is started with. It is the Job's, and goes with it.
pub(super) fn run_secret(source: &KnowledgeSource, job: &Job, environment: &RunEnvironment) -> Secret {
    let mut secret = secret(source, &job.name_any(), environment);
    secret.metadata.owner_references = Some(vec![owner(job)]);
    secret
}

/// The CronJob of a schedule, and the Secret that its pods are started with. Each of its Jobs asks for a run of its own name.
pub(super) fn schedule(
    source: &KnowledgeSource,
    id: KnowledgeSourceId,
    is_suspended: bool,
    environment: &RunEnvironment,
    ingest: &IngestImage,
    addresses: &AddressPolicy,
) -> (Secret, CronJob) {
    let name = schedule_name(&source.name_any());
    let secret = secret(source, &name, environment);
    let variables =
        [(env::SOURCE_ID, id.to_string()), (env::TRIGGER, format!("{}$({})", schedule::TRIGGER, pod::JOB_NAME))];
    let template = pod::template(source, &name, &variables, environment, ingest, addresses);
    let cron_job = CronJob {
        metadata: metadata(source, &name),
        spec: CronJobSpec {
            schedule: schedule::cron(source.spec.schedule.as_deref().unwrap_or_default(), id),
            time_zone: Some(source.spec.time_zone.clone().unwrap_or_else(|| "Etc/UTC".to_owned())),
            suspend: Some(is_suspended),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(300),
            successful_jobs_history_limit: Some(1),
            failed_jobs_history_limit: Some(1),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels(source)), ..ObjectMeta::default() }),
                spec: Some(job_spec(template, ingest.run_seconds)),
            },
        },
        ..CronJob::default()
    };
    (secret, cron_job)
}

fn job_spec(template: k8s_openapi::api::core::v1::PodTemplateSpec, run_seconds: i64) -> JobSpec {
    JobSpec {
        template,
        backoff_limit: Some(ATTEMPTS),
        active_deadline_seconds: Some(run_seconds),
        ttl_seconds_after_finished: Some(KEPT_SECONDS),
        pod_failure_policy: Some(pod::failure_policy()),
        ..JobSpec::default()
    }
}

fn metadata(source: &KnowledgeSource, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: source.namespace(),
        labels: Some(labels(source)),
        owner_references: Some(vec![owner(source)]),
        ..ObjectMeta::default()
    }
}

fn labels(source: &KnowledgeSource) -> std::collections::BTreeMap<String, String> {
    [
        (SOURCE_LABEL.to_owned(), source.name_any()),
        ("app.kubernetes.io/managed-by".to_owned(), "docbrain-operator".to_owned()),
        ("app.kubernetes.io/name".to_owned(), "docbrain-ingest".to_owned()),
    ]
    .into()
}

fn owner<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    object.controller_owner_ref(&()).expect("it was read from the API server")
}

/// Its values are written as text, so that they are the same for the same values.
fn secret(source: &KnowledgeSource, name: &str, environment: &RunEnvironment) -> Secret {
    let mut values = std::collections::BTreeMap::new();
    values.insert(pod::DATABASE_KEY.to_owned(), environment.database_url.expose_secret().to_owned());
    if let EmbeddingChoice::Remote(endpoint) = &environment.embedding
        && let Some(key) = &endpoint.api_key
    {
        values.insert(pod::EMBEDDING_KEY.to_owned(), key.expose_secret().to_owned());
    }
    let data = values.into_iter().map(|(key, value)| (key, k8s_openapi::ByteString(value.into_bytes()))).collect();
    Secret { metadata: metadata(source, name), data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_a_name_of_its_own_that_fits() {
        assert_eq!(schedule_name("site"), "site-schedule");
        let (a, b) = (schedule_name(&"a".repeat(52)), schedule_name(&format!("{}b", "a".repeat(51))));
        assert!(a.len() <= MOST_OF_CRON_JOB && b.len() <= MOST_OF_CRON_JOB, "{a} {b}");
        assert_ne!(a, b);
        assert!(a.ends_with(SCHEDULE));
    }
}
