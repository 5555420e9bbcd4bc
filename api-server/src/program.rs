//! From a configuration to a served API, and to its end.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use docbrain_core::store::{self, Pool, schema};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::state::AppState;

/// How long a database that does not answer is waited for: longer than one that recovers from a crash usually takes.
const DATABASE_PATIENCE: Duration = Duration::from_mins(2);
const RETRY: Duration = Duration::from_secs(2);

/// Serves the API until `stop` completes. It waits for the database, and refuses one whose schema is older than this
/// program, or that would not keep tenants apart.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let pool = wait_for_database(&config, DATABASE_PATIENCE).await?;
    schema::check(&pool).await?;
    let model = config.embedding.open().await.context("failed to open the embedding model")?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!(listen = %config.listen, version = env!("CARGO_PKG_VERSION"), "ready");
    let state = AppState::new(pool.clone(), model.embedder, config.chat, config.admin_token);
    crate::serve(listener, state, stop, config.drain).await?;
    pool.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn wait_for_database(config: &Config, patience: Duration) -> anyhow::Result<Pool> {
    let pool = store::connect_later(config.database_url.expose_secret(), config.database_connections)?;
    let started = Instant::now();
    while let Err(error) = store::ping(&pool).await {
        ensure!(
            started.elapsed() < patience,
            anyhow::Error::from(error)
                .context(format!("the database did not answer for {} seconds", patience.as_secs()))
        );
        tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database");
        tokio::time::sleep(RETRY).await;
    }
    Ok(pool)
}
