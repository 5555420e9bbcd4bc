//! Metrics for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use docbrain_core::store::Pool;
use docbrain_core::telemetry::metrics;

/// All metrics in Prometheus' text format
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((
        status = 200, description = "The metrics", content_type = "text/plain", body = String,
        example = "docbrain_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1"
    ))
)]
pub(crate) async fn get_metrics(State(pool): State<Pool>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics().render(&pool))
}
