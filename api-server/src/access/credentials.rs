//! A request's header or cookie to the [`Principal`] it stands for.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method};
use chrono::Utc;
use docbrain_core::ids::{AccountId, SessionId, TenantId};
use docbrain_core::store::accounts::{self, Standing};
use docbrain_core::store::api_tokens::{self, Shown};
use docbrain_core::store::sessions::{self, SessionKind, SessionRow};
use docbrain_core::store::{self, Pool};
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};

use super::cookie::{self, SessionCookie};
use super::jwt::{Claims, JOURNEY_LASTS, Refused, Signer};
use super::oidc::{Journey, Oidc};
use super::password::Passwords;
use super::tenants::{TenantNames, tenant_required, unknown_tenant};
use super::{AccountAccess, Principal, REMEMBERED, Right, Visitor, forbidden, secret, unauthorized};
use crate::problem::{Problem, ProblemKind};
use crate::state::Settings;

/// Knows every kind of credential; cheap to clone.
#[derive(Clone)]
pub(crate) struct AccessControl {
    pub(crate) pool: Pool,
    pub(crate) signer: Arc<Signer>,
    pub(crate) cookie: SessionCookie,
    pub(crate) passwords: Passwords,
    pub(crate) oidc: Option<Arc<Oidc>>,
    /// SHA-256 of the installation's admin token: how long comparing two digests takes says nothing of the token.
    admin_token: [u8; 32],
    tokens: Cache<[u8; 32], Option<Arc<Shown>>>,
    sessions: Cache<[u8; 32], Option<Arc<SessionRow>>>,
    standings: Cache<(AccountId, SessionId), Option<Arc<Standing>>>,
    tenants: TenantNames,
}

impl AccessControl {
    pub(crate) fn new(pool: Pool, settings: &Settings) -> Self {
        let keys = settings.signing_keys.iter().map(|key| (key.id.as_str(), key.key.expose_secret()));
        let secure = settings.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        Self {
            signer: Arc::new(Signer::new(keys)),
            cookie: SessionCookie { secure },
            passwords: Passwords::default(),
            oidc: settings.oidc.clone().map(|settings| Arc::new(Oidc::new(settings))),
            admin_token: secret::digest(settings.admin_token.expose_secret()),
            tokens: Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build(),
            sessions: Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build(),
            standings: Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build(),
            tenants: TenantNames::new(pool.clone()),
            pool,
        }
    }

