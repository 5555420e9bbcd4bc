//! The first steps in an empty server, as its superuser: a database, the extension, an owner who is no superuser.

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgConnection, Pool as SqlxPool, Postgres};

use super::{Error, Pool};

/// Makes `database`, owned by `owner`, with the extension `vector`. What is there already stays.
///
/// `owner` and `database` are names in lower-case letters and underscores, `password` letters and digits.
pub async fn create_database(
    superuser: &Pool,
    owner: &str,
    password: &SecretString,
    database: &str,
) -> Result<(), Error> {
    let password = password.expose_secret();
    for word in [owner, password, database] {
        assert!(word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "a name or password would need quoting");
    }
    let role_exists =
        sqlx::query_scalar!(r#"select exists (select 1 from pg_roles where rolname = $1) as "exists!""#, owner)
            .fetch_one(superuser)
            .await?;
    if !role_exists {
        execute(superuser, format!("create role {owner} login createrole password '{password}'")).await?;
    }
    let database_exists =
        sqlx::query_scalar!(r#"select exists (select 1 from pg_database where datname = $1) as "exists!""#, database)
            .fetch_one(superuser)
            .await?;
    if !database_exists {
        execute(superuser, format!("create database {database} owner {owner}")).await?;
    }
    let options = superuser.connect_options().as_ref().clone().database(database);
    let inside: SqlxPool<Postgres> = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    execute(&inside, "create extension if not exists vector".to_owned()).await?;
    inside.close().await;
    Ok(())
}

async fn execute(pool: &Pool, statement: String) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    let connection: &mut PgConnection = &mut connection;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
