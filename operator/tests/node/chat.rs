//! The API as its users have it: uploads, questions, and questions without pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, multipart};
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::task::JoinHandle;

/// How long one answer may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The API of an installation, as its admin, for one tenant.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    pub(crate) url: String,
    token: String,
    /// Whether it is reached by way of its Service, and not of one pod.
    pub(crate) is_balanced: bool,
    _forward: Option<Arc<Child>>,
}

impl Api {
    pub(crate) fn new(url: String, token: String, is_balanced: bool, forward: Option<Child>) -> Self {
        // A connection for each request, as visitors have: one that is kept would stay with its pod.
        let client = Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0).build().unwrap();
        Self { client, url, token, is_balanced, _forward: forward.map(Arc::new) }
    }

    fn authorized(&self, request: RequestBuilder, tenant: &str) -> RequestBuilder {
        request.bearer_auth(&self.token).header("x-docbrain-tenant", tenant)
    }

    pub(crate) async fn get(&self, tenant: &str, path: &str) -> Value {
        let reply = self.authorized(self.client.get(format!("{}{path}", self.url)), tenant).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.text().await.unwrap());
        reply.json().await.unwrap()
    }

    /// The status of a request without rights.
    pub(crate) async fn post_status(&self, path: &str, origin: &str, body: &Value) -> u16 {
        let request = self.client.post(format!("{}{path}", self.url)).header("origin", origin).json(body);
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn upload(&self, tenant: &str, source: &str, files: Vec<(String, String)>) -> Value {
        let mut form = multipart::Form::new().text("source", source.to_owned());
        for (name, text) in files {
            form = form.part("file", multipart::Part::text(text).file_name(name));
        }
        let request = self.authorized(self.client.post(format!("{}/document/ingest", self.url)), tenant);
        let reply = request.multipart(form).send().await.unwrap();
        assert_eq!(reply.status(), 202, "{}", reply.text().await.unwrap());
        reply.json().await.unwrap()
    }

    /// An answer with at least one citation, or what was wrong.
    pub(crate) async fn ask(&self, tenant: &str, chatbot: &str, question: &str) -> Result<Value, String> {
        let request = self.authorized(self.client.post(format!("{}/conversation/chat", self.url)), tenant);
        let sent = request.json(&json!({ "chatbot": chatbot, "message": question })).send().await;
        let reply = sent.map_err(|error| format!("{error:?}"))?;
        let status = reply.status();
        let body: Value = reply.json().await.map_err(|error| format!("{status}: {error:?}"))?;
        let is_cited = body["citations"].as_array().is_some_and(|citations| !citations.is_empty());
        if status != 200 || body["answer"].as_str().unwrap_or_default().is_empty() || !is_cited {
            return Err(format!("{status}: {body}"));
        }
        Ok(body)
    }

    /// Asks again and again, from several sides, until [`Load::end`].
    pub(crate) fn load(&self, tenant: &'static str, chatbot: &'static str, question: &'static str) -> Load {
        const SIDES: u64 = 3;
        const PAUSE: Duration = Duration::from_millis(700);
        let stop = Arc::new(AtomicBool::new(false));
        let sides = (0..SIDES).map(|side| {
            let (api, stop) = (self.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                tokio::time::sleep(PAUSE / 3 * u32::try_from(side).unwrap()).await;
                let mut told = Told::default();
                let began = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    match api.ask(tenant, chatbot, question).await {
                        Ok(_) => told.answered += 1,
                        Err(error) => told.failed.push(format!("after {:?}: {error}", began.elapsed())),
                    }
                    told.slowest = told.slowest.max(asked.elapsed());
                    tokio::time::sleep(PAUSE.saturating_sub(asked.elapsed())).await;
                }
                told
            })
        });
        Load { began: Instant::now(), sides: sides.collect(), stop }
    }
}

/// Questions without pause.
pub(crate) struct Load {
    began: Instant,
    sides: Vec<JoinHandle<Told>>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Told {
    answered: usize,
    failed: Vec<String>,
    slowest: Duration,
}

impl Load {
    /// Each question must have been answered.
    pub(crate) async fn end(self, during: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for side in self.sides {
            let told = side.await.unwrap();
            all.answered += told.answered;
            all.failed.extend(told.failed);
            all.slowest = all.slowest.max(told.slowest);
        }
        let took = self.began.elapsed();
        println!(
            "measured: {} answers in {:.0} s during {during}, {} failed; the slowest took {} ms",
            all.answered,
            took.as_secs_f32(),
            all.failed.len(),
            all.slowest.as_millis()
        );
        assert!(all.failed.is_empty(), "during {during}: {:#?}", all.failed);
        assert!(all.answered >= 3, "hardly anything was asked during {during}");
    }
}
