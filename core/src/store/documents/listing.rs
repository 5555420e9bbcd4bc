//! Documents as they are listed and counted.

use chrono::{DateTime, Utc};

use super::super::{Error, TenantTx};
use crate::ids::{DocumentId, KnowledgeSourceId, RunId};

/// How far a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentStatus {
    /// It waits for a run.
    Pending,
    /// Questions find it.
    Indexed,
    /// It could not be indexed.
    Failed {
        /// One word for programs.
        code: String,
        /// A sentence for people.
        detail: String,
    },
}

/// A document as listed.
#[derive(Clone, Debug)]
pub struct DocumentRow {
    /// Its id.
    pub id: DocumentId,
    /// Its knowledge source's name.
    pub source: String,
    /// Path within the knowledge source.
    pub path: String,
    /// Title, from the content once it was read.
    pub title: String,
    /// Where a visitor can open it.
    pub url: Option<String>,
    /// How far it is.
    pub status: DocumentStatus,
    /// Hash of its content.
    pub content_sha256: Vec<u8>,
    /// Size of the original in bytes.
    pub size_bytes: u64,
    /// Language as ISO 639-1, once read.
    pub language: Option<String>,
    /// Number of pages, where the format has pages.
    pub pages: Option<u32>,
    /// Chunks in the index.
    pub chunks: u32,
    /// When it first arrived.
    pub created_at: DateTime<Utc>,
    /// When it was last indexed.
    pub indexed_at: Option<DateTime<Utc>>,
}

/// In which order documents are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By path.
    #[default]
    Path,
    /// The newest first.
    Newest,
}

/// Which documents are wanted; all by default.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state: `pending`, `indexed` or `failed`.
    pub status: Option<&'static str>,
    /// Of the knowledge source of this name.
    pub source: Option<String>,
    /// Whose path or title holds this text, in any case.
    pub search: Option<String>,
    /// In this order.
    pub sort: Sort,
}

/// A document as Postgres gives it.
struct Row {
    id: DocumentId,
    source: String,
    path: String,
    title: String,
    url: Option<String>,
    status: String,
    content_sha256: Vec<u8>,
    error_code: Option<String>,
    error_detail: Option<String>,
    size_bytes: i64,
    language: Option<String>,
    pages: Option<i32>,
    chunks: i32,
    created_at: DateTime<Utc>,
    indexed_at: Option<DateTime<Utc>>,
}

impl From<Row> for DocumentRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            source: row.source,
            path: row.path,
            title: row.title,
            url: row.url,
            status: match (row.error_code, row.status.as_str()) {
                (Some(code), _) => DocumentStatus::Failed { code, detail: row.error_detail.unwrap_or_default() },
                (None, "indexed") => DocumentStatus::Indexed,
                (None, _) => DocumentStatus::Pending,
            },
            content_sha256: row.content_sha256,
            size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
            language: row.language,
            pages: row.pages.and_then(|pages| u32::try_from(pages).ok()),
            chunks: u32::try_from(row.chunks).unwrap_or(0),
            created_at: row.created_at,
            indexed_at: row.indexed_at,
        }
    }
}

/// Documents of some knowledge sources, after `after` in the filter's order, at most `limit`.
pub async fn list(
    tx: &mut TenantTx,
    sources: &[KnowledgeSourceId],
    filter: &Filter,
    after: Option<(&str, DocumentId)>,
    limit: u32,
) -> Result<Vec<DocumentRow>, Error> {
    let sources: Vec<_> = sources.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select d.id as "id: _", s.name as source, d.path, d.title, d.url, d.status, d.content_sha256, d.error_code, d.error_detail,
                d.size_bytes, d.language, d.pages, d.chunks, d.created_at, d.indexed_at
         from documents d
         join knowledge_sources s on s.tenant_id = d.tenant_id and s.id = d.knowledge_source_id
         where d.tenant_id = $1 and d.knowledge_source_id = any ($2)
           and ($3::text is null or case when $8::boolean then d.id < $4 else (d.path, d.id) > ($3, $4) end)
           and ($5::text is null or d.status = $5)
           and ($6::text is null or s.name = $6)
           and ($7::text is null or strpos(lower(d.path), lower($7)) > 0 or strpos(lower(d.title), lower($7)) > 0)
         order by case when not $8 then d.path end, case when $8 then d.id end desc, d.id limit $9"#,
        tx.tenant().0,
        &sources,
        after.map(|(path, _)| path),
        after.map(|(_, id)| id.0),
        filter.status,
        filter.source,
        filter.search,
        filter.sort == Sort::Newest,
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The document with this id.
pub async fn get(tx: &mut TenantTx, id: DocumentId) -> Result<DocumentRow, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select d.id as "id: _", s.name as source, d.path, d.title, d.url, d.status, d.content_sha256, d.error_code, d.error_detail,
                d.size_bytes, d.language, d.pages, d.chunks, d.created_at, d.indexed_at
         from documents d
         join knowledge_sources s on s.tenant_id = d.tenant_id and s.id = d.knowledge_source_id
         where d.tenant_id = $1 and d.id = $2"#,
        tx.tenant().0,
        id.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.ok_or(Error::NotFound { what: "document" })?.into())
}

/// What became of a document in a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run.
    pub run: RunId,
    /// `indexed`, `unchanged` or `failed`.
    pub outcome: String,
    /// Why it failed, for people.
    pub reason: Option<String>,
    /// Chunks written.
    pub chunks: i32,
    /// Time from its bytes to its rows.
    pub milliseconds: i32,
}

/// What became of a document in the last run that dealt with it.
pub async fn last_outcome(tx: &mut TenantTx, id: DocumentId) -> Result<Option<Outcome>, Error> {
    let outcome = sqlx::query_as!(
        Outcome,
        r#"select o.run_id as "run: _", o.outcome, o.reason, o.chunks, o.milliseconds
         from run_documents o join runs r on r.tenant_id = o.tenant_id and r.id = o.run_id
         where o.tenant_id = $1 and o.document_id = $2 order by r.created_at desc, r.id desc limit 1"#,
        tx.tenant().0,
        id.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(outcome)
}

/// How many documents of some knowledge sources are pending, indexed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a run.
    pub pending: u32,
    /// Found by questions.
    pub indexed: u32,
    /// Could not be indexed.
    pub failed: u32,
    /// Chunks of all.
    pub chunks: u32,
}

/// Counts documents of some knowledge sources, or of all, by status.
pub async fn count(tx: &mut TenantTx, sources: Option<&[KnowledgeSourceId]>) -> Result<Counts, Error> {
    let sources: Option<Vec<_>> = sources.map(|sources| sources.iter().map(|id| id.0).collect());
    let row = sqlx::query!(
        r#"select count(*) filter (where status = 'pending') as "pending!", count(*) filter (where status = 'indexed') as "indexed!",
                count(*) filter (where status = 'failed') as "failed!", coalesce(sum(chunks), 0) as "chunks!"
         from documents where tenant_id = $1 and ($2::uuid[] is null or knowledge_source_id = any ($2))"#,
        tx.tenant().0,
        sources.as_deref(),
    )
    .fetch_one(&mut **tx)
    .await?;
    let number = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Counts {
        pending: number(row.pending),
        indexed: number(row.indexed),
        failed: number(row.failed),
        chunks: number(row.chunks),
    })
}
