//! How the controllers run: streams of changes in, bounded reconciles, pauses after failures.

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use docbrain_core::provision::last_writer;
use docbrain_crds::GROUP;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::runtime::PredicateConfig;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, pause};
use crate::metrics::Metrics;
use crate::reconcile::ReconcileError;

/// Until every resource has been looked at again, though nothing happened to it.
const LOOK_AGAIN: Duration = Duration::from_mins(20);
/// How long one reconcile may take.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause before a broken watch is begun again. kube's own grow to a minute, for which the operator would be deaf after
/// a short outage of the API server; a handful of watches may ask more often than that.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Annotations that ask the operator for something begin so.
const OURS: &str = "docbrain.dev/";

/// A kind that a controller reconciles.
pub trait Kind: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

impl<K> Kind for K where K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

/// Watches all resources of a kind: into the store go all of them, out of the stream those that want a reconcile.
pub fn changes<K: Kind>(
    api: Api<K>,
    metrics: Metrics,
    writer: Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send {
    watched(api, watcher::Config::default().streaming_lists(), metrics, writer)
        .predicate_filter(wants_reconcile, PredicateConfig::default())
}

/// Watches into a store, without what nobody reads. Errors are counted and end here, after a pause of the watch that had them: kube's
/// `Controller` would pause everything that asks it for a reconcile.
pub fn watched<K: Kind>(
    api: Api<K>,
    config: watcher::Config,
    metrics: Metrics,
    writer: Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send {
    let kind = K::kind(&());
    watcher(api, config)
        .backoff(WatchPauses::default())
        .inspect(move |event| {
            if event.is_err() {
                metrics.watch_errors.with_label_values(&[&kind]).inc();
            }
        })
        .modify(prune)
        .reflect(writer)
        .applied_objects()
        .filter(|object| std::future::ready(object.is_ok()))
}

/// Pauses while a watch cannot be begun; counts its failures.
#[derive(Default)]
pub struct WatchPauses(u32);

impl Iterator for WatchPauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = pause(self.0, LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for WatchPauses {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Most of an object in memory is who owns its fields. Of our own kinds the author stays, for the audit log.
fn prune<K: Resource<DynamicType = ()>>(object: &mut K) {
    let author = last_writer(object.meta()).filter(|_| K::group(&()) == GROUP).map(str::to_owned);
    let author = author.map(|manager| vec![ManagedFieldsEntry { manager: Some(manager), ..Default::default() }]);
    object.meta_mut().managed_fields = author;
    if let Some(annotations) = object.meta_mut().annotations.as_mut() {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// The spec, its deletion, and what is asked of the operator by annotation. Not the status, which is the operator's, nor
/// finalizers: its own coming changes nothing.
#[expect(clippy::unnecessary_wraps, reason = "a predicate may have nothing to say")]
fn wants_reconcile<K: Resource>(object: &K) -> Option<u64> {
    let metadata = object.meta();
    let mut hash = DefaultHasher::new();
    (metadata.generation, metadata.deletion_timestamp.is_some()).hash(&mut hash);
    for (name, value) in metadata.annotations.iter().flatten().filter(|(name, _)| name.starts_with(OURS)) {
        (name, value).hash(&mut hash);
    }
    Some(hash.finish())
}

/// Says when every resource that there was in the beginning has been reconciled once.
pub struct FirstPass<K: Kind> {
    store: Store<K>,
    is_known: AtomicBool,
    seen: Mutex<HashSet<ObjectRef<K>>>,
    done: CancellationToken,
}

impl<K: Kind> FirstPass<K> {
    /// For the resources of this store.
    pub fn over(store: Store<K>) -> Arc<Self> {
        Arc::new(Self {
            store,
            is_known: AtomicBool::new(false),
            seen: Mutex::default(),
            done: CancellationToken::new(),
        })
    }

    /// Completes once the pass is over, or cannot be any more.
    pub async fn is_over(&self) {
        // An error means that the watch has ended, and the controller with it.
        if self.store.wait_until_ready().await.is_ok() {
            self.is_known.store(true, Ordering::Relaxed);
            self.check();
            self.done.cancelled().await;
        }
    }

    fn note(&self, object: &K) {
        if !self.done.is_cancelled() {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(ObjectRef::from_obj(object));
            self.check();
        }
    }

    fn check(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_known.load(Ordering::Relaxed) && seen.len() >= self.store.len() {
            self.done.cancel();
            *seen = HashSet::new();
        }
    }
}

/// Runs a controller until `stop`, then lets its reconciles end.
pub async fn run<K, F>(
    controller: Controller<K>,
    context: Arc<Context>,
    concurrency: u16,
    first_pass: Arc<FirstPass<K>>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Send + Sync + 'static,
) where
    K: Kind,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let kind = K::kind(&());
    let reconcile = Arc::new(reconcile);
    let watched = {
        let (kind, first_pass) = (kind.clone(), Arc::clone(&first_pass));
        move |object: Arc<K>, context: Arc<Context>| {
            let (reconcile, first_pass, kind) = (Arc::clone(&reconcile), Arc::clone(&first_pass), kind.clone());
            async move {
                let started = Instant::now();
                let outcome = if context.leadership.holds() {
                    let work = tokio::time::timeout(LONGEST, reconcile(Arc::clone(&object), Arc::clone(&context)));
                    work.await.unwrap_or(Err(ReconcileError::TimedOut { limit: LONGEST }))
                } else {
                    Err(ReconcileError::NotLeading)
                };
                context.metrics.reconciled(&kind, outcome.is_ok(), started.elapsed());
                if outcome.is_ok() {
                    context.backoff.reset(&object.uid().unwrap_or_default());
                }
                first_pass.note(&object);
                outcome
            }
        }
    };
    let after_failure = {
        let kind = kind.clone();
        move |object: Arc<K>, error: &ReconcileError, context: Arc<Context>| {
            let pause = context.backoff.after_failure(&object.uid().unwrap_or_default());
            context.metrics.errors.with_label_values(&[&*kind, error.label()]).inc();
            tracing::warn!(
                kind = &*kind,
                namespace = object.namespace().unwrap_or_default(),
                name = object.name_any(),
                error = error as &dyn std::error::Error,
                again_in = ?pause,
                "reconcile failed"
            );
            Action::requeue(pause)
        }
    };
    let stopped_before_it_began = {
        let (stop, store) = (stop.clone(), first_pass.store.clone());
        async move {
            stop.cancelled().await;
            // It waits for the resources first, and would wait for ever.
            if store.wait_until_ready().now_or_never().is_some() {
                std::future::pending::<()>().await;
            }
        }
    };
    let running = controller
        .with_config(Config::default().concurrency(concurrency))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(watched, after_failure, context)
        .for_each(|_| std::future::ready(()));
    tokio::select! {
        () = running => {}
        () = stopped_before_it_began => {}
    }
}

/// Asks for every resource once in a while, one after the other, so that they do not come together. A queue of all of them in
/// memory would be as large as their names.
pub fn again<K: Kind>(store: Store<K>) -> impl Stream<Item = ObjectRef<K>> + Send {
    futures::stream::unfold((store, Vec::<Arc<K>>::new(), LOOK_AGAIN), |(store, mut round, mut pause)| async move {
        loop {
            tokio::time::sleep(pause).await;
            if let Some(object) = round.pop() {
                return Some((ObjectRef::from_obj(&*object), (store, round, pause)));
            }
            round = store.state();
            pause = LOOK_AGAIN.checked_div(round.len().try_into().unwrap_or(u32::MAX)).unwrap_or(LOOK_AGAIN);
        }
    })
}

/// Turns news on a channel into requests; who missed some is told by `None`.
pub fn heard<T: Clone + Send + 'static>(
    receiver: tokio::sync::broadcast::Receiver<T>,
) -> impl Stream<Item = Option<T>> + Send {
    futures::stream::unfold(receiver, |mut receiver| async {
        match receiver.recv().await {
            Ok(news) => Some((Some(news), receiver)),
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => Some((None, receiver)),
            Err(tokio::sync::broadcast::error::RecvError::Closed) => None,
        }
    })
}

/// An empty store and who fills it.
pub fn store<K: Kind>() -> (Store<K>, Writer<K>) {
    reflector::store()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_watch_is_begun_again_within_seconds() {
        let mut pauses = WatchPauses::default();
        let first: Vec<Duration> = pauses.by_ref().take(20).collect();
        assert!(first[0] <= Duration::from_millis(600) && first[1] > first[0], "{first:?}");
        assert!(first.iter().all(|pause| *pause <= Duration::from_secs(6)), "{first:?}");
        pauses.reset();
        assert!(pauses.next().unwrap() <= Duration::from_millis(600));
    }
}
