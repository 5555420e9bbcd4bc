//! Accounts of people, and their attempts to sign in.

use uuid::Uuid;

use super::{Error, Pool, TenantTx};
use crate::ids::{AccountId, SessionId, TenantId};
use crate::store::members::Role;

/// An account as it is made.
#[derive(Clone, Debug)]
pub struct NewAccount<'a> {
    /// Its id.
    pub id: AccountId,
    /// Its e-mail, unique without regard to case.
    pub email: &'a str,
    /// The person's name.
    pub name: &'a str,
    /// Argon2id in PHC form; `None` for an account that signs in by OpenID Connect alone.
    pub password_hash: Option<&'a str>,
    /// Issuer and subject of OpenID Connect.
    pub oidc: Option<(&'a str, &'a str)>,
}

/// Makes an account; [`Error::Taken`] when the e-mail has one.
pub async fn insert(tx: &mut TenantTx, account: &NewAccount<'_>) -> Result<(), Error> {
    tx.act_for(account.id).await?;
    let (issuer, subject) = account.oidc.unzip();
    let inserted = sqlx::query!(
        "insert into accounts (id, email, name, password_hash, oidc_issuer, oidc_subject) values ($1, $2, $3, $4, $5, $6)
         on conflict do nothing",
        account.id.0,
        account.email,
        account.name,
        account.password_hash,
        issuer,
        subject,
    )
    .execute(&mut **tx)
    .await?;
    if inserted.rows_affected() == 0 { Err(Error::Taken { what: "e-mail" }) } else { Ok(()) }
}

/// What a sign-in by password needs to know of an account.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account.
    pub id: AccountId,
    /// Argon2id in PHC form.
    pub password_hash: Option<String>,
}

/// The account with this e-mail.
pub async fn by_email(pool: &Pool, email: &str) -> Result<Option<Credentials>, Error> {
    let row = sqlx::query!(r#"select id as "id!", password_hash from account_of_email($1)"#, email)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| Credentials { id: row.id.into(), password_hash: row.password_hash }))
}

/// The account of a subject at an issuer of OpenID Connect.
pub async fn by_subject(pool: &Pool, issuer: &str, subject: &str) -> Result<Option<AccountId>, Error> {
    let id = sqlx::query_scalar!("select account_of_subject($1, $2)", issuer, subject).fetch_one(pool).await?;
    Ok(id.map(AccountId))
}

/// Ties an account to a subject of OpenID Connect. A password and sessions from before go: nobody has verified that the
/// e-mail was theirs.
pub async fn set_subject(pool: &Pool, account: AccountId, issuer: &str, subject: &str) -> Result<(), Error> {
    let mut tx = super::AccountTx::begin(pool, account).await?;
    let updated = sqlx::query!(
        "update accounts set oidc_issuer = $2, oidc_subject = $3, password_hash = null where id = $1",
        account.0,
        issuer,
        subject,
    )
    .execute(&mut *tx)
    .await?;
    found(updated.rows_affected())?;
    sqlx::query!("delete from sessions where account_id = $1", account.0).execute(&mut *tx).await?;
    tx.commit().await
}

/// Changes an account's password, and ends its sessions but `kept`.
pub async fn set_password(pool: &Pool, account: AccountId, hash: &str, kept: Option<SessionId>) -> Result<(), Error> {
    let mut tx = super::AccountTx::begin(pool, account).await?;
    let updated =
        sqlx::query!("update accounts set password_hash = $2 where id = $1", account.0, hash).execute(&mut *tx).await?;
    found(updated.rows_affected())?;
    sqlx::query!(
        "delete from sessions where account_id = $1 and id is distinct from $2",
        account.0,
        kept.map(|session| session.0),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

fn found(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::NotFound { what: "account" }) } else { Ok(()) }
}

/// Counts an attempt to sign in, before the password is looked at. `keys` are hashes of what is tried and from where,
/// each with its free attempts. The seconds to wait instead, 0 when the attempt may go on.
pub async fn count_attempt(pool: &Pool, keys: &[([u8; 32], u16)]) -> Result<u32, Error> {
    let (hashes, free): (Vec<Vec<u8>>, Vec<i32>) =
        keys.iter().map(|(key, free)| (key.to_vec(), i32::from(*free))).unzip();
    let wait =
        sqlx::query_scalar!(r#"select login_attempt($1, $2) as "wait!""#, &hashes, &free).fetch_one(pool).await?;
    Ok(u32::try_from(wait).unwrap_or(0))
}

/// Forgets the attempts under these keys.
pub async fn forget_attempts(pool: &Pool, keys: &[([u8; 32], u16)]) -> Result<(), Error> {
    let hashes: Vec<Vec<u8>> = keys.iter().map(|(key, _)| key.to_vec()).collect();
    sqlx::query!("select login_succeeded($1)", &hashes).execute(pool).await?;
    Ok(())
}

/// What a signed-in account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its e-mail.
    pub email: String,
    /// Whether it may act for the installation.
    pub superuser: bool,
    /// Its tenants, oldest membership first.
    pub memberships: Vec<Membership>,
}

/// A tenant of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// What the account may do there.
    pub role: Role,
}

/// The standing of an account, as long as its session lasts.
pub async fn standing(pool: &Pool, account: AccountId, session: SessionId) -> Result<Option<Standing>, Error> {
    let rows = sqlx::query!(
        r#"select email as "email!", superuser as "superuser!", tenant_id, tenant, display_name, role
         from memberships_of($1, $2)"#,
        account.0,
        session.0,
    )
    .fetch_all(pool)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let (email, superuser) = (first.email.clone(), first.superuser);
    let membership = |tenant: Uuid, name: Option<String>, display_name: Option<String>, role: &str| Membership {
        tenant: tenant.into(),
        name: name.unwrap_or_default(),
        display_name: display_name.unwrap_or_default(),
        role: Role::named(role).unwrap_or(Role::Viewer),
    };
    let memberships = rows
        .into_iter()
        .filter_map(|row| Some(membership(row.tenant_id?, row.tenant, row.display_name, row.role?.as_str())))
        .collect();
    Ok(Some(Standing { email, superuser, memberships }))
}

/// Makes the account of an e-mail a superuser, or takes that away. Only the owner of the schema may.
pub async fn set_superuser(owner: &Pool, email: &str, superuser: bool) -> Result<(), Error> {
    let account = by_email(owner, email).await?.ok_or(Error::NotFound { what: "account" })?.id;
    let mut tx = super::AccountTx::begin(owner, account).await?;
    let updated = sqlx::query!("update accounts set superuser = $2 where id = $1", account.0, superuser)
        .execute(&mut *tx)
        .await?;
    found(updated.rows_affected())?;
    tx.commit().await
}
