//! From three YAML files to resources that are ready, and then nothing more.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::harness::{Judged, Lab, OPERATOR, beside_others, documents, resource, tenant};

/// The files of `deploy/examples` for a tenant of this name, in the order of their kinds.
fn files(tenant: &str) -> [String; 3] {
    let example = |file: &str| {
        let path = crate::harness::root().join("deploy/examples").join(file);
        std::fs::read_to_string(path).unwrap().replace(": acme\n", &format!(": {tenant}\n"))
    };
    [example("tenant.yaml"), example("knowledge-sources.yaml"), example("chatbot.yaml")]
}

async fn all_ready(lab: &Lab, tenant: &str) {
    lab.ready(&lab.tenants(), tenant).await;
    for source in ["manuals", "website", "handbook"] {
        lab.ready(&lab.sources(tenant), source).await;
    }
    let chatbot = lab.ready(&lab.chatbots(tenant), "support").await;
    lab.judged(&lab.chatbots(tenant), "support", "3/3", |bot| {
        bot.status.as_ref().unwrap().sources_ready.as_deref() == Some("3/3")
    })
    .await;
    let status = chatbot.status.unwrap();
    let id = status.id.unwrap();
    assert_eq!(status.url.unwrap(), format!("https://docs.example/chatbots/{id}"));
}

#[test]
fn three_files_become_ready_in_any_order() {
    beside_others(|lab| {
        Box::pin(async {
            let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
            for (number, order) in (0..).zip(orders) {
                let name = format!("order-{number}");
                let files = files(&name);
                if number % 2 == 0 {
                    // As whoever keeps namespaces in git has it.
                    let labels = json!({ "docbrain.dev/tenant": name });
                    let metadata = json!({ "name": name, "labels": labels });
                    lab.put(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).await;
                }
                for file in order {
                    for document in documents(&files[file]) {
                        let what = format!("{} is taken", document["metadata"]["name"]);
                        let wants_namespace = file != 0 && number % 2 == 1;
                        if wants_namespace && lab.try_put(&document).await.is_err() {
                            // Without its namespace nothing can be there: whoever applies tries again.
                            lab.put(&documents(&files[0])[0]).await;
                        }
                        lab.eventually(&what, async || lab.try_put(&document).await.ok()).await;
                    }
                }
                all_ready(lab, &name).await;
            }
        })
    });
}

#[test]
fn a_namespace_has_its_borders_and_what_is_deleted_of_them_comes_back() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("borders").await;
            let namespace = lab.namespaces().get("borders").await.unwrap();
            assert_eq!(namespace.labels()["docbrain.dev/tenant"], "borders");
            assert_eq!(namespace.labels()["pod-security.kubernetes.io/enforce"], "restricted");
            let account = lab.api::<ServiceAccount>("borders").get("docbrain-ingest").await.unwrap();
            assert_eq!(account.automount_service_account_token, Some(false));
            let policies = lab.api::<NetworkPolicy>("borders").list(&ListParams::default()).await.unwrap();
            assert_eq!(policies.items.len(), 2);
            let limits = lab.api::<LimitRange>("borders");
            limits.get("docbrain").await.unwrap();
            lab.api::<ResourceQuota>("borders").get("docbrain").await.unwrap();

            limits.delete("docbrain", &Default::default()).await.unwrap();
            nudge(lab, "borders").await;
            lab.eventually("the limits are back", async || limits.get_opt("docbrain").await.ok()?).await;
        })
    });
}

