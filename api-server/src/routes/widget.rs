//! Visitors of pages that embed a chatbot.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderMap, ORIGIN};
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::{ChatbotId, TenantId};
use docbrain_core::providers::Providers;
use docbrain_core::store::chatbots::{self, ChatbotRef, ChatbotSummary};
use docbrain_core::store::{Pool, TenantTx};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::jwt::{Claims, VISITOR_LASTS};
use crate::access::{AccessControl, origin_not_allowed, secret};
use crate::cors;
use crate::extract::Json;
use crate::problem::{Problem, ProblemKind};

pub(super) mod identity;

/// A page that embeds a chatbot.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRequest {
    /// Id of the chatbot.
    #[schema(value_type = Uuid)]
    chatbot: ChatbotId,
    /// The visitor of an earlier session, so that its conversations go on.
    #[schema(value_type = Option<String>, example = "0198f1de-7c1b-7c3e-9f0a-3b0d4a1c2e5f")]
    visitor: Option<Uuid>,
    /// Who the visitor is, signed by the page's host with the chatbot's identity key.
    #[schema(value_type = Option<String>, max_length = 4096)]
    identity: Option<SecretString>,
}

/// A visitor's session.
#[derive(Serialize, ToSchema)]
pub(crate) struct VisitorSession {
    /// Send it as `Authorization: Bearer …`; it is good for this chatbot and this origin alone.
    token: String,
    /// Seconds until it expires; ask for another one before.
    #[schema(example = 3600)]
    expires_in: u64,
    /// The visitor, for the next session; null for one whom the host has named.
    visitor: Option<Uuid>,
    /// What the widget shows.
    chatbot: WidgetBody,
}

/// A chatbot as its visitors see it.
#[derive(Serialize, ToSchema)]
struct WidgetBody {
    /// The name shown to visitors.
    #[schema(example = "Helper")]
    display_name: String,
    /// Further settings of the widget.
    settings: BTreeMap<String, String>,
}

/// Begin a visitor's session
///
/// Only pages of the chatbot's `allowedOrigins` may: there are none by default.
#[utoipa::path(
    post, path = "/widget/session", tag = "widget", request_body = SessionRequest,
    params(("Origin" = String, Header, description = "The page's origin, as browsers send it", example = "https://example.com")),
    extensions(("x-problems" = json!([
        "bad_request", "origin_not_allowed", "identity_refused", "chatbot_not_found", "chatbot_suspended", "body_too_large", "unsupported_media_type",
        "invalid_field", "internal"
    ]))),
    responses((status = 200, description = "The session", body = VisitorSession))
)]
pub(crate) async fn create_session(
    State(access): State<AccessControl>,
    State(providers): State<Providers>,
    headers: HeaderMap,
    Json(request): Json<SessionRequest>,
) -> Result<Response, Problem> {
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok()).ok_or_else(origin_not_allowed)?;
    let (tenant, chatbot) = find(&access.pool, request.chatbot).await?;
    if !chatbot.spec.allowed_origins.iter().any(|allowed| allowed == origin) {
        return Err(origin_not_allowed());
    }
    let begun = begin(&access, &providers, tenant, chatbot, origin, &request).await;
    let begun = begun.map(|session| ([(CACHE_CONTROL, "no-store")], axum::Json(session)));
    // The page may read a refusal, too.
    let mut response = begun.into_response();
    cors::allow(response.headers_mut(), origin);
    Ok(response)
}

async fn begin(
    access: &AccessControl,
    providers: &Providers,
    tenant: TenantId,
    chatbot: ChatbotSummary,
    origin: &str,
    request: &SessionRequest,
) -> Result<VisitorSession, Problem> {
    if chatbot.suspended {
        return Err(Problem::new(ProblemKind::ChatbotSuspended, "the chatbot takes no questions at the moment"));
    }
    let identity = match &request.identity {
        Some(token) => {
            let mut tx = TenantTx::begin(&access.pool, tenant).await?;
            let identity = identity::read(&mut tx, providers, chatbot.id, token).await?;
            tx.commit().await?;
            Some(identity)
        }
        None => None,
    };
    let (visitor, sub) = if let Some(identity) = &identity {
        // No visitor can take such a name by itself.
        (None, format!("host:{}", hex::encode(&secret::digest(&identity.sub)[..16])))
    } else {
        let visitor = request.visitor.unwrap_or_else(Uuid::now_v7);
        (Some(visitor), visitor.to_string())
    };
    let claims = Claims::Visitor {
        sub,
        tid: tenant,
        bot: chatbot.id,
        org: origin.to_owned(),
        idn: identity.map(|identity| serde_json::to_value(identity).expect("an identity is JSON")),
    };
    Ok(VisitorSession {
        token: access.signer.sign(claims, VISITOR_LASTS),
        expires_in: VISITOR_LASTS.as_secs(),
        visitor,
        chatbot: WidgetBody { display_name: chatbot.spec.display_name, settings: BTreeMap::new() },
    })
}

async fn find(pool: &Pool, id: ChatbotId) -> Result<(TenantId, ChatbotSummary), Problem> {
    let unknown = || Problem::new(ProblemKind::ChatbotNotFound, "no chatbot is known by that id");
    let tenant = chatbots::tenant_of(pool, id).await?.ok_or_else(unknown)?;
    let mut tx = TenantTx::begin(pool, tenant).await?;
    let chatbot = chatbots::describe(&mut tx, &ChatbotRef::Id(id)).await?;
    tx.commit().await?;
    Ok((tenant, chatbot))
}
