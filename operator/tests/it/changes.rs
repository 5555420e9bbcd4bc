//! Changes reach the rows that chats are answered from within two seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use docbrain_core::keyring::Keyring;
use docbrain_core::store::audit;
use docbrain_core::store::secrets::{RingSource, Secrets};
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{ENCRYPTION_KEYS, Judged, Lab, beside_others, resource};

/// What the product promises.
const SOON: Duration = Duration::from_secs(2);

fn bot(prompt: &str, origins: &[&str]) -> Value {
    let model = json!({
        "provider": "openai", "baseUrl": "https://models.example/v1", "model": "gpt-4.1-mini", "apiKeySecretRef": { "name": "openai", "key": "api-key" },
    });
    let spec = json!({ "displayName": "Helper", "systemPrompt": prompt, "allowedOrigins": origins, "model": model });
    resource("Chatbot", "changes", "helper", &spec)
}

fn secret(namespace: &str, key: &str, value: &str) -> Value {
    let metadata = json!({ "name": "openai", "namespace": namespace });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": { key: value } })
}

/// The key that a chat would be answered with.
async fn key(lab: &Lab, namespace: &str) -> Option<String> {
    let secrets = Secrets::new(RingSource::Given(Arc::new(Keyring::parse(&ENCRYPTION_KEYS.into()).unwrap())));
    let mut tx = lab.begin(namespace).await;
    let all = docbrain_core::store::secrets::list(&mut tx).await.unwrap();
    let reference = all.iter().find(|secret| secret.name.contains("openai"))?;
    let value = secrets.get(&mut tx, &reference.name).await.unwrap()?;
    Some(value.expose_secret().to_owned())
}

#[test]
fn prompts_origins_and_keys_are_in_use_within_two_seconds() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("changes").await;
            lab.put(&secret("changes", "api-key", "key-one")).await;
            lab.put(&bot("be brief", &["https://one.example"])).await;
            lab.ready(&lab.chatbots("changes"), "helper").await;
            assert_eq!(key(lab, "changes").await.as_deref(), Some("key-one"));
            let hash = hash(lab).await;
            let of_spec = |column: &str| {
                format!(
                    "select r.spec #>> '{{{column}}}' from chatbots r join tenants t using (tenant_id) where t.name = 'changes'"
                )
            };

            let changed = Instant::now();
            lab.put(&bot("be thorough", &["https://one.example"])).await;
            lab.within(SOON, "the prompt is in use", async || {
                (lab.text(&of_spec("systemPrompt")).await? == "be thorough").then_some(())
            })
            .await;
            lab.put(&bot("be thorough", &["https://one.example", "https://two.example"])).await;
            lab.within(SOON, "the origin is in use", async || {
                lab.text(&of_spec("allowedOrigins")).await?.contains("https://two.example").then_some(())
            })
            .await;
            lab.put(&secret("changes", "api-key", "key-two\n")).await;
            lab.within(SOON, "the key is in use", async || (key(lab, "changes").await? == "key-two").then_some(()))
                .await;
            println!("three changes were in use after {:?}", changed.elapsed());
            lab.judged(&lab.chatbots("changes"), "helper", "of another hash", |bot| {
                bot.verdict() == "Ready" && bot.status.as_ref().unwrap().config_hash.as_ref() != Some(&hash)
            })
            .await;
        })
    });
}

/// The tenant's audit log names who changed a custom resource.
#[test]
fn every_hand_is_noted() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("noted").await;
            let bots = lab.chatbots("noted");
            lab.put(&resource("Chatbot", "noted", "helper", &json!({ "displayName": "Helper" }))).await;
            lab.ready(&bots, "helper").await;
            // Field managers are known to the second.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let patch = |words: &[&str]| {
                lab.kubectl(
                    &[&["patch", "chatbot", "helper", "--namespace", "noted", "--type", "merge"], words].concat(),
                )
            };
            patch(&["--patch", r#"{"spec":{"systemPrompt":"Be brief."}}"#, "--field-manager", "kustomize-controller"])
                .unwrap();
            // No spec, no change.
            patch(&["--patch", r#"{"metadata":{"labels":{"team":"support"}}}"#]).unwrap();
            lab.judged(&bots, "helper", "observed", |bot| {
                bot.status.as_ref().is_some_and(|status| status.observed_generation == bot.metadata.generation)
            })
            .await;
            lab.kubectl(&["delete", "chatbot", "helper", "--namespace", "noted"]).unwrap();
            lab.gone(&bots, "helper").await;

            let mut changes = audit::list(&mut lab.begin("noted").await, None, 50).await.unwrap();
            changes.retain(|change| change.target == "helper");
            let told: Vec<_> = changes.iter().map(|change| (change.action.as_str(), change.actor.as_str())).collect();
            assert_eq!(
                told,
                [
                    ("chatbot.delete", "unknown"),
                    ("chatbot.update", "kustomize-controller"),
                    ("chatbot.create", "a-person"),
                ]
            );
            assert_eq!(changes[1].detail["patch"], json!({ "systemPrompt": "Be brief." }));
        })
    });
}

async fn hash(lab: &Lab) -> String {
    lab.chatbots("changes").get("helper").await.unwrap().status.unwrap().config_hash.unwrap()
}

#[test]
fn a_secret_that_comes_late_is_noticed() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("late").await;
            let mut late = bot("be brief", &[]);
            late["metadata"]["namespace"] = "late".into();
            lab.put(&late).await;
            let bots = lab.chatbots("late");
            let stalled = lab.stalled(&bots, "helper", "SecretNotFound").await;
            assert!(stalled.condition("Ready").unwrap().message.contains("Secret openai"));
            let events = lab.kubectl(&["get", "events", "--namespace", "late"]).unwrap();
            assert!(events.contains("SecretNotFound") && events.contains("Warning"), "{events}");

            lab.put(&secret("late", "another", "x")).await;
            lab.stalled(&bots, "helper", "KeyNotFound").await;
            lab.put(&secret("late", "api-key", "the-key")).await;
            lab.within(SOON, "it is ready", async || {
                (bots.get("helper").await.ok()?.verdict() == "Ready").then_some(())
            })
            .await;
            assert_eq!(key(lab, "late").await.as_deref(), Some("the-key"));

            // One that goes takes the chatbot with it, and its copy.
            lab.api::<Secret>("late").delete("openai", &Default::default()).await.unwrap();
            lab.stalled(&bots, "helper", "SecretNotFound").await;
        })
    });
}

#[test]
fn credentials_of_a_source_are_awaited() {
    beside_others(|lab| {
        Box::pin(async {
            lab.tenant("private").await;
            let git = json!({ "url": "https://git.example/docs.git", "credentialsSecretRef": { "name": "openai" } });
            lab.put(&resource("KnowledgeSource", "private", "repo", &json!({ "source": { "git": git } }))).await;
            let sources = lab.sources("private");
            let stalled = lab.stalled(&sources, "repo", "SecretNotFound").await;
            assert_eq!(stalled.condition("CredentialsReady").unwrap().reason, "SecretNotFound");
            let jobs = lab.api::<k8s_openapi::api::batch::v1::Job>("private");
            assert!(jobs.list(&Default::default()).await.unwrap().items.is_empty(), "no Job starts without them");
            lab.put(&secret("private", "username", "x")).await;
            lab.ready(&sources, "repo").await;
        })
    });
}
