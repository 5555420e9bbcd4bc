//! Cuts where the meaning changes most.

use super::Chunk;
use super::plan::Plan;
use super::sentence::Sentence;

/// Sentences on each side of a border whose mean meaning is compared.
const VIEW: usize = 2;
/// The share of all borders, those with the greatest change, at which a chunk may end before it is full.
const CHANGES: f64 = 0.2;

pub(super) fn split(plan: &Plan<'_>, sentences: &[Sentence], embeddings: &[Vec<f32>]) -> Vec<Chunk> {
    let changes = changes(embeddings);
    let threshold = threshold(&changes);
    let small = plan.settings.size / 4;
    let mut chunks = Vec::new();
    let mut first = 0;
    while first < sentences.len() {
        let tokens = |end: usize| plan.tokens(&plan.piece(&sentences[first..end]));
        let fitting = (first + 2..=sentences.len()).take_while(|&end| tokens(end) <= plan.settings.size).last();
        let farthest = fitting.unwrap_or(first + 1);
        // Neither the chunk nor what is left of the document shall be too small to stand alone.
        let stands = |&end: &usize| {
            let rest = || plan.tokens(&plan.piece(&sentences[end..]));
            end == sentences.len() || (tokens(end) > small && rest() > small)
        };
        let ends = (first + 1..=farthest).filter(stands);
        let change = |end: usize| end.checked_sub(1).and_then(|border| changes.get(border)).copied();
        let subject_ends = |&end: &usize| {
            let peak = change(end) >= change(end - 1) && change(end) >= change(end + 1);
            end == sentences.len() || (peak && change(end) >= Some(threshold))
        };
        let end = ends.clone().find(subject_ends);
        let greatest = |end: &usize| change(*end).unwrap_or(f32::INFINITY);
        let end = end.or_else(|| ends.max_by(|one, other| greatest(one).total_cmp(&greatest(other))));
        let end = end.unwrap_or(farthest);
        chunks.extend(plan.chunk(&plan.piece(&sentences[first..end])));
        first = end;
    }
    chunks
}

/// For each border between sentences how far apart what is before and what is behind are: 0 same direction, 2 opposite.
fn changes(embeddings: &[Vec<f32>]) -> Vec<f32> {
    (1..embeddings.len())
        .map(|border| {
            let before = &embeddings[border.saturating_sub(VIEW)..border];
            let behind = &embeddings[border..(border + VIEW).min(embeddings.len())];
            1.0 - cosine(&sum(before), &sum(behind))
        })
        .collect()
}

fn sum(embeddings: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = embeddings[0].clone();
    for embedding in &embeddings[1..] {
        sum.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += value);
    }
    sum
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths > 0.0 { dot(one, other) / lengths } else { 0.0 }
}

/// The change that only [`CHANGES`] of all borders reach.
fn threshold(changes: &[f32]) -> f32 {
    let mut sorted = changes.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (sorted.len() as f64 * (1.0 - CHANGES)) as usize;
    sorted.get(rank).copied().unwrap_or(f32::INFINITY)
}
