//! Knowledge sources: their projection, a Job for each run that is due, a CronJob for a schedule.

use std::sync::Arc;
use std::time::Duration;

use docbrain_core::ids::{KnowledgeSourceId, TenantId};
use docbrain_core::models::EmbeddingChoice;
use docbrain_core::providers::{self, Purpose};
use docbrain_core::provision::{self, ProvisionError};
use docbrain_core::store::TenantTx;
use docbrain_core::store::runs;
use docbrain_crds::manifest::Resource as Manifest;
use docbrain_crds::{KnowledgeSource, SYNC_REQUESTED_AT};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use crate::chatbot::{tenant_not_ready, without_tenant};
use crate::context::Context;
use crate::reconcile::{
    Doing, ReconcileError, apply, ensure_finalizer, is_conflict, is_forced, is_not_found, reference, remove_finalizer,
};
use crate::secret_watch::SecretName;
use crate::tenant::retains_rows;

mod build;
mod job_state;
mod plan;
mod pods;
mod status;

pub use build::{SOURCE_LABEL, job_selector};

use build::RunEnvironment;
use job_state::JobState;
use plan::{Step, plan};
use status::Observed;

/// Keeps a `KnowledgeSource` until its Jobs and rows are gone.
pub const FINALIZER: &str = "docbrain.dev/knowledge-source";
/// Between two looks at a run that is under way.
const PROGRESS: Duration = Duration::from_secs(3);

/// Brings rows and Jobs in line with a `KnowledgeSource`.
pub async fn reconcile(source: Arc<KnowledgeSource>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let namespace = source.namespace().unwrap_or_default();
    let api = context.namespaced::<KnowledgeSource>(&namespace);
    if source.metadata.deletion_timestamp.is_some() {
        return finalize(&context, &api, &source).await;
    }
    if let Some(verdict) = without_tenant(&context, &namespace) {
        status::write_verdict(&context, &api, &source, &verdict).await?;
        return Ok(Action::await_change());
    }
    ensure_finalizer(&api, &*source, FINALIZER).await?;
    let is_suspended = source.spec.suspended || context.is_suspended(&namespace);
    let missing_secret = missing_secret(&context, &namespace, &source).await?;
    let mut tx = match context.provisioner.begin(&namespace).await {
        // Its Tenant is on its way, and will call.
        Err(ProvisionError::NoTenant { .. }) => {
            status::write_verdict(&context, &api, &source, &tenant_not_ready(&namespace)).await?;
            return Ok(Action::await_change());
        }
        begun => begun?,
    };
    let author = provision::author_of(&source.metadata);
    let resource = Manifest::KnowledgeSource(KnowledgeSource::clone(&source));
    let written = match provision::write(&mut tx, &resource, &author).await {
        Err(ProvisionError::Refused(refusal)) => {
            status::write_refusal(&context, &api, &source, &refusal).await?;
            return Ok(Action::await_change());
        }
        written => written?,
    };
    let id = KnowledgeSourceId(written.id);
    let tenant = tx.tenant();
    if !is_suspended {
        handle_sync_request(&mut tx, &source, id).await?;
    }
    let mut standing = runs::standing(&mut tx, id).await?;
    let jobs = JobState::of_source(&context.jobs, &namespace, &source.name_any());
    let step = plan(&source, is_suspended || missing_secret.is_some(), &standing, &jobs);
    if let Step::Fail { run, reason } = &step {
        let why = pods::why_ended(&context, &namespace, &build::job_name(&source, run)).await?;
        runs::fail(&mut tx, run.id, why.as_deref().unwrap_or(reason)).await?;
        standing = runs::standing(&mut tx, id).await?;
    }
    let environment = match &step {
        Step::Start { .. } => Some(environment(&context, &mut tx, tenant).await?),
        _ if source.spec.schedule.is_some() => Some(environment(&context, &mut tx, tenant).await?),
        _ => None,
    };
    tx.commit().await?;

    let mut trouble = None;
    match &step {
        Step::Start { run } => {
            let environment = environment.as_ref().expect("a run that starts has one");
            start(&context, &namespace, &source, environment, run).await?;
        }
        Step::Restart { job, uid } => delete_job(&context, &namespace, job, Some(uid)).await?,
        Step::Watch { job } => {
            trouble = pods::trouble(&context, &namespace, job).await?;
            if trouble.as_ref().is_some_and(|trouble| trouble.lacks_secret) {
                give_secret(&context, &namespace, &source, job).await?;
            }
        }
        Step::Fail { .. } | Step::Wait | Step::Nothing => {}
    }
    schedule(&context, &namespace, &source, id, is_suspended, environment.as_ref()).await?;
    let observed = Observed {
        id,
        is_suspended,
        standing: &standing,
        trouble: trouble.as_ref().and_then(|trouble| trouble.told.as_deref()),
        missing_secret,
    };
    let is_ready = status::write(&context, &api, &source, &observed).await?;
    context.knowledge.note(ObjectRef::from_obj(&*source), Some(is_ready));
    Ok(if matches!(step, Step::Nothing) { Action::await_change() } else { Action::requeue(PROGRESS) })
}

