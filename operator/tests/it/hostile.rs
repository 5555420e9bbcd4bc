//! A tenant that reaches for what is another's.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Judged, beside_others, resource, tenant};

fn claiming(name: &str, namespace: &str) -> Value {
    let mut claim = tenant(name);
    claim["spec"]["namespace"] = namespace.into();
    claim["spec"]["deletionPolicy"] = "Delete".into();
    claim
}

#[test]
fn a_namespace_that_is_not_the_tenants_is_left_alone() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("victim").await;
            let key = |value: &str| {
                let metadata = json!({ "name": "openai", "namespace": "victim" });
                json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": { "k": value } })
            };
            lab.put(&key("one")).await;
            let reference = json!({ "name": "openai", "key": "k" });
            let model = json!({ "provider": "openai", "baseUrl": "https://models.example/v1", "model": "m", "apiKeySecretRef": reference });
            lab.put(&resource("Chatbot", "victim", "helper", &json!({ "displayName": "Helper", "model": model })))
                .await;
            let helper = lab.ready(&lab.chatbots("victim"), "helper").await;
            let mut source = crate::harness::site("victim", "web");
            source["spec"]["schedule"] = "@daily".into();
            lab.put(&source).await;
            lab.ready(&lab.sources("victim"), "web").await;
            let metadata = json!({ "name": "payroll" });
            lab.put(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).await;

            let look = async |name: &str| {
                let mut namespace: Namespace = lab.namespaces().get(name).await.unwrap();
                namespace.metadata.managed_fields = None;
                let secrets = lab.api::<Secret>(name).list(&ListParams::default()).await.unwrap();
                (namespace, secrets.items.len())
            };
            let victims = ["victim", "kube-system", "payroll", "docbrain-system"];
            let mut before = Vec::new();
            for (number, victim) in (0..).zip(victims) {
                before.push(look(victim).await);
                // Earlier than the victim by its name.
                let mut claim = claiming(&format!("a-thief-{number}"), victim);
                claim["spec"]["suspended"] = true.into();
                lab.put(&claim).await;
            }
            for (number, victim) in (0..).zip(victims) {
                let thief = lab.stalled(&lab.tenants(), &format!("a-thief-{number}"), "NamespaceTaken").await;
                assert!(thief.status.as_ref().unwrap().namespace.is_none());
                let message = thief.condition("Ready").unwrap().message;
                assert!(message.contains(victim), "{message}");
            }
            // In the namespace of a claim that does not hold there is no tenant either.
            lab.put(&resource("Chatbot", "payroll", "stray", &json!({ "displayName": "Helper" }))).await;
            lab.judged(&lab.chatbots("payroll"), "stray", "told why it waits", |stray| {
                stray.condition("Reconciling").is_some_and(|condition| condition.reason == "TenantNotReady")
            })
            .await;
            lab.chatbots("payroll").delete("stray", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.chatbots("payroll"), "stray").await;

            // What is said of the claim does not hold for the namespace.
            source["spec"]["schedule"] = "@weekly".into();
            lab.put(&source).await;
            let cron_jobs = lab.api::<k8s_openapi::api::batch::v1::CronJob>("victim");
            let weekly = async || {
                Some(cron_jobs.get("web-schedule").await.ok()?.spec)
                    .filter(|spec| spec.schedule.ends_with(|day: char| day != '*'))
            };
            assert_eq!(lab.eventually("the schedule is another", weekly).await.suspend, Some(false));

            // Nor when the claim is given up.
            for number in 0..victims.len() {
                let name = format!("a-thief-{number}");
                lab.tenants().delete(&name, &DeleteParams::default()).await.unwrap();
                lab.gone(&lab.tenants(), &name).await;
            }
            for (victim, before) in victims.iter().zip(before) {
                assert_eq!(look(victim).await, before, "{victim}");
            }
            lab.put(&key("two")).await;
            let before = helper.status.unwrap().config_hash;
            lab.within(std::time::Duration::from_secs(2), "the victim's new key is in use", async || {
                let now = lab.chatbots("victim").get("helper").await.ok()?.status?.config_hash;
                (now != before).then_some(())
            })
            .await;
            let names =
                "select string_agg(name, ',') from tenants where name in ('kube-system', 'payroll', 'docbrain-system')";
            assert_eq!(lab.text(&format!("select coalesce(({names}), '')")).await.as_deref(), Some(""));
            assert_eq!(lab.chatbots("victim").get("helper").await.unwrap().verdict(), "Ready");
            let role = "select count(*) from tenants where name = 'victim' and not suspended";
            assert_eq!(lab.count(role).await, 1);
        })
    });
}

