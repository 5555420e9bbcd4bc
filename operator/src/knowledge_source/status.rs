//! What is said of a `KnowledgeSource`.

use docbrain_core::ids::KnowledgeSourceId;
use docbrain_core::store::runs::{RunStanding, RunState, Standing};
use docbrain_crds::manifest::ManifestError;
use docbrain_crds::{CurrentRun, EndedRun, KnowledgeSource, KnowledgeSourceStatus, RunResult, SYNC_REQUESTED_AT};
use kube::{Api, ResourceExt};

use super::build;
use crate::conditions::{Draft, Verdict, reason, settle};
use crate::context::Context;
use crate::reconcile::{ReconcileError, now, report};

/// Longest reason of a run in the status, in characters; the API has the whole.
const LONGEST_REASON: usize = 300;

/// What a reconcile found.
pub(super) struct Observed<'a> {
    pub(super) id: KnowledgeSourceId,
    /// It is, or its tenant.
    pub(super) is_suspended: bool,
    pub(super) standing: &'a Standing,
    /// Why the Job's pod does not start.
    pub(super) trouble: Option<&'a str>,
    /// The Secret that is named and not there.
    pub(super) missing_secret: Option<&'a str>,
}

/// Writes what was found; whether the source can answer.
pub(super) async fn write(
    context: &Context,
    api: &Api<KnowledgeSource>,
    source: &KnowledgeSource,
    observed: &Observed<'_>,
) -> Result<bool, ReconcileError> {
    let (verdict, others) = judge(source, observed);
    let standing = observed.standing;
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let documents = &standing.documents;
    let before = source.status.as_ref();
    let handled = before.and_then(|before| before.last_handled_sync_request.clone());
    let status = KnowledgeSourceStatus {
        observed_generation: source.metadata.generation,
        id: Some(observed.id.to_string()),
        documents: count(documents.pending + documents.indexed + documents.failed),
        failed_documents: count(documents.failed),
        chunks: count(documents.chunks),
        last_handled_sync_request: if observed.is_suspended {
            handled
        } else {
            source.annotations().get(SYNC_REQUESTED_AT).cloned().or(handled)
        },
        current_run: standing.open.first().map(|run| CurrentRun {
            id: run.id.to_string(),
            documents_done: run.documents_indexed + run.documents_failed,
            documents_total: run.documents_total,
        }),
        last_successful_run: standing.last_success.as_ref().and_then(ended),
        recent_runs: standing.ended.iter().filter_map(ended).collect(),
        conditions: conditions(source, &verdict, others),
    };
    report(context, api, source, (before, conditions_before(source)), &status, &verdict).await?;
    Ok(verdict.is_ready())
}

/// Says why nothing was found.
pub(super) async fn write_verdict(
    context: &Context,
    api: &Api<KnowledgeSource>,
    source: &KnowledgeSource,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    let before = source.status.as_ref();
    let status = KnowledgeSourceStatus {
        observed_generation: source.metadata.generation,
        conditions: conditions(source, verdict, Vec::new()),
        ..before.cloned().unwrap_or_default()
    };
    report(context, api, source, (before, conditions_before(source)), &status, verdict).await
}

/// Says what the spec cannot be.
pub(super) async fn write_refusal(
    context: &Context,
    api: &Api<KnowledgeSource>,
    source: &KnowledgeSource,
    refusal: &ManifestError,
) -> Result<(), ReconcileError> {
    let message = match refusal {
        ManifestError::Refused { problems, .. } => problems.join("; "),
        other => other.to_string(),
    };
    write_verdict(context, api, source, &Verdict::stalled(reason::INVALID_SPEC, message)).await
}

/// Whether there may be a CronJob of an earlier spec. The status may not tell of the last one, if the operator ended before it
/// was written.
pub(super) fn may_have_had_schedule(source: &KnowledgeSource) -> bool {
    let is_new = source.status.as_ref().and_then(|status| status.observed_generation) != source.metadata.generation;
    let had = conditions_before(source).iter().any(|condition| condition.type_ == "ScheduleActive");
    had || (is_new && source.spec.source.upload.is_none())
}

fn conditions_before(source: &KnowledgeSource) -> &[docbrain_crds::Condition] {
    source.status.as_ref().map_or(&[][..], |status| &status.conditions)
}

fn conditions(source: &KnowledgeSource, verdict: &Verdict, others: Vec<Draft>) -> Vec<docbrain_crds::Condition> {
    settle(conditions_before(source), verdict, others, source.metadata.generation, &now())
}

