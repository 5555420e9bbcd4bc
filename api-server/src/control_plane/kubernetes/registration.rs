//! A tenant with its first admin: an object that the operator provisions, then rows and objects, all of it or nothing.
//!
//! Until all of it is there the tenant's object carries a label, so that a registration that broke off with its process is
//! found and taken back.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use docbrain_core::ids::TenantId;
use docbrain_core::provision::{self, ProvisionError};
use docbrain_core::store::accounts;
use docbrain_core::store::specs::Origin;
use docbrain_core::store::{self, TenantTx, tenants};
use docbrain_crds::manifest::{self, Kind};
use docbrain_crds::{MANAGED_BY_LABEL, REGISTRATION_LABEL, TENANT_LABEL, Tenant};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::cluster::{CallError, Place};
use super::{Kubernetes, body, ownership};
use crate::control_plane::{FIRST_CHATBOT, FIRST_SOURCE, Refusal, Registration, first_chatbot, first_source};

/// How long the operator may take for a new tenant.
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(150);
/// A registration that has not ended by then will not.
const LONGEST: TimeDelta = TimeDelta::minutes(10);

/// Makes it.
pub(super) async fn register(plane: &Kubernetes, registration: &Registration<'_>) -> Result<TenantId, Refusal> {
    if accounts::by_email(&plane.pool, registration.account.email).await?.is_some() {
        return Err(store::Error::Taken { what: "e-mail" }.into());
    }
    let tenant = claim(plane, registration).await?;
    match settle(plane, registration, &tenant).await {
        Ok(id) => {
            // Left over, the label is taken away by `take_back_broken`.
            if let Err(error) = plane.cluster.apply(place(registration.tenant), &whole(registration), false).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a tenant keeps the label of its registration"
                );
            }
            Ok(id)
        }
        Err(refusal) => {
            if let Err(error) = take_back(plane, &tenant).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a registration is taken back later");
            }
            Err(refusal)
        }
    }
}

/// Makes the tenant's object, if neither it nor anything of its name is there.
async fn claim(plane: &Kubernetes, registration: &Registration<'_>) -> Result<DynamicObject, Refusal> {
    let name = registration.tenant;
    let exists = || Refusal::from(ProvisionError::Exists { kind: Kind::Tenant });
    let spec = spec(registration);
    manifest::resource_of(Kind::Tenant, name, name, &spec).map_err(ProvisionError::from)?;
    // Of two at the same time, the second finds the first one's object.
    let mut tx = TenantTx::begin(&plane.pool, TenantId::new()).await?;
    store::specs::claim(&mut tx, Kind::Tenant, name).await?;
    // A namespace that is there already is not a stranger's to have.
    if tenants::named(&plane.pool, name).await?.is_some() || plane.cluster.namespace(name).await?.is_some() {
        return Err(exists());
    }
    let labels = json!({ MANAGED_BY_LABEL: "dashboard", REGISTRATION_LABEL: "pending" });
    let made = plane.apply_new(place(name), &labels, &spec).await?;
    tx.commit().await?;
    Ok(made)
}

/// Waits for the operator, and makes the rest.
async fn settle(
    plane: &Kubernetes,
    registration: &Registration<'_>,
    tenant: &DynamicObject,
) -> Result<TenantId, Refusal> {
    let name = registration.tenant;
    let id = provisioned(plane, name, tenant).await?;
    let mut tx = TenantTx::begin(&plane.pool, id).await?;
    registration.admit(&mut tx).await?;
    let actor = registration.actor();
    let at = |kind, name| Place { kind, namespace: registration.tenant, name };
    plane.make(&mut tx, &actor, at(Kind::KnowledgeSource, FIRST_SOURCE), &first_source()).await?;
    plane.make(&mut tx, &actor, at(Kind::Chatbot, FIRST_CHATBOT), &first_chatbot(registration.display_name)).await?;
    tx.commit().await?;
    tracing::info!(tenant.id = %id, tenant.name = name, "a tenant has registered");
    Ok(id)
}

