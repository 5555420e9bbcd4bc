//! One machine: rows are written directly.

use async_trait::async_trait;
use docbrain_core::ids::TenantId;
use docbrain_core::provision;
use docbrain_core::store::{self, Pool, TenantTx};
use docbrain_crds::manifest::Kind;
use serde_json::{Value, json};

use super::{
    Author, ControlPlane, FIRST_CHATBOT, FIRST_SOURCE, Named, Refusal, Registration, delete_rows, first_chatbot,
    first_source, lock, note,
};

/// Writes rows as the API's role.
#[derive(Clone)]
pub struct Local {
    pool: Pool,
}

impl Local {
    /// `pool` logs in as the API's role.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl ControlPlane for Local {
    async fn register(&self, registration: &Registration<'_>) -> Result<TenantId, Refusal> {
        let tenant = TenantId::new();
        let mut tx = TenantTx::begin(&self.pool, tenant).await?;
        let name = registration.tenant;
        let display_name = registration.display_name;
        provision::create(&mut tx, Kind::Tenant, name, name, &json!({ "displayName": display_name })).await?;
        provision::create(&mut tx, Kind::KnowledgeSource, name, FIRST_SOURCE, &first_source()).await?;
        provision::create(&mut tx, Kind::Chatbot, name, FIRST_CHATBOT, &first_chatbot(display_name)).await?;
        registration.admit(&mut tx).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    async fn create(&self, author: &Author<'_>, resource: &Named<'_>, spec: &Value) -> Result<i64, Refusal> {
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        let written = provision::create(&mut tx, resource.kind, &namespace, resource.name, spec).await?;
        note(&mut tx, author, resource, "create", &json!({ "spec": spec })).await?;
        tx.commit().await?;
        Ok(written.revision)
    }

    async fn edit(
        &self,
        author: &Author<'_>,
        resource: &Named<'_>,
        patch: &Value,
        revision: Option<i64>,
    ) -> Result<i64, Refusal> {
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        let (written, before) =
            provision::edit(&mut tx, resource.kind, &namespace, resource.name, patch, revision).await?;
        if written.changed {
            note(&mut tx, author, resource, "update", &json!({ "patch": patch, "before": before })).await?;
        }
        tx.commit().await?;
        Ok(written.revision)
    }

    async fn delete(&self, author: &Author<'_>, resource: &Named<'_>, revision: Option<i64>) -> Result<(), Refusal> {
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let locked = lock(&mut tx, resource, revision).await?;
        delete_rows(&mut tx, resource.kind, &locked).await?;
        if resource.kind != Kind::Tenant {
            note(&mut tx, author, resource, "delete", &json!({ "before": locked.spec })).await?;
        }
        Ok(tx.commit().await?)
    }
}
