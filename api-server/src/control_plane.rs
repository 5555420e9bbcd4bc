//! Where configuration is written: tenants, chatbots and knowledge sources are resources, whoever edits them.
//!
//! [`Local`] writes the rows themselves, on one machine. With [`Kubernetes`] the resources are custom resources, and an
//! operator keeps the rows.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use docbrain_core::ids::TenantId;
use docbrain_core::provision::ProvisionError;
use docbrain_core::store::audit::{self, Actor, ActorKind};
use docbrain_core::store::members::{self, Role};
use docbrain_core::store::{self, TenantTx, accounts};
use docbrain_crds::manifest::{Kind, ManifestError};
use serde_json::{Value, json};

use crate::problem::{Problem, ProblemKind};

mod kubernetes;
mod local;

pub use self::kubernetes::Kubernetes;
pub use self::local::Local;

/// What every tenant begins with.
const FIRST_SOURCE: &str = "docs";
const FIRST_CHATBOT: &str = "assistant";
/// When an edit that found no cluster may be tried again.
const UNAVAILABLE: Duration = Duration::from_secs(5);

/// Writes configuration for somebody. Every change is in the audit log.
#[async_trait]
pub trait ControlPlane: Send + Sync {
    /// Makes a tenant with its first admin, a knowledge source and a chatbot: all of it or nothing.
    async fn register(&self, registration: &Registration<'_>) -> Result<TenantId, Refusal>;

    /// Makes a resource; its revision.
    async fn create(&self, author: &Author<'_>, resource: &Named<'_>, spec: &Value) -> Result<i64, Refusal>;

    /// Changes a resource's spec by a merge patch (RFC 7396), if it is still at `revision`; its revision then.
    async fn edit(
        &self,
        author: &Author<'_>,
        resource: &Named<'_>,
        patch: &Value,
        revision: Option<i64>,
    ) -> Result<i64, Refusal>;

    /// Deletes a resource with all that belongs to it.
    async fn delete(&self, author: &Author<'_>, resource: &Named<'_>, revision: Option<i64>) -> Result<(), Refusal>;

    /// Who manages which fields of a resource; `None`: whoever edits it last.
    async fn managers(&self, tenant: TenantId, resource: &Named<'_>) -> Result<Option<Vec<Manager>>, Refusal> {
        let _ = (tenant, resource);
        Ok(None)
    }

    /// Does what is done every hour.
    async fn keep_up(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let _ = now;
        Ok(())
    }
}

/// Somebody who manages fields of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Its name, such as `argocd-controller`.
    pub name: String,
    /// Whether it is the API.
    pub is_own: bool,
    /// The fields, such as `spec.displayName`.
    pub fields: Vec<String>,
}

/// Who changes something, in which tenant.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// Who.
    pub actor: &'a Actor,
}

/// A resource by kind and name.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its name within the tenant.
    pub name: &'a str,
}

/// A tenant and its first admin.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// Its name for people.
    pub display_name: &'a str,
    /// The admin's account.
    pub account: store::accounts::NewAccount<'a>,
    /// The request, for the audit log.
    pub request_id: &'a str,
    /// Where it came from.
    pub ip: Option<std::net::IpAddr>,
}

impl Registration<'_> {
    fn actor(&self) -> Actor {
        Actor {
            kind: ActorKind::Account(self.account.id),
            name: self.account.email.to_owned(),
            ip: self.ip,
            request_id: self.request_id.to_owned(),
        }
    }

    /// Makes the account, and the tenant's first admin of it.
    async fn admit(&self, tx: &mut TenantTx) -> Result<(), store::Error> {
        accounts::insert(tx, &self.account).await?;
        members::put(tx, self.account.id, Role::Admin).await?;
        audit::record(tx, &self.actor(), "tenant.register", self.tenant, &json!({})).await
    }
}

fn first_source() -> Value {
    json!({ "source": { "upload": {} } })
}

fn first_chatbot(display_name: &str) -> Value {
    json!({ "displayName": display_name, "knowledgeSources": [{ "name": FIRST_SOURCE }] })
}

/// Locks the row of a resource, if it is still at `revision`.
async fn lock(
    tx: &mut TenantTx,
    resource: &Named<'_>,
    revision: Option<i64>,
) -> Result<store::specs::Locked, store::Error> {
    let locked = store::specs::lock(tx, resource.kind, resource.name).await?;
    match revision {
        Some(expected) if expected != locked.revision => {
            Err(store::Error::Changed { expected, current: locked.revision })
        }
        _ => Ok(locked),
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The specs of custom resources say no.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The store says no.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Somebody else manages what would change.
    #[error("{detail}")]
    Owned {
        /// Who manages what, in words for an admin.
        detail: String,
    },
    /// The cluster's own rules say no.
    #[error("the resource is refused: {}", problems.join("; "))]
    Invalid {
        /// What is wrong, in words for an admin.
        problems: Vec<String>,
    },
    /// The API server of Kubernetes does not answer.
    #[error("configuration cannot be written now")]
    Unavailable {
        /// What is behind it.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// Nobody provisions what was made.
    #[error("the operator does not answer")]
    NoOperator,
    /// The API server of Kubernetes does not do what it is asked.
    #[error("the cluster refuses a call")]
    Cluster {
        /// What it said.
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) | Refusal::Provision(ProvisionError::Store { source: error }) => error.into(),
            Refusal::Provision(ProvisionError::Exists { kind }) => {
                let kind = match kind {
                    Kind::Tenant => ProblemKind::TenantNameTaken,
                    Kind::Chatbot => ProblemKind::ChatbotExists,
                    Kind::KnowledgeSource => ProblemKind::KnowledgeSourceExists,
                };
                Self::new(kind, "choose another name, or change the one that is there")
            }
            Refusal::Provision(ProvisionError::Refused(ManifestError::Refused { problems, .. })) => {
                Self::new(ProblemKind::InvalidField, problems.join("; "))
            }
            Refusal::Owned { detail } => Self::new(ProblemKind::FieldOwnedElsewhere, detail),
            Refusal::Invalid { problems } => Self::new(ProblemKind::InvalidField, problems.join("; ")),
            Refusal::Unavailable { .. } => {
                let detail = "the cluster that keeps it does not answer; nothing has changed, try again in a moment";
                Self::new(ProblemKind::ControlPlaneUnavailable, detail).retry_after(UNAVAILABLE).because(refusal)
            }
            Refusal::NoOperator => {
                let detail = "the operator does not answer; what was begun is taken back, try again in a minute";
                Self::new(ProblemKind::ControlPlaneUnavailable, detail)
                    .retry_after(Duration::from_mins(1))
                    .because(refusal)
            }
            Refusal::Provision(error) => Self::internal(error),
            Refusal::Cluster { .. } => Self::internal(refusal),
        }
    }
}
