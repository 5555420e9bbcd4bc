//! A process for each ingestion run that is due: what Jobs are in a cluster.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use docbrain_core::ids::{RunId, TenantId};
use docbrain_core::models::EmbeddingChoice;
use docbrain_core::providers::{self, Purpose};
use docbrain_core::store::runs::{self, RunState};
use docbrain_core::store::{self, Pool, TenantTx, secrets, sources};
use docbrain_core::{env, schedule, telemetry};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::installation::Installation;

/// Runs at the same time: each one keeps a core busy.
const MAX_PROCESSES: usize = 2;
/// How often a run's process may end badly before the run counts as failed.
const MAX_BAD_ENDS: u32 = 5;
const POLL: Duration = Duration::from_millis(500);
/// How often schedules are looked at.
const SCHEDULE_PERIOD: Duration = Duration::from_secs(10);
/// The keys of a Secret that a git source may need.
const CREDENTIALS: [&str; 4] = ["username", "password", "ssh-privatekey", "known_hosts"];

/// Starts processes for runs that are due, until `stop`; then ends them. Their runs go on at the next start.
pub(crate) async fn launch_runs(installation: &Installation, stop: CancellationToken) -> anyhow::Result<()> {
    let mut processes: JoinSet<(TenantId, RunId, anyhow::Result<ExitStatus>)> = JoinSet::new();
    let mut active: HashSet<RunId> = HashSet::new();
    let mut bad_ends: HashMap<RunId, u32> = HashMap::new();
    let mut looked_at = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(POLL) => {}
            Some(ended) = processes.join_next() => {
                let (tenant, run, status) = ended?;
                active.remove(&run);
                let bad = bad_ends.entry(run).or_default();
                *bad += u32::from(!matches!(&status, Ok(status) if status.success()));
                if let Err(error) = settle(&installation.owner, tenant, run, &status, *bad).await {
                    tracing::warn!(run.id = %run, error = format!("{error:#}"), "cannot settle a run, trying again");
                }
                continue;
            }
        }
        if looked_at.is_none_or(|at: Instant| at.elapsed() >= SCHEDULE_PERIOD) {
            looked_at = Some(Instant::now());
            if let Err(error) = keep_schedules(&installation.owner, Utc::now()).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot look at schedules, trying again");
            }
        }
        let due = match runs::due(&installation.owner).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for runs, trying again");
                continue;
            }
        };
        for (tenant, run) in due {
            if active.len() < MAX_PROCESSES && active.insert(run) {
                let embedding = match embedding_of(installation, tenant).await {
                    Ok(embedding) => embedding,
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(run.id = %run, error, "cannot read a tenant's embedding model, trying again");
                        active.remove(&run);
                        continue;
                    }
                };
                // The run goes on without it, too.
                let request_id = asked_by(&installation.owner, tenant, run).await.unwrap_or_default();
                tracing::info!(run.id = %run, %tenant, request_id, "ingestion process starts");
                let process = spawn(installation, tenant, run, embedding, request_id.as_deref()).await?;
                let stop = stop.clone();
                processes.spawn(async move { (tenant, run, attend(process, stop).await) });
            }
        }
    }
    while let Some(ended) = processes.join_next().await {
        let (tenant, run, _) = ended?;
        release(&installation.owner, tenant, run).await?;
    }
    Ok(())
}

/// Asks for the runs whose time has come.
async fn keep_schedules(owner: &Pool, now: DateTime<Utc>) -> Result<(), store::Error> {
    for scheduled in runs::scheduled(owner).await? {
        let (schedule, zone, last) =
            (&scheduled.schedule, scheduled.time_zone.as_deref(), scheduled.last_trigger.as_deref());
        let due = match schedule::due(schedule, zone, scheduled.source, scheduled.since, last, now) {
            Ok(due) => due,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(source = %scheduled.source, error, "a source has no schedule that can be kept");
                continue;
            }
        };
        if let Some(trigger) = due {
            let mut tx = TenantTx::begin(owner, scheduled.tenant).await?;
            runs::enqueue(&mut tx, scheduled.source, &trigger).await?;
            tx.commit().await?;
            tracing::info!(tenant = %scheduled.tenant, source = %scheduled.source, trigger, "a scheduled run is due");
        }
    }
    Ok(())
}

/// The request that asked for a run, where one did.
async fn asked_by(owner: &Pool, tenant: TenantId, run: RunId) -> anyhow::Result<Option<String>> {
    let mut tx = TenantTx::begin(owner, tenant).await?;
    let row = runs::get(&mut tx, run).await?;
    tx.commit().await?;
    Ok(row.request_id)
}

