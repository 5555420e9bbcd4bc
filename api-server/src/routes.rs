//! Every route, and who may call it.

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use utoipa_axum::router::UtoipaMethodRouterExt;
use utoipa_axum::routes;

mod chat;
mod chatbots;
mod conversations;
mod docs;
mod documents;
mod health;
mod metrics;
mod page;
mod runs;
mod stats;
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
        .route(Admin,  routes!(conversations::feedback::put_feedback))       // PUT    /messages/{id}/feedback
        .route(Admin,  routes!(conversations::feedback::delete_feedback))    // DELETE /messages/{id}/feedback
        .route(Admin,  routes!(conversations::list_conversations))           // GET    /chatbots/{id}/conversations
        .route(Admin,  routes!(conversations::export::export_conversations)) // GET    /chatbots/{id}/conversations/export
        .route(Admin,  routes!(conversations::get_conversation))     // GET    /conversations/{id}
        .route(Admin,  routes!(conversations::delete_conversation))  // DELETE /conversations/{id}
        .route(Admin,  routes!(stats::get_overview))                 // GET    /stats/overview
        .route(Admin,  routes!(stats::usage::list_usage))            // GET    /stats/usage
        .route(Admin,  routes!(chatbots::list_chatbots))             // GET    /chatbots
        .route(Admin,  routes!(documents::list_documents))           // GET    /chatbots/{id}/documents
        .route(Admin,  routes!(documents::upload::create_documents)  // POST   /document/ingest
            .layer(DefaultBodyLimit::disable()))
        .route(Admin,  routes!(documents::get_document))             // GET    /document/{id}
        .route(Admin,  routes!(documents::original::get_original))   // GET    /document/{id}/original
        .route(Admin,  routes!(documents::reingest_document))        // POST   /document/{id}/reingest
        .route(Admin,  routes!(documents::delete_document))          // DELETE /document/{id}
        .route(Admin,  routes!(runs::history::list_runs))            // GET    /sources/{id}/runs
        .route(Admin,  routes!(runs::get_run))                       // GET    /runs/{id}
        .route(Admin,  routes!(runs::follow_run))                    // GET    /runs/{id}/events
        .route(Admin,  routes!(runs::history::list_run_documents))   // GET    /runs/{id}/documents
        .route(Admin,  routes!(runs::history::cancel_run))           // POST   /runs/{id}/cancel
}
