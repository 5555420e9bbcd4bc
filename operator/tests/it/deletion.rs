//! Deletion: in order, with or without the rows, and also when the database is gone.

use docbrain_core::ids::ConversationId;
use docbrain_core::store::conversations::{self, Channel, Exchange};
use docbrain_core::store::{chatbots, tenants};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Fate, Judged, Lab, alone, beside_others, resource, site, tenant};

/// A tenant with a chatbot, a source with a schedule and a conversation.
async fn lived_in(lab: &Lab, name: &str, policy: &str) {
    let mut wanted = tenant(name);
    wanted["spec"]["deletionPolicy"] = policy.into();
    lab.put(&wanted).await;
    lab.ready(&lab.tenants(), name).await;
    let mut source = site(name, "web");
    source["spec"]["schedule"] = "@daily".into();
    lab.put(&source).await;
    let bot = json!({ "displayName": "Helper", "knowledgeSources": [{ "name": "web" }] });
    lab.put(&resource("Chatbot", name, "helper", &bot)).await;
    lab.ready(&lab.chatbots(name), "helper").await;
    let mut tx = lab.begin(name).await;
    let chatbot = chatbots::get(&mut tx, &chatbots::ChatbotRef::from("helper")).await.unwrap().id;
    let id = tx.tenant();
    tx.commit().await.unwrap();
    let exchange = Exchange {
        chatbot,
        conversation: ConversationId::new(),
        channel: Channel::Api,
        visitor: None,
        question: "How?",
        answer: "So.",
        kind: "generated",
        answerable: true,
        best_score: None,
        citations: &json!([]),
        model: None,
        prompt_tokens: 1,
        completion_tokens: 1,
        cost_micros: None,
        milliseconds: 1,
    };
    conversations::append(&lab.everything, id, &exchange).await.unwrap();
}

/// Rows of a table that belong to the tenant of this id.
async fn rows(lab: &Lab, table: &str, id: &str) -> i64 {
    lab.count(&format!("select count(*) from {table} where tenant_id = '{id}'")).await
}

async fn id_of(lab: &Lab, name: &str) -> String {
    tenants::named(&lab.owner, name).await.unwrap().unwrap().0.to_string()
}

async fn roles(lab: &Lab, id: &str) -> i64 {
    let role = format!("docbrain_ingest_{}", id.replace('-', ""));
    lab.count(&format!("select count(*) from pg_roles where rolname = '{role}'")).await
}

#[test]
fn a_tenant_goes_with_all_it_has_where_that_is_meant() {
    beside_others(|lab| {
        Box::pin(async {
            lived_in(lab, "leaving", "Delete").await;
            let id = id_of(lab, "leaving").await;
            assert_eq!((rows(lab, "conversations", &id).await, roles(lab, &id).await), (1, 1));
            // A run is under way.
            lab.kubelet.expect("leaving", "slow", &[Fate::Runs]);
            lab.put(&site("leaving", "slow")).await;
            lab.judged(&lab.sources("leaving"), "slow", "at work", |source| {
                source.status.as_ref().unwrap().current_run.is_some()
            })
            .await;
            lab.tenants().delete("leaving", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.tenants(), "leaving").await;
            lab.gone(&lab.namespaces(), "leaving").await;
            for table in ["tenants", "chatbots", "knowledge_sources", "runs", "conversations", "messages", "secrets"] {
                assert_eq!(rows(lab, table, &id).await, 0, "{table}");
            }
            assert_eq!(roles(lab, &id).await, 0);
        })
    });
}

#[test]
fn a_retained_tenant_finds_its_conversations_again() {
    beside_others(|lab| {
        Box::pin(async {
            lived_in(lab, "coming-back", "Retain").await;
            let id = id_of(lab, "coming-back").await;
            lab.tenants().delete("coming-back", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.tenants(), "coming-back").await;
            lab.gone(&lab.namespaces(), "coming-back").await;
            for table in ["tenants", "chatbots", "knowledge_sources", "conversations"] {
                assert_eq!(rows(lab, table, &id).await, 1, "{table}");
            }
            let suspended = format!("select suspended::text from tenants where tenant_id = '{id}'");
            assert_eq!(lab.text(&suspended).await.as_deref(), Some("true"), "nobody reaches them meanwhile");

            let mut wanted = tenant("coming-back");
            wanted["spec"]["deletionPolicy"] = "Delete".into();
            lab.put(&wanted).await;
            lab.ready(&lab.tenants(), "coming-back").await;
            assert_eq!(lab.text(&suspended).await.as_deref(), Some("false"));
            assert_eq!(id_of(lab, "coming-back").await, id);
            lab.put(&site("coming-back", "web")).await;
            lab.ready(&lab.sources("coming-back"), "web").await;
            let bot = json!({ "displayName": "Helper", "knowledgeSources": [{ "name": "web" }] });
            lab.put(&resource("Chatbot", "coming-back", "helper", &bot)).await;
            let ready = lab.ready(&lab.chatbots("coming-back"), "helper").await;
            let of_bot = format!(
                "select count(*) from conversations where chatbot_id = '{}'",
                ready.status.unwrap().id.unwrap()
            );
            assert_eq!(lab.count(&of_bot).await, 1);

            lab.tenants().delete("coming-back", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.tenants(), "coming-back").await;
            assert_eq!(rows(lab, "tenants", &id).await, 0);
        })
    });
}

