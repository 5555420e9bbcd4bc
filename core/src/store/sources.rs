//! Knowledge sources.

use docbrain_crds::KnowledgeSourceSpec;

use super::specs::Origin;
use super::{Error, TenantTx, Written};
use crate::ids::{GenerationId, KnowledgeSourceId};

/// A knowledge source as applied.
#[derive(Clone, Debug)]
pub struct KnowledgeSourceRow {
    /// Its id.
    pub id: KnowledgeSourceId,
    /// Its name, unique within the tenant.
    pub name: String,
    /// Its spec.
    pub spec: KnowledgeSourceSpec,
    /// Whether its tenant, or it, is suspended.
    pub suspended: bool,
    /// Counts the changes of the spec.
    pub revision: i64,
}

/// The knowledge source of this name.
pub async fn by_name(tx: &mut TenantTx, name: &str) -> Result<KnowledgeSourceRow, Error> {
    let row = sqlx::query!(
        r#"select s.id, s.name, s.spec, s.suspended or t.suspended as "suspended!", s.revision
         from knowledge_sources s join tenants t using (tenant_id) where s.tenant_id = $1 and s.name = $2"#,
        tx.tenant().0,
        name
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(Error::NotFound { what: "knowledge source" })?;
    read(row.id.into(), row.name, row.spec, row.suspended, row.revision)
}

/// The knowledge source with this id.
pub async fn get(tx: &mut TenantTx, id: KnowledgeSourceId) -> Result<KnowledgeSourceRow, Error> {
    let row = sqlx::query!(
        r#"select s.id, s.name, s.spec, s.suspended or t.suspended as "suspended!", s.revision
         from knowledge_sources s join tenants t using (tenant_id) where s.tenant_id = $1 and s.id = $2"#,
        tx.tenant().0,
        id.0
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(Error::NotFound { what: "knowledge source" })?;
    read(row.id.into(), row.name, row.spec, row.suspended, row.revision)
}

/// The tenant's knowledge sources by name; only those of one chatbot where `of` says so.
pub async fn list(tx: &mut TenantTx, of: Option<&[KnowledgeSourceId]>) -> Result<Vec<KnowledgeSourceRow>, Error> {
    let of: Option<Vec<_>> = of.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query!(
        r#"select s.id, s.name, s.spec, s.suspended or t.suspended as "suspended!", s.revision
         from knowledge_sources s join tenants t using (tenant_id)
         where s.tenant_id = $1 and ($2::uuid[] is null or s.id = any ($2)) order by s.name"#,
        tx.tenant().0,
        of.as_deref(),
    )
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(|row| read(row.id.into(), row.name, row.spec, row.suspended, row.revision)).collect()
}

/// Knowledge sources with documents that wait and no run that would take them: an upload that was killed in between.
pub async fn without_a_run(tx: &mut TenantTx) -> Result<Vec<KnowledgeSourceId>, Error> {
    let ids = sqlx::query_scalar!(
        "select distinct d.knowledge_source_id from documents d
         where d.tenant_id = $1 and d.status = 'pending' and not exists (
            select 1 from runs r where r.tenant_id = d.tenant_id and r.knowledge_source_id = d.knowledge_source_id
              and r.state in ('queued', 'running'))",
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(ids.into_iter().map(KnowledgeSourceId).collect())
}

/// Knowledge sources with a run that is queued or running.
pub async fn at_work(tx: &mut TenantTx) -> Result<Vec<KnowledgeSourceId>, Error> {
    let ids = sqlx::query_scalar!(
        "select distinct knowledge_source_id from runs where tenant_id = $1 and state in ('queued', 'running')",
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(ids.into_iter().map(KnowledgeSourceId).collect())
}

/// Writes a knowledge source's projection.
pub async fn put(tx: &mut TenantTx, name: &str, spec: &KnowledgeSourceSpec, origin: Origin) -> Result<Written, Error> {
    let spec_json = serde_json::to_value(spec).expect("a spec is JSON");
    let row = sqlx::query!(
        "insert into knowledge_sources as s (tenant_id, id, name, spec, suspended, resource_uid, resource_generation)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, name) do update set
            spec = excluded.spec, suspended = excluded.suspended, revision = s.revision + 1, updated_at = now(),
            resource_uid = excluded.resource_uid, resource_generation = excluded.resource_generation
         returning id, revision",
        tx.tenant().0,
        KnowledgeSourceId::new().0,
        name,
        spec_json,
        spec.suspended,
        origin.uid,
        origin.generation,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(Written { id: row.id, revision: row.revision, changed: true })
}

/// Deletes a knowledge source with its documents and its index.
pub async fn delete(tx: &mut TenantTx, id: KnowledgeSourceId) -> Result<(), Error> {
    drop_indexes(tx, Some(id)).await?;
    sqlx::query!("delete from knowledge_sources where tenant_id = $1 and id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    super::documents::drop_unused_originals(tx).await
}

/// Drops the generations of one source, or of all: their tables would outlive a cascade.
pub(super) async fn drop_indexes(tx: &mut TenantTx, source: Option<KnowledgeSourceId>) -> Result<(), Error> {
    let generations = sqlx::query_scalar!(
        "update generations set state = 'retired'
         where tenant_id = $1 and ($2::uuid is null or knowledge_source_id = $2) returning id",
        tx.tenant().0,
        source.map(|id| id.0),
    )
    .fetch_all(&mut **tx)
    .await?;
    for generation in generations {
        super::generations::drop(tx, GenerationId(generation)).await?;
    }
    Ok(())
}

fn read(
    id: KnowledgeSourceId,
    name: String,
    spec: serde_json::Value,
    suspended: bool,
    revision: i64,
) -> Result<KnowledgeSourceRow, Error> {
    let spec =
        serde_json::from_value(spec).map_err(|source| Error::Inconsistent { table: "knowledge_sources", source })?;
    Ok(KnowledgeSourceRow { id, name, spec, suspended, revision })
}
