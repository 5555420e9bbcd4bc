//! The operator with the rights that the chart gives it: they are enough, and none is too many.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::{
    Fate, Judged, Lab, NAMESPACE, Operator, Request, alone, documents, output, resource, site, tenant,
};

/// The ServiceAccount of the chart.
const ACCOUNT: &str = "docbrain-operator";
/// Rights that are asked for only where the cluster has the admission plugin `OwnerReferencesPermissionEnforcement`, as
/// OpenShift does; the chart says so.
const ELSEWHERE: [&str; 2] = ["knowledgesources/finalizers", "jobs/finalizers"];

/// A right in one of the chart's roles.
#[derive(Clone, Debug)]
struct Right {
    role: usize,
    rule: usize,
    resource: String,
    verb: String,
}

impl Right {
    /// Whether a request was refused because it is missing. What server-side apply needs is asked for while it is at work, and
    /// said in words; all other rights are those of the request itself.
    fn is_missed_by(&self, request: &Request) -> bool {
        let (_, resource) = request.resource.split_once('/').unwrap();
        let words = match &*self.verb {
            "bind" => "attempting to grant RBAC permissions not currently held".to_owned(),
            verb => format!("cannot {verb} resource \"{}\"", self.resource),
        };
        let is_it = resource == self.resource && request.verb == self.verb;
        request.user == ACCOUNT && request.code == 403 && (is_it || request.message.contains(&words))
    }
}

/// The chart's roles, bindings and the policy that confines the operator.
fn chart(lab: &Lab) -> Vec<Value> {
    let helm = lab.cluster.kubectl.with_file_name("helm");
    let mut command = std::process::Command::new(helm);
    command.args(["template", "docbrain", "charts/docbrain", "--namespace", NAMESPACE]);
    command.args(["--set", "database.development.enabled=true"]);
    for file in ["operator", "service-accounts", "confinement"] {
        command.args(["--show-only", &format!("templates/access/{file}.yaml")]);
    }
    documents(&output(&mut command))
}

fn rights(chart: &[Value]) -> Vec<Right> {
    let mut rights = Vec::new();
    let words = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    for (role, document) in chart.iter().enumerate() {
        for (rule, rights_of_rule) in document["rules"].as_array().into_iter().flatten().enumerate() {
            for resource in words(&rights_of_rule["resources"]) {
                for verb in words(&rights_of_rule["verbs"]) {
                    rights.push(Right { role, rule, resource: resource.clone(), verb });
                }
            }
        }
    }
    assert!(rights.len() > 40, "{rights:?}");
    rights
}

/// The chart's roles without one right.
fn without(chart: &[Value], right: &Right) -> Value {
    let mut role = chart[right.role].clone();
    let rules = role["rules"].as_array_mut().unwrap();
    let mut narrowed = rules.remove(right.rule);
    // The others of its rule are kept: those of the other resources, and the other verbs of this one.
    let resources = narrowed["resources"].as_array().unwrap().clone();
    let verbs = narrowed["verbs"].as_array().unwrap().clone();
    let left: Vec<&Value> = verbs.iter().filter(|verb| **verb != right.verb.as_str()).collect();
    let others: Vec<&Value> = resources.iter().filter(|resource| **resource != right.resource.as_str()).collect();
    narrowed["resources"] = json!([right.resource]);
    narrowed["verbs"] = json!(left);
    let mut kept = narrowed.clone();
    kept["resources"] = json!(others);
    kept["verbs"] = json!(verbs);
    rules.extend(
        [(narrowed, !left.is_empty()), (kept, !others.is_empty())].into_iter().filter(|one| one.1).map(|one| one.0),
    );
    role
}

async fn install(lab: &Lab) -> Vec<Value> {
    let chart = chart(lab);
    for document in &chart {
        lab.eventually("it is applied", async || lab.try_put(document).await.ok()).await;
    }
    // The operator runs as the chart's account, whose kubeconfig is there before it.
    lab.kubeconfig_of(ACCOUNT, false).await;
    chart
}

/// The operator as the chart runs it.
async fn confined(lab: &Lab) -> Operator {
    let variables = [
        ("DOCBRAIN_SERVICE_ACCOUNT", ACCOUNT.to_owned()),
        ("DOCBRAIN_SECRETS_ROLE", "docbrain-tenant-secrets".to_owned()),
    ];
    Operator::start(lab, ACCOUNT, &variables).await
}

async fn leading(lab: &Lab) -> Operator {
    let operator = confined(lab).await;
    lab.eventually("the operator leads", async || operator.leads().await.then_some(())).await;
    operator
}

