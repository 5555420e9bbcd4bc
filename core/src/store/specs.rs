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

/// What the last manifest said of a resource of the tenant, where there was one.
pub async fn applied(tx: &mut TenantTx, kind: Kind, name: &str) -> Result<Option<Value>, Error> {
    let tenant = tx.tenant().0;
    let applied = match kind {
        Kind::Tenant => {
            let query =
                sqlx::query_scalar!("select applied from tenants where tenant_id = $1 and name = $2", tenant, name);
            query.fetch_optional(&mut **tx).await?
        }
        Kind::Chatbot => {
            let query =
                sqlx::query_scalar!("select applied from chatbots where tenant_id = $1 and name = $2", tenant, name);
            query.fetch_optional(&mut **tx).await?
        }
        Kind::KnowledgeSource => {
            let query = sqlx::query_scalar!(
                "select applied from knowledge_sources where tenant_id = $1 and name = $2",
                tenant,
                name
            );
            query.fetch_optional(&mut **tx).await?
        }
    };
    Ok(applied.flatten())
}

/// Notes what a manifest says of a resource of the tenant; where there is none, nothing.
pub async fn note_applied(tx: &mut TenantTx, kind: Kind, name: &str, spec: &Value) -> Result<(), Error> {
    let tenant = tx.tenant().0;
    let query = match kind {
        Kind::Tenant => {
            sqlx::query!("update tenants set applied = $3 where tenant_id = $1 and name = $2", tenant, name, spec)
        }
        Kind::Chatbot => {
            sqlx::query!("update chatbots set applied = $3 where tenant_id = $1 and name = $2", tenant, name, spec)
        }
        Kind::KnowledgeSource => sqlx::query!(
            "update knowledge_sources set applied = $3 where tenant_id = $1 and name = $2",
            tenant,
            name,
            spec
        ),
    };
    query.execute(&mut **tx).await?;
    Ok(())
}
