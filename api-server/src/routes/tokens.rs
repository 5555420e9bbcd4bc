//! API tokens: what programs call the API with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use docbrain_core::ids::ApiTokenId;
use docbrain_core::store::api_tokens::{self, ApiTokenRow, NewApiToken};
use docbrain_core::store::{Pool, TenantTx, audit};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::{Right, TenantAccess, secret};
use crate::extract::{Path, line};
use crate::idempotency::{Create, IdempotencyKey};
use crate::problem::{Problem, ProblemKind};

/// What a token is good for; each scope includes none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// Ask chatbots.
    Chat,
    /// See configuration, documents, conversations, figures.
    Read,
    /// Change chatbots, knowledge sources and documents.
    Write,
    /// Change members, keys and settings.
    Manage,
}

impl Scope {
    fn right(self) -> Right {
        match self {
            Self::Chat => Right::Chat,
            Self::Read => Right::Read,
            Self::Write => Right::Write,
            Self::Manage => Right::Manage,
        }
    }
}

/// The API tokens of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenList {
    /// Newest first.
    tokens: Vec<TokenBody>,
}

/// An API token, without its secret.
#[derive(Serialize, ToSchema)]
struct TokenBody {
    /// Its id.
    id: Uuid,
    /// What people call it.
    #[schema(example = "website build")]
    name: String,
    /// The token's last four characters.
    #[schema(example = "…x7Qk")]
    hint: String,
    /// What it is good for.
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<String>,
    /// Who made it.
    #[schema(example = "ada@example.com")]
    created_by: String,
    /// When.
    created_at: DateTime<Utc>,
    /// Until when it is good; null for ever.
    expires_at: Option<DateTime<Utc>>,
    /// When it was last shown, to within a few minutes.
    last_used_at: Option<DateTime<Utc>>,
}

/// The tenant's API tokens
#[utoipa::path(get, path = "/tokens", tag = "accounts", responses((status = 200, description = "The tokens, newest first", body = TokenList)))]
pub(crate) async fn list_tokens(State(pool): State<Pool>, access: TenantAccess) -> Result<Json<TokenList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let tokens = api_tokens::list(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(TokenList { tokens: tokens.into_iter().map(Into::into).collect() }))
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// What people call it.
    #[schema(example = "website build", min_length = 1, max_length = 120)]
    name: String,
    /// What it is good for.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// Until when it is good; for ever when left out.
    expires_at: Option<DateTime<Utc>>,
}

/// A new token.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewToken {
    /// Its id.
    id: Uuid,
    /// The token; shown this once.
    #[schema(example = "docb_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    token: String,
}

/// Make an API token
#[utoipa::path(
    post, path = "/tokens", tag = "accounts", params(IdempotencyKey), request_body = TokenRequest,
    extensions(("x-problems" = json!(["bad_request", "body_too_large", "unsupported_media_type", "invalid_field"]))),
    responses((status = 201, description = "The token", body = NewToken))
)]
pub(crate) async fn create_token(
    State(pool): State<Pool>,
    access: TenantAccess,
    Create { body, once }: Create<TokenRequest>,
) -> Result<Response, Problem> {
    once.answer_with_secret(&pool, access.tenant, make(&pool, &access, &body)).await
}

async fn make(pool: &Pool, access: &TenantAccess, request: &TokenRequest) -> Result<(StatusCode, NewToken), Problem> {
    let name = line(&request.name, "name", 120)?;
    let mut scopes: Vec<String> = request.scopes.iter().map(|scope| scope.right().word().to_owned()).collect();
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Problem::new(ProblemKind::InvalidField, "`scopes` must name at least one scope"));
    }
    if request.expires_at.is_some_and(|expires_at| expires_at <= Utc::now()) {
        return Err(Problem::new(ProblemKind::InvalidField, "`expires_at` must be in the future"));
    }
    let secret = secret::generate(secret::API_TOKEN);
    let actor = access.actor()?;
    let new = NewApiToken {
        name,
        secret: &secret::digest(secret.expose_secret()),
        hint: secret::hint(&secret),
        scopes: &scopes,
        created_by: &actor.name,
        expires_at: request.expires_at,
    };
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let id = api_tokens::create(&mut tx, &new).await?;
    audit::record(&mut tx, actor, "token.create", name, &json!({ "id": id, "scopes": scopes })).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, NewToken { id: id.0, token: secret.expose_secret().to_owned() }))
}

/// Revoke an API token
///
/// It is refused from then on, at the latest after two seconds.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "accounts", params(("id" = Uuid, Path, description = "Id of the token")),
    extensions(("x-problems" = json!(["api_token_not_found"]))),
    responses((status = 204, description = "It is revoked"))
)]
pub(crate) async fn delete_token(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let unknown = |_| Problem::new(ProblemKind::ApiTokenNotFound, "the id of a token is a UUID, as the list gives it");
    let token: ApiTokenId = id.parse().map_err(unknown)?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    api_tokens::delete(&mut tx, token).await?;
    audit::record(&mut tx, access.actor()?, "token.delete", &id, &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ApiTokenRow> for TokenBody {
    fn from(row: ApiTokenRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            hint: format!("…{}", row.hint),
            scopes: row.scopes,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}
