//! From a configuration to a served API, and to its end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use docbrain_core::env::CONTROL_PLANE;
use docbrain_core::models::OpenedEmbedder;
use docbrain_core::providers::Providers;
use docbrain_core::store::schema::{self, Unfit};
use docbrain_core::store::secrets::{RingSource, Secrets};
use docbrain_core::store::{self, Pool};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::config::{Config, ControlPlaneKind};
use crate::control_plane::{ControlPlane, Kubernetes, Local};
use crate::state::{AppState, Parts, Settings};

/// How long a database that does not answer is waited for: longer than one that recovers from a crash usually takes. As
/// long again for a schema that is too old: longer than most migrations take.
const DATABASE_PATIENCE: Duration = Duration::from_mins(2);
/// How long one attempt may take, and the pause before the next.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(2);

/// Serves the API until `stop` completes. It waits for the database and for a schema that is not older than this program,
/// and refuses one that would not keep tenants apart.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut stop = pin!(stop);
    let (pool, control_plane, model, listener) = tokio::select! {
        started = start(&config) => started?,
        () = &mut stop => return Ok(()),
    };
    tracing::info!(listen = %config.listen, version = env!("CARGO_PKG_VERSION"), "ready");
    let secrets = Secrets::new(RingSource::Given(Arc::new(config.encryption_keys)));
    let state = AppState::new(Parts {
        providers: Providers::new(pool.clone(), secrets, config.addresses, model.embedder, config.chat),
        control_plane,
        settings: Settings {
            admin_token: config.admin_token,
            signing_keys: config.signing_keys,
            registration: config.registration,
            public_url: Some(config.public_url.to_string()),
            oidc: config.oidc,
            trusted_proxies: config.trusted_proxies,
        },
        pool: pool.clone(),
    });
    crate::serve(listener, state, stop, config.drain).await?;
    pool.close().await;
    tracing::info!("stopped");
    Ok(())
}

type Started = (Pool, Arc<dyn ControlPlane>, OpenedEmbedder, TcpListener);

async fn start(config: &Config) -> anyhow::Result<Started> {
    let pool = store::connect_later(config.database_url.expose_secret(), config.database_connections)?;
    let control_plane: Arc<dyn ControlPlane> = match config.control_plane {
        ControlPlaneKind::Local => Arc::new(Local::new(pool.clone())),
        ControlPlaneKind::Kubernetes => Arc::new(Kubernetes::new(pool.clone()).await.with_context(|| {
            format!("{CONTROL_PLANE} is kubernetes, but there is no cluster: run as a pod with a service account, or set KUBECONFIG")
        })?),
    };
    wait_for(&pool).await?;
    wait_for_schema(&pool).await?;
    let model = config.embedding.open().await.context("failed to open the embedding model")?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    Ok((pool, control_plane, model, listener))
}

/// In a cluster the migration begins at the same time as this program.
async fn wait_for_schema(database: &Pool) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        match schema::check(database).await {
            Err(outdated @ Unfit::Outdated) if started.elapsed() <= DATABASE_PATIENCE => {
                tracing::warn!(error = &outdated as &dyn std::error::Error, "waiting for the database's schema");
            }
            checked => return Ok(checked?),
        }
        sleep(PAUSE).await;
    }
}

async fn wait_for(database: &Pool) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let error = match timeout(ATTEMPT, store::ping(database)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => anyhow::Error::from(error),
            Err(elapsed) => elapsed.into(),
        };
        if started.elapsed() > DATABASE_PATIENCE {
            return Err(error.context("the database did not answer for two minutes"));
        }
        tracing::warn!(error = format!("{error:#}"), "waiting for the database");
        sleep(PAUSE).await;
    }
}
