//! A real API server of Kubernetes for tests (`DOCBRAIN_TEST_APISERVER`, as `tools/cluster/up.sh api` starts one), emptied
//! for each of them, and what stands in for the operator.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use docbrain_core::ids::TenantId;
use docbrain_core::provision;
use docbrain_core::store::{self, Pool, TenantTx, tenants};
use docbrain_crds::manifest::{self, Resource};
use docbrain_crds::{Chatbot, KnowledgeSource, TENANT_LABEL, Tenant};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Client, Config, Resource as KubeResource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

/// Namespaces that tests share; others are deleted with their tenants.
const KEPT: [&str; 2] = ["acme", "rival"];

/// One cluster, one test at a time.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Cluster {
    pub(crate) client: Client,
    operator: Option<JoinHandle<()>>,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(operator) = &self.operator {
            operator.abort();
        }
    }
}

/// The file that names the cluster of tests.
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    std::env::var_os("DOCBRAIN_TEST_APISERVER").map(PathBuf::from)
}

impl Cluster {
    /// The cluster without any resource of ours; without one, a line says that the test is skipped.
    pub(crate) async fn open() -> Option<Self> {
        let Some(path) = kubeconfig() else {
            println!("skipped: DOCBRAIN_TEST_APISERVER names no API server (tools/cluster/up.sh api starts one)");
            return None;
        };
        let turn = TURN.lock().await;
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let cluster = Self { client: Client::try_from(config).unwrap(), operator: None, _turn: turn };
        cluster.define().await;
        cluster.empty().await;
        Some(cluster)
    }

