//! A cluster, a database and the operator between them, shared by the tests of a lab.
//!
//! Tests that leave the operator alone run beside each other, each with tenants of its own. Those that kill it, its database
//! or its API server have a lab of their own, and run alone.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use docbrain_core::store::TenantTx;
use docbrain_core::store::{self, Pool, bootstrap, runs, tenants};
use docbrain_crds::{Chatbot, Condition, KnowledgeSource, Tenant};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::discovery::ApiResource;
use kube::discovery::Scope;
use kube::{Client, Resource, ResourceExt};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::sync::Mutex;

mod cluster;
mod gate;
mod kubelet;
mod operator;

pub(crate) use cluster::{Request, output, root};
pub(crate) use kubelet::Fate;
pub(crate) use operator::{Metrics, NAMESPACE, Operator};

use cluster::Cluster;
use gate::Gate;
use kubelet::Kubelet;

const ROLE_SECRET: &str = "a role secret of the tests, long enough";
/// 32 bytes.
pub(crate) const ENCRYPTION_KEYS: &str = "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(30);
/// The operator that all tests of a lab share.
pub(crate) const OPERATOR: &str = "docbrain-operator-0";

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());
static TURN: RwLock<()> = RwLock::new(());

type Test = Pin<Box<dyn Future<Output = ()>>>;

