//! Documents of a knowledge source, and their original bytes.
//!
//! A document is `pending`, `indexed` or `failed`. There is no "processing": a process that dies leaves nothing to
//! clean up, and what is being worked on is said by the run.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Error, TenantTx, quotas};
use crate::ids::{DocumentId, GenerationId, KnowledgeSourceId};

/// Largest original that is kept, in bytes.
pub const MAX_ORIGINAL_BYTES: usize = 256 * 1024 * 1024;

/// How often a document may be begun before it counts as the one that kills the process.
pub const MAX_ATTEMPTS: i32 = 5;

/// A document as it arrives.
#[derive(Clone, Debug)]
pub struct NewDocument<'a> {
    /// Path within the knowledge source: the same path again replaces the document.
    pub path: &'a str,
    /// Where a visitor can open it.
    pub url: Option<&'a str>,
    /// The original.
    pub bytes: &'a [u8],
}

/// What putting a document did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new, or its content changed, or it had failed: a run has work to do.
    Pending(DocumentId),
    /// The same content is indexed already.
    Unchanged(DocumentId),
}

impl Put {
    /// The document.
    pub fn id(self) -> DocumentId {
        match self {
            Self::Pending(id) | Self::Unchanged(id) => id,
        }
    }
}

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

/// Stores a document and its original, as far as the tenant's quota allows; content that is already there is not written
/// again.
pub async fn put(tx: &mut TenantTx, source: KnowledgeSourceId, document: &NewDocument<'_>) -> Result<Put, Error> {
    let sha256 = Sha256::digest(document.bytes).to_vec();
    let size = i64::try_from(document.bytes.len()).unwrap_or(i64::MAX);
    let quota = quotas::hold(tx).await?;
    let known = sqlx::query!(
        "select id, content_sha256, status from documents
         where tenant_id = $1 and knowledge_source_id = $2 and path = $3 for update",
        tx.tenant().0,
        source.0,
        document.path,
    )
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(row) = known.as_ref().filter(|row| row.content_sha256 == sha256 && row.status == "indexed") {
        sqlx::query!(
            "update documents set url = $3 where tenant_id = $1 and id = $2 and url is distinct from $3",
            tx.tenant().0,
            row.id,
            document.url,
        )
        .execute(&mut **tx)
        .await?;
        return Ok(Put::Unchanged(row.id.into()));
    }
    if let Some(quota) = quota {
        quota.admit_document(tx, known.is_none()).await?;
    }
    sqlx::query!(
        "insert into originals (tenant_id, sha256, bytes) values ($1, $2, $3) on conflict do nothing",
        tx.tenant().0,
        sha256,
        document.bytes,
    )
    .execute(&mut **tx)
    .await?;
    let title = document.path.rsplit('/').next().unwrap_or(document.path);
    let id = sqlx::query_scalar!(
        "insert into documents (tenant_id, id, knowledge_source_id, path, title, url, content_sha256, size_bytes)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (tenant_id, knowledge_source_id, path) do update set
            url = excluded.url, content_sha256 = excluded.content_sha256, size_bytes = excluded.size_bytes,
            status = 'pending', error_code = null, error_detail = null, attempts = 0, updated_at = now()
         returning id",
        tx.tenant().0,
        DocumentId::new().0,
        source.0,
        document.path,
        title,
        document.url,
        sha256,
        size,
    )
    .fetch_one(&mut **tx)
    .await?;
    if known.is_some_and(|row| row.content_sha256 != sha256) {
        drop_unused_originals(tx).await?;
    }
    Ok(Put::Pending(id.into()))
}

/// Documents of some knowledge sources by path and id, after `after` in that order, at most `limit`.
pub async fn list(
    tx: &mut TenantTx,
    sources: &[KnowledgeSourceId],
    after: Option<(&str, DocumentId)>,
    limit: u32,
) -> Result<Vec<DocumentRow>, Error> {
    let sources: Vec<_> = sources.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        "select d.id, s.name as source, d.path, d.title, d.url, d.status, d.error_code, d.error_detail, d.size_bytes,
                d.language, d.pages, d.chunks, d.created_at, d.indexed_at
         from documents d
         join knowledge_sources s on s.tenant_id = d.tenant_id and s.id = d.knowledge_source_id
         where d.tenant_id = $1 and d.knowledge_source_id = any ($2)
           and ($3::text is null or (d.path, d.id) > ($3, $4))
         order by d.path, d.id limit $5",
        tx.tenant().0,
        &sources,
        after.map(|(path, _)| path),
        after.map(|(_, id)| id.0),
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DocumentRow {
            id: row.id.into(),
            source: row.source,
            path: row.path,
            title: row.title,
            url: row.url,
            status: match (row.error_code, row.status.as_str()) {
                (Some(code), _) => DocumentStatus::Failed { code, detail: row.error_detail.unwrap_or_default() },
                (None, "indexed") => DocumentStatus::Indexed,
                (None, _) => DocumentStatus::Pending,
            },
            size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
            language: row.language,
            pages: row.pages.and_then(|pages| u32::try_from(pages).ok()),
            chunks: u32::try_from(row.chunks).unwrap_or(0),
            created_at: row.created_at,
            indexed_at: row.indexed_at,
        })
        .collect())
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

