//! Chatbots of a tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::ChatbotId;
use docbrain_core::store::chatbots::{self, ChatbotRef, ChatbotSummary};
use docbrain_core::store::{Pool, TenantTx};
use docbrain_crds::manifest::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::credentials;
use crate::access::TenantAccess;
use crate::control_plane::{Author, ControlPlane, Named, Refusal};
use crate::etag::{FIRST_REVISION, IfMatch, etag};
use crate::extract::{self, Path, Query};
use crate::idempotency::{Create, IdempotencyKey};
use crate::problem::Problem;

/// The chatbots of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatbotList {
    /// By name.
    chatbots: Vec<ChatbotBody>,
}

/// A chatbot.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatbotBody {
    /// Its id.
    id: Uuid,
    /// Its name, unique within the tenant.
    #[schema(example = "demo")]
    name: String,
    /// The name shown to visitors.
    #[schema(example = "DocBrain demo")]
    display_name: String,
    /// Whether its tenant, or it, is suspended.
    suspended: bool,
    /// Names of the knowledge sources it answers from.
    #[schema(example = json!(["docs"]))]
    knowledge_sources: Vec<String>,
    /// Its spec, as the custom resource has it.
    #[schema(schema_with = super::spec_of_chatbot)]
    spec: Value,
}

/// All chatbots of the tenant
#[utoipa::path(get, path = "/chatbots", tag = "chatbots", responses((status = 200, description = "The chatbots by name", body = ChatbotList)))]
pub(crate) async fn list_chatbots(
    State(pool): State<Pool>,
    access: TenantAccess,
) -> Result<Json<ChatbotList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let chatbots = chatbots::list(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(ChatbotList { chatbots: chatbots.into_iter().map(Into::into).collect() }))
}

/// One chatbot
#[utoipa::path(
    get, path = "/chatbots/{id}", tag = "chatbots", params(("id" = String, Path, description = "Name or id of the chatbot")),
    extensions(("x-problems" = json!(["chatbot_not_found"]))),
    responses((status = 200, description = "The chatbot; its `ETag` is what a change wants as `If-Match`", body = ChatbotBody,
        headers(("ETag" = String, description = "Revision of the spec"))))
)]
pub(crate) async fn get_chatbot(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let chatbot = described(&pool, &access, &id).await?;
    Ok(([etag(chatbot.revision)], Json(ChatbotBody::from(chatbot))).into_response())
}

/// A chatbot to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatbotRequest {
    /// Its name, unique within the tenant.
    #[schema(example = "helper", max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    name: String,
    /// Its spec, as the custom resource has it.
    #[schema(schema_with = super::spec_of_chatbot)]
    spec: Value,
}

/// Make a chatbot
#[utoipa::path(
    post, path = "/chatbots", tag = "chatbots", params(IdempotencyKey), request_body = ChatbotRequest,
    extensions(("x-problems" = json!([
        "bad_request", "chatbot_exists", "body_too_large", "unsupported_media_type", "invalid_field", "control_plane_unavailable"
    ]))),
    responses((status = 201, description = "The chatbot", body = ChatbotBody, headers(("ETag" = String, description = "Revision of the spec"))))
)]
pub(crate) async fn create_chatbot(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Create { body: request, once }: Create<ChatbotRequest>,
) -> Result<Response, Problem> {
    let created = once.answer(&pool, access.tenant, async {
        credentials::check(&access, &Value::Null, &request.spec)?;
        let author = Author { tenant: access.tenant, actor: access.actor()? };
        plane.create(&author, &Named { kind: Kind::Chatbot, name: &request.name }, &request.spec).await?;
        let chatbot = described(&pool, &access, &request.name).await?;
        Ok((StatusCode::CREATED, ChatbotBody::from(chatbot)))
    });
    Ok(([etag(FIRST_REVISION)], created.await?).into_response())
}

/// A change of a spec.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpecPatch {
    /// What changes, as a merge patch (RFC 7396): fields that are left out stay, `null` takes a field away.
    #[schema(value_type = Object, example = json!({"systemPrompt": "Answer briefly."}))]
    pub(super) spec: serde_json::Map<String, Value>,
}

