//! What the reconciles of all three kinds share: errors, finalizers, statuses, events.

use std::time::{Duration, Instant};

use docbrain_core::provision::ProvisionError;
use docbrain_core::store;
use docbrain_crds::{Condition, FORCE_FINALIZE};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::conditions::{Verdict, holds};
use crate::context::{Context, FIELD_MANAGER};

/// Why a reconcile is to be tried again. What a person has to mend is no error but a verdict.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused or was not reached.
    #[error("failed to {action}")]
    Kubernetes {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The rows could not be written.
    #[error("failed to provision")]
    Provision {
        /// Why.
        #[from]
        source: ProvisionError,
    },
    /// The database refused or was not reached.
    #[error("failed to use the database")]
    Store {
        /// What it said.
        #[from]
        source: store::Error,
    },
    /// It took too long.
    #[error("the reconcile took longer than {} seconds", limit.as_secs())]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// Another operator leads, or may.
    #[error("this operator does not lead any more")]
    NotLeading,
}

impl ReconcileError {
    /// What failed, as a label of metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "kubernetes",
            Self::Provision { .. } | Self::Store { .. } => "database",
            Self::TimedOut { .. } => "timeout",
            Self::NotLeading => "leadership",
        }
    }

    /// Whether the database could not be used, whatever is asked of it.
    pub fn is_of_the_database(&self) -> bool {
        self.label() == "database"
    }
}

/// What the API server says to a request that it refuses.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    message: String,
}

/// Names what was tried.
pub trait Doing<T> {
    /// As in `apply(…).await.doing("apply the Job")?`.
    fn doing(self, action: &'static str) -> Result<T, ReconcileError>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing(self, action: &'static str) -> Result<T, ReconcileError> {
        self.map_err(|error| ReconcileError::Kubernetes {
            action,
            source: match error {
                kube::Error::Api(status) => Box::new(Refused { message: status.message }),
                other => Box::new(other),
            },
        })
    }
}

/// Whether the API server says that it is there already, or has changed.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the API server says that it is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Now, as conditions tell it.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether somebody has given up on what cannot be reached.
pub fn is_forced(object: &impl ResourceExt) -> bool {
    object.annotations().get(FORCE_FINALIZE).is_some_and(|value| value == "true")
}

/// Puts the operator's finalizer on an object that lacks it. The reconcile goes on: nothing must be made before it is
/// there, and nothing is made by the event of its coming.
pub async fn ensure_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ReconcileError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    if object.finalizers().iter().any(|present| present == finalizer) {
        return Ok(());
    }
    change_finalizers(api, object, |finalizers| finalizers.push(finalizer.to_owned())).await
}

/// Takes the operator's finalizer from an object, so that it may go.
pub async fn remove_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ReconcileError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    if !object.finalizers().iter().any(|present| present == finalizer) {
        return Ok(());
    }
    change_finalizers(api, object, |finalizers| finalizers.retain(|present| present != finalizer)).await
}

/// The resource version makes sure that nobody else's finalizer is lost.
async fn change_finalizers<K>(
    api: &Api<K>,
    object: &K,
    change: impl FnOnce(&mut Vec<String>),
) -> Result<(), ReconcileError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.finalizers().to_vec();
    change(&mut finalizers);
    let patch = json!({
        "metadata": { "finalizers": finalizers, "resourceVersion": object.resource_version(), "uid": object.uid() }
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(&object.name_any(), &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error).doing("change the finalizers"),
    }
}

/// Server-side apply of what is the operator's alone.
pub async fn apply<K>(api: &Api<K>, desired: &K) -> Result<K, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    api.patch(&desired.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(desired))
        .await
        .doing("apply what belongs to a resource")
}

/// Writes a status if it is another than before, and tells of it in an event where the verdict has changed.
///
/// The whole status is replaced, by a JSON patch: it is the operator's alone, and server-side apply costs the API server more.
pub async fn report<K, S>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    (before, before_conditions): (Option<&S>, &[Condition]),
    status: &S,
    verdict: &Verdict,
) -> Result<(), ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize + PartialEq,
{
    if before == Some(status) {
        return Ok(());
    }
    let kind = K::kind(&());
    let started = Instant::now();
    // What another resource of that name is like is its own affair.
    let operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": object.uid() },
        { "op": "add", "path": "/status", "value": status },
    ]);
    let patch = Patch::<()>::Json(serde_json::from_value(operations).expect("it is a JSON patch"));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&object.name_any(), &params, &patch).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(error).doing("write the status"),
    }
    context.metrics.status_seconds.observe(started.elapsed().as_secs_f64());
    context.metrics.status_writes.with_label_values(&[&kind]).inc();

    let was_told = before_conditions.iter().any(|condition| {
        condition.type_ == "Ready"
            && condition.reason == verdict.words().0
            && holds(before_conditions, "Ready") == verdict.is_ready()
    });
    // That a new resource is ready is no news: ten thousand of them would be ten thousand events.
    let is_as_expected = before_conditions.is_empty() && verdict.is_ready();
    if !was_told && !is_as_expected {
        tell(context, object.object_ref(&()), verdict).await;
    }
    Ok(())
}

/// An event is help, not duty: what cannot be told is in the status all the same.
async fn tell(context: &Context, about: ObjectReference, verdict: &Verdict) {
    let (reason, message) = verdict.words();
    let event = Event {
        type_: if matches!(verdict, Verdict::Stalled { .. }) { EventType::Warning } else { EventType::Normal },
        reason: reason.to_owned(),
        note: Some(message.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.events.publish(&event, &about).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "an event was not recorded");
    }
}

/// A resource of a namespace by its name.
pub fn reference<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> ObjectRef<K> {
    ObjectRef::new(name).within(namespace)
}
