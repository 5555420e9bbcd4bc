//! A session that begins or goes on, and what the client is told of it.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE, USER_AGENT};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use docbrain_core::ids::{AccountId, SessionId, TenantId};
use docbrain_core::store::accounts::{self, Membership, Standing};
use docbrain_core::store::sessions::{self, NewSession, SessionKind, SessionRow};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::jwt::{ACCESS_LASTS, Claims};
use crate::access::{AccessControl, AccountAccess, cookie, secret, unauthorized};
use crate::problem::{Problem, ProblemKind};

/// How long a session lasts.
const SESSION_LASTS: Duration = Duration::from_hours(30 * 24);

/// What a sign-in is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionWish {
    /// A program: tokens in the body.
    #[default]
    Token,
    /// A browser: an `HttpOnly` cookie, and the `csrf_token` that changes must carry.
    Cookie,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignedIn {
    /// The account.
    account: AccountBody,
    /// Its tenants, oldest membership first.
    tenants: Vec<MembershipBody>,
    /// For programs: send it as `Authorization: Bearer …`.
    access_token: Option<String>,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: Option<u64>,
    /// For programs: what the next access token is asked for with, once.
    refresh_token: Option<String>,
    /// For browsers: send it as `X-CSRF-Token` with every change.
    csrf_token: Option<String>,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
struct AccountBody {
    /// Its id.
    id: Uuid,
    /// Its e-mail.
    #[schema(example = "ada@example.com")]
    email: String,
    /// Whether it may act for the installation.
    superuser: bool,
}

/// A tenant of an account.
#[derive(Debug, Serialize, ToSchema)]
struct MembershipBody {
    /// The tenant's name.
    #[schema(example = "acme")]
    name: String,
    /// Its name for people.
    #[schema(example = "Acme GmbH")]
    display_name: String,
    /// What the account may do there: `viewer`, `editor` or `admin`.
    #[schema(example = "admin")]
    role: &'static str,
}

impl SignedIn {
    /// A session that goes on as it is.
    pub(crate) fn of(access: AccountAccess) -> Self {
        Self { csrf_token: access.csrf, ..Self::new(access.account, &access.standing) }
    }

    fn new(account: AccountId, standing: &Standing) -> Self {
        let membership = |membership: &Membership| MembershipBody {
            name: membership.name.clone(),
            display_name: membership.display_name.clone(),
            role: membership.role.word(),
        };
        Self {
            account: AccountBody { id: account.0, email: standing.email.clone(), superuser: standing.superuser },
            tenants: standing.memberships.iter().map(membership).collect(),
            access_token: None,
            expires_in: None,
            refresh_token: None,
            csrf_token: None,
        }
    }
}

/// A sign-in of somebody who has shown who they are.
pub(super) struct SignIn<'a> {
    pub(super) access: &'a AccessControl,
    pub(super) wish: SessionWish,
    pub(super) headers: &'a HeaderMap,
    /// The tenant the access token is for.
    pub(super) tenant: Option<&'a str>,
}

impl SignIn<'_> {
    /// Begins a session.
    pub(super) async fn begin(&self, account: AccountId) -> Result<Response, Problem> {
        let (kind, prefix) = match self.wish {
            SessionWish::Token => (SessionKind::Refresh, secret::REFRESH_TOKEN),
            SessionWish::Cookie => (SessionKind::Cookie, ""),
        };
        let secret = secret::generate(prefix);
        let user_agent = self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let user_agent: String = user_agent.chars().take(200).collect();
        let session = NewSession {
            account,
            kind,
            secret: &secret::digest(secret.expose_secret()),
            user_agent: &user_agent,
            expires_at: Utc::now() + SESSION_LASTS,
        };
        let session = sessions::create(&self.access.pool, &session).await?;
        self.tell(account, session, &secret).await
    }

    /// Replaces the secret of a session of a program.
    pub(super) async fn go_on(&self, session: &SessionRow, old: &[u8; 32]) -> Result<Response, Problem> {
        let secret = secret::generate(secret::REFRESH_TOKEN);
        let digest = secret::digest(secret.expose_secret());
        if !sessions::rotate(&self.access.pool, session, old, &digest).await? {
            return Err(unauthorized());
        }
        self.tell(session.account, session.id, &secret).await
    }

    async fn tell(&self, account: AccountId, session: SessionId, secret: &SecretString) -> Result<Response, Problem> {
        let standing = accounts::standing(&self.access.pool, account, session).await?.ok_or_else(unauthorized)?;
        let tenant = self.tenant(&standing)?;
        let mut body = SignedIn::new(account, &standing);
        let not_stored = [(CACHE_CONTROL, "no-store")];
        if self.wish == SessionWish::Cookie {
            body.csrf_token = Some(cookie::csrf_word(secret));
            let set = [(SET_COOKIE, self.access.cookie.set(secret, SESSION_LASTS))];
            return Ok((not_stored, set, axum::Json(body)).into_response());
        }
        let claims = Claims::Access { sub: account, sid: session, tid: tenant };
        body.access_token = Some(self.access.signer.sign(claims, ACCESS_LASTS));
        body.expires_in = Some(ACCESS_LASTS.as_secs());
        body.refresh_token = Some(secret.expose_secret().to_owned());
        Ok((not_stored, axum::Json(body)).into_response())
    }

    fn tenant(&self, standing: &Standing) -> Result<Option<TenantId>, Problem> {
        let Some(name) = self.tenant else {
            return Ok(standing.memberships.first().map(|membership| membership.tenant));
        };
        let membership = standing.memberships.iter().find(|membership| membership.name == name);
        let unknown = || Problem::new(ProblemKind::TenantNotFound, "the account belongs to no tenant of that name");
        membership.map(|membership| Some(membership.tenant)).ok_or_else(unknown)
    }
}