/// Change a chatbot
#[utoipa::path(
    patch, path = "/chatbots/{id}", tag = "chatbots",
    params(("id" = String, Path, description = "Name or id of the chatbot"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`", example = "\"3\"")),
    request_body = SpecPatch,
    extensions(("x-problems" = json!([
        "bad_request", "chatbot_not_found", "field_owned_elsewhere", "precondition_failed", "precondition_required",
        "body_too_large", "unsupported_media_type", "invalid_field", "control_plane_unavailable"
    ]))),
    responses((status = 200, description = "The chatbot as it is now", body = ChatbotBody, headers(("ETag" = String, description = "Revision of the spec"))))
)]
pub(crate) async fn update_chatbot(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
    IfMatch(revision): IfMatch,
    extract::Json(patch): extract::Json<SpecPatch>,
) -> Result<Response, Problem> {
    let ChatbotSummary { name, spec, .. } = described(&pool, &access, &id).await?;
    let patch = Value::Object(patch.spec);
    credentials::check(&access, &serde_json::to_value(&spec).expect("a spec is JSON"), &patch)?;
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    plane.edit(&author, &Named { kind: Kind::Chatbot, name: &name }, &patch, revision).await?;
    let chatbot = described(&pool, &access, &name).await?;
    Ok(([etag(chatbot.revision)], Json(ChatbotBody::from(chatbot))).into_response())
}

/// What becomes of knowledge sources that only this chatbot uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// They go, with their documents.
    #[default]
    Delete,
    /// They stay, for another chatbot.
    Keep,
}

/// How a chatbot is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Deletion {
    /// What becomes of knowledge sources that no other chatbot uses.
    #[serde(default)]
    #[param(inline)]
    sources: Fate,
}

/// Delete a chatbot with its conversations
///
/// Knowledge sources that no other chatbot uses go with it, and their documents, unless `sources=keep`. Those that
/// somebody else manages in the cluster stay.
#[utoipa::path(
    delete, path = "/chatbots/{id}", tag = "chatbots",
    params(("id" = String, Path, description = "Name or id of the chatbot"), Deletion),
    extensions(("x-problems" = json!([
        "bad_request", "chatbot_not_found", "field_owned_elsewhere", "control_plane_unavailable"
    ]))),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete_chatbot(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
    Query(deletion): Query<Deletion>,
) -> Result<StatusCode, Problem> {
    let chatbot = described(&pool, &access, &id).await?;
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    let orphans = match deletion.sources {
        Fate::Keep => Vec::new(),
        Fate::Delete => orphans(&pool, &access, chatbot.id).await?,
    };
    plane.delete(&author, &Named { kind: Kind::Chatbot, name: &chatbot.name }, None).await?;
    for source in &orphans {
        match plane.delete(&author, &Named { kind: Kind::KnowledgeSource, name: source }, None).await {
            Ok(()) | Err(Refusal::Owned { .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn orphans(pool: &Pool, access: &TenantAccess, chatbot: ChatbotId) -> Result<Vec<String>, Problem> {
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let orphans = chatbots::sources_of_no_other(&mut tx, chatbot).await?;
    tx.commit().await?;
    Ok(orphans)
}

async fn described(pool: &Pool, access: &TenantAccess, id: &str) -> Result<ChatbotSummary, Problem> {
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let chatbot = chatbots::describe(&mut tx, &ChatbotRef::from(id)).await?;
    tx.commit().await?;
    Ok(chatbot)
}

impl From<ChatbotSummary> for ChatbotBody {
    fn from(chatbot: ChatbotSummary) -> Self {
        let spec = serde_json::to_value(&chatbot.spec).expect("a spec is JSON");
        Self {
            id: chatbot.id.0,
            name: chatbot.name,
            display_name: chatbot.spec.display_name,
            suspended: chatbot.suspended,
            knowledge_sources: chatbot.spec.knowledge_sources.into_iter().map(|source| source.name).collect(),
            spec,
        }
    }
}
