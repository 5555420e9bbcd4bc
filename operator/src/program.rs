//! From a configuration to controllers at work, and to their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use docbrain_core::provision::Provisioner;
use docbrain_core::store::runs::{RunEvent, RunEvents};
use docbrain_core::store::secrets::{RingSource, Secrets};
use docbrain_core::store::{self, Pool, schema};
use docbrain_crds::{Chatbot, KnowledgeSource, Tenant};
use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::context::{Applied, Backoff, Context, FIELD_MANAGER, Knowledge, news};
use crate::controller::{self, FirstPass, Kind, again, changes, heard, watched};
use crate::http::{self, Vitals};
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::secret_watch::{SecretName, SecretWatch};
use crate::{chatbot, knowledge_source, tenant};

/// The Lease that the operator which writes holds.
const LEASE: &str = "docbrain-operator";
/// Reconciles at a time. Each mostly waits for the API server or the database; more than these gain nothing on either
/// (docs/benchmarks.md).
const TENANTS: u16 = 16;
const CHATBOTS: u16 = 16;
const SOURCES: u16 = 16;
/// Before another attempt at a database that does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// How long reconciles may take to end once the operator is to stop. Kubernetes kills a pod 30 seconds after it asked.
const DRAIN: Duration = Duration::from_secs(20);

/// Reconciles until `stop`, or until another operator leads. It waits for the database and its schema.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut client_config = kube::Config::infer().await.context("no cluster: set KUBECONFIG, or run in a pod")?;
    // Pauses after failures are the controllers' own.
    client_config.default_retry = false;
    let any_client = Client::try_from(client_config.clone()).context("the cluster's configuration cannot be used")?;
    let metrics = Metrics::new();
    let ready = Arc::new(AtomicBool::new(false));
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let vitals = Vitals { metrics: metrics.clone(), ready: Arc::clone(&ready) };
    let all_done = CancellationToken::new();
    let serving = tokio::spawn(http::serve(listener, vitals, all_done.clone().cancelled_owned()));

    let owner = store::connect_later(config.database_url.expose_secret(), config.database_connections)?;
    let candidate = Candidate::new(any_client, &config.namespace, LEASE, config.identity.clone());
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = database(&owner) => {}
    }
    // Who stands by is ready, too: it could lead at any time.
    ready.store(true, Ordering::Relaxed);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), identity = config.identity, "waiting to lead");
    let leadership = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        leadership = candidate.acquire() => leadership,
    };
    tracing::info!("leading");
    metrics.leader.set(1);
    metrics.lease_transitions.inc();
    let client = leadership.client(client_config).context("the cluster's configuration cannot be used")?;
    let context = |tenants, chatbots, sources, jobs| Context {
        events: Recorder::new(
            client.clone(),
            Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(config.identity.clone()) },
        ),
        provisioner: Provisioner::new(owner.clone(), config.role_secret.clone()),
        secrets: Secrets::new(RingSource::Given(Arc::clone(&config.encryption_keys))),
        secret_watch: SecretWatch::new(client.clone()),
        backoff: Backoff::default(),
        schedules: Applied::default(),
        knowledge: Knowledge::default(),
        tenants_ready: news(),
        owner: owner.clone(),
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        client: client.clone(),
        config,
        tenants,
        chatbots,
        sources,
        jobs,
    };
    let drained_long_enough = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
        tracing::warn!("some reconciles did not end in time; the next operator does them again");
    };
    let lost = tokio::select! {
        ended = leadership.while_held(reconcile_all(context, stop.clone())) => ended.is_none(),
        () = candidate.keep(&leadership) => true,
        () = drained_long_enough => false,
    };
    metrics.leader.set(0);
    if !lost {
        candidate.release().await;
    }
    owner.close().await;
    all_done.cancel();
    let _ = serving.await;
    anyhow::ensure!(!lost, "the lease was lost: another operator leads");
    tracing::info!("stopped");
    Ok(())
}

