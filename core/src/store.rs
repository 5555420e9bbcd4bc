//! All SQL of DocBrain: one module a family of tables, functions named by what they do to it.
//!
//! Whatever belongs to a tenant is reached through [`TenantTx`], a transaction that is bound to one tenant; the
//! database refuses every row of any other (`migrations/0002_create_tenant_boundary.sql`).

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::ids::{AccountId, TenantId};
use crate::keyring::KeyringError;

pub mod accounts;
pub mod api_tokens;
pub mod audit;
pub mod bootstrap;
pub mod chatbots;
pub mod chunks;
pub mod conversations;
pub mod documents;
pub mod fetches;
pub mod generations;
pub mod idempotency;
pub mod limits;
pub mod members;
pub mod messages;
pub mod provider_settings;
pub mod quotas;
pub mod roles;
pub mod runs;
pub mod schema;
pub mod search;
pub mod secret_refs;
pub mod secrets;
pub mod sessions;
pub mod sources;
pub mod specs;
pub mod stats;
pub mod tenants;
pub mod upkeep;

/// A pool of connections to Postgres.
pub type Pool = sqlx::PgPool;

/// The migrations of the schema, embedded.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row for this tenant.
    #[error("no {what} is known by that name or id")]
    NotFound {
        /// The kind of thing, in the words of the glossary.
        what: &'static str,
    },
    /// Somebody else has it already.
    #[error("that {what} is taken already")]
    Taken {
        /// The kind of thing, in the words of the glossary.
        what: &'static str,
    },
    /// A tenant without an admin could not be managed by anybody.
    #[error("a tenant needs at least one admin")]
    LastAdmin,
    /// Somebody has changed it since it was read.
    #[error("it has changed since revision {expected}: it is at revision {current} now")]
    Changed {
        /// What the caller had read.
        expected: i64,
        /// What it is.
        current: i64,
    },
    /// Another process has taken over the run.
    #[error("another process has taken over this ingestion run")]
    LeaseLost,
    /// The tenant has as much as its quota allows.
    #[error("the tenant's quota of {limit} {what} does not leave room: there are {count}")]
    QuotaExceeded {
        /// What is counted, in the plural.
        what: &'static str,
        /// The quota.
        limit: u32,
        /// How many there are.
        count: u32,
    },
    /// The database URL cannot be read.
    #[error("the database URL is not of the form postgres://user:password@host:port/database")]
    BadUrl {
        /// What the parser said.
        source: sqlx::Error,
    },
    /// A migration failed, or the database holds another version of DocBrain.
    #[error("failed to migrate the database")]
    Migrate {
        /// What the migrator said.
        source: sqlx::migrate::MigrateError,
    },
    /// Postgres refused, or could not be reached.
    #[error("failed to query the database")]
    Database {
        /// What the driver said.
        source: sqlx::Error,
    },
    /// A text holds NUL, which Postgres does not store.
    #[error("a text holds NUL")]
    Nul {
        /// What the driver said.
        source: sqlx::Error,
    },
    /// A secret does not open, or the keys for it are not there.
    #[error("failed to seal or open a secret")]
    Keyring {
        /// What is wrong with the keys.
        #[from]
        source: KeyringError,
    },
    /// A row does not read as it was written.
    #[error("{table} holds a row that cannot be read")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// What the reader said.
        source: serde_json::Error,
    },
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        // Of a text and of JSON: https://www.postgresql.org/docs/18/errcodes-appendix.html
        let code = source.as_database_error().and_then(DatabaseError::code);
        let is_nul = matches!(code.as_deref(), Some("22021" | "22P05"));
        if is_nul { Self::Nul { source } } else { Self::Database { source } }
    }
}

impl Error {
    /// Whether the database could not be reached at all, so that the same call may well succeed a moment later.
    pub fn is_unavailable(&self) -> bool {
        let Self::Database { source } = self else {
            return false;
        };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                true
            }
            // Connection exceptions, too many connections, shutting down, and starting up.
            sqlx::Error::Database(refusal) => refusal
                .code()
                .is_some_and(|code| code.starts_with("08") || ["53300", "57P01", "57P02", "57P03"].contains(&&*code)),
            _ => false,
        }
    }
}

