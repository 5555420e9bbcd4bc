//! Documents of a knowledge source, and their original bytes.
//!
//! A document is `pending`, `indexed` or `failed`. There is no "processing": a process that dies leaves nothing to
//! clean up, and what is being worked on is said by the run.

use sha2::{Digest, Sha256};

use super::{Error, TenantTx, fetches, quotas};
use crate::ids::{DocumentId, GenerationId, KnowledgeSourceId};

mod fetched;
mod listing;
mod original;

pub use fetched::{Failure, fail_unfetched, id_at, put_fetched};
pub use listing::{Counts, DocumentRow, DocumentStatus, Filter, Outcome, Sort, count, get, last_outcome, list};
pub use original::{original, slice};

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

/// Stores a document and its original, as far as the tenant's quota allows; content that is already there is not written
/// again.
pub async fn put(tx: &mut TenantTx, source: KnowledgeSourceId, document: &NewDocument<'_>) -> Result<Put, Error> {
    store(tx, source, document, None, |row| row.status == "indexed").await
}

/// What is known of a document that arrives again.
struct Known {
    id: uuid::Uuid,
    content_sha256: Vec<u8>,
    media_type: Option<String>,
    status: String,
    error_code: Option<String>,
}

/// Stores a document. One of the same content stays as it is where `settled` says that there is nothing more to do.
async fn store(
    tx: &mut TenantTx,
    source: KnowledgeSourceId,
    document: &NewDocument<'_>,
    media_type: Option<&str>,
    settled: fn(&Known) -> bool,
) -> Result<Put, Error> {
    let sha256 = Sha256::digest(document.bytes).to_vec();
    let size = i64::try_from(document.bytes.len()).unwrap_or(i64::MAX);
    let quota = quotas::hold(tx).await?;
    let known = sqlx::query_as!(
        Known,
        "select id, content_sha256, media_type, status, error_code from documents
         where tenant_id = $1 and knowledge_source_id = $2 and path = $3 for update",
        tx.tenant().0,
        source.0,
        document.path,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let is_same = |row: &&Known| row.content_sha256 == sha256 && row.media_type.as_deref() == media_type;
    if let Some(row) = known.as_ref().filter(is_same).filter(|row| settled(row)) {
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
    let id = sqlx::query_scalar!(
        "insert into documents (tenant_id, id, knowledge_source_id, path, title, url, content_sha256, size_bytes, media_type)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (tenant_id, knowledge_source_id, path) do update set
            url = excluded.url, content_sha256 = excluded.content_sha256, size_bytes = excluded.size_bytes,
            media_type = excluded.media_type,
            status = 'pending', error_code = null, error_detail = null, attempts = 0, updated_at = now()
         returning id",
        tx.tenant().0,
        DocumentId::new().0,
        source.0,
        document.path,
        title_of(document.path),
        document.url,
        sha256,
        size,
        media_type,
    )
    .fetch_one(&mut **tx)
    .await?;
    if let Some(old) = known.filter(|row| row.content_sha256 != sha256) {
        drop_original_if_unused(tx, &old.content_sha256).await?;
    }
    Ok(Put::Pending(id.into()))
}

/// What a document is called until it says so itself: the last part of its path.
fn title_of(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// Has a document indexed anew by the next run of its knowledge source, which is returned. Questions find what was
/// indexed of it until then.
pub async fn reset(tx: &mut TenantTx, id: DocumentId) -> Result<KnowledgeSourceId, Error> {
    let source = sqlx::query_scalar!(
        "update documents set status = 'pending', error_code = null, error_detail = null, attempts = 0, updated_at = now()
         where tenant_id = $1 and id = $2 returning knowledge_source_id",
        tx.tenant().0,
        id.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let source = source.map(KnowledgeSourceId).ok_or(Error::NotFound { what: "document" })?;
    fetches::forget_commit(tx, source).await?;
    Ok(source)
}

/// Deletes a document with its chunks, and its original when no other document has the same content.
pub async fn delete(tx: &mut TenantTx, id: DocumentId) -> Result<(), Error> {
    let source = delete_row(tx, id).await?;
    fetches::forget_commit(tx, source).await?;
    drop_unused_originals(tx).await
}

/// Deletes a document with its chunks; its original stays.
async fn delete_row(tx: &mut TenantTx, id: DocumentId) -> Result<KnowledgeSourceId, Error> {
    let generations = sqlx::query!(
        "select generation_id, chunks from indexed_documents where tenant_id = $1 and document_id = $2",
        tx.tenant().0,
        id.0,
    )
    .fetch_all(&mut **tx)
    .await?;
    let source = sqlx::query_scalar!(
        "delete from documents where tenant_id = $1 and id = $2 returning knowledge_source_id",
        tx.tenant().0,
        id.0
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(Error::NotFound { what: "document" })?;
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
    Ok(source.into())
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
        delete_row(tx, id.into()).await?;
    }
    if !gone.is_empty() {
        drop_unused_originals(tx).await?;
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

async fn drop_original_if_unused(tx: &mut TenantTx, sha256: &[u8]) -> Result<(), Error> {
    sqlx::query!(
        "delete from originals o where o.tenant_id = $1 and o.sha256 = $2 and not exists (
            select 1 from documents d where d.tenant_id = o.tenant_id and d.content_sha256 = o.sha256)",
        tx.tenant().0,
        sha256,
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
    /// What its origin says it is, such as `text/html`; the path's extension says it otherwise.
    pub media_type: Option<String>,
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
        r#"select d.id as "id: _", d.path, d.media_type, d.content_sha256, d.attempts
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