#[test]
fn tools_judge_resources_by_kstatus() {
    beside_others(|lab| {
        Box::pin(async {
            let files = files("judged");
            for file in &files {
                for document in documents(file) {
                    lab.eventually("it is taken", async || lab.try_put(&document).await.ok()).await;
                }
            }
            let wait = |kind: &str| {
                let words = ["wait", kind, "--all", "--namespace", "judged", "--for=condition=Ready", "--timeout=30s"];
                lab.kubectl(&words).unwrap();
            };
            lab.kubectl(&["wait", "tenant/judged", "--for=condition=Ready", "--timeout=30s"]).unwrap();
            wait("knowledgesources");
            wait("chatbots");
            all_ready(lab, "judged").await;

            // A resource that no operator has seen is not taken for a finished one.
            let unseen = lab
                .tenants()
                .patch(
                    "unseen",
                    &PatchParams { dry_run: true, ..PatchParams::apply("a-person") },
                    &Patch::Apply(&tenant("unseen")),
                )
                .await
                .unwrap();
            assert_eq!(unseen.status.as_ref().unwrap().observed_generation, Some(-1));
            assert_eq!(unseen.verdict(), "InProgress");

            let columns = lab.kubectl(&["get", "ks", "--namespace", "judged"]).unwrap();
            let head: Vec<&str> = columns.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(head, ["NAME", "READY", "REASON", "DOCUMENTS", "CHUNKS", "LAST-SYNC", "AGE"]);
            let line = columns.lines().find(|line| line.starts_with("handbook")).unwrap();
            assert!(
                line.split_whitespace()
                    .eq(["handbook", "True", "Indexed", "0", "0"].into_iter().chain(line.split_whitespace().skip(5))),
                "{line}"
            );
            let all = lab.kubectl(&["get", "docbrain", "--all-namespaces"]).unwrap();
            assert!(["tenant", "chatbot", "knowledgesource"].iter().all(|kind| all.contains(kind)), "{all}");
            for field in ["tenant.spec.deletionPolicy", "bot.spec.model.apiKeySecretRef", "ks.spec.chunking.size"] {
                let told = lab.kubectl(&["explain", field]).unwrap();
                assert!(told.contains("DESCRIPTION:") && !told.contains("<empty>"), "{told}");
            }
        })
    });
}

#[test]
fn nothing_is_written_where_nothing_changes() {
    beside_others(|lab| {
        Box::pin(async {
            let files = files("steady");
            let folder = lab.cluster.folder.join("steady");
            std::fs::create_dir_all(&folder).unwrap();
            let paths: Vec<String> = (0..)
                .zip(&files)
                .map(|(number, text)| {
                    let path = folder.join(format!("{number}.yaml"));
                    std::fs::write(&path, text).unwrap();
                    path.to_str().unwrap().to_owned()
                })
                .collect();
            lab.kubectl(&["apply", "-f", &paths[0]]).unwrap();
            lab.ready(&lab.tenants(), "steady").await;
            lab.kubectl(&["apply", "-f", &paths[1], "-f", &paths[2]]).unwrap();
            all_ready(lab, "steady").await;
            quiet(lab, "steady").await;

            let children = children(lab, "steady").await;
            assert!(children.len() >= 10, "{children:?}");
            let statuses = || -> usize {
                let kinds = ["tenants", "chatbots", "knowledgesources"];
                kinds.iter().map(|kind| of_operator(lab, "steady", &format!("docbrain.dev/{kind}/status"))).sum()
            };
            let (written, revision) = (statuses(), revision(lab).await);
            for _ in 0..3 {
                let left = force(lab, "steady").await;
                assert_eq!(resources(lab, "steady").await, left, "nothing was written to a resource");
            }
            assert_eq!(statuses(), written, "no status was written, be it the same one");
            assert_eq!(crate::apply::children(lab, "steady").await, children);
            assert_eq!(crate::apply::revision(lab).await, revision);
            let diff = lab.kubectl(&["diff", "-f", folder.to_str().unwrap()]);
            assert_eq!(diff, Ok(String::new()));
        })
    });
}

#[test]
fn a_change_is_one_reconcile() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("once").await;
            let source = json!({ "source": { "upload": {} } });
            lab.put(&resource("KnowledgeSource", "once", "docs", &source)).await;
            lab.put(&resource("Chatbot", "once", "helper", &bot("be brief 0"))).await;
            lab.ready(&lab.chatbots("once"), "helper").await;
            quiet(lab, "once").await;
            // Other tests run beside: what they did is in the audit log as well, but not under these names.
            let writes = || of_operator(lab, "once", "docbrain.dev/chatbots");
            let (before, statuses) = (writes(), of_operator(lab, "once", "docbrain.dev/chatbots/status"));
            for number in 1..=5 {
                let prompt = format!("be brief {number}");
                lab.put(&resource("Chatbot", "once", "helper", &bot(&prompt))).await;
                lab.judged(&lab.chatbots("once"), "helper", "seen", |bot| bot.seen() == bot.metadata.generation).await;
            }
            quiet(lab, "once").await;
            assert_eq!(writes(), before, "the finalizer is there already");
            assert_eq!(of_operator(lab, "once", "docbrain.dev/chatbots/status"), statuses + 5);
        })
    });
}