/// Opens a pool and a first connection. `connections` bounds it; a connection is awaited for at most ten seconds.
pub async fn connect(url: &str, connections: u32) -> Result<Pool, Error> {
    let pool = connect_later(url, connections)?;
    drop(pool.acquire().await?);
    Ok(pool)
}

/// Opens a pool whose first query connects; within a Tokio runtime.
pub fn connect_later(url: &str, connections: u32) -> Result<Pool, Error> {
    let options: PgConnectOptions = url.parse().map_err(|source| Error::BadUrl { source })?;
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        // A ping for every transaction costs a round trip; a broken connection fails one request instead.
        .test_before_acquire(false)
        .connect_lazy_with(options.application_name("docbrain")))
}

/// Whether a text is the URL of a Postgres database.
pub fn check_url(url: &str) -> Result<(), Error> {
    let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
    match url.parse::<PgConnectOptions>() {
        Ok(_) if known => Ok(()),
        Ok(_) => Err(Error::BadUrl { source: sqlx::Error::Configuration("the scheme is not postgres".into()) }),
        Err(source) => Err(Error::BadUrl { source }),
    }
}

/// Runs all migrations that are missing, as the owner of the schema. Two callers take turns.
pub async fn migrate(owner: &Pool) -> Result<(), Error> {
    MIGRATOR.run(owner).await.map_err(|source| Error::Migrate { source })
}

/// Whether Postgres answers.
pub async fn ping(pool: &Pool) -> Result<(), Error> {
    sqlx::query!("select 1 as one").fetch_one(pool).await?;
    Ok(())
}

/// What writing a configuration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The row's id.
    pub id: Uuid,
    /// Counts the changes of the configuration.
    pub revision: i64,
    /// Whether this was a change.
    pub changed: bool,
}

/// A transaction bound to one tenant: `docbrain.tenant` is set for exactly as long as it lives.
pub struct TenantTx {
    tx: Transaction<'static, Postgres>,
    tenant: TenantId,
}

impl TenantTx {
    /// Begins a transaction for `tenant`, in one round trip.
    pub async fn begin(pool: &Pool, tenant: TenantId) -> Result<Self, Error> {
        // A typed id cannot carry SQL.
        let statement = AssertSqlSafe(format!("begin; set local docbrain.tenant = '{tenant}'"));
        Ok(Self { tx: pool.begin_with(statement).await?, tenant })
    }

    /// Begins a transaction whose commit returns before it is on disk: after a crash of Postgres the whole of it may be
    /// missing, never a part. For rows that are made again, such as chunks.
    pub async fn begin_relaxed(pool: &Pool, tenant: TenantId) -> Result<Self, Error> {
        let settings = "set local synchronous_commit = off; set local docbrain.tenant";
        let statement = AssertSqlSafe(format!("begin; {settings} = '{tenant}'"));
        Ok(Self { tx: pool.begin_with(statement).await?, tenant })
    }

    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Lets the transaction reach the rows of an account as well.
    pub async fn act_for(&mut self, account: AccountId) -> Result<(), Error> {
        sqlx::query_scalar!("select set_config('docbrain.account', $1, true)", account.to_string())
            .fetch_one(&mut **self)
            .await?;
        Ok(())
    }

    /// Commits.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.tx.commit().await?)
    }
}

impl Deref for TenantTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for TenantTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}

/// A transaction bound to one account: it reaches the account, its sessions and its memberships, and no tenant.
pub(crate) struct AccountTx(Transaction<'static, Postgres>);

impl AccountTx {
    pub(crate) async fn begin(pool: &Pool, account: AccountId) -> Result<Self, Error> {
        // A typed id cannot carry SQL.
        let statement = AssertSqlSafe(format!("begin; set local docbrain.account = '{account}'"));
        Ok(Self(pool.begin_with(statement).await?))
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

impl Deref for AccountTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for AccountTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
