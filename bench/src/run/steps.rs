//! The single measurements, and how each shows in the report.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use serde_json::json;

use super::corpus::Corpus;
use super::server::{Embeddings, Ingested, Server};
use crate::load::{self, Judgement, Summary, Target, Until};
use crate::machine::{CpuTimes, memory_mib};
use crate::report::{Budget, Row, Table, number};
use crate::stub;

/// A step with a larger share of errors than this measures nothing.
const ERROR_LIMIT: f64 = 0.01;

/// How long each load lasts.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    warm_up: Duration,
    measured: Duration,
}

impl Windows {
    pub(super) const FULL: Self = Self { warm_up: Duration::from_secs(3), measured: Duration::from_secs(15) };
    pub(super) const QUICK: Self = Self { warm_up: Duration::from_secs(1), measured: Duration::from_secs(3) };
}

/// One way of asking.
#[derive(Clone, Copy)]
pub(super) struct Chat {
    pub(super) name: &'static str,
    clients: usize,
    streamed: bool,
}

impl Chat {
    const ONE: Self = Self { name: "1 client", clients: 1, streamed: false };
    const SIXTEEN: Self = Self { name: "16 clients", clients: 16, streamed: false };
    pub(super) const ALL: [Self; 4] = [
        Self::ONE,
        Self::SIXTEEN,
        Self { name: "64 clients", clients: 64, streamed: false },
        Self { name: "16 clients, streamed", clients: 16, streamed: true },
    ];
}

pub(super) struct MeasuredChat {
    chat: Chat,
    summary: Summary,
    cpu: CpuTimes,
    elapsed: Duration,
}

/// Asks through the API, after a warm-up, and adds up the CPU time of everyone involved.
pub(super) async fn chat(
    server: &Server,
    chat: Chat,
    questions: &[String],
    windows: Windows,
) -> anyhow::Result<MeasuredChat> {
    let bodies = questions.iter().map(|question| Bytes::from(Server::chat_body(question))).collect();
    let accept = if chat.streamed { "text/event-stream" } else { "application/json" };
    let target = Target::post(&server.chat_url(), bodies, judge_chat)?
        .header("authorization", &format!("Bearer {}", Server::token()))?
        .header("accept", accept)?;
    let target = Arc::new(target);
    load::run(&target, chat.clients, Until::Elapsed(windows.warm_up)).await?;
    let (before, begun) = (server.watched().cpu_times()?, Instant::now());
    let summary = load::run(&target, chat.clients, Until::Elapsed(windows.measured)).await?;
    let elapsed = begun.elapsed();
    let cpu = server.watched().cpu_times()?.since(before);
    Ok(MeasuredChat { chat, summary, cpu, elapsed })
}

/// A whole reply says whether the question was answered; one that was not cost no model call.
fn judge_chat(body: &[u8]) -> Judgement {
    let says = |text: &[u8]| body.windows(text.len()).rev().any(|window| window == text);
    if says(br#""answerable":true"#) {
        Judgement::Good
    } else if says(br#""answerable":false"#) {
        Judgement::Slight
    } else {
        Judgement::Wrong
    }
}

