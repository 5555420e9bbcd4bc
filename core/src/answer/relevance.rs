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
    /// Chosen on 605 passages of the Rust book and the Redis manual, each embedded under its title and headings.
    /// The best cosine of 51 English questions about them was .34 to .83 (but "What is Arc?" .17, refused), that of
    /// 48 questions about other things .09 to .33 (but "How do I cancel my subscription?" .52, accepted: there is
    /// a passage on subscriptions). The model knows only English: other languages score lower.
    fn default() -> Self {
        Self { sure: 0.42, possible: 0.3, coverage: 0.5 }
    }
}

impl Relevance {
    /// For passages that were found by words alone, and have no cosine.
    pub const BY_WORDS: Self = Self { sure: f32::INFINITY, possible: f32::NEG_INFINITY, coverage: 0.5 };

    /// Whether one of the passages fits `question`.
    pub fn covers(&self, question: &str, languages: &[Language], passages: &[Passage]) -> bool {
        passages.iter().any(|passage| passage.dense_score >= self.sure) || {
            let question = terms(question, languages);
            passages
                .iter()
                .filter(|passage| passage.dense_score >= self.possible)
                .any(|passage| coverage(&question, &terms(&in_context(passage), languages)) >= self.coverage)
        }
    }
}

/// The passage's text with the names of the place it stands at.
fn in_context(passage: &Passage) -> String {
    format!("{} {} {}", passage.title, passage.heading_path.join(" "), passage.text)
}

/// The distinct words of a text: stemmed as in the languages of the documents, without stop words.
pub(super) fn terms(text: &str, languages: &[Language]) -> BTreeSet<Term> {
    lexical::question_terms(text, languages).into_iter().collect()
}

/// Share of `wanted` that `found` holds, 0 to 1; 0 when nothing is wanted.
#[expect(clippy::cast_precision_loss, reason = "a question has few words")]
pub(super) fn coverage(wanted: &BTreeSet<Term>, found: &BTreeSet<Term>) -> f32 {
    wanted.intersection(found).count() as f32 / wanted.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::super::tests::passage;
    use super::*;

    #[test]
    fn near_enough_or_near_with_the_same_words() {
        let fits = |dense_score: f32, question: &str| {
            let passage = Passage { dense_score, ..passage("EXPIRE", &["Keys"], "Sets a timeout.") };
            Relevance::default().covers(question, &[Language::English], &[passage])
        };
        assert!(fits(0.45, "Anything at all"));
        assert!(fits(0.35, "expired keys"));
        assert!(!fits(0.35, "sourdough bread with keys"));
        assert!(!fits(0.25, "expired keys"));
        assert!(!Relevance::default().covers("expired keys", &[Language::English], &[]));
    }

    #[test]
    fn by_words_alone_only_the_words_count() {
        let passage = Passage { dense_score: 0.0, ..passage("EXPIRE", &["Keys"], "Sets a timeout.") };
        let fits =
            |question: &str| Relevance::BY_WORDS.covers(question, &[Language::English], std::slice::from_ref(&passage));
        assert!(fits("expired keys"));
        assert!(!fits("sourdough bread"));
    }
}
