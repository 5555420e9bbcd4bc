//! Ingestion over the API.

use anyhow::bail;

use super::corpus::Corpus;
use super::per_unit;
use super::server::{Ingested, Server};
use crate::machine::CpuTimes;
use crate::report::{Budget, Row, Table, number};

pub(super) struct MeasuredIngestion {
    pub(super) ingested: Ingested,
    pub(super) cpu: CpuTimes,
    documents: usize,
    bytes: usize,
}

/// Ingests a corpus and adds up the CPU time of everyone involved.
pub(super) async fn measure(server: &Server, corpus: &Corpus) -> anyhow::Result<MeasuredIngestion> {
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
    pub(super) fn per_second(&self, amount: u64) -> f64 {
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
