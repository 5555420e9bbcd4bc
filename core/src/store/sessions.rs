//! Sessions of accounts: a browser's cookie, or a program's refresh token. Only hashes of their secrets are kept.

use chrono::{DateTime, Utc};

use super::{AccountTx, Error, Pool};
use crate::ids::{AccountId, SessionId};

/// What a session's secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// The cookie of a browser.
    Cookie,
    /// The refresh token of a program.
    Refresh,
}

impl SessionKind {
    fn word(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Refresh => "refresh",
        }
    }
}

/// A session as it is made.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Whose it is.
    pub account: AccountId,
    /// What its secret is.
    pub kind: SessionKind,
    /// SHA-256 of the secret.
    pub secret: &'a [u8; 32],
    /// What the client calls itself.
    pub user_agent: &'a str,
    /// Until when it lasts.
    pub expires_at: DateTime<Utc>,
}

/// Makes a session, and forgets those of the account that have expired.
pub async fn create(pool: &Pool, session: &NewSession<'_>) -> Result<SessionId, Error> {
    let id = SessionId::new();
    let mut tx = AccountTx::begin(pool, session.account).await?;
    sqlx::query!("delete from sessions where account_id = $1 and expires_at < now()", session.account.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "insert into sessions (id, account_id, kind, secret_sha256, user_agent, expires_at) values ($1, $2, $3, $4, $5, $6)",
        id.0,
        session.account.0,
        session.kind.word(),
        session.secret.as_slice(),
        session.user_agent,
        session.expires_at,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(id)
}

/// A session as whoever holds its secret finds it.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// What its secret is.
    pub kind: SessionKind,
    /// Until when it lasts.
    pub expires_at: DateTime<Utc>,
    /// The secret was replaced by a refresh already.
    pub spent: bool,
}

/// The session with this secret (SHA-256), also one that has expired.
pub async fn with_secret(pool: &Pool, secret: &[u8; 32]) -> Result<Option<SessionRow>, Error> {
    let row = sqlx::query!(
        r#"select id as "id!", account_id as "account_id!", kind as "kind!", expires_at as "expires_at!", spent as "spent!"
         from session_of($1)"#,
        secret.as_slice(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| SessionRow {
        id: row.id.into(),
        account: row.account_id.into(),
        kind: if row.kind == "cookie" { SessionKind::Cookie } else { SessionKind::Refresh },
        expires_at: row.expires_at,
        spent: row.spent,
    }))
}

/// Gives a session another secret, as long as it has `old`; `false` when somebody was quicker.
pub async fn rotate(pool: &Pool, session: &SessionRow, old: &[u8; 32], new: &[u8; 32]) -> Result<bool, Error> {
    let mut tx = AccountTx::begin(pool, session.account).await?;
    let updated = sqlx::query!(
        "update sessions set secret_sha256 = $3, spent_sha256 = $2 where id = $1 and secret_sha256 = $2",
        session.id.0,
        old.as_slice(),
        new.as_slice(),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(updated.rows_affected() == 1)
}

/// Ends a session; one that is gone already is no error.
pub async fn end(pool: &Pool, account: AccountId, session: SessionId) -> Result<(), Error> {
    let mut tx = AccountTx::begin(pool, account).await?;
    sqlx::query!("delete from sessions where account_id = $1 and id = $2", account.0, session.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
