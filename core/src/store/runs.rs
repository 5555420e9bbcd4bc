//! Runs of ingestion: one lease at a time, fenced.
//!
//! A run belongs to the process that holds its lease. Every write of that process names the fencing token it got
//! with the lease, so a process that was thought dead can do no harm (Kleppmann, "How to do distributed locking").

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Error, Pool, TenantTx};
use crate::ids::{DocumentId, GenerationId, KnowledgeSourceId, RunId, TenantId};

mod events;
mod report;
mod standing;

pub use events::{RunEvent, RunEvents};
pub use report::{DocumentResult, Failure, RunKey, RunRow, RunState, documents, failures, get, list};
pub use standing::{RunStanding, Standing, standing};

/// How long a lease holds without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(15);

/// The run of a source for a trigger: the same trigger can never run twice.
pub fn id_of(source: KnowledgeSourceId, trigger: &str) -> RunId {
    let mut hash = Sha256::new();
    hash.update(source.0.as_bytes());
    hash.update(trigger.as_bytes());
    let digest = hash.finalize();
    RunId(Uuid::new_v8(digest[..16].try_into().expect("sixteen bytes")))
}

/// Asks for a run; asking again for the same trigger changes nothing.
pub async fn enqueue(tx: &mut TenantTx, source: KnowledgeSourceId, trigger: &str) -> Result<RunId, Error> {
    let id = id_of(source, trigger);
    sqlx::query!(
        "insert into runs (tenant_id, id, knowledge_source_id, trigger) values ($1, $2, $3, $4) on conflict do nothing",
        tx.tenant().0,
        id.0,
        source.0,
        trigger,
    )
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// Notes which request asked for a run; the first one stays.
pub async fn note_request(tx: &mut TenantTx, run: RunId, request_id: &str) -> Result<(), Error> {
    sqlx::query!(
        "update runs set request_id = coalesce(request_id, $3) where tenant_id = $1 and id = $2",
        tx.tenant().0,
        run.0,
        request_id,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Runs of all tenants that wait for a process, oldest first. For the owner, who launches them on one machine.
pub async fn due(owner: &Pool) -> Result<Vec<(TenantId, RunId)>, Error> {
    let rows = sqlx::query!(r#"select tenant_id as "tenant_id!", run_id as "run_id!" from runs_due()"#)
        .fetch_all(owner)
        .await?;
    Ok(rows.into_iter().map(|row| (row.tenant_id.into(), row.run_id.into())).collect())
}

/// The knowledge sources of the runs that [`due`] tells of, by the names of namespace and source.
pub async fn due_by_name(owner: &Pool) -> Result<Vec<(String, String)>, Error> {
    let mut names = Vec::new();
    for (tenant, run) in due(owner).await? {
        let mut tx = TenantTx::begin(owner, tenant).await?;
        let row = sqlx::query!(
            "select t.name as namespace, s.name as source
             from runs r join knowledge_sources s on s.tenant_id = r.tenant_id and s.id = r.knowledge_source_id
             join tenants t on t.tenant_id = r.tenant_id
             where r.tenant_id = $1 and r.id = $2",
            tenant.0,
            run.0,
        )
        .fetch_optional(&mut *tx)
        .await?;
        names.extend(row.map(|row| (row.namespace, row.source)));
    }
    Ok(names)
}

/// A knowledge source that is fetched by a schedule.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// Its tenant.
    pub tenant: TenantId,
    /// The source.
    pub source: KnowledgeSourceId,
    /// The schedule as its spec has it.
    pub schedule: String,
    /// The schedule's time zone.
    pub time_zone: Option<String>,
    /// Since when its spec stands.
    pub since: DateTime<Utc>,
    /// The trigger of the scheduled run that was asked for last.
    pub last_trigger: Option<String>,
}

/// The sources of all tenants that are fetched by a schedule. For the owner, who keeps schedules on one machine.
pub async fn scheduled(owner: &Pool) -> Result<Vec<Scheduled>, Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id!", source_id as "source_id!", schedule as "schedule!", time_zone,
            since as "since!", last_trigger from sources_scheduled()"#
    )
    .fetch_all(owner)
    .await?;
    let scheduled = rows.into_iter().map(|row| Scheduled {
        tenant: row.tenant_id.into(),
        source: row.source_id.into(),
        schedule: row.schedule,
        time_zone: row.time_zone,
        since: row.since,
        last_trigger: row.last_trigger,
    });
    Ok(scheduled.collect())
}

/// What a process holds while it works on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    fence: i64,
}

