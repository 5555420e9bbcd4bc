//! Who calls, and for which tenant.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{FromRef, FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use docbrain_core::ids::TenantId;
use docbrain_core::store::{self, Pool};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::problem::{Problem, ProblemKind};
use crate::state::AppState;

/// Names the tenant of a request.
pub(crate) const TENANT_HEADER: &str = "x-docbrain-tenant";

/// The token that guards the API, as its digest: how long comparing two digests takes says nothing of the token.
#[derive(Clone)]
pub(crate) struct AdminToken([u8; 32]);

impl AdminToken {
    pub(crate) fn new(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret()).into())
    }

    fn is(&self, presented: &str) -> bool {
        <[u8; 32]>::from(Sha256::digest(presented)) == self.0
    }
}

/// A request that showed the admin token.
#[derive(Clone)]
struct Admin;

/// Lets a request pass that shows the admin token.
pub(crate) async fn require_admin(
    State(token): State<AdminToken>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let presented = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    if !presented.is_some_and(|presented| token.is(presented)) {
        return Err(unauthorized());
    }
    request.extensions_mut().insert(Admin);
    Ok(next.run(request).await)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn unauthorized() -> Problem {
    Problem::new(ProblemKind::Unauthorized, "send the admin token as `Authorization: Bearer <token>`")
}

/// The admin, acting for a tenant. Only a route of the admin's group can ask for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminTenant {
    pub(crate) tenant: TenantId,
}

impl FromRequestParts<AppState> for AdminTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        parts.extensions.get::<Admin>().ok_or_else(unauthorized)?;
        let name = match parts.headers.get(TENANT_HEADER) {
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| unknown_tenant())?),
        };
        let tenant = TenantNames::from_ref(state).resolve(&Pool::from_ref(state), name).await?;
        Ok(Self { tenant })
    }
}

/// Tenants by name, remembered briefly: every request asks.
#[derive(Clone, Default)]
pub(crate) struct TenantNames(Arc<RwLock<HashMap<Option<String>, Remembered>>>);

#[derive(Clone, Copy)]
struct Remembered {
    tenant: TenantId,
    since: Instant,
}

impl TenantNames {
    /// A stale id reaches no rows, so nothing but a moment's 404 can come of this.
    const REMEMBERED: Duration = Duration::from_secs(2);

    /// The tenant of this name; without a name, the only one there is.
    async fn resolve(&self, pool: &Pool, name: Option<&str>) -> Result<TenantId, Problem> {
        let key = name.map(str::to_owned);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(known) = known.filter(|known| known.since.elapsed() < Self::REMEMBERED) {
            return Ok(known.tenant);
        }
        let tenant = match name {
            Some(name) => store::tenants::named(pool, name).await?.ok_or_else(unknown_tenant)?,
            None => only_tenant(pool).await?,
        };
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Remembered { tenant, since: Instant::now() });
        Ok(tenant)
    }
}

async fn only_tenant(pool: &Pool) -> Result<TenantId, Problem> {
    let names = store::tenants::names(pool).await?;
    let [name] = names.as_slice() else {
        return Err(Problem::new(
            ProblemKind::TenantRequired,
            "this installation does not have exactly one tenant; name yours in the header `X-DocBrain-Tenant`",
        ));
    };
    store::tenants::named(pool, name).await?.ok_or_else(unknown_tenant)
}

fn unknown_tenant() -> Problem {
    Problem::new(ProblemKind::TenantNotFound, "the header `X-DocBrain-Tenant` names no tenant of this installation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_passes() {
        let token = AdminToken::new(&"s3cret".into());
        assert!(token.is("s3cret"));
        for wrong in ["", "s3cre", "s3cret ", "S3CRET", "s3crett"] {
            assert!(!token.is(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer"] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
    }
}
