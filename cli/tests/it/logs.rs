//! One request, followed through the log lines of three processes.

use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{Machine, TOKEN, Up};

/// Stands in the text of documents and of questions.
const CANARY: &str = "zanzibar";

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_followed_to_its_run_and_an_answer_to_its_conversation() {
    let Some(machine) = Machine::new() else { return };
    let settings = [("LOG_FORMAT", "json"), ("RUST_LOG", "info,sqlx=error")];
    let up = Up::start(&machine, &settings).await;
    up.until_indexed(3).await;
    let text = format!("# Lamp\n\nThe {CANARY} lamp is lit with the green lever.\n");
    let form = Form::new().text("chatbot", "demo").part("file", Part::bytes(text.into_bytes()).file_name("lamp.md"));
    let upload = up.client.post(format!("{}/document/ingest", up.url)).bearer_auth(TOKEN);
    let reply = upload.header("x-request-id", "upload-1").multipart(form).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
    let run = reply.json::<Value>().await.unwrap()["run_id"].clone();
    up.until_indexed(4).await;
    let question = json!({"chatbot": "demo", "message": format!("How is the {CANARY} lamp lit?")});
    let chat = up.client.post(format!("{}/conversation/chat", up.url)).bearer_auth(TOKEN);
    let reply = chat.header("x-request-id", "chat-1").json(&question).send().await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    up.stop();

    let log = machine.log();
    assert!(!log.contains(CANARY) && !log.contains(TOKEN), "{log}");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |id: &str| -> Vec<(&str, &Value)> {
        let belongs = |line: &&Value| line["request_id"] == id || line["spans"][0]["request_id"] == id;
        lines.iter().filter(belongs).map(|line| (line["message"].as_str().unwrap(), line)).collect()
    };
    let upload = of("upload-1");
    let told: Vec<&str> = upload.iter().map(|(message, _)| *message).collect();
    assert_eq!(told, ["request", "ingestion process starts", "ingestion run begins", "ingestion run ended"], "{log}");
    assert_eq!(upload[0].1["spans"][0]["route"], "/document/ingest");
    assert_eq!(upload[1].1["run.id"], run);
    let span = &upload[2].1["spans"][0];
    assert_eq!((&span["name"], &span["run.id"]), (&json!("run"), &run));
    let chat = of("chat-1");
    assert_eq!(chat.iter().map(|(message, _)| *message).collect::<Vec<_>>(), ["question answered", "request"], "{log}");
    assert_eq!(chat[0].1["spans"][0]["conversation"], reply["conversation_id"]);
    assert_eq!(chat[0].1["spans"][0]["tenant"], upload[0].1["spans"][0]["tenant"]);
}
