//! Whether a program may serve the database it was pointed at.

use super::{Error, MIGRATOR, Pool};

/// Why it may not.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The schema is older than the program.
    #[error("the database's schema is older than this program: run `docbrain migrate`")]
    Outdated,
    /// Row-level security does not bind the role, so nothing would keep tenants apart.
    #[error("the database role passes by row-level security: log in as docbrain_api, not as a superuser")]
    Unbound,
    /// The database gave no answer.
    #[error("failed to look at the database's schema")]
    Store {
        /// What the store said.
        #[from]
        source: Error,
    },
}

/// Checks that the schema has all migrations of this program, and that row-level security binds the role. A newer
/// schema is fine: it serves old programs, too (`migrations/README.md`).
pub async fn check(pool: &Pool) -> Result<(), Unfit> {
    let bound = sqlx::query_scalar!(
        r#"select not (rolsuper or rolbypassrls) as "bound!" from pg_roles where rolname = current_user"#
    )
    .fetch_one(pool)
    .await
    .map_err(Error::from)?;
    if !bound {
        return Err(Unfit::Unbound);
    }
    check_version(pool).await
}

/// Checks that the schema has all migrations of this program, whoever asks.
pub async fn check_version(pool: &Pool) -> Result<(), Unfit> {
    let version = match sqlx::query_scalar!("select schema_version()").fetch_one(pool).await {
        Ok(version) => version,
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(Error::from(error).into()),
    };
    let newest = MIGRATOR.iter().map(|migration| migration.version).max();
    if version < newest { Err(Unfit::Outdated) } else { Ok(()) }
}

/// The function, or the right to call it, came with a later migration than the schema has.
fn is_missing(error: &sqlx::Error) -> bool {
    const UNDEFINED_FUNCTION: &str = "42883";
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(UNDEFINED_FUNCTION))
}
