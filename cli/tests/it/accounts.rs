//! Accounts, by the hand tools of whoever runs the installation.

use serde_json::json;

use crate::harness::{Machine, Up, stderr, stdout};

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