/// Waits for a database with all migrations of this program.
async fn database(owner: &Pool) {
    loop {
        match schema::check_version(owner).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database and its schema");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs the three controllers. In the beginning each waits until the one before has seen all of its resources once: a
/// knowledge source needs its tenant, a chatbot its knowledge sources. Told that it is `done`, it ends what it has begun.
async fn reconcile_all(
    context: impl FnOnce(
        kube::runtime::reflector::Store<Tenant>,
        kube::runtime::reflector::Store<Chatbot>,
        kube::runtime::reflector::Store<KnowledgeSource>,
        kube::runtime::reflector::Store<Job>,
    ) -> Context,
    done: CancellationToken,
) {
    let (tenants, tenants_writer) = controller::store::<Tenant>();
    let (chatbots, chatbots_writer) = controller::store::<Chatbot>();
    let (sources, sources_writer) = controller::store::<KnowledgeSource>();
    let (jobs, jobs_writer) = controller::store::<Job>();
    let context = Arc::new(context(tenants.clone(), chatbots.clone(), sources.clone(), jobs));
    let (client, metrics) = (context.client.clone(), context.metrics.clone());

    let tenants_seen = FirstPass::over(tenants.clone());
    let tenants_controller =
        Controller::for_stream(changes(Api::all(client.clone()), metrics.clone(), tenants_writer), tenants.clone())
            .watches_stream(tenant::namespaces_going(client.clone()), |namespace| tenant::owner_of(&namespace))
            .reconcile_on(again(tenants.clone()));
    let tenants_run = controller::run(
        tenants_controller,
        Arc::clone(&context),
        TENANTS,
        Arc::clone(&tenants_seen),
        done.clone(),
        tenant::reconcile,
    );

    // The watches begin at once, so that the stores are filled while the tenants are made.
    let sources_seen = FirstPass::over(sources.clone());
    let of_jobs = watched(
        Api::<Job>::all(client.clone()),
        watcher::Config::default().labels(&knowledge_source::job_selector()).streaming_lists(),
        metrics.clone(),
        jobs_writer,
    );
    let run_news = news::<ObjectRef<KnowledgeSource>>();
    let sources_controller =
        Controller::for_stream(changes(Api::all(client.clone()), metrics.clone(), sources_writer), sources.clone())
            .watches_stream(of_jobs, |job| knowledge_source::of_job(&job))
            .reconcile_on(in_new_tenants::<KnowledgeSource>(&context, sources.clone()))
            .reconcile_on(asked_for(run_news.subscribe(), sources.clone()))
            .reconcile_on(by_secret(&context, knowledge_source::keyed_by))
            .reconcile_on(again(sources.clone()));
    let sources_run = async {
        done.run_until_cancelled(tenants_seen.is_over()).await;
        controller::run(
            sources_controller,
            Arc::clone(&context),
            SOURCES,
            Arc::clone(&sources_seen),
            done.clone(),
            knowledge_source::reconcile,
        )
        .await;
    };

    let by_knowledge = {
        let context = Arc::clone(&context);
        heard(context.knowledge.changes.subscribe()).flat_map(move |source| {
            stream::iter(match source {
                Some(source) => chatbot::naming(&context, &source),
                None => everything(&context.chatbots),
            })
        })
    };
    let chatbots_controller =
        Controller::for_stream(changes(Api::all(client.clone()), metrics.clone(), chatbots_writer), chatbots.clone())
            .reconcile_on(in_new_tenants::<Chatbot>(&context, chatbots.clone()))
            .reconcile_on(by_knowledge)
            .reconcile_on(by_secret(&context, chatbot::keyed_by))
            .reconcile_on(again(chatbots.clone()));
    let chatbots_run = async {
        done.run_until_cancelled(async { tokio::join!(tenants_seen.is_over(), sources_seen.is_over()) }).await;
        controller::run(
            chatbots_controller,
            Arc::clone(&context),
            CHATBOTS,
            FirstPass::over(chatbots.clone()),
            done.clone(),
            chatbot::reconcile,
        )
        .await;
    };
    tokio::join!(
        tenants_run,
        sources_run,
        chatbots_run,
        hear_of_runs(&context, &run_news, &done),
        count(&context, &done)
    );
}

/// What is in a namespace whose tenant has just become ready.
fn in_new_tenants<K: Kind>(
    context: &Context,
    store: kube::runtime::reflector::Store<K>,
) -> impl futures::Stream<Item = ObjectRef<K>> + Send + 'static {
    heard(context.tenants_ready.subscribe()).flat_map(move |namespace| {
        let inside = store.state_filter(|object| namespace.is_none() || object.namespace() == namespace);
        stream::iter(inside.iter().map(|object| ObjectRef::from_obj(&**object)).collect::<Vec<_>>())
    })
}

fn asked_for<K: Kind>(
    receiver: broadcast::Receiver<ObjectRef<K>>,
    store: kube::runtime::reflector::Store<K>,
) -> impl futures::Stream<Item = ObjectRef<K>> + Send + 'static {
    heard(receiver).flat_map(move |object| {
        stream::iter(match object {
            Some(object) => vec![object],
            None => everything(&store),
        })
    })
}

