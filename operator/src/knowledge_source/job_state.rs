//! Jobs as the plan sees them.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::build::SOURCE_LABEL;

/// A Job of a knowledge source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobState {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) phase: Phase,
}

/// How far a Job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its pods run, or are to.
    Active,
    /// Its pod ended well.
    Complete,
    /// It tries no more.
    Failed { message: String },
    /// It is being deleted.
    Going,
}

impl JobState {
    /// The Jobs of a knowledge source that are in the cache.
    pub(super) fn of_source(jobs: &Store<Job>, namespace: &str, source: &str) -> Vec<Self> {
        let of_source = jobs.state_filter(|job| {
            job.namespace().as_deref() == Some(namespace)
                && job.labels().get(SOURCE_LABEL).is_some_and(|label| label == source)
        });
        of_source.iter().map(|job| Self::of(job)).collect()
    }

    fn of(job: &Job) -> Self {
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ended = conditions.filter(|condition| condition.status == "True").find_map(|condition| {
            match condition.type_.as_str() {
                "Complete" => Some(Phase::Complete),
                "Failed" => Some(Phase::Failed { message: condition.message.clone().unwrap_or_default() }),
                _ => None,
            }
        });
        let phase =
            if job.metadata.deletion_timestamp.is_some() { Phase::Going } else { ended.unwrap_or(Phase::Active) };
        Self { name: job.name_any(), uid: job.uid().unwrap_or_default(), phase }
    }
}
