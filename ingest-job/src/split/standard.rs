//! Windows of equal size that begin and end at sentences and overlap.

use super::Chunk;
use super::plan::Plan;
use super::sentence::Sentence;

pub(super) fn split(plan: &Plan<'_>) -> Vec<Chunk> {
    let sentences = plan.sentences();
    let mut chunks = Vec::new();
    let (mut first, mut fresh) = (0, 0);
    while fresh < sentences.len() {
        let fits =
            |end: usize| end == first + 1 || plan.tokens(&plan.piece(&sentences[first..end])) <= plan.settings.size;
        let end = (fresh + 1..=sentences.len()).take_while(|&end| fits(end)).last().unwrap_or(fresh + 1);
        chunks.extend(plan.chunk(&plan.piece(&sentences[first..end])));
        (first, fresh) = (overlap(plan, &sentences, first, end), end);
    }
    chunks
}

/// The first sentence of the window after `first..end`: the earliest that repeats no more than the overlap and leaves room
/// for the sentence that follows.
fn overlap(plan: &Plan<'_>, sentences: &[Sentence], first: usize, end: usize) -> usize {
    let Some(next) = sentences.get(end) else { return end };
    (first + 1..end)
        .rev()
        .take_while(|&start| {
            let repeated = sentences[start].span.start..next.span.start;
            plan.ruler.count(&repeated) <= plan.settings.overlap
                && plan.tokens(&plan.piece(&sentences[start..=end])) <= plan.settings.size
        })
        .last()
        .unwrap_or(end)
}
