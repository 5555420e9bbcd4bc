//! Signing in at the installation's identity provider.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::AccountId;
use docbrain_core::store::accounts::{self, NewAccount};
use serde::Deserialize;
use utoipa::IntoParams;

use super::SessionWish;
use super::register::found;
use super::signed_in::SignIn;
use crate::access::AccessControl;
use crate::access::oidc::{Identity, Oidc};
use crate::control_plane::ControlPlane;
use crate::extract::Query;
use crate::middleware::RequestId;
use crate::problem::{Problem, ProblemKind};
use crate::state::{Registration, Settings};

/// Where to go on to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Departure {
    /// Path of this server to go on to when signed in.
    #[param(example = "/")]
    return_to: Option<String>,
}

/// Sign in at the company's identity provider
#[utoipa::path(
    get, path = "/auth/oidc/login", tag = "accounts", params(Departure),
    extensions(("x-problems" = json!(["bad_request", "oidc_not_configured", "oidc_unavailable", "invalid_field", "internal"]))),
    responses((status = 303, description = "To the identity provider"))
)]
pub(crate) async fn get_oidc_login(
    State(access): State<AccessControl>,
    Query(departure): Query<Departure>,
) -> Result<Response, Problem> {
    let return_to = departure.return_to.unwrap_or_else(|| "/".to_owned());
    // Anything else could lead to another host.
    if !return_to.starts_with('/') || return_to.starts_with("//") || return_to.contains(['\\', '\r', '\n']) {
        return Err(Problem::new(ProblemKind::InvalidField, "`return_to` must be a path of this server, such as /"));
    }
    let (url, journey) = provider(&access)?.depart(return_to).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, header(&url)?), (SET_COOKIE, access.journey_cookie(&journey))])
        .into_response())
}

/// What the identity provider sends people back with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Arrival {
    /// Good for one exchange.
    code: Option<String>,
    /// What the sign-in was begun with.
    state: Option<String>,
    /// Why the provider refused.
    error: Option<String>,
}

/// Come back from the identity provider
///
/// An account is known by the provider's subject, or else by an e-mail that the provider has verified.
#[utoipa::path(
    get, path = "/auth/oidc/callback", tag = "accounts", params(Arrival),
    extensions(("x-problems" = json!([
        "bad_request", "oidc_refused", "registration_closed", "oidc_not_configured", "email_taken", "oidc_unavailable",
        "control_plane_unavailable", "internal"
    ]))),
    responses((status = 303, description = "Signed in, and on to where the sign-in was begun"))
)]
pub(crate) async fn get_oidc_callback(
    State(access): State<AccessControl>,
    State(plane): State<Arc<dyn ControlPlane>>,
    State(settings): State<Arc<Settings>>,
    request_id: RequestId,
    headers: HeaderMap,
    Query(arrival): Query<Arrival>,
) -> Result<Response, Problem> {
    let oidc = provider(&access)?;
    let Arrival { code: Some(code), state: Some(state), error: None } = arrival else {
        return Err(Problem::new(ProblemKind::OidcRefused, "the identity provider has not signed anybody in"));
    };
    let journey = access.journey(&headers).ok_or_else(|| {
        Problem::new(ProblemKind::OidcRefused, "the sign-in was begun in another browser or too long ago; begin again")
    })?;
    let return_to = header(&journey.return_to)?;
    let identity = oidc.arrive(journey, code, &state).await?;
    let account = match known(&access, &identity).await? {
        Some(account) => account,
        None => make(plane.as_ref(), &settings, &identity, &request_id.to_string()).await?,
    };
    let signed_in = SignIn { access: &access, wish: SessionWish::Cookie, headers: &headers, tenant: None };
    let mut response = signed_in.begin(account).await?;
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, return_to);
    Ok(response)
}

async fn known(access: &AccessControl, identity: &Identity) -> Result<Option<AccountId>, Problem> {
    if let Some(account) = accounts::by_subject(&access.pool, &identity.issuer, &identity.subject).await? {
        return Ok(Some(account));
    }
    let Some(email) = &identity.email else {
        return Ok(None);
    };
    let Some(account) = accounts::by_email(&access.pool, email).await? else {
        return Ok(None);
    };
    accounts::set_subject(&access.pool, account.id, &identity.issuer, &identity.subject).await?;
    Ok(Some(account.id))
}

async fn make(
    plane: &dyn ControlPlane,
    settings: &Settings,
    identity: &Identity,
    request_id: &str,
) -> Result<AccountId, Problem> {
    if settings.registration != Registration::Open {
        return Err(Problem::new(ProblemKind::RegistrationClosed, "ask an admin of your tenant for an invitation"));
    }
    let email = identity.email.as_deref().ok_or_else(|| {
        Problem::new(ProblemKind::OidcRefused, "the identity provider tells no e-mail that it has verified")
    })?;
    let account = NewAccount {
        id: AccountId::new(),
        email,
        name: identity.name.as_deref().unwrap_or_default(),
        password_hash: None,
        oidc: Some((&identity.issuer, &identity.subject)),
    };
    found(plane, None, email.rsplit('@').next().unwrap_or(email), &account, request_id).await?;
    Ok(account.id)
}

fn provider(access: &AccessControl) -> Result<&Oidc, Problem> {
    let missing = || Problem::new(ProblemKind::OidcNotConfigured, "sign in with e-mail and password");
    access.oidc.as_deref().ok_or_else(missing)
}

fn header(text: &str) -> Result<HeaderValue, Problem> {
    text.parse().map_err(Problem::internal)
}
