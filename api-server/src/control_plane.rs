//! Where configuration is written: tenants, chatbots and knowledge sources are resources, whoever edits them.
//!
//! [`Local`] writes the rows themselves, on one machine. In a cluster the resources are custom resources, and an operator
//! writes the rows.

use async_trait::async_trait;
use docbrain_core::ids::{AccountId, TenantId};
use docbrain_core::provision::ProvisionError;
use docbrain_core::store;
use docbrain_core::store::audit::Actor;
use docbrain_crds::manifest::{Kind, ManifestError};
use serde_json::Value;

use crate::problem::{Problem, ProblemKind};

mod local;

pub use self::local::Local;

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
    fn account_id(&self) -> AccountId {
        self.account.id
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
            Refusal::Provision(error) => Self::internal(error),
        }
    }
}
