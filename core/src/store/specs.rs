//! Specs as they are changed: read, merged and written in one transaction.

use docbrain_crds::manifest::Kind;
use serde_json::Value;

use super::{Error, TenantTx};

/// A spec whose row is locked until the transaction ends.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The spec as it was applied.
    pub spec: Value,
    /// Counts its changes.
    pub revision: i64,
}

/// Locks the spec of a resource of the tenant.
pub async fn lock(tx: &mut TenantTx, kind: Kind, name: &str) -> Result<Locked, Error> {
    let tenant = tx.tenant().0;
    let locked = match kind {
        Kind::Tenant => {
            sqlx::query_as!(
                Locked,
                "select spec, revision from tenants where tenant_id = $1 and name = $2 for update",
                tenant,
                name
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        Kind::Chatbot => {
            sqlx::query_as!(
                Locked,
                "select spec, revision from chatbots where tenant_id = $1 and name = $2 for update",
                tenant,
                name
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        Kind::KnowledgeSource => {
            sqlx::query_as!(
                Locked,
                "select spec, revision from knowledge_sources where tenant_id = $1 and name = $2 for update",
                tenant,
                name
            )
            .fetch_optional(&mut **tx)
            .await?
        }
    };
    let what = match kind {
        Kind::Tenant => "tenant",
        Kind::Chatbot => "chatbot",
        Kind::KnowledgeSource => "knowledge source",
    };
    locked.ok_or(Error::NotFound { what })
}
