//! Whether passages fit a question at all.

use std::collections::BTreeSet;

use crate::lexical::{self, Language, Term};
use crate::retrieve::Passage;

/// When the best passages count as fitting: one of them is close in meaning, or close enough and
/// holds enough of the question's words. Depends on the embedding model; the defaults are for
/// all-MiniLM-L6-v2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relevance {
    /// Cosine from which a passage fits whatever its words.
    pub sure: f32,
    /// Cosine below which no passage fits whatever its words.
    pub possible: f32,
    /// Share of the question's words, 0 to 1, that a passage between the two must hold.
    pub coverage: f32,
}

impl Default for Relevance {
    /// Between what was measured on 605 passages of the Rust book and the Redis manual: 31 English questions
    /// about them had a best cosine of .375 to .832, and below .43 every word of the question in the passage;
    /// 28 questions about other things had .09 to .28 ("How do I cancel my subscription?" .52).
    fn default() -> Self {
        Self { sure: 0.42, possible: 0.3, coverage: 0.6 }
    }
}

impl Relevance {
    /// Whether one of the passages fits `question`.
    pub fn covers(&self, question: &str, passages: &[Passage]) -> bool {
        passages.iter().any(|passage| {
            passage.dense_score >= self.sure
                || (passage.dense_score >= self.possible
                    && coverage(&terms(question), &terms(&in_context(passage))) >= self.coverage)
        })
    }
}

/// The passage's text with the names of the place it stands at.
fn in_context(passage: &Passage) -> String {
    format!("{} {} {}", passage.title, passage.heading_path.join(" "), passage.text)
}

/// The distinct words of a text: stemmed, without stop words.
pub(super) fn terms(text: &str) -> BTreeSet<Term> {
    lexical::terms(text, Language::detect(text)).into_keys().collect()
}

/// Share of `wanted` that `found` holds, 0 to 1; 0 when nothing is wanted.
#[expect(clippy::cast_precision_loss, reason = "a question has few words")]
pub(super) fn coverage(wanted: &BTreeSet<Term>, found: &BTreeSet<Term>) -> f32 {
    wanted.intersection(found).count() as f32 / wanted.len().max(1) as f32
}
