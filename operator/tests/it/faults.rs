//! What breaks around the operator, and the operator itself. In the end all is as the resources say.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use docbrain_core::store::tenants;
use docbrain_crds::Chatbot;
use futures::future::join_all;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::harness::{Judged, Lab, NAMESPACE, OPERATOR, Operator, alone, resource, site, tenant};

#[test]
fn an_operator_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    alone("faults", |lab| {
        Box::pin(async {
            const KILLS: usize = 50;
            const CHANGES: usize = 200;
            for number in 0..4 {
                lab.put(&tenant(&format!("killed-{number}"))).await;
            }
            let mut random = Random(std::process::id().into());
            let killer = async {
                for _ in 0..KILLS {
                    let operator = Operator::start(lab, OPERATOR, &[]).await;
                    tokio::time::sleep(Duration::from_millis(150 + random.below(450))).await;
                    operator.kill();
                }
            };
            let changes = async {
                let mut kept: BTreeSet<(usize, usize)> = BTreeSet::new();
                for change in 0..CHANGES {
                    let (number, item) = (change % 4, change / 4 % 10);
                    let namespace = format!("killed-{number}");
                    let name = format!("item-{item}");
                    if change / 40 == 3 && item % 5 == 4 {
                        // Some go again.
                        lab.sources(&namespace).delete(&name, &DeleteParams::default()).await.unwrap();
                        lab.chatbots(&namespace).delete(&name, &DeleteParams::default()).await.unwrap();
                        kept.remove(&(number, item));
                    } else if change / 40 < 3 || kept.contains(&(number, item)) {
                        let mut source = site(&namespace, &name);
                        source["spec"]["chunking"] = json!({ "size": 100 + change / 40 });
                        let bot = json!({ "displayName": format!("{change}"), "knowledgeSources": [{ "name": name }] });
                        lab.eventually("it is taken", async || lab.try_put(&source).await.ok()).await;
                        lab.eventually("it is taken", async || {
                            lab.try_put(&resource("Chatbot", &namespace, &name, &bot)).await.ok()
                        })
                        .await;
                        kept.insert((number, item));
                    }
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
            };
            tokio::join!(killer, changes);
            let last = lab.start_operator(OPERATOR).await;
            settled(lab).await;
            last.stop().await;
        })
    });
}

/// More at once than the operator has done when the last is put.
async fn many_chatbots(lab: &Lab, namespace: &str, display_name: &str) {
    let spec = json!({ "displayName": display_name });
    let chatbots: Vec<_> =
        (0..100).map(|number| resource("Chatbot", namespace, &format!("bot-{number}"), &spec)).collect();
    join_all(chatbots.iter().map(|chatbot| lab.put(chatbot))).await;
}

/// Other tests count what the operator does, and have it start among few resources.
async fn no_chatbots(lab: &Lab, namespace: &str) {
    let chatbots = lab.chatbots(namespace);
    chatbots.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let are_gone = async || chatbots.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(());
    lab.eventually("they are gone", are_gone).await;
}

