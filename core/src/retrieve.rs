//! A question to ranked passages.

use std::ops::Range;
use std::time::Instant;

use crate::embed::{EmbedError, Embedder};
use crate::ids::{ChunkId, DocumentId, GenerationId, TenantId};
use crate::lexical::{self, Language};
use crate::store::search::Query;
use crate::store::{self, Pool};
use crate::telemetry::metrics;

/// How many of its best chunks each arm contributes; fusion scales scores over these (Bruch, Gai, Ingber 2023:
/// "An Analysis of Fusion Functions for Hybrid Retrieval").
pub const CANDIDATES: u32 = 100;

/// Share of the dense arm in the fused score; measured in docs/benchmarks.md.
const DENSE_WEIGHT: f32 = 0.5;

/// A chunk that retrieval found, with all a citation needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// The chunk.
    pub chunk_id: ChunkId,
    /// The document it was cut from.
    pub document_id: DocumentId,
    /// The document's title.
    pub title: String,
    /// Where a visitor can open the document.
    pub url: Option<String>,
    /// The document's path within its knowledge source, such as `guide/install.md`.
    pub path: String,
    /// Headings from the outermost to the one the chunk stands under.
    pub heading_path: Vec<String>,
    /// First and last page (from 1), where the format has pages.
    pub pages: Option<(u32, u32)>,
    /// Span in characters of the document's Markdown.
    pub span: Range<u32>,
    /// The chunk's Markdown.
    pub text: String,
    /// Cosine similarity of question and chunk, −1 to 1.
    pub dense_score: f32,
    /// BM25 score of the chunk, 0 when no term of the question occurs in it.
    pub lexical_score: f32,
    /// The fused score that ranks passages, 0 to 1.
    pub score: f32,
}

/// Which arms search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// By meaning alone.
    Dense,
    /// By words alone.
    Text,
    /// Both, their scores fused.
    Hybrid,
}

/// Where and how to search.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// Generations of the tenant to search.
    pub generations: &'a [GenerationId],
    /// Languages of their documents.
    pub languages: &'a [Language],
    /// Which arms search.
    pub arms: Arms,
    /// How many passages come back at the most.
    pub top_k: u32,
}

/// Why retrieval failed.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// The question could not be embedded.
    #[error("failed to embed the question")]
    Embed {
        /// What the embedder said.
        #[from]
        source: EmbedError,
    },
    /// The search failed.
    #[error("failed to search the index")]
    Store {
        /// What the store said.
        #[from]
        source: store::Error,
    },
}

/// The best passages for a question, best first, without near-duplicates.
#[tracing::instrument(name = "retrieve", skip_all)]
pub async fn passages(
    pool: &Pool,
    embedder: &dyn Embedder,
    question: &str,
    scope: &Scope<'_>,
) -> Result<Vec<Passage>, RetrieveError> {
    if scope.generations.is_empty() {
        return Ok(Vec::new());
    }
    let embedding = match scope.arms {
        Arms::Text => None,
        Arms::Dense | Arms::Hybrid => {
            let started = Instant::now();
            let mut vectors = embedder.embed(&[question.to_owned()]).await?;
            metrics().question_embedding_seconds.observe(started.elapsed().as_secs_f64());
            vectors.pop()
        }
    };
    let terms = match scope.arms {
        Arms::Dense => Vec::new(),
        Arms::Text | Arms::Hybrid => lexical::question_terms(question, scope.languages),
    };
    let query = Query {
        generations: scope.generations,
        embedding: embedding.as_deref(),
        terms: &terms,
        candidates: CANDIDATES.max(scope.top_k),
        results: with_spares(scope.top_k),
        dense_weight: match scope.arms {
            Arms::Dense => 1.0,
            Arms::Text => 0.0,
            Arms::Hybrid => DENSE_WEIGHT,
        },
    };
    let started = Instant::now();
    let found = store::search::passages(pool, scope.tenant, &query).await?;
    metrics().search_seconds.observe(started.elapsed().as_secs_f64());
    tracing::debug!(found = found.len(), "passages found");
    Ok(without_duplicates(found, scope.top_k as usize))
}

