//! What is done every hour, by one process of the installation at a time: days that are over are counted, and
//! conversations that are older than their tenant keeps them are deleted. In a cluster, registrations that broke off are taken
//! back.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use docbrain_core::ids::TenantId;
use docbrain_core::store::{self, Pool, TenantTx, conversations, stats, tenants, upkeep};

use crate::control_plane::ControlPlane;

const PERIOD: Duration = Duration::from_hours(1);
/// A day is counted when it has been over for so long: an exchange that began before its end is stored by then.
const SETTLED: TimeDelta = TimeDelta::minutes(10);
/// Conversations that are deleted in one transaction.
const BATCH: u32 = 500;

/// Does it every hour, for ever.
pub(crate) async fn hourly(pool: Pool, plane: Arc<dyn ControlPlane>) {
    let mut clock = tokio::time::interval(PERIOD);
    loop {
        clock.tick().await;
        if let Err(error) = plane.keep_up(Utc::now()).await {
            tracing::warn!(error = &error as &dyn Error, "upkeep of the cluster failed, trying again in an hour");
        }
        if let Err(error) = once(&pool, Utc::now()).await {
            tracing::warn!(error = &error as &dyn Error, "upkeep failed, trying again in an hour");
        }
    }
}

/// Does it, unless another process is doing it.
pub async fn once(pool: &Pool, now: DateTime<Utc>) -> Result<(), store::Error> {
    let Some(turn) = upkeep::turn(pool).await? else { return Ok(()) };
    for name in tenants::names(pool).await? {
        if let Some(tenant) = tenants::named(pool, &name).await? {
            keep_up(pool, tenant, now).await?;
        }
    }
    turn.end().await
}

async fn keep_up(pool: &Pool, tenant: TenantId, now: DateTime<Utc>) -> Result<(), store::Error> {
    let mut tx = TenantTx::begin(pool, tenant).await?;
    stats::close_days(&mut tx, (now - SETTLED).date_naive()).await?;
    let days = upkeep::retention_days(&mut tx).await?;
    tx.commit().await?;
    let Some(days) = days else { return Ok(()) };
    let before = now - TimeDelta::days(days.into());
    let mut deleted = 0;
    loop {
        let mut tx = TenantTx::begin(pool, tenant).await?;
        let batch = conversations::delete_older(&mut tx, before, BATCH).await?;
        tx.commit().await?;
        deleted += batch;
        if batch < BATCH.into() {
            break;
        }
    }
    if deleted > 0 {
        tracing::info!(tenant.id = %tenant, deleted, "deleted conversations past their retention");
    }
    Ok(())
}
