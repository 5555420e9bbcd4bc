//! The HTTP API of DocBrain, as a library: `docbrain up` serves [`router`] in its own process.
//!
//! | module | what it holds |
//! |---|---|
//! | `state` | what handlers are given |
//! | `routes` | the table of all routes with who may call each, and one module a resource |
//! | `access` | who sends a request, and what they may do |
//! | `control_plane` | where configuration is written |
//! | `client_ip` | the client's address, behind proxies too |
//! | `limit` | how often and how much, as a route asks |
//! | `idempotency` | creates that may be sent again |
//! | `problem` | the one error type, `application/problem+json` |
//! | `cors` | what pages of other origins may do |
//! | `etag` | revisions of configuration |
//! | `paging` | lists in pages |
//! | `export`, `attachment` | rows as a file, and files that are saved and never shown |
//! | `upkeep` | what is done every hour |
//! | `extract` | bodies, paths and queries that fail as a problem |
//! | `middleware` | request ids, the access log, metrics, rendering of problems |
//! | `sse` | event streams |
//!
//! Invariants: handlers call the store, retrieval and answering of `docbrain_core` and nothing between; no SQL stands
//! here; no text of an inner error reaches a client.
#![warn(missing_docs)]

mod access;
mod attachment;
mod client_ip;
mod control_plane;
mod cors;
mod etag;
mod export;
mod extract;
mod idempotency;
mod limit;
mod middleware;
mod paging;
mod problem;
mod routes;
mod sse;
mod state;
mod upkeep;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::serve::ListenerExt;
use docbrain_core::limits::Limits;
use docbrain_core::store::Pool;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use access::oidc::OidcSettings;
pub use control_plane::{ControlPlane, Local};
pub use routes::{chat_once, openapi};
pub use state::{AppState, Parts, Registration, Settings, SigningKey};
pub use upkeep::once as keep_up;

/// The whole API, ready to be served.
pub fn router(state: AppState) -> Router {
    let origins = cors::Origins::new(Pool::from_ref(&state));
    let routes = routes::table().into_router(&state).layer(from_fn_with_state(origins, cors::preflight));
    middleware::around(routes).with_state(state)
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
    let upkeep = tokio::spawn(upkeep::hourly(Pool::from_ref(&state)));
    let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
    let (end, ended) = oneshot::channel::<()>();
    let serving = async move {
        let served = axum::serve(listener, service).with_graceful_shutdown(stop).await;
        drop(end);
        served
    };
    let served = tokio::join!(serving, limits.report_until(ended)).0;
    upkeep.abort();
    served
}
