//! The product with the embedding model in its own process.

use std::sync::Arc;

use anyhow::bail;

use super::chat::{Chat, MeasuredChat};
use super::corpus::Corpus;
use super::ingestion::MeasuredIngestion;
use super::server::{Embeddings, Server, Setup};
use super::{Extent, chat, ingestion, per_unit};
use crate::load::Bodies;
use crate::machine::memory_mib;
use crate::report::{Table, number};

/// What the built-in embedding model makes of it.
pub(super) struct BuiltIn {
    /// Of the server at rest, after everything else.
    pub(super) memory_mib: f64,
    ingestion: MeasuredIngestion,
    chat: MeasuredChat,
}

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
