//! Runs as they are told of.

use chrono::{DateTime, Utc};

use super::super::{Error, TenantTx};
use crate::ids::{DocumentId, KnowledgeSourceId, RunId};

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It waits for a process.
    Queued,
    /// A process works on it.
    Running,
    /// Every document was handled; some may have failed, each with its reason.
    Succeeded,
    /// It ended early.
    Failed {
        /// A sentence for people.
        reason: String,
    },
}

impl RunState {
    /// As Postgres has it.
    pub(super) fn read(state: &str, reason: Option<String>) -> Self {
        match state {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "succeeded" => Self::Succeeded,
            _ => Self::Failed { reason: reason.unwrap_or_default() },
        }
    }

    /// Whether nothing more will happen.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { .. })
    }
}

/// A run with its counts.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The knowledge source it indexes.
    pub source: KnowledgeSourceId,
    /// How far it is.
    pub state: RunState,
    /// Documents of the source when it began.
    pub documents_total: u32,
    /// Indexed by it.
    pub documents_indexed: u32,
    /// Found indexed already.
    pub documents_unchanged: u32,
    /// Could not be indexed.
    pub documents_failed: u32,
    /// Chunks written.
    pub chunks: u32,
    /// Bytes of originals read.
    pub bytes: u64,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a process first began it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The request that asked for it, where one did.
    pub request_id: Option<String>,
    /// What is to be said of a run that went well, such as that a limit was reached.
    pub note: Option<String>,
}

/// A run as Postgres gives it.
struct Row {
    id: RunId,
    knowledge_source_id: KnowledgeSourceId,
    state: String,
    reason: Option<String>,
    documents_total: i32,
    documents_indexed: i32,
    documents_unchanged: i32,
    documents_failed: i32,
    chunks: i32,
    bytes: i64,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    request_id: Option<String>,
    note: Option<String>,
}

impl From<Row> for RunRow {
    fn from(row: Row) -> Self {
        let number = |count: i32| u32::try_from(count).unwrap_or(0);
        Self {
            id: row.id,
            source: row.knowledge_source_id,
            state: RunState::read(&row.state, row.reason),
            documents_total: number(row.documents_total),
            documents_indexed: number(row.documents_indexed),
            documents_unchanged: number(row.documents_unchanged),
            documents_failed: number(row.documents_failed),
            chunks: number(row.chunks),
            bytes: u64::try_from(row.bytes).unwrap_or(0),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            request_id: row.request_id,
            note: row.note,
        }
    }
}

/// The run with this id.
pub async fn get(tx: &mut TenantTx, id: RunId) -> Result<RunRow, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id as "id: _", knowledge_source_id as "knowledge_source_id: _", state, reason, documents_total, documents_indexed,
                documents_unchanged, documents_failed, chunks, bytes, created_at, started_at, finished_at, request_id, note
         from runs where tenant_id = $1 and id = $2"#,
        tx.tenant().0,
        id.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.ok_or(Error::NotFound { what: "run" })?.into())
}

/// Where a page of [`list`] ended.
pub type RunKey = (DateTime<Utc>, RunId);

/// Runs of a knowledge source, the newest first, after `after` in that order, at most `limit`.
pub async fn list(
    tx: &mut TenantTx,
    source: KnowledgeSourceId,
    after: Option<RunKey>,
    limit: u32,
) -> Result<Vec<RunRow>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id: _", knowledge_source_id as "knowledge_source_id: _", state, reason, documents_total, documents_indexed,
                documents_unchanged, documents_failed, chunks, bytes, created_at, started_at, finished_at, request_id, note
         from runs
         where tenant_id = $1 and knowledge_source_id = $2 and ($3::timestamptz is null or (created_at, id) < ($3, $4))
         order by created_at desc, id desc limit $5"#,
        tx.tenant().0,
        source.0,
        after.map(|(at, _)| at),
        after.map(|(_, id)| id.0),
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// A document that a run could not index.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The document's path.
    pub path: String,
    /// Why, for people.
    pub reason: String,
}

/// What a run could not index, by path, at most `limit`.
pub async fn failures(tx: &mut TenantTx, run: RunId, limit: u32) -> Result<Vec<Failure>, Error> {
    let rows = sqlx::query_as!(
        Failure,
        r#"select path, coalesce(reason, '') as "reason!" from run_documents
         where tenant_id = $1 and run_id = $2 and outcome = 'failed' order by path limit $3"#,
        tx.tenant().0,
        run.0,
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// What became of one document in a run.
#[derive(Clone, Debug)]
pub struct DocumentResult {
    /// The document, which may be gone by now.
    pub document: DocumentId,
    /// The path it had.
    pub path: String,
    /// `indexed`, `unchanged` or `failed`.
    pub outcome: String,
    /// Why it failed, for people.
    pub reason: Option<String>,
    /// Chunks written.
    pub chunks: i32,
    /// Time from its bytes to its rows.
    pub milliseconds: i32,
}

/// What became of the documents of a run by path, after `after` in that order, at most `limit`.
pub async fn documents(
    tx: &mut TenantTx,
    run: RunId,
    outcome: Option<&str>,
    after: Option<(&str, DocumentId)>,
    limit: u32,
) -> Result<Vec<DocumentResult>, Error> {
    let rows = sqlx::query_as!(
        DocumentResult,
        r#"select document_id as "document: _", path, outcome, reason, chunks, milliseconds from run_documents
         where tenant_id = $1 and run_id = $2 and ($3::text is null or outcome = $3)
           and ($4::text is null or (path, document_id) > ($4, $5))
         order by path, document_id limit $6"#,
        tx.tenant().0,
        run.0,
        outcome,
        after.map(|(path, _)| path),
        after.map(|(_, id)| id.0),
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}
