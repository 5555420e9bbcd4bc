//! The load generator and the model server alone: how fast they are, and how much of a chat's time is theirs.

use std::sync::Arc;

use serde_json::json;

use super::Extent;
use crate::load::{self, Bodies, Judgement, Summary, Target, Until};
use crate::report::{Table, number};
use crate::stub;

/// The generator's and the model server's own speed.
pub(super) struct Ceilings {
    pub(super) embedding: Summary,
    pub(super) chat: Summary,
    loads: Vec<(&'static str, Summary)>,
}

pub(super) async fn measure(model_url: &str, questions: &[String], extent: Extent) -> anyhow::Result<Ceilings> {
    let window = Until::Elapsed(extent.measured / 5);
    let passages: Vec<String> =
        (1..=5).map(|number| format!("[{number}] {}\n", "Words about nothing. ".repeat(50))).collect();
    let chat = |streamed: bool| {
        let bodies = questions.iter().take(1000).map(|question| {
            let messages = json!([{"role": "user", "content": format!("{}\n{question}", passages.concat())}]);
            json!({"model": stub::CHAT_MODEL, "messages": messages, "stream": streamed}).to_string()
        });
        Target::post(&format!("{model_url}/chat/completions"), &Bodies::new(bodies)?, judge_any).map(Arc::new)
    };
    let body = |question| json!({"model": stub::EMBEDDING_MODEL, "input": question}).to_string();
    let bodies = Bodies::new(questions.iter().take(1000).map(body))?;
    let embed = Arc::new(Target::post(&format!("{model_url}/embeddings"), &bodies, judge_any)?);
    let (plain, streamed) = (chat(false)?, chat(true)?);
    load::run(&plain, 16, Until::Elapsed(extent.warm_up / 3)).await?;
    Ok(Ceilings {
        embedding: load::run(&embed, 1, window).await?,
        chat: load::run(&streamed, 1, window).await?,
        loads: vec![
            ("embedding of a question, 16 clients", load::run(&embed, 16, window).await?),
            ("chat, 16 clients", load::run(&plain, 16, window).await?),
            ("chat, 16 clients, streamed", load::run(&streamed, 16, window).await?),
        ],
    })
}

fn judge_any(_: &[u8]) -> Judgement {
    Judgement::Good
}

impl Ceilings {
    pub(super) fn table(&self) -> Table {
        let single = [("embedding of a question, 1 client", &self.embedding), ("chat, 1 client, streamed", &self.chat)];
        let loads = self.loads.iter().map(|(name, summary)| (*name, summary));
        Table {
            title: "The load generator against the model server alone: above this nothing can be measured here.",
            columns: &["load", "req/s", "lowest to highest", "ms p50 / p95 / p99", "errors"],
            rows: single.into_iter().chain(loads).map(|(name, summary)| summary_cells(name, summary)).collect(),
        }
    }
}

/// Name, rate, range of rates, latencies, errors.
pub(super) fn summary_cells(name: &str, summary: &Summary) -> Vec<String> {
    let (low, high) = summary.rate_range;
    let range = format!("{} to {}", number(low), number(high));
    vec![name.to_owned(), number(summary.rate), range, summary.latency.to_string(), summary.errors.to_string()]
}
