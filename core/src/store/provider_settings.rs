//! Which model servers a tenant uses instead of the installation's. Their keys are [`super::secrets`].

use serde_json::{Value, json};
use sqlx::PgExecutor;

use super::{Error, TenantTx};
use crate::ids::TenantId;
use crate::providers::{Provider, ProviderSettings, Purpose};

/// The tenant's settings and how often they have changed, in one round trip; 0 when they never have.
pub async fn find<'e>(executor: impl PgExecutor<'e>, tenant: TenantId) -> Result<(ProviderSettings, i64), Error> {
    let row = sqlx::query!(
        r#"select settings as "settings!", revision as "revision!" from provider_settings_of($1)"#,
        tenant.0
    )
    .fetch_optional(executor)
    .await?;
    match row {
        Some(row) => Ok((read(row.settings)?, row.revision)),
        None => Ok((ProviderSettings::default(), 0)),
    }
}

/// The tenant's settings.
pub async fn get(tx: &mut TenantTx) -> Result<ProviderSettings, Error> {
    let tenant = tx.tenant();
    Ok(find(&mut **tx, tenant).await?.0)
}

/// As [`get`]; nobody changes them, or the keys, before the transaction ends.
pub async fn get_for_share(tx: &mut TenantTx) -> Result<ProviderSettings, Error> {
    let settings =
        sqlx::query_scalar!("select settings from provider_settings where tenant_id = $1 for share", tx.tenant().0)
            .fetch_optional(&mut **tx)
            .await?;
    settings.map_or_else(|| Ok(ProviderSettings::default()), read)
}

/// As [`get`], for a change; nobody else changes them, or the keys, before the transaction ends.
pub async fn get_for_update(tx: &mut TenantTx) -> Result<ProviderSettings, Error> {
    let settings = sqlx::query_scalar!(
        "insert into provider_settings (tenant_id, settings) values ($1, '{}')
         on conflict (tenant_id) do update set revision = provider_settings.revision + 1, updated_at = now()
         returning settings",
        tx.tenant().0,
    )
    .fetch_one(&mut **tx)
    .await?;
    read(settings)
}

/// Sets or removes one provider of settings that were read by [`get_for_update`].
pub async fn put(tx: &mut TenantTx, purpose: Purpose, provider: Option<&Provider>) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update provider_settings set settings = settings || $2 where tenant_id = $1",
        tx.tenant().0,
        json!({ purpose.name(): provider }),
    )
    .execute(&mut **tx)
    .await?;
    if updated.rows_affected() == 0 {
        return Err(Error::NotFound { what: "provider" });
    }
    Ok(())
}

fn read(settings: Value) -> Result<ProviderSettings, Error> {
    serde_json::from_value(settings).map_err(|source| Error::Inconsistent { table: "provider_settings", source })
}