/// Starts the process of one run.
pub(crate) async fn spawn(
    installation: &Installation,
    tenant: TenantId,
    run: RunId,
    embedding: EmbeddingChoice,
    request_id: Option<&str>,
) -> anyhow::Result<Process> {
    // A tenant that was made by registration has no role yet.
    installation.ensure_ingest_role(tenant).await?;
    let program = program()?;
    let mut command = Command::new(&program);
    command.env_clear();
    let credentials = credentials_of(installation, tenant, run).await?;
    if let Some(credentials) = &credentials {
        command.env(env::CREDENTIALS_DIR, credentials.path());
    }
    command
        .arg("run")
        .env(env::ALLOWED_NETWORKS, installation.addresses.to_string())
        .env(env::RUN_ID, run.to_string())
        .env(env::TENANT_ID, tenant.to_string())
        .env(env::INGEST_DATABASE_URL, installation.ingest_url(tenant)?.expose_secret())
        .env(env::LOG_FORMAT, installation.telemetry.format.word())
        .env(env::LOG_FILTER, installation.telemetry.filter.text())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(request_id) = request_id {
        command.env(env::REQUEST_ID, request_id);
    }
    for name in [env::SENTRY_DSN, env::OTLP_ENDPOINT, "PATH", "RAYON_NUM_THREADS"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    match embedding {
        EmbeddingChoice::BuiltIn(folder) => {
            command.env(env::MODEL_DIR, folder);
        }
        EmbeddingChoice::Remote(endpoint) => {
            command
                .env(env::EMBEDDING_BASE_URL, &endpoint.base_url)
                .env(env::EMBEDDING_MODEL, &endpoint.model)
                .env(env::EMBEDDING_KIND, endpoint.kind.name());
            if let Some(key) = &endpoint.api_key {
                command.env(env::EMBEDDING_API_KEY, SecretString::expose_secret(key));
            }
            if endpoint.guard.is_some() {
                command.env(env::EMBEDDING_GUARDED, "true");
            }
        }
    }
    let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(Process { child, _credentials: credentials })
}

/// The process of a run. The credentials that it was given go with it.
pub(crate) struct Process {
    pub(crate) child: Child,
    _credentials: Option<TempDir>,
}

/// A folder with the keys of the Secret that a run's source names, for the eyes of this user alone.
async fn credentials_of(installation: &Installation, tenant: TenantId, run: RunId) -> anyhow::Result<Option<TempDir>> {
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let source = runs::get(&mut tx, run).await?.source;
    let spec = sources::get(&mut tx, source).await?.spec;
    let Some(secret) = spec.source.git.and_then(|git| git.credentials_secret_ref) else { return Ok(None) };
    let folder = tempfile::Builder::new()
        .prefix("docbrain-credentials-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()?;
    for key in CREDENTIALS {
        if let Some(value) = installation.secrets.get(&mut tx, &secrets::referred(&secret.name, key)).await? {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(folder.path().join(key))?;
            file.write_all(value.expose_secret().as_bytes())?;
        }
    }
    tx.commit().await?;
    Ok(Some(folder))
}

/// The embedding model of a tenant's runs: its own provider's, else the installation's.
pub(crate) async fn embedding_of(
    installation: &Installation,
    tenant: TenantId,
) -> Result<EmbeddingChoice, store::Error> {
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let (secrets, addresses) = (&installation.secrets, &installation.addresses);
    let own = providers::own_endpoint(&mut tx, secrets, addresses, Purpose::Embeddings).await?;
    tx.commit().await?;
    Ok(own.map_or_else(|| installation.embedding.clone(), EmbeddingChoice::Remote))
}

fn program() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?;
    let beside = folder.with_file_name("docbrain-ingest");
    anyhow::ensure!(beside.exists(), "docbrain-ingest is missing beside docbrain: `make build` builds both");
    Ok(beside)
}

async fn attend(mut process: Process, stop: CancellationToken) -> anyhow::Result<ExitStatus> {
    let child = &mut process.child;
    tokio::select! {
        status = child.wait() => return Ok(status?),
        () = stop.cancelled() => {}
    }
    // Killing it at any instruction is safe; SIGTERM only spares the parser processes a broken pipe.
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM).context("cannot stop an ingestion process")?;
    }
    Ok(child.wait().await?)
}

/// After a process: its run ended, or it goes on at once, or it has failed too often.
async fn settle(
    owner: &Pool,
    tenant: TenantId,
    run: RunId,
    status: &anyhow::Result<ExitStatus>,
    bad_ends: u32,
) -> anyhow::Result<()> {
    let mut tx = TenantTx::begin(owner, tenant).await?;
    let row = runs::get(&mut tx, run).await?;
    if row.state.has_ended() {
        let label = if row.state == RunState::Succeeded { "succeeded" } else { "failed" };
        let took = row.finished_at.zip(row.started_at).and_then(|(end, start)| (end - start).to_std().ok());
        let (indexed, failed) = (row.documents_indexed, row.documents_failed);
        telemetry::record_run(label, indexed, failed, row.chunks, took.unwrap_or_default());
        return Ok(());
    }
    if bad_ends >= MAX_BAD_ENDS {
        let ended = status.as_ref().map_or_else(|error| format!("{error:#}"), ToString::to_string);
        runs::fail(
            &mut tx,
            run,
            &format!("the ingestion process ended {bad_ends} times before it was done (last: {ended})"),
        )
        .await?;
    } else if !matches!(status, Ok(status) if status.success()) {
        // A good end without an end of the run: another process holds the lease.
        runs::expire(&mut tx, run).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn release(owner: &Pool, tenant: TenantId, run: RunId) -> anyhow::Result<()> {
    let mut tx = TenantTx::begin(owner, tenant).await?;
    runs::expire(&mut tx, run).await?;
    tx.commit().await?;
    Ok(())
}
