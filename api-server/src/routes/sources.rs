//! Knowledge sources: where documents come from, and how they are indexed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::{KnowledgeSourceId, RunId};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::documents::{self, Counts};
use docbrain_core::store::sources::{self, KnowledgeSourceRow};
use docbrain_core::store::{Pool, TenantTx, audit, runs};
use docbrain_crds::manifest::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::chatbots::SpecPatch;
use super::credentials;
use super::documents::CountsBody;
use crate::access::TenantAccess;
use crate::control_plane::{Author, ControlPlane, Named};
use crate::etag::{FIRST_REVISION, IfMatch, etag};
use crate::extract::{self, Path};
use crate::idempotency::{Create, IdempotencyKey};
use crate::problem::{Problem, ProblemKind};

/// Knowledge sources.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceList {
    /// By name.
    sources: Vec<SourceBody>,
}

/// A knowledge source.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceBody {
    /// Its id.
    id: Uuid,
    /// Its name, unique within the tenant.
    #[schema(example = "docs")]
    name: String,
    /// Whether its tenant, or it, is suspended.
    suspended: bool,
    /// Its documents by status.
    documents: CountsBody,
    /// Its spec, as the custom resource has it.
    #[schema(schema_with = super::spec_of_source)]
    spec: Value,
}

/// The knowledge sources of a chatbot
#[utoipa::path(
    get, path = "/chatbots/{id}/sources", tag = "sources", params(("id" = String, Path, description = "Name or id of the chatbot")),
    extensions(("x-problems" = json!(["chatbot_not_found"]))),
    responses((status = 200, description = "The knowledge sources by name", body = SourceList))
)]
pub(crate) async fn list_sources(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<Json<SourceList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let chatbot = chatbots::get(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    let mut list = Vec::new();
    for source in sources::list(&mut tx, Some(&chatbot.sources)).await? {
        let counts = documents::count(&mut tx, Some(&[source.id])).await?;
        list.push(SourceBody::new(source, counts));
    }
    tx.commit().await?;
    Ok(Json(SourceList { sources: list }))
}

/// A knowledge source to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceRequest {
    /// Its name, unique within the tenant.
    #[schema(example = "manual", max_length = 52, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    name: String,
    /// Its spec, as the custom resource has it; a source for uploads when left out.
    #[schema(schema_with = super::spec_of_source)]
    spec: Option<Value>,
}

/// Make a knowledge source for a chatbot
#[utoipa::path(
    post, path = "/chatbots/{id}/sources", tag = "sources",
    params(("id" = String, Path, description = "Name or id of the chatbot"), IdempotencyKey), request_body = SourceRequest,
    extensions(("x-problems" = json!([
        "bad_request", "chatbot_not_found", "knowledge_source_exists", "field_owned_elsewhere", "body_too_large",
        "unsupported_media_type", "invalid_field", "control_plane_unavailable"
    ]))),
    responses((status = 201, description = "The knowledge source", body = SourceBody, headers(("ETag" = String, description = "Revision of the spec"))))
)]
pub(crate) async fn create_source(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
    Create { body, once }: Create<SourceRequest>,
) -> Result<Response, Problem> {
    let created = once.answer(&pool, access.tenant, async {
        Ok((StatusCode::CREATED, make(&pool, plane.as_ref(), &access, &id, body).await?))
    });
    Ok(([etag(FIRST_REVISION)], created.await?).into_response())
}

/// Makes a knowledge source and names it in the chatbot's spec.
async fn make(
    pool: &Pool,
    plane: &dyn ControlPlane,
    access: &TenantAccess,
    id: &str,
    request: SourceRequest,
) -> Result<SourceBody, Problem> {
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let chatbot = chatbots::describe(&mut tx, &ChatbotRef::from(id)).await?;
    tx.commit().await?;
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    credentials::check(access, &Value::Null, request.spec.as_ref().unwrap_or(&Value::Null))?;
    let spec = request.spec.unwrap_or_else(|| json!({ "source": { "upload": {} } }));
    plane.create(&author, &Named { kind: Kind::KnowledgeSource, name: &request.name }, &spec).await?;
    while let Err(problem) = attach(pool, plane, &author, &chatbot.name, &request.name).await {
        // Somebody else has just changed the chatbot: theirs stays, and this joins it.
        if problem.kind != ProblemKind::PreconditionFailed {
            return Err(problem);
        }
    }
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let source = sources::by_name(&mut tx, &request.name).await?;
    tx.commit().await?;
    Ok(SourceBody::new(source, Counts::default()))
}

