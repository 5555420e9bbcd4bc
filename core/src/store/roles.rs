//! Login roles: one for the API, one a tenant for its ingestion runs.
//!
//! Passwords are derived from one secret of the installation (HMAC-SHA-256 of the role's name), so none is stored.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::{Error, Pool};
use crate::ids::TenantId;

/// Shortest password that somebody may choose, in characters.
const SHORTEST_PASSWORD: usize = 16;

/// A role that logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// The API server.
    Api,
    /// The ingestion runs of a tenant; the role's name is what binds it to the tenant.
    Ingest(TenantId),
}

impl Login {
    /// The role's name.
    pub fn name(self) -> String {
        match self {
            Self::Api => "docbrain_api".to_owned(),
            Self::Ingest(tenant) => format!("docbrain_ingest_{}", tenant.0.simple()),
        }
    }

    fn password(self, secret: &SecretString) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length is a key");
        mac.update(self.name().as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

/// Why a chosen password was not set.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It could not become part of a URL as it is, or would be guessed.
    #[error(
        "the password needs at least {SHORTEST_PASSWORD} letters and digits, and nothing else: openssl rand -hex 32"
    )]
    Unfit,
    /// The database refused.
    #[error("failed to set the password")]
    Store {
        /// What the store said.
        #[from]
        source: Error,
    },
}

/// Makes a role that can log in with its password, or gives it that password. Needs the right to create roles, where the role
/// does not log in already.
pub async fn ensure(owner: &Pool, login: Login, secret: &SecretString) -> Result<(), Error> {
    ensure_password(owner, login, &login.password(secret)).await
}

/// Lets the API's role log in with a password that somebody chose.
pub async fn set_api_password(owner: &Pool, password: &SecretString) -> Result<(), PasswordError> {
    let password = password.expose_secret();
    if password.len() < SHORTEST_PASSWORD || !password.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(PasswordError::Unfit);
    }
    Ok(ensure_password(owner, Login::Api, password).await?)
}

async fn ensure_password(owner: &Pool, login: Login, password: &str) -> Result<(), Error> {
    /// Roles belong to the whole server, which refuses one of two changes that come at once from two databases.
    const ATTEMPTS: usize = 20;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let exists = exists(owner, login).await?;
        if exists && logs_in(owner, login, password).await? {
            return Ok(());
        }
        match let_in(owner, login, exists, password).await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(last.expect("at least one attempt was made").into())
}

async fn exists(owner: &Pool, login: Login) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(r#"select exists (select 1 from pg_roles where rolname = $1) as "exists!""#, login.name())
        .fetch_one(owner)
        .await?)
}

async fn logs_in(owner: &Pool, login: Login, password: &str) -> Result<bool, Error> {
    let options = PgConnectOptions::clone(&owner.connect_options());
    let options = options.username(&login.name()).password(password);
    match options.connect().await {
        Ok(connection) => Ok(connection.close().await.map(|()| true)?),
        // Class 28 is "invalid authorization": no such role, another password, no right to log in.
        Err(sqlx::Error::Database(refusal)) if refusal.code().is_some_and(|code| code.starts_with("28")) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the role, or gives it its password. Whoever does the same in this database waits.
async fn let_in(owner: &Pool, login: Login, exists: bool, password: &str) -> Result<(), sqlx::Error> {
    // Names and passwords are made of letters, digits and _ alone: nothing in them can end a literal.
    let name = login.name();
    let (verb, group) = match (exists, login) {
        (true, _) => ("alter", ""),
        (false, Login::Ingest(_)) => ("create", " in role docbrain_ingest"),
        (false, Login::Api) => ("create", ""),
    };
    let statement = format!(
        "select pg_advisory_xact_lock(hashtextextended('roles', 0)); {verb} role {name} login password '{password}'{group}"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(owner).await?;
    Ok(())
}

/// Removes a tenant's role.
pub async fn remove(owner: &Pool, tenant: TenantId) -> Result<(), Error> {
    let name = Login::Ingest(tenant).name();
    sqlx::raw_sql(AssertSqlSafe(format!("drop role if exists {name}"))).execute(owner).await?;
    Ok(())
}

/// The URL of the same database for another role, with the same demands on TLS.
pub fn url(owner_url: &str, login: Login, secret: &SecretString) -> Result<SecretString, Error> {
    let options: PgConnectOptions = owner_url.parse().map_err(|source| Error::BadUrl { source })?;
    // Postgres' own rule: who names no database means the one of the same name.
    let database = options.get_database().unwrap_or(options.get_username()).to_owned();
    let password = login.password(secret);
    let url = options.username(&login.name()).password(&password).database(&database).to_url_lossy();
    Ok(String::from(url).into())
}
