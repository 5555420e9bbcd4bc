//! A cluster: custom resources are applied, never by force, and written through to the rows that an operator keeps.
//!
//! Everything that the API wants of a resource is applied as the whole intent of one field manager. What another manager
//! keeps (GitOps, `kubectl edit`) is refused with its name. A change is tried as a dry run first, so that it is made whole
//! or not at all. The operator finds the same rows later: who writes second, changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use docbrain_core::ids::TenantId;
use docbrain_core::provision::{self, ProvisionError};
use docbrain_core::store::audit::Actor;
use docbrain_core::store::{self, Pool, TenantTx};
use docbrain_crds::manifest::{self, Kind, Resource, spec_schema};
use docbrain_crds::{API_VERSION, MANAGED_BY_LABEL, Tenant};
use kube::api::DynamicObject;
use serde_json::{Value, json};

mod change;
mod cluster;
mod fields;
mod ownership;
mod registration;

use self::cluster::{CallError, Cluster, Place};
use super::{Author, ControlPlane, Manager, Named, Refusal, Registration, lock};

/// How often an edit begins anew because somebody else has changed the object meanwhile, be it its status.
const ATTEMPTS: u32 = 5;
/// The pause before it does.
const PAUSE: Duration = Duration::from_millis(50);

/// Applies custom resources.
pub struct Kubernetes {
    pool: Pool,
    cluster: Cluster,
}

impl Kubernetes {
    /// The cluster that `KUBECONFIG`, or the pod that the process runs in, names. It is not called yet: chat needs none.
    /// `pool` logs in as the API's role.
    pub async fn new(pool: Pool) -> anyhow::Result<Self> {
        Ok(Self::over(pool, kube::Config::infer().await?)?)
    }

    /// The cluster of a kubeconfig file.
    pub async fn of_file(pool: Pool, path: &std::path::Path) -> anyhow::Result<Self> {
        let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
        let options = kube::config::KubeConfigOptions::default();
        Ok(Self::over(pool, kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?)?)
    }

    fn over(pool: Pool, config: kube::Config) -> Result<Self, kube::Error> {
        Ok(Self { pool, cluster: Cluster::new(config)? })
    }

