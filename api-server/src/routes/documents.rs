//! What a chatbot knows.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use docbrain_core::ids::DocumentId;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::documents::{self, Counts, DocumentRow, DocumentStatus};
use docbrain_core::store::{Pool, TenantTx};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::TenantAccess;
use crate::extract::{Path, Query};
use crate::problem::{Problem, ProblemKind};

pub(super) mod upload;

/// Documents on one page of a list, unless the request says otherwise.
const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1_000;

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// `next` of the page before.
    after: Option<String>,
    /// Most documents on the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
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
#[derive(Clone, Copy, Serialize, ToSchema)]
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

/// The documents of a chatbot's knowledge sources
#[utoipa::path(
    get, path = "/chatbots/{id}/documents", tag = "documents", params(("id" = String, Path, description = "Name or id of the chatbot"), Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "chatbot_not_found"]))),
    responses((status = 200, description = "A page of the list", body = DocumentList))
)]
pub(crate) async fn list_documents(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<DocumentList>, Problem> {
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::new(ProblemKind::InvalidField, "`limit` must be 1 to 1000"));
    }
    let after = page.after.as_deref().map(position).transpose()?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let bot = chatbots::get(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    let documents = documents::list(&mut tx, &bot.sources, after, limit).await?;
    let counts = documents::count(&mut tx, &bot.sources).await?;
    tx.commit().await?;
    let last = documents.last().filter(|_| documents.len() == limit as usize);
    let next = last.map(|last| format!("{}/{}", last.id, last.path));
    Ok(Json(DocumentList { documents: documents.into_iter().map(Into::into).collect(), counts: counts.into(), next }))
}

/// The document that a page ended with, as `next` names it: two knowledge sources may hold the same path.
fn position(next: &str) -> Result<(&str, DocumentId), Problem> {
    let parts = next.split_once('/').and_then(|(id, path)| Some((path, id.parse().ok()?)));
    parts.ok_or_else(|| Problem::new(ProblemKind::InvalidField, "`after` must be the `next` of an earlier page"))
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
    let unknown = |_| {
        Problem::new(ProblemKind::DocumentNotFound, "the id of a document is a UUID, as the list of documents gives it")
    };
    let id: DocumentId = id.parse().map_err(unknown)?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    documents::delete(&mut tx, id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
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
