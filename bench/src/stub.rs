//! A deterministic model server in the dialect of OpenAI: the same request gets the same reply, and no reply takes thought.
//!
//! Similar texts get similar vectors ([`embeddings`]), answers quote and cite the numbered passages of the prompt ([`chat`]), so the
//! server also stands in for a model in acceptance tests. Faults can be asked for, to test clients.

mod chat;
mod embeddings;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use docbrain_core::signals::stop_on_signal;
use serde_json::json;
use tokio::net::TcpListener;

/// Names under which `GET /v1/models` lists what is served; any other name is served too.
pub(crate) const EMBEDDING_MODEL: &str = "stub-embedding";
pub(crate) const CHAT_MODEL: &str = "stub-chat";
/// What the server prints once it listens, followed by its base URL.
pub(crate) const READY: &str = "model server on ";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Port on 127.0.0.1; 0 takes a free one. The first printed line names it.
    #[arg(long, default_value_t = 8089)]
    port: u16,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// How the server deviates from answering everything correctly and at once.
#[derive(clap::Args, Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// Milliseconds before the first token of a chat answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Share of requests, 0 to 1, that get status 500, evenly spread.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    fail_rate: f64,
    /// End every chat stream in the middle of an event, with neither a finish reason nor `[DONE]`.
    #[arg(long)]
    cut_stream: bool,
}

impl Behaviour {
    async fn think(self) {
        if self.latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.latency_ms)).await;
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .with_context(|| format!("failed to listen on 127.0.0.1:{}; choose another --port", options.port))?;
    println!("{READY}http://{}/v1", listener.local_addr()?);
    let stop = stop_on_signal()?;
    // Not a graceful shutdown: clients keep their idle connections open for long, and nothing here is worth waiting for.
    tokio::select! {
        served = listen(listener, options.behaviour) => served,
        () = stop.cancelled() => Ok(()),
    }
}

async fn listen(listener: TcpListener, behaviour: Behaviour) -> anyhow::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Without it small writes wait for the peer's delayed acknowledgement; failing to set it only costs speed.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router(behaviour)).await.context("failed to serve")
}

fn router(behaviour: Behaviour) -> Router {
    let routes = Router::new()
        .route("/v1/embeddings", post(embeddings::create_embeddings))
        .route("/v1/chat/completions", post(chat::create_chat_completion))
        .route("/v1/models", get(list_models))
        .with_state(behaviour);
    if behaviour.fail_rate > 0.0 {
        routes.layer(from_fn_with_state(
            Arc::new(Faults { rate: behaviour.fail_rate, seen: AtomicU64::new(0) }),
            fail_some,
        ))
    } else {
        routes
    }
}

async fn list_models() -> impl IntoResponse {
    let model = |id| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "docbrain-bench"});
    Json(json!({"object": "list", "data": [model(EMBEDDING_MODEL), model(CHAT_MODEL)]}))
}

/// The moment every object claims to have been created at, in seconds since 1970.
const CREATED: u32 = 1_700_000_000;

struct Faults {
    rate: f64,
    seen: AtomicU64,
}

impl Faults {
    /// Whether the next request is one to fail: after n requests, `floor(n * rate)` have failed.
    #[expect(clippy::cast_precision_loss, reason = "a test server does not count to 2^53")]
    fn due(&self) -> bool {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) as f64;
        ((seen + 1.0) * self.rate).floor() > (seen * self.rate).floor()
    }
}

async fn fail_some(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response {
    if faults.due() {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "a fault was asked for with --fail-rate");
    }
    next.run(request).await
}

fn refusal(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message, "type": kind, "param": null, "code": null}}))).into_response()
}

fn bad_request(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}
