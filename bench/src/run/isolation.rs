//! What tenants with a slow and a failing model provider do to the others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::chat;
use super::server::{Server, reply};
use crate::load::{self, Bodies, Judgement, Summary, Target, Until};
use crate::report::{Budget, Row, Table, number};

/// Chats at the same time: half of the healthy tenant, a quarter of each of the others.
const HEALTHY: usize = 32;
const DISTURBING: usize = 16;
/// How long the slow provider takes for an answer.
const SLOW: Duration = Duration::from_secs(5);
const GUIDE: &str = "# Keys\n\nThe EXPIRE command sets a timeout on a key. After the timeout the key is deleted.\n";
const QUESTION: &str = "Which command sets a timeout on a key?";

/// Latencies of the healthy tenant, while all are well and while the others' providers misbehave.
pub(super) struct MeasuredIsolation {
    undisturbed: Summary,
    beside: Summary,
    slow: Summary,
    failing: Summary,
}

/// Asks as all three tenants while all are well, then while two providers misbehave, then while all are well again: the
/// same number of chats each time, so that what differs is what the providers do, not how many share the machine.
pub(super) async fn measure(
    server: &Server,
    questions: &Arc<Bodies>,
    measured: Duration,
) -> anyhow::Result<MeasuredIsolation> {
    let healthy = target(server, questions, server.token(), chat::judge)?;
    let slow = Neighbour::register(server, "slow").await?;
    let failing = Neighbour::register(server, "failing").await?;
    let together = async |time: Duration| {
        tokio::try_join!(
            load::run(&healthy, HEALTHY, Until::Elapsed(time)),
            load::run(&slow.target, DISTURBING, Until::Elapsed(time)),
            load::run(&failing.target, DISTURBING, Until::Elapsed(time)),
        )
    };
    together(Duration::from_secs(3)).await?;
    let (before, ..) = together(measured / 2).await?;
    slow.use_provider(server, &provider(SLOW).await?).await?;
    failing.use_provider(server, &provider(Duration::ZERO).await?).await?;
    let (beside, slow_chats, failing_chats) = together(measured).await?;
    slow.use_no_provider(server).await?;
    failing.use_no_provider(server).await?;
    let (after, ..) = together(measured / 2).await?;
    // The machine may have been faster before or after: the slower one is what would have been anyway.
    let undisturbed = if before.latency.p95 > after.latency.p95 { before } else { after };
    Ok(MeasuredIsolation { undisturbed, beside, slow: slow_chats, failing: failing_chats })
}

/// A tenant of its own, with a chatbot that knows one page.
struct Neighbour {
    account: String,
    target: Arc<Target>,
}

impl Neighbour {
    async fn register(server: &Server, name: &str) -> anyhow::Result<Self> {
        let account =
            json!({"email": format!("{name}@bench.example"), "password": "correct horse battery", "tenant": name});
        let made: Value = reply(server.client().post(server.url("/auth/register")).json(&account)).await?;
        let account = made["access_token"].as_str().context("there is no access token in the reply")?.to_owned();
        server.teach(&account, "assistant", GUIDE).await.context("failed to teach a chatbot")?;
        let key = json!({"name": "bench", "scopes": ["chat"]});
        let key: Value = reply(server.client().post(server.url("/tokens")).bearer_auth(&account).json(&key)).await?;
        let body = json!({"chatbot": "assistant", "message": QUESTION}).to_string();
        let target =
            target(server, &Bodies::new([body])?, key["token"].as_str().unwrap_or_default(), |_| Judgement::Good)?;
        Ok(Self { account, target })
    }

    async fn use_provider(&self, server: &Server, base_url: &str) -> anyhow::Result<()> {
        let provider = json!({"kind": "compatible", "base_url": base_url, "model": "m", "api_key": "k"});
        let request = server.client().put(server.url("/tenant/providers/chat")).bearer_auth(&self.account);
        let _: Value = reply(request.json(&provider)).await.context("failed to set a provider")?;
        Ok(())
    }

    async fn use_no_provider(&self, server: &Server) -> anyhow::Result<()> {
        let request = server.client().delete(server.url("/tenant/providers/chat")).bearer_auth(&self.account);
        request.send().await?.error_for_status().context("failed to remove a provider")?;
        Ok(())
    }
}

fn target(
    server: &Server,
    bodies: &Arc<Bodies>,
    token: &str,
    judge: fn(&[u8]) -> Judgement,
) -> anyhow::Result<Arc<Target>> {
    let target = Target::post(&server.chat_url(), bodies, judge)?;
    Ok(Arc::new(target.header("authorization", &format!("Bearer {token}"))?))
}

/// A model server that answers every request with 500, after a pause; its base URL.
async fn provider(pause: Duration) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen as a provider")?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let fail = async move || {
        tokio::time::sleep(pause).await;
        StatusCode::INTERNAL_SERVER_ERROR
    };
    // It ends with this program.
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(fail)).await });
    Ok(url)
}

impl MeasuredIsolation {
    pub(super) fn row(&self) -> Row {
        let (undisturbed, beside) = (self.undisturbed.latency.p95, self.beside.latency.p95);
        let what = "p95 of a healthy tenant beside a slow and a failing provider, against undisturbed";
        let note = format!(
            "{HEALTHY} chats of the healthy tenant, {DISTURBING} of each other; p95 {} ms undisturbed, {} ms beside",
            number(undisturbed),
            number(beside)
        );
        Row::measured(what, Budget::AtMost(1.2, "x"), beside / undisturbed, note)
    }

    pub(super) fn table(&self) -> Table {
        let row = |name: &str, summary: &Summary| chat_cells(name, summary);
        Table {
            title: "Tenants side by side: one healthy, one whose provider takes five seconds to fail, one whose provider fails at once.",
            columns: &["load", "replies", "errors", "ms p50 / p95 / p99"],
            rows: vec![
                row("healthy, all are well", &self.undisturbed),
                row("healthy, beside the others", &self.beside),
                row("slow", &self.slow),
                row("failing", &self.failing),
            ],
        }
    }
}

fn chat_cells(name: &str, summary: &Summary) -> Vec<String> {
    let latency = &summary.latency;
    let latencies = format!("{} / {} / {}", number(latency.p50), number(latency.p95), number(latency.p99));
    vec![name.to_owned(), summary.replies.to_string(), summary.errors.to_string(), latencies]
}
