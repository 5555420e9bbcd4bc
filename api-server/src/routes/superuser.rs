//! What whoever runs the installation sees and changes: tenants and what they use.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use docbrain_core::store::Pool;
use docbrain_core::store::tenants::{self, TenantUsage};
use docbrain_crds::manifest::Kind;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::SuperuserAccess;
use crate::control_plane::{Author, ControlPlane, Named};
use crate::extract::{self, Path};
use crate::problem::{Problem, ProblemKind};

/// The tenants of an installation.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantList {
    /// By name.
    tenants: Vec<TenantBody>,
}

/// A tenant and what it uses.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantBody {
    /// Its id.
    id: Uuid,
    /// Its name.
    #[schema(example = "acme")]
    name: String,
    /// Its name for people.
    #[schema(example = "Acme GmbH")]
    display_name: String,
    /// Whether its chat and ingestion stand still.
    suspended: bool,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// Its members.
    members: i64,
    /// Its chatbots.
    chatbots: i64,
    /// Its documents.
    documents: i64,
    /// Their chunks.
    chunks: i64,
    /// Chats of the last 30 days.
    chats: i64,
    /// Tokens of these chats.
    tokens: i64,
}

/// All tenants, with what they use
#[utoipa::path(get, path = "/admin/tenants", tag = "tenants", responses((status = 200, description = "The tenants by name", body = TenantList)))]
pub(crate) async fn list_tenants(
    State(pool): State<Pool>,
    _access: SuperuserAccess,
) -> Result<Json<TenantList>, Problem> {
    let tenants = tenants::usage(&pool, None).await?;
    Ok(Json(TenantList { tenants: tenants.into_iter().map(Into::into).collect() }))
}

/// What changes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantPatch {
    /// Whether chat and ingestion stand still; nothing is lost.
    suspended: bool,
}

/// Suspend a tenant, or let it go on
#[utoipa::path(
    patch, path = "/admin/tenants/{name}", tag = "tenants", params(("name" = String, Path, description = "Name of the tenant")),
    request_body = TenantPatch,
    extensions(("x-problems" = json!([
        "bad_request", "tenant_not_found", "field_owned_elsewhere", "body_too_large", "unsupported_media_type",
        "invalid_field", "control_plane_unavailable"
    ]))),
    responses((status = 200, description = "The tenant as it is now", body = TenantBody))
)]
pub(crate) async fn update_tenant(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: SuperuserAccess,
    Path(name): Path<String>,
    extract::Json(request): extract::Json<TenantPatch>,
) -> Result<Json<TenantBody>, Problem> {
    let unknown = || Problem::new(ProblemKind::TenantNotFound, "no tenant is known by that name");
    let tenant = if name.contains('\0') { None } else { tenants::named(&pool, &name).await? };
    let author = Author { tenant: tenant.ok_or_else(unknown)?, actor: &access.actor };
    let patch = json!({ "suspended": request.suspended });
    plane.edit(&author, &Named { kind: Kind::Tenant, name: &name }, &patch, None).await?;
    let tenant = tenants::usage(&pool, Some(&name)).await?.pop().ok_or_else(unknown)?;
    Ok(Json(tenant.into()))
}

impl From<TenantUsage> for TenantBody {
    fn from(tenant: TenantUsage) -> Self {
        Self {
            id: tenant.id.0,
            name: tenant.name,
            display_name: tenant.display_name,
            suspended: tenant.suspended,
            created_at: tenant.created_at,
            members: tenant.members,
            chatbots: tenant.chatbots,
            documents: tenant.documents,
            chunks: tenant.chunks,
            chats: tenant.chats,
            tokens: tenant.tokens,
        }
    }
}