/// The generator's and the model server's own speed.
pub(super) struct Ceilings {
    embedding: Summary,
    chat: Summary,
    loads: Vec<(&'static str, Summary)>,
}

pub(super) async fn ceilings(model_url: &str, questions: &[String], windows: Windows) -> anyhow::Result<Ceilings> {
    let window = Until::Elapsed(windows.measured / 5);
    let passages: Vec<String> =
        (1..=5).map(|number| format!("[{number}] {}\n", "Words about nothing. ".repeat(50))).collect();
    let chat = |streamed: bool| {
        let bodies = questions.iter().take(1000).map(|question| {
            let messages = json!([{"role": "user", "content": format!("{}\n{question}", passages.concat())}]);
            Bytes::from(json!({"model": stub::CHAT_MODEL, "messages": messages, "stream": streamed}).to_string())
        });
        Target::post(&format!("{model_url}/chat/completions"), bodies.collect(), judge_any).map(Arc::new)
    };
    let bodies = questions
        .iter()
        .map(|question| Bytes::from(json!({"model": stub::EMBEDDING_MODEL, "input": question}).to_string()));
    let embed = Arc::new(Target::post(&format!("{model_url}/embeddings"), bodies.collect(), judge_any)?);
    let (plain, streamed) = (chat(false)?, chat(true)?);
    load::run(&plain, 16, Until::Elapsed(windows.warm_up / 3)).await?;
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

fn summary_cells(name: &str, summary: &Summary) -> Vec<String> {
    let (low, high) = summary.rate_range;
    let range = format!("{} to {}", number(low), number(high));
    vec![name.to_owned(), number(summary.rate), range, summary.latency.to_string(), summary.errors.to_string()]
}

/// The budgets of chat: throughput, and what the product adds to the time of its model server.
pub(super) fn chat_rows(chats: &[MeasuredChat], ceilings: &Ceilings) -> Vec<Row> {
    let of = |clients: usize| chats.iter().find(|measured| measured.chat.clients == clients && !measured.chat.streamed);
    let mut rows = Vec::new();
    let what = "chat, zero-latency stub for embeddings and model, 16 clients";
    rows.extend(of(Chat::SIXTEEN.clients).map(|measured| {
        measured.row(
            what,
            Budget::AtLeast(500.0, "req/s"),
            measured.summary.rate,
            format!("p50 {:.1} ms", measured.summary.latency.p50),
        )
    }));
    let what = "added latency of chat at 1 client, p50, without the model server's own time";
    rows.extend(of(Chat::ONE.clients).map(|measured| {
        let (whole, models) =
            (measured.summary.latency.p50, ceilings.embedding.latency.p50 + ceilings.chat.latency.p50);
        let note = format!(
            "{whole:.2} ms whole, {models:.2} ms of it model server; p99 {:.1} ms",
            measured.summary.latency.p99
        );
        measured.row(what, Budget::AtMost(5.0, "ms"), whole - models, note)
    }));
    rows
}

impl MeasuredChat {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds")]
    fn row(&self, what: &str, budget: Budget, value: f64, mut note: String) -> Row {
        let Summary { errors, replies, slight, first_error, .. } = &self.summary;
        if *errors as f64 > *replies as f64 * ERROR_LIMIT || *replies == 0 {
            let first = first_error.as_deref().unwrap_or("no reply at all").replace(['\n', '|'], " ");
            return Row::not_measured(what, budget, format!("{errors} errors beside {replies} replies: {first}"));
        }
        if *slight > 0.05 {
            // Writing into a string cannot fail.
            let _ = write!(note, "; {:.0} % of the questions were not answered, which costs less", slight * 100.0);
        }
        Row::measured(what, budget, value, note)
    }

    fn cells(&self) -> Vec<String> {
        let per_chat = |cpu| per_unit(cpu, self.summary.replies);
        let cores = (self.cpu.product + self.cpu.postgres + self.cpu.bench).as_secs_f64() / self.elapsed.as_secs_f64();
        let mut cells = summary_cells(self.chat.name, &self.summary);
        cells.extend([
            number(self.summary.first_byte.p50),
            format!("{:.0} %", (1.0 - self.summary.slight) * 100.0),
            per_chat(self.cpu.product),
            per_chat(self.cpu.postgres),
            per_chat(self.cpu.bench),
            number(cores),
        ]);
        cells
    }
}

/// All chat loads, with the CPU time each chat cost.
pub(super) fn chat_table(chats: &[MeasuredChat]) -> Table {
    Table {
        title: "Chat through the API, closed loop, every question different.",
        columns: &[
            "load",
            "req/s",
            "lowest to highest",
            "ms p50 / p95 / p99",
            "errors",
            "first byte ms p50",
            "answered",
            "CPU ms product",
            "CPU ms Postgres",
            "CPU ms load and model server",
            "cores busy",
        ],
        rows: chats.iter().map(MeasuredChat::cells).collect(),
    }
}

pub(super) struct MeasuredIngestion {
    ingested: Ingested,
    cpu: CpuTimes,
    documents: usize,
    bytes: usize,
}

pub(super) async fn ingest(server: &Server, corpus: &Corpus) -> anyhow::Result<MeasuredIngestion> {
    let before = server.watched().cpu_times()?;
    let ingested = server.ingest(corpus).await?;
    if ingested.chunks == 0 {
        bail!("the ingestion made no chunks: {} documents indexed, {} failed", ingested.documents, ingested.failed);
    }
    let cpu = server.watched().cpu_times()?.since(before);
    Ok(MeasuredIngestion { ingested, cpu, documents: corpus.documents.len(), bytes: corpus.bytes() })
}

impl MeasuredIngestion {
    #[expect(clippy::cast_precision_loss, reason = "a corpus has far fewer chunks than 2^53")]
    fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.ingested.elapsed.as_secs_f64()
    }

    pub(super) fn row(&self) -> Row {
        let Ingested { documents, failed, chunks, elapsed } = &self.ingested;
        let note = format!(
            "{chunks} chunks of {documents} documents in {:.1} s, {failed} failed, of {} uploaded",
            elapsed.as_secs_f64(),
            self.documents
        );
        Row::measured(
            "ingestion with stub embeddings",
            Budget::AtLeast(2000.0, "chunks/s"),
            self.per_second(*chunks),
            note,
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "a corpus has far fewer bytes than 2^53")]
    pub(super) fn table(&self) -> Table {
        let per_chunk = |cpu| per_unit(cpu, self.ingested.chunks);
        Table {
            title: "Ingestion over the API, from the first upload to the end of the last run.",
            columns: &[
                "chunks/s",
                "documents/s",
                "MB/s",
                "CPU ms per chunk product",
                "CPU ms Postgres",
                "CPU ms model server and client",
            ],
            rows: vec![vec![
                number(self.per_second(self.ingested.chunks)),
                number(self.per_second(self.ingested.documents)),
                number(self.bytes as f64 / 1e6 / self.ingested.elapsed.as_secs_f64()),
                per_chunk(self.cpu.product),
                per_chunk(self.cpu.postgres),
                per_chunk(self.cpu.bench),
            ]],
        }
    }
}

/// What the built-in embedding model makes of it.
pub(super) struct BuiltIn {
    /// Of the server at rest, after everything else.
    pub(super) memory_mib: f64,
    ingestion: MeasuredIngestion,
    chat: MeasuredChat,
}

/// A server with the built-in model: a small corpus ingested, one client's questions answered.
pub(super) async fn built_in(
    binary: &Path,
    model_url: &str,
    stub: u32,
    questions: &[String],
    windows: Windows,
) -> anyhow::Result<BuiltIn> {
    // The engine does some forty chunks a second.
    const BYTES: usize = 600_000;
    let server = Server::start(binary, model_url, stub, Embeddings::BuiltIn).await?;
    server.rest().await?;
    let ingestion = ingest(&server, &Corpus::generated(BYTES)?).await?;
    let chat = chat(&server, Chat::ONE, questions, windows).await?;
    if let Some(error) = &chat.summary.first_error {
        bail!("{} questions failed: {error}", chat.summary.errors);
    }
    server.rest().await?;
    Ok(BuiltIn { memory_mib: memory_mib(server.process_id())?, ingestion, chat })
}

impl BuiltIn {
    pub(super) fn table(&self) -> Table {
        let (chunks, latency) = (self.ingestion.ingested.chunks, self.chat.summary.latency);
        Table {
            title: "With the built-in embedding model: generated documents ingested, and chat at 1 client.",
            columns: &[
                "chunks/s",
                "CPU ms per chunk",
                "chat ms p50 / p95 / p99",
                "CPU ms per chat, product",
                "MiB at rest",
            ],
            rows: vec![vec![
                number(self.ingestion.per_second(chunks)),
                per_unit(self.ingestion.cpu.product, chunks),
                latency.to_string(),
                per_unit(self.chat.cpu.product, self.chat.summary.replies),
                number(self.memory_mib),
            ]],
        }
    }
}

/// Milliseconds per unit of work.
#[expect(clippy::cast_precision_loss, reason = "counts of a run of minutes")]
fn per_unit(cpu: Duration, units: u64) -> String {
    number(cpu.as_secs_f64() * 1e3 / units.max(1) as f64)
}
