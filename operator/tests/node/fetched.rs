//! Knowledge sources that real pods fetch.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::cluster::until;
use crate::repository::Repository;
use crate::world::{TENANT, World};

const PAGE: &str = "<html><head><title>Lamps</title></head><body><main><h1>Lamps</h1><p>To replace the bulb of a lamp, turn \
                    the bulb to the left until it comes out, and turn the new one to the right.</p></main></body></html>";
const FILE: &str =
    "# Valves\n\nTo open the main valve, turn its wheel to the left three times and wait for the bell.\n";

pub(crate) async fn web_sites_are_cited_by_their_address(world: Arc<World>) {
    let listener = std::net::TcpListener::bind((world.cluster.host.unwrap(), 0)).unwrap();
    let site = MockServer::builder().listener(listener).start().await;
    let page = ResponseTemplate::new(200).set_body_raw(PAGE, "text/html; charset=utf-8");
    Mock::given(path("/guide/lamps")).respond_with(page).mount(&site).await;
    let url = format!("{}/guide/lamps", site.uri());
    let cited = cited(&world, "site", &json!({ "web": { "startUrls": [url] } }), "How do I replace a bulb?").await;
    assert_eq!(cited["url"], url, "{cited}");
}

pub(crate) async fn repositories_are_cited_at_their_commit(world: Arc<World>) {
    let repository = Repository::start(world.cluster.host.unwrap()).await;
    repository.write("docs/valves.md", FILE);
    let commit = repository.publish();
    let git = json!({ "url": repository.url(), "webUrl": "https://git.example.com/blob/{commit}/{path}" });
    let cited = cited(&world, "repository", &json!({ "git": git }), "How do I open the main valve?").await;
    assert_eq!(cited["url"], format!("https://git.example.com/blob/{commit}/docs/valves.md"), "{cited}");
}

/// The first citation of an answer from a source, and from nothing else.
async fn cited(world: &World, name: &str, source: &Value, question: &str) -> Value {
    let api = &world.installation().await.api;
    let metadata = json!({ "name": name, "namespace": TENANT });
    let object = |kind: &str, spec: Value| {
        json!({ "apiVersion": "docbrain.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec }).to_string()
    };
    world.cluster.apply(&object("KnowledgeSource", json!({ "source": source }))).await;
    world
        .cluster
        .apply(&object("Chatbot", json!({ "displayName": name, "knowledgeSources": [{ "name": name }] })))
        .await;
    let (reply, took) = until("an answer from a fetched source", Duration::from_mins(2), async || {
        match api.ask(TENANT, name, question).await {
            Ok(reply) => Ok(reply),
            Err(seen) => {
                let resource = format!("knowledgesource/{name}");
                Err(format!("{seen}; {}", world.cluster.condition(TENANT, &resource, "Ready").await))
            }
        }
    })
    .await;
    println!("measured: a {name} is answered from {:.1} s after it was applied", took.as_secs_f32());
    world.cluster.delete(&["-n", TENANT, &format!("chatbot/{name}"), &format!("knowledgesource/{name}")]).await;
    reply["citations"][0].clone()
}