/// The knowledge source that a Job belongs to, be it by way of a CronJob.
pub fn of_job(job: &Job) -> Option<ObjectRef<KnowledgeSource>> {
    let name = job.labels().get(SOURCE_LABEL)?;
    Some(reference(&job.namespace()?, name))
}

/// Knowledge sources whose credentials are in a Secret.
pub fn keyed_by(context: &Context, secret: &SecretName) -> Vec<ObjectRef<KnowledgeSource>> {
    let keyed = context.sources.state_filter(|source| {
        build::credentials(&source.spec).is_some_and(|name| secret.is(source.namespace().as_deref(), name))
    });
    keyed.iter().map(|source| ObjectRef::from_obj(&**source)).collect()
}

/// The Secret with the credentials, if it is named and not there.
async fn missing_secret<'a>(
    context: &Context,
    namespace: &str,
    source: &'a KnowledgeSource,
) -> Result<Option<&'a str>, ReconcileError> {
    let Some(name) = build::credentials(&source.spec) else { return Ok(None) };
    context.secret_watch.look_at(namespace);
    let found = context.namespaced::<Secret>(namespace).get_metadata_opt(name).await.doing("look for a Secret")?;
    Ok(if found.is_some() { None } else { Some(name) })
}

/// A value of the annotation asks for one run, however often it is seen.
async fn handle_sync_request(
    tx: &mut TenantTx,
    source: &KnowledgeSource,
    id: KnowledgeSourceId,
) -> Result<(), ReconcileError> {
    let Some(request) = source.annotations().get(SYNC_REQUESTED_AT) else { return Ok(()) };
    let handled = source.status.as_ref().and_then(|status| status.last_handled_sync_request.as_ref());
    if handled != Some(request) {
        runs::enqueue(tx, id, &format!("sync:{request}")).await?;
    }
    Ok(())
}

/// What the runs of a tenant are told.
async fn environment(context: &Context, tx: &mut TenantTx, tenant: TenantId) -> Result<RunEnvironment, ReconcileError> {
    let own = providers::own_endpoint(tx, &context.secrets, &context.config.addresses, Purpose::Embeddings).await?;
    Ok(RunEnvironment {
        tenant,
        database_url: context.provisioner.ingest_url(&context.config.database_url, tenant)?,
        embedding: own.map_or_else(|| context.config.embedding.clone(), EmbeddingChoice::Remote),
    })
}

/// The Job first, then its Secret: so the Secret is never anybody else's, and goes with it. The pod waits for it; if the
/// operator ends between the two, the next one finds it waiting.
async fn start(
    context: &Context,
    namespace: &str,
    source: &KnowledgeSource,
    environment: &RunEnvironment,
    run: &runs::RunStanding,
) -> Result<(), ReconcileError> {
    let job = build::run(source, run, environment, &context.config.ingest, &context.config.addresses);
    let made = match context.namespaced::<Job>(namespace).create(&PostParams::default(), &job).await {
        Ok(made) => made,
        // The cache had not seen it yet.
        Err(error) if is_conflict(&error) => return Ok(()),
        Err(error) => return Err(error).doing("create the Job of a run"),
    };
    context.metrics.jobs.inc();
    tracing::info!(
        namespace,
        source = source.name_any(),
        run.id = %run.id,
        job = made.name_any(),
        request_id = run.request_id,
        "ingestion Job made"
    );
    apply(&context.namespaced(namespace), &build::run_secret(source, &made, environment)).await?;
    Ok(())
}

