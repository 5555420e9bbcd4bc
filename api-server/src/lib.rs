//! The HTTP API of DocBrain, as a library: `docbrain-api` is its own program, `docbrain up` serves it in its process.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | what the environment says, checked as a whole |
//! | `program` | from a configuration to a served API |
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
//! | `serve`, `draining`, `pace` | connections, how they end, and who may not hold them |
//!
//! Invariants: handlers call the store, retrieval and answering of `docbrain_core` and nothing between; no SQL stands
//! here; no text of an inner error reaches a client.
#![warn(missing_docs)]

mod access;
mod attachment;
mod client_ip;
pub mod config;
mod control_plane;
mod cors;
mod draining;
mod etag;
mod export;
mod extract;
mod idempotency;
mod limit;
mod middleware;
mod pace;
mod paging;
mod problem;
mod program;
mod routes;
mod serve;
mod sse;
mod state;
mod upkeep;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use docbrain_core::store::Pool;

pub use access::oidc::OidcSettings;
pub use access::password::reset as reset_password;
pub use control_plane::{Author, ControlPlane, Kubernetes, Local, Manager, Named, Refusal};
pub use program::run;
pub use routes::{chat_once, openapi};
pub use serve::serve;
pub use state::{AppState, Parts, Registration, Settings};
pub use upkeep::once as keep_up;

/// The whole API, ready to be served.
pub fn router(state: AppState) -> Router {
    let draining = draining::Draining::from_ref(&state);
    let origins = cors::Origins::new(Pool::from_ref(&state));
    let routes = routes::table().into_router(&state).layer(from_fn_with_state(origins, cors::preflight));
    middleware::around(routes, draining).with_state(state)
}
