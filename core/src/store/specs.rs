//! Specs as they are changed: read, merged and written in one transaction.

use docbrain_crds::manifest::Kind;
use serde_json::Value;
use uuid::Uuid;

use super::{Error, TenantTx};

/// A spec whose row is locked until the transaction ends.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The row's id.
    pub id: Uuid,
    /// The spec as it was applied.
    pub spec: Value,
    /// Counts its changes.
    pub revision: i64,
    /// The custom resource it was last read from.
    pub origin: Origin,
}

/// Which state of which custom resource a spec was read from; on one machine there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The resource's `metadata.uid`.
    pub uid: Option<Uuid>,
    /// Its `metadata.generation`.
    pub generation: i64,
}

impl Origin {
    /// Whether a spec from `other` would undo a newer one. Two resources of one name are in no order: the one that is read
    /// last stands.
    pub fn is_newer_than(self, other: Self) -> bool {
        self.uid.is_some() && self.uid == other.uid && self.generation > other.generation
    }
}

/// A locked row as Postgres gives it.
struct Row {
    id: Uuid,
    spec: Value,
    revision: i64,
    resource_uid: Option<Uuid>,
    resource_generation: i64,
}

/// Locks the spec of a resource of the tenant. Rows that refer to it (conversations, documents) can still be added
/// meanwhile: whoever holds the lock may be waiting for another server.
pub async fn lock(tx: &mut TenantTx, kind: Kind, name: &str) -> Result<Locked, Error> {
    let tenant = tx.tenant().0;
    let locked = match kind {
        Kind::Tenant => {
            sqlx::query_as!(
                Row,
                "select tenant_id as id, spec, revision, resource_uid, resource_generation from tenants
                 where tenant_id = $1 and name = $2 for no key update",
                tenant,
                name
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        Kind::Chatbot => {
            sqlx::query_as!(
                Row,
                "select id, spec, revision, resource_uid, resource_generation from chatbots
                 where tenant_id = $1 and name = $2 for no key update",
                tenant,
                name
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        Kind::KnowledgeSource => {
            sqlx::query_as!(
                Row,
                "select id, spec, revision, resource_uid, resource_generation from knowledge_sources
                 where tenant_id = $1 and name = $2 for no key update",
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
    let Row { id, spec, revision, resource_uid, resource_generation } = locked.ok_or(Error::NotFound { what })?;
    let origin = Origin { uid: resource_uid, generation: resource_generation };
    Ok(Locked { id, spec, revision, origin })
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

/// Waits until nobody else is making a resource of this kind and name, and keeps it so until the transaction ends. A
/// tenant's name is everybody's, another's its tenant's own.
pub async fn claim(tx: &mut TenantTx, kind: Kind, name: &str) -> Result<(), Error> {
    let name = match kind {
        Kind::Tenant => format!("tenant/{name}"),
        Kind::Chatbot | Kind::KnowledgeSource => format!("{}/{}/{name}", kind.name(), tx.tenant()),
    };
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", name).execute(&mut **tx).await?;
    Ok(())
}
