//! Who manages the fields of a resource, so that a page can show what is changed elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::{Pool, TenantTx, tenants};
use docbrain_crds::manifest::Kind;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::TenantAccess;
use crate::control_plane::{ControlPlane, Manager, Named};
use crate::extract::Path;
use crate::problem::Problem;

/// Who manages which fields of a resource.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ownership {
    /// In a cluster, everybody who manages a field of the spec. Null on one machine, where whoever edits last does.
    managers: Option<Vec<ManagerBody>>,
}

/// Somebody who manages fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct ManagerBody {
    /// Its name, as Kubernetes has it.
    #[schema(example = "argocd-controller")]
    name: String,
    /// Whether it is this API; fields of all others are refused with `field_owned_elsewhere` when they would change.
    editable: bool,
    /// The fields.
    #[schema(example = json!(["spec.displayName", "spec.knowledgeSources[name=\"docs\"]"]))]
    fields: Vec<String>,
}

/// Who manages the fields of a chatbot
#[utoipa::path(
    get, path = "/chatbots/{id}/ownership", tag = "chatbots", params(("id" = String, Path, description = "Name or id of the chatbot")),
    extensions(("x-problems" = json!(["chatbot_not_found", "control_plane_unavailable"]))),
    responses((status = 200, description = "The managers with their fields", body = Ownership))
)]
pub(crate) async fn get_chatbot_ownership(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<Json<Ownership>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let name = chatbots::describe(&mut tx, &ChatbotRef::from(id.as_str())).await?.name;
    tx.commit().await?;
    told(plane.as_ref(), &access, Kind::Chatbot, &name).await
}

/// Who manages the fields of a knowledge source
#[utoipa::path(
    get, path = "/sources/{id}/ownership", tag = "sources", params(("id" = String, Path, description = "Name or id of the knowledge source")),
    extensions(("x-problems" = json!(["knowledge_source_not_found", "control_plane_unavailable"]))),
    responses((status = 200, description = "The managers with their fields", body = Ownership))
)]
pub(crate) async fn get_source_ownership(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<Json<Ownership>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let name = super::sources::find(&mut tx, &id).await?.name;
    tx.commit().await?;
    told(plane.as_ref(), &access, Kind::KnowledgeSource, &name).await
}

/// Who manages the tenant's settings
#[utoipa::path(
    get, path = "/tenant/settings/ownership", tag = "tenants",
    extensions(("x-problems" = json!(["control_plane_unavailable"]))),
    responses((status = 200, description = "The managers with their fields", body = Ownership))
)]
pub(crate) async fn get_settings_ownership(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
) -> Result<Json<Ownership>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let name = tenants::get(&mut tx).await?.name;
    tx.commit().await?;
    told(plane.as_ref(), &access, Kind::Tenant, &name).await
}

async fn told(
    plane: &dyn ControlPlane,
    access: &TenantAccess,
    kind: Kind,
    name: &str,
) -> Result<Json<Ownership>, Problem> {
    let managers = plane.managers(access.tenant, &Named { kind, name }).await?;
    Ok(Json(Ownership { managers: managers.map(|managers| managers.into_iter().map(Into::into).collect()) }))
}

impl From<Manager> for ManagerBody {
    fn from(manager: Manager) -> Self {
        Self { name: manager.name, editable: manager.is_own, fields: manager.fields }
    }
}