/// Takes a queued run, or one whose lease ran out. `None`: another process has it, it has ended, another run of its source is
/// under way, or the source is suspended.
pub async fn acquire(tx: &mut TenantTx, run: RunId) -> Result<Option<(Lease, KnowledgeSourceId)>, Error> {
    let taken = sqlx::query!(
        "update runs r set state = 'running', fence = fence + 1, started_at = coalesce(started_at, now()),
                lease_expires_at = now() + make_interval(secs => $3)
         where tenant_id = $1 and id = $2 and (state = 'queued' or (state = 'running' and lease_expires_at < now()))
           and not exists (
                select 1 from knowledge_sources s join tenants t using (tenant_id)
                where s.tenant_id = r.tenant_id and s.id = r.knowledge_source_id and (s.suspended or t.suspended))
         returning fence, knowledge_source_id",
        tx.tenant().0,
        run.0,
        LEASE.as_secs_f64(),
    )
    .fetch_optional(&mut **tx)
    .await;
    match taken {
        Ok(row) => Ok(row.map(|row| (Lease { run, fence: row.fence }, row.knowledge_source_id.into()))),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("runs_one_running") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Holds the lease for another [`LEASE`].
pub async fn heartbeat(tx: &mut TenantTx, lease: Lease) -> Result<(), Error> {
    let held = sqlx::query!(
        "update runs set lease_expires_at = now() + make_interval(secs => $4)
         where tenant_id = $1 and id = $2 and fence = $3 and state = 'running'",
        tx.tenant().0,
        lease.run.0,
        lease.fence,
        LEASE.as_secs_f64(),
    )
    .execute(&mut **tx)
    .await?;
    held_or_lost(held.rows_affected())
}

/// Lets the lease of a dead process run out at once. For whoever saw the process die.
pub async fn expire(tx: &mut TenantTx, run: RunId) -> Result<(), Error> {
    sqlx::query!(
        "update runs set lease_expires_at = now() - interval '1 second' where tenant_id = $1 and id = $2 and state = 'running'",
        tx.tenant().0,
        run.0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes the generation a run writes into and how many documents its source has.
pub async fn begin(tx: &mut TenantTx, lease: Lease, generation: GenerationId) -> Result<(), Error> {
    let held = sqlx::query!(
        "update runs r set generation_id = $4, documents_total = (
            select count(*) from documents d where d.tenant_id = r.tenant_id and d.knowledge_source_id = r.knowledge_source_id)
         where r.tenant_id = $1 and r.id = $2 and r.fence = $3 and r.state = 'running'",
        tx.tenant().0,
        lease.run.0,
        lease.fence,
        generation.0,
    )
    .execute(&mut **tx)
    .await?;
    held_or_lost(held.rows_affected())
}

/// What became of one document in a run.
#[derive(Clone, Debug)]
pub struct DocumentOutcome<'a> {
    /// The document.
    pub id: DocumentId,
    /// Its path, kept for the report after the document is gone.
    pub path: &'a str,
    /// Why it failed, for people; `None`: it is indexed.
    pub failure: Option<&'a str>,
    /// Chunks written.
    pub chunks: usize,
    /// Bytes of its original.
    pub bytes: usize,
    /// Time from its bytes to its rows.
    pub took: Duration,
}

/// Adds a document's outcome to the run; the first statement of a document's transaction, since it checks the fence.
pub async fn record(tx: &mut TenantTx, lease: Lease, outcome: &DocumentOutcome<'_>) -> Result<(), Error> {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let held = sqlx::query!(
        "with run as (
            update runs set
                documents_indexed = documents_indexed + case when $6::text is null then 1 else 0 end,
                documents_failed = documents_failed + case when $6::text is null then 0 else 1 end,
                chunks = chunks + $7, bytes = bytes + $8
            where tenant_id = $1 and id = $2 and fence = $3 and state = 'running'
            returning id)
         insert into run_documents (tenant_id, run_id, document_id, path, outcome, reason, chunks, milliseconds)
         select $1, run.id, $4, $5, case when $6::text is null then 'indexed' else 'failed' end, $6, $7, $9 from run
         on conflict (tenant_id, run_id, document_id) do update set
            outcome = excluded.outcome, reason = excluded.reason, chunks = excluded.chunks, milliseconds = excluded.milliseconds",
        tx.tenant().0,
        lease.run.0,
        lease.fence,
        outcome.id.0,
        outcome.path,
        outcome.failure,
        number(outcome.chunks),
        i64::try_from(outcome.bytes).unwrap_or(i64::MAX),
        i32::try_from(outcome.took.as_millis()).unwrap_or(i32::MAX),
    )
    .execute(&mut **tx)
    .await?;
    held_or_lost(held.rows_affected())
}

/// Whether what became of a document is in the run's report already.
pub async fn has_recorded(tx: &mut TenantTx, lease: Lease, document: DocumentId) -> Result<bool, Error> {
    let has = sqlx::query_scalar!(
        r#"select exists (
            select 1 from run_documents where tenant_id = $1 and run_id = $2 and document_id = $3) as "has!""#,
        tx.tenant().0,
        lease.run.0,
        document.0,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(has)
}

/// Says something of a run for people, in the place of what was said before.
pub async fn note(tx: &mut TenantTx, lease: Lease, note: Option<&str>) -> Result<(), Error> {
    let held = sqlx::query!(
        "update runs set note = $4 where tenant_id = $1 and id = $2 and fence = $3 and state = 'running'",
        tx.tenant().0,
        lease.run.0,
        lease.fence,
        note,
    )
    .execute(&mut **tx)
    .await?;
    held_or_lost(held.rows_affected())
}

/// Ends a run well.
pub async fn succeed(tx: &mut TenantTx, lease: Lease) -> Result<(), Error> {
    let held = sqlx::query!(
        "update runs set state = 'succeeded', finished_at = now(), lease_expires_at = null,
                documents_unchanged = greatest(documents_total - documents_indexed - documents_failed, 0)
         where tenant_id = $1 and id = $2 and fence = $3 and state = 'running'",
        tx.tenant().0,
        lease.run.0,
        lease.fence,
    )
    .execute(&mut **tx)
    .await?;
    held_or_lost(held.rows_affected())
}

/// Ends a run that cannot go on, whoever holds it.
pub async fn fail(tx: &mut TenantTx, run: RunId, reason: &str) -> Result<(), Error> {
    sqlx::query!(
        "update runs set state = 'failed', reason = $3, finished_at = now(), lease_expires_at = null, fence = fence + 1
         where tenant_id = $1 and id = $2 and state in ('queued', 'running')",
        tx.tenant().0,
        run.0,
        reason,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn held_or_lost(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::LeaseLost) } else { Ok(()) }
}