/// How many passages are searched for to keep `top_k`: half as many again, so that enough are left when near-duplicates go.
pub fn with_spares(top_k: u32) -> u32 {
    top_k.saturating_add(top_k / 2 + 2)
}

/// Keeps the first of passages that say the same, up to `most`.
fn without_duplicates(passages: Vec<Passage>, most: usize) -> Vec<Passage> {
    let mut kept: Vec<(Passage, Vec<u64>)> = Vec::new();
    for passage in passages {
        if kept.len() == most {
            break;
        }
        let shingles = shingles(&passage.text);
        if !kept.iter().any(|(other, seen)| overlap(other, &passage) || alike(seen, &shingles)) {
            kept.push((passage, shingles));
        }
    }
    kept.into_iter().map(|(passage, _)| passage).collect()
}

/// Spans of one document that share more than half of the shorter one.
fn overlap(a: &Passage, b: &Passage) -> bool {
    let shared = a.span.end.min(b.span.end).saturating_sub(a.span.start.max(b.span.start));
    let shorter = a.span.len().min(b.span.len());
    a.document_id == b.document_id && shared as usize * 2 > shorter
}

/// Sets of shingles, in order, whose Jaccard index is above 0.8 (Broder 1997, "On the resemblance and containment of
/// documents").
fn alike(a: &[u64], b: &[u64]) -> bool {
    let alike = |shared: usize| shared * 10 > (a.len() + b.len() - shared) * 8;
    alike(a.len().min(b.len())) && alike(a.iter().filter(|shingle| b.binary_search(shingle).is_ok()).count())
}

/// Hashes of every run of four words, in order and each once.
fn shingles(text: &str) -> Vec<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    let mut shingles: Vec<u64> = words
        .windows(4.min(words.len()).max(1))
        .map(|run| {
            let mut hasher = DefaultHasher::new();
            run.hash(&mut hasher);
            hasher.finish()
        })
        .collect();
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(document: DocumentId, span: Range<u32>, text: &str) -> Passage {
        Passage {
            chunk_id: ChunkId::new(),
            document_id: document,
            title: "t".into(),
            url: None,
            path: "p".into(),
            heading_path: vec![],
            pages: None,
            span,
            text: text.into(),
            dense_score: 0.5,
            lexical_score: 1.0,
            score: 0.5,
        }
    }

    #[test]
    fn near_duplicates_go_and_the_best_stays() {
        let text = "The EXPIRE command sets a timeout on a key, and after the timeout the key is deleted.";
        let first = passage(DocumentId::new(), 0..80, text);
        let copy = passage(DocumentId::new(), 40..120, &format!("{text} Really."));
        let other = passage(
            DocumentId::new(),
            0..80,
            "The PERSIST command removes the timeout of a key, so that it stays for good.",
        );
        let kept = without_duplicates(vec![first.clone(), copy, other.clone()], 3);
        assert_eq!(kept, [first, other]);
    }

    #[test]
    fn overlapping_windows_of_one_document_count_once() {
        let document = DocumentId::new();
        let first = passage(document, 0..100, "one two three four five six");
        let shifted = passage(document, 30..130, "seven eight nine ten eleven twelve");
        let apart = passage(document, 90..190, "red green blue yellow orange");
        assert_eq!(without_duplicates(vec![first.clone(), shifted, apart.clone()], 9), [first, apart]);
    }

    #[test]
    fn no_more_than_asked_for_come_back() {
        let passages =
            (0..5).map(|n| passage(DocumentId::new(), 0..9, &format!("passage number {n} {n} {n}"))).collect();
        assert_eq!(without_duplicates(passages, 2).len(), 2);
    }
}