#[test]
fn two_tenants_cannot_have_one_namespace() {
    beside_others(|lab| {
        Box::pin(async {
            // Both are new, and ask for the same: one gets it, and loses nothing when the other goes.
            lab.put(&claiming("twin-a", "shared-home")).await;
            lab.put(&claiming("twin-b", "shared-home")).await;
            let winner = lab
                .eventually("one is ready and the other stalled", async || {
                    let a = lab.tenants().get("twin-a").await.ok()?.verdict();
                    let b = lab.tenants().get("twin-b").await.ok()?.verdict();
                    match (&*a, &*b) {
                        ("Ready", "Stalled/NamespaceTaken") => Some(("twin-a", "twin-b")),
                        ("Stalled/NamespaceTaken", "Ready") => Some(("twin-b", "twin-a")),
                        _ => None,
                    }
                })
                .await;
            lab.tenants().delete(winner.1, &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.tenants(), winner.1).await;
            let namespace = lab.namespaces().get("shared-home").await.unwrap();
            assert_eq!(namespace.labels()["docbrain.dev/tenant"], winner.0);
            assert!(namespace.metadata.deletion_timestamp.is_none());
            assert_eq!(lab.count("select count(*) from tenants where name = 'shared-home'").await, 1);
        })
    });
}

#[test]
fn a_reference_cannot_leave_its_namespace() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("inside").await;
            let with = |reference: Value| {
                let model = json!({ "provider": "openai", "baseUrl": "https://models.example/v1", "model": "m", "apiKeySecretRef": reference });
                let spec = json!({ "displayName": "Helper", "model": model });
                resource("Chatbot", "inside", "helper", &spec)
            };
            // A field for it there is not, and a name has no room for one.
            for name in ["../victim/openai", "victim/openai", "victim%2Fopenai", "Openai", ""] {
                let refused = lab.try_put(&with(json!({ "name": name, "key": "k" }))).await;
                assert!(refused.is_err(), "{name:?} was taken");
            }
            let elsewhere = with(json!({ "name": "openai", "key": "k", "namespace": "victim" }));
            let refused = lab.try_put(&elsewhere).await.unwrap_err().to_string();
            assert!(refused.contains("namespace"), "{refused}");
            // Without server-side apply the field is dropped, so that the Secret is looked for at home.
            let made: docbrain_crds::Chatbot = serde_json::from_value(elsewhere).unwrap();
            lab.chatbots("inside").create(&PostParams::default(), &made).await.unwrap();
            lab.stalled(&lab.chatbots("inside"), "helper", "SecretNotFound").await;

            let git = |name: &str| {
                let git = json!({ "url": "https://git.example/x.git", "credentialsSecretRef": { "name": name } });
                resource("KnowledgeSource", "inside", "repo", &json!({ "source": { "git": git } }))
            };
            assert!(lab.try_put(&git("victim/openai")).await.is_err());
            let sources = json!([{ "name": "victim/web" }]);
            let spec = json!({ "displayName": "Helper", "knowledgeSources": sources });
            lab.put(&resource("Chatbot", "inside", "other", &spec)).await;
            lab.judged(&lab.chatbots("inside"), "other", "without a source", |bot| {
                bot.condition("KnowledgeReady").is_some_and(|condition| condition.reason == "SourceNotFound")
            })
            .await;
        })
    });
}

#[test]
fn outside_of_tenants_nothing_is_made() {
    beside_others(|lab| {
        Box::pin(async {
            let spec = json!({ "displayName": "Helper" });
            lab.put(&resource("Chatbot", "default", "stray", &spec)).await;
            lab.put(&crate::harness::site("default", "stray")).await;
            lab.stalled(&lab.chatbots("default"), "stray", "NoTenant").await;
            lab.stalled(&lab.sources("default"), "stray", "NoTenant").await;
            let jobs = lab.api::<k8s_openapi::api::batch::v1::Job>("default");
            assert!(jobs.list(&ListParams::default()).await.unwrap().items.is_empty());
            // They go as they came.
            lab.chatbots("default").delete("stray", &DeleteParams::default()).await.unwrap();
            lab.sources("default").delete("stray", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.chatbots("default"), "stray").await;
            lab.gone(&lab.sources("default"), "stray").await;
        })
    });
}

#[test]
fn a_tenant_that_comes_later_takes_in_what_waits_in_its_namespace() {
    beside_others(|lab| {
        Box::pin(async {
            let metadata = json!({ "name": "waiting", "labels": { "docbrain.dev/tenant": "waiting" } });
            lab.put(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).await;
            lab.put(&resource("Chatbot", "waiting", "helper", &json!({ "displayName": "Helper" }))).await;
            lab.stalled(&lab.chatbots("waiting"), "helper", "NoTenant").await;
            lab.put(&tenant("waiting")).await;
            lab.ready(&lab.chatbots("waiting"), "helper").await;
            // It was there before: it stays when the tenant goes.
            lab.tenants().delete("waiting", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.tenants(), "waiting").await;
            assert!(lab.namespaces().get("waiting").await.unwrap().metadata.deletion_timestamp.is_none());
        })
    });
}
