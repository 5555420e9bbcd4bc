//! What is to be done about a knowledge source's runs; no IO.
//!
//! A run is a row in Postgres, whoever asked for it, and its Job's name follows from its id: so the same run never has two
//! Jobs, whatever was forgotten. A Job that ended before its run is made again, or, where it gave up, ends the run.

use docbrain_core::store::runs::{RunStanding, RunState, Standing};
use docbrain_crds::KnowledgeSource;

use super::build::job_name;
use super::job_state::{JobState, Phase};

/// The next thing to do.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// No run is due.
    Nothing,
    /// Another look is due in a moment: a process that was heard of lately may be dying.
    Wait,
    /// The run needs a Job.
    Start { run: RunStanding },
    /// Its Job is at work.
    Watch { job: &'a str },
    /// Its Job ended well, and the run is not done: its process found another one at work that has died since.
    Restart { job: &'a str, uid: &'a str },
    /// Its Job gave up.
    Fail { run: RunStanding, reason: String },
}

/// Decides about the run that is first in line; the others wait for it. `may_not_start`: it, or its tenant, is suspended, or
/// lacks its credentials.
pub(super) fn plan<'a>(
    source: &KnowledgeSource,
    may_not_start: bool,
    standing: &Standing,
    jobs: &'a [JobState],
) -> Step<'a> {
    let Some(run) = standing.open.first() else { return Step::Nothing };
    let job = jobs.iter().find(|job| job.name == job_name(source, run));
    let is_held = run.state == RunState::Running && run.held;
    match job.map(|job| (job, &job.phase)) {
        Some((job, Phase::Active)) => Step::Watch { job: &job.name },
        Some((_, Phase::Failed { message })) if !is_held => {
            Step::Fail { run: run.clone(), reason: format!("the ingestion Job gave up: {message}") }
        }
        Some((job, Phase::Complete)) if !is_held => Step::Restart { job: &job.name, uid: &job.uid },
        Some((_, Phase::Going | Phase::Failed { .. } | Phase::Complete)) => Step::Wait,
        None if is_held => Step::Wait,
        None if may_not_start => Step::Nothing,
        None => Step::Start { run: run.clone() },
    }
}

#[cfg(test)]
mod tests {
    use docbrain_core::ids::RunId;
    use docbrain_crds::KnowledgeSourceSpec;

    use super::*;

    fn source() -> KnowledgeSource {
        let spec: KnowledgeSourceSpec =
            serde_json::from_value(serde_json::json!({ "source": { "upload": {} } })).unwrap();
        KnowledgeSource::new("manual", spec)
    }

    fn run(state: RunState, held: bool) -> RunStanding {
        RunStanding {
            id: RunId(uuid::Uuid::from_u128(7)),
            trigger: "spec:1".into(),
            request_id: None,
            state,
            held,
            documents_total: 0,
            documents_indexed: 0,
            documents_failed: 0,
            chunks: 0,
            started_at: None,
            finished_at: None,
        }
    }

    fn step(suspended: bool, run_: Option<RunStanding>, phase: Option<Phase>) -> String {
        let source = source();
        let name = run_.as_ref().map(|run| job_name(&source, run)).unwrap_or_default();
        let jobs: Vec<_> = phase.map(|phase| JobState { name, uid: "u".into(), phase }).into_iter().collect();
        let standing = Standing { open: run_.into_iter().collect(), ..Standing::default() };
        let step = plan(&source, suspended, &standing, &jobs);
        format!("{step:?}").split_whitespace().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn each_state_of_run_and_job_has_one_next_step() {
        let queued = || Some(run(RunState::Queued, false));
        let held = || Some(run(RunState::Running, true));
        let lost = || Some(run(RunState::Running, false));
        let failed = || Some(Phase::Failed { message: "x".into() });
        for (open, phase, expected) in [
            (None, None, "Nothing"),
            (queued(), None, "Start"),
            (queued(), Some(Phase::Active), "Watch"),
            (queued(), Some(Phase::Complete), "Restart"),
            (queued(), failed(), "Fail"),
            (queued(), Some(Phase::Going), "Wait"),
            (held(), None, "Wait"),
            (held(), Some(Phase::Active), "Watch"),
            (held(), Some(Phase::Complete), "Wait"),
            (held(), failed(), "Wait"),
            (lost(), None, "Start"),
            (lost(), Some(Phase::Active), "Watch"),
            (lost(), Some(Phase::Complete), "Restart"),
            (lost(), failed(), "Fail"),
        ] {
            let told = format!("{open:?} {phase:?}");
            assert_eq!(step(false, open, phase), expected, "{told}");
        }
        assert_eq!(step(true, queued(), None), "Nothing", "no run starts while suspended");
    }
}
