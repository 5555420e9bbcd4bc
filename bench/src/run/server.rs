//! The product under test: its process, and the part of its API that the benchmark uses.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use docbrain_core::env;
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::corpus::{Corpus, Document};
use super::process::Process;
use crate::machine::{Watched, postmaster_below};

/// Guards a server that exists for minutes on the loopback interface.
const TOKEN: &str = "docbrain-bench-admin-token-for-one-run";
/// The chatbot that the first start creates.
const CHATBOT: &str = "demo";
/// Questions a minute that the chatbot may be asked: so many that none is refused, and every one is counted.
const QUESTIONS_PER_MINUTE: u32 = 1_000_000;
const READY_LIMIT: Duration = Duration::from_mins(3);
const RUN_LIMIT: Duration = Duration::from_mins(15);
const POLL: Duration = Duration::from_millis(50);
/// Documents go up in requests of about this many bytes. Each request is a run of its own, and one run of many documents is measured.
const UPLOAD_BYTES: usize = 32_000_000;

/// What every server is started with.
pub(super) struct Setup<'a> {
    pub(super) binary: &'a Path,
    /// A home folder whose tools (Postgres, the built-in model) are used.
    pub(super) home: &'a Path,
    /// Base URL and process of the model server.
    pub(super) model_url: &'a str,
    pub(super) stub: u32,
}

/// Which embeddings the product uses.
#[derive(Clone, Copy)]
pub(super) enum Embeddings {
    /// Those of the model server.
    Stub,
    /// From the built-in model.
    BuiltIn,
}

pub(super) struct Server {
    // Dropped in this order: the folder goes after the process that uses it.
    process: Process,
    folder: TempDir,
    base_url: String,
    client: Client,
    stub: u32,
    /// An API token that may chat.
    token: String,
}

/// How a run of ingestion stands.
#[derive(Debug, Deserialize)]
struct Run {
    state: RunState,
    /// Why it failed.
    reason: Option<String>,
    documents_indexed: u64,
    documents_unchanged: u64,
    documents_failed: u64,
    /// Written by this run.
    chunks: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RunState {
    Queued,
    Running,
    Succeeded,
    Failed,
}

#[derive(Deserialize)]
struct Accepted {
    /// Nothing when every document is indexed already.
    run_id: Option<String>,
}

/// What an ingestion came to.
pub(super) struct Ingested {
    pub(super) documents: u64,
    pub(super) failed: u64,
    pub(super) chunks: u64,
    /// From the first upload to the end of the last run, as a client sees it.
    pub(super) elapsed: Duration,
}

impl Server {
    /// Starts `docbrain up` with a new home folder and waits until it is ready.
    pub(super) async fn start(setup: &Setup<'_>, embeddings: Embeddings) -> anyhow::Result<Self> {
        if !setup.binary.is_file() {
            let name = setup.binary.display();
            bail!("there is no program {name}; build it with `cargo build --release`, or name it by --binary");
        }
        let folder = new_home(setup.home)?;
        let log = File::create(folder.path().join("server.log")).context("failed to make the log file")?;
        let address = free_address()?;
        let mut command = Command::new(setup.binary);
        command
            .args(["up", "--listen", &address.to_string(), "--log-format", "json", "--log-filter", "info", "--home"])
            .arg(folder.path())
            .envs([(env::ALLOWED_NETWORKS, "127.0.0.0/8"), (env::REGISTRATION, "open")])
            .envs([(env::ADMIN_TOKEN, TOKEN), (env::CHAT_BASE_URL, setup.model_url), (env::CHAT_API_KEY, "stub")])
            .env(env::CHAT_MODEL, crate::stub::CHAT_MODEL)
            .env_remove(env::DATABASE_URL)
            .env_remove(env::EMBEDDING_BASE_URL)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("failed to share the log file")?)
            .stderr(log);
        if matches!(embeddings, Embeddings::Stub) {
            command
                .envs([(env::EMBEDDING_BASE_URL, setup.model_url), (env::EMBEDDING_API_KEY, "stub")])
                .env(env::EMBEDDING_MODEL, crate::stub::EMBEDDING_MODEL);
        }
        let client =
            Client::builder().no_proxy().timeout(Duration::from_mins(2)).build().context("failed to make a client")?;
        let process = Process::start(&mut command)?;
        let base_url = format!("http://{address}");
        let mut server = Self { process, folder, base_url, client, stub: setup.stub, token: String::new() };
        server.ready().await?;
        server.prepare().await?;
        Ok(server)
    }

