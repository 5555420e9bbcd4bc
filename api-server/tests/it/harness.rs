//! Two tenants in a database of their own, the API over them, and requests to it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{TimeDelta, Utc};
use docbrain_api::{AppState, ControlPlane, Kubernetes, Local, Parts, Registration, Settings};
use docbrain_core::config::NamedKey;
use docbrain_core::ids::{AccountId, ConversationId, DocumentId, KnowledgeSourceId, MessageId, TenantId};
use docbrain_core::keyring::Keyring;
use docbrain_core::lexical::{self, Language};
use docbrain_core::models::Endpoint;
use docbrain_core::providers::Providers;
use docbrain_core::provision::Provisioner;
use docbrain_core::store::accounts::{self, NewAccount};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::chunks::{NewChunk, Reading};
use docbrain_core::store::conversations::{self, Channel, Exchange};
use docbrain_core::store::documents::NewDocument;
use docbrain_core::store::generations::GenerationSettings;
use docbrain_core::store::members::{self, Role};
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::secrets::{RingSource, Secrets};
use docbrain_core::store::sessions::{self, NewSession, SessionKind};
use docbrain_core::store::{self, Pool, TenantTx, chunks, documents, generations, sources, tenants};
use docbrain_crds::{Chunking, manifest};
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::ConnectOptions;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tower::ServiceExt;

use crate::cluster::{Cluster, kubeconfig};

mod bag_of_words;
mod requests;

pub(crate) use requests::{Form, Reply, Requests};

use bag_of_words::{BagOfWords, DIMENSIONS, embedding};

pub(crate) const TOKEN: &str = "the-admin-token-of-the-tests";

