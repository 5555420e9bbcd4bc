//! Work that one process of an installation does for all.

use sqlx::{Postgres, Transaction};

use super::{Error, Pool, TenantTx};

/// Says which lock; any number that nothing else locks.
const LOCK: i64 = 0x0064_6f63_7570_6b70;

/// The right to do the work, as long as it lives and its connection does.
pub struct Turn {
    lock: Transaction<'static, Postgres>,
}

impl Turn {
    /// Gives the right back at once; dropped, it is given back soon.
    pub async fn end(self) -> Result<(), Error> {
        Ok(self.lock.commit().await?)
    }
}

/// Takes the right; `None`: another process has it.
pub async fn turn(pool: &Pool) -> Result<Option<Turn>, Error> {
    let mut lock = pool.begin().await?;
    let taken =
        sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "taken!""#, LOCK).fetch_one(&mut *lock).await?;
    Ok(taken.then_some(Turn { lock }))
}

/// For how many days the tenant keeps conversations; `None`: for ever.
pub async fn retention_days(tx: &mut TenantTx) -> Result<Option<u32>, Error> {
    let days = sqlx::query_scalar!(
        "select (spec ->> 'conversationRetentionDays')::integer from tenants where tenant_id = $1",
        tx.tenant().0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(days.flatten().and_then(|days| u32::try_from(days).ok()))
}
