//! Who belongs to a tenant, and who is invited.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use docbrain_core::ids::{AccountId, InvitationId};
use docbrain_core::store::members::{self, InvitationRow, MemberRow};
use docbrain_core::store::{Pool, TenantTx, audit};
use email_address::EmailAddress;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::{TenantAccess, secret};
use crate::extract::{self, Path};
use crate::idempotency::{Create, IdempotencyKey};
use crate::problem::{Problem, ProblemKind};

/// How long an invitation can be answered.
const INVITATION_LASTS: TimeDelta = TimeDelta::days(7);

/// What a member may do in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Changes chatbots and documents.
    Editor,
    /// Also members, keys and settings.
    Admin,
}

/// The members of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemberList {
    /// By e-mail.
    members: Vec<MemberBody>,
}

/// A member of a tenant.
#[derive(Serialize, ToSchema)]
struct MemberBody {
    /// Its account.
    id: Uuid,
    /// Its e-mail.
    #[schema(example = "ada@example.com")]
    email: String,
    /// The person's name, empty where none is known.
    #[schema(example = "Ada Lovelace")]
    name: String,
    /// What it may do.
    role: Role,
    /// Since when.
    created_at: DateTime<Utc>,
}

/// The members of the tenant
#[utoipa::path(get, path = "/members", tag = "accounts", responses((status = 200, description = "The members by e-mail", body = MemberList)))]
pub(crate) async fn list_members(State(pool): State<Pool>, access: TenantAccess) -> Result<Json<MemberList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let members = members::list(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(MemberList { members: members.into_iter().map(Into::into).collect() }))
}

/// Another role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleRequest {
    /// The role.
    role: Role,
}

/// Give a member another role
#[utoipa::path(
    patch, path = "/members/{id}", tag = "accounts", params(("id" = Uuid, Path, description = "The member's account")),
    request_body = RoleRequest,
    extensions(("x-problems" = json!([
        "bad_request", "member_not_found", "last_admin", "body_too_large", "unsupported_media_type", "invalid_field"
    ]))),
    responses((status = 204, description = "The role is changed"))
)]
pub(crate) async fn update_member(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
    extract::Json(request): extract::Json<RoleRequest>,
) -> Result<StatusCode, Problem> {
    let account = member(&id)?;
    let role = members::Role::from(request.role);
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    members::set_role(&mut tx, account, role).await?;
    audit::record(&mut tx, access.actor()?, "member.update", &id, &json!({ "role": role.word() })).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a member from the tenant
///
/// The account stays, without this tenant.
#[utoipa::path(
    delete, path = "/members/{id}", tag = "accounts", params(("id" = Uuid, Path, description = "The member's account")),
    extensions(("x-problems" = json!(["member_not_found", "last_admin"]))),
    responses((status = 204, description = "It is no member any more"))
)]
pub(crate) async fn delete_member(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let account = member(&id)?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    members::remove(&mut tx, account).await?;
    audit::record(&mut tx, access.actor()?, "member.delete", &id, &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Open invitations.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitationList {
    /// Newest first.
    invitations: Vec<InvitationBody>,
}

/// An invitation that was not answered yet.
#[derive(Serialize, ToSchema)]
struct InvitationBody {
    /// Its id.
    id: Uuid,
    /// Who is invited.
    #[schema(example = "grace@example.com")]
    email: String,
    /// What they will be able to do.
    role: Role,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// Until when it can be answered.
    expires_at: DateTime<Utc>,
}

/// The tenant's open invitations
#[utoipa::path(get, path = "/invitations", tag = "accounts", responses((status = 200, description = "The invitations, newest first", body = InvitationList)))]
pub(crate) async fn list_invitations(
    State(pool): State<Pool>,
    access: TenantAccess,
) -> Result<Json<InvitationList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let invitations = members::invitations(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(InvitationList { invitations: invitations.into_iter().map(Into::into).collect() }))
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationRequest {
    /// Their e-mail; an earlier invitation of it is replaced.
    #[schema(example = "grace@example.com", max_length = 254)]
    email: String,
    /// What they will be able to do.
    role: Role,
}

/// A new invitation.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewInvitation {
    /// Its id.
    id: Uuid,
    /// What the invited person registers or accepts with; shown this once.
    #[schema(example = "doci_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    invitation: String,
    /// Until when it can be answered.
    expires_at: DateTime<Utc>,
}

/// Invite somebody into the tenant
///
/// Nothing is sent: pass the secret on to the person, who registers with it (`POST /auth/register`) or, with an account,
/// accepts it (`POST /auth/accept`).
#[utoipa::path(
    post, path = "/invitations", tag = "accounts", params(IdempotencyKey), request_body = InvitationRequest,
    extensions(("x-problems" = json!(["bad_request", "body_too_large", "unsupported_media_type", "invalid_field"]))),
    responses((status = 201, description = "The invitation, with its secret", body = NewInvitation))
)]
pub(crate) async fn create_invitation(
    State(pool): State<Pool>,
    access: TenantAccess,
    Create { body, once }: Create<InvitationRequest>,
) -> Result<Response, Problem> {
    once.answer_with_secret(&pool, access.tenant, invite(&pool, &access, &body)).await
}