fn bot(prompt: &str) -> Value {
    json!({ "displayName": "Helper", "systemPrompt": prompt, "knowledgeSources": [{ "name": "docs" }] })
}

/// Writes of the shared operator to one kind of resource in a namespace.
fn of_operator(lab: &Lab, namespace: &str, resource: &str) -> usize {
    let all = lab.cluster.audit();
    all.iter()
        .filter(|request| request.user == OPERATOR && request.is_write())
        .filter(|request| request.namespace == namespace && request.resource == resource)
        .count()
}

/// Waits until nothing of a tenant changes.
async fn quiet(lab: &Lab, tenant: &str) {
    let mut before = Vec::new();
    loop {
        let now = (resources(lab, tenant).await, children(lab, tenant).await);
        if before.last() == Some(&now) {
            return;
        }
        before.push(now);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// Has the operator look at a tenant again, which it does where an annotation of its own has changed.
async fn nudge(lab: &Lab, name: &str) {
    lab.tenants().patch(name, &PatchParams::default(), &look_again(&json!(now()))).await.unwrap();
}

fn look_again(value: &Value) -> Patch<Value> {
    Patch::Merge(json!({ "metadata": { "annotations": { "docbrain.dev/look": value } } }))
}

/// Has the operator look at all that a tenant has; the versions that the test itself left behind.
async fn force(lab: &Lab, name: &str) -> BTreeMap<String, String> {
    let mut left = BTreeMap::new();
    for value in [json!(now()), json!(null)] {
        let before = lab.metrics().await;
        let (params, patch) = (PatchParams::default(), look_again(&value));
        note(&mut left, &lab.tenants().patch(name, &params, &patch).await.unwrap());
        note(&mut left, &lab.chatbots(name).patch("support", &params, &patch).await.unwrap());
        for source in ["manuals", "website", "handbook"] {
            note(&mut left, &lab.sources(name).patch(source, &params, &patch).await.unwrap());
        }
        lab.eventually("all of them were looked at", async || {
            let now = lab.metrics().await;
            let more = |kind: &str, count: f64| now.reconciles(kind) >= before.reconciles(kind) + count;
            (more("Tenant", 1.0) && more("Chatbot", 1.0) && more("KnowledgeSource", 3.0)).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    left
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339()
}

fn note<K: Resource<DynamicType = ()>>(versions: &mut BTreeMap<String, String>, object: &K) {
    versions.insert(format!("{} {}", K::kind(&()), object.name_any()), object.resource_version().unwrap());
}

/// The versions of a tenant's custom resources.
async fn resources(lab: &Lab, tenant: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    note(&mut versions, &lab.tenants().get(tenant).await.unwrap());
    let all = ListParams::default();
    lab.chatbots(tenant).list(&all).await.unwrap().iter().for_each(|bot| note(&mut versions, bot));
    lab.sources(tenant).list(&all).await.unwrap().iter().for_each(|source| note(&mut versions, source));
    versions
}

/// The versions of what the operator made for a tenant. A quota is left out, whose controller counts; of Jobs, whose
/// controller tells how they are, counts what they are to be.
async fn children(lab: &Lab, tenant: &str) -> BTreeMap<String, String> {
    async fn all<K>(lab: &Lab, namespace: &str, versions: &mut BTreeMap<String, String>)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let ours = ListParams::default().labels("app.kubernetes.io/managed-by=docbrain-operator");
        for object in lab.api::<K>(namespace).list(&ours).await.unwrap() {
            let version = if K::group(&()) == "batch" {
                format!("{:?} {:?}", object.uid(), object.meta().generation)
            } else {
                object.resource_version().unwrap()
            };
            versions.insert(format!("{} {}", K::kind(&()), object.name_any()), version);
        }
    }
    let mut versions = BTreeMap::new();
    note(&mut versions, &lab.namespaces().get(tenant).await.unwrap());
    all::<ServiceAccount>(lab, tenant, &mut versions).await;
    all::<LimitRange>(lab, tenant, &mut versions).await;
    all::<NetworkPolicy>(lab, tenant, &mut versions).await;
    all::<Secret>(lab, tenant, &mut versions).await;
    all::<Job>(lab, tenant, &mut versions).await;
    all::<CronJob>(lab, tenant, &mut versions).await;
    versions
}

async fn revision(lab: &Lab) -> i64 {
    lab.count("select coalesce(sum(r.revision), 0)::bigint from chatbots r join tenants t using (tenant_id) where t.name = 'steady'").await
}
