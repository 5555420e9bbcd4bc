//! Settings of a tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use docbrain_core::providers::{Providers, Purpose};
use docbrain_core::store::tenants::{self, TenantRow};
use docbrain_core::store::{Pool, TenantTx};
use docbrain_crds::manifest::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::providers::{ProviderList, PutProvider};
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
    /// Days after which conversations are deleted; null: never.
    #[schema(example = 90)]
    conversation_retention_days: Option<i32>,
    /// The tenant's own model providers, their keys masked.
    providers: ProviderList,
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
    told(&pool, &access).await
}

/// What changes; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsPatch {
    /// The tenant's name for people.
    #[schema(example = "Acme GmbH", min_length = 1, max_length = 120)]
    display_name: Option<String>,
    /// Days after which conversations are deleted; 0: never.
    #[schema(example = 90, minimum = 0, maximum = 3650)]
    conversation_retention_days: Option<i32>,
    /// Providers to set, as `PUT /tenant/providers/{purpose}` does.
    providers: Option<ProvidersPatch>,
}

/// Providers to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProvidersPatch {
    /// For chat.
    chat: Option<PutProvider>,
    /// For embeddings.
    embeddings: Option<PutProvider>,
}

/// Change the tenant's settings
///
/// Limits and suspension are the installation's to change.
#[utoipa::path(
    patch, path = "/tenant/settings", tag = "tenants", request_body = SettingsPatch,
    params(("If-Match" = String, Header, description = "The `ETag` that was read, or `*`", example = "\"3\"")),
    extensions(("x-problems" = json!([
        "bad_request", "field_owned_elsewhere", "precondition_failed", "precondition_required", "body_too_large",
        "unsupported_media_type", "invalid_field", "control_plane_unavailable"
    ]))),
    responses((status = 200, description = "The settings as they are now", body = SettingsBody, headers(("ETag" = String, description = "Revision of the settings"))))
)]
pub(crate) async fn update_settings(
    State(pool): State<Pool>,
    State(plane): State<Arc<dyn ControlPlane>>,
    State(providers): State<Providers>,
    access: TenantAccess,
    IfMatch(revision): IfMatch,
    extract::Json(request): extract::Json<SettingsPatch>,
) -> Result<Response, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let name = tenants::get(&mut tx).await?.name;
    tx.commit().await?;
    let mut patch = json!({});
    if let Some(display_name) = request.display_name {
        patch["displayName"] = display_name.into();
    }
    if let Some(days) = request.conversation_retention_days {
        patch["conversationRetentionDays"] = if days == 0 { Value::Null } else { days.into() };
    }
    let author = Author { tenant: access.tenant, actor: access.actor()? };
    plane.edit(&author, &Named { kind: Kind::Tenant, name: &name }, &patch, revision).await?;
    if let Some(ProvidersPatch { chat, embeddings }) = request.providers {
        let mut tx = TenantTx::begin(&pool, access.tenant).await?;
        for (purpose, provider) in [(Purpose::Chat, chat), (Purpose::Embeddings, embeddings)] {
            if let Some(provider) = provider {
                super::providers::put(&mut tx, &providers, access.actor()?, purpose, provider).await?;
            }
        }
        tx.commit().await?;
        providers.forget(access.tenant).await;
    }
    told(&pool, &access).await
}

async fn told(pool: &Pool, access: &TenantAccess) -> Result<Response, Problem> {
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let tenant = tenants::get(&mut tx).await?;
    let providers = super::providers::list(&mut tx).await?;
    tx.commit().await?;
    let revision = tenant.revision;
    Ok(([etag(revision)], Json(SettingsBody::new(tenant, providers))).into_response())
}

impl SettingsBody {
    fn new(tenant: TenantRow, providers: ProviderList) -> Self {
        Self {
            name: tenant.name,
            display_name: tenant.spec.display_name.clone(),
            suspended: tenant.spec.suspended,
            conversation_retention_days: tenant.spec.conversation_retention_days,
            providers,
            spec: serde_json::to_value(&tenant.spec).expect("a spec is JSON"),
        }
    }
}
