//! A business puts itself on DocBrain: registered, taught, asked, rated and counted, by curl and by the official OpenAI
//! client, with a key that must be seen nowhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Machine, ModelServer, Up, stderr};

/// A provider key; whoever finds it has found a leak.
const CANARY: &str = "sk-canary-7f3a9c51e2d84b60";
const PASSWORD: &str = "canary battery 91c7 staple";
const QUESTION: &str = "How many litres per minute does the pump move?";

/// What curl says of one request.
struct Curl<'a> {
    up: &'a Up,
    token: Option<String>,
    /// Everything that was ever answered, headers included.
    heard: String,
}

impl Curl<'_> {
    fn call(&mut self, method: &str, path: &str, arguments: &[&str]) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60", "--request", method]);
        if let Some(token) = &self.token {
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        let output = command.args(arguments).arg(format!("{}{path}", self.up.url)).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let reply = String::from_utf8(output.stdout).unwrap();
        self.heard.push_str(&reply);
        // curl may have been told to go on first (100 Continue).
        let last = reply.rfind("HTTP/1.1 ").unwrap();
        let status = reply[last + 9..last + 12].parse().unwrap();
        let body = reply[last..].split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
    }

    fn json(&mut self, method: &str, path: &str, body: &Value, expected: u16) -> Value {
        let body = body.to_string();
        let arguments = ["--header", "Content-Type: application/json", "--header", "If-Match: *", "--data", &body];
        let (status, reply) = self.call(method, path, &arguments);
        assert_eq!(status, expected, "{method} {path}: {reply}");
        reply
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, reply) = self.call("GET", path, &[]);
        assert_eq!(status, 200, "GET {path}: {reply}");
        reply
    }
}

fn manual() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingest-job/testdata/manual.pdf")
}

/// Uploads the manual and waits until it is indexed.
fn teach(curl: &mut Curl<'_>) {
    let file = format!("file=@{};filename=manual.pdf", manual().display());
    let (status, accepted) = curl.call("POST", "/document/ingest", &["--form", "chatbot=assistant", "--form", &file]);
    assert_eq!(status, 202, "{accepted}");
    let run = format!("/runs/{}", accepted["run_id"].as_str().unwrap());
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let run = curl.get(&run);
        match run["state"].as_str().unwrap() {
            "succeeded" => break,
            "queued" | "running" => assert!(Instant::now() < deadline, "{run}"),
            _ => panic!("{run}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_goes_from_registration_to_statistics() {
    let (Some(machine), Some(model)) = (Machine::new(), ModelServer::start()) else { return };
    let settings = [
        ("DOCBRAIN_REGISTRATION", "open"),
        ("DOCBRAIN_ALLOWED_NETWORKS", "127.0.0.0/8"),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "debug,sqlx=info,hyper=info"),
    ];
    let up = Up::start(&machine, &settings).await;
    let mut curl = Curl { up: &up, token: None, heard: String::new() };

    let account = json!({"email": "ada@pumps.example", "password": PASSWORD, "company": "Pumps Ltd"});
    let made = curl.json("POST", "/auth/register", &account, 201);
    curl.json("POST", "/auth/register", &account, 409);
    curl.json("POST", "/auth/login", &json!({"email": "ada@pumps.example", "password": "wrong"}), 401);
    curl.token = Some(made["access_token"].as_str().unwrap().to_owned());
    let prices = json!({"stub": {"prompt": 1.0, "completion": 2.0}});
    let provider =
        json!({"kind": "compatible", "base_url": model.base_url, "model": "stub", "api_key": CANARY, "prices": prices});
    curl.json("PUT", "/tenant/providers/chat", &provider, 200);
    let probe = curl.json("POST", "/tenant/providers/chat/test", &json!({}), 200);
    assert_eq!(probe["ok"], true, "{probe}");
    teach(&mut curl);

    let asked = curl.json("POST", "/conversation/chat", &json!({"chatbot": "assistant", "message": QUESTION}), 200);
    assert_eq!((&asked["kind"], &asked["answerable"]), (&json!("generated"), &json!(true)), "{asked}");
    assert_eq!((&asked["citations"][0]["path"], &asked["citations"][0]["page"]), (&json!("manual.pdf"), &json!(1)));
    let feedback = format!("/messages/{}/feedback", asked["message_id"].as_str().unwrap());
    curl.json("PUT", &feedback, &json!({"rating": "up", "comment": "Right."}), 204);

    let mut chats = 1;
    let key = curl.json("POST", "/tokens", &json!({"name": "sdk", "scopes": ["chat"]}), 201);
    if let Some(clients) = std::env::var_os("DOCBRAIN_CLIENTS") {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/ask.py");
        let output = Command::new(Path::new(&clients).join("python"))
            .arg(script)
            .envs([("DOCBRAIN_URL", up.url.as_str()), ("DOCBRAIN_TOKEN", key["token"].as_str().unwrap())])
            .env("DOCBRAIN_QUESTION", QUESTION)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&said["model"], &said["cited"]), (&json!("assistant"), &json!("manual.pdf")), "{said}");
        assert_eq!(said["answer"], said["streamed"], "{said}");
        chats += 2;
    } else {
        println!("SKIPPED: the OpenAI client was not run, for DOCBRAIN_CLIENTS is not set; `make clients` installs it");
    }

    let figures = curl.get("/stats/overview");
    let totals = &figures["totals"];
    assert_eq!((&totals["chats"], &totals["answered"]), (&json!(chats), &json!(chats)), "{figures}");
    assert_eq!(totals["up"], 1, "{figures}");
    assert!(figures.to_string().contains("\"stub\""), "tokens are counted by model: {figures}");
    let conversations = curl.get("/chatbots/assistant/conversations");
    assert_eq!(conversations["conversations"].as_array().unwrap().len(), chats);
    for path in ["/tenant/settings", "/tenant/providers", "/audit", "/chatbots", "/tokens", "/metrics", "/openapi.json"]
    {
        curl.get(path);
    }
    // Longer than the argument of a program may be.
    let large =
        machine.write("large.json", &json!({"chatbot": "assistant", "message": "x".repeat(300_000)}).to_string());
    let arguments = ["--header", "Content-Type: application/json", "--data", &format!("@{}", large.display())];
    assert_eq!(curl.call("POST", "/conversation/chat", &arguments).0, 413);
    let heard = std::mem::take(&mut curl.heard);
    up.stop();
    let log = machine.log();
    assert!(log.contains("question answered"), "{log}");
    let access_token = made["access_token"].as_str().unwrap();
    for (what, place) in [("an answer", &heard), ("the log", &log)] {
        assert!(!place.contains(CANARY), "{what} holds the provider's key");
        assert!(!place.contains(PASSWORD), "{what} holds a password");
    }
    assert!(!log.contains(access_token) && !log.contains(key["token"].as_str().unwrap()), "the log holds a token");
}
