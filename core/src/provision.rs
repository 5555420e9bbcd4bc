//! A custom resource's spec to rows in Postgres. The operator calls this in a cluster, `docbrain apply` on one machine.

use docbrain_crds::manifest::Resource;
use docbrain_crds::{DeletionPolicy, KnowledgeSource, ObjectMeta, Tenant};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::ids::TenantId;
use crate::store::chatbots::ChatbotRef;
use crate::store::roles::Login;
use crate::store::{self, Pool, TenantTx};

/// Why a resource could not be provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The resource's namespace belongs to no tenant.
    #[error("namespace {namespace:?} belongs to no tenant; apply its Tenant first")]
    NoTenant {
        /// The namespace.
        namespace: String,
    },
    /// The tenant is in another namespace already.
    #[error("{message}")]
    Immutable {
        /// Which field, and what to do instead.
        message: String,
    },
    /// The store refused.
    #[error("failed to write the resource's rows")]
    Store {
        /// What the store said.
        #[from]
        source: store::Error,
    },
}

/// What applying a resource did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Its rows were written.
    Configured,
    /// They were as they should be.
    Unchanged,
}

/// Writes projections as the owner of the schema.
#[derive(Clone)]
pub struct Provisioner {
    owner: Pool,
    role_secret: SecretString,
}

impl Provisioner {
    /// `role_secret` is what the passwords of login roles are derived from ([`store::roles`]).
    pub fn new(owner: Pool, role_secret: SecretString) -> Self {
        Self { owner, role_secret }
    }

    /// Brings the rows of a resource in line with its spec. Applying twice is applying once.
    pub async fn apply(&self, resource: &Resource) -> Result<Applied, ProvisionError> {
        let changed = match resource {
            Resource::Tenant(tenant) => self.apply_tenant(tenant).await?,
            Resource::KnowledgeSource(source) => {
                let mut tx = self.begin(resource.namespace()).await?;
                let changed = apply_source(&mut tx, source).await?;
                tx.commit().await?;
                changed
            }
            Resource::Chatbot(chatbot) => {
                let mut tx = self.begin(resource.namespace()).await?;
                let (_, changed) = store::chatbots::put(&mut tx, name_of(&chatbot.metadata), &chatbot.spec).await?;
                tx.commit().await?;
                changed
            }
        };
        Ok(if changed { Applied::Configured } else { Applied::Unchanged })
    }

    /// Removes a resource; its rows go or stay by its deletion policy. What is gone already is no error.
    pub async fn delete(&self, resource: &Resource) -> Result<(), ProvisionError> {
        match resource {
            Resource::Tenant(tenant) => self.delete_tenant(tenant).await,
            Resource::KnowledgeSource(source) => {
                let mut tx = self.begin(resource.namespace()).await?;
                if source.spec.deletion_policy == DeletionPolicy::Delete {
                    let row = store::sources::by_name(&mut tx, name_of(&source.metadata)).await?;
                    store::sources::delete(&mut tx, row.id).await?;
                }
                Ok(tx.commit().await?)
            }
            Resource::Chatbot(chatbot) => {
                let mut tx = self.begin(resource.namespace()).await?;
                let name = ChatbotRef::Name(name_of(&chatbot.metadata).to_owned());
                let row = store::chatbots::get(&mut tx, &name).await?;
                store::chatbots::delete(&mut tx, row.id).await?;
                Ok(tx.commit().await?)
            }
        }
    }

    async fn begin(&self, namespace: &str) -> Result<TenantTx, ProvisionError> {
        let tenant = store::tenants::named(&self.owner, namespace)
            .await?
            .ok_or_else(|| ProvisionError::NoTenant { namespace: namespace.to_owned() })?;
        Ok(TenantTx::begin(&self.owner, tenant).await?)
    }

    /// The tenant's row is named by its namespace, since that is how every other resource names its tenant.
    async fn apply_tenant(&self, tenant: &Tenant) -> Result<bool, ProvisionError> {
        let name = name_of(&tenant.metadata);
        if tenant.spec.namespace.as_deref().is_some_and(|namespace| namespace != name) {
            return Err(ProvisionError::Immutable {
                message: format!(
                    "tenant {name:?}: on one machine a tenant's namespace is its name; leave spec.namespace out"
                ),
            });
        }
        let id = store::tenants::named(&self.owner, name).await?.unwrap_or_else(TenantId::new);
        let mut tx = TenantTx::begin(&self.owner, id).await?;
        let changed = store::tenants::put(&mut tx, name, &tenant.spec).await?;
        tx.commit().await?;
        store::roles::ensure(&self.owner, Login::Ingest(id), &self.role_secret).await?;
        Ok(changed)
    }

    async fn delete_tenant(&self, tenant: &Tenant) -> Result<(), ProvisionError> {
        let Some(id) = store::tenants::named(&self.owner, name_of(&tenant.metadata)).await? else {
            return Ok(());
        };
        let mut tx = TenantTx::begin(&self.owner, id).await?;
        match tenant.spec.deletion_policy {
            DeletionPolicy::Delete => store::tenants::delete(&mut tx).await?,
            DeletionPolicy::Retain => {
                let mut retained = tenant.spec.clone();
                retained.suspended = true;
                store::tenants::put(&mut tx, name_of(&tenant.metadata), &retained).await?;
            }
        }
        tx.commit().await?;
        if tenant.spec.deletion_policy == DeletionPolicy::Delete {
            store::roles::remove(&self.owner, id).await?;
        }
        Ok(())
    }
}

/// A change of how documents are cut asks for a run, which builds the new generation beside the old one.
async fn apply_source(tx: &mut TenantTx, source: &KnowledgeSource) -> Result<bool, ProvisionError> {
    let (id, changed) = store::sources::put(tx, name_of(&source.metadata), &source.spec).await?;
    let documents = store::documents::count(tx, Some(&[id])).await?;
    if changed && documents != store::documents::Counts::default() && !source.spec.suspended {
        let spec = serde_json::to_vec(&source.spec).expect("a spec is JSON");
        let trigger = format!("spec:{}:{}", hex::encode(Sha256::digest(spec)), uuid::Uuid::now_v7());
        store::runs::enqueue(tx, id, &trigger).await?;
    }
    Ok(changed)
}

fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}
