//! API tokens of a tenant. Only hashes of their secrets are kept.

use chrono::{DateTime, Utc};

use super::{Error, Pool, TenantTx};
use crate::ids::{ApiTokenId, TenantId};

/// A token as it is made.
#[derive(Clone, Debug)]
pub struct NewApiToken<'a> {
    /// What people call it.
    pub name: &'a str,
    /// SHA-256 of the secret.
    pub secret: &'a [u8; 32],
    /// The secret's last four characters.
    pub hint: &'a str,
    /// What it is good for: `chat`, `read`, `write`, `manage`.
    pub scopes: &'a [String],
    /// Who made it.
    pub created_by: &'a str,
    /// Until when; `None` for ever.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token as listed.
#[derive(Clone, Debug)]
pub struct ApiTokenRow {
    /// Its id.
    pub id: ApiTokenId,
    /// What people call it.
    pub name: String,
    /// The secret's last four characters.
    pub hint: String,
    /// What it is good for.
    pub scopes: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Until when it is good.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last shown, to within a few minutes.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Makes a token.
pub async fn create(tx: &mut TenantTx, token: &NewApiToken<'_>) -> Result<ApiTokenId, Error> {
    let id = ApiTokenId::new();
    sqlx::query!(
        "insert into api_tokens (tenant_id, id, name, secret_sha256, hint, scopes, created_by, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        tx.tenant().0,
        id.0,
        token.name,
        token.secret.as_slice(),
        token.hint,
        token.scopes,
        token.created_by,
        token.expires_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// The tenant's tokens, newest first.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<ApiTokenRow>, Error> {
    let rows = sqlx::query_as!(
        ApiTokenRow,
        r#"select id as "id: _", name, hint, scopes, created_by, created_at, expires_at, last_used_at
         from api_tokens where tenant_id = $1 order by id desc"#,
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// Revokes a token.
pub async fn delete(tx: &mut TenantTx, id: ApiTokenId) -> Result<(), Error> {
    let deleted = sqlx::query!("delete from api_tokens where tenant_id = $1 and id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    if deleted.rows_affected() == 0 { Err(Error::NotFound { what: "API token" }) } else { Ok(()) }
}

/// A token as whoever shows it is known.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whose token it is.
    pub tenant: TenantId,
    /// Its id.
    pub id: ApiTokenId,
    /// What people call it.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<String>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The token with this secret (SHA-256), also one that has expired.
pub async fn with_secret(pool: &Pool, secret: &[u8; 32]) -> Result<Option<Shown>, Error> {
    let row = sqlx::query!(
        r#"select tenant_id as "tenant_id!", id as "id!", name as "name!", scopes as "scopes!", expires_at
         from api_token_of($1)"#,
        secret.as_slice(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Shown {
        tenant: row.tenant_id.into(),
        id: row.id.into(),
        name: row.name,
        scopes: row.scopes,
        expires_at: row.expires_at,
    }))
}

/// Notes that a token was shown; at most one write in five minutes.
pub async fn note_use(pool: &Pool, tenant: TenantId, id: ApiTokenId) -> Result<(), Error> {
    let mut tx = TenantTx::begin_relaxed(pool, tenant).await?;
    sqlx::query!(
        "update api_tokens set last_used_at = now() where tenant_id = $1 and id = $2
         and (last_used_at is null or last_used_at < now() - interval '5 minutes')",
        tenant.0,
        id.0,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
