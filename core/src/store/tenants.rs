//! Tenants, and the two questions asked before a tenant is known.

use chrono::{DateTime, Utc};
use docbrain_crds::TenantSpec;

use super::specs::Origin;
use super::{Error, Pool, TenantTx, Written};
use crate::ids::TenantId;

/// The tenant of this name.
pub async fn named(pool: &Pool, name: &str) -> Result<Option<TenantId>, Error> {
    let id = sqlx::query_scalar!("select tenant_named($1)", name).fetch_one(pool).await?;
    Ok(id.map(TenantId))
}

/// The names of all tenants, in order.
pub async fn names(pool: &Pool) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar!(r#"select tenant_names() as "name!""#).fetch_all(pool).await?;
    Ok(names)
}

/// A tenant and what it uses.
#[derive(Clone, Debug)]
pub struct TenantUsage {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// Whether chat and ingestion stand still.
    pub suspended: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Its members.
    pub members: i64,
    /// Its chatbots.
    pub chatbots: i64,
    /// Its documents.
    pub documents: i64,
    /// Their chunks.
    pub chunks: i64,
    /// Chats of the last 30 days.
    pub chats: i64,
    /// Tokens of these chats.
    pub tokens: i64,
}

/// All tenants by name, or the one of this name, with what they use. For whoever runs the installation.
pub async fn usage(pool: &Pool, name: Option<&str>) -> Result<Vec<TenantUsage>, Error> {
    let rows = sqlx::query_as!(
        TenantUsage,
        r#"select id as "id!: TenantId", name as "name!", display_name as "display_name!", suspended as "suspended!",
                created_at as "created_at!", members as "members!", chatbots as "chatbots!", documents as "documents!",
                chunks as "chunks!", chats as "chats!", tokens as "tokens!"
         from tenant_usage($1)"#,
        name,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// A tenant as applied.
#[derive(Clone, Debug)]
pub struct TenantRow {
    /// Its name, which is its namespace.
    pub name: String,
    /// Its spec.
    pub spec: TenantSpec,
    /// Counts the changes of the spec.
    pub revision: i64,
}

/// The tenant of the transaction.
pub async fn get(tx: &mut TenantTx) -> Result<TenantRow, Error> {
    let row = sqlx::query!("select name, spec, revision from tenants where tenant_id = $1", tx.tenant().0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(Error::NotFound { what: "tenant" })?;
    let spec = serde_json::from_value(row.spec).map_err(|source| Error::Inconsistent { table: "tenants", source })?;
    Ok(TenantRow { name: row.name, spec, revision: row.revision })
}

/// Writes a tenant's projection. [`Error::Taken`] when another tenant has the name.
pub async fn put(tx: &mut TenantTx, name: &str, spec: &TenantSpec, origin: Origin) -> Result<Written, Error> {
    let spec_json = serde_json::to_value(spec).expect("a spec is JSON");
    let revision = sqlx::query_scalar!(
        "insert into tenants as t (tenant_id, name, spec, suspended, resource_uid, resource_generation)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id) do update set
            spec = excluded.spec, suspended = excluded.suspended, revision = t.revision + 1, updated_at = now(),
            resource_uid = excluded.resource_uid, resource_generation = excluded.resource_generation
         returning revision",
        tx.tenant().0,
        name,
        spec_json,
        spec.suspended,
        origin.uid,
        origin.generation,
    )
    .fetch_one(&mut **tx)
    .await
    .map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
        Some("tenants_name_key") => Error::Taken { what: "tenant name" },
        _ => error.into(),
    })?;
    Ok(Written { id: tx.tenant().0, revision, changed: true })
}

/// Deletes the tenant with every row it has, and the tables of its generations.
pub async fn delete(tx: &mut TenantTx) -> Result<(), Error> {
    super::sources::drop_indexes(tx, None).await?;
    let deleted = sqlx::query!("delete from tenants where tenant_id = $1", tx.tenant().0).execute(&mut **tx).await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound { what: "tenant" });
    }
    Ok(())
}