/// Runs a test beside others, with the operator at work.
pub(crate) fn beside_others(test: impl FnOnce(&'static Lab) -> Test) {
    static LAB: OnceLock<Option<Lab>> = OnceLock::new();
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let Some(lab) = LAB.get_or_init(|| RUNTIME.block_on(Lab::start("shared"))) else { return };
    RUNTIME.block_on(async {
        lab.ensure_operator().await;
        test(lab).await;
    });
}

/// Runs a test alone, in the lab of this name; the operator is the test's business.
pub(crate) fn alone(name: &str, test: impl FnOnce(&'static Lab) -> Test) {
    static LABS: OnceLock<std::sync::Mutex<Vec<(String, Option<&'static Lab>)>>> = OnceLock::new();
    let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
    let mut labs = LABS.get_or_init(std::sync::Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let lab = match labs.iter().find(|(of, _)| of == name) {
        Some((_, lab)) => *lab,
        None => {
            let lab = RUNTIME.block_on(Lab::start(name)).map(|lab| &*Box::leak(Box::new(lab)));
            labs.push((name.to_owned(), lab));
            lab
        }
    };
    drop(labs);
    if let Some(lab) = lab {
        RUNTIME.block_on(test(lab));
    }
}

pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    /// The database as the operator sees it.
    pub(crate) owner: Pool,
    /// The database as nobody sees it: all tenants' rows at once.
    pub(crate) everything: Pool,
    /// Between the operator and the database.
    pub(crate) gate: Gate,
    pub(crate) kubelet: Kubelet,
    operator: Mutex<Option<Operator>>,
}

impl Lab {
    async fn start(name: &str) -> Option<Self> {
        // Where time is measured, nobody takes notes.
        let cluster = Cluster::start(name, name != "scale")?;
        let client = cluster.client().await;
        let (everything, owner) = database(name).await;
        let gate = Gate::to((*owner.connect_options()).clone()).await;
        let kubelet = Kubelet::at_work(client.clone(), owner.clone());
        let lab = Self { cluster, client, owner, everything, gate, kubelet, operator: Mutex::default() };
        for definition in docbrain_crds::definitions() {
            lab.put(&serde_json::to_value(&definition).unwrap()).await;
        }
        lab.eventually("the definitions are established", async || {
            let definitions = Api::<
                k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
            >::all(lab.client.clone());
            let all = definitions.list(&kube::api::ListParams::default()).await.ok()?;
            let established = all.iter().filter(|definition| {
                let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
                conditions.clone().any(|condition| condition.type_ == "Established" && condition.status == "True")
            });
            (established.count() >= 3).then_some(())
        })
        .await;
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        lab.put(&namespace).await;
        Some(lab)
    }

    /// Where the operator finds its database.
    pub(crate) fn database_url(&self) -> String {
        let mut url = self.owner.connect_options().to_url_lossy();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.gate.port)).unwrap();
        // It names the folder of a socket, where Postgres listens on one.
        url.set_query(None);
        url.to_string()
    }

    /// A kubeconfig of a ServiceAccount with this name, which may do anything unless it is told otherwise.
    pub(crate) async fn kubeconfig_of(&self, identity: &str, is_admin: bool) -> PathBuf {
        let path = self.cluster.folder.join(format!("{identity}.conf"));
        if path.exists() {
            return path;
        }
        let metadata = json!({ "name": identity, "namespace": NAMESPACE });
        self.put(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })).await;
        if is_admin {
            let rbac = "rbac.authorization.k8s.io";
            self.put(&json!({
                "apiVersion": format!("{rbac}/v1"),
                "kind": "ClusterRoleBinding",
                "metadata": { "name": identity },
                "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin" },
                "subjects": [{ "kind": "ServiceAccount", "name": identity, "namespace": NAMESPACE }],
            }))
            .await;
        }
        let accounts: Api<ServiceAccount> = self.api(NAMESPACE);
        let (params, request) = (PostParams::default(), TokenRequest::default());
        let token = accounts.create_token_request(identity, &params, &request).await.unwrap().status.unwrap().token;
        let mut kubeconfig = serde_json::to_value(&self.cluster.kubeconfig).unwrap();
        for user in kubeconfig["users"].as_array_mut().unwrap() {
            user["user"] = json!({ "token": token });
        }
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// Starts the operator that the tests of the lab share, if it is not at work.
    pub(crate) async fn ensure_operator(&self) {
        let mut operator = self.operator.lock().await;
        if operator.as_mut().is_none_or(Operator::has_ended) {
            *operator = Some(self.start_operator(OPERATOR).await);
        }
    }

    /// Starts an operator and waits until it leads.
    pub(crate) async fn start_operator(&self, identity: &str) -> Operator {
        let operator = Operator::start(self, identity, &[]).await;
        self.eventually("the operator leads", async || operator.leads().await.then_some(())).await;
        operator
    }

    /// The numbers of the shared operator.
    pub(crate) async fn metrics(&self) -> Metrics {
        self.operator.lock().await.as_ref().unwrap().metrics().await
    }

    /// `kubectl` with these words; what it prints.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        let output = std::process::Command::new(&self.cluster.kubectl)
            .arg("--kubeconfig")
            .arg(&self.cluster.path)
            .arg("--cache-dir")
            .arg(self.cluster.folder.join("kubectl"))
            .args(words)
            .output()
            .unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        if output.status.success() { Ok(out) } else { Err(format!("{err}{out}")) }
    }

    /// Applies one resource.
    pub(crate) async fn put(&self, resource: &Value) -> DynamicObject {
        self.try_put(resource).await.unwrap_or_else(|error| panic!("{error}: {resource}"))
    }

    pub(crate) async fn try_put(&self, resource: &Value) -> Result<DynamicObject, kube::Error> {
        let object: DynamicObject = serde_json::from_value(resource.clone()).unwrap();
        let types = object.types.as_ref().unwrap();
        let gvk = kube::core::GroupVersionKind::try_from(types).unwrap();
        // Where the plural is not the kind with an s, discovery would be needed.
        let plural = match &*gvk.kind {
            kind if kind.ends_with('y') => format!("{}ies", kind[..kind.len() - 1].to_lowercase()),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let kind = ApiResource::from_gvk_with_plural(&gvk, &plural);
        let scope = if object.metadata.namespace.is_some() { Scope::Namespaced } else { Scope::Cluster };
        let api: Api<DynamicObject> = match scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &object.namespace().unwrap(), &kind),
            Scope::Cluster => Api::all_with(self.client.clone(), &kind),
        };
        api.patch(&object.name_any(), &PatchParams::apply("a-person"), &Patch::Apply(resource)).await
    }

    pub(crate) fn tenants(&self) -> Api<Tenant> {
        Api::all(self.client.clone())
    }

    pub(crate) fn chatbots(&self, namespace: &str) -> Api<Chatbot> {
        self.api(namespace)
    }

    pub(crate) fn sources(&self, namespace: &str) -> Api<KnowledgeSource> {
        self.api(namespace)
    }

    pub(crate) fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A tenant that is ready.
    pub(crate) async fn tenant(&self, name: &str) {
        self.put(&tenant(name)).await;
        self.ready(&self.tenants(), name).await;
    }

    /// Waits until a resource is ready, as kstatus judges it.
    pub(crate) async fn ready<K: Judged>(&self, api: &Api<K>, name: &str) -> K {
        self.judged(api, name, "Ready=True", |object| object.verdict() == "Ready").await
    }

    /// Waits until a resource is stalled for this reason.
    pub(crate) async fn stalled<K: Judged>(&self, api: &Api<K>, name: &str, reason: &str) -> K {
        let verdict = format!("Stalled/{reason}");
        self.judged(api, name, &verdict, |object| object.verdict() == verdict).await
    }

    /// Waits until a resource is as it should be.
    pub(crate) async fn judged<K: Judged>(
        &self,
        api: &Api<K>,
        name: &str,
        what: &str,
        is_so: impl Fn(&K) -> bool,
    ) -> K {
        let last = std::sync::Mutex::new(String::new());
        let found = self
            .try_eventually(PATIENCE, async || {
                let object = api.get_opt(name).await.ok()??;
                let so = is_so(&object);
                *last.lock().unwrap() = format!("{} {:?}", object.verdict(), object.conditions());
                so.then_some(object)
            })
            .await;
        found.unwrap_or_else(|| panic!("{} {name} does not become {what}: {}", K::kind(&()), last.lock().unwrap()))
    }

    /// Waits until a resource is gone.
    pub(crate) async fn gone<K>(&self, api: &Api<K>, name: &str)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let what = format!("{} {name} is gone", K::kind(&()));
        self.eventually(&what, async || api.get_opt(name).await.ok()?.is_none().then_some(())).await;
    }

    pub(crate) async fn eventually<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        self.within(PATIENCE, what, look).await
    }

    /// Looks again and again until there is something to be seen.
    pub(crate) async fn within<T>(&self, limit: Duration, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let found = self.try_eventually(limit, look).await;
        found.unwrap_or_else(|| panic!("not within {limit:?}: {what}; see {}", self.cluster.folder.display()))
    }

    pub(crate) async fn try_eventually<T>(&self, limit: Duration, look: impl AsyncFn() -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = look().await {
                return Some(found);
            }
            if Instant::now() > end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A number that the database tells of all tenants.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&self.everything).await.unwrap()
    }

    /// A text that the database tells of all tenants.
    pub(crate) async fn text(&self, query: &str) -> Option<String> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_optional(&self.everything).await.unwrap()
    }

    /// A transaction of the tenant whose namespace this is.
    pub(crate) async fn begin(&self, namespace: &str) -> TenantTx {
        let tenant = tenants::named(&self.owner, namespace).await.unwrap().unwrap();
        TenantTx::begin(&self.owner, tenant).await.unwrap()
    }

    /// How a knowledge source's runs stand.
    pub(crate) async fn standing(&self, namespace: &str, source: &str) -> runs::Standing {
        let mut tx = self.begin(namespace).await;
        let id = store::sources::by_name(&mut tx, source).await.unwrap().id;
        runs::standing(&mut tx, id).await.unwrap()
    }
}