    /// Makes a resource that is not there yet; `tx` writes its rows.
    async fn make(&self, tx: &mut TenantTx, actor: &Actor, place: Place<'_>, spec: &Value) -> Result<i64, Refusal> {
        let Place { kind, namespace, name } = place;
        manifest::resource_of(kind, namespace, name, spec).map_err(ProvisionError::from)?;
        store::specs::claim(tx, kind, name).await?;
        match store::specs::lock(tx, kind, name).await {
            Err(store::Error::NotFound { .. }) => {}
            Ok(_) => return Err(ProvisionError::Exists { kind }.into()),
            Err(error) => return Err(error.into()),
        }
        let made = self.apply_new(place, &json!({ MANAGED_BY_LABEL: "dashboard" }), spec).await?;
        let written = match typed(kind, &made) {
            Ok(resource) => provision::write(tx, &resource, actor).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        if written.is_err() {
            self.withdraw(place, &made).await;
        }
        Ok(written?.revision)
    }

    /// Applies what is not there yet. Nobody else makes it through the API meanwhile: its name is claimed.
    async fn apply_new(&self, place: Place<'_>, labels: &Value, spec: &Value) -> Result<DynamicObject, Refusal> {
        let exists = || Refusal::from(ProvisionError::Exists { kind: place.kind });
        if self.cluster.get(place).await?.is_some() {
            return Err(exists());
        }
        let intent = json!({ "metadata": { "labels": labels }, "spec": change::without_nulls(spec) });
        let made = match self.cluster.apply(place, &body(place, intent, None), false).await {
            Err(CallError::Owned { .. }) => return Err(exists()),
            made => made?,
        };
        if ownership::others(&made).next().is_some() {
            // Somebody has made it in this moment: it stays theirs alone.
            self.cluster.apply(place, &body(place, json!({}), None), false).await?;
            return Err(exists());
        }
        Ok(made)
    }

    /// Takes back what was just made; a failure leaves it to whoever looks at the cluster.
    async fn withdraw(&self, place: Place<'_>, made: &DynamicObject) {
        if let Err(error) = self.cluster.delete(place, made.metadata.uid.clone(), None).await {
            tracing::warn!(
                resource.name = place.name,
                error = &error as &dyn std::error::Error,
                "a resource is left over"
            );
        }
    }

    /// The object behind a row. A tenant's row is named by its namespace, so its object may have another name.
    async fn read(&self, kind: Kind, namespace: &str, name: &str) -> Result<DynamicObject, Refusal> {
        let found = self.cluster.get(Place { kind, namespace, name }).await?;
        let found = match kind {
            Kind::Chatbot | Kind::KnowledgeSource => found,
            Kind::Tenant => match found.filter(|object| has_namespace(object, namespace)) {
                Some(found) => Some(found),
                None => self.cluster.tenants(None).await?.into_iter().find(|object| has_namespace(object, namespace)),
            },
        };
        let found = found.filter(|object| object.metadata.deletion_timestamp.is_none());
        Ok(found.ok_or(store::Error::NotFound { what: noun(kind) })?)
    }

    /// Changes a resource once; `None`: it has changed meanwhile.
    async fn try_edit(
        &self,
        author: &Author<'_>,
        resource: &Named<'_>,
        patch: &Value,
        revision: Option<i64>,
    ) -> Result<Option<i64>, Refusal> {
        let kind = resource.kind;
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        lock(&mut tx, resource, revision).await?;
        let object = self.read(kind, &namespace, resource.name).await?;
        let current = typed(kind, &object)?;
        // Somebody has changed the resource, and the operator has not been here yet.
        let read = provision::write(&mut tx, &current, &provision::author_of(&object.metadata)).await?;
        if let Some(expected) = revision.filter(|_| read.changed) {
            tx.commit().await?;
            return Err(store::Error::Changed { expected, current: read.revision }.into());
        }

        let name = object.metadata.name.as_deref().unwrap_or(resource.name);
        let place = Place { kind, namespace: &namespace, name };
        let schema = spec_schema(kind);
        let before = object.data["spec"].clone();
        let mut after = before.clone();
        provision::merge(&mut after, patch);
        let wanted = manifest::resource_of(kind, &namespace, name, &after).map_err(ProvisionError::from)?;
        if wanted.spec() == current.spec() {
            tx.commit().await?;
            return Ok(Some(read.revision));
        }
        let mut intent = ownership::own_intent(&object);
        change::follow(&mut intent["spec"], &change::least(&before, &after, &schema), &before, &schema);
        let body = body(place, intent, object.metadata.resource_version.as_deref());
        let tried = match self.cluster.apply(place, &body, true).await {
            Err(CallError::Stale) => return Ok(None),
            Err(CallError::Owned { conflicts }) => return Err(ownership::refusal_of(&conflicts)),
            tried => typed(kind, &tried?)?,
        };
        let missed = change::differences(&wanted.spec(), &tried.spec(), &schema);
        if !missed.is_empty() {
            return Err(ownership::refusal_of(&ownership::of_places(&object, missed)));
        }
        let applied = match self.cluster.apply(place, &body, false).await {
            Err(CallError::Stale) => return Ok(None),
            Err(CallError::Owned { conflicts }) => return Err(ownership::refusal_of(&conflicts)),
            applied => typed(kind, &applied?)?,
        };
        let written = provision::write(&mut tx, &applied, author.actor).await?;
        tx.commit().await?;
        Ok(Some(written.revision))
    }

    /// Deletes a tenant's object, whatever protects it.
    async fn delete_tenant(&self, object: &DynamicObject) -> Result<(), CallError> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        self.cluster.allow_deletion(name).await?;
        let place = Place { kind: Kind::Tenant, namespace: "", name };
        self.cluster.delete(place, object.metadata.uid.clone(), None).await?;
        Ok(())
    }
}

#[async_trait]
impl ControlPlane for Kubernetes {
    async fn register(&self, registration: &Registration<'_>) -> Result<TenantId, Refusal> {
        registration::register(self, registration).await
    }

    async fn create(&self, author: &Author<'_>, resource: &Named<'_>, spec: &Value) -> Result<i64, Refusal> {
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        let place = Place { kind: resource.kind, namespace: &namespace, name: resource.name };
        let revision = self.make(&mut tx, author.actor, place, spec).await?;
        tx.commit().await?;
        Ok(revision)
    }

