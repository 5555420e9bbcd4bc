//! A custom resource's spec to rows in Postgres. The operator calls this in a cluster, `docbrain apply` on one machine.

use docbrain_crds::manifest::{self, Kind, ManifestError, Resource};
use docbrain_crds::{DeletionPolicy, KnowledgeSource, KnowledgeSourceSpec, ObjectMeta, Tenant};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::ids::{KnowledgeSourceId, TenantId};
use crate::schedule;
use crate::store::audit::Actor;
use crate::store::roles::Login;
use crate::store::specs::{Locked, Origin};
use crate::store::{self, Pool, TenantTx, Written};

mod changes;
mod stated;

pub use changes::{author_of, last_writer};

use changes::{Change, deleter_of, note};

/// Why a resource could not be provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The resource's namespace belongs to no tenant.
    #[error("namespace {namespace:?} belongs to no tenant; apply its Tenant first")]
    NoTenant {
        /// The namespace.
        namespace: String,
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
    pub async fn apply(&self, resource: &Resource) -> Result<Written, ProvisionError> {
        let mut tx = self.begin_for(resource).await?;
        let tenant = tx.tenant();
        let written = write(&mut tx, resource, &author_of(resource.metadata())).await?;
        tx.commit().await?;
        self.ensure_role(resource, tenant).await?;
        Ok(written)
    }

    /// Removes a resource; its rows go or stay by its deletion policy. What is gone already, or has become another
    /// resource's, is no error.
    pub async fn delete(&self, resource: &Resource) -> Result<(), ProvisionError> {
        if let Resource::Tenant(tenant) = resource {
            return self.delete_tenant(tenant).await;
        }
        let (kind, metadata) = (resource.kind(), resource.metadata());
        let mut tx = match self.begin(resource.namespace()).await {
            Err(ProvisionError::NoTenant { .. }) => return Ok(()),
            begun => begun?,
        };
        let Some(row) = own_row(&mut tx, kind, name_of(metadata), origin_of(metadata)).await? else { return Ok(()) };
        let is_retained = matches!(resource, Resource::KnowledgeSource(source) if source.spec.deletion_policy == DeletionPolicy::Retain);
        if !is_retained {
            delete(&mut tx, kind, name_of(metadata), &row, &deleter_of(metadata)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The database as the login role of a tenant's ingestion runs, where the owner reaches it at `owner_url`.
    pub fn ingest_url(&self, owner_url: &SecretString, tenant: TenantId) -> Result<SecretString, store::Error> {
        store::roles::url(owner_url.expose_secret(), Login::Ingest(tenant), &self.role_secret)
    }

    /// A transaction of the tenant that a namespace belongs to.
    pub async fn begin(&self, namespace: &str) -> Result<TenantTx, ProvisionError> {
        let tenant = store::tenants::named(&self.owner, namespace)
            .await?
            .ok_or_else(|| ProvisionError::NoTenant { namespace: namespace.to_owned() })?;
        Ok(TenantTx::begin(&self.owner, tenant).await?)
    }

    /// A transaction of the tenant that a resource belongs to, or is: a new one, if it is not there yet.
    async fn begin_for(&self, resource: &Resource) -> Result<TenantTx, ProvisionError> {
        match resource {
            Resource::Tenant(tenant) => {
                let id = store::tenants::named(&self.owner, tenant.own_namespace()).await?;
                Ok(TenantTx::begin(&self.owner, id.unwrap_or_else(TenantId::new)).await?)
            }
            Resource::KnowledgeSource(_) | Resource::Chatbot(_) => self.begin(resource.namespace()).await,
        }
    }

    /// A tenant has a role for its ingestion.
    async fn ensure_role(&self, resource: &Resource, tenant: TenantId) -> Result<(), store::Error> {
        match resource {
            Resource::Tenant(_) => store::roles::ensure(&self.owner, Login::Ingest(tenant), &self.role_secret).await,
            Resource::KnowledgeSource(_) | Resource::Chatbot(_) => Ok(()),
        }
    }

    async fn delete_tenant(&self, tenant: &Tenant) -> Result<(), ProvisionError> {
        let Some(id) = store::tenants::named(&self.owner, tenant.own_namespace()).await? else {
            return Ok(());
        };
        let mut tx = TenantTx::begin(&self.owner, id).await?;
        let (name, origin) = (tenant.own_namespace(), origin_of(&tenant.metadata));
        let Some(row) = own_row(&mut tx, Kind::Tenant, name, origin).await? else { return Ok(()) };
        match tenant.spec.deletion_policy {
            DeletionPolicy::Delete => store::tenants::delete(&mut tx).await?,
            DeletionPolicy::Retain => {
                let mut retained = tenant.spec.clone();
                retained.suspended = true;
                store::tenants::put(&mut tx, name, &retained, origin).await?;
                let change = Change::Deleted { before: &row.spec };
                note(&mut tx, &deleter_of(&tenant.metadata), Kind::Tenant, name, change).await?;
            }
        }
        tx.commit().await?;
        if tenant.spec.deletion_policy == DeletionPolicy::Delete {
            store::roles::remove(&self.owner, id).await?;
        }
        Ok(())
    }
}

/// Brings the rows of a resource in line with its spec, in the transaction of its tenant. What that changes is noted in the
/// audit log as the `actor`'s.
pub async fn write(tx: &mut TenantTx, resource: &Resource, actor: &Actor) -> Result<Written, ProvisionError> {
    if let Resource::KnowledgeSource(source) = resource {
        check_source(source)?;
    }
    let (kind, name, origin) = (resource.kind(), row_name(resource), origin_of(resource.metadata()));
    let spec = resource.spec();
    let before = match standing(tx, kind, name, &spec, origin).await? {
        Standing::Stays(written) => return Ok(written),
        Standing::Changes(before) => before,
    };
    let written = match resource {
        Resource::Tenant(tenant) => store::tenants::put(tx, name, &tenant.spec, origin).await?,
        Resource::KnowledgeSource(source) => write_source(tx, source, before.as_ref()).await?,
        Resource::Chatbot(chatbot) => store::chatbots::put(tx, name, &chatbot.spec, origin).await?,
    };
    let change = match &before {
        Some(before) => Change::Changed { before, after: &spec },
        None => Change::Made { spec: &spec },
    };
    note(tx, actor, kind, name, change).await?;
    Ok(written)
}

/// Deletes the rows of a resource whose row is locked. What that deletes is noted in the audit log as the `actor`'s; a
/// tenant's log goes with it.
pub async fn delete(
    tx: &mut TenantTx,
    kind: Kind,
    name: &str,
    locked: &Locked,
    actor: &Actor,
) -> Result<(), store::Error> {
    match kind {
        Kind::Tenant => return store::tenants::delete(tx).await,
        Kind::Chatbot => store::chatbots::delete(tx, locked.id.into()).await?,
        Kind::KnowledgeSource => store::sources::delete(tx, locked.id.into()).await?,
    }
    note(tx, actor, kind, name, Change::Deleted { before: &locked.spec }).await
}

/// Makes a resource of the tenant that is not there yet.
pub async fn create(
    tx: &mut TenantTx,
    kind: Kind,
    namespace: &str,
    name: &str,
    spec: &Value,
    actor: &Actor,
) -> Result<Written, ProvisionError> {
    let resource = manifest::resource_of(kind, namespace, name, spec)?;
    match store::specs::lock(tx, kind, name).await {
        Err(store::Error::NotFound { .. }) => write(tx, &resource, actor).await,
        Ok(_) => Err(ProvisionError::Exists { kind }),
        Err(error) => Err(error.into()),
    }
}

/// Changes the spec of a resource by a merge patch (RFC 7396), if it is still at `revision`.
pub async fn edit(
    tx: &mut TenantTx,
    kind: Kind,
    namespace: &str,
    name: &str,
    patch: &Value,
    revision: Option<i64>,
    actor: &Actor,
) -> Result<Written, ProvisionError> {
    let locked = store::specs::lock(tx, kind, name).await?;
    if let Some(expected) = revision.filter(|&expected| expected != locked.revision) {
        return Err(store::Error::Changed { expected, current: locked.revision }.into());
    }
    let mut spec = locked.spec;
    merge(&mut spec, patch);
    let resource = manifest::resource_of(kind, namespace, name, &spec)?;
    write(tx, &resource, actor).await
}

/// Applies a JSON merge patch (RFC 7396 section 2).
pub fn merge(target: &mut Value, patch: &Value) {
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

/// What writing a spec would come to.
enum Standing {
    /// The row holds it already, or a newer one.
    Stays(Written),
    /// It is to be written, in the place of this spec.
    Changes(Option<Value>),
}

async fn standing(
    tx: &mut TenantTx,
    kind: Kind,
    name: &str,
    spec: &Value,
    origin: Origin,
) -> Result<Standing, ProvisionError> {
    let before = match store::specs::lock(tx, kind, name).await {
        Ok(before) => before,
        // Of two that make it at the same time, the second finds what the first has written.
        Err(store::Error::NotFound { .. }) => {
            store::specs::claim(tx, kind, name).await?;
            match store::specs::lock(tx, kind, name).await {
                Ok(before) => before,
                Err(store::Error::NotFound { .. }) => return Ok(Standing::Changes(None)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let is_same = before.spec == *spec && before.origin == origin;
    if is_same || before.origin.is_newer_than(origin) {
        return Ok(Standing::Stays(Written { id: before.id, revision: before.revision, changed: false }));
    }
    Ok(Standing::Changes(Some(before.spec)))
}

/// Refuses what the schema cannot judge: a schedule that never comes, or in no time zone.
pub fn check_source(source: &KnowledgeSource) -> Result<(), ProvisionError> {
    let (schedule, zone) = (source.spec.schedule.as_deref(), source.spec.time_zone.as_deref());
    let of_schedule = schedule.and_then(|schedule| schedule::check(schedule).err());
    let of_zone = schedule::time_zone(zone).err();
    let problems = [("spec.schedule", of_schedule), ("spec.timeZone", of_zone)];
    let problems: Vec<String> =
        problems.into_iter().filter_map(|(field, error)| error.map(|error| format!("{field}: {error}"))).collect();
    if problems.is_empty() { Ok(()) } else { Err(refused(source, problems)) }
}

/// Refuses a change that the API server of Kubernetes refuses; where a resource is of a cluster, that one has judged it.
fn check_change(source: &KnowledgeSource, before: &KnowledgeSourceSpec) -> Result<(), ProvisionError> {
    if origin_of(&source.metadata).uid.is_some() {
        return Ok(());
    }
    let before = KnowledgeSource::new(name_of(&source.metadata), before.clone());
    source.validate_cel_update(&before).map_err(|error| refused(source, vec![error.to_string()]))
}

fn refused(source: &KnowledgeSource, problems: Vec<String>) -> ProvisionError {
    let (kind, name) = (Kind::KnowledgeSource.name().to_owned(), name_of(&source.metadata).to_owned());
    ManifestError::Refused { document: 1, kind, name, problems }.into()
}

/// A change of where documents come from, or of how they are cut, asks for a run.
async fn write_source(
    tx: &mut TenantTx,
    source: &KnowledgeSource,
    before: Option<&Value>,
) -> Result<Written, ProvisionError> {
    let (name, origin) = (name_of(&source.metadata), origin_of(&source.metadata));
    let before = before
        .map(KnowledgeSourceSpec::deserialize)
        .transpose()
        .map_err(|source| store::Error::Inconsistent { table: "knowledge_sources", source })?;
    let is_new = before.is_none();
    if let Some(before) = &before {
        check_change(source, before)?;
    }
    let written = store::sources::put(tx, name, &source.spec, origin).await?;
    let id = KnowledgeSourceId(written.id);
    if wants_run(before.as_ref(), &source.spec) {
        let awaits_uploads = source.spec.source.upload.is_some()
            && (is_new || store::documents::count(tx, Some(&[id])).await? == store::documents::Counts::default());
        if !awaits_uploads {
            store::runs::enqueue(tx, id, &format!("spec:{}", written.revision)).await?;
        }
    }
    Ok(written)
}

/// Whether a knowledge source that was as `before` is to be read or indexed anew, so far as its spec can tell.
fn wants_run(before: Option<&KnowledgeSourceSpec>, now: &KnowledgeSourceSpec) -> bool {
    let is_as_before = before.is_some_and(|before| {
        before.source == now.source && before.chunking == now.chunking && before.suspended == now.suspended
    });
    !now.suspended && !is_as_before
}

/// The row that was written for this resource, and not for a later one of its name.
async fn own_row(tx: &mut TenantTx, kind: Kind, name: &str, origin: Origin) -> Result<Option<Locked>, store::Error> {
    match store::specs::lock(tx, kind, name).await {
        Ok(row) => Ok(Some(row).filter(|row| origin.uid.is_none() || row.origin.uid == origin.uid)),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The custom resource that metadata is of, and its state.
pub fn origin_of(metadata: &ObjectMeta) -> Origin {
    Origin {
        uid: metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok()),
        generation: metadata.generation.unwrap_or_default(),
    }
}

/// What a resource's row is called: a tenant's by its namespace, since that is how every other resource names its tenant.
fn row_name(resource: &Resource) -> &str {
    match resource {
        Resource::Tenant(tenant) => tenant.own_namespace(),
        Resource::Chatbot(_) | Resource::KnowledgeSource(_) => resource.name(),
    }
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