#[test]
fn a_leader_that_was_frozen_writes_nothing_once_another_leads() {
    alone("faults", |lab| {
        Box::pin(async {
            if !lab.cluster.is_own() {
                println!("skipped: without an audit log nobody can tell who wrote");
                return;
            }
            let first = RefCell::new(lab.start_operator("first").await);
            let second = Operator::start(lab, "second", &[]).await;
            lab.tenant("frozen").await;
            lab.put(&resource("Chatbot", "frozen", "helper", &json!({ "displayName": "0" }))).await;
            lab.ready(&lab.chatbots("frozen"), "helper").await;
            assert!(!second.leads().await, "one at a time");
            let ready = second.get("/readyz").await.unwrap();
            assert!(ready.starts_with("HTTP/1.1 200"), "who stands by is ready: {ready}");

            // It has work at hand, and is frozen in the middle of it.
            many_chatbots(lab, "frozen", "?").await;
            first.borrow().freeze();
            let frozen = Instant::now();
            let leads = async || second.leads().await.then_some(());
            lab.within(Duration::from_secs(30), "the other one leads", leads).await;
            println!("another operator led {:?} after the first was frozen", frozen.elapsed());
            let leases: Api<Lease> = Api::namespaced(lab.client.clone(), NAMESPACE);
            let lease = leases.get("docbrain-operator").await.unwrap().spec.unwrap();
            assert_eq!(lease.holder_identity.as_deref(), Some("second"));
            let led_at: chrono::DateTime<chrono::Utc> = lease.acquire_time.unwrap().0.to_string().parse().unwrap();
            tokio::time::sleep(Duration::from_secs(20).saturating_sub(frozen.elapsed())).await;

            first.borrow().thaw();
            many_chatbots(lab, "frozen", "another").await;
            lab.eventually("who was frozen gives up", async || first.borrow_mut().has_ended().then_some(())).await;
            settled(lab).await;
            let of_first: Vec<_> = lab.cluster.audit().into_iter().filter(|request| request.user == "first").collect();
            let late: Vec<_> = of_first
                .iter()
                .filter(|request| request.is_write() && request.at > led_at && request.code < 400)
                .collect();
            assert!(late.is_empty(), "it wrote after {led_at}: {late:#?}");
            assert!(of_first.iter().any(crate::harness::Request::is_write), "the audit log knows it");
            no_chatbots(lab, "frozen").await;
            second.stop().await;
        })
    });
}

#[test]
fn an_operator_that_ends_in_peace_lets_the_next_one_lead_at_once() {
    alone("faults", |lab| {
        Box::pin(async {
            let first = lab.start_operator("peaceful").await;
            let second = Operator::start(lab, "next", &[]).await;
            lab.eventually("it stands by", async || second.get("/readyz").await.filter(|text| text.contains(" 200 ")))
                .await;
            lab.tenant("peace").await;
            many_chatbots(lab, "peace", "?").await;
            let has_begun = |chatbot: &Chatbot| chatbot.metadata.finalizers.is_some();
            let chatbots = async || lab.chatbots("peace").list(&ListParams::default()).await.unwrap().items;
            lab.eventually("it is at work", async || chatbots().await.iter().any(has_begun).then_some(())).await;
            first.stop().await;
            let began = Instant::now();
            for chatbot in chatbots().await.iter().filter(|chatbot| has_begun(chatbot)) {
                let seen = chatbot.status.as_ref().and_then(|status| status.observed_generation);
                assert_eq!(seen, chatbot.metadata.generation, "it ends what it has begun: {chatbot:?}");
            }
            lab.eventually("the next one leads", async || second.leads().await.then_some(())).await;
            assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
            no_chatbots(lab, "peace").await;
            second.stop().await;
        })
    });
}

#[test]
fn an_api_server_that_was_away_is_found_again() {
    alone("faults", |lab| {
        Box::pin(async {
            let mut operator = lab.start_operator(OPERATOR).await;
            lab.tenant("outage").await;
            lab.put(&site("outage", "web")).await;
            lab.ready(&lab.sources("outage"), "web").await;
            for _ in 0..2 {
                if lab.cluster.api_server("kill").is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
                lab.cluster.api_server("start");
            }
            lab.eventually("the API server is back", async || lab.tenants().get("outage").await.ok()).await;
            // Longer away than a lease holds, an operator gives up, within the twelve seconds that it looks at its lease for,
            // and is started again, as Kubernetes does.
            tokio::time::sleep(Duration::from_secs(13)).await;
            if operator.has_ended() {
                operator = lab.start_operator(OPERATOR).await;
            }
            lab.put(&resource("Chatbot", "outage", "helper", &json!({ "displayName": "After" }))).await;
            lab.ready(&lab.chatbots("outage"), "helper").await;
            lab.put(&site("outage", "another")).await;
            lab.ready(&lab.sources("outage"), "another").await;
            settled(lab).await;
            operator.stop().await;
        })
    });
}

