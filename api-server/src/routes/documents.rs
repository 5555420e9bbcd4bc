//! What a chatbot knows.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use docbrain_core::ids::DocumentId;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::documents::{self, Counts, DocumentRow, DocumentStatus, Outcome, Sort};
use docbrain_core::store::{Pool, TenantTx, audit, runs, sources};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::conversations::searched;
use super::sources::Queued;
use crate::access::TenantAccess;
use crate::extract::{Path, SplitQuery};
use crate::paging::Page;
use crate::problem::{Problem, ProblemKind};

pub(super) mod original;
pub(super) mod upload;

/// Which documents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DocumentFilter {
    /// How far they are.
    #[param(inline)]
    status: Option<Status>,
    /// Name of their knowledge source.
    source: Option<String>,
    /// Text in their path or title, in any case.
    #[param(max_length = 200)]
    search: Option<String>,
    /// By path, or the newest first.
    #[serde(default)]
    #[param(inline)]
    sort: SortBody,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SortBody {
    /// By path.
    #[default]
    Path,
    /// The newest first.
    Newest,
}

impl DocumentFilter {
    fn checked(self) -> Result<documents::Filter, Problem> {
        Ok(documents::Filter {
            status: self.status.map(|status| match status {
                Status::Pending => "pending",
                Status::Indexed => "indexed",
                Status::Failed => "failed",
            }),
            source: self.source.map(searched).transpose()?,
            search: self.search.map(searched).transpose()?,
            sort: match self.sort {
                SortBody::Path => Sort::Path,
                SortBody::Newest => Sort::Newest,
            },
        })
    }
}

/// Documents by path.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentList {
    /// This page of them.
    documents: Vec<DocumentBody>,
    /// All of them counted.
    counts: CountsBody,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// Documents by status.
#[derive(Serialize, ToSchema)]
pub(super) struct CountsBody {
    /// Waiting for a run.
    pending: u32,
    /// Found by questions.
    indexed: u32,
    /// Could not be indexed.
    failed: u32,
    /// Chunks of all.
    chunks: u32,
}

/// A document.
#[derive(Serialize, ToSchema)]
struct DocumentBody {
    /// Its id.
    id: Uuid,
    /// Name of its knowledge source.
    #[schema(example = "docs")]
    knowledge_source: String,
    /// Its path within the knowledge source.
    #[schema(example = "guide/install.md")]
    path: String,
    /// Its title.
    #[schema(example = "Installation")]
    title: String,
    /// Where a visitor can open it.
    url: Option<String>,
    /// How far it is.
    status: Status,
    /// Why it could not be indexed.
    error: Option<DocumentError>,
    /// Size of the original in bytes.
    size_bytes: u64,
    /// Language as ISO 639-1, once read.
    #[schema(example = "en")]
    language: Option<String>,
    /// Number of pages, where the format has pages.
    pages: Option<u32>,
    /// Chunks in the index.
    chunks: u32,
    /// When it first arrived.
    created_at: DateTime<Utc>,
    /// When it was last indexed.
    indexed_at: Option<DateTime<Utc>>,
}

/// How far a document is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// It waits for a run.
    Pending,
    /// Questions find it.
    Indexed,
    /// It could not be indexed.
    Failed,
}

/// Why a document could not be indexed.
#[derive(Serialize, ToSchema)]
struct DocumentError {
    /// One word for programs.
    #[schema(example = "encrypted")]
    code: String,
    /// A sentence for people.
    #[schema(example = "the PDF is protected by a password")]
    detail: String,
}

/// A document, and what became of it in the last run that dealt with it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentDetail {
    #[serde(flatten)]
    document: DocumentBody,
    /// Null: no run has dealt with it yet.
    last_run: Option<OutcomeBody>,
}

/// What became of a document in a run.
#[derive(Serialize, ToSchema)]
struct OutcomeBody {
    /// The run.
    run_id: Uuid,
    /// `indexed`, `unchanged` or `failed`.
    #[schema(example = "indexed")]
    outcome: String,
    /// Why it failed.
    reason: Option<String>,
    /// Chunks written.
    chunks: i32,
    /// Time it took.
    milliseconds: i32,
}