/// Resources that name a Secret which has changed.
fn by_secret<K: Kind>(
    context: &Arc<Context>,
    naming: fn(&Context, &SecretName) -> Vec<ObjectRef<K>>,
) -> impl futures::Stream<Item = ObjectRef<K>> + Send + 'static {
    let context = Arc::clone(context);
    heard(context.secret_watch.changes.subscribe()).flat_map(move |secret| {
        // Who missed one sees it at the next look: a rotation that is late is no loss of a change.
        stream::iter(secret.map(|secret| naming(&context, &secret)).unwrap_or_default())
    })
}

fn everything<K: Kind>(store: &kube::runtime::reflector::Store<K>) -> Vec<ObjectRef<K>> {
    store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}

/// Hears of runs that come and change; after a gap, of all that are due.
async fn hear_of_runs(
    context: &Context,
    news: &broadcast::Sender<ObjectRef<KnowledgeSource>>,
    done: &CancellationToken,
) {
    let tell = |namespace: &str, source: &str| {
        // The controller listens for as long as it runs.
        let _ = news.send(ObjectRef::new(source).within(namespace));
    };
    let hear = async {
        loop {
            let mut events = match RunEvents::listen(&context.owner).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot hear of runs, trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if let Err(error) = store::runs::due_by_name(&context.owner)
                .await
                .map(|due| due.iter().for_each(|(namespace, source)| tell(namespace, source)))
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for runs, trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            // A gap, or an error: listen anew, and look at what is due.
            while let Ok(RunEvent::Changed { namespace, source }) = events.next().await {
                tell(&namespace, &source);
            }
        }
    };
    tokio::select! {
        () = hear => {}
        () = done.cancelled() => {}
    }
}

/// Keeps the gauges.
async fn count(context: &Context, done: &CancellationToken) {
    const EVERY: Duration = Duration::from_secs(10);
    while tokio::time::timeout(EVERY, done.cancelled()).await.is_err() {
        gauge(context, "Tenant", &context.tenants);
        gauge(context, "Chatbot", &context.chatbots);
        gauge(context, "KnowledgeSource", &context.sources);
    }
}

fn gauge<K: Kind>(context: &Context, kind: &str, store: &kube::runtime::reflector::Store<K>) {
    let set = |gauge: &prometheus::IntGaugeVec, value: i64| gauge.with_label_values(&[kind]).set(value);
    set(&context.metrics.resources, i64::try_from(store.len()).unwrap_or(i64::MAX));
    let now = k8s_openapi::jiff::Timestamp::now();
    let going = store.state_filter(|object| object.meta().deletion_timestamp.is_some());
    let ages = going.iter().filter_map(|object| object.meta().deletion_timestamp.as_ref());
    set(&context.metrics.finalizer_age_seconds, ages.map(|since| (now - since.0).get_seconds()).max().unwrap_or(0));
}
