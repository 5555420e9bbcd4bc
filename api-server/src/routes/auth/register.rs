//! New accounts: with a tenant of their own, or by invitation into one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::AccountId;
use docbrain_core::store::accounts::{self, NewAccount};
use docbrain_core::store::audit::{self, Actor, ActorKind};
use docbrain_core::store::members::{self, Invited};
use docbrain_core::store::{Pool, TenantTx};
use email_address::EmailAddress;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::signed_in::SignIn;
use super::{SessionWish, SignedIn};
use crate::access::password;
use crate::access::{AccessControl, AccountAccess, secret};
use crate::control_plane::{self, ControlPlane, Refusal};
use crate::extract::{Json, line};
use crate::middleware::RequestId;
use crate::problem::{Problem, ProblemKind};
use crate::state::{Registration, Settings};

/// Longest name of a tenant that is made from other words, in characters.
const LONGEST_SLUG: usize = 30;

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    /// The account's e-mail.
    #[schema(example = "ada@example.com", max_length = 254)]
    email: String,
    /// Its password.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 256, example = "correct horse battery staple")]
    password: SecretString,
    /// The person's name.
    #[schema(example = "Ada Lovelace", max_length = 120)]
    name: Option<String>,
    /// The company, which becomes a tenant; the e-mail's domain when left out.
    #[schema(example = "Acme GmbH", min_length = 1, max_length = 120)]
    company: Option<String>,
    /// The tenant's name in addresses and manifests; made from `company` when left out.
    #[schema(example = "acme", max_length = 40, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    tenant: Option<String>,
    /// The secret of an invitation: the account joins that tenant, and gets none of its own.
    #[schema(value_type = Option<String>)]
    invitation: Option<SecretString>,
    /// What the sign-in is for.
    #[serde(default)]
    session: SessionWish,
}

/// Make an account
///
/// With a tenant, a knowledge source `docs` and a chatbot `assistant` of its own, or, with an invitation, as a member of
/// the tenant that has invited. All of it is made, or nothing.
#[utoipa::path(
    post, path = "/auth/register", tag = "accounts", request_body = RegisterRequest,
    extensions(("x-problems" = json!([
        "bad_request", "registration_closed", "invitation_not_found", "email_taken", "tenant_name_taken", "body_too_large",
        "unsupported_media_type", "invalid_field", "busy", "control_plane_unavailable", "internal"
    ]))),
    responses((status = 201, description = "The account is made and signed in", body = SignedIn))
)]
pub(crate) async fn create_account(
    State(access): State<AccessControl>,
    State(plane): State<Arc<dyn ControlPlane>>,
    State(settings): State<Arc<Settings>>,
    request_id: RequestId,
    headers: HeaderMap,
    Json(request): Json<RegisterRequest>,
) -> Result<Response, Problem> {
    let email = checked_email(&request.email)?;
    let password = password::checked(request.password, "password")?;
    let name = request.name.as_deref().map(|name| line(name, "name", 120)).transpose()?.unwrap_or_default();
    let invited = match &request.invitation {
        Some(secret) => Some(invitation(&access.pool, settings.registration, secret, email).await?),
        None if settings.registration == Registration::Open => None,
        None => {
            return Err(Problem::new(ProblemKind::RegistrationClosed, "ask an admin of your tenant for an invitation"));
        }
    };
    let hash = access.passwords.hash(&password).await?;
    let account = NewAccount { id: AccountId::new(), email, name, password_hash: Some(&hash), oidc: None };
    let request_id = request_id.to_string();
    if let Some(invited) = invited {
        join(&access.pool, &invited, &account, &request_id).await?;
    } else {
        let company = request.company.as_deref().map(|company| line(company, "company", 120)).transpose()?;
        let display_name = company.unwrap_or_else(|| email.rsplit('@').next().unwrap_or(email));
        found(plane.as_ref(), request.tenant.as_deref(), display_name, &account, &request_id).await?;
    }
    let response =
        SignIn { access: &access, wish: request.session, headers: &headers, tenant: None }.begin(account.id).await?;
    Ok((StatusCode::CREATED, response).into_response())
}

/// An invitation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptRequest {
    /// The invitation's secret.
    #[schema(value_type = String)]
    invitation: SecretString,
}