    /// Who sends a request.
    pub(super) async fn principal(&self, method: &Method, headers: &HeaderMap) -> Result<Principal, Problem> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer).ok_or_else(unauthorized)?;
            return self.of_token(token).await;
        }
        let secret = self.cookie.read(headers).ok_or_else(unauthorized)?;
        cookie::check_change(method, headers, &secret)?;
        self.of_cookie(&secret).await
    }

    /// The origin of the page whose visitor sends a request, though the session may have expired.
    pub(super) fn visitors_origin(&self, headers: &HeaderMap) -> Option<String> {
        let claims = match self.signer.verify(bearer(headers.get(AUTHORIZATION)?.to_str().ok()?)?) {
            Ok(claims) => claims,
            Err(Refused::Expired(claims)) => *claims,
            Err(Refused::Invalid) => return None,
        };
        match claims {
            Claims::Visitor { org, .. } => Some(org),
            _ => None,
        }
    }

    async fn of_token(&self, token: &str) -> Result<Principal, Problem> {
        if token.starts_with(secret::API_TOKEN) {
            return self.of_api_token(token).await;
        }
        if secret::digest(token) == self.admin_token {
            return Ok(Principal::Installation);
        }
        match self.signer.verify(token) {
            Ok(Claims::Access { sub, sid, tid }) => self.account(sub, sid, tid, None).await,
            Ok(Claims::Visitor { sub, tid, bot, org, idn }) => {
                let visitor = Visitor { chatbot: bot, id: sub, identity: idn, origin: org };
                Ok(Principal::Visitor { tenant: tid, visitor })
            }
            Err(Refused::Expired(_)) => Err(expired("the token has expired; refresh it or sign in again")),
            Ok(Claims::Journey { .. }) | Err(Refused::Invalid) => Err(unauthorized()),
        }
    }

    async fn of_api_token(&self, token: &str) -> Result<Principal, Problem> {
        let digest = secret::digest(token);
        let load = async {
            let shown = api_tokens::with_secret(&self.pool, &digest).await?.map(Arc::new);
            if let Some(shown) = &shown {
                api_tokens::note_use(&self.pool, shown.tenant, shown.id).await?;
            }
            Ok::<_, store::Error>(shown)
        };
        let shown = self.tokens.try_get_with(digest, load).await.map_err(shared)?.ok_or_else(unauthorized)?;
        if shown.expires_at.is_some_and(|expires_at| expires_at <= Utc::now()) {
            return Err(expired("the API token has expired; make another one"));
        }
        Ok(Principal::Token {
            tenant: shown.tenant,
            id: shown.id,
            name: shown.name.clone(),
            scopes: shown.scopes.clone(),
        })
    }

    async fn of_cookie(&self, cookie: &SecretString) -> Result<Principal, Problem> {
        let digest = secret::digest(cookie.expose_secret());
        let load = async { Ok(sessions::with_secret(&self.pool, &digest).await?.map(Arc::new)) };
        let session = self.sessions.try_get_with(digest, load).await.map_err(shared)?;
        let session = session.filter(|session| session.kind == SessionKind::Cookie).ok_or_else(ended)?;
        if session.expires_at <= Utc::now() {
            return Err(expired("the session has expired; sign in again"));
        }
        self.account(session.account, session.id, None, Some(cookie::csrf_word(cookie))).await
    }

    async fn account(
        &self,
        account: AccountId,
        session: SessionId,
        tenant: Option<TenantId>,
        csrf: Option<String>,
    ) -> Result<Principal, Problem> {
        let load = async { Ok(accounts::standing(&self.pool, account, session).await?.map(Arc::new)) };
        let standing = self.standings.try_get_with((account, session), load).await.map_err(shared)?;
        let standing = standing.ok_or_else(ended)?;
        Ok(Principal::Account(AccountAccess { account, session, standing, tenant, csrf }))
    }

    /// Forgets what is remembered of a session that this process has ended or changed.
    pub(crate) async fn forget(&self, account: AccountId, session: SessionId) {
        self.standings.invalidate(&(account, session)).await;
        self.sessions.invalidate_all();
    }

    /// The header that keeps a journey in the browser that makes it.
    pub(crate) fn journey_cookie(&self, journey: &Journey) -> HeaderValue {
        let claims = Claims::Journey { sub: String::new(), jny: journey.clone() };
        self.cookie.set_journey(&self.signer.sign(claims, JOURNEY_LASTS), JOURNEY_LASTS)
    }

    /// The journey that this browser makes.
    pub(crate) fn journey(&self, headers: &HeaderMap) -> Option<Journey> {
        match self.signer.verify(&self.cookie.read_journey(headers)?) {
            Ok(Claims::Journey { jny, .. }) => Some(jny),
            _ => None,
        }
    }

    /// The tenant a caller acts for, where it has the right to.
    pub(super) async fn tenant_of(
        &self,
        principal: &Principal,
        right: Right,
        named: Option<&str>,
    ) -> Result<TenantId, Problem> {
        match principal {
            Principal::Installation => self.tenants.resolve(named).await,
            Principal::Account(access) => self.tenant_of_account(access, right, named).await,
            Principal::Token { tenant, scopes, .. } => {
                self.same_tenant(*tenant, named).await?;
                if scopes.iter().any(|scope| scope == right.word()) { Ok(*tenant) } else { Err(forbidden()) }
            }
            Principal::Visitor { tenant, .. } => {
                if right == Right::Chat {
                    Ok(*tenant)
                } else {
                    Err(forbidden())
                }
            }
        }
    }

    async fn tenant_of_account(
        &self,
        access: &AccountAccess,
        right: Right,
        named: Option<&str>,
    ) -> Result<TenantId, Problem> {
        let memberships = &access.standing.memberships;
        let membership = match named {
            Some(name) => memberships.iter().find(|membership| membership.name == name),
            None => match access.tenant {
                Some(tenant) => memberships.iter().find(|membership| membership.tenant == tenant),
                None if memberships.len() > 1 => {
                    return Err(tenant_required("this account belongs to several tenants"));
                }
                None => memberships.first(),
            },
        };
        match membership {
            Some(membership) if super::caller::may(membership.role, right) => Ok(membership.tenant),
            _ if access.standing.superuser => self.tenants.resolve(named).await,
            Some(_) => Err(forbidden()),
            None => Err(unknown_tenant()),
        }
    }

    async fn same_tenant(&self, tenant: TenantId, named: Option<&str>) -> Result<(), Problem> {
        match named {
            Some(name) if self.tenants.resolve(Some(name)).await? != tenant => Err(unknown_tenant()),
            _ => Ok(()),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

fn expired(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::TokenExpired, detail)
}

fn ended() -> Problem {
    Problem::new(ProblemKind::Unauthorized, "the session has ended; sign in again")
}

/// A failure that several requests waited for.
fn shared(error: Arc<store::Error>) -> Problem {
    match Arc::try_unwrap(error) {
        Ok(error) => error.into(),
        Err(error) if error.is_unavailable() => Problem::database_unavailable(error),
        Err(error) => Problem::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer", "Bearer "] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
    }
}
