//! A tenant's own model providers. A key goes in and never comes out.

use axum::Json as Body;
use axum::extract::State;
use axum::http::StatusCode;
use docbrain_core::providers::{self, KeyChange, Providers, Purpose};
use docbrain_core::store::audit::{self, Actor};
use docbrain_core::store::{Pool, TenantTx, provider_settings, secrets};
use serde_json::json;

use crate::access::TenantAccess;
use crate::extract::{Json, Path};
use crate::problem::{Problem, ProblemKind};

mod wire;

use wire::{ProbeBody, TestProvider};
pub(super) use wire::{ProviderList, PutProvider};

/// The tenant's model providers
///
/// Where there is none, the installation's is used.
#[utoipa::path(get, path = "/tenant/providers", tag = "providers", responses((status = 200, description = "The providers, their keys masked", body = ProviderList)))]
pub(crate) async fn list_providers(
    State(pool): State<Pool>,
    TenantAccess { tenant, .. }: TenantAccess,
) -> Result<Body<ProviderList>, Problem> {
    let mut tx = TenantTx::begin(&pool, tenant).await?;
    Ok(Body(list(&mut tx).await?))
}

/// Set a model provider of the tenant
///
/// Visible to all questions within two seconds. Another embedding model has the tenant's documents indexed again; until
/// that is done, questions find passages by their words alone.
#[utoipa::path(
    put, path = "/tenant/providers/{purpose}", tag = "providers", request_body = PutProvider,
    params(("purpose" = String, Path, description = "`chat` or `embeddings`", example = "chat")),
    extensions(("x-problems" = json!(["bad_request", "body_too_large", "unsupported_media_type", "invalid_field"]))),
    responses((status = 200, description = "The providers, their keys masked", body = ProviderList))
)]
pub(crate) async fn put_provider(
    State(pool): State<Pool>,
    State(providers): State<Providers>,
    access: TenantAccess,
    Path(purpose): Path<Purpose>,
    Json(body): Json<PutProvider>,
) -> Result<Body<ProviderList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    put(&mut tx, &providers, access.actor()?, purpose, body).await?;
    let listed = list(&mut tx).await?;
    tx.commit().await?;
    providers.forget(access.tenant).await;
    Ok(Body(listed))
}

/// Sets a provider, and notes who did.
pub(super) async fn put(
    tx: &mut TenantTx,
    providers: &Providers,
    actor: &Actor,
    purpose: Purpose,
    body: PutProvider,
) -> Result<(), Problem> {
    let (wanted, key) = body.into_parts();
    let key_word = match key {
        KeyChange::Keep => "kept",
        KeyChange::Remove => "removed",
        KeyChange::Set(_) => "set",
    };
    let detail = json!({ "kind": wanted.kind, "base_url": wanted.base_url, "model": wanted.model, "key": key_word });
    providers.put(tx, purpose, wanted, key).await?;
    audit::record(tx, actor, "provider.update", purpose.name(), &detail).await?;
    Ok(())
}

/// Go back to the installation's provider
///
/// The stored key is deleted with it.
#[utoipa::path(
    delete, path = "/tenant/providers/{purpose}", tag = "providers",
    params(("purpose" = String, Path, description = "`chat` or `embeddings`", example = "chat")),
    extensions(("x-problems" = json!(["bad_request", "provider_not_found"]))),
    responses((status = 204, description = "The tenant uses the installation's provider"))
)]
pub(crate) async fn delete_provider(
    State(pool): State<Pool>,
    State(providers): State<Providers>,
    access: TenantAccess,
    Path(purpose): Path<Purpose>,
) -> Result<StatusCode, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    if !providers.remove(&mut tx, purpose).await? {
        return Err(no_provider(purpose));
    }
    audit::record(&mut tx, access.actor()?, "provider.delete", purpose.name(), &json!({})).await?;
    tx.commit().await?;
    providers.forget(access.tenant).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Try a model provider out
///
/// Makes one real call, which costs a few tokens, with the stored settings or with those in the body. Whatever the
/// provider says, the reply is 200.
#[utoipa::path(
    post, path = "/tenant/providers/{purpose}/test", tag = "providers", request_body = TestProvider,
    params(("purpose" = String, Path, description = "`chat` or `embeddings`", example = "chat")),
    extensions(("x-problems" = json!(["bad_request", "provider_not_found", "body_too_large", "unsupported_media_type", "invalid_field"]))),
    responses((status = 200, description = "What came of the call", body = ProbeBody))
)]
pub(crate) async fn test_provider(
    State(pool): State<Pool>,
    State(providers): State<Providers>,
    TenantAccess { tenant, .. }: TenantAccess,
    Path(purpose): Path<Purpose>,
    Json(body): Json<TestProvider>,
) -> Result<Body<ProbeBody>, Problem> {
    let mut tx = TenantTx::begin(&pool, tenant).await?;
    let endpoint = match body.settings {
        Some(settings) => {
            let (wanted, key) = settings.into_parts();
            providers.candidate(&mut tx, purpose, wanted, key).await?
        }
        None => providers.stored(&mut tx, purpose).await?.ok_or_else(|| no_provider(purpose))?,
    };
    tx.commit().await?;
    let probe = providers::probe(&endpoint, purpose).await;
    Ok(Body(ProbeBody::new(probe, endpoint.model)))
}

/// The tenant's providers, their keys masked.
pub(super) async fn list(tx: &mut TenantTx) -> Result<ProviderList, Problem> {
    let settings = provider_settings::get(tx).await?;
    Ok(ProviderList::new(settings, &secrets::list(tx).await?))
}

fn no_provider(purpose: Purpose) -> Problem {
    let detail = format!("the tenant has no {} provider of its own; set one with PUT", purpose.name());
    Problem::new(ProblemKind::ProviderNotFound, detail)
}
