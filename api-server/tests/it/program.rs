//! `docbrain-api` as a process: what it says of its configuration, what it refuses, how it starts and ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use docbrain_core::env;
use docbrain_core::store::roles::{self, Login};
use futures::{StreamExt, stream};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::World;
use crate::limits::{in_one_minute, limit_chatbot};

/// Stands in every secret, and in what a visitor writes.
const CANARY: &str = "the-canary";

fn program(arguments: &[&str], settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docbrain-api"));
    command.args(arguments).env_clear().envs(settings.iter().map(|(name, value)| (*name, value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A whole configuration: the database, and a server for embeddings, chat and reports.
fn settings(database_url: &str, models: &MockServer, port: u16) -> Vec<(&'static str, String)> {
    let key = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2E=";
    vec![
        (env::API_DATABASE_URL, database_url.to_owned()),
        (env::PUBLIC_URL, "https://docs.example.com".to_owned()),
        (env::LISTEN, format!("127.0.0.1:{port}")),
        (env::ADMIN_TOKEN, CANARY.repeat(4)),
        (env::SIGNING_KEYS, format!("a:{key}")),
        (env::ENCRYPTION_KEYS, format!("a:{key}")),
        (env::EMBEDDING_BASE_URL, models.uri()),
        (env::EMBEDDING_API_KEY, CANARY.to_owned()),
        (env::SENTRY_DSN, format!("http://public@{}/7", models.address())),
    ]
}

/// The URL of the test's database for the API's role.
async fn login(owner: &PgPool) -> String {
    let secret = SecretString::from("a secret of the tests");
    roles::ensure(owner, Login::Api, &secret).await.unwrap();
    let url = owner.connect_options().to_url_lossy().to_string();
    roles::url(&url, Login::Api, &secret).unwrap().expose_secret().to_owned()
}

/// Embeds one text, which opening the model does, and refuses every other.
async fn models() -> MockServer {
    let server = MockServer::start().await;
    let embedding = json!({"data": [{"index": 0, "embedding": vec![0.125; 64]}], "model": "m"});
    Mock::given(method("POST"))
        .and(path_regex("^/embeddings$"))
        .respond_with(ResponseTemplate::new(200).set_body_json(embedding))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let refusal = json!({"error": {"message": "the model is gone"}});
    Mock::given(path_regex("^/embeddings$"))
        .respond_with(ResponseTemplate::new(404).set_body_json(refusal))
        .mount(&server)
        .await;
    Mock::given(path_regex("^/api/7/")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn terminate(process: &Child) {
    assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
}

async fn until_started(client: &reqwest::Client, url: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !client.get(format!("{url}/startupz")).send().await.is_ok_and(|reply| reply.status() == StatusCode::OK) {
        assert!(Instant::now() < deadline, "docbrain-api did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_configuration_is_checked_without_being_used() {
    let output = program(&["check"], &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("\n  DOCBRAIN_PUBLIC_URL: it is not set"), "{}", stderr(&output));
    let help = program(&["--help"], &[]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("DOCBRAIN_SIGNING_KEYS (required, secret)"));
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_at_once() {
    let models = models().await;
    let mut settings = settings("postgres://docbrain_api:x@127.0.0.1:1/docbrain", &models, free_port());
    settings.extend([(env::CONTROL_PLANE, "kubernetes".to_owned()), ("KUBECONFIG", "/nowhere".to_owned())]);
    let output = program(&[], &settings).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("there is no cluster: run as a pod with a service account, or set KUBECONFIG"), "{said}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_waited_for_until_the_program_is_to_stop() {
    let models = models().await;
    let url = format!("postgres://docbrain_api:{CANARY}@127.0.0.1:{}/docbrain", free_port());
    let mut process = program(&[], &settings(&url, &models, free_port())).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("waiting for the database") && !first.contains(CANARY), "{first}");
    terminate(&process);
    assert!(process.wait().unwrap().success());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_database_that_would_not_keep_tenants_apart_is_refused(owner: PgPool) {
    let models = models().await;
    let superuser = owner.connect_options().to_url_lossy().to_string();
    let output = program(&[], &settings(&superuser, &models, free_port())).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = stderr(&output);
    assert!(log.contains("the database role passes by row-level security"), "{log}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_schema_that_is_too_old_is_waited_for(owner: PgPool) {
    let (models, port) = (models().await, free_port());
    let url = login(&owner).await;
    let rename = async |from: &str, to: &str| {
        let statement = format!(
            "update _sqlx_migrations set version = version {to} where version = (select {from}(version) from _sqlx_migrations)"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&owner).await.unwrap();
    };
    // The newest migration is not there yet, and comes.
    rename("max", "- 1000000").await;
    let mut process = program(&[], &settings(&url, &models, port)).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("run `docbrain migrate`") && first.contains("waiting"), "{first}");
    rename("min", "+ 1000000").await;
    until_started(&reqwest::Client::new(), &format!("http://127.0.0.1:{port}")).await;
    terminate(&process);
    assert!(process.wait().unwrap().success());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_failure_is_logged_and_reported_under_its_request(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "guide.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let models = models().await;
    let port = free_port();
    let settings = settings(&login(&world.owner).await, &models, port);
    assert!(program(&["check"], &settings).output().unwrap().status.success());
    let process = program(&[], &settings).spawn().unwrap();
    let (client, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}"));
    until_started(&client, &url).await;

    let reply = client
        .post(format!("{url}/conversation/chat"))
        .bearer_auth(CANARY.repeat(4))
        .header("x-docbrain-tenant", "acme")
        .header("x-request-id", "follow-me")
        .json(&json!({"chatbot": "helper", "message": format!("Which key is {CANARY}?")}))
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 502);
    let metrics = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("docbrain_model_errors_total{code=\"embedding_unavailable\"} 1"), "{metrics}");
    terminate(&process);
    let output = process.wait_with_output().unwrap();
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(!log.contains(CANARY), "{log}");

    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_request = |message: &str| {
        let line =
            lines.iter().find(|line| line["message"] == message && line["spans"][0]["request_id"] == "follow-me");
        line.unwrap_or_else(|| panic!("{message}: {log}"))
    };
    assert_eq!(of_request("request failed")["code"], "embedding_unavailable");
    let access = of_request("request");
    assert_eq!(access["status"], 502);
    assert!(access["duration_ms"].as_f64().unwrap() > 0.0);
    let span = &access["spans"][0];
    assert_eq!((&span["route"], &span["method"]), (&json!("/conversation/chat"), &json!("POST")));
    assert_eq!(span["tenant"], world.acme.to_string());
    assert!(span["conversation"].is_string());

    let requests = models.received_requests().await.unwrap();
    let reports: Vec<String> = requests
        .iter()
        .filter(|request| request.url.path() == "/api/7/envelope/")
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    let [report] = reports.as_slice() else { panic!("{reports:#?}") };
    assert!(report.contains(r#""request_id":"follow-me""#) && report.contains("request failed"), "{report}");
    assert!(!report.contains(CANARY) && !report.contains("the model is gone"), "{report}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_probe_that_fails_is_logged_when_it_begins_to(owner: PgPool) {
    let models = models().await;
    let port = free_port();
    let process = program(&[], &settings(&login(&owner).await, &models, port)).spawn().unwrap();
    let (client, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}"));
    until_started(&client, &url).await;
    let probe = async || client.get(format!("{url}/readyz")).send().await.unwrap().status().as_u16();
    let options = PgConnectOptions::clone(&owner.connect_options());
    let database = options.get_database().unwrap().to_owned();
    // No database can be closed from within.
    let mut outside = options.database("postgres").connect().await.unwrap();
    let mut open = async |open: bool| {
        let statement = format!("alter database {database:?} allow_connections {open}");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut outside).await.unwrap();
        let end =
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and usename = 'docbrain_api'";
        sqlx::query(end).bind(&database).execute(&mut outside).await.unwrap();
    };
    for _ in 0..2 {
        open(false).await;
        for _ in 0..5 {
            assert_eq!(probe().await, 503);
        }
        open(true).await;
        while probe().await != 200 {}
    }
    terminate(&process);
    let log = stderr(&process.wait_with_output().unwrap());
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((count("request failed"), count("ready again")), (2, 2), "{log}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn two_processes_keep_a_limit_together(owner: PgPool) {
    const LIMIT: usize = 100;
    let world = World::new(owner).await;
    limit_chatbot(&world, &json!({"questionsPerMinute": LIMIT})).await;
    let models = MockServer::start().await;
    let embedding = json!({"data": [{"index": 0, "embedding": vec![0.125; 64]}], "model": "m"});
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_json(embedding)).mount(&models).await;
    let database = login(&world.owner).await;
    let client = reqwest::Client::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let port = free_port();
        let mut settings = settings(&database, &models, port);
        settings.retain(|(name, _)| *name != env::SENTRY_DSN);
        servers
            .push((program(&[], &settings).stderr(Stdio::null()).spawn().unwrap(), format!("http://127.0.0.1:{port}")));
    }
    for (_, url) in &servers {
        until_started(&client, url).await;
    }
    in_one_minute().await;
    // Each is asked as often as both may answer, by several clients at a time.
    let asked = servers.iter().flat_map(|(_, url)| std::iter::repeat_n(url, LIMIT)).map(async |url| {
        let request = client.post(format!("{url}/conversation/chat")).bearer_auth(CANARY.repeat(4));
        let question = json!({"chatbot": "helper", "message": "Which key?"});
        let reply = request.header("x-docbrain-tenant", "acme").json(&question).send().await.unwrap();
        assert!(matches!(reply.status().as_u16(), 200 | 429), "{}", reply.status());
        reply.status() == StatusCode::OK
    });
    let answered: Vec<bool> = stream::iter(asked).buffer_unordered(16).collect().await;
    let answered = answered.into_iter().filter(|answered| *answered).count();
    for (mut process, _) in servers {
        terminate(&process);
        assert!(process.wait().unwrap().success());
    }
    assert!((LIMIT - 5..=LIMIT).contains(&answered), "{answered} of {LIMIT} questions were answered");
}
