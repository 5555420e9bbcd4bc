//! A custom resource's spec to rows in Postgres. The operator calls this in a cluster, `docbrain apply` on one machine.

use docbrain_crds::manifest::{self, Kind, ManifestError, Resource};
use docbrain_crds::{DeletionPolicy, KnowledgeSource, ObjectMeta, Tenant};
use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ids::{KnowledgeSourceId, TenantId};
use crate::store::chatbots::ChatbotRef;
use crate::store::roles::Login;
use crate::store::{self, Pool, TenantTx, Written};

mod stated;

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
    /// The spec breaks a rule of its schema.
    #[error(transparent)]
    Refused(#[from] ManifestError),
    /// A resource of that kind and name is there already.
    #[error("there is a {} of that name already", kind.name())]
    Exists {
        /// Its kind.
        kind: Kind,
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

    /// Brings the rows of a resource in line with its whole spec. Applying twice is applying once.
    pub async fn apply(&self, resource: &Resource) -> Result<Applied, ProvisionError> {
        let changed = match resource {
            Resource::Tenant(tenant) => self.apply_tenant(tenant).await?,
            Resource::KnowledgeSource(_) | Resource::Chatbot(_) => {
                let mut tx = self.begin(resource.namespace()).await?;
                let written = write(&mut tx, resource).await?;
                tx.commit().await?;
                written.changed
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

    async fn apply_tenant(&self, tenant: &Tenant) -> Result<bool, ProvisionError> {
        let name = name_of(&tenant.metadata);
        let id = store::tenants::named(&self.owner, name).await?.unwrap_or_else(TenantId::new);
        let mut tx = TenantTx::begin(&self.owner, id).await?;
        let written = write_tenant(&mut tx, tenant).await?;
        tx.commit().await?;
        store::roles::ensure(&self.owner, Login::Ingest(id), &self.role_secret).await?;
        Ok(written.changed)
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

/// Brings the rows of a resource in line with its spec, in the transaction of its tenant.
pub async fn write(tx: &mut TenantTx, resource: &Resource) -> Result<Written, ProvisionError> {
    match resource {
        Resource::Tenant(tenant) => write_tenant(tx, tenant).await,
        Resource::KnowledgeSource(source) => write_source(tx, source).await,
        Resource::Chatbot(chatbot) => Ok(store::chatbots::put(tx, name_of(&chatbot.metadata), &chatbot.spec).await?),
    }
}

/// Makes a resource of the tenant that is not there yet.
pub async fn create(
    tx: &mut TenantTx,
    kind: Kind,
    namespace: &str,
    name: &str,
    spec: &Value,
) -> Result<Written, ProvisionError> {
    let resource = manifest::resource_of(kind, namespace, name, spec)?;
    match store::specs::lock(tx, kind, name).await {
        Err(store::Error::NotFound { .. }) => write(tx, &resource).await,
        Ok(_) => Err(ProvisionError::Exists { kind }),
        Err(error) => Err(error.into()),
    }
}

/// Changes the spec of a resource by a merge patch (RFC 7396), if it is still at `revision`; the spec as it was.
pub async fn edit(
    tx: &mut TenantTx,
    kind: Kind,
    namespace: &str,
    name: &str,
    patch: &Value,
    revision: Option<i64>,
) -> Result<(Written, Value), ProvisionError> {
    let locked = store::specs::lock(tx, kind, name).await?;
    if let Some(expected) = revision.filter(|&expected| expected != locked.revision) {
        return Err(store::Error::Changed { expected, current: locked.revision }.into());
    }
    let mut spec = locked.spec.clone();
    merge(&mut spec, patch);
    let resource = manifest::resource_of(kind, namespace, name, &spec)?;
    Ok((write(tx, &resource).await?, locked.spec))
}

/// Applies a JSON merge patch (RFC 7396 section 2).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().expect("it was just made an object");
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// The tenant's row is named by its namespace, since that is how every other resource names its tenant.
async fn write_tenant(tx: &mut TenantTx, tenant: &Tenant) -> Result<Written, ProvisionError> {
    let name = name_of(&tenant.metadata);
    if tenant.spec.namespace.as_deref().is_some_and(|namespace| namespace != name) {
        return Err(ProvisionError::Immutable {
            message: format!(
                "tenant {name:?}: on one machine a tenant's namespace is its name; leave spec.namespace out"
            ),
        });
    }
    Ok(store::tenants::put(tx, name, &tenant.spec).await?)
}

/// A change of how documents are cut asks for a run, which builds the new generation beside the old one.
async fn write_source(tx: &mut TenantTx, source: &KnowledgeSource) -> Result<Written, ProvisionError> {
    let written = store::sources::put(tx, name_of(&source.metadata), &source.spec).await?;
    let id = KnowledgeSourceId(written.id);
    let documents = store::documents::count(tx, Some(&[id])).await?;
    if written.changed && documents != store::documents::Counts::default() && !source.spec.suspended {
        let spec = serde_json::to_vec(&source.spec).expect("a spec is JSON");
        let trigger = format!("spec:{}:{}", hex::encode(Sha256::digest(spec)), uuid::Uuid::now_v7());
        store::runs::enqueue(tx, id, &trigger).await?;
    }
    Ok(written)
}

fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_merge_as_the_rfc_says() {
        // RFC 7396, appendix A.
        for (original, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut target = original;
            merge(&mut target, &patch);
            assert_eq!(target, result);
        }
    }
}
