//! A tenant with documents, and the real program that ingests them with a deterministic embedding server.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use docbrain_core::env;
use docbrain_core::ids::{KnowledgeSourceId, RunId, TenantId};
use docbrain_core::provision::Provisioner;
use docbrain_core::store::documents::NewDocument;
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::runs::{self, RunRow};
use docbrain_core::store::{Pool, TenantTx, documents, sources, tenants};
use docbrain_crds::manifest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};
use tokio::process::{Child, Command};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// A fixed sequence (Knuth's MMIX constants), so that a failure can be looked at again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

pub(crate) struct World {
    pub(crate) owner: Pool,
    secret: SecretString,
    embeddings: MockServer,
    pub(crate) texts_embedded: Arc<AtomicUsize>,
    /// What processes are told besides.
    pub(crate) environment: Vec<(&'static str, String)>,
}

pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) source: KnowledgeSourceId,
}

impl World {
    pub(crate) async fn new(owner: PgPool) -> Self {
        let embeddings = MockServer::start().await;
        let texts_embedded = Arc::new(AtomicUsize::new(0));
        Mock::given(path("/v1/embeddings")).respond_with(Embeddings(texts_embedded.clone())).mount(&embeddings).await;
        let environment = vec![(env::ALLOWED_NETWORKS, "127.0.0.0/8".to_owned())];
        Self { owner, secret: SecretString::from("a secret of the tests"), embeddings, texts_embedded, environment }
    }

    /// The same with a model server that answers nothing of use.
    pub(crate) async fn without_embeddings(self) -> Self {
        self.embeddings.reset().await;
        self
    }

    pub(crate) async fn tenant(&self, name: &str, chunking: &str) -> Tenant {
        self.apply_source(name, chunking).await
    }

    /// Applies the tenant and its source; again with other chunking, it asks for a run.
    pub(crate) async fn apply_source(&self, name: &str, chunking: &str) -> Tenant {
        self.apply_spec(name, &format!("{{source: {{upload: {{}}}}, chunking: {chunking}}}")).await
    }

    /// The same with any spec.
    pub(crate) async fn apply_spec(&self, name: &str, spec: &str) -> Tenant {
        let yaml = format!(
            "apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec: {{displayName: {name}}}\n---\n\
             apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: manual, namespace: {name}}}\n\
             spec: {spec}\n"
        );
        let provisioner = Provisioner::new(self.owner.clone(), self.secret.clone());
        for resource in manifest::read(&yaml).unwrap() {
            provisioner.apply(&resource).await.unwrap();
        }
        let id = tenants::named(&self.owner, name).await.unwrap().unwrap();
        let mut tx = self.begin(id).await;
        let source = sources::by_name(&mut tx, "manual").await.unwrap().id;
        Tenant { id, source }
    }

    pub(crate) async fn begin(&self, tenant: TenantId) -> TenantTx {
        TenantTx::begin(&self.owner, tenant).await.unwrap()
    }