/// A resource with conditions.
pub(crate) trait Judged: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug {
    fn seen(&self) -> Option<i64>;
    fn conditions(&self) -> Vec<Condition>;

    fn condition(&self, type_: &str) -> Option<Condition> {
        self.conditions().into_iter().find(|condition| condition.type_ == type_)
    }

    /// `Ready`, `Stalled/<reason>` or `InProgress`, by the rules of kstatus.
    fn verdict(&self) -> String {
        let holds = |type_| self.condition(type_).filter(|found| found.status == docbrain_crds::ConditionStatus::True);
        if self.meta().deletion_timestamp.is_some() || self.seen() != self.meta().generation {
            "InProgress".to_owned()
        } else if let Some(stalled) = holds("Stalled") {
            format!("Stalled/{}", stalled.reason)
        } else if holds("Reconciling").is_some() || holds("Ready").is_none() {
            "InProgress".to_owned()
        } else {
            "Ready".to_owned()
        }
    }
}

macro_rules! judged {
    ($($kind:ty),*) => {$(
        impl Judged for $kind {
            fn seen(&self) -> Option<i64> {
                self.status.as_ref()?.observed_generation
            }

            fn conditions(&self) -> Vec<Condition> {
                self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
            }
        }
    )*};
}

judged!(Tenant, Chatbot, KnowledgeSource);

