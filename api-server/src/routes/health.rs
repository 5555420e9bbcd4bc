//! Whether the server lives, has started, and can answer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use docbrain_core::store::{self, Pool, schema};
use serde::Serialize;
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
pub(crate) async fn get_startup(State(pool): State<Pool>) -> Result<Json<Health>, Problem> {
    let unfit =
        || Problem::new(ProblemKind::NotReady, "the database does not answer, or its schema is not this program's");
    match tokio::time::timeout(PATIENCE, schema::check(&pool)).await {
        Ok(Ok(())) => Ok(WELL),
        Ok(Err(error)) => Err(unfit().because(error)),
        Err(elapsed) => Err(unfit().because(elapsed)),
    }
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
) -> Result<Json<Health>, Problem> {
    if draining.has_begun() {
        return Err(Problem::stopping());
    }
    match tokio::time::timeout(PATIENCE, store::ping(&pool)).await {
        Ok(Ok(())) => Ok(WELL),
        Ok(Err(error)) => Err(not_ready().because(error)),
        Err(elapsed) => Err(not_ready().because(elapsed)),
    }
}

fn not_ready() -> Problem {
    Problem::new(ProblemKind::NotReady, "the database does not answer")
}