/// A chatbot whose key is in a Secret.
fn bot(namespace: &str, prompt: &str) -> Value {
    let model = json!({ "provider": "openai", "baseUrl": "https://models.example/v1", "model": "m", "apiKeySecretRef": { "name": "openai", "key": "k" } });
    let spec = json!({ "displayName": "Helper", "systemPrompt": prompt, "model": model });
    resource("Chatbot", namespace, "helper", &spec)
}

fn secret(namespace: &str) -> Value {
    let metadata = json!({ "name": "openai", "namespace": namespace });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": { "k": "the-key" } })
}

fn scheduled(namespace: &str) -> Value {
    let mut source = site(namespace, "web");
    source["spec"]["schedule"] = "@daily".into();
    source
}

/// A tenant with all there can be, whatever becomes ready.
async fn furnish(lab: &Lab, name: &str) {
    let mut wanted = tenant(name);
    wanted["spec"]["deletionPolicy"] = "Delete".into();
    lab.put(&wanted).await;
    for document in [secret(name), bot(name, "one"), scheduled(name)] {
        // Without its rights the operator may never make the namespace.
        lab.try_eventually(Duration::from_secs(3), async || lab.try_put(&document).await.ok()).await;
    }
}

async fn furnished(lab: &Lab, name: &str) {
    furnish(lab, name).await;
    lab.ready(&lab.tenants(), name).await;
    lab.ready(&lab.chatbots(name), "helper").await;
    lab.ready(&lab.sources(name), "web").await;
}

/// A Job that ended although its run did not is made again.
async fn restart(lab: &Lab, name: &str) {
    lab.kubelet.expect(name, "restarted", &[Fate::LeavesRun, Fate::Succeeds]);
    lab.put(&site(name, "restarted")).await;
}

#[test]
fn the_rights_of_the_chart_are_enough_and_all_are_used() {
    alone("access", |lab| {
        Box::pin(async {
            let chart = install(lab).await;
            let leases: Api<Lease> = Api::namespaced(lab.client.clone(), NAMESPACE);
            drop(leases.delete("docbrain-operator", &DeleteParams::default()).await);
            let mut audit = lab.cluster.follow();
            let operator = leading(lab).await;
            furnished(lab, "all").await;
            restart(lab, "all").await;
            lab.ready(&lab.sources("all"), "restarted").await;
            // A schedule that goes; the same news twice; a namespace that is made again; a tenant that goes.
            lab.put(&site("all", "web")).await;
            let cron_jobs = lab.api::<k8s_openapi::api::batch::v1::CronJob>("all");
            lab.gone(&cron_jobs, "web-schedule").await;
            again(lab, "all").await;
            lab.tenants().delete("all", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.tenants(), "all").await;
            lab.gone(&lab.namespaces(), "all").await;
            operator.stop().await;

            if !lab.cluster.is_own() {
                return;
            }
            let audit = audit.news();
            let mine: Vec<_> = audit.iter().filter(|request| request.user == ACCOUNT).collect();
            // A right that was given a moment ago may not be known everywhere: Secrets of a new tenant are tried again.
            let refused: Vec<_> = mine
                .iter()
                .filter(|request| request.code == 403 && !is_quota(&request.message) && request.resource != "/secrets")
                .collect();
            assert!(refused.is_empty(), "{refused:#?}");
            let used: BTreeSet<(String, String)> = mine
                .iter()
                .map(|request| (request.resource.split_once('/').unwrap().1.to_owned(), request.verb.clone()))
                .collect();
            for right in rights(&chart) {
                let by_other_name = matches!(&*right.verb, "create" | "bind")
                    && used.contains(&(right.resource.clone(), "patch".to_owned()))
                    || right.verb == "bind";
                let is_used = used.contains(&(right.resource.clone(), right.verb.clone())) || by_other_name;
                assert!(is_used || ELSEWHERE.contains(&&*right.resource), "{right:?} is never used");
            }
        })
    });
}

/// A quota that has just been made refuses until it has been counted, which is no matter of rights.
fn is_quota(message: &str) -> bool {
    message.contains("quota")
}

/// The same news of a chatbot twice: the second one changes the first event.
async fn again(lab: &Lab, name: &str) {
    for _ in 0..2 {
        lab.api::<k8s_openapi::api::core::v1::Secret>(name).delete("openai", &DeleteParams::default()).await.unwrap();
        lab.judged(&lab.chatbots(name), "helper", "without its key", |bot| bot.condition("Stalled").is_some()).await;
        lab.put(&secret(name)).await;
        lab.judged(&lab.chatbots(name), "helper", "with its key", |bot| bot.condition("Stalled").is_none()).await;
    }
}

