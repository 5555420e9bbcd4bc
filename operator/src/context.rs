//! What every reconcile works with, and what controllers tell each other.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use docbrain_core::provision::Provisioner;
use docbrain_core::store::Pool;
use docbrain_core::store::secrets::Secrets;
use docbrain_crds::{Chatbot, KnowledgeSource, Tenant};
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::config::Config;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::secret_watch::SecretWatch;

/// News that wait for a slow listener; one that misses some looks at everything again.
const NEWS: usize = 4096;
/// The first pause after a failure, and the longest of a resource.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// While something that was applied is not applied again.
const FRESH: Duration = Duration::from_mins(1);

/// Who the operator is to the API server: owner of status, finalizers and what it makes.
pub const FIELD_MANAGER: &str = "docbrain-operator";

/// What every reconcile works with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the environment says.
    pub config: Config,
    /// The database, as the owner of the schema.
    pub owner: Pool,
    /// Specs to rows.
    pub provisioner: Provisioner,
    /// What tenants keep secret.
    pub secrets: Secrets,
    /// Tells people what happened (`kubectl describe`).
    pub events: Recorder,
    /// Numbers.
    pub metrics: Metrics,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// The resources as they were last seen.
    pub tenants: Store<Tenant>,
    /// See `tenants`.
    pub chatbots: Store<Chatbot>,
    /// See `tenants`.
    pub sources: Store<KnowledgeSource>,
    /// The Jobs of ingestion runs as they were last seen.
    pub jobs: Store<Job>,
    /// Pauses after failures.
    pub backoff: Backoff,
    /// Schedules that were applied lately.
    pub schedules: Applied,
    /// Which knowledge sources can answer.
    pub knowledge: Knowledge,
    /// Namespaces whose tenant has just become ready, been suspended, or been let go on.
    pub tenants_ready: broadcast::Sender<String>,
    /// Looks at Secrets that chatbots and knowledge sources name.
    pub secret_watch: SecretWatch,
}

impl Context {
    /// Resources of a namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Resources of the whole cluster.
    pub fn cluster<K>(&self) -> Api<K>
    where
        K: Resource,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    /// The Tenant whose namespace this is, or is to be, so far as the API server knows one. Any Tenant may claim any
    /// namespace: who has it comes before those that only claim it.
    pub fn tenant_of(&self, namespace: &str) -> Option<Arc<Tenant>> {
        let has =
            |tenant: &Tenant| tenant.status.as_ref().and_then(|status| status.namespace.as_deref()) == Some(namespace);
        let claims = self.tenants.state_filter(|tenant| tenant.own_namespace() == namespace);
        claims.iter().find(|tenant| has(tenant)).or(claims.first()).cloned()
    }

    /// Whether the tenant of a namespace is suspended, and all that it has.
    pub fn is_suspended(&self, namespace: &str) -> bool {
        self.tenant_of(namespace).is_some_and(|tenant| tenant.spec.suspended)
    }
}

/// A channel for news.
pub fn news<T: Clone>() -> broadcast::Sender<T> {
    broadcast::Sender::new(NEWS)
}

/// Which knowledge sources can answer, as their reconciles found; chatbots that name one hear of a change.
pub struct Knowledge {
    ready: Mutex<HashMap<ObjectRef<KnowledgeSource>, bool>>,
    /// Knowledge sources that can answer now and could not before, or the other way round.
    pub changes: broadcast::Sender<ObjectRef<KnowledgeSource>>,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self { ready: Mutex::default(), changes: news() }
    }
}

impl Knowledge {
    /// Notes what a reconcile found; `None`: the knowledge source is gone.
    pub fn note(&self, source: ObjectRef<KnowledgeSource>, is_ready: Option<bool>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match is_ready {
            Some(is_ready) => ready.insert(source.clone(), is_ready),
            None => ready.remove(&source),
        };
        if before != is_ready {
            // Nobody listens before the chatbots' controller runs, which looks at all of them then.
            let _ = self.changes.send(source);
        }
    }

    /// Whether it can answer; `None`: not known.
    pub fn of(&self, source: &ObjectRef<KnowledgeSource>) -> Option<bool> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).get(source).copied()
    }
}

/// The pause after one more failure than these: it doubles with each up to the longest, with jitter.
pub fn pause(failures: u32, longest: Duration) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(longest).mul_f64(rand::random_range(0.8..1.2))
}

/// Pauses that double with each failure of one resource (with jitter, so that a herd does not come back at once).
#[derive(Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// The pause after one more failure.
    pub fn after_failure(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        let pause = pause(*count, LONGEST_PAUSE);
        *count += 1;
        pause
    }

    /// Forgets the failures of a resource.
    pub fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What was applied lately. While a run is at work its source is looked at every few seconds, which changes nothing but the
/// status.
#[derive(Default)]
pub struct Applied(Mutex<HashMap<String, (u64, Instant)>>);

impl Applied {
    /// Whether just this was applied for the resource of this uid a moment ago.
    pub fn is_fresh(&self, uid: &str, desired: &impl Serialize) -> bool {
        let applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(uid).is_some_and(|(hash, at)| *hash == hash_of(desired) && at.elapsed() < FRESH)
    }

    /// Notes that this was applied.
    pub fn note(&self, uid: &str, desired: &impl Serialize) {
        let mut applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.insert(uid.to_owned(), (hash_of(desired), Instant::now()));
    }

    /// Forgets a resource.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn hash_of(desired: &impl Serialize) -> u64 {
    let mut hash = DefaultHasher::new();
    serde_json::to_vec(desired).expect("objects of Kubernetes are JSON").hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_is_fresh_until_it_is_to_be_another() {
        let applied = Applied::default();
        assert!(!applied.is_fresh("a", &"hourly"));
        applied.note("a", &"hourly");
        assert!(applied.is_fresh("a", &"hourly"));
        assert!(!applied.is_fresh("a", &"daily"));
        assert!(!applied.is_fresh("b", &"hourly"));
        applied.forget("a");
        assert!(!applied.is_fresh("a", &"hourly"));
    }

    #[test]
    fn pauses_double_up_to_a_cap_and_begin_again_after_success() {
        let backoff = Backoff::default();
        let pauses: Vec<f64> = (0..12).map(|_| backoff.after_failure("a").as_secs_f64()).collect();
        assert!(pauses[0] <= 0.6 && pauses[3] >= 3.2 && pauses[11] <= 36.0, "{pauses:?}");
        assert!(backoff.after_failure("b").as_secs_f64() <= 0.6);
        backoff.reset("a");
        assert!(backoff.after_failure("a").as_secs_f64() <= 0.6);
    }
}
