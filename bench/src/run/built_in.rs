//! The product with the embedding model in its own process.

use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use docbrain_core::models::EmbeddingChoice;

use super::chat::{Chat, MeasuredChat};
use super::corpus::Corpus;
use super::ingestion::MeasuredIngestion;
use super::retrieval::Database;
use super::server::{Embeddings, Server, Setup};
use super::{Extent, chat, ingestion, per_unit};
use crate::load::Bodies;
use crate::machine::memory_mib;
use crate::report::{Budget, Row, Table, number};

/// What the built-in embedding model makes of it.
pub(super) struct BuiltIn {
    /// Of the server at rest, after everything else.
    memory_mib: f64,
    ingestion: MeasuredIngestion,
    /// Chunks per second that the engine embeds with nothing around it.
    engine: f64,
    chat: MeasuredChat,
}

/// Chunks that the engine embeds alone.
const ENGINE_CHUNKS: i64 = 400;

/// A server with the built-in model: a small corpus ingested, one client's questions answered.
pub(super) async fn measure(setup: &Setup<'_>, questions: &Arc<Bodies>, extent: Extent) -> anyhow::Result<BuiltIn> {
    let server = Server::start(setup, Embeddings::BuiltIn).await?;
    server.rest().await?;
    let ingestion = ingestion::measure(&server, &Corpus::generated(extent.generated_for_model)?).await?;
    let chat = chat::measure(&server, Chat::ONE, questions, extent).await?;
    if let Some(error) = &chat.summary.first_error {
        bail!("{} questions failed: {error}", chat.summary.errors);
    }
    server.rest().await?;
    let memory_mib = memory_mib(server.process_id())?;
    let texts = Database::of_home(server.home()).await?.chunk_texts(ENGINE_CHUNKS).await?;
    drop(server);
    let folder = setup.home.join("tools/model/all-MiniLM-L6-v2");
    let engine = engine_rate(&EmbeddingChoice::BuiltIn(folder), &texts).await?;
    Ok(BuiltIn { memory_mib, ingestion, engine, chat })
}

/// Texts per second.
#[expect(clippy::cast_precision_loss, reason = "some hundred texts")]
async fn engine_rate(choice: &EmbeddingChoice, texts: &[String]) -> anyhow::Result<f64> {
    let embedder = choice.open().await?.embedder;
    embedder.embed(&texts[..texts.len().min(16)]).await?;
    let begun = Instant::now();
    embedder.embed(texts).await?;
    Ok(texts.len() as f64 / begun.elapsed().as_secs_f64())
}

/// The budgets of the built-in model.
pub(super) fn rows(measured: &anyhow::Result<BuiltIn>) -> [Row; 2] {
    let share = ("ingestion with the built-in model, share of the engine's own rate", Budget::AtLeast(90.0, "%"));
    let memory = ("memory at rest, server with the model loaded (PSS)", Budget::AtMost(120.0, "MiB"));
    match measured {
        Ok(BuiltIn { memory_mib, ingestion, engine, .. }) => {
            let rate = ingestion.per_second(ingestion.ingested.chunks);
            let note = format!("{} chunks/s; the engine alone {}", number(rate), number(*engine));
            [
                Row::measured(share.0, share.1, rate / engine * 100.0, note),
                Row::measured(memory.0, memory.1, *memory_mib, "after an ingestion and chats"),
            ]
        }
        Err(error) => {
            let reason = format!("{error:.200}").replace(['\n', '|'], " ");
            [share, memory].map(|(what, budget)| Row::not_measured(what, budget, reason.clone()))
        }
    }
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
