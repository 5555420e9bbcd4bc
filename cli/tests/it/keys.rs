//! `docbrain keys`: made, listed and rotated, beside a server that uses them.

use std::fs;

use docbrain_core::env;
use serde_json::{Value, json};

use crate::harness::{Machine, ModelServer, TOKEN, Up, stderr, stdout};

#[test]
fn a_key_is_made_as_the_environment_takes_it() {
    let Some(machine) = Machine::new() else { return };
    let made = stdout(&machine.run(&["keys", "generate"]));
    let (id, key) = made.trim().split_once(':').unwrap();
    assert!(id.len() <= 32 && key.len() == 44, "{made}");
    assert_ne!(made, stdout(&machine.run(&["keys", "generate"])));

    let listed = machine.command().args(["keys", "list"]).env(env::ENCRYPTION_KEYS, made.trim()).output().unwrap();
    let listed = stdout(&listed);
    assert!(listed.contains(id) && listed.contains("current") && !listed.contains(key), "{listed}");
    let listed =
        machine.command().args(["keys", "list"]).env(env::ENCRYPTION_KEYS, "").env(env::LOG_FORMAT, "").output();
    assert!(stdout(&listed.unwrap()).contains("current"), "nothing in a variable leaves the keys of the home folder");
    let output = machine.command().args(["keys", "list"]).env(env::ENCRYPTION_KEYS, format!("{id}:{key}x")).output();
    let output = output.unwrap();
    let told = stderr(&output);
    assert!(!output.status.success());
    assert!(told.contains("entry 1") && told.contains("docbrain keys generate") && !told.contains(key), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_beside_a_server_that_uses_them() {
    let (Some(machine), Some(model)) = (Machine::new(), ModelServer::start()) else { return };
    let up = Up::start(&machine, &[(env::ALLOWED_NETWORKS, "127.0.0.0/8")]).await;
    up.until_indexed(3).await;
    let put = async |purpose: &str, name: &str| {
        let settings =
            json!({"kind": "compatible", "base_url": model.base_url, "model": name, "api_key": "sk-0123456789abcdef"});
        let request = up.client.put(format!("{}/tenant/providers/{purpose}", up.url)).bearer_auth(TOKEN);
        let reply = request.json(&settings).send().await.unwrap();
        assert!(reply.status().is_success(), "{}", reply.text().await.unwrap());
    };
    put("chat", "stub-chat").await;
    let path = machine.path("secrets/encryption-keys");
    let first = fs::read_to_string(&path).unwrap();
    for _ in 0..3 {
        let told = stdout(&machine.run(&["keys", "rotate"]));
        assert!(told.starts_with("1 data keys were encrypted anew"), "{told}");
        // Set again under the key that is current now, and read by the server that has been running all along.
        put("chat", "stub-chat").await;
        let reply = up.chat("What happens when an ingestion is killed?").await;
        assert_eq!(reply["kind"], "generated", "{reply}");
    }
    let last = fs::read_to_string(&path).unwrap();
    assert_eq!((last.lines().count(), last == first), (1, false));
    let listed = stdout(&machine.run(&["keys", "list"]));
    assert!(listed.contains(last.split_once(':').unwrap().0) && !listed.contains("MISSING"), "{listed}");

    // Runs embed with the tenant's own model, by a key that their process is given.
    put("embeddings", "stub-embedding").await;
    up.stop();
    let file = machine.write("lamp.md", "# Lamp\n\nThe bulb is turned to the left.\n");
    let ingest =
        || machine.command().args(["ingest", "--json"]).arg(&file).env(env::ALLOWED_NETWORKS, "127.0.0.0/8").output();
    let report: Value = serde_json::from_str(&stdout(&ingest().unwrap())).unwrap();
    assert_eq!((&report["state"], &report["documents"]["failed"]), (&json!("succeeded"), &json!(0)), "{report}");
    let refused = machine.command().args(["ingest", "--json"]).arg(&file).output().unwrap();
    assert!(!refused.status.success(), "the network is no longer allowed");
    drop(model);
    assert!(!ingest().unwrap().status.success(), "the tenant's model is gone");
}
