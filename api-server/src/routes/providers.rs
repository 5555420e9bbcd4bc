//! A tenant's own model providers. A key goes in and never comes out.

use axum::Json as Body;
use axum::extract::State;
use axum::http::StatusCode;
use docbrain_core::providers::{self, Providers, Purpose};
use docbrain_core::store::{Pool, TenantTx, provider_settings, secrets};

use crate::access::TenantAccess;
use crate::extract::{Json, Path};
use crate::problem::{Problem, ProblemKind};

mod wire;

use wire::{ProbeBody, ProviderList, PutProvider, TestProvider};

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
    TenantAccess { tenant, .. }: TenantAccess,
    Path(purpose): Path<Purpose>,
    Json(body): Json<PutProvider>,
) -> Result<Body<ProviderList>, Problem> {
    let (wanted, key) = body.into_parts();
    let mut tx = TenantTx::begin(&pool, tenant).await?;
    providers.put(&mut tx, purpose, wanted, key).await?;
    let listed = list(&mut tx).await?;
    tx.commit().await?;
    providers.forget(tenant).await;
    Ok(Body(listed))
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
    TenantAccess { tenant, .. }: TenantAccess,
    Path(purpose): Path<Purpose>,
) -> Result<StatusCode, Problem> {
    let mut tx = TenantTx::begin(&pool, tenant).await?;
    if !providers.remove(&mut tx, purpose).await? {
        return Err(no_provider(purpose));
    }
    tx.commit().await?;
    providers.forget(tenant).await;
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

async fn list(tx: &mut TenantTx) -> Result<ProviderList, Problem> {
    let settings = provider_settings::get(tx).await?;
    Ok(ProviderList::new(settings, &secrets::list(tx).await?))
}

fn no_provider(purpose: Purpose) -> Problem {
    let detail = format!("the tenant has no {} provider of its own; set one with PUT", purpose.name());
    Problem::new(ProblemKind::ProviderNotFound, detail)
}