/// The documents of a chatbot's knowledge sources
#[utoipa::path(
    get, path = "/chatbots/{id}/documents", tag = "documents",
    params(("id" = String, Path, description = "Name or id of the chatbot"), DocumentFilter, Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "chatbot_not_found"]))),
    responses((status = 200, description = "A page of the list", body = DocumentList))
)]
pub(crate) async fn list_documents(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
    SplitQuery(page, filter): SplitQuery<Page, DocumentFilter>,
) -> Result<Json<DocumentList>, Problem> {
    let (filter, after, rows) = (filter.checked()?, page.after::<(String, DocumentId)>()?, page.rows()?);
    // Two knowledge sources may hold the same path.
    let after = after.as_ref().map(|(path, id)| (path.as_str(), *id));
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let bot = chatbots::get(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    let mut documents = documents::list(&mut tx, &bot.sources, &filter, after, rows).await?;
    let counts = documents::count(&mut tx, Some(&bot.sources)).await?;
    tx.commit().await?;
    let next = page.cut(&mut documents, |last| (last.path.clone(), last.id));
    Ok(Json(DocumentList { documents: documents.into_iter().map(Into::into).collect(), counts: counts.into(), next }))
}

/// A document
#[utoipa::path(
    get, path = "/document/{id}", tag = "documents", params(("id" = Uuid, Path, description = "Id of the document")),
    extensions(("x-problems" = json!(["document_not_found"]))),
    responses((status = 200, description = "The document", body = DocumentDetail))
)]
pub(crate) async fn get_document(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
) -> Result<Json<DocumentDetail>, Problem> {
    let id = parse(&id)?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let document = documents::get(&mut tx, id).await?.into();
    let last_run = documents::last_outcome(&mut tx, id).await?.map(Into::into);
    tx.commit().await?;
    Ok(Json(DocumentDetail { document, last_run }))
}

/// Have a document indexed anew
///
/// Questions find what was indexed of it until then.
#[utoipa::path(
    post, path = "/document/{id}/reingest", tag = "documents", params(("id" = Uuid, Path, description = "Id of the document")),
    extensions(("x-problems" = json!(["document_not_found", "knowledge_source_suspended"]))),
    responses((status = 202, description = "A run will index it", body = Queued))
)]
pub(crate) async fn reingest_document(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Queued>), Problem> {
    let id = parse(&id)?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let source = documents::reset(&mut tx, id).await?;
    if sources::get(&mut tx, source).await?.suspended {
        return Err(Problem::new(ProblemKind::KnowledgeSourceSuspended, "resume the knowledge source first"));
    }
    let run = runs::enqueue(&mut tx, source, &format!("reingest:{}", Uuid::now_v7())).await?;
    audit::record(&mut tx, admin.actor()?, "document.reingest", &id.to_string(), &json!({ "run": run })).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Queued { run_id: run.0 })))
}

/// Delete a document, and what the index holds of it
#[utoipa::path(
    delete, path = "/document/{id}", tag = "documents", params(("id" = Uuid, Path, description = "Id of the document")),
    extensions(("x-problems" = json!(["document_not_found"]))),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete_document(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = parse(&id)?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    documents::delete(&mut tx, id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(id: &str) -> Result<DocumentId, Problem> {
    id.parse().map_err(|_| {
        Problem::new(ProblemKind::DocumentNotFound, "the id of a document is a UUID, as the list of documents gives it")
    })
}

impl From<Outcome> for OutcomeBody {
    fn from(outcome: Outcome) -> Self {
        Self {
            run_id: outcome.run.0,
            outcome: outcome.outcome,
            reason: outcome.reason,
            chunks: outcome.chunks,
            milliseconds: outcome.milliseconds,
        }
    }
}

impl From<Counts> for CountsBody {
    fn from(counts: Counts) -> Self {
        Self { pending: counts.pending, indexed: counts.indexed, failed: counts.failed, chunks: counts.chunks }
    }
}

impl From<DocumentRow> for DocumentBody {
    fn from(row: DocumentRow) -> Self {
        let (status, error) = match row.status {
            DocumentStatus::Pending => (Status::Pending, None),
            DocumentStatus::Indexed => (Status::Indexed, None),
            DocumentStatus::Failed { code, detail } => (Status::Failed, Some(DocumentError { code, detail })),
        };
        Self {
            id: row.id.0,
            knowledge_source: row.source,
            path: row.path,
            title: row.title,
            url: row.url,
            status,
            error,
            size_bytes: row.size_bytes,
            language: row.language,
            pages: row.pages,
            chunks: row.chunks,
            created_at: row.created_at,
            indexed_at: row.indexed_at,
        }
    }
}
