//! The Model Context Protocol: a chatbot is a server whose tools search its documents and ask it.
//!
//! Each request stands for itself (no session is kept), so any replica can answer it. The names of hosts are not checked:
//! that is for servers that trust whoever reaches them, and here every request shows a token that no page could have.
//! Pages in a browser are refused all the same, by their `Origin`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::store::Pool;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::chat::asked;
use crate::access::AdminTenant;
use crate::extract::Path;
use crate::middleware::{RequestId, WrittenOut};
use crate::problem::{Problem, ProblemKind};
use crate::state::AppState;

mod tools;

use tools::Tools;

/// Largest message in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Talk to a chatbot in the Model Context Protocol
///
/// The streamable HTTP transport, without sessions: each message of JSON-RPC is answered in its own response. The tools
/// are `search` and `ask`; both only read. `Accept` must name `application/json` and `text/event-stream`. What the protocol
/// refuses has an error of JSON-RPC as its body; what this API refuses, a problem.
#[utoipa::path(
    post, path = "/mcp/{chatbot}", tag = "mcp", params(("chatbot" = String, Path, description = "Name or id of the chatbot")),
    request_body(content = Value, description = "A message of JSON-RPC 2.0", example = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})),
    extensions(("x-problems" = json!(["chatbot_not_found", "chatbot_suspended", "origin_refused", "not_acceptable"]))),
    responses(
        (status = 200, description = "The answer", content((Value = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "A notification was taken"),
        (status = 400, description = "The protocol refuses the message", body = Value),
        (status = 404, description = "The protocol knows no such method", body = Value),
        (status = 422, description = "The body is no message of JSON-RPC", body = Value),
    )
)]
pub(crate) async fn call_mcp(
    State(state): State<AppState>,
    AdminTenant { tenant }: AdminTenant,
    Path(chatbot): Path<String>,
    request_id: RequestId,
    request: Request,
) -> Result<Response, Problem> {
    let bot = asked::open(&Pool::from_ref(&state), tenant, &chatbot).await?;
    let tools = Tools { state, tenant, bot, request_id };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_MESSAGE_BYTES)
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let sessions = Arc::new(NeverSessionManager::default());
    let answered = StreamableHttpService::new(move || Ok(tools.clone()), sessions, config).handle(request).await;
    told(answered.map(Body::new))
}

/// A response of the protocol as one of this API. A refusal that is a message of JSON-RPC stays one.
fn told(response: HttpResponse<Body>) -> Result<Response, Problem> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        return Ok((axum::Extension(WrittenOut), response).into_response());
    }
    let detail = match status {
        StatusCode::FORBIDDEN => return Err(Problem::new(ProblemKind::OriginRefused, "send no header `Origin`")),
        StatusCode::NOT_ACCEPTABLE => "`Accept` must name `application/json` and `text/event-stream`",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "`Content-Type` must be `application/json`",
        StatusCode::PAYLOAD_TOO_LARGE => "send a smaller message",
        _ => "the message, or the header `MCP-Protocol-Version`, is not of the protocol",
    };
    Err(Problem::new(ProblemKind::of_status(status), detail))
}
