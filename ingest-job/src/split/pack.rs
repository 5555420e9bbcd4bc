//! Filling chunks evenly, and cutting what is too large for one.

use std::ops::Range;

use super::layout::Kind;
use super::plan::{Piece, Plan};
use super::sentence;

/// A place where a document may be cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) at: usize,
    /// Cuts of a smaller border are made first.
    pub(super) border: usize,
}

/// Cuts the stretch from the first of `cuts` to `end` into runs that cost at most `room` each, at the strongest borders
/// that do, and about equally large. A run without a cut inside may cost more.
pub(super) fn runs(cuts: &[Cut], end: usize, room: usize, cost: &impl Fn(Range<usize>) -> usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    fill(cuts, end, room, cost, &mut runs);
    runs
}

fn fill(cuts: &[Cut], end: usize, room: usize, cost: &impl Fn(Range<usize>) -> usize, runs: &mut Vec<Range<usize>>) {
    let Some((first, inner)) = cuts.split_first() else { return };
    let strongest = inner.iter().map(|cut| cut.border).min();
    let Some(strongest) = strongest.filter(|_| cost(first.at..end) > room) else { return runs.push(first.at..end) };

    let groups: Vec<&[Cut]> = groups(cuts, strongest);
    let start = |group: usize| groups.get(group).map_or(end, |group| group[0].at);
    let mut group = 0;
    while group < groups.len() {
        if cost(start(group)..start(group + 1)) > room {
            fill(groups[group], start(group + 1), room, cost, runs);
            group += 1;
            continue;
        }
        let fitting = (group..groups.len()).take_while(|&next| cost(start(next)..start(next + 1)) <= room).count();
        spread(&(group..=group + fitting).map(start).collect::<Vec<_>>(), room, cost, runs);
        group += fitting;
    }
}