/// The tenant `acme` with the chatbot `helper` on the source `docs` (and `pair` on two sources, `asleep` suspended),
/// and the tenant `rival` with `guide` on `manual`.
const TENANTS: &str = "
apiVersion: docbrain.dev/v1alpha1
kind: Tenant
metadata: {name: acme}
spec: {displayName: Acme}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {name: docs, namespace: acme}
spec: {source: {upload: {}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {name: news, namespace: acme}
spec: {source: {upload: {}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {name: closed, namespace: acme}
spec: {source: {upload: {}}, suspended: true}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {name: helper, namespace: acme}
spec: {displayName: Helper, fallbackText: Ask a person., knowledgeSources: [{name: docs}], allowedOrigins: ['https://acme.example']}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {name: pair, namespace: acme}
spec: {displayName: Pair, knowledgeSources: [{name: docs}, {name: news}]}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {name: asleep, namespace: acme}
spec: {displayName: Asleep, suspended: true}
---
apiVersion: docbrain.dev/v1alpha1
kind: Tenant
metadata: {name: rival}
spec: {displayName: Rival}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {name: manual, namespace: rival}
spec: {source: {upload: {}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {name: guide, namespace: rival}
spec: {displayName: Guide, knowledgeSources: [{name: manual}]}
";

pub(crate) struct World {
    pub(crate) owner: Pool,
    /// Logs in as the API does in production.
    pub(crate) api: Pool,
    pub(crate) acme: TenantId,
    pub(crate) rival: TenantId,
    pub(crate) providers: Providers,
    pub(crate) state: AppState,
    /// The API server of Kubernetes that the control plane writes to, if it does.
    pub(crate) cluster: Option<Cluster>,
    app: Router,
}

/// The origin whose pages may embed `helper`.
pub(crate) const ORIGIN: &str = "https://acme.example";

impl World {
    pub(crate) async fn new(owner: Pool) -> Self {
        Self::with_chat(owner, None).await
    }

    pub(crate) async fn with_chat(owner: Pool, chat: Option<Endpoint>) -> Self {
        Self::with(owner, chat, settings()).await
    }

    pub(crate) async fn with(owner: Pool, chat: Option<Endpoint>, settings: Settings) -> Self {
        // The same tests hold for both control planes.
        if std::env::var("DOCBRAIN_TEST_CONTROL_PLANE").is_ok_and(|kind| kind == "kubernetes") {
            let cluster = Cluster::open().await.expect("DOCBRAIN_TEST_APISERVER names an API server");
            let mut world = Self::over(owner, chat, settings, Some(cluster)).await;
            world.start_operator().await;
            return world;
        }
        Self::over(owner, chat, settings, None).await
    }

    /// From now on somebody looks after the resources in the cluster.
    pub(crate) async fn start_operator(&mut self) {
        self.cluster.as_mut().unwrap().start_operator(&self.owner).await;
    }

    /// A world whose resources are in a cluster; nobody looks after them yet. `None`: there is no cluster for tests.
    pub(crate) async fn in_cluster(owner: Pool) -> Option<Self> {
        let cluster = Cluster::open().await?;
        Some(Self::over(owner, None, settings(), Some(cluster)).await)
    }

    async fn over(owner: Pool, chat: Option<Endpoint>, settings: Settings, cluster: Option<Cluster>) -> Self {
        // Roles belong to the whole server: all tests share this one.
        static ROLE: OnceCell<()> = OnceCell::const_new();
        let secret = SecretString::from("a secret of the tests");
        ROLE.get_or_init(async || roles::ensure(&owner, Login::Api, &secret).await.unwrap()).await;
        let url = owner.connect_options().to_url_lossy().to_string();
        let url = roles::url(&url, Login::Api, &secret).unwrap();
        let api = store::connect(url.expose_secret(), 4).await.unwrap();
        let plane: Arc<dyn ControlPlane> = if let Some(cluster) = &cluster {
            cluster.install(&owner, TENANTS).await;
            Arc::new(Kubernetes::of_file(api.clone(), &kubeconfig().unwrap()).await.unwrap())
        } else {
            let provisioner = Provisioner::new(owner.clone(), secret);
            for resource in manifest::read(TENANTS).unwrap() {
                provisioner.apply(&resource).await.unwrap();
            }
            Arc::new(Local::new(api.clone()))
        };
        let [acme, rival] = [tenant(&owner, "acme").await, tenant(&owner, "rival").await];
        let providers = providers(&api, chat, "127.0.0.0/8");
        let state = state_over(&api, providers.clone(), settings, plane);
        let app = docbrain_api::router(state.clone());
        Self { owner, api, acme, rival, providers, state, cluster, app }
    }

    /// The API on a socket, for clients that are programs of their own; its URL.
    pub(crate) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(docbrain_api::serve(listener, self.state.clone(), std::future::pending(), Duration::ZERO));
        format!("http://{address}")
    }

    pub(crate) async fn begin(&self, tenant: TenantId) -> TenantTx {
        TenantTx::begin(&self.api, tenant).await.unwrap()
    }

    pub(crate) async fn source(&self, tenant: TenantId, name: &str) -> KnowledgeSourceId {
        sources::by_name(&mut self.begin(tenant).await, name).await.unwrap().id
    }

    /// A document of one chunk a text, on pages 1, 2 and so on, indexed as a run does it.
    pub(crate) async fn index(&self, tenant: TenantId, source: &str, path: &str, texts: &[&str]) -> DocumentId {
        let source = self.source(tenant, source).await;
        let settings = GenerationSettings {
            embedding_model: "bag of words".to_owned(),
            embedding_precision: "exact".to_owned(),
            dimensions: DIMENSIONS,
            chunking: Chunking::default(),
            pipeline: 1,
        };
        let mut tx = self.begin(tenant).await;
        let generation = generations::ensure(&mut tx, source, &settings).await.unwrap();
        let bytes = texts.join("\n");
        let new = NewDocument { path, url: Some("https://docs.example/page"), bytes: bytes.as_bytes() };
        let id = documents::put(&mut tx, source, &new).await.unwrap().id();
        let work = documents::work(&mut tx, source, generation.id).await.unwrap();
        let sha256 = &work.iter().find(|work| work.id == id).unwrap().content_sha256;
        let reading = Reading { title: "The guide", language: "en", pages: Some(u32::try_from(texts.len()).unwrap()) };
        let new: Vec<NewChunk> = (1..).zip(texts).map(|(page, text)| chunk(page, text)).collect();
        assert!(chunks::replace(&mut tx, &generation, id, sha256, &reading, &new).await.unwrap());
        generations::refresh_statistics(&mut tx, generation.id).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Keeps an exchange with `helper` as a chat does; the conversation and its answer.
    pub(crate) async fn exchange<'a>(
        &self,
        question: &'a str,
        change: impl FnOnce(&mut Exchange<'a>),
    ) -> (ConversationId, MessageId) {
        static CITATIONS: LazyLock<Value> = LazyLock::new(|| json!([{"number": 1, "title": "EXPIRE"}]));
        let bot = chatbots::get(&mut self.begin(self.acme).await, &ChatbotRef::from("helper")).await.unwrap();
        let mut exchange = Exchange {
            chatbot: bot.id,
            conversation: ConversationId::new(),
            channel: Channel::Api,
            visitor: None,
            question,
            answer: "Call EXPIRE. [1]",
            kind: "generated",
            answerable: true,
            best_score: Some(0.5),
            citations: &CITATIONS,
            model: Some("m1"),
            prompt_tokens: 100,
            completion_tokens: 10,
            cost_micros: Some(7),
            milliseconds: 200,
        };
        change(&mut exchange);
        let message = conversations::append(&self.api, self.acme, &exchange).await.unwrap();
        (exchange.conversation, message)
    }

    /// The answer to a request, its body still to be read.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response {
        self.app.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        self.read(self.open(request).await).await
    }

    /// As [`World::send`], to an API of another state.
    pub(crate) async fn send_to(&self, state: &AppState, request: Request<Body>) -> Reply {
        self.read(docbrain_api::router(state.clone()).oneshot(request).await.unwrap()).await
    }

    async fn read(&self, response: Response) -> Reply {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request, and goes away after the answer has been waited for so many times.
    pub(crate) async fn send_and_leave(&self, polls: usize, request: Request<Body>) {
        let mut answer = pin!(self.open(request));
        let mut left = polls;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            answer.as_mut().poll(context).map(drop)
        })
        .await;
    }

    /// Asks for a path as the admin, for `acme`.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).admin("acme").body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Request::post(path).admin("acme").json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Request::put(path).admin("acme").json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Request::delete(path).admin("acme").body(Body::empty()).unwrap()).await
    }

    /// The rows of all pages of a list, two to a page; `between` is done after each.
    pub(crate) async fn pages(&self, path: &str, noun: &str, mut between: impl AsyncFnMut()) -> Vec<Value> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{sign}limit=2{after}")).await.json(200);
            let found = page[noun].as_array_mut().unwrap();
            assert!((1..=2).contains(&found.len()) || rows.is_empty(), "an empty page");
            rows.append(found);
            let Some(next) = page["next"].as_str() else { return rows };
            after = format!("&after={next}");
            between().await;
        }
    }

    pub(crate) async fn chat(&self, message: &str) -> Reply {
        self.post("/conversation/chat", &serde_json::json!({"chatbot": "helper", "message": message})).await
    }

    /// Makes an account that is a member, and signs it in: its access token.
    pub(crate) async fn member(&self, tenant: TenantId, role: Role, email: &str) -> String {
        let secret = format!("docr_{email}");
        let id = AccountId::new();
        let mut tx = self.begin(tenant).await;
        let account = NewAccount { id, email, name: "", password_hash: None, oidc: None };
        accounts::insert(&mut tx, &account).await.unwrap();
        members::put(&mut tx, id, role).await.unwrap();
        tx.commit().await.unwrap();
        let session = NewSession {
            account: id,
            kind: SessionKind::Refresh,
            secret: &Sha256::digest(&secret).into(),
            user_agent: "tests",
            expires_at: Utc::now() + TimeDelta::hours(1),
        };
        sessions::create(&self.api, &session).await.unwrap();
        let refreshed = Request::post("/auth/refresh").json(&serde_json::json!({ "refresh_token": secret }));
        let refreshed = self.send(refreshed).await.json(200);
        refreshed["access_token"].as_str().unwrap().to_owned()
    }

    /// A visitor's session token for a chatbot.
    pub(crate) async fn visitor(&self, chatbot: &str) -> String {
        let request = Request::post("/widget/session").header("origin", ORIGIN);
        let session = self.send(request.json(&serde_json::json!({ "chatbot": chatbot }))).await.json(200);
        session["token"].as_str().unwrap().to_owned()
    }

    /// The id of a chatbot of `acme`.
    pub(crate) async fn chatbot(&self, name: &str) -> String {
        self.get(&format!("/chatbots/{name}")).await.json(200)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn upload(&self, form: &Form) -> Reply {
        self.send(form.request("acme")).await
    }
}

/// Signs as the API of the tests does.
pub(crate) const SIGNING_KEY: (&str, &[u8]) = ("tests", b"the signing key of the tests, long enough");

/// A token of the API as it is a minute after its end.
pub(crate) fn expired(token: &str) -> String {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["exp"] = (Utc::now().timestamp() - 60).into();
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SIGNING_KEY.1)).unwrap()
}