/// Names a knowledge source in a chatbot's spec.
async fn attach(
    pool: &Pool,
    plane: &dyn ControlPlane,
    author: &Author<'_>,
    chatbot: &str,
    source: &str,
) -> Result<(), Problem> {
    let mut tx = TenantTx::begin(pool, author.tenant).await?;
    let chatbot = chatbots::describe(&mut tx, &ChatbotRef::Name(chatbot.to_owned())).await?;
    tx.commit().await?;
    let mut sources: Vec<&str> = chatbot.spec.knowledge_sources.iter().map(|source| source.name.as_str()).collect();
    if sources.contains(&source) {
        return Ok(());
    }
    sources.push(source);
    let sources: Vec<Value> = sources.into_iter().map(|name| json!({ "name": name })).collect();
    let named = Named { kind: Kind::Chatbot, name: &chatbot.name };
    plane.edit(author, &named, &json!({ "knowledgeSources": sources }), Some(chatbot.revision)).await?;
    Ok(())
}

/// One knowledge source
#[utoipa::path(
    get, path = "/sources/{id}", tag = "sources", params(("id" = String, Path, description = "Name or id of the knowledge source")),
    extensions(("x-problems" = json!(["knowledge_source_not_found"]))),
    responses((status = 200, description = "The knowledge source; its `ETag` is what a change wants as `If-Match`", body = SourceBody,
        headers(("ETag" = String, description = "Revision of the spec"))))
)]
pub(crate) async fn get_source(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let source = find(&mut tx, &id).await?;
    let counts = documents::count(&mut tx, Some(&[source.id])).await?;
    tx.commit().await?;
    Ok(told(source, counts))
}

/// Change a knowledge source
///
/// A change of how documents are cut builds a new index beside the old one, which answers until the new one is complete.
#[utoipa::path(
    patch, path = "/sources/{id}", tag = "sources",
    params(("id" = String, Path, description = "Name or id of the knowledge source"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`", example = "\"3\"")),
    request_body = SpecPatch,
    extensions(("x-problems" = json!([
        "bad_request", "knowledge_source_not_found", "field_owned_elsewhere", "precondition_failed",
        "precondition_required", "body_too_large", "unsupported_media_type", "invalid_field", "control_plane_unavailable"
    ]))),
    responses((status = 200, description = "The knowledge source as it is now", body = SourceBody, headers(("ETag" = String, description = "Revision of the spec"))))
)]
pub(crate) async fn update_source(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
    IfMatch(revision): IfMatch,
    extract::Json(patch): extract::Json<SpecPatch>,
) -> Result<Response, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let source = find(&mut tx, &id).await?;
    tx.commit().await?;
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    let named = Named { kind: Kind::KnowledgeSource, name: &source.name };
    let patch = Value::Object(patch.spec);
    credentials::check(&access, &serde_json::to_value(&source.spec).expect("a spec is JSON"), &patch)?;
    plane.edit(&author, &named, &patch, revision).await?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let source = sources::get(&mut tx, source.id).await?;
    let counts = documents::count(&mut tx, Some(&[source.id])).await?;
    tx.commit().await?;
    Ok(told(source, counts))
}

/// Delete a knowledge source with its documents and its index
#[utoipa::path(
    delete, path = "/sources/{id}", tag = "sources", params(("id" = String, Path, description = "Name or id of the knowledge source")),
    extensions(("x-problems" = json!(["knowledge_source_not_found", "field_owned_elsewhere", "control_plane_unavailable"]))),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete_source(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let source = find(&mut tx, &id).await?;
    tx.commit().await?;
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    plane.delete(&author, &Named { kind: Kind::KnowledgeSource, name: &source.name }, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A run that was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Queued {
    /// The run.
    pub(super) run_id: Uuid,
}

/// Index a knowledge source now
#[utoipa::path(
    post, path = "/sources/{id}/sync", tag = "sources", params(("id" = String, Path, description = "Name or id of the knowledge source")),
    extensions(("x-problems" = json!(["knowledge_source_not_found", "knowledge_source_suspended"]))),
    responses((status = 202, description = "The run is queued", body = Queued))
)]
pub(crate) async fn create_sync(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Queued>), Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let source = find(&mut tx, &id).await?;
    if source.suspended {
        return Err(Problem::new(ProblemKind::KnowledgeSourceSuspended, "resume the knowledge source first"));
    }
    let run = runs::enqueue(&mut tx, source.id, &format!("sync:{}", RunId::new())).await?;
    audit::record(&mut tx, access.actor()?, "source.sync", &source.name, &json!({ "run": run })).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Queued { run_id: run.0 })))
}

/// The knowledge source of this id or name.
pub(super) async fn find(tx: &mut TenantTx, id: &str) -> Result<KnowledgeSourceRow, Problem> {
    let source = match id.parse::<KnowledgeSourceId>() {
        Ok(id) => sources::get(tx, id).await,
        Err(_) => sources::by_name(tx, id).await,
    };
    Ok(source?)
}

fn told(source: KnowledgeSourceRow, counts: Counts) -> Response {
    ([etag(source.revision)], Json(SourceBody::new(source, counts))).into_response()
}

impl SourceBody {
    fn new(source: KnowledgeSourceRow, counts: Counts) -> Self {
        Self {
            id: source.id.0,
            name: source.name,
            suspended: source.suspended,
            documents: counts.into(),
            spec: serde_json::to_value(&source.spec).expect("a spec is JSON"),
        }
    }
}