/// The database is away for a minute: longer than the pauses between attempts become.
#[test]
fn a_database_that_was_away_is_found_again() {
    alone("faults", |lab| {
        Box::pin(async {
            let operator = lab.start_operator(OPERATOR).await;
            lab.tenant("dark").await;
            lab.put(&site("dark", "web")).await;
            lab.ready(&lab.sources("dark"), "web").await;
            lab.gate.shut();
            lab.put(&resource("Chatbot", "dark", "helper", &json!({ "displayName": "In the dark" }))).await;
            lab.put(&tenant("darker")).await;
            lab.put(&site("dark", "another")).await;
            lab.sources("dark").delete("web", &DeleteParams::default()).await.unwrap();
            tokio::time::sleep(Duration::from_mins(1)).await;
            assert!(operator.leads().await, "the lease has nothing to do with the database");
            let metrics = operator.metrics().await;
            let errors = metrics.sum("docbrain_operator_errors_total");
            assert!(errors > 2.0 && errors < 200.0, "it tries again, with pauses: {errors}");
            assert!(lab.sources("dark").get_opt("web").await.unwrap().is_some());
            lab.gate.open();
            settled(lab).await;
            lab.ready(&lab.chatbots("dark"), "helper").await;
            lab.ready(&lab.tenants(), "darker").await;
            lab.ready(&lab.sources("dark"), "another").await;
            lab.gone(&lab.sources("dark"), "web").await;
            // It hears of runs again.
            let mut tx = lab.begin("dark").await;
            let id = docbrain_core::store::sources::by_name(&mut tx, "another").await.unwrap().id;
            docbrain_core::store::runs::enqueue(&mut tx, id, "after the dark").await.unwrap();
            tx.commit().await.unwrap();
            lab.eventually("the run has ended", async || {
                (lab.standing("dark", "another").await.ended.len() == 2).then_some(())
            })
            .await;
            settled(lab).await;
            operator.stop().await;
        })
    });
}

#[test]
fn what_was_applied_before_the_operator_came_is_made_then() {
    alone("faults", |lab| {
        Box::pin(async {
            for number in 0..3 {
                let name = format!("early-{number}");
                let metadata = json!({ "name": name, "labels": { "docbrain.dev/tenant": name } });
                lab.put(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).await;
                let bot = json!({ "displayName": "Helper", "knowledgeSources": [{ "name": "web" }] });
                lab.put(&resource("Chatbot", &name, "helper", &bot)).await;
                lab.put(&site(&name, "web")).await;
                lab.put(&tenant(&name)).await;
            }
            // And one that was deleted while nobody was there to see it.
            let operator = lab.start_operator(OPERATOR).await;
            settled(lab).await;
            operator.stop().await;
            lab.sources("early-0").delete("web", &DeleteParams::default()).await.unwrap();
            lab.tenants().delete("early-1", &DeleteParams::default()).await.unwrap();
            let operator = lab.start_operator(OPERATOR).await;
            lab.gone(&lab.sources("early-0"), "web").await;
            lab.gone(&lab.tenants(), "early-1").await;
            settled(lab).await;
            operator.stop().await;
        })
    });
}

