//! The Model Context Protocol: a chatbot is a server whose tools search its documents and ask it.
//!
//! Each request stands for itself (no session is kept), so any replica can answer it. The names of hosts are not checked:
//! that is for servers that trust whoever reaches them, and here every request shows a token that no page could have.
//! Pages in a browser are refused all the same, by their `Origin`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::store::Pool;
use docbrain_core::telemetry::Scope;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::chat::asked;
use crate::access::TenantAccess;
use crate::extract::{Json, Path};
use crate::middleware::WrittenOut;
use crate::problem::{Problem, ProblemKind};
use crate::state::AppState;

mod message;
mod tools;

use message::{Message, Reply};
use tools::Tools;

/// Talk to a chatbot in the Model Context Protocol
///
/// The streamable HTTP transport, without sessions: each message is answered in its own response. The tools are `search`
/// and `ask`; both only read. What the protocol refuses has a message of JSON-RPC as its body; what this API refuses, a
/// problem.
#[utoipa::path(
    post, path = "/mcp/{chatbot}", tag = "mcp", params(("chatbot" = String, Path, description = "Name or id of the chatbot")),
    request_body = Message,
    extensions(("x-problems" = json!(["chatbot_not_found", "chatbot_suspended", "origin_refused"]))),
    responses(
        (status = 200, description = "The answer", body = Reply),
        (status = 202, description = "A notification was taken"),
        (status = 400, description = "The protocol refuses the message", body = Reply),
        (status = 404, description = "The protocol has no such method", body = Reply),
    )
)]
pub(crate) async fn call_mcp(
    State(state): State<AppState>,
    access: TenantAccess,
    Path(chatbot): Path<String>,
    mut parts: Parts,
    Json(message): Json<Message>,
) -> Result<Response, Problem> {
    let bot = asked::open(&Pool::from_ref(&state), &access, &chatbot).await?;
    let tools = Tools { state, access, bot, scope: Scope::current() };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(tools.clone()), sessions, config);
    // The answer is JSON, whatever a client hopes for.
    parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let body = serde_json::to_vec(&message).expect("a message is JSON");
    told(service.handle(Request::from_parts(parts, Body::from(body))).await.map(Body::new))
}

/// A response of the protocol as one of this API. A refusal that is a message of JSON-RPC stays one.
fn told(response: Response) -> Result<Response, Problem> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        return Ok((axum::Extension(WrittenOut), response).into_response());
    }
    Err(match status {
        StatusCode::FORBIDDEN => Problem::new(ProblemKind::OriginRefused, "send no header `Origin`"),
        StatusCode::BAD_REQUEST => {
            Problem::new(ProblemKind::BadRequest, "the header `MCP-Protocol-Version` names no version that is known")
        }
        _ => Problem::new(ProblemKind::InvalidField, "the body is no message of the protocol"),
    })
}
