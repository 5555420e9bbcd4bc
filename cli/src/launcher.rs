//! A process for each ingestion run that is due: what Jobs are in a cluster.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use docbrain_core::ids::{RunId, TenantId};
use docbrain_core::models::EmbeddingChoice;
use docbrain_core::providers::{self, Purpose};
use docbrain_core::store::runs::{self, RunState};
use docbrain_core::store::{self, Pool, TenantTx};
use docbrain_core::{env, telemetry};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::installation::Installation;

/// Runs at the same time: each one keeps a core busy.
const MAX_PROCESSES: usize = 2;
/// How often a run's process may end badly before the run counts as failed.
const MAX_BAD_ENDS: u32 = 5;
const POLL: Duration = Duration::from_millis(500);

/// Starts processes for runs that are due, until `stop`; then ends them. Their runs go on at the next start.
pub(crate) async fn launch_runs(installation: &Installation, stop: CancellationToken) -> anyhow::Result<()> {
    let mut processes: JoinSet<(TenantId, RunId, anyhow::Result<ExitStatus>)> = JoinSet::new();
    let mut active: HashSet<RunId> = HashSet::new();
    let mut bad_ends: HashMap<RunId, u32> = HashMap::new();
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
                let child = spawn(installation, tenant, run, embedding, request_id.as_deref()).await?;
                let stop = stop.clone();
                processes.spawn(async move { (tenant, run, attend(child, stop).await) });
            }
        }
    }
    while let Some(ended) = processes.join_next().await {
        let (tenant, run, _) = ended?;
        release(&installation.owner, tenant, run).await?;
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
) -> anyhow::Result<Child> {
    // A tenant that was made by registration has no role yet.
    installation.ensure_ingest_role(tenant).await?;
    let program = program()?;
    let mut command = Command::new(&program);
    command
        .arg("run")
        .env_clear()
        .env(env::RUN_ID, run.to_string())
        .env(env::TENANT_ID, tenant.to_string())
        .env(env::INGEST_DATABASE_URL, installation.ingest_url(tenant)?.expose_secret())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(request_id) = request_id {
        command.env(env::REQUEST_ID, request_id);
    }
    for name in [env::LOG_FILTER, env::LOG_FORMAT, env::SENTRY_DSN, env::OTLP_ENDPOINT, "PATH", "RAYON_NUM_THREADS"] {
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
            if let Some(addresses) = &endpoint.guard {
                command.env(env::EMBEDDING_GUARDED, "true").env(env::ALLOWED_NETWORKS, addresses.to_string());
            }
        }
    }
    command.spawn().with_context(|| format!("cannot run {}", program.display()))
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

async fn attend(mut child: Child, stop: CancellationToken) -> anyhow::Result<ExitStatus> {
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
