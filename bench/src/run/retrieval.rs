//! Retrieval in SQL beside the plainest query that pgvector could answer with the same index.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use docbrain_core::embed::Embedder;
use docbrain_core::ids::{GenerationId, TenantId};
use docbrain_core::lexical::{self, Language};
use docbrain_core::retrieve;
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::search::{self, Query};
use docbrain_core::store::{self, Pool};
use pgvector::HalfVector;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use crate::load::Latencies;
use crate::report::{Budget, Row, Table, number};

const QUESTIONS: usize = 300;
/// A chatbot's passages, unless its spec says otherwise.
const PASSAGES: u32 = 8;

/// The database of a running server, from its home folder.
pub(super) struct Database {
    superuser_url: String,
    api: Pool,
}

impl Database {
    pub(super) async fn of_home(home: &Path) -> anyhow::Result<Self> {
        let secret = |name: &str| -> anyhow::Result<String> {
            let path = home.join("secrets").join(name);
            let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            Ok(text.trim().to_owned())
        };
        let (password, socket) = (secret("postgres")?, home.join("postgres/socket"));
        let url = |user: &str| format!("postgres://{user}:{password}@localhost/docbrain?host={}", socket.display());
        let role_secret = SecretString::from(secret("roles")?);
        let api_url = roles::url(&url("docbrain_owner"), Login::Api, &role_secret)?;
        Ok(Self { superuser_url: url("postgres"), api: store::connect(api_url.expose_secret(), 1).await? })
    }

    async fn superuser(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.superuser_url).await.context("failed to log in to the server's database")
    }

    /// Texts of chunks, as many as there are up to `most`.
    pub(super) async fn chunk_texts(&self, most: i64) -> anyhow::Result<Vec<String>> {
        let mut connection = self.superuser().await?;
        let largest = largest_generation(&mut connection).await?;
        let statement = format!("select text from {} where generation_id = $1 limit $2", largest.table);
        let rows =
            sqlx::query(AssertSqlSafe(statement)).bind(largest.id.0).bind(most).fetch_all(&mut connection).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

struct Generation {
    tenant: TenantId,
    id: GenerationId,
    table: String,
    chunks: i32,
}

async fn largest_generation(connection: &mut PgConnection) -> anyhow::Result<Generation> {
    let row = sqlx::query("select tenant_id, id, own_table, chunks from generations order by chunks desc limit 1")
        .fetch_one(connection)
        .await
        .context("the server has no index")?;
    let id = GenerationId(row.try_get("id")?);
    let own_table: bool = row.try_get("own_table")?;
    Ok(Generation {
        tenant: TenantId(row.try_get("tenant_id")?),
        id,
        table: if own_table { format!("chunks_{}", id.0.simple()) } else { "chunks".to_owned() },
        chunks: row.try_get("chunks")?,
    })
}

pub(super) struct MeasuredRetrieval {
    chunks: i32,
    raw: Latencies,
    dense: Latencies,
    hybrid: Latencies,
}

/// Asks every question in each way, one after the other, so that all ways meet the same machine.
pub(super) async fn measure(
    database: &Database,
    embedder: &dyn Embedder,
    questions: &[String],
) -> anyhow::Result<MeasuredRetrieval> {
    let mut superuser = database.superuser().await?;
    let generation = largest_generation(&mut superuser).await?;
    sqlx::query("set hnsw.ef_search = 100").execute(&mut superuser).await?;
    let dimensions = embedder.model().dimensions;
    let order = format!("embedding::halfvec({dimensions}) <=> $1::halfvec({dimensions})");
    let raw = format!(
        "select id, document_id, heading_path, text, 1 - ({order}) from {} order by {order} limit {}",
        generation.table,
        retrieve::with_spares(PASSAGES)
    );
    let (mut raw_times, mut dense_times, mut hybrid_times) = (Vec::new(), Vec::new(), Vec::new());
    for question in questions.iter().take(QUESTIONS) {
        let vector = embedder.embed(std::slice::from_ref(question)).await?.pop().context("a text has a vector")?;
        let terms = lexical::question_terms(question, &[Language::English]);
        let query = |dense_weight: f32| Query {
            generations: std::slice::from_ref(&generation.id),
            embedding: Some(&vector),
            terms: if dense_weight < 1.0 { &terms } else { &[] },
            candidates: retrieve::CANDIDATES,
            results: retrieve::with_spares(PASSAGES),
            dense_weight,
        };
        let begun = Instant::now();
        sqlx::query(AssertSqlSafe(raw.clone()))
            .bind(HalfVector::from_f32_slice(&vector))
            .fetch_all(&mut superuser)
            .await?;
        raw_times.push(micros(begun));
        let begun = Instant::now();
        search::passages(&database.api, generation.tenant, &query(0.5)).await?;
        hybrid_times.push(micros(begun));
        let begun = Instant::now();
        search::passages(&database.api, generation.tenant, &query(1.0)).await?;
        dense_times.push(micros(begun));
    }
    Ok(MeasuredRetrieval {
        chunks: generation.chunks,
        raw: Latencies::of(raw_times),
        dense: Latencies::of(dense_times),
        hybrid: Latencies::of(hybrid_times),
    })
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl MeasuredRetrieval {
    pub(super) fn row(&self) -> Row {
        let (raw, dense) = (self.raw.p50, self.dense.p50);
        let note = format!("by meaning alone, p50 {} ms beside {} ms", number(dense), number(raw));
        Row::measured("retrieval SQL beside the same raw pgvector query", Budget::AtMost(1.3, "×"), dense / raw, note)
    }

    pub(super) fn table(&self) -> Table {
        let row = |what: &str, times: Latencies| vec![what.to_owned(), number(times.p50), number(times.p95)];
        Table {
            title: "Retrieval in the database, one connection, the ways in turn for every question.",
            columns: &["way", "ms p50", "ms p95"],
            rows: vec![
                row(
                    &format!("raw pgvector query over {} chunks (as superuser, hnsw.ef_search 100)", self.chunks),
                    self.raw,
                ),
                row("search by meaning, as the API's role", self.dense),
                row("hybrid search, as the API's role", self.hybrid),
            ],
        }
    }
}