/// Counts documents by status.
pub async fn count(tx: &mut TenantTx, sources: &[KnowledgeSourceId]) -> Result<Counts, Error> {
    let sources: Vec<_> = sources.iter().map(|id| id.0).collect();
    let row = sqlx::query!(
        r#"select count(*) filter (where status = 'pending') as "pending!", count(*) filter (where status = 'indexed') as "indexed!",
                count(*) filter (where status = 'failed') as "failed!", coalesce(sum(chunks), 0) as "chunks!"
         from documents where tenant_id = $1 and knowledge_source_id = any ($2)"#,
        tx.tenant().0,
        &sources,
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

/// Deletes a document with its chunks, and its original when no other document has the same content.
pub async fn delete(tx: &mut TenantTx, id: DocumentId) -> Result<(), Error> {
    let generations = sqlx::query!(
        "select generation_id, chunks from indexed_documents where tenant_id = $1 and document_id = $2",
        tx.tenant().0,
        id.0,
    )
    .fetch_all(&mut **tx)
    .await?;
    let deleted = sqlx::query!("delete from documents where tenant_id = $1 and id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound { what: "document" });
    }
    for row in generations {
        sqlx::query!(
            "update generations set chunks = greatest(chunks - $3, 0) where tenant_id = $1 and id = $2",
            tx.tenant().0,
            row.generation_id,
            row.chunks,
        )
        .execute(&mut **tx)
        .await?;
    }
    drop_unused_originals(tx).await
}

/// Deletes the documents of a knowledge source that are not among `keep`; how many went.
pub async fn delete_others(tx: &mut TenantTx, source: KnowledgeSourceId, keep: &[DocumentId]) -> Result<u32, Error> {
    let keep: Vec<_> = keep.iter().map(|id| id.0).collect();
    let gone = sqlx::query_scalar!(
        "select id from documents where tenant_id = $1 and knowledge_source_id = $2 and id <> all ($3)",
        tx.tenant().0,
        source.0,
        &keep,
    )
    .fetch_all(&mut **tx)
    .await?;
    for &id in &gone {
        delete(tx, id.into()).await?;
    }
    Ok(u32::try_from(gone.len()).unwrap_or(u32::MAX))
}

pub(super) async fn drop_unused_originals(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query!(
        "delete from originals o where o.tenant_id = $1 and not exists (
            select 1 from documents d where d.tenant_id = o.tenant_id and d.content_sha256 = o.sha256)",
        tx.tenant().0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A document that a run has to index.
#[derive(Clone, Debug)]
pub struct Work {
    /// The document.
    pub id: DocumentId,
    /// Path within the knowledge source, whose extension hints at the format.
    pub path: String,
    /// Hash of the content to index.
    pub content_sha256: Vec<u8>,
    /// How often a process has begun it.
    pub attempts: i32,
}

/// What is to be indexed into a generation: pending documents, and those it does not hold with this content. A
/// document that failed waits until somebody uploads it again.
pub async fn work(tx: &mut TenantTx, source: KnowledgeSourceId, generation: GenerationId) -> Result<Vec<Work>, Error> {
    let rows = sqlx::query_as!(
        Work,
        r#"select d.id as "id: _", d.path, d.content_sha256, d.attempts
         from documents d
         left join indexed_documents i on i.tenant_id = d.tenant_id and i.generation_id = $3 and i.document_id = d.id
         where d.tenant_id = $1 and d.knowledge_source_id = $2 and d.status <> 'failed'
           and (d.status = 'pending' or i.content_sha256 is distinct from d.content_sha256)
         order by d.attempts, d.id"#,
        tx.tenant().0,
        source.0,
        generation.0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// Notes that these documents are being worked on, so that one which kills the process is known in the end.
pub async fn begin_attempts(tx: &mut TenantTx, ids: &[DocumentId]) -> Result<(), Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update documents set attempts = attempts + 1 where tenant_id = $1 and id = any ($2)",
        tx.tenant().0,
        &ids
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The original with this content. Originals live in Postgres, by the hash of their content.
pub async fn original(tx: &mut TenantTx, content_sha256: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = sqlx::query_scalar!(
        "select bytes from originals where tenant_id = $1 and sha256 = $2",
        tx.tenant().0,
        content_sha256,
    )
    .fetch_optional(&mut **tx)
    .await?;
    bytes.ok_or(Error::NotFound { what: "original" })
}
