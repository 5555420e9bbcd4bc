//! How many documents and chunks a tenant may have, and has.

use super::{Error, TenantTx};
use crate::ids::{DocumentId, GenerationId, TenantId};

/// How many uploads the tenant may send in a minute, where its quota says so.
pub async fn uploads_per_minute(pool: &super::Pool, tenant: TenantId) -> Result<Option<u32>, Error> {
    let mut tx = TenantTx::begin(pool, tenant).await?;
    let limit = sqlx::query_scalar!(
        "select (spec #>> '{quota,uploadsPerMinute}')::integer from tenants where tenant_id = $1",
        tenant.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(limit.flatten().and_then(|limit| u32::try_from(limit).ok()))
}

/// The quota of a tenant, counted by one transaction at a time.
pub(super) struct Quota {
    documents: Option<i32>,
    chunks: Option<i32>,
}

/// The quota of the tenant, if it has one; whoever else asks waits until this transaction ends. Asked for before any row
/// is locked, so that nobody waits in a circle.
pub(super) async fn hold(tx: &mut TenantTx) -> Result<Option<Quota>, Error> {
    let quota = sqlx::query_as!(
        Quota,
        "select (spec #>> '{quota,maxDocuments}')::integer as documents, (spec #>> '{quota,maxChunks}')::integer as chunks
         from tenants where tenant_id = $1",
        tx.tenant().0,
    )
    .fetch_optional(&mut **tx)
    .await?
    .filter(|quota| quota.documents.is_some() || quota.chunks.is_some());
    if quota.is_some() {
        sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", format!("quota of {}", tx.tenant()))
            .execute(&mut **tx)
            .await?;
    }
    Ok(quota)
}

impl Quota {
    /// Refuses a document: a `new` one beyond the most documents, and any once the most chunks are reached.
    pub(super) async fn admit_document(&self, tx: &mut TenantTx, new: bool) -> Result<(), Error> {
        if let Some(limit) = self.documents.filter(|_| new) {
            let count = sqlx::query_scalar!(
                r#"select count(*) as "count!" from documents where tenant_id = $1"#,
                tx.tenant().0
            )
            .fetch_one(&mut **tx)
            .await?;
            within("documents", limit, count, 1)?;
        }
        if let Some(limit) = self.chunks {
            let count = sqlx::query_scalar!(r#"select chunks_in_use(null) as "count!""#).fetch_one(&mut **tx).await?;
            within("chunks", limit, count, 1)?;
        }
        Ok(())
    }
}

/// Refuses `chunks` more chunks than the quota leaves room for in the index that `generation` is, or will be, part of;
/// what the generation holds of `document` is replaced by them. Where there is a quota, transactions that ask wait for
/// each other.
pub async fn admit_chunks(
    tx: &mut TenantTx,
    generation: GenerationId,
    document: DocumentId,
    chunks: usize,
) -> Result<(), Error> {
    let Some(limit) = hold(tx).await?.and_then(|quota| quota.chunks) else {
        return Ok(());
    };
    let count = sqlx::query_scalar!(
        r#"select chunks_in_use($2) - coalesce((
            select i.chunks from indexed_documents i where i.tenant_id = $1 and i.generation_id = $2 and i.document_id = $3), 0) as "count!""#,
        tx.tenant().0,
        generation.0,
        document.0,
    )
    .fetch_one(&mut **tx)
    .await?;
    within("chunks", limit, count, i64::try_from(chunks).unwrap_or(i64::MAX))
}

fn within(what: &'static str, limit: i32, count: i64, more: i64) -> Result<(), Error> {
    if count.saturating_add(more) <= i64::from(limit) {
        return Ok(());
    }
    let number = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    Err(Error::QuotaExceeded { what, limit: number(limit.into()), count: number(count) })
}