/// Join a tenant by invitation
#[utoipa::path(
    post, path = "/auth/accept", tag = "accounts", request_body = AcceptRequest,
    extensions(("x-problems" = json!([
        "bad_request", "invitation_not_found", "body_too_large", "unsupported_media_type", "invalid_field"
    ]))),
    responses((status = 204, description = "The account is a member of the tenant"))
)]
pub(crate) async fn accept_invitation(
    State(control): State<AccessControl>,
    access: AccountAccess,
    request_id: RequestId,
    Json(request): Json<AcceptRequest>,
) -> Result<StatusCode, Problem> {
    let email = access.standing.email.as_str();
    let invited = invitation(&control.pool, Registration::Invite, &request.invitation, email).await?;
    let mut tx = TenantTx::begin(&control.pool, invited.tenant).await?;
    admit(&mut tx, &invited, access.account, email, &request_id.to_string()).await?;
    tx.commit().await?;
    control.forget(access.account, access.session).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The invitation with this secret, for this e-mail.
async fn invitation(
    pool: &Pool,
    registration: Registration,
    secret: &SecretString,
    email: &str,
) -> Result<Invited, Problem> {
    if registration == Registration::Closed {
        return Err(Problem::new(ProblemKind::RegistrationClosed, "this installation takes no new accounts"));
    }
    let invited = members::invited(pool, &secret::digest(secret.expose_secret())).await?;
    let invited = invited.filter(|invited| invited.email.eq_ignore_ascii_case(email));
    invited.ok_or_else(|| {
        Problem::new(
            ProblemKind::InvitationNotFound,
            "it may have expired, been answered, or be for another e-mail; ask for a new one",
        )
    })
}

async fn join(pool: &Pool, invited: &Invited, account: &NewAccount<'_>, request_id: &str) -> Result<(), Problem> {
    let mut tx = TenantTx::begin(pool, invited.tenant).await?;
    accounts::insert(&mut tx, account).await?;
    admit(&mut tx, invited, account.id, account.email, request_id).await?;
    tx.commit().await?;
    Ok(())
}

/// Makes an account a member; the invitation is spent. Whoever is quicker with it, wins.
async fn admit(
    tx: &mut TenantTx,
    invited: &Invited,
    account: AccountId,
    email: &str,
    request_id: &str,
) -> Result<(), Problem> {
    members::drop_invitation(tx, invited.id).await?;
    members::put(tx, account, invited.role).await?;
    let actor = Actor {
        kind: ActorKind::Account(account),
        name: email.to_owned(),
        ip: None,
        request_id: request_id.to_owned(),
    };
    audit::record(tx, &actor, "member.join", email, &json!({ "role": invited.role.word() })).await?;
    Ok(())
}

/// Makes a tenant for an account. A name that was only derived is made unique.
pub(super) async fn found(
    plane: &dyn ControlPlane,
    name: Option<&str>,
    display_name: &str,
    account: &NewAccount<'_>,
    request_id: &str,
) -> Result<(), Problem> {
    let derived = slug(display_name);
    let mut registration = control_plane::Registration {
        tenant: name.unwrap_or(&derived),
        display_name,
        account: account.clone(),
        request_id,
        ip: None,
    };
    let unique = format!("{derived}-{:04x}", rand::random::<u16>());
    let taken = match plane.register(&registration).await {
        Err(Refusal::Provision(error)) if name.is_none() => match Problem::from(Refusal::Provision(error)) {
            problem if problem.kind == ProblemKind::TenantNameTaken => true,
            problem => return Err(problem),
        },
        registered => registered.map(|_| false)?,
    };
    if taken {
        registration.tenant = &unique;
        plane.register(&registration).await?;
    }
    Ok(())
}

fn checked_email(email: &str) -> Result<&str, Problem> {
    let email = email.trim();
    if EmailAddress::is_valid(email) && email.len() <= 254 && !email.chars().any(char::is_control) {
        return Ok(email);
    }
    Err(Problem::new(ProblemKind::InvalidField, "`email` must be an address such as ada@example.com"))
}

/// A name of lower-case letters, digits and inner hyphens out of any words.
fn slug(words: &str) -> String {
    let mut slug = String::new();
    for c in words.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.truncate(LONGEST_SLUG);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "tenant".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_any_words() {
        for (words, name) in [
            ("Acme GmbH & Co. KG", "acme-gmbh-co-kg"),
            ("example.com", "example-com"),
            ("  --", "tenant"),
            ("日本", "tenant"),
            ("a very long name of a company that goes on", "a-very-long-name-of-a-company"),
        ] {
            assert_eq!(slug(words), name);
        }
    }

    #[test]
    fn only_addresses_are_taken() {
        assert_eq!(checked_email(" ada@example.com ").unwrap(), "ada@example.com");
        for bad in ["", "ada", "ada@", "@example.com", "a b@example.com", "ada@example.com\0"] {
            assert!(checked_email(bad).is_err(), "{bad:?}");
        }
    }
}
