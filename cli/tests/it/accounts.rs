//! Accounts, by the hand tools of whoever runs the installation.

use std::time::Duration;

use docbrain_core::env;
use serde_json::json;

use crate::harness::{Machine, Up, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_is_made_beside_a_running_server() {
    const EMAIL: &str = "ada@pumps.example";
    let Some(machine) = Machine::new() else { return };
    let up = Up::start(&machine, &[("DOCBRAIN_REGISTRATION", "open")]).await;
    let account = json!({ "email": EMAIL, "password": "correct horse battery", "company": "Pumps" });
    let registered = up.client.post(format!("{}/auth/register", up.url)).json(&account).send().await.unwrap();
    let registered: serde_json::Value = registered.json().await.unwrap();
    let token = registered["access_token"].as_str().unwrap();
    let tenants = || up.client.get(format!("{}/admin/tenants", up.url)).bearer_auth(token).send();
    assert_eq!(tenants().await.unwrap().status(), 403);
    let until = async |status: u16| {
        let changed = async {
            while tenants().await.unwrap().status() != status {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), changed).await.unwrap();
    };
    assert_eq!(stdout(&machine.run(&["superuser", "grant", EMAIL])), format!("{EMAIL} is a superuser\n"));
    until(200).await;

    // By the database's URL alone; this home's roles would lock out the server, whose passwords are of another one.
    let empty = tempfile::tempdir().unwrap();
    let url = stdout(&machine.run(&["postgres", "--", "printenv", "DATABASE_URL"]));
    let mut command = machine.command();
    command.args(["superuser", "revoke", EMAIL]).env(env::HOME, empty.path()).env(env::DATABASE_URL, url.trim());
    assert_eq!(stdout(&command.output().unwrap()), format!("{EMAIL} is no superuser any more\n"));
    until(403).await;
    let unknown = machine.run(&["superuser", "grant", "nobody@pumps.example"]);
    assert_eq!(stderr(&unknown).trim(), r#"error: there is no account "nobody@pumps.example"; it registers first"#);
    up.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forgot_a_password_gets_another_one() {
    const EMAIL: &str = "ada@pumps.example";
    let Some(machine) = Machine::new() else { return };
    let up = Up::start(&machine, &[("DOCBRAIN_REGISTRATION", "open")]).await;
    let post = async |path: &str, body: serde_json::Value| {
        up.client.post(format!("{}{path}", up.url)).json(&body).send().await.unwrap()
    };
    let me = async |token: &str| {
        let request = up.client.get(format!("{}/auth/me", up.url)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let forgotten = "correct horse battery";
    let account = json!({ "email": EMAIL, "password": forgotten, "company": "Pumps" });
    let registered: serde_json::Value = post("/auth/register", account).await.json().await.unwrap();
    let token = registered["access_token"].as_str().unwrap();
    assert_eq!(me(token).await, 200);

    let unknown = machine.run(&["reset-password", "nobody@pumps.example"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(stderr(&unknown).trim(), r#"error: there is no account "nobody@pumps.example""#);
    let reset = machine.run(&["reset-password", EMAIL]);
    let password = stdout(&reset).trim().to_owned();
    assert!(stderr(&reset).contains("signed out everywhere"), "{}", stderr(&reset));

    let with = async |password: &str| post("/auth/login", json!({ "email": EMAIL, "password": password })).await;
    assert_eq!(with(forgotten).await.status(), 401);
    assert_eq!(with(&password).await.status(), 200);
    let spent = json!({ "refresh_token": registered["refresh_token"] });
    assert_eq!(post("/auth/refresh", spent).await.status(), 401, "its sessions have ended");
    up.stop();
}
