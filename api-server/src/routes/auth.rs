//! Signing in and out.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::store::accounts::{self, Credentials};
use docbrain_core::store::sessions::{self, SessionKind};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::password;
use crate::access::{AccessControl, AccountAccess, secret, unauthorized};
use crate::client_ip::ClientIp;
use crate::extract::Json;
use crate::problem::{Problem, ProblemKind};

pub(super) mod oidc;
pub(super) mod register;
mod signed_in;

use self::signed_in::SignIn;
pub(crate) use self::signed_in::{SessionWish, SignedIn};

/// Attempts for one e-mail from one network without a pause; then the pauses double, from a second to 15 minutes.
const FREE_ATTEMPTS: u16 = 8;
/// The same for one e-mail from everywhere: who locks somebody else out must come from many networks.
const FREE_ATTEMPTS_IN_ALL: u16 = 64;

/// E-mail and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// The account's e-mail.
    #[schema(example = "ada@example.com", max_length = 254)]
    email: String,
    /// Its password.
    #[schema(value_type = String, format = Password, example = "correct horse battery staple")]
    password: SecretString,
    /// The tenant the access token is for, where the account has several; the first one when left out.
    #[schema(example = "acme")]
    tenant: Option<String>,
    /// What the sign-in is for.
    #[serde(default)]
    session: SessionWish,
}

/// Sign in with e-mail and password
#[utoipa::path(
    post, path = "/auth/login", tag = "accounts", request_body = LoginRequest,
    extensions(("x-problems" = json!([
        "bad_request", "invalid_credentials", "tenant_not_found", "body_too_large", "unsupported_media_type", "invalid_field",
        "too_many_attempts", "busy", "internal"
    ]))),
    responses((status = 200, description = "Signed in", body = SignedIn))
)]
pub(crate) async fn create_login(
    State(access): State<AccessControl>,
    client: ClientIp,
    headers: HeaderMap,
    Json(request): Json<LoginRequest>,
) -> Result<Response, Problem> {
    let email = request.email.trim();
    // Postgres stores no NUL.
    let known = !email.contains('\0');
    let email_key = format!("email:{}", email.to_lowercase());
    let keys = [
        (secret::digest(&email_key), FREE_ATTEMPTS_IN_ALL),
        (secret::digest(&format!("{email_key} from {}", client.network())), FREE_ATTEMPTS),
    ];
    let wait = accounts::count_attempt(&access.pool, &keys).await?;
    if wait > 0 {
        let detail = format!("too many attempts for this e-mail; try again in {wait} s");
        return Err(Problem::new(ProblemKind::TooManyAttempts, detail).retry_after(Duration::from_secs(wait.into())));
    }
    let credentials = if known { accounts::by_email(&access.pool, email).await? } else { None };
    let (account, hash) = match credentials {
        Some(Credentials { id, password_hash }) => (Some(id), password_hash),
        None => (None, None),
    };
    let right = access.passwords.verify(&request.password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        return Err(Problem::new(ProblemKind::InvalidCredentials, "check both; nobody says which of the two it is"));
    };
    accounts::forget_attempts(&access.pool, &keys).await?;
    SignIn { access: &access, wish: request.session, headers: &headers, tenant: request.tenant.as_deref() }
        .begin(account)
        .await
        .map(IntoResponse::into_response)
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// As the last sign-in or refresh gave it; each one can be used once.
    #[schema(value_type = String, format = Password)]
    refresh_token: SecretString,
    /// The tenant the access token is for, where the account has several.
    #[schema(example = "acme")]
    tenant: Option<String>,
}

/// Get a new access token for a refresh token
///
/// The refresh token is replaced: whoever shows a spent one ends the session, since two hold it.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "accounts", request_body = RefreshRequest,
    extensions(("x-problems" = json!([
        "bad_request", "unauthorized", "token_expired", "tenant_not_found", "body_too_large", "unsupported_media_type",
        "invalid_field", "internal"
    ]))),
    responses((status = 200, description = "The new tokens", body = SignedIn))
)]
pub(crate) async fn create_refresh(
    State(access): State<AccessControl>,
    headers: HeaderMap,
    Json(request): Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let digest = secret::digest(request.refresh_token.expose_secret());
    let session = sessions::with_secret(&access.pool, &digest).await?;
    let session = session.filter(|session| session.kind == SessionKind::Refresh).ok_or_else(unauthorized)?;
    if session.spent {
        sessions::end(&access.pool, session.account, session.id).await?;
        access.forget(session.account, session.id).await;
        return Err(unauthorized());
    }
    if session.expires_at <= chrono::Utc::now() {
        return Err(Problem::new(ProblemKind::TokenExpired, "the refresh token has expired; sign in again"));
    }
    SignIn { access: &access, wish: SessionWish::Token, headers: &headers, tenant: request.tenant.as_deref() }
        .go_on(&session, &digest)
        .await
        .map(IntoResponse::into_response)
}

/// Sign out
#[utoipa::path(
    post, path = "/auth/logout", tag = "accounts",
    responses((status = 204, description = "The session has ended, and every token of it with it"))
)]
pub(crate) async fn create_logout(
    State(access): State<AccessControl>,
    AccountAccess { account, session, .. }: AccountAccess,
) -> Result<Response, Problem> {
    sessions::end(&access.pool, account, session).await?;
    access.forget(account, session).await;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, access.cookie.clear())]).into_response())
}

/// Who is signed in
#[utoipa::path(
    get, path = "/auth/me", tag = "accounts",
    responses((status = 200, description = "The account, its tenants, and what a browser must send with changes", body = SignedIn))
)]
pub(crate) async fn get_me(access: AccountAccess) -> axum::Json<SignedIn> {
    axum::Json(SignedIn::of(access))
}

/// The password as it was and as it shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordRequest {
    /// The password until now.
    #[schema(value_type = String, format = Password)]
    current: SecretString,
    /// The new one.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 256)]
    new: SecretString,
}

/// Change the password
///
/// Every other session of the account ends.
#[utoipa::path(
    put, path = "/auth/password", tag = "accounts", request_body = PasswordRequest,
    extensions(("x-problems" = json!([
        "bad_request", "invalid_credentials", "body_too_large", "unsupported_media_type", "invalid_field", "too_many_attempts", "busy"
    ]))),
    responses((status = 204, description = "Changed"))
)]
pub(crate) async fn update_password(
    State(control): State<AccessControl>,
    access: AccountAccess,
    Json(request): Json<PasswordRequest>,
) -> Result<StatusCode, Problem> {
    let new = password::checked(request.new, "new")?;
    let keys = [(secret::digest(&format!("account:{}", access.account)), FREE_ATTEMPTS)];
    let wait = accounts::count_attempt(&control.pool, &keys).await?;
    if wait > 0 {
        let detail = format!("too many attempts; try again in {wait} s");
        return Err(Problem::new(ProblemKind::TooManyAttempts, detail).retry_after(Duration::from_secs(wait.into())));
    }
    let hash = accounts::by_email(&control.pool, &access.standing.email).await?.and_then(|known| known.password_hash);
    if !control.passwords.verify(&request.current, hash).await? {
        return Err(Problem::new(ProblemKind::InvalidCredentials, "`current` is not the password of this account"));
    }
    accounts::forget_attempts(&control.pool, &keys).await?;
    let hash = control.passwords.hash(&new).await?;
    accounts::set_password(&control.pool, access.account, &hash, Some(access.session)).await?;
    Ok(StatusCode::NO_CONTENT)
}
