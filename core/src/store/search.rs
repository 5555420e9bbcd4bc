//! Hybrid search: one call of `search_chunks` (`migrations/0003_create_search.sql`), which holds both arms and the fusion.

use pgvector::HalfVector;
use uuid::Uuid;

use super::{Error, Pool};
use crate::ids::{ChunkId, DocumentId, GenerationId, TenantId};
use crate::lexical::Term;
use crate::retrieve::Passage;

/// A question in the two forms it is searched by.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Generations to search.
    pub generations: &'a [GenerationId],
    /// Unit-length vector of the question; `None` searches by words alone.
    pub embedding: Option<&'a [f32]>,
    /// Terms of the question; empty searches by meaning alone.
    pub terms: &'a [Term],
    /// How many of its best chunks each arm contributes.
    pub candidates: u32,
    /// How many passages come back.
    pub results: u32,
    /// Share of the dense arm in the fused score, 0 to 1.
    pub dense_weight: f32,
}

/// The best passages of a tenant, best first, in one round trip.
pub async fn passages(pool: &Pool, tenant: TenantId, query: &Query<'_>) -> Result<Vec<Passage>, Error> {
    let generations: Vec<Uuid> = query.generations.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"select chunk_id as "chunk_id!", document_id as "document_id!", heading_path as "heading_path!", page_first, page_last,
                span_start as "span_start!", span_end as "span_end!", text as "text!", dense as "dense!", lexical as "lexical!",
                score as "score!", title as "title!", url, path as "path!"
         from search_chunks($1, $2, $3, $4, $5, $6, $7)"#,
        tenant.0,
        &generations,
        query.embedding.map(HalfVector::from_f32_slice) as Option<HalfVector>,
        query.terms,
        i32::try_from(query.candidates).unwrap_or(i32::MAX),
        i32::try_from(query.results).unwrap_or(i32::MAX),
        query.dense_weight,
    )
    .fetch_all(pool)
    .await?;
    let number = |stored: i32| u32::try_from(stored).unwrap_or(0);
    Ok(rows
        .into_iter()
        .map(|row| Passage {
            chunk_id: ChunkId(row.chunk_id),
            document_id: DocumentId(row.document_id),
            title: row.title,
            url: row.url,
            path: row.path,
            heading_path: row.heading_path,
            pages: row.page_first.zip(row.page_last).map(|(first, last)| (number(first), number(last))),
            span: number(row.span_start)..number(row.span_end),
            text: row.text,
            dense_score: row.dense,
            lexical_score: row.lexical,
            score: row.score,
        })
        .collect())
}
