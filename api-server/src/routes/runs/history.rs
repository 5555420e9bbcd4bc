//! Runs of the past, and what became of each document in them.

use axum::Json;
use axum::extract::State;
use docbrain_core::store::runs::{self, DocumentResult, RunKey};
use docbrain_core::store::{Pool, TenantTx, audit};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{RunBody, RunSummary};
use crate::access::TenantAccess;
use crate::extract::{Path, Query, SplitQuery};
use crate::paging::Page;
use crate::problem::{Problem, ProblemKind};
use crate::routes::sources;

/// Runs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunList {
    /// This page of them.
    runs: Vec<RunSummary>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// Which documents of a run.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResultFilter {
    /// Those that it `indexed`, or those that `failed`.
    #[param(example = "failed")]
    outcome: Option<String>,
}

/// Documents of a run by path.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResultList {
    /// This page of them.
    documents: Vec<ResultBody>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// What became of a document in a run.
#[derive(Serialize, ToSchema)]
struct ResultBody {
    /// The document, which may be gone by now.
    document_id: Uuid,
    /// The path it had.
    #[schema(example = "report.pdf")]
    path: String,
    /// `indexed`, `unchanged` or `failed`.
    #[schema(example = "failed")]
    outcome: String,
    /// Why it failed.
    #[schema(example = "the PDF is protected by a password")]
    reason: Option<String>,
    /// Chunks written.
    chunks: i32,
    /// Time it took.
    milliseconds: i32,
}

/// The runs of a knowledge source, newest first
#[utoipa::path(
    get, path = "/sources/{id}/runs", tag = "runs", params(("id" = String, Path, description = "Name or id of the knowledge source"), Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "knowledge_source_not_found"]))),
    responses((status = 200, description = "A page of the list", body = RunList))
)]
pub(crate) async fn list_runs(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<RunList>, Problem> {
    let (after, rows) = (page.after::<RunKey>()?, page.rows()?);
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let source = sources::find(&mut tx, &id).await?;
    let mut runs = runs::list(&mut tx, source.id, after, rows).await?;
    tx.commit().await?;
    let next = page.cut(&mut runs, |last| (last.created_at, last.id));
    Ok(Json(RunList { runs: runs.into_iter().map(Into::into).collect(), next }))
}

/// What became of each document in a run
#[utoipa::path(
    get, path = "/runs/{id}/documents", tag = "runs", params(("id" = Uuid, Path, description = "Id of the run"), ResultFilter, Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "run_not_found"]))),
    responses((status = 200, description = "A page of the list", body = ResultList))
)]
pub(crate) async fn list_run_documents(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
    SplitQuery(page, filter): SplitQuery<Page, ResultFilter>,
) -> Result<Json<ResultList>, Problem> {
    if filter.outcome.as_deref().is_some_and(|outcome| !matches!(outcome, "indexed" | "unchanged" | "failed")) {
        return Err(Problem::new(ProblemKind::InvalidField, "`outcome` is one of `indexed`, `unchanged` and `failed`"));
    }
    let (id, after, rows) = (super::parse(&id)?, page.after::<(String, _)>()?, page.rows()?);
    let after = after.as_ref().map(|(path, id)| (path.as_str(), *id));
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    runs::get(&mut tx, id).await?;
    let mut documents = runs::documents(&mut tx, id, filter.outcome.as_deref(), after, rows).await?;
    tx.commit().await?;
    let next = page.cut(&mut documents, |last| (last.path.clone(), last.document));
    Ok(Json(ResultList { documents: documents.into_iter().map(Into::into).collect(), next }))
}

/// End a run early
///
/// What it has indexed stays. A run that has ended already stays as it ended.
#[utoipa::path(
    post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = Uuid, Path, description = "Id of the run")),
    extensions(("x-problems" = json!(["run_not_found"]))),
    responses((status = 200, description = "The run as it ended", body = RunBody))
)]
pub(crate) async fn cancel_run(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<Json<RunBody>, Problem> {
    let id = super::parse(&id)?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    runs::get(&mut tx, id).await?;
    runs::fail(&mut tx, id, "cancelled").await?;
    audit::record(&mut tx, access.actor()?, "run.cancel", &id.to_string(), &json!({})).await?;
    tx.commit().await?;
    Ok(Json(super::load(&pool, access.tenant, id).await?))
}

impl From<DocumentResult> for ResultBody {
    fn from(row: DocumentResult) -> Self {
        Self {
            document_id: row.document.0,
            path: row.path,
            outcome: row.outcome,
            reason: row.reason,
            chunks: row.chunks,
            milliseconds: row.milliseconds,
        }
    }
}
