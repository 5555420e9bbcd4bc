//! Login roles and their passwords.

use docbrain_core::ids::TenantId;
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::{self, Pool};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};

/// The role's password as Postgres keeps it, with a salt of its own each time that it is set.
async fn kept(owner: &Pool, login: Login) -> Option<String> {
    let kept = "select rolpassword from pg_authid where rolname = $1 and rolcanlogin";
    sqlx::query_scalar(kept).bind(login.name()).fetch_optional(owner).await.unwrap().flatten()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_password_is_set_only_where_it_does_not_let_in(owner: PgPool) {
    let secret = SecretString::from("a secret of the tests");
    let tenant = TenantId::new();
    let login = Login::Ingest(tenant);
    assert_eq!(kept(&owner, login).await, None);
    roles::ensure(&owner, login, &secret).await.unwrap();
    let first = kept(&owner, login).await.unwrap();
    roles::ensure(&owner, login, &secret).await.unwrap();
    assert_eq!(kept(&owner, login).await.as_ref(), Some(&first), "it is left alone");

    let url = owner.connect_options().to_url_lossy().to_string();
    let url = roles::url(&url, login, &secret).unwrap();
    for spoiled in ["password 'another'", "nologin"] {
        let spoil = format!("alter role {} {spoiled}", login.name());
        sqlx::raw_sql(AssertSqlSafe(spoil)).execute(&owner).await.unwrap();
        assert!(store::connect(url.expose_secret(), 1).await.is_err());
        roles::ensure(&owner, login, &secret).await.unwrap();
        store::connect(url.expose_secret(), 1).await.unwrap().close().await;
    }
    roles::remove(&owner, tenant).await.unwrap();
}
