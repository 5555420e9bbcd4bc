//! The default strategy: chunks follow the document's structure.

use std::ops::Range;

use super::Chunk;
use super::plan::{Piece, Plan};

/// A heading with its text up to the next heading.
struct Section {
    blocks: Range<usize>,
    path: Vec<usize>,
}

pub(super) fn split(plan: &Plan<'_>) -> Vec<Chunk> {
    let mut pieces: Vec<Piece> = Vec::new();
    for section in sections(plan) {
        for piece in plan.pieces(section.blocks, &section.path) {
            if let Some(last) = pieces.last_mut()
                && let Some(both) = joined(plan, last, &piece)
            {
                *last = both;
            } else {
                pieces.push(piece);
            }
        }
    }
    pieces.iter().filter_map(|piece| plan.chunk(piece)).collect()
}

/// The document's sections in order. A heading without text of its own goes with the section below it, the last with
/// the one above.
fn sections(plan: &Plan<'_>) -> Vec<Section> {
    let layout = &plan.layout;
    let mut sections: Vec<Section> = Vec::new();
    let (mut start, mut heading, mut bare) = (0, None, true);
    for block in 0..layout.blocks.len() {
        match layout.heading(block) {
            Some(next) => {
                if !bare {
                    sections.push(Section { blocks: start..block, path: layout.path(heading) });
                    start = block;
                }
                (heading, bare) = (Some(next), true);
            }
            None => bare = false,
        }
    }
    match sections.last_mut() {
        Some(last) if bare => last.blocks.end = layout.blocks.len(),
        _ => sections.push(Section { blocks: start..layout.blocks.len(), path: layout.path(heading) }),
    }
    sections
}

/// Both pieces as one, where one is too small to stand alone, they are near relatives, and they fit.
fn joined(plan: &Plan<'_>, first: &Piece, second: &Piece) -> Option<Piece> {
    let shared = first.path.iter().zip(&second.path).take_while(|(one, other)| one == other).count();
    let (above, below) = (first.path.len() - shared, second.path.len() - shared);
    // The same section; a section and its first subsection; or two sections side by side.
    let related = matches!((above, below), (0, 0 | 1) | (1, 1));
    if !related || !first.after.is_empty() || !second.before.is_empty() {
        return None;
    }
    let small = plan.settings.size / 4;
    if plan.tokens(first) > small && plan.tokens(second) > small {
        return None;
    }
    let span = first.span.start..second.span.end;
    let both =
        Piece { span, path: first.path[..shared].to_vec(), before: first.before.clone(), after: second.after.clone() };
    (plan.tokens(&both) <= plan.settings.size).then_some(both)
}
