//! A question to a chatbot, and its cited answer.

use axum::extract::{FromRef, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use docbrain_core::answer::{Question, Role, Turn};
use docbrain_core::ids::{ChatbotId, ConversationId, TenantId};
use docbrain_core::limits::Limits;
use docbrain_core::store::conversations::{self, Channel, Said};
use docbrain_core::store::{Pool, TenantTx};
use futures::StreamExt;
use serde_json::Value;

use crate::access::TenantAccess;
use crate::extract::Json;
use crate::middleware::{RequestId, log_causes};
use crate::problem::{Problem, ProblemKind};
use crate::sse;
use crate::state::AppState;

pub(super) mod asked;
pub(super) mod wire;

use asked::{Ask, Asked, Step};
use wire::{ChatReply, ChatRequest, Delta};

/// Messages of the conversation that a follow-up question is understood by.
const HISTORY: u32 = 10;

/// Ask a chatbot
///
/// With `Accept: text/event-stream` the answer comes as it is written: events `delta` with `{"text": …}`, then `done`
/// with the whole reply, or `error` with a problem.
#[utoipa::path(
    post, path = "/conversation/chat", tag = "conversations", request_body = ChatRequest,
    extensions(("x-problems" = json!([
        "bad_request", "origin_not_allowed", "chatbot_not_found", "conversation_not_found", "chatbot_suspended", "body_too_large",
        "unsupported_media_type", "invalid_field", "rate_limited", "budget_exhausted", "model_failed", "model_refused",
        "model_unavailable", "embedding_unavailable", "model_busy", "model_timeout"
    ]))),
    responses((status = 200, description = "The answer", content(
        (ChatReply = "application/json"),
        (sse::EventBody = "text/event-stream", example = "event: delta\ndata: {\"text\":\"Call \"}\n\nevent: done\ndata: {\"answer\":\"Call EXPIRE. [1]\"}\n\n")
    )))
)]
pub(crate) async fn create_reply(
    State(state): State<AppState>,
    access: TenantAccess,
    request_id: RequestId,
    headers: HeaderMap,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let channel = if access.visitor.is_some() { Channel::Widget } else { Channel::Api };
    let asked = begin(&state, access, &request, channel).await?;
    if wants_events(&headers) {
        Ok(tell(asked, request_id))
    } else {
        Ok(axum::Json(asked.reply().await?).into_response())
    }
}

/// Asks as `POST /conversation/chat` does, for a program that has the API in its own process. `body` and the reply, or
/// the problem, are the route's JSON.
pub async fn chat_once(state: &AppState, tenant: TenantId, body: Value) -> Result<Value, Value> {
    let reply = async {
        let request =
            serde_json::from_value(body).map_err(|error| Problem::new(ProblemKind::InvalidField, error.to_string()))?;
        let access = TenantAccess::of_installation(tenant, RequestId::new().to_string());
        begin(state, access, &request, Channel::Cli).await?.reply().await
    };
    let reply = reply.await;
    // Nobody does it in the background of such a program.
    Limits::from_ref(state).report_until(std::future::ready(())).await;
    match reply {
        Ok(reply) => Ok(serde_json::to_value(reply).expect("a reply is JSON")),
        Err(problem) => {
            let request_id = RequestId::new();
            log_causes(&problem);
            Err(serde_json::to_value(problem.body(&request_id)).expect("a problem is JSON"))
        }
    }
}

fn wants_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/event-stream")))
}

async fn begin(
    state: &AppState,
    access: TenantAccess,
    request: &ChatRequest,
    channel: Channel,
) -> Result<Asked, Problem> {
    let text = asked::question("message", &request.message)?;
    let pool = Pool::from_ref(state);
    let bot = asked::open(&pool, &access, &request.chatbot).await?;
    let (conversation, history) = match request.conversation_id {
        Some(id) => (id, history(&pool, &access, bot.id, id).await?),
        None => (ConversationId::new(), Vec::new()),
    };
    let question = Question { text: text.to_owned(), history };
    Asked::begin(state, Ask { access, bot, question, conversation, channel }).await
}

/// What was said before in a conversation with this chatbot.
async fn history(pool: &Pool, access: &TenantAccess, bot: ChatbotId, id: ConversationId) -> Result<Vec<Turn>, Problem> {
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let messages = conversations::history(&mut tx, bot, id, access.visitor_id(), HISTORY).await?;
    tx.commit().await?;
    let turn = |message: Said| Turn {
        role: if message.from_visitor { Role::Visitor } else { Role::Assistant },
        content: message.content,
    };
    Ok(messages.into_iter().map(turn).collect())
}

/// The reply as it comes. When the client goes away the stream is dropped, and the model with it.
fn tell(asked: Asked, request_id: RequestId) -> Response {
    sse::response(asked.steps().map(move |step| match step {
        Ok(Step::Text(text)) => sse::event("delta", &Delta { text: &text }),
        Ok(Step::Reply(reply)) => sse::event("done", &reply),
        Err(problem) => sse::failure(&problem, &request_id),
    }))
}
