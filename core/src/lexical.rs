//! Text to weighted terms: the analysis behind the BM25 arm of retrieval.
//!
//! A term is a stemmed, lower-cased word (Unicode UAX #29), hashed to 20 bits. A chunk's weights are the part of
//! BM25 that depends on the chunk alone, so that the score of a chunk is an inner product with the question's idf.
//! The same code analyses chunks and questions; Postgres only stores and multiplies (docs/adr/0004-bm25-in-rust.md).

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

mod language;

pub use language::Language;

/// Number of dimensions terms are hashed to; `sparsevec(1048576)` in the schema.
pub const DIMENSIONS: i32 = 1 << 20;

/// BM25's k1 and b as in Lucene's and Anserini's passage retrieval (Yang, Fang, Lin 2017).
const K1: f32 = 0.9;
const B: f32 = 0.4;

/// The length in terms a chunk's length is compared with. BM25 takes the collection's average; a constant keeps
/// weights independent of what else is indexed, and off by a factor of two it costs nothing measurable
/// (docs/benchmarks.md).
const PIVOT_LENGTH: f32 = 110.0;

/// A hashed term: `0..DIMENSIONS`.
pub type Term = i32;

/// The distinct terms of a text with their number of occurrences.
pub fn terms(text: &str, language: Language) -> BTreeMap<Term, u32> {
    let analysis = Analysis::of(language);
    let mut counts = BTreeMap::new();
    let folded: String = text.nfkc().collect::<String>().to_lowercase();
    let mut count = |term: &str| *counts.entry(hash(term)).or_insert(0) += 1;
    let mut ideograph = None;
    for word in folded.split_word_bounds() {
        let first = word.chars().next().unwrap_or(' ');
        if is_ideographic(first) {
            // No spaces between words: pairs of neighbours are the usual terms (Lucene's CJKBigramFilter).
            match ideograph.replace(first) {
                Some(previous) => count(&String::from_iter([previous, first])),
                None => count(word),
            }
            continue;
        }
        ideograph = None;
        if first.is_alphanumeric() || first == '_' {
            analysis.word(word, &mut count);
        }
    }
    for symbol in symbols(&folded) {
        count(symbol);
    }
    counts
}

/// The terms of a question, in any of the languages its documents are written in.
pub fn question_terms(text: &str, languages: &[Language]) -> Vec<Term> {
    let languages: &[Language] = if languages.is_empty() { &[Language::English] } else { languages };
    let found: HashSet<Term> = languages.iter().flat_map(|&language| terms(text, language).into_keys()).collect();
    let mut sorted: Vec<Term> = found.into_iter().collect();
    sorted.sort_unstable();
    sorted
}

/// BM25's weight of each term in a chunk: `tf / (tf + k1 (1 − b + b · length / pivot))`.
pub fn weights(counts: &BTreeMap<Term, u32>) -> BTreeMap<Term, f32> {
    let length: u32 = counts.values().sum();
    let saturation = K1 * (1.0 - B + B * length_ratio(length));
    counts.iter().map(|(&term, &count)| (term, as_f32(count) / (as_f32(count) + saturation))).collect()
}

fn length_ratio(length: u32) -> f32 {
    as_f32(length) / PIVOT_LENGTH
}

#[expect(clippy::cast_precision_loss, reason = "term counts stay far below 2^24")]
fn as_f32(count: u32) -> f32 {
    count as f32
}

struct Analysis {
    stemmer: Option<Stemmer>,
    stop_words: &'static HashSet<&'static str>,
}

impl Analysis {
    fn of(language: Language) -> Self {
        Self { stemmer: language.stemmer().map(Stemmer::create), stop_words: language.stop_words() }
    }

    /// A word counts once as a whole; an identifier such as `read_to_string` also by its parts.
    fn word(&self, word: &str, count: &mut impl FnMut(&str)) {
        self.stemmed(word, count);
        if word.contains(['_', '.', '\'', '’', ':']) {
            let parts = word.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() > 1);
            for part in parts {
                self.stemmed(part, count);
            }
        }
    }

    fn stemmed(&self, word: &str, count: &mut impl FnMut(&str)) {
        if self.stop_words.contains(word) {
            return;
        }
        match &self.stemmer {
            Some(stemmer) => count(&stemmer.stem(word)),
            None => count(word),
        }
    }
}

/// Operators that stand alone or in backticks (`?`, `&&`, `::`, `->`), which people do ask about.
fn symbols(text: &str) -> impl Iterator<Item = &str> {
    const MARKUP: [&str; 14] = ["-", "*", "#", "##", "###", "####", "|", "---", "```", ">", "+", "–", "—", "&"];
    text.split(|c: char| c.is_whitespace() || matches!(c, '`' | '"' | '(' | ')' | ',' | '“' | '”'))
        .filter(|token| {
            (1..=3).contains(&token.len())
                && token.bytes().all(|b| b.is_ascii_punctuation())
                && !matches!(*token, "." | ":" | ";" | "'" | "..." | "**" | "[" | "]")
        })
        .filter(|token| !MARKUP.contains(token))
}

fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// FNV-1a, 32 bits, folded to 20 (Fowler, Noll, Vo: "xor-folding").
fn hash(term: &str) -> Term {
    let hash = term.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Term::try_from((hash >> 20) ^ (hash & 0x000f_ffff)).expect("20 bits fit")
}

static NO_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(HashSet::new);

impl Language {
    fn stemmer(self) -> Option<Algorithm> {
        Some(match self {
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::English => Algorithm::English,
            Self::Finnish => Algorithm::Finnish,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Hungarian => Algorithm::Hungarian,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Romanian => Algorithm::Romanian,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
            Self::Turkish => Algorithm::Turkish,
            Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(a: &str, b: &str, language: Language) -> usize {
        let (a, b) = (terms(a, language), terms(b, language));
        a.keys().filter(|term| b.contains_key(term)).count()
    }

    #[test]
    fn forms_of_a_word_are_one_term_and_stop_words_are_none() {
        assert_eq!(shared("expiring keys", "the key expires", Language::English), 2);
        assert_eq!(shared("Häuser", "Haus", Language::German), 1);
        assert_eq!(terms("what is the", Language::English).len(), 0);
    }

    #[test]
    fn identifiers_are_found_whole_and_by_part() {
        assert_eq!(terms("read_to_string", Language::Other).len(), 4);
        assert_eq!(shared("Cargo.toml", "cargo", Language::Other), 1);
    }

    #[test]
    fn operators_are_terms_but_markup_is_not() {
        assert_eq!(shared("What does the ? operator do?", "`?`", Language::English), 1);
        assert_eq!(shared("a && b", "&&", Language::English), 1);
        assert_eq!(terms("# - | * ---", Language::English).len(), 0);
    }

    #[test]
    fn neighbouring_ideographs_make_terms() {
        assert_eq!(shared("東京都庁", "東京", Language::Other), 2);
    }

    #[test]
    fn weights_saturate_and_fall_with_length() {
        let weight = |text: &str| weights(&terms(text, Language::English))[&hash("key")];
        assert!(weight("key key key") > weight("key"));
        assert!(weight("key") > weight(&format!("key {}", "value list set ".repeat(60))));
        assert!(weight("key key key") < 1.0);
    }

    #[test]
    fn hashes_stay_what_the_stored_weights_were_made_with() {
        assert_eq!([hash(""), hash("key"), hash("straße")], [824_788, 380_653, 457_338]);
        assert!((0..DIMENSIONS).contains(&hash("key")));
    }
}
