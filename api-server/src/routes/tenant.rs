//! Settings of a tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use docbrain_core::store::tenants::{self, TenantRow};
use docbrain_core::store::{Pool, TenantTx};
use docbrain_crds::manifest::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::TenantAccess;
use crate::control_plane::{Author, ControlPlane, Named};
use crate::etag::{IfMatch, etag};
use crate::extract;
use crate::problem::Problem;

/// The settings of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingsBody {
    /// The tenant's name.
    #[schema(example = "acme")]
    name: String,
    /// Its name for people.
    #[schema(example = "Acme GmbH")]
    display_name: String,
    /// Whether chat and ingestion stand still; only the installation changes it.
    suspended: bool,
    /// Its spec, as the custom resource has it.
    #[schema(schema_with = super::spec_of_tenant)]
    spec: Value,
}

/// The tenant's settings
#[utoipa::path(
    get, path = "/tenant/settings", tag = "tenants",
    responses((status = 200, description = "The settings; their `ETag` is what a change wants as `If-Match`", body = SettingsBody,
        headers(("ETag" = String, description = "Revision of the settings"))))
)]
pub(crate) async fn get_settings(State(pool): State<Pool>, access: TenantAccess) -> Result<Response, Problem> {
    let tenant = load(&pool, &access).await?;
    Ok(([etag(tenant.revision)], Json(SettingsBody::from(tenant))).into_response())
}

/// What changes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsPatch {
    /// The tenant's name for people.
    #[schema(example = "Acme GmbH", min_length = 1, max_length = 120)]
    display_name: Option<String>,
}

/// Change the tenant's settings
///
/// Limits and suspension are the installation's to change.
#[utoipa::path(
    patch, path = "/tenant/settings", tag = "tenants", request_body = SettingsPatch,
    params(("If-Match" = String, Header, description = "The `ETag` that was read, or `*`", example = "\"3\"")),
    extensions(("x-problems" = json!([
        "bad_request", "precondition_failed", "precondition_required", "body_too_large", "unsupported_media_type", "invalid_field"
    ]))),
    responses((status = 200, description = "The settings as they are now", body = SettingsBody, headers(("ETag" = String, description = "Revision of the settings"))))
)]
pub(crate) async fn update_settings(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    access: TenantAccess,
    IfMatch(revision): IfMatch,
    extract::Json(request): extract::Json<SettingsPatch>,
) -> Result<Response, Problem> {
    let name = load(&pool, &access).await?.name;
    let mut patch = json!({});
    if let Some(display_name) = request.display_name {
        patch["displayName"] = display_name.into();
    }
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    plane.edit(&author, &Named { kind: Kind::Tenant, name: &name }, &patch, revision).await?;
    let tenant = load(&pool, &access).await?;
    Ok(([etag(tenant.revision)], Json(SettingsBody::from(tenant))).into_response())
}

async fn load(pool: &Pool, access: &TenantAccess) -> Result<TenantRow, Problem> {
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let tenant = tenants::get(&mut tx).await?;
    tx.commit().await?;
    Ok(tenant)
}

impl From<TenantRow> for SettingsBody {
    fn from(tenant: TenantRow) -> Self {
        Self {
            name: tenant.name,
            display_name: tenant.spec.display_name.clone(),
            suspended: tenant.spec.suspended,
            spec: serde_json::to_value(&tenant.spec).expect("a spec is JSON"),
        }
    }
}