/// Gives a Job the Secret that its pod waits for.
async fn give_secret(
    context: &Context,
    namespace: &str,
    source: &KnowledgeSource,
    job: &str,
) -> Result<(), ReconcileError> {
    let Some(job) = context.jobs.get(&reference(namespace, job)) else { return Ok(()) };
    let mut tx = context.provisioner.begin(namespace).await?;
    let tenant = tx.tenant();
    let environment = environment(context, &mut tx, tenant).await?;
    tx.commit().await?;
    apply(&context.namespaced(namespace), &build::run_secret(source, &job, &environment)).await?;
    Ok(())
}

async fn delete_job(context: &Context, namespace: &str, job: &str, uid: Option<&str>) -> Result<(), ReconcileError> {
    let mut params = DeleteParams::background();
    params.preconditions =
        uid.map(|uid| kube::api::Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match context.namespaced::<Job>(namespace).delete(job, &params).await {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error).doing("delete a Job"),
        _ => Ok(()),
    }
}

/// A CronJob for a schedule, and none without.
async fn schedule(
    context: &Context,
    namespace: &str,
    source: &KnowledgeSource,
    id: KnowledgeSourceId,
    is_suspended: bool,
    environment: Option<&RunEnvironment>,
) -> Result<(), ReconcileError> {
    let cron_jobs = context.namespaced::<k8s_openapi::api::batch::v1::CronJob>(namespace);
    let secrets: Api<Secret> = context.namespaced(namespace);
    let name = build::schedule_name(&source.name_any());
    let uid = source.uid().unwrap_or_default();
    if let (Some(environment), Some(_)) = (environment, &source.spec.schedule) {
        let desired =
            build::schedule(source, id, is_suspended, environment, &context.config.ingest, &context.config.addresses);
        if context.schedules.is_fresh(&uid, &desired) {
            return Ok(());
        }
        let (secret, cron_job) = &desired;
        apply(&secrets, secret).await?;
        apply(&cron_jobs, cron_job).await?;
        context.schedules.note(&uid, &desired);
    } else if status::may_have_had_schedule(source) {
        context.schedules.forget(&uid);
        for deleted in [
            cron_jobs.delete(&name, &DeleteParams::background()).await.map(drop),
            secrets.delete(&name, &DeleteParams::default()).await.map(drop),
        ] {
            match deleted {
                Err(error) if !is_not_found(&error) => return Err(error).doing("delete the CronJob of a schedule"),
                _ => {}
            }
        }
    }
    Ok(())
}

/// No new run, then no Job, then no rows. What Kubernetes owns by reference goes with the resource.
async fn finalize(
    context: &Context,
    api: &Api<KnowledgeSource>,
    source: &KnowledgeSource,
) -> Result<Action, ReconcileError> {
    let namespace = source.namespace().unwrap_or_default();
    let name = source.name_any();
    if !source.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::await_change());
    }
    let jobs: Api<Job> = context.namespaced(&namespace);
    let cron_jobs = context.namespaced::<k8s_openapi::api::batch::v1::CronJob>(&namespace);
    match cron_jobs.delete(&build::schedule_name(&name), &DeleteParams::background()).await {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => {
            return Err(error).doing("delete the CronJob of a schedule");
        }
        _ => {}
    }
    let of_source = ListParams::default().labels(&format!("{SOURCE_LABEL}={name}"));
    for job in jobs.list_metadata(&of_source).await.doing("list the Jobs of a knowledge source")?.items {
        delete_job(context, &namespace, &job.name_any(), None).await?;
    }
    if !retains_rows(context, &namespace) {
        let deleted = context.provisioner.delete(&Manifest::KnowledgeSource(source.clone())).await;
        match deleted.map_err(ReconcileError::from) {
            Err(error) if !(error.is_of_the_database() && is_forced(source)) => return Err(error),
            _ => {}
        }
    }
    remove_finalizer(api, source, FINALIZER).await?;
    context.schedules.forget(&source.uid().unwrap_or_default());
    context.knowledge.note(ObjectRef::from_obj(source), None);
    Ok(Action::await_change())
}