#[test]
fn each_right_of_the_chart_is_needed() {
    alone("access", |lab| {
        Box::pin(async {
            if !lab.cluster.is_own() {
                println!("skipped: without an audit log nobody can tell what was refused");
                return;
            }
            let chart = install(lab).await;
            let mut operator = Some(leading(lab).await);
            let mut table = Vec::new();
            for (number, right) in (0..).zip(rights(&chart)) {
                if ELSEWHERE.contains(&&*right.resource) {
                    table.push(format!("{} {}: only where owner references are checked", right.verb, right.resource));
                    continue;
                }
                let name = format!("right-{number}");
                let situation = situation(&right);
                prepare(lab, situation, &name).await;
                let restarts = matches!(situation, Situation::Start | Situation::FirstStart);
                if restarts {
                    operator.take().unwrap().kill();
                    if situation == Situation::FirstStart {
                        let leases: Api<Lease> = Api::namespaced(lab.client.clone(), NAMESPACE);
                        leases.delete("docbrain-operator", &DeleteParams::default()).await.unwrap();
                    }
                }
                lab.put(&without(&chart, &right)).await;
                let audit = RefCell::new(lab.cluster.follow());
                if restarts {
                    operator = Some(confined(lab).await);
                }
                bring_about(lab, situation, &name).await;
                let refused = lab
                    .try_eventually(Duration::from_secs(10), async || {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        let news = audit.borrow_mut().news();
                        news.iter().any(|request| right.is_missed_by(request)).then_some(())
                    })
                    .await;
                lab.put(&chart[right.role]).await;
                assert!(refused.is_some(), "nothing needs {right:?} in the situation {situation:?}");
                table.push(format!("{} {}: {situation:?}", right.verb, right.resource));
                if restarts {
                    operator.take().unwrap().kill();
                    operator = Some(leading(lab).await);
                }
            }
            println!("{}", table.join("\n"));
            // With all rights everything comes to its end.
            let everything_is_ready = async || {
                let open = lab.tenants().list(&ListParams::default()).await.ok()?;
                open.iter().all(|tenant| tenant.verdict() == "Ready").then_some(())
            };
            lab.within(Duration::from_secs(60), "all tenants are ready", everything_is_ready).await;
            operator.unwrap().stop().await;
        })
    });
}

/// What an operator is brought into so that it needs a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    /// It starts.
    Start,
    /// It starts where there is no Lease yet.
    FirstStart,
    /// A tenant comes, with a chatbot that has a key and a source that has a schedule.
    Arrival,
    /// A source loses its schedule.
    LostSchedule,
    /// A source goes.
    LostSource,
    /// A tenant goes.
    Departure,
    /// A Job ended before its run.
    LostRun,
    /// A Job's pod does not start.
    StuckRun,
    /// A chatbot loses its key twice.
    OldNews,
}

fn situation(right: &Right) -> Situation {
    match (&*right.resource, &*right.verb) {
        ("tenants" | "chatbots" | "knowledgesources" | "namespaces" | "jobs", "watch")
        | ("leases", "get" | "update") => Situation::Start,
        ("leases", "create") => Situation::FirstStart,
        ("chatbots" | "knowledgesources", "list" | "delete") | ("namespaces", "delete") => Situation::Departure,
        ("jobs", "list") => Situation::LostSource,
        ("jobs", "delete") => Situation::LostRun,
        ("pods", "list") => Situation::StuckRun,
        ("cronjobs" | "secrets", "delete") => Situation::LostSchedule,
        ("events", "patch") => Situation::OldNews,
        _ => Situation::Arrival,
    }
}

async fn prepare(lab: &Lab, situation: Situation, name: &str) {
    match situation {
        Situation::Start | Situation::FirstStart | Situation::Arrival => {}
        Situation::LostSchedule | Situation::LostSource | Situation::Departure | Situation::OldNews => {
            furnished(lab, name).await;
        }
        Situation::LostRun => {
            furnished(lab, name).await;
            lab.kubelet.expect(name, "restarted", &[Fate::LeavesRun, Fate::Succeeds]);
        }
        Situation::StuckRun => {
            furnished(lab, name).await;
            lab.kubelet.expect(name, "stuck", &[Fate::LacksImage]);
        }
    }
}

async fn bring_about(lab: &Lab, situation: Situation, name: &str) {
    match situation {
        Situation::Start | Situation::FirstStart => {}
        Situation::Arrival => furnish(lab, name).await,
        Situation::LostSchedule => drop(lab.put(&site(name, "web")).await),
        Situation::LostSource => drop(lab.sources(name).delete("web", &DeleteParams::default()).await.unwrap()),
        Situation::Departure => drop(lab.tenants().delete(name, &DeleteParams::default()).await.unwrap()),
        Situation::LostRun => drop(lab.put(&site(name, "restarted")).await),
        Situation::StuckRun => drop(lab.put(&site(name, "stuck")).await),
        Situation::OldNews => again(lab, name).await,
    }
}
