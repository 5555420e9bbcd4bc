//! Every route, and who may call it.

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::get;
use utoipa_axum::router::UtoipaMethodRouterExt;
use utoipa_axum::routes;

mod audit;
mod auth;
mod chat;
mod chatbots;
mod conversations;
mod credentials;
mod docs;
mod documents;
mod health;
mod mcp;
mod members;
mod metrics;
mod openai;
mod ownership;
mod page;
mod providers;
mod runs;
mod sources;
mod stats;
mod superuser;
mod table;
mod tenant;
mod tokens;
mod widget;

use table::Table;
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::access::Caller;
use crate::middleware::carry_through;

pub use chat::chat_once;
pub use docs::openapi;
pub(crate) use documents::upload::memory::UploadMemory;
pub(crate) use health::Probes;

/// Longest time until an answer is written, for clients that do not take it as a stream.
const ANSWER: Duration = Duration::from_mins(2);
/// Longest time for a client to send files.
const UPLOAD: Duration = Duration::from_mins(10);

/// The table: a route cannot be in it without its caller. Routes without an operation in the OpenAPI document are pages.
#[rustfmt::skip]
pub(crate) fn table() -> Table {
    use Caller::{Account, Admin, Client, Editor, Public, Superuser, Viewer, Visitor};
    Table::new()
        .page("/",         get(page::get_page))
        .page("/page.css", get(page::get_style))
        .page("/page.js",  get(page::get_script))
        .route(Public,    routes!(health::get_health))                  // GET    /healthz
        .route(Public,    routes!(health::get_liveness))                // GET    /livez
        .route(Public,    routes!(health::get_readiness))               // GET    /readyz
        .route(Public,    routes!(health::get_startup))                 // GET    /startupz
        .route(Public,    routes!(metrics::get_metrics))                // GET    /metrics
        .route_within(ANSWER, Public, routes!(auth::register::create_account) // POST   /auth/register
            .layer(from_fn(carry_through)))
        .route(Public,    routes!(auth::create_login))                  // POST   /auth/login
        .route(Public,    routes!(auth::create_refresh))                // POST   /auth/refresh
        .route(Public,    routes!(auth::oidc::get_oidc_login))          // GET    /auth/oidc/login
        .route(Public,    routes!(auth::oidc::get_oidc_callback)        // GET    /auth/oidc/callback
            .layer(from_fn(carry_through)))
        .route(Account,   routes!(auth::create_logout))                 // POST   /auth/logout
        .route(Account,   routes!(auth::get_me))                        // GET    /auth/me
        .route(Account,   routes!(auth::update_password))               // PUT    /auth/password
        .route(Account,   routes!(auth::register::accept_invitation))   // POST   /auth/accept
        .route(Admin,     routes!(members::list_members))               // GET    /members
        .route(Admin,     routes!(members::update_member))              // PATCH  /members/{id}
        .route(Admin,     routes!(members::delete_member))              // DELETE /members/{id}
        .route(Admin,     routes!(members::list_invitations))           // GET    /invitations
        .route(Admin,     routes!(members::create_invitation))          // POST   /invitations
        .route(Admin,     routes!(members::delete_invitation))          // DELETE /invitations/{id}
        .route(Admin,     routes!(tokens::list_tokens))                 // GET    /tokens
        .route(Admin,     routes!(tokens::create_token))                // POST   /tokens
        .route(Admin,     routes!(tokens::delete_token))                // DELETE /tokens/{id}
        .route(Viewer,    routes!(tenant::get_settings))                // GET    /tenant/settings
        .route(Admin,     routes!(tenant::update_settings))             // PATCH  /tenant/settings
        .route(Viewer,    routes!(ownership::get_settings_ownership))   // GET    /tenant/settings/ownership
        .route(Admin,     routes!(providers::list_providers))           // GET    /tenant/providers
        .route(Admin,     routes!(providers::put_provider))             // PUT    /tenant/providers/{purpose}
        .route(Admin,     routes!(providers::delete_provider))          // DELETE /tenant/providers/{purpose}
        .route_within(ANSWER, Admin, routes!(providers::test_provider)) // POST   /tenant/providers/{purpose}/test
        .route(Admin,     routes!(audit::list_changes))                 // GET    /audit
        .route(Superuser, routes!(superuser::list_tenants))             // GET    /admin/tenants
        .route(Superuser, routes!(superuser::update_tenant))            // PATCH  /admin/tenants/{name}
        .route(Admin,     routes!(widget::identity::create_identity_key))         // POST   /chatbots/{id}/identity-key
        .route(Admin,     routes!(widget::identity::delete_identity_key))         // DELETE /chatbots/{id}/identity-key
        .route(Public,    routes!(widget::create_session))              // POST   /widget/session
        .route_within(ANSWER, Visitor, routes!(chat::create_reply))     // POST   /conversation/chat
        .route(Visitor,   routes!(conversations::feedback::put_feedback))         // PUT    /messages/{id}/feedback
        .route(Visitor,   routes!(conversations::feedback::delete_feedback))      // DELETE /messages/{id}/feedback
        .route(Viewer,    routes!(conversations::list_conversations))             // GET    /chatbots/{id}/conversations
        .route(Viewer,    routes!(conversations::export::export_conversations))   // GET    /chatbots/{id}/conversations/export
        .route(Viewer,    routes!(conversations::get_conversation))               // GET    /conversations/{id}
        .route(Editor,    routes!(conversations::delete_conversation))            // DELETE /conversations/{id}
        .route(Viewer,    routes!(stats::get_overview))                 // GET    /stats/overview
        .route(Viewer,    routes!(stats::usage::list_usage))            // GET    /stats/usage
        .route_within(ANSWER, Client, routes!(openai::create_completion) // POST   /v1/chat/completions
            .layer(DefaultBodyLimit::max(openai::MAX_BODY_BYTES)))
        .route(Client,    routes!(openai::list_models))                 // GET    /v1/models
        .route(Client,    routes!(openai::get_model))                   // GET    /v1/models/{model}
        .route_within(ANSWER, Client, routes!(mcp::call_mcp))           // POST   /mcp/{chatbot}
        .route(Viewer,    routes!(chatbots::list_chatbots))             // GET    /chatbots
        .route(Editor,    routes!(chatbots::create_chatbot))            // POST   /chatbots
        .route(Viewer,    routes!(chatbots::get_chatbot))               // GET    /chatbots/{id}
        .route(Editor,    routes!(chatbots::update_chatbot))            // PATCH  /chatbots/{id}
        .route(Editor,    routes!(chatbots::delete_chatbot))            // DELETE /chatbots/{id}
        .route(Viewer,    routes!(ownership::get_chatbot_ownership))    // GET    /chatbots/{id}/ownership
        .route(Viewer,    routes!(sources::list_sources))               // GET    /chatbots/{id}/sources
        .route(Editor,    routes!(sources::create_source))              // POST   /chatbots/{id}/sources
        .route(Viewer,    routes!(sources::get_source))                 // GET    /sources/{id}
        .route(Editor,    routes!(sources::update_source))              // PATCH  /sources/{id}
        .route(Editor,    routes!(sources::delete_source))              // DELETE /sources/{id}
        .route(Viewer,    routes!(ownership::get_source_ownership))     // GET    /sources/{id}/ownership
        .route(Editor,    routes!(sources::create_sync))                // POST   /sources/{id}/sync
        .route(Viewer,    routes!(documents::list_documents))           // GET    /chatbots/{id}/documents
        .route_within(UPLOAD, Editor, routes!(documents::upload::create_documents) // POST   /document/ingest
            .layer(DefaultBodyLimit::disable()))
        .route(Viewer,    routes!(documents::get_document))             // GET    /document/{id}
        .route(Viewer,    routes!(documents::original::get_original))   // GET    /document/{id}/original
        .route(Editor,    routes!(documents::reingest_document))        // POST   /document/{id}/reingest
        .route(Editor,    routes!(documents::delete_document))          // DELETE /document/{id}
        .route(Viewer,    routes!(runs::history::list_runs))            // GET    /sources/{id}/runs
        .route(Viewer,    routes!(runs::history::list_run_documents))   // GET    /runs/{id}/documents
        .route(Editor,    routes!(runs::history::cancel_run))           // POST   /runs/{id}/cancel
        .route(Viewer,    routes!(runs::get_run))                       // GET    /runs/{id}
        .route(Viewer,    routes!(runs::follow_run))                    // GET    /runs/{id}/events
}

fn spec_of_tenant() -> RefOr<Schema> {
    Ref::from_schema_name("TenantSpec").into()
}

fn spec_of_chatbot() -> RefOr<Schema> {
    Ref::from_schema_name("ChatbotSpec").into()
}

fn spec_of_source() -> RefOr<Schema> {
    Ref::from_schema_name("KnowledgeSourceSpec").into()
}
