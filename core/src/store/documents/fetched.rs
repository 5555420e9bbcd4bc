//! Documents that a run fetches itself.

use super::{Known, NewDocument, Put, store, title_of};
use crate::ids::{DocumentId, KnowledgeSourceId};
use crate::store::{Error, TenantTx};

/// Stores a document that was fetched, as [`super::put`] does. `media_type` is what its origin says it is. One whose content
/// could not be indexed is left alone until its content changes, but for want of quota.
pub async fn put_fetched(
    tx: &mut TenantTx,
    source: KnowledgeSourceId,
    document: &NewDocument<'_>,
    media_type: Option<&str>,
) -> Result<Put, Error> {
    let settled = |row: &Known| {
        row.status == "indexed" || row.status == "failed" && row.error_code.as_deref() != Some("quota_exceeded")
    };
    store(tx, source, document, media_type, settled).await
}

/// Why a document could not be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// One word for programs.
    pub code: &'a str,
    /// A sentence for people.
    pub detail: &'a str,
}

/// Notes that a document could not be fetched. One that was fetched before stays as it is: `None`.
pub async fn fail_unfetched(
    tx: &mut TenantTx,
    source: KnowledgeSourceId,
    path: &str,
    url: Option<&str>,
    failure: Failure<'_>,
) -> Result<Option<DocumentId>, Error> {
    // No content has this hash.
    let no_content = vec![0; 32];
    let id = sqlx::query_scalar!(
        "insert into documents as d (tenant_id, id, knowledge_source_id, path, title, url, content_sha256, size_bytes,
            status, error_code, error_detail)
         values ($1, $2, $3, $4, $5, $6, $7, 0, 'failed', $8, $9)
         on conflict (tenant_id, knowledge_source_id, path) do update set
            status = 'failed', error_code = excluded.error_code, error_detail = excluded.error_detail, updated_at = now()
            where d.content_sha256 = excluded.content_sha256
         returning id",
        tx.tenant().0,
        DocumentId::new().0,
        source.0,
        path,
        title_of(path),
        url,
        no_content,
        failure.code,
        failure.detail,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(id.map(DocumentId))
}

/// The document at a path of a knowledge source.
pub async fn id_at(tx: &mut TenantTx, source: KnowledgeSourceId, path: &str) -> Result<Option<DocumentId>, Error> {
    let id = sqlx::query_scalar!(
        "select id from documents where tenant_id = $1 and knowledge_source_id = $2 and path = $3",
        tx.tenant().0,
        source.0,
        path,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(id.map(DocumentId))
}