    /// Chat as in production: with a token of a tenant, and counted. A version without tokens is asked with the admin's.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let documents = self.url(&format!("/chatbots/{CHATBOT}/documents"));
        while self.client.get(&documents).bearer_auth(TOKEN).send().await?.status() != 200 {
            if begun.elapsed() > READY_LIMIT {
                bail!("there is no chatbot {CHATBOT}; the server said:\n{}", self.last_words());
            }
            tokio::time::sleep(POLL).await;
        }
        if self.client.get(self.url("/tokens")).bearer_auth(TOKEN).send().await?.status() == 404 {
            TOKEN.clone_into(&mut self.token);
            return Ok(());
        }
        let limits = json!({"spec": {"limits": {"questionsPerMinute": QUESTIONS_PER_MINUTE}}});
        let edit = self.client.patch(self.url(&format!("/chatbots/{CHATBOT}"))).bearer_auth(TOKEN);
        let _: Value = reply(edit.header("if-match", "*").json(&limits)).await.context("failed to set a limit")?;
        let wanted = json!({"name": "bench", "scopes": ["chat"]});
        let made = self.client.post(self.url("/tokens")).bearer_auth(TOKEN).json(&wanted);
        let made: Value = reply(made).await.context("failed to make a token")?;
        made["token"].as_str().context("there is no token in the reply")?.clone_into(&mut self.token);
        Ok(())
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// A client of the API, for what is not measured.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let url = format!("{}/readyz", self.base_url);
        while !self.client.get(&url).send().await.is_ok_and(|reply| reply.status().is_success()) {
            if !self.process.is_running() {
                bail!("the server ended before it was ready; its last words:\n{}", self.last_words());
            }
            if begun.elapsed() > READY_LIMIT {
                bail!(
                    "{url} did not answer 200 within {} s; the server said:\n{}",
                    READY_LIMIT.as_secs(),
                    self.last_words()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn watched(&self) -> Watched {
        Watched { product: self.process.id(), postmaster: postmaster_below(self.folder.path()), stub: self.stub }
    }

    /// Waits until the product has been idle for two seconds, at most one minute; returns whether it came to rest.
    pub(super) async fn rest(&self) -> anyhow::Result<bool> {
        const IDLE_SHARE: f64 = 0.03;
        let watched = self.watched();
        let mut before = watched.cpu_times()?;
        let mut idle = 0;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = watched.cpu_times()?;
            let used = now.since(before);
            idle = if (used.product + used.postgres).as_secs_f64() < IDLE_SHARE { idle + 1 } else { 0 };
            if idle == 2 {
                return Ok(true);
            }
            before = now;
        }
        Ok(false)
    }

    /// Uploads all documents and follows their runs to the end.
    pub(super) async fn ingest(&self, corpus: &Corpus) -> anyhow::Result<Ingested> {
        let begun = Instant::now();
        let mut runs = Vec::new();
        for batch in batches(&corpus.documents) {
            runs.extend(self.upload(batch).await?);
        }
        let mut total = Ingested { documents: 0, failed: 0, chunks: 0, elapsed: Duration::ZERO };
        for id in runs {
            let run = self.follow(&id, begun).await?;
            total.documents += run.documents_indexed + run.documents_unchanged;
            total.failed += run.documents_failed;
            total.chunks += run.chunks;
        }
        total.elapsed = begun.elapsed();
        Ok(total)
    }

    async fn upload(&self, documents: &[Document]) -> anyhow::Result<Option<String>> {
        let mut form = Form::new().text("chatbot", CHATBOT);
        for document in documents {
            form = form.part("file", Part::bytes(document.bytes.clone()).file_name(document.name.clone()));
        }
        let request = self.client.post(format!("{}/document/ingest", self.base_url)).bearer_auth(TOKEN).multipart(form);
        let accepted: Accepted = reply(request).await.context("failed to upload documents")?;
        Ok(accepted.run_id)
    }

    /// Uploads one document for a tenant of its own, and waits until it is indexed.
    pub(super) async fn teach(&self, token: &str, chatbot: &str, text: &str) -> anyhow::Result<()> {
        let part = Part::bytes(text.as_bytes().to_vec()).file_name("guide.md");
        let form = Form::new().text("chatbot", chatbot.to_owned()).part("file", part);
        let accepted: Accepted =
            reply(self.client.post(self.url("/document/ingest")).bearer_auth(token).multipart(form)).await?;
        let id = accepted.run_id.context("the document was not new")?;
        self.follow_as(token, &id, Instant::now()).await.map(drop)
    }

    async fn follow(&self, id: &str, begun: Instant) -> anyhow::Result<Run> {
        self.follow_as(TOKEN, id, begun).await
    }

    async fn follow_as(&self, token: &str, id: &str, begun: Instant) -> anyhow::Result<Run> {
        loop {
            let request = self.client.get(self.url(&format!("/runs/{id}"))).bearer_auth(token);
            let run: Run = reply(request).await.with_context(|| format!("failed to follow run {id}"))?;
            match run.state {
                RunState::Succeeded => return Ok(run),
                RunState::Failed => bail!("run {id} failed: {}", run.reason.unwrap_or_default()),
                RunState::Queued | RunState::Running => {}
            }
            if begun.elapsed() > RUN_LIMIT {
                bail!(
                    "run {id} has not ended after {} s; the server said:\n{}",
                    RUN_LIMIT.as_secs(),
                    self.last_words()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn chat_url(&self) -> String {
        format!("{}/conversation/chat", self.base_url)
    }

    /// The request that asks the demo chatbot.
    pub(super) fn chat_body(question: &str) -> String {
        serde_json::json!({"chatbot": CHATBOT, "message": question}).to_string()
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// The body of a successful reply; of another one, an error with its text.
pub(super) async fn reply<T: serde::de::DeserializeOwned>(request: reqwest::RequestBuilder) -> anyhow::Result<T> {
    let reply = request.send().await.context("the request failed")?;
    let (status, text) = (reply.status(), reply.text().await.context("the reply broke off")?);
    if !status.is_success() {
        bail!("status {status}: {text:.500}");
    }
    serde_json::from_str(&text).with_context(|| format!("the reply has another form than expected: {text:.500}"))
}

/// Neighbouring documents in groups of about [`UPLOAD_BYTES`], at least one in each.
fn batches(documents: &[Document]) -> Vec<&[Document]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, document) in documents.iter().enumerate() {
        if at > from && bytes + document.bytes.len() > UPLOAD_BYTES {
            batches.push(&documents[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += document.bytes.len();
    }
    batches.push(&documents[from..]);
    batches
}

/// A temporary home folder with the tools of another.
fn new_home(tools_from: &Path) -> anyhow::Result<TempDir> {
    let tools = tools_from.join("tools");
    if !tools.is_dir() {
        bail!("there is no folder {}; `make tools` prepares it, or another home is named by --home", tools.display());
    }
    let tools = tools.canonicalize().context("failed to find the tools")?;
    let folder = tempfile::Builder::new()
        .prefix("docbrain-bench-")
        // Postgres may run under another user than this program, and has to get through to its data.
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .context("failed to make a temporary folder")?;
    symlink(tools, folder.path().join("tools")).context("failed to link the tools")?;
    Ok(folder)
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    listener.local_addr().context("failed to find a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_document_once_within_the_limit() {
        let document = |size| Document { name: String::new(), bytes: vec![0; size] };
        let documents: Vec<Document> = [33_000_000, 1, 20_000_000, 13_000_000, 10, 32_000_000].map(document).into();
        let sizes: Vec<Vec<usize>> = batches(&documents)
            .iter()
            .map(|batch| batch.iter().map(|document| document.bytes.len()).collect())
            .collect();
        assert_eq!(sizes, [vec![33_000_000], vec![1, 20_000_000], vec![13_000_000, 10], vec![32_000_000]]);
    }

    /// Starts `binary` with an empty folder of tools; tells why that failed.
    async fn failure_of(binary: &Path) -> String {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tools")).unwrap();
        let setup = Setup { binary, home: home.path(), model_url: "http://127.0.0.1:1/v1", stub: 0 };
        Server::start(&setup, Embeddings::BuiltIn).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_to_do() {
        let told = failure_of(Path::new("/no/such/docbrain")).await;
        assert!(told.contains("/no/such/docbrain") && told.contains("cargo build"), "{told}");
        let told = new_home(Path::new("/no/such/home")).err().unwrap().to_string();
        assert!(told.contains("/no/such/home/tools") && told.contains("make tools"), "{told}");
    }

    #[tokio::test]
    async fn a_server_that_ends_early_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docbrain");
        // Written by another process, for a child forked meanwhile would hold the file open: ETXTBSY, execve(2).
        let write = "printf '#!/bin/sh\\necho no space left >&2\\nexit 3\\n' >\"$0\" && chmod 755 \"$0\"";
        assert!(Command::new("sh").args(["-c", write]).arg(&program).status().unwrap().success());
        let told = failure_of(&program).await;
        assert!(told.contains("no space left"), "{told}");
    }
}
