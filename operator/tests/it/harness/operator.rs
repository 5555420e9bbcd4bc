//! The operator's program as a process that can be killed and frozen.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use docbrain_core::env;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Lab;

pub(crate) const IMAGE: &str = "docbrain/ingest-job:test";
pub(crate) const NAMESPACE: &str = "docbrain-system";
/// Names another build of the operator, such as one for production.
const PROGRAM: &str = "DOCBRAIN_TEST_OPERATOR";

pub(crate) struct Operator {
    child: Child,
    port: u16,
    pub(crate) log: PathBuf,
}

impl Operator {
    /// Starts one that calls itself `identity`, with these variables besides the usual ones.
    pub(crate) async fn start(lab: &Lab, identity: &str, variables: &[(&str, String)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = lab.cluster.folder.join(format!("{identity}.log"));
        let file: File = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let program = std::env::var(PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_docbrain-operator").to_owned());
        let mut command = Command::new(program);
        command
            .arg("run")
            .env_clear()
            .env("KUBECONFIG", lab.kubeconfig_of(identity, true).await)
            .env(env::DATABASE_URL, lab.database_url())
            .env(env::DATABASE_CONNECTIONS, "16")
            .env(env::ROLE_SECRET, super::ROLE_SECRET)
            .env(env::ENCRYPTION_KEYS, super::ENCRYPTION_KEYS)
            .env(env::INGEST_IMAGE, IMAGE)
            .env(env::PUBLIC_URL, "https://docs.example/")
            .env(env::LISTEN, format!("127.0.0.1:{port}"))
            .env(env::POD_NAMESPACE, NAMESPACE)
            .env(env::POD_NAME, identity)
            .env(env::LOG_FORMAT, "text")
            .env(env::LOG_FILTER, "info,sqlx=error,kube=warn")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(lab.cluster.group());
        Self { child: command.spawn().unwrap(), port, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// It does nothing until it is thawed.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// At once, whatever it is doing.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Kubernetes does.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = Instant::now() + Duration::from_secs(15);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < ended, "the operator does not end: {}", self.log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) async fn leads(&self) -> bool {
        self.try_metrics().await.is_some_and(|metrics| metrics.get("docbrain_operator_leader") == 1.0)
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        self.try_metrics().await.unwrap()
    }

    async fn try_metrics(&self) -> Option<Metrics> {
        let text = self.get("/metrics").await?;
        let lines = text.lines().filter(|line| line.starts_with("docbrain_"));
        let numbers = lines.filter_map(|line| line.rsplit_once(' '));
        Some(Metrics(numbers.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()))
    }

    /// What it answers, from the status line on.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Numbers by the names and labels that Prometheus has for them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Over all labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let of_name = self.0.iter().filter(|(full, _)| full.split('{').next() == Some(name));
        of_name.fold(0.0, |sum, (_, value)| sum + value)
    }

    pub(crate) fn reconciles(&self, kind: &str) -> f64 {
        self.get(&format!("docbrain_operator_reconciles_total{{kind=\"{kind}\",result=\"ok\"}}"))
            + self.get(&format!("docbrain_operator_reconciles_total{{kind=\"{kind}\",result=\"error\"}}"))
    }
}
