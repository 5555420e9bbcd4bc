//! Chunks of a document in a generation: always replaced as a whole.

use std::collections::BTreeMap;
use std::ops::Range;

use pgvector::{HalfVector, SparseVector};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, QueryBuilder};
use uuid::Uuid;

use super::generations::GenerationRow;
use super::{Error, TenantTx};
use crate::ids::{ChunkId, DocumentId};
use crate::lexical::{DIMENSIONS, Term};

/// A chunk ready to be stored.
#[derive(Clone, Debug)]
pub struct NewChunk {
    /// Markdown that is shown and quoted.
    pub text: String,
    /// Headings from the outermost to the one it stands under.
    pub heading_path: Vec<String>,
    /// First and last page, from 1.
    pub pages: Option<(u32, u32)>,
    /// Span in characters of the document's Markdown.
    pub span: Range<usize>,
    /// Tokens of the embedding model.
    pub tokens: usize,
    /// Weighted terms ([`crate::lexical::weights`]).
    pub weights: BTreeMap<Term, f32>,
    /// Unit-length vector.
    pub embedding: Vec<f32>,
}

/// What was learnt of a document while it was read.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its language's code.
    pub language: &'a str,
    /// Its number of pages, where the format has pages.
    pub pages: Option<u32>,
}

/// Replaces a document's chunks and marks it indexed, unless it changed or went in the meantime: then `false`, and
/// nothing is to be committed.
pub async fn replace(
    tx: &mut TenantTx,
    generation: &GenerationRow,
    document: DocumentId,
    content_sha256: &[u8],
    reading: &Reading<'_>,
    chunks: &[NewChunk],
) -> Result<bool, Error> {
    let count = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
    let marked = sqlx::query!(
        "update documents set status = 'indexed', error_code = null, error_detail = null, attempts = 0, title = $4,
                language = $5, pages = $6, chunks = $7, indexed_at = now(), updated_at = now()
         where tenant_id = $1 and id = $2 and content_sha256 = $3",
        tx.tenant().0,
        document.0,
        content_sha256,
        reading.title,
        reading.language,
        reading.pages.and_then(|pages| i32::try_from(pages).ok()),
        count,
    )
    .execute(&mut **tx)
    .await?;
    if marked.rows_affected() == 0 {
        return Ok(false);
    }
    let removed = remove(tx, generation, document).await?;
    insert(tx, generation, document, chunks).await?;
    sqlx::query!(
        "insert into indexed_documents (tenant_id, generation_id, document_id, content_sha256, chunks) values ($1, $2, $3, $4, $5)
         on conflict (tenant_id, generation_id, document_id) do update set content_sha256 = excluded.content_sha256, chunks = excluded.chunks",
        tx.tenant().0,
        generation.id.0,
        document.0,
        content_sha256,
        count,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "update generations set chunks = chunks + $3 where tenant_id = $1 and id = $2",
        tx.tenant().0,
        generation.id.0,
        count - removed,
    )
    .execute(&mut **tx)
    .await?;
    Ok(true)
}

/// Marks a document failed. Chunks of an earlier content stay out of the index: they would answer with what is no
/// longer there.
pub async fn fail(
    tx: &mut TenantTx,
    generation: &GenerationRow,
    document: DocumentId,
    content_sha256: &[u8],
    code: &str,
    detail: &str,
) -> Result<bool, Error> {
    let marked = sqlx::query!(
        "update documents set status = 'failed', error_code = $4, error_detail = $5, chunks = 0, indexed_at = null, updated_at = now()
         where tenant_id = $1 and id = $2 and content_sha256 = $3",
        tx.tenant().0,
        document.0,
        content_sha256,
        code,
        detail,
    )
    .execute(&mut **tx)
    .await?;
    if marked.rows_affected() == 0 {
        return Ok(false);
    }
    let removed = remove(tx, generation, document).await?;
    sqlx::query!(
        "delete from indexed_documents where tenant_id = $1 and generation_id = $2 and document_id = $3",
        tx.tenant().0,
        generation.id.0,
        document.0,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "update generations set chunks = chunks - $3 where tenant_id = $1 and id = $2",
        tx.tenant().0,
        generation.id.0,
        removed,
    )
    .execute(&mut **tx)
    .await?;
    Ok(true)
}

async fn remove(tx: &mut TenantTx, generation: &GenerationRow, document: DocumentId) -> Result<i32, Error> {
    let table = generation.table();
    let removed =
        sqlx::query(AssertSqlSafe(format!("delete from {table} where generation_id = $1 and document_id = $2")))
            .bind(generation.id.0)
            .bind(document.0)
            .execute(&mut **tx)
            .await?;
    Ok(i32::try_from(removed.rows_affected()).unwrap_or(i32::MAX))
}

async fn insert(
    tx: &mut TenantTx,
    generation: &GenerationRow,
    document: DocumentId,
    chunks: &[NewChunk],
) -> Result<(), Error> {
    /// Postgres takes 65,535 parameters in a statement; a chunk has fifteen.
    const ROWS_PER_STATEMENT: usize = 1_000;
    let tenant = tx.tenant();
    for (batch, rows) in chunks.chunks(ROWS_PER_STATEMENT).enumerate() {
        let mut insert = QueryBuilder::new(format!(
            "insert into {} (tenant_id, generation_id, document_id, ordinal, id, text, heading_path, page_first, page_last,
                span_start, span_end, tokens, terms, weights, embedding) ",
            generation.table()
        ));
        insert.push_values(rows.iter().enumerate(), |mut row, (index, chunk)| {
            let ordinal = integer(batch * ROWS_PER_STATEMENT + index);
            let terms: Vec<Term> = chunk.weights.keys().copied().collect();
            row.push_bind(tenant.0)
                .push_bind(generation.id.0)
                .push_bind(document.0)
                .push_bind(ordinal)
                .push_bind(chunk_id(generation, document, ordinal).0)
                .push_bind(&chunk.text)
                .push_bind(&chunk.heading_path)
                .push_bind(chunk.pages.map(|(first, _)| page(first)))
                .push_bind(chunk.pages.map(|(_, last)| page(last)))
                .push_bind(integer(chunk.span.start))
                .push_bind(integer(chunk.span.end))
                .push_bind(integer(chunk.tokens))
                .push_bind(terms)
                .push_bind(SparseVector::from_map(&chunk.weights, DIMENSIONS))
                .push_bind(HalfVector::from_f32_slice(&chunk.embedding));
        });
        insert.build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The same chunk has the same id however often its run was killed and begun again.
fn chunk_id(generation: &GenerationRow, document: DocumentId, ordinal: i32) -> ChunkId {
    let mut hash = Sha256::new();
    hash.update(generation.id.0.as_bytes());
    hash.update(document.0.as_bytes());
    hash.update(ordinal.to_be_bytes());
    let digest = hash.finalize();
    ChunkId(Uuid::new_v8(digest[..16].try_into().expect("sixteen bytes")))
}

fn integer(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn page(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
