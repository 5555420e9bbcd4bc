//! Whether the server lives, has started, and can answer.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use docbrain_core::store::{self, Pool, schema};
use serde::Serialize;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::draining::Draining;
use crate::problem::{Problem, ProblemKind};

/// How long the database has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server that is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

const WELL: Json<Health> = Json(Health { status: "ok" });

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It lives", body = Health)))]
pub(crate) async fn get_health() -> Json<Health> {
    WELL
}

/// Whether the process lives
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, description = "It lives", body = Health)))]
pub(crate) async fn get_liveness() -> Json<Health> {
    WELL
}

/// Whether the server has started
///
/// It serves once its model is loaded; the database's schema is looked at.
#[utoipa::path(
    get, path = "/startupz", tag = "operation",
    extensions(("x-problems" = json!(["not_ready"]))),
    responses((status = 200, description = "It has started", body = Health))
)]
pub(crate) async fn get_startup(
    State(pool): State<Pool>,
    State(probes): State<Probes>,
) -> Result<Json<Health>, Problem> {
    let found = timeout(PATIENCE, schema::check(&pool)).await;
    probes.0.startup.tell(found, "the database does not answer, or its schema is not this program's")
}

/// Whether requests can be answered
///
/// The database is asked. A server that stops is not ready.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    extensions(("x-problems" = json!(["not_ready"]))),
    responses((status = 200, description = "It is ready", body = Health))
)]
pub(crate) async fn get_readiness(
    State(pool): State<Pool>,
    State(draining): State<Draining>,
    State(probes): State<Probes>,
) -> Result<Json<Health>, Problem> {
    if draining.has_begun() {
        return Err(Problem::stopping());
    }
    let found = timeout(PATIENCE, store::ping(&pool)).await;
    probes.0.readiness.tell(found, "the database does not answer")
}

/// What the probes that can fail have found last; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Probes(Arc<Found>);

#[derive(Default)]
struct Found {
    startup: Probe,
    readiness: Probe,
}

/// A probe is asked every few seconds: that it fails is logged once, and that it succeeds again.
#[derive(Default)]
struct Probe {
    fails: AtomicBool,
}

impl Probe {
    fn tell<E: Error + Send + Sync + 'static>(
        &self,
        found: Result<Result<(), E>, Elapsed>,
        detail: &'static str,
    ) -> Result<Json<Health>, Problem> {
        match found {
            Ok(Ok(())) => {
                if self.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("ready again");
                }
                Ok(WELL)
            }
            Ok(Err(error)) => Err(self.failed(detail, error)),
            Err(elapsed) => Err(self.failed(detail, elapsed)),
        }
    }

    /// A problem with a cause is logged.
    fn failed(&self, detail: &'static str, cause: impl Error + Send + Sync + 'static) -> Problem {
        let problem = Problem::new(ProblemKind::NotReady, detail);
        if self.fails.swap(true, Ordering::Relaxed) { problem } else { problem.because(cause) }
    }
}