    /// Installs the definitions; the API server judges what their rules may cost.
    async fn define(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in docbrain_crds::definitions() {
            let name = definition.name_any();
            let mut body = serde_json::to_value(&definition).unwrap();
            body["apiVersion"] = "apiextensions.k8s.io/v1".into();
            body["kind"] = "CustomResourceDefinition".into();
            api.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(body)).await.unwrap();
            let is_established = async || {
                let status = api.get(&name).await.unwrap().status;
                let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
                conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
            };
            eventually(&name, is_established).await;
        }
    }

    async fn empty(&self) {
        self.delete_all::<Chatbot>().await;
        self.delete_all::<KnowledgeSource>().await;
        let tenants: Api<Tenant> = Api::all(self.client.clone());
        for tenant in tenants.list(&ListParams::default()).await.unwrap() {
            tenants.delete(&tenant.name_any(), &DeleteParams::default()).await.unwrap();
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let ours = ListParams::default().labels(TENANT_LABEL);
        for namespace in namespaces.list(&ours).await.unwrap() {
            if !KEPT.contains(&namespace.name_any().as_str()) {
                let _ = namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await;
            }
        }
        let is_gone = async || namespaces.list(&ours).await.unwrap().items.len() <= KEPT.len();
        eventually("no namespaces of others", is_gone).await;
    }

    async fn delete_all<K>(&self)
    where
        K: KubeResource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        for object in Api::<K>::all(self.client.clone()).list(&ListParams::default()).await.unwrap() {
            let namespaced: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap());
            namespaced.delete(&object.name_any(), &DeleteParams::default()).await.unwrap();
        }
    }

    /// Applies a manifest as a field manager, with force where it takes what it wants, and provisions it.
    pub(crate) async fn install(&self, owner: &Pool, yaml: &str) {
        for resource in manifest::read(yaml).unwrap() {
            let (kind, namespace, name) = place(&resource);
            if kind == "Tenant" {
                self.make_namespace(&name).await;
            }
            let spec = match &resource {
                Resource::Tenant(tenant) => serde_json::to_value(&tenant.spec),
                Resource::Chatbot(chatbot) => serde_json::to_value(&chatbot.spec),
                Resource::KnowledgeSource(source) => serde_json::to_value(&source.spec),
            };
            let object = self.apply("docbrain-dashboard", kind, &namespace, &name, spec.unwrap()).await;
            provision_object(owner, kind, object).await;
        }
    }

    async fn make_namespace(&self, name: &str) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {TENANT_LABEL: name}}});
        api.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(body)).await.unwrap();
    }

    pub(crate) fn objects(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        match kind {
            "Tenant" => Api::all_with(self.client.clone(), &ApiResource::erase::<Tenant>(&())),
            "Chatbot" => Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<Chatbot>(&())),
            _ => Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<KnowledgeSource>(&())),
        }
    }

    /// Server-side apply by `manager`, by force, as GitOps does it.
    pub(crate) async fn apply(
        &self,
        manager: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        spec: Value,
    ) -> DynamicObject {
        let body =
            json!({"apiVersion": docbrain_crds::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply(manager).force();
        self.objects(kind, namespace).patch(name, &parameters, &Patch::Apply(body)).await.unwrap()
    }

    /// Changes a spec as `kubectl edit` does.
    pub(crate) async fn edit(&self, kind: &str, namespace: &str, name: &str, spec: Value) -> DynamicObject {
        let parameters = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.objects(kind, namespace).patch(name, &parameters, &Patch::Merge(json!({ "spec": spec }))).await.unwrap()
    }

    pub(crate) async fn create(&self, kind: &str, body: Value) -> DynamicObject {
        let parameters = PostParams { field_manager: Some("tests".to_owned()), ..PostParams::default() };
        self.objects(kind, "").create(&parameters, &serde_json::from_value(body).unwrap()).await.unwrap()
    }

    pub(crate) async fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<DynamicObject> {
        self.objects(kind, namespace).get_opt(name).await.unwrap()
    }

    /// Provisions each state of a tenant, chatbot or source once, as an operator would; those that are there have been.
    pub(crate) async fn start_operator(&mut self, owner: &Pool) {
        let mut operator =
            Operator { client: self.client.clone(), owner: owner.clone(), known: HashMap::new(), seen: HashSet::new() };
        operator.look(true).await;
        self.operator = Some(tokio::spawn(async move {
            loop {
                operator.look(false).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }));
    }
}

struct Operator {
    client: Client,
    owner: Pool,
    known: HashMap<String, Tenant>,
    /// Uid and generation.
    seen: HashSet<(Option<String>, Option<i64>)>,
}

impl Operator {
    async fn look(&mut self, only_remember: bool) {
        let Ok(tenants) = Api::<Tenant>::all(self.client.clone()).list(&ListParams::default()).await else { return };
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let mut there = HashMap::new();
        for tenant in tenants {
            let name = tenant.own_namespace().to_owned();
            if self.is_new(&tenant) && !only_remember {
                let body = json!({"metadata": {"name": name, "labels": {TENANT_LABEL: tenant.name_any()}}});
                let _ = namespaces.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await;
                write(&self.owner, &name, &Resource::Tenant(tenant.clone()), async { true }).await;
            }
            there.insert(name, tenant);
        }
        // Without a finalizer, the last state of the object is not seen: rows go, whatever its deletion policy was.
        for name in self.known.keys().filter(|name| !there.contains_key(*name)) {
            if let Some(id) = tenants::named(&self.owner, name).await.unwrap() {
                let mut tx = TenantTx::begin(&self.owner, id).await.unwrap();
                tenants::delete(&mut tx).await.unwrap();
                tx.commit().await.unwrap();
            }
            let _ = namespaces.delete(name, &DeleteParams::default()).await;
        }
        self.known = there;
        self.look_at(only_remember, Resource::KnowledgeSource).await;
        self.look_at(only_remember, Resource::Chatbot).await;
    }

    async fn look_at<K>(&mut self, only_remember: bool, resource: fn(K) -> Resource)
    where
        K: KubeResource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let Ok(objects) = Api::<K>::all(self.client.clone()).list(&ListParams::default()).await else { return };
        for object in objects {
            if !self.is_new(&object) || only_remember {
                continue;
            }
            let (namespace, name) = (object.namespace().unwrap(), object.name_any());
            let still: Api<K> = Api::namespaced(self.client.clone(), &namespace);
            let is_there = async move { still.get_opt(&name).await.is_ok_and(|still| still.is_some()) };
            write(&self.owner, &namespace, &resource(object), is_there).await;
        }
    }

    fn is_new<K: KubeResource>(&mut self, object: &K) -> bool {
        self.seen.insert((object.uid(), object.meta().generation))
    }
}

/// Writes the rows of a resource, unless it has been deleted since it was listed: it has no finalizer here.
async fn write(owner: &Pool, namespace: &str, resource: &Resource, is_there: impl Future<Output = bool> + Send) {
    let known = tenants::named(owner, namespace).await.unwrap();
    let id = match (resource, known) {
        (_, Some(id)) => id,
        (Resource::Tenant(_), None) => TenantId::new(),
        _ => return,
    };
    let mut tx = TenantTx::begin(owner, id).await.unwrap();
    let author = provision::author_of(resource.metadata());
    if let Err(error) = provision::write(&mut tx, resource, &author).await {
        println!("the operator of the tests goes on: {error}");
        return;
    }
    if is_there.await {
        tx.commit().await.unwrap();
    }
}

pub(crate) async fn provision_object(owner: &Pool, kind: &str, object: DynamicObject) {
    let resource = match kind {
        "Tenant" => Resource::Tenant(object.try_parse().unwrap()),
        "Chatbot" => Resource::Chatbot(object.try_parse().unwrap()),
        _ => Resource::KnowledgeSource(object.try_parse().unwrap()),
    };
    let (_, namespace, name) = place(&resource);
    let namespace = if kind == "Tenant" { name } else { namespace };
    write(owner, &namespace, &resource, async { true }).await;
    assert!(store::tenants::named(owner, &namespace).await.unwrap().is_some());
}

fn place(resource: &Resource) -> (&'static str, String, String) {
    let (kind, metadata) = match resource {
        Resource::Tenant(tenant) => ("Tenant", &tenant.metadata),
        Resource::Chatbot(chatbot) => ("Chatbot", &chatbot.metadata),
        Resource::KnowledgeSource(source) => ("KnowledgeSource", &source.metadata),
    };
    (kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap())
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}