/// The tenant's id, once its row is of this very object and its namespace is there.
async fn provisioned(plane: &Kubernetes, name: &str, tenant: &DynamicObject) -> Result<TenantId, Refusal> {
    let origin = provision::origin_of(&tenant.metadata);
    let started = Instant::now();
    loop {
        if let Some(id) = tenants::named(&plane.pool, name).await?
            && row_of(plane, id, name).await?.is_some_and(|row| row.uid == origin.uid)
            && has_namespace(plane, name).await?
        {
            return Ok(id);
        }
        if started.elapsed() > PATIENCE {
            return Err(Refusal::NoOperator);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

async fn row_of(plane: &Kubernetes, id: TenantId, name: &str) -> Result<Option<Origin>, Refusal> {
    let mut tx = TenantTx::begin(&plane.pool, id).await?;
    match store::specs::lock(&mut tx, Kind::Tenant, name).await {
        Ok(locked) => Ok(Some(locked.origin)),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn has_namespace(plane: &Kubernetes, tenant: &str) -> Result<bool, CallError> {
    let namespace = plane.cluster.namespace(tenant).await?;
    let is_whole = namespace.filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    let labels = is_whole.and_then(|namespace| namespace.metadata.labels);
    Ok(labels.is_some_and(|labels| labels.get(TENANT_LABEL).is_some_and(|name| name == tenant)))
}

/// Deletes a tenant with all that it has.
async fn take_back(plane: &Kubernetes, tenant: &DynamicObject) -> Result<(), CallError> {
    let mut intent = ownership::own_intent(tenant);
    intent["spec"]["deletionPolicy"] = "Delete".into();
    let name = tenant.metadata.name.as_deref().unwrap_or_default();
    plane.cluster.apply(place(name), &body(place(name), intent, None), false).await?;
    plane.delete_tenant(tenant).await
}

/// Takes back what registrations that broke off have left.
pub(super) async fn take_back_broken(plane: &Kubernetes, now: DateTime<Utc>) -> Result<(), Refusal> {
    for tenant in plane.cluster.tenants(Some(&format!("{REGISTRATION_LABEL}=pending"))).await? {
        let created = tenant
            .metadata
            .creation_timestamp
            .as_ref()
            .and_then(|time| DateTime::from_timestamp(time.0.as_second(), 0));
        let is_over = created.is_some_and(|created| now - created > LONGEST);
        // What has got another manager has got somebody who wants it.
        let is_wanted = ownership::others(&tenant).next().is_some();
        if !is_over || is_wanted || tenant.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let name = tenant.metadata.name.clone().unwrap_or_default();
        let Ok(typed) = tenant.clone().try_parse::<Tenant>() else { continue };
        let usage = tenants::usage(&plane.pool, Some(typed.own_namespace())).await?;
        if usage.iter().any(|tenant| tenant.members > 0) {
            let mut intent = ownership::own_intent(&tenant);
            if let Some(labels) = intent["metadata"]["labels"].as_object_mut() {
                labels.remove(REGISTRATION_LABEL);
            }
            plane.cluster.apply(place(&name), &body(place(&name), intent, None), false).await?;
        } else {
            take_back(plane, &tenant).await?;
            tracing::info!(tenant.name = name, "a registration that broke off is taken back");
        }
    }
    Ok(())
}

fn place(name: &str) -> Place<'_> {
    Place { kind: Kind::Tenant, namespace: "", name }
}

fn spec(registration: &Registration<'_>) -> Value {
    json!({ "displayName": registration.display_name })
}

/// The whole intent for a tenant whose registration has ended.
fn whole(registration: &Registration<'_>) -> Value {
    let labels = json!({ MANAGED_BY_LABEL: "dashboard" });
    let intent = json!({ "metadata": { "labels": labels }, "spec": spec(registration) });
    body(place(registration.tenant), intent, None)
}
