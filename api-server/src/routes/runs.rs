//! Runs of ingestion, as they stand and as they go on.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use docbrain_core::ids::{RunId, TenantId};
use docbrain_core::store::runs::{self, RunRow, RunState};
use docbrain_core::store::{Pool, TenantTx};
use futures::stream;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::TenantAccess;
use crate::extract::Path;
use crate::middleware::RequestId;
use crate::problem::{Problem, ProblemKind};
use crate::sse;

pub(super) mod history;

/// How often a run that is followed is looked at.
const PERIOD: Duration = Duration::from_millis(250);
/// Most failures that are listed.
const MOST_FAILURES: u32 = 100;

/// A run of ingestion, with what failed in it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunBody {
    #[serde(flatten)]
    summary: RunSummary,
    /// The first hundred documents that could not be indexed, by path.
    failures: Vec<FailureBody>,
}

/// A run of ingestion.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RunSummary {
    /// Its id.
    id: Uuid,
    /// The knowledge source it indexes.
    knowledge_source_id: Uuid,
    #[serde(flatten)]
    progress: Progress,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it first began.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// Time since it began, until it ended.
    #[schema(example = 4.2)]
    seconds: f64,
    /// Documents indexed a second.
    #[schema(example = 2.9)]
    documents_per_second: f64,
    /// Chunks written a second.
    #[schema(example = 81.0)]
    chunks_per_second: f64,
    /// Bytes of originals read a second.
    #[schema(example = 20_480.0)]
    bytes_per_second: f64,
}

/// What changes as a run goes on.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Progress {
    /// How far it is.
    state: Stage,
    /// Why it ended early.
    reason: Option<String>,
    /// What is to be said of how its documents were fetched, such as that a limit was reached.
    note: Option<String>,
    /// Documents of the source when it began.
    #[schema(example = 12)]
    documents_total: u32,
    /// Indexed by it.
    #[schema(example = 11)]
    documents_indexed: u32,
    /// Found indexed already.
    documents_unchanged: u32,
    /// Could not be indexed.
    documents_failed: u32,
    /// Chunks written.
    #[schema(example = 340)]
    chunks: u32,
    /// Bytes of originals read.
    bytes: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// It waits for a process.
    Queued,
    /// A process works on it.
    Running,
    /// Every document was handled; some may have failed.
    Succeeded,
    /// It ended early.
    Failed,
}

/// A document that could not be indexed.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct FailureBody {
    /// Its path.
    #[schema(example = "report.pdf")]
    path: String,
    /// Why.
    #[schema(example = "the PDF is protected by a password")]
    reason: String,
}

/// A run with its counts and failures
#[utoipa::path(
    get, path = "/runs/{id}", tag = "runs", params(("id" = Uuid, Path, description = "Id of the run")),
    extensions(("x-problems" = json!(["run_not_found"]))),
    responses((status = 200, description = "The run", body = RunBody))
)]
pub(crate) async fn get_run(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
) -> Result<Json<RunBody>, Problem> {
    Ok(Json(load(&pool, admin.tenant, parse(&id)?).await?))
}

/// A run as it goes on
///
/// Events `progress` with the run whenever it has changed, and `done` with it when it has ended; `error` with a problem
/// when it cannot be followed any longer.
#[utoipa::path(
    get, path = "/runs/{id}/events", tag = "runs", params(("id" = Uuid, Path, description = "Id of the run")),
    extensions(("x-problems" = json!(["run_not_found"]))),
    responses((
        status = 200, description = "The run's events", content_type = "text/event-stream", body = sse::EventBody,
        example = "event: progress\ndata: {\"state\":\"running\",\"documents_indexed\":3}\n\nevent: done\ndata: {\"state\":\"succeeded\",\"documents_indexed\":12}\n\n"
    ))
)]
pub(crate) async fn follow_run(
    State(pool): State<Pool>,
    admin: TenantAccess,
    request_id: RequestId,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let first = load(&pool, admin.tenant, id).await?;
    let follower = Follower { pool, tenant: admin.tenant, id, told: None, next: Some(first), request_id };
    Ok(sse::response(stream::unfold(Some(follower), |follower| async { Some(follower?.step().await) })))
}

struct Follower {
    pool: Pool,
    tenant: TenantId,
    id: RunId,
    /// What was last told.
    told: Option<Progress>,
    /// What was loaded already.
    next: Option<RunBody>,
    request_id: RequestId,
}

impl Follower {
    /// The next event, and who tells the one after it.
    async fn step(mut self) -> (axum::response::sse::Event, Option<Self>) {
        loop {
            let run = match self.next.take() {
                Some(run) => Ok(run),
                None => load(&self.pool, self.tenant, self.id).await,
            };
            match run {
                Err(problem) => return (sse::failure(&problem, &self.request_id), None),
                Ok(run) if run.summary.finished_at.is_some() => return (sse::event("done", &run), None),
                Ok(run) if self.told.as_ref() != Some(&run.summary.progress) => {
                    self.told = Some(run.summary.progress.clone());
                    return (sse::event("progress", &run), Some(self));
                }
                Ok(_) => tokio::time::sleep(PERIOD).await,
            }
        }
    }
}

fn parse(id: &str) -> Result<RunId, Problem> {
    id.parse().map_err(|_| Problem::new(ProblemKind::RunNotFound, "the id of a run is a UUID, as an upload returns it"))
}

async fn load(pool: &Pool, tenant: TenantId, id: RunId) -> Result<RunBody, Problem> {
    let mut tx = TenantTx::begin(pool, tenant).await?;
    let run = runs::get(&mut tx, id).await?;
    let failures =
        if run.documents_failed > 0 { runs::failures(&mut tx, id, MOST_FAILURES).await? } else { Vec::new() };
    tx.commit().await?;
    let failures =
        failures.into_iter().map(|failure| FailureBody { path: failure.path, reason: failure.reason }).collect();
    Ok(RunBody { summary: run.into(), failures })
}

impl From<RunRow> for RunSummary {
    fn from(run: RunRow) -> Self {
        let ended = run.finished_at.unwrap_or_else(Utc::now);
        let seconds = run.started_at.map_or(0.0, |started| (ended - started).as_seconds_f64().max(0.0));
        let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
        let bytes = run.bytes as f64;
        Self {
            id: run.id.0,
            knowledge_source_id: run.source.0,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            seconds,
            documents_per_second: rate(f64::from(run.documents_indexed)),
            chunks_per_second: rate(f64::from(run.chunks)),
            bytes_per_second: rate(bytes),
            progress: Progress::from(run),
        }
    }
}

impl From<RunRow> for Progress {
    fn from(run: RunRow) -> Self {
        let (state, reason) = match run.state {
            RunState::Queued => (Stage::Queued, None),
            RunState::Running => (Stage::Running, None),
            RunState::Succeeded => (Stage::Succeeded, None),
            RunState::Failed { reason } => (Stage::Failed, Some(reason)),
        };
        Self {
            state,
            reason,
            note: run.note,
            documents_total: run.documents_total,
            documents_indexed: run.documents_indexed,
            documents_unchanged: run.documents_unchanged,
            documents_failed: run.documents_failed,
            chunks: run.chunks,
            bytes: run.bytes,
        }
    }
}
