//! The HTTP API of DocBrain, as a library: `docbrain up` serves [`router`] in its own process.
//!
//! | module | what it holds |
//! |---|---|
//! | `state` | what handlers are given |
//! | `routes` | the table of all routes with who may call each, and one module a resource |
//! | `access` | the admin token, and which tenant a request is for |
//! | `client_ip` | the client's address, behind proxies too |
//! | `limit` | how often and how much, as a route asks |
//! | `idempotency` | creates that may be sent again |
//! | `problem` | the one error type, `application/problem+json` |
//! | `extract` | bodies, paths and queries that fail as a problem |
//! | `middleware` | request ids, the access log, metrics, rendering of problems |
//! | `sse` | event streams |
//!
//! Invariants: handlers call the store, retrieval and answering of `docbrain_core` and nothing between; no SQL stands
//! here; no text of an inner error reaches a client.
#![warn(missing_docs)]

mod access;
mod client_ip;
mod extract;
mod idempotency;
mod limit;
mod middleware;
mod problem;
mod routes;
mod sse;
mod state;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::FromRef;
use axum::serve::ListenerExt;
use docbrain_core::limits::Limits;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use routes::{chat_once, openapi};
pub use state::AppState;

/// The whole API, ready to be served.
pub fn router(state: AppState) -> Router {
    middleware::around(routes::table().into_router(&state)).with_state(state)
}

/// Serves the API until `stop` completes, then lets requests that are under way end. All the time, and at the end, it
/// tells the database what answers have used up.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Otherwise the pieces of a stream wait for each other's acknowledgement.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
    });
    let limits = Limits::from_ref(&state);
    let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
    let (end, ended) = oneshot::channel::<()>();
    let serving = async move {
        let served = axum::serve(listener, service).with_graceful_shutdown(stop).await;
        drop(end);
        served
    };
    tokio::join!(serving, limits.report_until(ended)).0
}
