//! Who sends a request, and what they may do.
//!
//! | module | what it holds |
//! |---|---|
//! | `caller` | the rule a route is declared with, and the guard that keeps it |
//! | `credentials` | a request's header or cookie to a [`Principal`] |
//! | `jwt` | signed tokens: access tokens of accounts, session tokens of visitors |
//! | `cookie` | a browser's session, and its defence against forged requests |
//! | `oidc` | signing in at a company's identity provider |
//! | `password` | hashing, off the async threads and bounded |
//! | `secret` | new random secrets and their hashes |
//! | `tenants` | tenants by name, remembered briefly |
//!
//! What a credential is good for is remembered for [`REMEMBERED`]: a revoked token or a changed role takes effect within
//! that time, and most requests need no round trip.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use docbrain_core::ids::{AccountId, ApiTokenId, ChatbotId, SessionId, TenantId};
use docbrain_core::store::accounts::Standing;
use docbrain_core::store::audit::{Actor, ActorKind};
use docbrain_core::store::chatbots::ChatbotRow;

use crate::client_ip::ClientIp;
use crate::limit::Asker;
use crate::problem::{Problem, ProblemKind};

pub(crate) mod caller;
pub(crate) mod cookie;
mod credentials;
pub(crate) mod jwt;
pub(crate) mod oidc;
pub(crate) mod password;
pub(crate) mod secret;
mod tenants;

pub(crate) use self::caller::Caller;
pub(crate) use self::credentials::AccessControl;
pub(crate) use self::tenants::TENANT_HEADER;

/// How long what a credential is good for may be remembered.
const REMEMBERED: Duration = Duration::from_secs(2);

/// What a route asks for within a tenant; each right includes none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// Ask chatbots.
    Chat,
    /// See configuration, documents, conversations, figures.
    Read,
    /// Change chatbots, knowledge sources and documents.
    Write,
    /// Change members, keys and settings.
    Manage,
}

impl Right {
    /// The word in an API token's scopes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Read => "read",
            Self::Write => "write",
            Self::Manage => "manage",
        }
    }
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    /// Whoever runs the installation, by its admin token.
    Installation,
    /// A person.
    Account(AccountAccess),
    /// A program with a tenant's API token.
    Token { tenant: TenantId, id: ApiTokenId, name: String, scopes: Vec<String> },
    /// A visitor of a page that embeds a chatbot.
    Visitor { tenant: TenantId, visitor: Visitor },
}

/// A signed-in person. Only a route declared for accounts can ask for it.
#[derive(Clone, Debug)]
pub(crate) struct AccountAccess {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) standing: Arc<Standing>,
    /// The tenant the access token was made for.
    pub(crate) tenant: Option<TenantId>,
    /// What a browser must send with every change; `None` where no cookie was shown.
    pub(crate) csrf: Option<String>,
}

/// A visitor, as the session token names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// The only chatbot it may ask.
    pub(crate) chatbot: ChatbotId,
    /// What it is called in conversations and limits.
    pub(crate) id: String,
    /// Who the page's host says it is.
    pub(crate) identity: Option<serde_json::Value>,
    /// The origin of the page.
    pub(crate) origin: String,
}

/// A caller who may do what the route needs, for one tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantAccess {
    pub(crate) tenant: TenantId,
    /// Who it is in the audit log; `None` for a visitor, who changes nothing.
    actor: Option<Actor>,
    pub(crate) visitor: Option<Visitor>,
    /// Whether it may also do what is for admins; told where the route is for editors.
    pub(crate) manages: bool,
    client: ClientIp,
}

impl TenantAccess {
    /// Whoever runs the installation, in its own process.
    pub(crate) fn of_installation(tenant: TenantId, request_id: String) -> Self {
        let actor = Actor { kind: ActorKind::Installation, name: "command line".to_owned(), ip: None, request_id };
        Self { tenant, actor: Some(actor), visitor: None, manages: true, client: ClientIp::LOCAL }
    }

    /// The visitor whose conversations alone it may reach; `None`: it may reach all of the tenant's.
    pub(crate) fn visitor_id(&self) -> Option<&str> {
        self.visitor.as_ref().map(|visitor| visitor.id.as_str())
    }

    /// Whose questions are counted together.
    pub(crate) fn asker(&self) -> Asker<'_> {
        match (&self.visitor, self.actor.as_ref().map(|actor| actor.kind)) {
            (Some(visitor), _) => Asker::Visitor { id: &visitor.id, address: self.client },
            (None, Some(ActorKind::Account(account))) => Asker::Account(account.0),
            (None, Some(ActorKind::Token(_))) => Asker::Token,
            (None, Some(ActorKind::Installation | ActorKind::Manager) | None) => Asker::Installation,
        }
    }

    /// Who changes something. Visitors reach no route that does.
    pub(crate) fn actor(&self) -> Result<&Actor, Problem> {
        self.actor.as_ref().ok_or_else(forbidden)
    }
}

impl Visitor {
    /// Whether it may ask this chatbot: its session is for one chatbot and one origin, which may have been taken off the list.
    pub(crate) fn check(&self, chatbot: &ChatbotRow) -> Result<(), Problem> {
        if self.chatbot != chatbot.id {
            return Err(Problem::new(ProblemKind::ChatbotNotFound, "the session is for another chatbot"));
        }
        if !chatbot.spec.allowed_origins.contains(&self.origin) {
            return Err(origin_not_allowed());
        }
        Ok(())
    }
}

/// A caller who acts for the installation.
#[derive(Clone, Debug)]
pub(crate) struct SuperuserAccess {
    pub(crate) actor: Actor,
}

impl Principal {
    fn actor(&self, facts: &RequestFacts) -> Option<Actor> {
        let (kind, name) = match self {
            Self::Installation => (ActorKind::Installation, "admin token".to_owned()),
            Self::Account(access) => (ActorKind::Account(access.account), access.standing.email.clone()),
            Self::Token { id, name, .. } => (ActorKind::Token(*id), name.clone()),
            Self::Visitor { .. } => return None,
        };
        Some(Actor { kind, name, ip: Some(facts.client.0), request_id: facts.request_id.clone() })
    }
}

/// What the audit log notes of a request besides its caller.
#[derive(Clone, Debug)]
struct RequestFacts {
    client: ClientIp,
    request_id: String,
}

macro_rules! extracted {
    ($($access:ty),+) => {$(
        impl<S: Sync> FromRequestParts<S> for $access {
            type Rejection = Problem;

            /// The guard of the route has put it there; a route without the guard gets nothing.
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
            }
        }
    )+};
}

extracted!(AccountAccess, TenantAccess, SuperuserAccess);

pub(crate) fn unauthorized() -> Problem {
    Problem::new(ProblemKind::Unauthorized, "sign in, or send a token of DocBrain as `Authorization: Bearer <token>`")
}

pub(crate) fn forbidden() -> Problem {
    Problem::new(ProblemKind::Forbidden, "this account or token may not do that; ask an admin of the tenant")
}

pub(crate) fn origin_not_allowed() -> Problem {
    Problem::new(
        ProblemKind::OriginNotAllowed,
        "add the page's origin, such as https://example.com, to the chatbot's `allowedOrigins`",
    )
}
