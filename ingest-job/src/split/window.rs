//! Every sentence is a chunk: found by its own words, returned with its neighbours.

use super::Chunk;
use super::plan::{Piece, Plan};

pub(super) fn split(plan: &Plan<'_>) -> Vec<Chunk> {
    let sentences = plan.sentences();
    let chunk = |at: usize| {
        let (mut first, mut last) = (at, at);
        let fits = |first: usize, last: usize| {
            plan.ruler.count(&(sentences[first].span.start..sentences[last].span.end)) <= plan.settings.size
        };
        for _ in 0..plan.settings.window {
            if first > 0 && fits(first - 1, last) {
                first -= 1;
            }
            if last + 1 < sentences.len() && fits(first, last + 1) {
                last += 1;
            }
        }
        let span = sentences[first].span.start..sentences[last].span.end;
        let piece = Piece::plain(span, plan.layout.path(sentences[at].heading));
        plan.chunk_found_by(&piece, &sentences[at].words())
    };
    (0..sentences.len()).filter_map(chunk).collect()
}