/// A source is ready while it has an index that answers, be it an older one: a run that fails takes nothing away.
fn judge(source: &KnowledgeSource, observed: &Observed<'_>) -> (Verdict, Vec<Draft>) {
    let standing = observed.standing;
    let last = standing.ended.first();
    let failure = last.and_then(|run| match &run.state {
        RunState::Failed { reason } => Some(reason.as_str()),
        _ => None,
    });
    let documents = &standing.documents;
    let is_uploaded = source.spec.source.upload.is_some();
    let has_index = standing.last_success.is_some() || documents.indexed > 0;
    let told = format!("{} documents, {} chunks", documents.indexed, documents.chunks);

    let verdict = if has_index {
        if observed.is_suspended {
            Verdict::ready(reason::SUSPENDED, format!("suspended: no run starts; {told} still answer"))
        } else {
            Verdict::ready(reason::INDEXED, told.clone())
        }
    } else if observed.is_suspended {
        Verdict::ready(reason::SUSPENDED, "suspended: no run starts")
    } else if is_uploaded && documents.pending + documents.failed == 0 {
        Verdict::ready(reason::NO_DOCUMENTS, "nothing has been uploaded yet")
    } else if let Some(name) = observed.missing_secret {
        Verdict::stalled(reason::SECRET_NOT_FOUND, format!("there is no Secret {name} in this namespace; create it"))
    } else if let Some(trouble) = observed.trouble {
        Verdict::stalled(reason::POD_NOT_STARTING, trouble)
    } else if let Some(run) = standing.open.first() {
        let done = run.documents_indexed + run.documents_failed;
        let message = format!("the first run has handled {done} of {} documents", run.documents_total);
        Verdict::reconciling(reason::RUN_IN_PROGRESS, message)
    } else if let Some(failure) = failure {
        Verdict::stalled(reason::RUN_FAILED, failure)
    } else {
        Verdict::reconciling(reason::NOT_INDEXED, "no run has ended yet")
    };

    let mut others = vec![if has_index {
        Draft::is("Indexed", reason::INDEXED, told)
    } else {
        Draft::not("Indexed", reason::NOT_INDEXED, "no run has ended well yet")
    }];
    if let Some(run) = last {
        others.push(match failure {
            Some(failure) => Draft::not("LastRunSucceeded", reason::RUN_FAILED, failure),
            None if run.documents_failed > 0 => Draft::is(
                "LastRunSucceeded",
                reason::DOCUMENTS_FAILED,
                format!("{} documents could not be indexed; the API tells why", run.documents_failed),
            ),
            None => Draft::is(
                "LastRunSucceeded",
                reason::RUN_SUCCEEDED,
                format!("{} documents were indexed", run.documents_indexed),
            ),
        });
    }
    if build::credentials(&source.spec).is_some() {
        others.push(match observed.missing_secret {
            Some(name) => Draft::not(
                "CredentialsReady",
                reason::SECRET_NOT_FOUND,
                format!("there is no Secret {name} in this namespace; create it"),
            ),
            None => Draft::is("CredentialsReady", reason::CREDENTIALS_FOUND, "the Secret is in place"),
        });
    }
    if let Some(schedule) = &source.spec.schedule {
        let zone = source.spec.time_zone.as_deref().unwrap_or("UTC");
        others.push(if observed.is_suspended {
            Draft::not("ScheduleActive", reason::SUSPENDED, "suspended: no run starts")
        } else {
            Draft::is("ScheduleActive", reason::SCHEDULED, format!("{schedule} in {zone}"))
        });
    }
    (verdict, others)
}

fn ended(run: &RunStanding) -> Option<EndedRun> {
    let (result, reason) = match &run.state {
        RunState::Succeeded => (RunResult::Succeeded, None),
        RunState::Failed { reason } => (RunResult::Failed, Some(reason.chars().take(LONGEST_REASON).collect())),
        RunState::Queued | RunState::Running => return None,
    };
    Some(EndedRun {
        id: run.id.to_string(),
        result,
        finished_at: run.finished_at?.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        indexed: run.documents_indexed,
        failed: run.documents_failed,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use docbrain_core::ids::RunId;
    use docbrain_core::store::documents::Counts;
    use docbrain_crds::KnowledgeSourceSpec;
    use serde_json::json;

    use super::*;

    fn source(spec: serde_json::Value) -> KnowledgeSource {
        KnowledgeSource::new("manual", serde_json::from_value::<KnowledgeSourceSpec>(spec).unwrap())
    }

    fn run(state: RunState) -> RunStanding {
        RunStanding {
            id: RunId(uuid::Uuid::from_u128(1)),
            trigger: "spec:1".into(),
            request_id: None,
            state,
            held: false,
            documents_total: 9,
            documents_indexed: 3,
            documents_failed: 1,
            chunks: 7,
            started_at: None,
            finished_at: Some(chrono::DateTime::UNIX_EPOCH),
        }
    }

    fn verdict(source: &KnowledgeSource, standing: &Standing, trouble: Option<&str>) -> Verdict {
        let id = KnowledgeSourceId(uuid::Uuid::nil());
        judge(source, &Observed { id, is_suspended: false, standing, trouble, missing_secret: None }).0
    }

    #[test]
    fn an_index_that_answers_makes_a_source_ready_whatever_the_last_run_did() {
        let web = source(json!({ "source": { "web": { "startUrls": ["https://example.com/"] } } }));
        let failed = run(RunState::Failed { reason: "the site is down".into() });
        let mut standing = Standing { ended: vec![failed.clone()], ..Standing::default() };
        assert_eq!(verdict(&web, &standing, None), Verdict::stalled(reason::RUN_FAILED, "the site is down"));
        standing.last_success = Some(run(RunState::Succeeded));
        standing.documents = Counts { indexed: 3, chunks: 7, ..Counts::default() };
        assert_eq!(verdict(&web, &standing, None), Verdict::ready(reason::INDEXED, "3 documents, 7 chunks"));
        assert_eq!(standing.ended.iter().find_map(ended).unwrap().result, RunResult::Failed);
    }

    #[test]
    fn before_the_first_index_it_says_what_is_awaited() {
        let upload = source(json!({ "source": { "upload": {} } }));
        assert_eq!(verdict(&upload, &Standing::default(), None).words().0, reason::NO_DOCUMENTS);
        let web = source(json!({ "source": { "web": { "startUrls": ["https://example.com/"] } } }));
        assert_eq!(verdict(&web, &Standing::default(), None).words().0, reason::NOT_INDEXED);
        let mut queued = run(RunState::Queued);
        queued.finished_at = None;
        let standing = Standing { open: vec![queued], ..Standing::default() };
        assert_eq!(verdict(&web, &standing, None).words().0, reason::RUN_IN_PROGRESS);
        let stalled = verdict(&web, &standing, Some("ImagePullBackOff"));
        assert_eq!(stalled, Verdict::stalled(reason::POD_NOT_STARTING, "ImagePullBackOff"));
    }
}
