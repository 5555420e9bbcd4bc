//! What is changed in a resource shows in chat: within two seconds, and without a failed question.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::until;
use crate::model::MARK;
use crate::world::{CHATBOT, QUESTION, SOURCE, TENANT, World};

/// From `kubectl patch` to the answer that shows it.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Changes something, and tells how long it took from before the change until an answer holds `sign`.
async fn shows(world: &World, what: &str, sign: &str, change: impl Future<Output = ()>) {
    let api = &world.installation().await.api;
    let began = Instant::now();
    change.await;
    until(&format!("an answer with {sign:?}"), Duration::from_secs(20), async || {
        let answer = api.ask(TENANT, CHATBOT, QUESTION).await?["answer"].to_string();
        if answer.contains(sign) { Ok(()) } else { Err(answer) }
    })
    .await;
    within(what, began.elapsed());
}

fn within(what: &str, took: Duration) {
    println!("measured: {what} shows after {} ms", took.as_millis());
    assert!(took <= AT_ONCE, "{what} shows after {took:?}");
}

pub(crate) async fn of_a_prompt_show_within_two_seconds(world: Arc<World>) {
    for round in 0..5 {
        let mark = format!("{MARK}{round}-{}", std::process::id());
        let prompt = json!({ "spec": { "systemPrompt": format!("You help customers of Acme. {mark}") } });
        shows(&world, "an edited prompt", &mark, world.cluster.patch(TENANT, &format!("chatbot/{CHATBOT}"), &prompt))
            .await;
    }
}

pub(crate) async fn of_an_origin_show_within_two_seconds(world: Arc<World>) {
    const NEW: &str = "https://new.example.com";
    let api = &world.installation().await.api;
    let resource = format!("chatbot/{CHATBOT}");
    let chatbot = world.cluster.get(&["-n", TENANT, &resource]).await;
    let session = json!({ "chatbot": chatbot["status"]["id"] });
    let old = chatbot["spec"]["allowedOrigins"].clone();
    for (origins, expected) in [(json!([old[0], NEW]), 200), (old.clone(), 403)] {
        let began = Instant::now();
        world.cluster.patch(TENANT, &resource, &json!({ "spec": { "allowedOrigins": origins } })).await;
        until("a session of the widget", Duration::from_secs(20), async || {
            let status = api.post_status("/widget/session", NEW, &session).await;
            if status == expected { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        within(if expected == 200 { "an added origin" } else { "a removed origin" }, began.elapsed());
    }
}

/// The chatbot's own model, with its key in a Secret that is rotated.
pub(crate) async fn of_a_key_show_within_two_seconds(world: Arc<World>) {
    let base_url = world.model().await.base_url();
    let secret = |key: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: model, namespace: {TENANT}}}\nstringData: {{api-key: {key}}}\n"
        )
    };
    world.installation().await;
    world.cluster.apply(&secret("sk-first-0123456789")).await;
    let resource = format!("chatbot/{CHATBOT}");
    let model =
        json!({ "baseUrl": base_url, "model": "echo", "apiKeySecretRef": { "name": "model", "key": "api-key" } });
    let own = json!({ "spec": { "model": model } });
    let own = world.cluster.patch(TENANT, &resource, &own);
    shows(&world, "a model of the chatbot's own", "sk-first-0123456789", own).await;
    for round in 0..3 {
        let key = format!("sk-rotated-{round}-0123456789");
        shows(&world, "a rotated key", &key, world.cluster.apply(&secret(&key))).await;
    }
    world.cluster.patch(TENANT, &resource, &json!({ "spec": { "model": null } })).await;
}

pub(crate) async fn of_chunking_fail_no_question(world: Arc<World>) {
    let api = &world.installation().await.api;
    let source = format!("knowledgesource/{SOURCE}");
    let chunks = |source: &Value| source["status"]["chunks"].as_i64().unwrap_or_default();
    let last_run = |source: &Value| source["status"]["lastSuccessfulRun"]["id"].to_string();
    for chunking in [json!({ "strategy": "Window", "size": 64 }), json!({ "strategy": "Markdown", "size": 220 })] {
        let before = world.cluster.get(&["-n", TENANT, &source]).await;
        let load = api.load(TENANT, CHATBOT, QUESTION);
        world.cluster.patch(TENANT, &source, &json!({ "spec": { "chunking": chunking } })).await;
        let (after, took) = until("a run with the new chunking", Duration::from_mins(2), async || {
            let now = world.cluster.get(&["-n", TENANT, &source]).await;
            if last_run(&now) == last_run(&before) { Err(now["status"].to_string()) } else { Ok(now) }
        })
        .await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        load.end("a change of chunking").await;
        println!(
            "measured: new chunks after {:.1} s ({} before, {} after)",
            took.as_secs_f32(),
            chunks(&before),
            chunks(&after)
        );
        assert_ne!(chunks(&before), chunks(&after), "the new generation answers");
        api.ask(TENANT, CHATBOT, QUESTION).await.unwrap();
    }
}