/// The resources of a YAML text.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let parts = yaml.split("\n---\n").filter(|part| !part.trim().is_empty());
    parts.map(|part| serde_saphyr::from_str(part).unwrap()).collect()
}

pub(crate) fn tenant(name: &str) -> Value {
    resource("Tenant", "", name, &json!({ "displayName": name }))
}

/// A resource of DocBrain; without a namespace where that is empty.
pub(crate) fn resource(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    let metadata =
        if namespace.is_empty() { json!({ "name": name }) } else { json!({ "name": name, "namespace": namespace }) };
    json!({ "apiVersion": "docbrain.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec })
}

/// A site that a run would crawl.
pub(crate) fn site(namespace: &str, name: &str) -> Value {
    resource(
        "KnowledgeSource",
        namespace,
        name,
        &json!({ "source": { "web": { "startUrls": ["https://docs.example/"] } } }),
    )
}

/// A database of its own, as its superuser and as the operator sees it. Those of processes that are no more go.
async fn database(lab: &str) -> (Pool, Pool) {
    const PREFIX: &str = "docbrain_operator_test";
    let url =
        std::env::var("DATABASE_URL").expect("DATABASE_URL names a Postgres of the tests; `make test` starts one");
    let superuser = store::connect(&url, 2).await.unwrap();
    let left: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("select datname from pg_database where datname like '{PREFIX}%'")))
            .fetch_all(&superuser)
            .await
            .unwrap();
    for name in left {
        let id = name.rsplit('_').next().unwrap();
        if !std::path::Path::new("/proc").join(id).exists() {
            // Another process may do the same at this moment.
            let _ = execute(&superuser, format!("drop database if exists {name} with (force)")).await;
        }
    }
    let name = format!("{PREFIX}_{lab}_{}", std::process::id());
    let password = SecretString::from("secret");
    bootstrap::create_database(&superuser, &name, &password, &name).await.unwrap();
    // The first owner of a server makes these roles and may give them away; another one is given them.
    for role in ["docbrain_definer", "docbrain_api", "docbrain_ingest"] {
        let _ = execute(&superuser, format!("create role {role} nologin")).await;
        execute(&superuser, format!("grant {role} to {name} with admin option")).await.unwrap();
    }
    let server: PgConnectOptions = url.parse().unwrap();
    let inside = server.clone().database(&name).to_url_lossy().to_string();
    let everything = store::connect(&inside, 4).await.unwrap();
    let own = server.database(&name).username(&name).password(password.expose_secret()).to_url_lossy().to_string();
    let owner = store::connect(&own, 8).await.unwrap();
    store::migrate(&owner).await.unwrap();
    superuser.close().await;
    (everything, owner)
}

async fn execute(pool: &Pool, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.map(drop)
}