    async fn edit(
        &self,
        author: &Author<'_>,
        resource: &Named<'_>,
        patch: &Value,
        revision: Option<i64>,
    ) -> Result<i64, Refusal> {
        for _ in 0..ATTEMPTS {
            if let Some(revision) = self.try_edit(author, resource, patch, revision).await? {
                return Ok(revision);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Refusal::Unavailable { source: None })
    }

    async fn delete(&self, author: &Author<'_>, resource: &Named<'_>, revision: Option<i64>) -> Result<(), Refusal> {
        let kind = resource.kind;
        let mut tx = TenantTx::begin(&self.pool, author.tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        let locked = lock(&mut tx, resource, revision).await?;
        let object = match self.read(kind, &namespace, resource.name).await {
            // Its rows have outlived it.
            Err(Refusal::Store(store::Error::NotFound { .. })) => None,
            object => Some(object?),
        };
        if let Some(object) = &object {
            ownership::check_deletion(kind, object)?;
            // What has been changed since the caller looked is not deleted.
            let version = revision.and(object.metadata.resource_version.clone());
            let place = Place { kind, namespace: &namespace, name: resource.name };
            match kind {
                Kind::Tenant => self.delete_tenant(object).await?,
                Kind::Chatbot | Kind::KnowledgeSource => {
                    self.cluster.delete(place, object.metadata.uid.clone(), version).await?;
                }
            }
        }
        // The operator ends what is at work in a tenant before it deletes the rows, or keeps them.
        if kind == Kind::Tenant {
            return Ok(tx.commit().await?);
        }
        provision::delete(&mut tx, kind, resource.name, &locked, author.actor).await?;
        Ok(tx.commit().await?)
    }

    async fn managers(&self, tenant: TenantId, resource: &Named<'_>) -> Result<Option<Vec<Manager>>, Refusal> {
        let mut tx = TenantTx::begin(&self.pool, tenant).await?;
        let namespace = store::tenants::get(&mut tx).await?.name;
        tx.commit().await?;
        let object = self.read(resource.kind, &namespace, resource.name).await?;
        Ok(Some(ownership::managers(&object)))
    }

    async fn keep_up(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        registration::take_back_broken(self, now).await
    }
}

/// An intent as it is applied; `version`: only if the object is still at it.
fn body(place: Place<'_>, intent: Value, version: Option<&str>) -> Value {
    let mut body = intent;
    body["apiVersion"] = API_VERSION.into();
    body["kind"] = place.kind.name().into();
    body["metadata"]["name"] = place.name.into();
    if place.kind != Kind::Tenant {
        body["metadata"]["namespace"] = place.namespace.into();
    }
    if let Some(version) = version {
        body["metadata"]["resourceVersion"] = version.into();
    }
    // Nothing wanted is nothing owned.
    if body["spec"].as_object().is_none_or(serde_json::Map::is_empty) {
        body.as_object_mut().expect("it was just written to").remove("spec");
    }
    body
}

fn typed(kind: Kind, object: &DynamicObject) -> Result<Resource, Refusal> {
    let object = object.clone();
    let resource = match kind {
        Kind::Tenant => object.try_parse().map(Resource::Tenant),
        Kind::Chatbot => object.try_parse().map(Resource::Chatbot),
        Kind::KnowledgeSource => object.try_parse().map(Resource::KnowledgeSource),
    };
    resource.map_err(|source| Refusal::Cluster { source: Arc::new(source) })
}

fn has_namespace(object: &DynamicObject, namespace: &str) -> bool {
    object.clone().try_parse::<Tenant>().is_ok_and(|tenant| tenant.own_namespace() == namespace)
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Tenant => "tenant",
        Kind::Chatbot => "chatbot",
        Kind::KnowledgeSource => "knowledge source",
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Owned { conflicts } => ownership::refusal_of(&conflicts),
            CallError::Invalid { problems } => Self::Invalid { problems },
            CallError::Stale | CallError::Unavailable { .. } => Self::Unavailable { source: Some(Arc::new(error)) },
            CallError::Refused { .. } => Self::Cluster { source: Arc::new(error) },
        }
    }
}