#[test]
fn sources_and_chatbots_go_alone() {
    beside_others(|lab| {
        Box::pin(async {
            lived_in(lab, "tidy", "Delete").await;
            let id = id_of(lab, "tidy").await;
            let mut kept = site("tidy", "kept");
            kept["spec"]["deletionPolicy"] = "Retain".into();
            lab.put(&kept).await;
            lab.ready(&lab.sources("tidy"), "kept").await;
            assert_eq!(rows(lab, "knowledge_sources", &id).await, 2);

            lab.sources("tidy").delete("kept", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.sources("tidy"), "kept").await;
            assert_eq!(rows(lab, "knowledge_sources", &id).await, 2, "retained");
            lab.sources("tidy").delete("web", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.sources("tidy"), "web").await;
            assert_eq!(rows(lab, "knowledge_sources", &id).await, 1);
            lab.gone(&lab.api::<CronJob>("tidy"), "web-schedule").await;
            lab.eventually("its Jobs are gone", async || {
                let left = lab.api::<Job>("tidy").list(&ListParams::default()).await.ok()?;
                left.items.is_empty().then_some(())
            })
            .await;
            // Its chatbot has nothing to answer from any more.
            lab.judged(&lab.chatbots("tidy"), "helper", "without its source", |bot| {
                bot.condition("Ready").is_some_and(|ready| ready.reason == "SourceNotFound")
            })
            .await;
            lab.chatbots("tidy").delete("helper", &DeleteParams::default()).await.unwrap();
            lab.gone(&lab.chatbots("tidy"), "helper").await;
            assert_eq!(rows(lab, "chatbots", &id).await, 0);
        })
    });
}

#[test]
fn a_namespace_that_somebody_deleted_is_made_again() {
    beside_others(|lab| {
        Box::pin(async {
            lived_in(lab, "razed", "Retain").await;
            let id = id_of(lab, "razed").await;
            let before = lab.namespaces().get("razed").await.unwrap().metadata.uid;
            lab.namespaces().delete("razed", &DeleteParams::default()).await.unwrap();
            lab.eventually("it is made again", async || {
                let now = lab.namespaces().get_opt("razed").await.ok()??;
                (now.metadata.uid != before).then_some(())
            })
            .await;
            lab.ready(&lab.tenants(), "razed").await;
            assert_eq!(id_of(lab, "razed").await, id);
            // What was in it is gone, as whoever deleted it asked for, and can be applied again.
            lab.put(&site("razed", "web")).await;
            lab.ready(&lab.sources("razed"), "web").await;
        })
    });
}

#[test]
fn a_resource_can_be_given_up_when_the_database_is_gone() {
    alone("deletion", |lab| {
        Box::pin(async {
            lab.ensure_operator().await;
            lived_in(lab, "given-up", "Delete").await;
            lab.gate.shut();
            lab.tenants().delete("given-up", &DeleteParams::default()).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            assert!(lab.tenants().get_opt("given-up").await.unwrap().is_some(), "it waits for its rows to go");
            let force =
                Patch::Merge(json!({ "metadata": { "annotations": { "docbrain.dev/force-finalize": "true" } } }));
            lab.tenants().patch("given-up", &PatchParams::default(), &force).await.unwrap();
            lab.chatbots("given-up").patch("helper", &PatchParams::default(), &force).await.unwrap();
            lab.sources("given-up").patch("web", &PatchParams::default(), &force).await.unwrap();
            lab.within(std::time::Duration::from_secs(60), "it is gone", async || {
                lab.tenants().get_opt("given-up").await.ok()?.is_none().then_some(())
            })
            .await;
            lab.gone(&lab.namespaces(), "given-up").await;
            lab.gate.open();
            // The rows are nobody's, and become a later tenant's of that name.
            lab.tenant("given-up").await;
        })
    });
}