async fn invite(
    pool: &Pool,
    access: &TenantAccess,
    request: &InvitationRequest,
) -> Result<(StatusCode, NewInvitation), Problem> {
    let email = request.email.trim();
    if !EmailAddress::is_valid(email) || email.len() > 254 || email.contains('\0') {
        return Err(Problem::new(ProblemKind::InvalidField, "`email` must be an address such as ada@example.com"));
    }
    let secret = secret::generate(secret::INVITATION);
    let expires_at = Utc::now() + INVITATION_LASTS;
    let role = members::Role::from(request.role);
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    let digest = secret::digest(secret.expose_secret());
    let id = members::invite(&mut tx, email, role, &digest, expires_at).await?;
    audit::record(&mut tx, access.actor()?, "member.invite", email, &json!({ "role": role.word() })).await?;
    tx.commit().await?;
    let body = NewInvitation { id: id.0, invitation: secret.expose_secret().to_owned(), expires_at };
    Ok((StatusCode::CREATED, body))
}

/// Take an invitation back
#[utoipa::path(
    delete, path = "/invitations/{id}", tag = "accounts", params(("id" = Uuid, Path, description = "Id of the invitation")),
    extensions(("x-problems" = json!(["invitation_not_found"]))),
    responses((status = 204, description = "It cannot be answered any more"))
)]
pub(crate) async fn delete_invitation(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let unknown = |_| Problem::new(ProblemKind::InvitationNotFound, "the id of an invitation is a UUID");
    let invitation: InvitationId = id.parse().map_err(unknown)?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    members::drop_invitation(&mut tx, invitation).await?;
    audit::record(&mut tx, access.actor()?, "member.uninvite", &id, &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn member(id: &str) -> Result<AccountId, Problem> {
    let unknown = |_| Problem::new(ProblemKind::MemberNotFound, "the id of a member is a UUID, as the list gives it");
    id.parse().map_err(unknown)
}

impl From<Role> for members::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Editor => Self::Editor,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<members::Role> for Role {
    fn from(role: members::Role) -> Self {
        match role {
            members::Role::Viewer => Self::Viewer,
            members::Role::Editor => Self::Editor,
            members::Role::Admin => Self::Admin,
        }
    }
}

impl From<MemberRow> for MemberBody {
    fn from(row: MemberRow) -> Self {
        Self { id: row.account.0, email: row.email, name: row.name, role: row.role.into(), created_at: row.created_at }
    }
}

impl From<InvitationRow> for InvitationBody {
    fn from(row: InvitationRow) -> Self {
        Self {
            id: row.id.0,
            email: row.email,
            role: row.role.into(),
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}
