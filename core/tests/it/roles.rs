//! Login roles and their passwords.

use docbrain_core::ids::TenantId;
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::{self, Pool};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
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

#[test]
fn the_url_of_a_role_differs_from_the_owners_in_the_role_alone() {
    let options = |owner: &str| -> PgConnectOptions {
        let url = roles::url(owner, Login::Api, &SecretString::from("a secret of the tests")).unwrap();
        assert!(!url.expose_secret().contains(":word@"));
        url.expose_secret().parse().unwrap()
    };
    let remote = options("postgres://owner:word@db.example:5433/docs?sslmode=verify-full");
    assert_eq!((remote.get_host(), remote.get_port(), remote.get_database()), ("db.example", 5433, Some("docs")));
    assert!(matches!(remote.get_ssl_mode(), PgSslMode::VerifyFull));
    assert_eq!(remote.get_username(), "docbrain_api");
    let local = options("postgres://owner@localhost/docs?host=/run/docbrain&port=5431");
    assert_eq!((local.get_socket(), local.get_port()), (Some(&"/run/docbrain".into()), 5431));
    assert_eq!(options("postgres://owner@db.example").get_database(), Some("owner"));
}
