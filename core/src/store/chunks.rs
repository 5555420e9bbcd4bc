//! Chunks of a document in a generation: always replaced as a whole.

use std::collections::BTreeMap;
use std::ops::Range;

use pgvector::{HalfVector, SparseVector};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
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

/// Rows written by one statement: enough that it costs little, and few enough for its arrays to stay small.
const ROWS_PER_STATEMENT: usize = 500;

/// Writes rows as arrays, one for each column: one prepared statement whatever their number. Arrays of different
/// lengths (headings, terms) come as one array each, and every row takes its slice.
async fn insert(
    tx: &mut TenantTx,
    generation: &GenerationRow,
    document: DocumentId,
    chunks: &[NewChunk],
) -> Result<(), Error> {
    let statement = format!(
        "insert into {} (tenant_id, generation_id, document_id, ordinal, id, text, heading_path, page_first, page_last,
            span_start, span_end, tokens, terms, weights, embedding)
         select $1, $2, $3, c.ordinal, c.id, c.text, ($14::text[])[c.headings_after + 1 : c.headings_to], c.page_first, c.page_last,
            c.span_start, c.span_end, c.tokens, ($15::integer[])[c.terms_after + 1 : c.terms_to], c.weights, c.embedding
         from unnest($4::integer[], $5::uuid[], $6::text[], $7::integer[], $8::integer[], $9::integer[], $10::integer[],
                $11::integer[], $12::sparsevec[], $13::halfvec[], $16::integer[], $17::integer[], $18::integer[], $19::integer[])
            c (ordinal, id, text, page_first, page_last, span_start, span_end,
                tokens, weights, embedding, headings_after, headings_to, terms_after, terms_to)",
        generation.table()
    );
    for (batch, rows) in chunks.chunks(ROWS_PER_STATEMENT).enumerate() {
        let ordinals: Vec<i32> = (batch * ROWS_PER_STATEMENT..).take(rows.len()).map(integer).collect();
        let (headings, headings_after, headings_to) =
            in_one(rows.iter().map(|chunk| chunk.heading_path.iter().map(String::as_str)));
        let (terms, terms_after, terms_to) = in_one(rows.iter().map(|chunk| chunk.weights.keys().copied()));
        sqlx::query(AssertSqlSafe(statement.clone()))
            .bind(tx.tenant().0)
            .bind(generation.id.0)
            .bind(document.0)
            .bind(&ordinals)
            .bind(ordinals.iter().map(|&ordinal| chunk_id(generation, document, ordinal).0).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| chunk.text.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| chunk.pages.map(|(first, _)| page(first))).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| chunk.pages.map(|(_, last)| page(last))).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| integer(chunk.span.start)).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| integer(chunk.span.end)).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| integer(chunk.tokens)).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| SparseVector::from_map(&chunk.weights, DIMENSIONS)).collect::<Vec<_>>())
            .bind(rows.iter().map(|chunk| HalfVector::from_f32_slice(&chunk.embedding)).collect::<Vec<_>>())
            .bind(headings)
            .bind(terms)
            .bind(headings_after)
            .bind(headings_to)
            .bind(terms_after)
            .bind(terms_to)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Lists one after the other, and for each how many elements stand before it and up to its end.
fn in_one<T>(lists: impl Iterator<Item = impl Iterator<Item = T>>) -> (Vec<T>, Vec<i32>, Vec<i32>) {
    let (mut all, mut after, mut to) = (Vec::new(), Vec::new(), Vec::new());
    for list in lists {
        after.push(integer(all.len()));
        all.extend(list);
        to.push(integer(all.len()));
    }
    (all, after, to)
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