/// Waits until every resource is ready or stalled, and holds that nothing ran twice and nothing is left behind.
async fn settled(lab: &Lab) {
    let all = ListParams::default();
    let chatbots: Api<docbrain_crds::Chatbot> = Api::all(lab.client.clone());
    let sources: Api<docbrain_crds::KnowledgeSource> = Api::all(lab.client.clone());
    let open = std::sync::Mutex::new(Vec::new());
    let done = lab
        .try_eventually(Duration::from_secs(60), async || {
            let mut left = Vec::new();
            let mut look = |name: String, verdict: String| {
                if verdict == "InProgress" {
                    left.push(name);
                }
            };
            lab.tenants().list(&all).await.ok()?.iter().for_each(|one| look(one.name_any(), one.verdict()));
            chatbots.list(&all).await.ok()?.iter().for_each(|one| look(named(one), one.verdict()));
            sources.list(&all).await.ok()?.iter().for_each(|one| {
                let is_running = one.status.as_ref().is_some_and(|status| status.current_run.is_some());
                look(named(one), if is_running { "InProgress".to_owned() } else { one.verdict() });
            });
            let is_done = left.is_empty();
            *open.lock().unwrap() = left;
            is_done.then_some(())
        })
        .await;
    assert!(done.is_some(), "still in progress: {:?}", open.lock().unwrap());

    let tenants = lab.tenants().list(&all).await.unwrap();
    let homes: BTreeSet<String> = tenants.iter().map(|tenant| tenant.own_namespace().to_owned()).collect();
    let sources: BTreeSet<String> = sources.list(&all).await.unwrap().iter().map(named).collect();
    let chatbots: BTreeSet<String> = chatbots.list(&all).await.unwrap().iter().map(named).collect();

    // No run had two Jobs, nor two pods that took it and did not die.
    let mut started: BTreeMap<(String, String), usize> = BTreeMap::new();
    for pod in lab.kubelet.started.lock().unwrap().iter() {
        *started.entry(pod.clone()).or_default() += 1;
    }
    assert!(started.values().all(|&count| count == 1), "{started:?}");
    let runs = "select count(*) from runs where state in ('queued', 'running')";
    assert_eq!(lab.count(runs).await, 0);

    // Jobs, CronJobs and Secrets are those of sources that are there.
    let ours = ListParams::default().labels("docbrain.dev/knowledge-source");
    let of_source = |namespace: Option<String>, labels: &BTreeMap<String, String>| {
        format!("{}/{}", namespace.unwrap(), labels["docbrain.dev/knowledge-source"])
    };
    lab.eventually("nothing is left of sources that are gone", async || {
        let mut owners = Vec::new();
        for job in Api::<Job>::all(lab.client.clone()).list(&ours).await.ok()? {
            owners.push(of_source(job.namespace(), job.labels()));
        }
        for cron_job in Api::<CronJob>::all(lab.client.clone()).list(&ours).await.ok()? {
            owners.push(of_source(cron_job.namespace(), cron_job.labels()));
        }
        for secret in Api::<Secret>::all(lab.client.clone()).list(&ours).await.ok()? {
            owners.push(of_source(secret.namespace(), secret.labels()));
        }
        owners.iter().all(|owner| sources.contains(owner)).then_some(())
    })
    .await;
    for secret in Api::<Secret>::all(lab.client.clone()).list(&ours).await.unwrap() {
        let owner = &secret.metadata.owner_references.as_ref().unwrap()[0];
        assert!(owner.kind == "Job" || secret.name_any().ends_with("-schedule"), "{} is nobody's", named(&secret));
    }
    // Namespaces are those of tenants.
    let made = ListParams::default().labels("docbrain.dev/tenant");
    for namespace in Api::<Namespace>::all(lab.client.clone()).list(&made).await.unwrap() {
        let is_made = namespace.annotations().contains_key("docbrain.dev/made-by-operator");
        assert!(!is_made || homes.contains(&namespace.name_any()), "{} is nobody's", namespace.name_any());
    }
    // Rows and roles are those of resources, or retained.
    for name in tenants::names(&lab.owner).await.unwrap() {
        let of = |table: &str| {
            format!(
                "select coalesce(string_agg(r.name, ','), '') from {table} r join tenants t using (tenant_id) where t.name = '{name}'"
            )
        };
        if !homes.contains(&name) {
            continue;
        }
        for (table, there) in [("chatbots", &chatbots), ("knowledge_sources", &sources)] {
            let rows = lab.text(&of(table)).await.unwrap();
            let rows: BTreeSet<&str> = rows.split(',').filter(|row| !row.is_empty()).collect();
            let prefix = format!("{name}/");
            let wanted: BTreeSet<&str> = there.iter().filter_map(|full| full.strip_prefix(&prefix)).collect();
            assert_eq!(rows, wanted, "{table} of {name}");
        }
    }
    let lacking = "select count(*) from tenants t where not exists (
        select 1 from pg_roles where rolname = 'docbrain_ingest_' || replace(t.tenant_id::text, '-', ''))";
    assert_eq!(lab.count(lacking).await, 0, "every tenant has its role");
}

fn named<K: kube::Resource>(object: &K) -> String {
    format!("{}/{}", object.meta().namespace.as_deref().unwrap_or_default(), object.name_any())
}

/// Numbers that look like chance (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