fn groups(cuts: &[Cut], border: usize) -> Vec<&[Cut]> {
    let mut starts: Vec<usize> = (1..cuts.len()).filter(|&index| cuts[index].border == border).collect();
    starts.insert(0, 0);
    let ends = starts[1..].iter().copied().chain([cuts.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &cuts[start..end]).collect()
}

/// Joins neighbouring stretches, each of which fits, into as few runs as needed and these as equal as possible.
fn spread(bounds: &[usize], room: usize, cost: &impl Fn(Range<usize>) -> usize, runs: &mut Vec<Range<usize>>) {
    let last = bounds.len() - 1;
    let mut from = 0;
    while from < last {
        let rest = cost(bounds[from]..bounds[last]);
        let even = rest.div_ceil(rest.div_ceil(room).max(1));
        let mut to = from + 1;
        while to < last {
            let (with, without) = (cost(bounds[from]..bounds[to + 1]), cost(bounds[from]..bounds[to]));
            if with > room || with.abs_diff(even) > without.abs_diff(even) {
                break;
            }
            to += 1;
        }
        runs.push(bounds[from]..bounds[to]);
        from = to;
    }
}

impl Plan<'_> {
    /// Cuts a stretch of blocks under `path` into pieces that fit into chunks. It begins with the headings in `path`
    /// that open it, if any.
    pub(super) fn pieces(&self, blocks: Range<usize>, path: &[usize]) -> Vec<Piece> {
        let layout = &self.layout;
        let span = layout.start(blocks.start)..layout.start(blocks.end);
        let room = self.room(path);
        let body = blocks.clone().position(|block| layout.heading(block).is_none()).unwrap_or(0);
        let mut cuts: Vec<Cut> = blocks
            .skip(body)
            .map(|block| Cut {
                at: layout.start(block),
                border: layout.blocks.get(block).map_or(0, |block| block.border),
            })
            .collect();
        if let Some(first) = cuts.first_mut() {
            first.at = span.start;
        }
        let cost = |span: Range<usize>| self.cost(&span, path);
        let runs = runs(&cuts, span.end, room, &cost);
        runs.into_iter()
            .flat_map(|run| {
                if self.cost(&run, path) <= room {
                    vec![Piece::plain(run, path.to_vec())]
                } else {
                    self.parts(run, path, room)
                }
            })
            .collect()
    }

    /// Cuts a run that ends with a block too large for one chunk; what is in front of it are headings.
    fn parts(&self, run: Range<usize>, path: &[usize], room: usize) -> Vec<Piece> {
        let block = self.layout.block_at(run.end.saturating_sub(1));
        let wrap = self.wrap(block);
        let repeated = wrap.iter().map(|range| self.ruler.count(range)).sum::<usize>();
        let (wrap, room) = if repeated <= room / 2 { (wrap, room - repeated) } else { ([0..0, 0..0], room) };
        let spans = match self.layout.blocks[block].kind {
            Kind::Code { .. } | Kind::Table { .. } => self.by_lines(&run, block, path, room),
            Kind::Text { .. } | Kind::Html | Kind::Heading(_) => self.by_sentences(&run, block, path, room),
        };
        let last = spans.len() - 1;
        let [before, after] = wrap;
        let piece = |(index, span): (usize, Range<usize>)| Piece {
            span,
            path: path.to_vec(),
            before: if index > 0 { before.clone() } else { 0..0 },
            after: if index < last { after.clone() } else { 0..0 },
        };
        spans.into_iter().enumerate().map(piece).collect()
    }

    /// What each part of a block repeats in front and behind.
    fn wrap(&self, block: usize) -> [Range<usize>; 2] {
        match &self.layout.blocks[block].kind {
            Kind::Table { header, body } => [*header..*body, 0..0],
            Kind::Code { fence } => {
                let mark = self.layout.markdown[fence.clone()].chars().next().unwrap_or('`');
                let opening = &self.layout.markdown[fence.clone()];
                let marks = opening.len() - opening.trim_start_matches(mark).len();
                [fence.clone(), fence.start..fence.start + marks]
            }
            Kind::Text { .. } | Kind::Html | Kind::Heading(_) => [0..0, 0..0],
        }
    }

    fn by_sentences(&self, run: &Range<usize>, block: usize, path: &[usize], room: usize) -> Vec<Range<usize>> {
        let mut cuts: Vec<Cut> =
            sentence::starts(&self.layout, block).into_iter().map(|at| Cut { at, border: 0 }).collect();
        cuts[0].at = run.start;
        let cost = |span: Range<usize>| self.cost(&span, path);
        runs(&cuts, run.end, room, &cost).into_iter().flat_map(|span| self.by_words(&span, path, room)).collect()
    }

    /// Cuts code or a table between lines, where possible after a blank line; a line that is too long between words. A
    /// code block's fence and a table's header stay with the line below them.
    pub(super) fn by_lines(&self, span: &Range<usize>, block: usize, path: &[usize], room: usize) -> Vec<Range<usize>> {
        let first_line = match &self.layout.blocks[block].kind {
            Kind::Table { body, .. } => *body,
            Kind::Code { fence } => fence.end + 1,
            _ => self.layout.start(block),
        };
        let mut cuts = vec![Cut { at: span.start, border: 0 }];
        let mut at = first_line.clamp(span.start, span.end);
        let mut blank = false;
        for line in self.layout.markdown[at..span.end].split_inclusive('\n') {
            if at > first_line {
                cuts.push(Cut { at, border: usize::from(!blank) });
            }
            blank = line.trim().is_empty();
            at += line.len();
        }
        let cost = |span: Range<usize>| self.cost(&span, path);
        runs(&cuts, span.end, room, &cost).into_iter().flat_map(|span| self.by_words(&span, path, room)).collect()
    }

    /// Cuts between words; a word that is too long anywhere.
    pub(super) fn by_words(&self, span: &Range<usize>, path: &[usize], room: usize) -> Vec<Range<usize>> {
        const LONGEST_WORD: usize = 64;
        let text = self.layout.markdown;
        let mut parts = Vec::new();
        let (mut start, mut words) = (span.start, self.words(span, path).start);
        loop {
            let end = self.ruler.reach(words, room.max(1));
            if end >= span.end {
                parts.push(start..span.end);
                return parts;
            }
            let near = text.floor_char_boundary(end.saturating_sub(LONGEST_WORD)).max(words);
            let space = text[near..end].char_indices().rfind(|(_, letter)| letter.is_whitespace());
            let end = space.map_or(end, |(at, letter)| near + at + letter.len_utf8());
            parts.push(start..end);
            (start, words) = (end, end);
        }
    }
}
