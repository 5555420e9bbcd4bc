//! Every route, and who may call it.

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use utoipa_axum::router::UtoipaMethodRouterExt;
use utoipa_axum::routes;

mod chat;
mod chatbots;
mod docs;
mod documents;
mod health;
mod metrics;
mod page;
mod providers;
mod runs;
mod table;

use table::{Caller, Table};

pub use chat::chat_once;
pub use docs::openapi;

/// The table: a route cannot be in it without its caller. Routes without an operation in the OpenAPI document are pages.
#[rustfmt::skip]
pub(crate) fn table() -> Table {
    use Caller::{Admin, Public};
    Table::new()
        .page("/",         get(page::get_page))
        .page("/page.css", get(page::get_style))
        .page("/page.js",  get(page::get_script))
        .route(Public, routes!(health::get_health))                  // GET    /healthz
        .route(Public, routes!(health::get_readiness))               // GET    /readyz
        .route(Public, routes!(metrics::get_metrics))                // GET    /metrics
        .route(Admin,  routes!(chat::create_reply))                  // POST   /conversation/chat
        .route(Admin,  routes!(chatbots::list_chatbots))             // GET    /chatbots
        .route(Admin,  routes!(documents::list_documents))           // GET    /chatbots/{id}/documents
        .route(Admin,  routes!(documents::upload::create_documents)  // POST   /document/ingest
            .layer(DefaultBodyLimit::disable()))
        .route(Admin,  routes!(documents::delete_document))          // DELETE /document/{id}
        .route(Admin,  routes!(providers::list_providers))           // GET    /tenant/providers
        .route(Admin,  routes!(providers::put_provider))             // PUT    /tenant/providers/{purpose}
        .route(Admin,  routes!(providers::delete_provider))          // DELETE /tenant/providers/{purpose}
        .route(Admin,  routes!(providers::test_provider))            // POST   /tenant/providers/{purpose}/test
        .route(Admin,  routes!(runs::get_run))                       // GET    /runs/{id}
        .route(Admin,  routes!(runs::follow_run))                    // GET    /runs/{id}/events
}
