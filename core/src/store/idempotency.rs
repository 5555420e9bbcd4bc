//! What creates were answered with, so that sending one again answers the same.

use chrono::TimeDelta;
use serde_json::Value;

use super::{Error, Pool, TenantTx};
use crate::ids::TenantId;

/// How long an answer is kept.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// How long a request without an answer counts as under way; its process has died if it takes longer.
const UNDER_WAY: TimeDelta = TimeDelta::minutes(2);

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// Nothing: the request may be carried out, and is under way from now on.
    New,
    /// The same request is under way.
    UnderWay,
    /// The same request was answered.
    Answered {
        /// With this HTTP status.
        status: u16,
        /// With this body; `None` where it is not kept.
        body: Option<Value>,
    },
    /// Another request had this key.
    Reused,
}

/// Begins a request under a key.
pub async fn begin(pool: &Pool, tenant: TenantId, key: &str, request_sha256: &[u8]) -> Result<Begun, Error> {
    let mut tx = TenantTx::begin(pool, tenant).await?;
    sqlx::query!(
        "delete from idempotency_keys where tenant_id = $1
         and created_at < now() - make_interval(secs => case when status is null then $2::float8 else $3::float8 end)",
        tenant.0,
        UNDER_WAY.as_seconds_f64(),
        KEPT.as_seconds_f64(),
    )
    .execute(&mut *tx)
    .await?;
    let new = sqlx::query!(
        "insert into idempotency_keys (tenant_id, key, request_sha256) values ($1, $2, $3) on conflict do nothing",
        tenant.0,
        key,
        request_sha256,
    )
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 1 {
        tx.commit().await?;
        return Ok(Begun::New);
    }
    let row = sqlx::query!(
        "select request_sha256, status, body from idempotency_keys where tenant_id = $1 and key = $2",
        tenant.0,
        key,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(match row {
        // It ended without an answer that is kept, this instant: the next attempt begins anew.
        None => Begun::UnderWay,
        Some(row) if row.request_sha256 != request_sha256 => Begun::Reused,
        Some(row) => match row.status.and_then(|status| u16::try_from(status).ok()) {
            None => Begun::UnderWay,
            Some(status) => Begun::Answered { status, body: row.body },
        },
    })
}

/// Keeps the answer of a request that is under way.
pub async fn answer(pool: &Pool, tenant: TenantId, key: &str, status: u16, body: Option<&Value>) -> Result<(), Error> {
    let mut tx = TenantTx::begin(pool, tenant).await?;
    sqlx::query!(
        "update idempotency_keys set status = $3, body = $4 where tenant_id = $1 and key = $2",
        tenant.0,
        key,
        i32::from(status),
        body,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Forgets a request that failed: it may be sent again.
pub async fn forget(pool: &Pool, tenant: TenantId, key: &str) -> Result<(), Error> {
    let mut tx = TenantTx::begin(pool, tenant).await?;
    sqlx::query!("delete from idempotency_keys where tenant_id = $1 and key = $2 and status is null", tenant.0, key,)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