    pub(crate) async fn put(&self, tenant: &Tenant, path: &str, bytes: &[u8]) {
        let mut tx = self.begin(tenant.id).await;
        documents::put(&mut tx, tenant.source, &NewDocument { path, url: None, bytes }).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn enqueue(&self, tenant: &Tenant, trigger: &str) -> RunId {
        let mut tx = self.begin(tenant.id).await;
        let run = runs::enqueue(&mut tx, tenant.source, trigger).await.unwrap();
        tx.commit().await.unwrap();
        run
    }

    /// Starts the program for a run.
    pub(crate) fn start(&self, tenant: &Tenant, run: RunId) -> Child {
        self.command(tenant).env(env::RUN_ID, run.to_string()).spawn().unwrap()
    }

    /// The program as it is started for a run of this tenant.
    pub(crate) fn command(&self, tenant: &Tenant) -> Command {
        let url = self.owner.connect_options().to_url_lossy().to_string();
        let url = roles::url(&url, Login::Ingest(tenant.id), &self.secret).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_docbrain-ingest"));
        command
            .args(["run", "--page-seconds", "2"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(env::TENANT_ID, tenant.id.to_string())
            .env(env::INGEST_DATABASE_URL, url.expose_secret())
            .env(env::EMBEDDING_BASE_URL, format!("{}/v1", self.embeddings.uri()))
            .env(env::EMBEDDING_MODEL, "words")
            .env(env::LOG_FILTER, "error")
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Path, status, and why not, of each document.
    pub(crate) async fn documents(&self, tenant: &Tenant) -> Vec<(String, String, String)> {
        sqlx::query_as(
            "select path, status, coalesce(error_code || ': ' || error_detail, '') from documents where tenant_id = $1 order by path",
        )
        .bind(tenant.id.0)
        .fetch_all(&self.owner)
        .await
        .unwrap()
    }

    /// Starts a run at most `times`, and kills its process each time, some milliseconds later than `least`, unless it has
    /// ended; how often it was killed.
    pub(crate) async fn kill_at_random(
        &self,
        tenant: &Tenant,
        run: RunId,
        random: &mut Random,
        (times, least, spread): (usize, u64, u64),
    ) -> usize {
        for kills in 0..times {
            let mut process = self.start(tenant, run);
            tokio::time::sleep(Duration::from_millis(least + random.below(spread))).await;
            if process.try_wait().unwrap().is_some() {
                return kills;
            }
            process.kill().await.unwrap();
            let mut tx = self.begin(tenant.id).await;
            runs::expire(&mut tx, run).await.unwrap();
            tx.commit().await.unwrap();
        }
        times
    }

    /// Lets a run begin, and go on, until it has ended.
    pub(crate) async fn finish(&self, tenant: &Tenant, run: RunId) -> RunRow {
        let mut tx = self.begin(tenant.id).await;
        runs::expire(&mut tx, run).await.unwrap();
        tx.commit().await.unwrap();
        self.start(tenant, run).wait().await.unwrap();
        self.run(tenant, run).await
    }

    pub(crate) async fn run(&self, tenant: &Tenant, run: RunId) -> RunRow {
        let mut tx = self.begin(tenant.id).await;
        runs::get(&mut tx, run).await.unwrap()
    }

    /// Everything that ingestion leaves behind, without ids and times: equal for equal documents.
    pub(crate) async fn index(&self, tenant: &Tenant) -> Vec<String> {
        let mut rows: Vec<String> = sqlx::query_scalar(
            "select format('chunk %s #%s %s %s-%s %s %s', d.path, c.ordinal, c.heading_path, c.span_start, c.span_end, c.text, md5(c.embedding::text || c.weights::text || c.terms::text))
             from chunks c join documents d on d.id = c.document_id where c.tenant_id = $1",
        )
        .bind(tenant.id.0)
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let documents: Vec<String> = sqlx::query_scalar(
            "select format('document %s %s %s %s %s chunks', path, title, status, error_code, chunks) from documents where tenant_id = $1",
        )
        .bind(tenant.id.0)
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let generations: Vec<String> = sqlx::query_scalar(
            "select format('generation %s %s chunks, %s terms', state, chunks, (select count(*) from generation_terms t where t.generation_id = g.id))
             from generations g where tenant_id = $1",
        )
        .bind(tenant.id.0)
        .fetch_all(&self.owner)
        .await
        .unwrap();
        rows.extend(documents);
        rows.extend(generations);
        rows.sort();
        rows
    }
}

/// A vector of the words of each text.
struct Embeddings(Arc<AtomicUsize>);

impl Respond for Embeddings {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        let texts: Vec<&str> = match &body["input"] {
            Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap()).collect(),
            text => vec![text.as_str().unwrap()],
        };
        self.0.fetch_add(texts.len(), Ordering::SeqCst);
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let mut vector = vec![0.01_f32; 32];
                for word in text.split_whitespace() {
                    vector[word.bytes().map(usize::from).sum::<usize>() % 32] += 1.0;
                }
                json!({ "index": index, "object": "embedding", "embedding": vector })
            })
            .collect();
        ResponseTemplate::new(200).set_body_json(json!({ "object": "list", "model": "words", "data": data }))
    }
}
