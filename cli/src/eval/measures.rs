//! The measures of a ranking: pure.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

/// Measures of one query, or their mean. Each is between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Measures {
    /// Normalised discounted cumulative gain over the first ten (Järvelin, Kekäläinen 2002; gain = grade, as in trec_eval).
    pub ndcg_at_10: f64,
    /// Share of the relevant documents among the first ten.
    pub recall_at_10: f64,
    /// Share of the relevant documents among the first hundred.
    pub recall_at_100: f64,
    /// Reciprocal rank of the first relevant document, if it is among the first ten.
    pub mrr_at_10: f64,
}

/// What was found for one query: the grade of each distinct document, best first.
pub(crate) struct Ranking {
    grades: Vec<u32>,
    ideal: Vec<u32>,
}

impl Ranking {
    /// Ranks documents by their first appearance, down to `depth`.
    pub(crate) fn of<'a>(found: impl Iterator<Item = &'a str>, relevant: &HashMap<String, u32>, depth: usize) -> Self {
        let mut seen = HashSet::new();
        let grades =
            found.filter(|&id| seen.insert(id)).take(depth).map(|id| relevant.get(id).copied().unwrap_or(0)).collect();
        let mut ideal: Vec<u32> = relevant.values().copied().collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        Self { grades, ideal }
    }

    fn measures(&self) -> Measures {
        let hits = |depth: usize| as_f64(self.grades.iter().take(depth).filter(|&&grade| grade > 0).count());
        let relevant = as_f64(self.ideal.len());
        Measures {
            ndcg_at_10: gain(&self.grades) / gain(&self.ideal),
            recall_at_10: hits(10) / relevant,
            recall_at_100: hits(100) / relevant,
            mrr_at_10: self.grades.iter().take(10).position(|&grade| grade > 0).map_or(0.0, |at| 1.0 / as_f64(at + 1)),
        }
    }
}

impl Measures {
    /// The mean over queries.
    pub(crate) fn mean(rankings: &[Ranking]) -> Self {
        let count = as_f64(rankings.len());
        let sum = rankings.iter().map(Ranking::measures).fold(Self::default(), |sum, m| Self {
            ndcg_at_10: sum.ndcg_at_10 + m.ndcg_at_10,
            recall_at_10: sum.recall_at_10 + m.recall_at_10,
            recall_at_100: sum.recall_at_100 + m.recall_at_100,
            mrr_at_10: sum.mrr_at_10 + m.mrr_at_10,
        });
        Self {
            ndcg_at_10: sum.ndcg_at_10 / count,
            recall_at_10: sum.recall_at_10 / count,
            recall_at_100: sum.recall_at_100 / count,
            mrr_at_10: sum.mrr_at_10 / count,
        }
    }
}

fn gain(grades: &[u32]) -> f64 {
    grades.iter().take(10).enumerate().map(|(rank, &grade)| f64::from(grade) / as_f64(rank + 2).log2()).sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts of documents")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(found: &[&str], relevant: &[(&str, u32)]) -> Ranking {
        let relevant = relevant.iter().map(|&(id, grade)| (id.to_owned(), grade)).collect();
        Ranking::of(found.iter().copied(), &relevant, 100)
    }

    #[test]
    fn a_perfect_ranking_scores_one() {
        let measures = ranking(&["a", "b", "x"], &[("a", 2), ("b", 1)]).measures();
        assert_eq!(measures, Measures { ndcg_at_10: 1.0, recall_at_10: 1.0, recall_at_100: 1.0, mrr_at_10: 1.0 });
    }

    #[test]
    fn the_second_place_is_discounted_and_repeats_do_not_count() {
        let measures = ranking(&["x", "x", "a"], &[("a", 1)]).measures();
        assert!((measures.ndcg_at_10 - 1.0 / 3_f64.log2()).abs() < 1e-12);
        assert!((measures.mrr_at_10 - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_found_scores_nothing() {
        let found: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let measures = ranking(&found, &[("15", 1), ("gone", 1)]).measures();
        assert_eq!((measures.ndcg_at_10, measures.recall_at_10, measures.mrr_at_10), (0.0, 0.0, 0.0));
        assert!((measures.recall_at_100 - 0.5).abs() < 1e-12);
    }
}
