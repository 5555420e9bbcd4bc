//! The rule a route is declared with, and the guard that keeps it.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use docbrain_core::store::members::Role;

use super::{AccessControl, Principal, RequestFacts, Right, SuperuserAccess, TENANT_HEADER, TenantAccess};
use crate::access::{forbidden, unauthorized};
use crate::client_ip::{ClientIp, TrustedProxies};
use crate::cors;
use crate::middleware::{RequestId, note_tenant};
use crate::problem::{Problem, ProblemKind};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// Everybody who can reach the address.
    Public,
    /// A visitor with a session, and whoever may ask the tenant's chatbots.
    Visitor,
    /// Whoever may ask the tenant's chatbots, but no visitor.
    Client,
    /// Whoever may see what the tenant has.
    Viewer,
    /// Whoever may change the tenant's chatbots and documents.
    Editor,
    /// Whoever may change the tenant's members, keys and settings.
    Admin,
    /// A signed-in person, whatever the tenant.
    Account,
    /// Whoever acts for the installation.
    Superuser,
}

impl Caller {
    /// The word in the OpenAPI document.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Visitor => "visitor",
            Self::Client => "client",
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Account => "account",
            Self::Superuser => "superuser",
        }
    }

    /// Whether it may change what is configured. The others read, sign in, or ask a chatbot: that may end when nobody
    /// waits, and has to where anybody could leave work behind.
    pub(crate) fn may_change(self) -> bool {
        match self {
            Self::Editor | Self::Admin | Self::Account | Self::Superuser => true,
            Self::Public | Self::Visitor | Self::Client | Self::Viewer => false,
        }
    }

    /// What it needs within a tenant, if it acts for one.
    pub(crate) fn right(self) -> Option<Right> {
        match self {
            Self::Visitor | Self::Client => Some(Right::Chat),
            Self::Viewer => Some(Right::Read),
            Self::Editor => Some(Right::Write),
            Self::Admin => Some(Right::Manage),
            Self::Public | Self::Account | Self::Superuser => None,
        }
    }
}

/// Whether a role includes a right.
pub(super) fn may(role: Role, right: Right) -> bool {
    right
        <= match role {
            Role::Viewer => Right::Read,
            Role::Editor => Right::Write,
            Role::Admin => Right::Manage,
        }
}

/// The guard of the routes that are declared for one kind of caller.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) access: AccessControl,
    pub(crate) proxies: TrustedProxies,
    pub(crate) caller: Caller,
}

/// Lets a request pass whose sender may call the route, and notes for the handler who it is.
pub(crate) async fn keep(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Err(problem) = guard.admit(&mut parts).await {
        let mut refusal = problem.into_response();
        // The widget is to read that its session has expired.
        if let Some(origin) = guard.access.visitors_origin(&parts.headers) {
            cors::allow(refusal.headers_mut(), &origin);
        }
        return refusal;
    }
    let visitor = parts.extensions.get::<TenantAccess>().and_then(|access| access.visitor.clone());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(visitor) = visitor {
        cors::allow(response.headers_mut(), &visitor.origin);
    }
    response
}

impl Guard {
    async fn admit(&self, parts: &mut Parts) -> Result<(), Problem> {
        let principal = self.access.principal(&parts.method, &parts.headers).await?;
        let facts = self.facts(parts).await;
        if matches!((self.caller, &principal), (Caller::Client, Principal::Visitor { .. })) {
            return Err(forbidden());
        }
        if let Some(right) = self.caller.right() {
            let named = tenant_named(parts)?;
            let tenant = self.access.tenant_of(&principal, right, named).await?;
            let manages = match self.caller {
                Caller::Editor => self.access.tenant_of(&principal, Right::Manage, named).await.is_ok(),
                caller => caller == Caller::Admin,
            };
            note_tenant(tenant);
            let actor = principal.actor(&facts);
            let visitor = match principal {
                Principal::Visitor { visitor, .. } => Some(visitor),
                _ => None,
            };
            parts.extensions.insert(TenantAccess { tenant, actor, visitor, manages, client: facts.client });
            return Ok(());
        }
        match (self.caller, &principal) {
            (Caller::Account, Principal::Account(access)) => {
                parts.extensions.insert(access.clone());
            }
            (Caller::Superuser, Principal::Installation) => Self::superuser(&principal, &facts, parts)?,
            (Caller::Superuser, Principal::Account(access)) if access.standing.superuser => {
                Self::superuser(&principal, &facts, parts)?;
            }
            (Caller::Account, _) => {
                return Err(Problem::new(ProblemKind::Forbidden, "only a person who has signed in can do that"));
            }
            _ => return Err(forbidden()),
        }
        Ok(())
    }

    fn superuser(principal: &Principal, facts: &RequestFacts, parts: &mut Parts) -> Result<(), Problem> {
        let actor = principal.actor(facts).ok_or_else(unauthorized)?;
        parts.extensions.insert(SuperuserAccess { actor });
        Ok(())
    }

    async fn facts(&self, parts: &mut Parts) -> RequestFacts {
        let Ok(client) = ClientIp::from_request_parts(parts, &self.proxies).await;
        let request_id = parts.extensions.get::<RequestId>().map(ToString::to_string).unwrap_or_default();
        RequestFacts { client, request_id }
    }
}

fn tenant_named(parts: &Parts) -> Result<Option<&str>, Problem> {
    match parts.headers.get(TENANT_HEADER) {
        None => Ok(None),
        Some(value) => value.to_str().map(Some).map_err(|_| super::tenants::unknown_tenant()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_ones_before_it_may() {
        let all = [Right::Chat, Right::Read, Right::Write, Right::Manage];
        let rights = |role| all.into_iter().filter(|&right| may(role, right)).map(Right::word).collect::<Vec<_>>();
        assert_eq!(rights(Role::Viewer), ["chat", "read"]);
        assert_eq!(rights(Role::Editor), ["chat", "read", "write"]);
        assert_eq!(rights(Role::Admin), ["chat", "read", "write", "manage"]);
    }
}
