//! One machine: rows are written directly.

use async_trait::async_trait;
use docbrain_core::ids::TenantId;
use docbrain_core::provision;
use docbrain_core::store::{self, Pool, TenantTx};
use docbrain_crds::manifest::Kind;
use serde_json::{Value, json};

use super::{
    Author, ControlPlane, FIRST_CHATBOT, FIRST_SOURCE, Named, Refusal, Registration, first_chatbot, first_source, lock,
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
        let (actor, display) = (registration.actor(), json!({ "displayName": display_name }));
        provision::create(&mut tx, Kind::Tenant, name, name, &display, &actor).await?;
        registration.admit(&mut tx).await?;
        provision::create(&mut tx, Kind::KnowledgeSource, name, FIRST_SOURCE, &first_source(), &actor).await?;
        provision::create(&mut tx, Kind::Chatbot, name, FIRST_CHATBOT, &first_chatbot(display_name), &actor).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    async fn create(&self, author: &Author<'_>, resource: &Named<'_>, spec: &Value) -> Result<i64, Refusal> {
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        let written = provision::create(&mut tx, resource.kind, &namespace, resource.name, spec, author.actor).await?;
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
        let (kind, name) = (resource.kind, resource.name);
        let written = provision::edit(&mut tx, kind, &namespace, name, patch, revision, author.actor).await?;
        tx.commit().await?;
        Ok(written.revision)
    }

    async fn delete(&self, author: &Author<'_>, resource: &Named<'_>, revision: Option<i64>) -> Result<(), Refusal> {
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let locked = lock(&mut tx, resource, revision).await?;
        provision::delete(&mut tx, resource.kind, resource.name, &locked, author.actor).await?;
        Ok(tx.commit().await?)
    }
}