pub(crate) fn settings() -> Settings {
    let key = NamedKey { id: SIGNING_KEY.0.to_owned(), key: SIGNING_KEY.1.to_vec().into() };
    Settings {
        admin_token: TOKEN.into(),
        signing_keys: vec![key],
        registration: Registration::Open,
        public_url: None,
        oidc: None,
        trusted_proxies: Vec::new(),
    }
}

pub(crate) fn state_of(api: &Pool, providers: Providers, settings: Settings) -> AppState {
    state_over(api, providers, settings, Arc::new(Local::new(api.clone())))
}

pub(crate) fn state_over(
    api: &Pool,
    providers: Providers,
    settings: Settings,
    control_plane: Arc<dyn ControlPlane>,
) -> AppState {
    AppState::new(Parts { pool: api.clone(), providers, control_plane, settings })
}

/// The models of all tenants; those of their own may be in the networks `allowed`.
pub(crate) fn providers(api: &Pool, chat: Option<Endpoint>, allowed: &str) -> Providers {
    let ring = Arc::new(Keyring::generate());
    let secrets = Secrets::new(RingSource::Given(ring));
    Providers::new(api.clone(), secrets, allowed.parse().unwrap(), Arc::new(BagOfWords::new()), chat)
}

async fn tenant(owner: &Pool, name: &str) -> TenantId {
    let id = tenants::named(owner, name).await.unwrap().unwrap();
    // No test ingests as the tenant, and roles would outlive the test's database.
    roles::remove(owner, id).await.unwrap();
    id
}

fn chunk(page: u32, text: &str) -> NewChunk {
    NewChunk {
        text: text.to_owned(),
        heading_path: vec!["Commands".to_owned()],
        pages: Some((page, page)),
        span: page as usize * 1_000..page as usize * 1_000 + text.chars().count(),
        tokens: text.split_whitespace().count(),
        weights: lexical::weights(&lexical::terms(text, Language::English)),
        embedding: embedding(text),
    }
}
