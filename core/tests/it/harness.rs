//! Tenants, documents and chunks in a database of their own, and pools that log in as the real roles.

use docbrain_core::ids::{DocumentId, KnowledgeSourceId, TenantId};
use docbrain_core::lexical::{self, Language};
use docbrain_core::provision::Provisioner;
use docbrain_core::store::chunks::{NewChunk, Reading};
use docbrain_core::store::documents::NewDocument;
use docbrain_core::store::generations::{GenerationRow, GenerationSettings};
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::{self, Pool, TenantTx, chunks, documents, generations, sources, tenants};
use docbrain_crds::{Chunking, manifest};
use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;

pub(crate) const DIMENSIONS: usize = 8;

pub(crate) struct World {
    pub(crate) owner: Pool,
    pub(crate) api: Pool,
    secret: SecretString,
}

impl World {
    pub(crate) async fn new(owner: Pool) -> Self {
        let secret = SecretString::from("a secret of the tests");
        roles::ensure(&owner, Login::Api, &secret).await.unwrap();
        let api = Self::login(&owner, Login::Api, &secret).await;
        Self { owner, api, secret }
    }

    /// The API's connections in another process.
    pub(crate) async fn another_api(&self) -> Pool {
        Self::login(&self.owner, Login::Api, &self.secret).await
    }

    async fn login(owner: &Pool, login: Login, secret: &SecretString) -> Pool {
        let url = owner.connect_options().to_url_lossy().to_string();
        let url = roles::url(&url, login, secret).unwrap();
        store::connect(url.expose_secret(), 4).await.unwrap()
    }

    /// A tenant with a chatbot and a knowledge source, both called `manual`.
    pub(crate) async fn tenant(&self, name: &str) -> Tenant {
        self.apply(&format!(
            "apiVersion: docbrain.dev/v1alpha1
kind: Tenant
metadata: {{name: {name}}}
spec: {{displayName: {name}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {{name: manual, namespace: {name}}}
spec: {{source: {{upload: {{}}}}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {{name: manual, namespace: {name}}}
spec: {{displayName: Manual, knowledgeSources: [{{name: manual}}]}}
"
        ))
        .await;
        let id = tenants::named(&self.api, name).await.unwrap().unwrap();
        let mut tx = self.begin(id).await;
        let source = sources::by_name(&mut tx, "manual").await.unwrap().id;
        let generation = generations::ensure(&mut tx, source, &settings()).await.unwrap();
        tx.commit().await.unwrap();
        Tenant { id, source, generation }
    }

    pub(crate) async fn apply(&self, yaml: &str) {
        let provisioner = self.provisioner();
        for resource in manifest::read(yaml).unwrap() {
            provisioner.apply(&resource).await.unwrap();
        }
    }

    pub(crate) fn provisioner(&self) -> Provisioner {
        Provisioner::new(self.owner.clone(), self.secret.clone())
    }

    pub(crate) async fn begin(&self, tenant: TenantId) -> TenantTx {
        TenantTx::begin(&self.api, tenant).await.unwrap()
    }

    /// As an ingestion run of the tenant.
    pub(crate) async fn ingest(&self, tenant: TenantId) -> Pool {
        Self::login(&self.owner, Login::Ingest(tenant), &self.secret).await
    }

    /// A document of one chunk a text.
    pub(crate) async fn document(&self, tenant: &Tenant, path: &str, texts: &[&str]) -> DocumentId {
        let bytes = texts.join("\n");
        let mut tx = self.begin(tenant.id).await;
        let new = NewDocument { path, url: None, bytes: bytes.as_bytes() };
        let id = documents::put(&mut tx, tenant.source, &new).await.unwrap().id();
        let work = documents::work(&mut tx, tenant.source, tenant.generation.id).await.unwrap();
        let sha256 = &work.iter().find(|work| work.id == id).unwrap().content_sha256;
        let generation = generations::get(&mut tx, tenant.generation.id).await.unwrap();
        let new: Vec<NewChunk> = texts.iter().map(|text| chunk(text)).collect();
        let reading = Reading { title: path, language: "en", pages: None };
        assert!(chunks::replace(&mut tx, &generation, id, sha256, &reading, &new).await.unwrap());
        tx.commit().await.unwrap();
        id
    }
}

pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) source: KnowledgeSourceId,
    pub(crate) generation: GenerationRow,
}

pub(crate) fn settings() -> GenerationSettings {
    GenerationSettings {
        embedding_model: "letters".to_owned(),
        embedding_precision: "exact".to_owned(),
        dimensions: DIMENSIONS,
        chunking: Chunking::default(),
        pipeline: 1,
    }
}

pub(crate) fn chunk(text: &str) -> NewChunk {
    NewChunk {
        text: text.to_owned(),
        heading_path: vec!["Guide".to_owned()],
        pages: Some((1, 2)),
        span: 0..text.chars().count(),
        tokens: text.split_whitespace().count(),
        weights: lexical::weights(&lexical::terms(text, Language::English)),
        embedding: embedding(text),
    }
}

/// A unit vector of how often letters occur: alike for texts that are.
pub(crate) fn embedding(text: &str) -> Vec<f32> {
    let mut vector = [0.01_f32; DIMENSIONS];
    for byte in text.bytes().filter(u8::is_ascii_lowercase) {
        vector[usize::from(byte) % DIMENSIONS] += 1.0;
    }
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / norm).collect()
}
