//! Who belongs to a tenant, and who is invited.

use chrono::{DateTime, Utc};

use super::{Error, Pool, TenantTx};
use crate::ids::{AccountId, InvitationId, TenantId};

/// What a member may do in a tenant; each role may what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Changes chatbots and documents.
    Editor,
    /// Also members, keys and settings.
    Admin,
}

impl Role {
    /// The word in rows and in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// The role of this word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Editor, Self::Admin].into_iter().find(|role| role.word() == word)
    }
}

/// A member of a tenant.
#[derive(Clone, Debug)]
pub struct MemberRow {
    /// The account.
    pub account: AccountId,
    /// Its e-mail.
    pub email: String,
    /// The person's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// The members of the tenant by e-mail.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<MemberRow>, Error> {
    let rows = sqlx::query!(
        "select m.account_id, a.email, a.name, m.role, m.created_at
         from memberships m join accounts a on a.id = m.account_id where m.tenant_id = $1 order by lower(a.email)",
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| MemberRow {
            account: row.account_id.into(),
            email: row.email,
            name: row.name,
            role: Role::named(&row.role).unwrap_or(Role::Viewer),
            created_at: row.created_at,
        })
        .collect())
}

/// Adds a member; one who is a member already keeps the role.
pub async fn put(tx: &mut TenantTx, account: AccountId, role: Role) -> Result<(), Error> {
    sqlx::query!(
        "insert into memberships (tenant_id, account_id, role) values ($1, $2, $3)
         on conflict (tenant_id, account_id) do nothing",
        tx.tenant().0,
        account.0,
        role.word(),
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Changes a member's role. [`Error::LastAdmin`] when the tenant would be left without an admin.
pub async fn set_role(tx: &mut TenantTx, account: AccountId, role: Role) -> Result<(), Error> {
    lock(tx).await?;
    let updated = sqlx::query!(
        "update memberships set role = $3 where tenant_id = $1 and account_id = $2",
        tx.tenant().0,
        account.0,
        role.word(),
    )
    .execute(&mut **tx)
    .await?;
    found(updated.rows_affected())?;
    has_admin(tx).await
}

/// Removes a member. [`Error::LastAdmin`] when the tenant would be left without an admin.
pub async fn remove(tx: &mut TenantTx, account: AccountId) -> Result<(), Error> {
    lock(tx).await?;
    let deleted =
        sqlx::query!("delete from memberships where tenant_id = $1 and account_id = $2", tx.tenant().0, account.0)
            .execute(&mut **tx)
            .await?;
    found(deleted.rows_affected())?;
    has_admin(tx).await
}

fn found(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::NotFound { what: "member" }) } else { Ok(()) }
}

/// Two admins who remove each other take turns.
async fn lock(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query!("select 1 as one from tenants where tenant_id = $1 for update", tx.tenant().0)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(())
}

async fn has_admin(tx: &mut TenantTx) -> Result<(), Error> {
    let has = sqlx::query_scalar!(
        r#"select exists (select 1 from memberships where tenant_id = $1 and role = 'admin') as "has!""#,
        tx.tenant().0,
    )
    .fetch_one(&mut **tx)
    .await?;
    if has { Ok(()) } else { Err(Error::LastAdmin) }
}

/// An invitation that was not answered yet.
#[derive(Clone, Debug)]
pub struct InvitationRow {
    /// Its id.
    pub id: InvitationId,
    /// Who is invited.
    pub email: String,
    /// What they will be able to do.
    pub role: Role,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it can be answered.
    pub expires_at: DateTime<Utc>,
}

/// Invites somebody, whoever shows the secret whose SHA-256 is `secret`. An earlier invitation of the e-mail is replaced.
pub async fn invite(
    tx: &mut TenantTx,
    email: &str,
    role: Role,
    secret: &[u8; 32],
    expires_at: DateTime<Utc>,
) -> Result<InvitationId, Error> {
    sqlx::query!("delete from invitations where tenant_id = $1 and lower(email) = lower($2)", tx.tenant().0, email)
        .execute(&mut **tx)
        .await?;
    let id = InvitationId::new();
    sqlx::query!(
        "insert into invitations (tenant_id, id, email, role, secret_sha256, expires_at) values ($1, $2, $3, $4, $5, $6)",
        tx.tenant().0,
        id.0,
        email,
        role.word(),
        secret.as_slice(),
        expires_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// The tenant's open invitations, newest first.
pub async fn invitations(tx: &mut TenantTx) -> Result<Vec<InvitationRow>, Error> {
    let rows = sqlx::query!(
        "select id, email, role, created_at, expires_at from invitations where tenant_id = $1 order by id desc",
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| InvitationRow {
            id: row.id.into(),
            email: row.email,
            role: Role::named(&row.role).unwrap_or(Role::Viewer),
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
        .collect())
}

/// Takes an invitation back, or marks it as answered: either way it is gone.
pub async fn drop_invitation(tx: &mut TenantTx, id: InvitationId) -> Result<(), Error> {
    let deleted = sqlx::query!("delete from invitations where tenant_id = $1 and id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    if deleted.rows_affected() == 0 { Err(Error::NotFound { what: "invitation" }) } else { Ok(()) }
}

/// An invitation as whoever holds its secret finds it.
#[derive(Clone, Debug)]
pub struct Invited {
    /// Into which tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: InvitationId,
    /// Who is invited.
    pub email: String,
    /// What they will be able to do.
    pub role: Role,
}

/// The invitation with this secret (SHA-256), unless it has expired.
pub async fn invited(pool: &Pool, secret: &[u8; 32]) -> Result<Option<Invited>, Error> {
    let row = sqlx::query!(
        r#"select tenant_id as "tenant_id!", id as "id!", email as "email!", role as "role!"
         from invitation_of($1) where expires_at > now()"#,
        secret.as_slice(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Invited {
        tenant: row.tenant_id.into(),
        id: row.id.into(),
        email: row.email,
        role: Role::named(&row.role).unwrap_or(Role::Viewer),
    }))
}
