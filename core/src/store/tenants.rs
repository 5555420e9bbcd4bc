//! Tenants, and the two questions asked before a tenant is known.

use docbrain_crds::TenantSpec;

use super::{Error, Pool, TenantTx};
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

/// Writes a tenant's projection; `true` when something changed.
pub async fn put(tx: &mut TenantTx, name: &str, spec: &TenantSpec) -> Result<bool, Error> {
    let spec_json = serde_json::to_value(spec).expect("a spec is JSON");
    let changed = sqlx::query!(
        "insert into tenants (tenant_id, name, spec, suspended) values ($1, $2, $3, $4)
         on conflict (tenant_id) do update set spec = excluded.spec, suspended = excluded.suspended, updated_at = now()
         where tenants.spec is distinct from excluded.spec",
        tx.tenant().0,
        name,
        spec_json,
        spec.suspended,
    )
    .execute(&mut **tx)
    .await?;
    Ok(changed.rows_affected() == 1)
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
