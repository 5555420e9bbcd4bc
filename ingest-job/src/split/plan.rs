//! A document read and measured, and what a piece of it becomes as a chunk.

use std::ops::Range;

use super::layout::Layout;
use super::ruler::{Ruler, TokenCounter};
use super::{Chunk, Document, MIN_SIZE, SplitSettings};

/// What every strategy starts from.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    document: Document<'a>,
    pub(super) settings: SplitSettings,
    pub(super) layout: Layout<'a>,
    pub(super) ruler: Ruler,
    title_tokens: usize,
}

/// A stretch chosen to become a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) span: Range<usize>,
    /// Headings the piece lies under, outermost first, as indices into [`Layout::headings`].
    pub(super) path: Vec<usize>,
    /// Stretch of the document repeated in front: a table's header row, a code block's opening fence.
    pub(super) before: Range<usize>,
    /// Stretch of the document repeated behind: a code block's closing fence.
    pub(super) after: Range<usize>,
}

impl Piece {
    pub(super) fn plain(span: Range<usize>, path: Vec<usize>) -> Self {
        Self { span, path, before: 0..0, after: 0..0 }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(document: Document<'a>, settings: SplitSettings, counter: &TokenCounter) -> Self {
        let size = settings.size.max(MIN_SIZE);
        let settings = SplitSettings { size, overlap: settings.overlap.min(size / 2), ..settings };
        let layout = Layout::of(document.markdown);
        let ruler = Ruler::new(&layout, counter);
        Self { title_tokens: counter.count(document.title.trim()), document, settings, layout, ruler }
    }

    /// The tokens a chunk under `path` has for its own words.
    pub(super) fn room(&self, path: &[usize]) -> usize {
        self.settings.size - self.context(path).1
    }

    /// Tokens of the piece as a chunk, with its context line.
    pub(super) fn tokens(&self, piece: &Piece) -> usize {
        let repeated = self.ruler.count(&piece.before) + self.ruler.count(&piece.after);
        self.context(&piece.path).1 + repeated + self.cost(&piece.span, &piece.path)
    }

    /// Tokens of a stretch as it is embedded under `path`, without the context line.
    pub(super) fn cost(&self, span: &Range<usize>, path: &[usize]) -> usize {
        self.ruler.count(&self.words(span, path))
    }

    /// The part of a stretch that is embedded: what follows the headings its context line already names.
    pub(super) fn words(&self, span: &Range<usize>, path: &[usize]) -> Range<usize> {
        let mut start = span.start;
        let mut block = self.layout.block_at(start);
        while start < span.end && self.layout.heading(block).is_some_and(|heading| path.contains(&heading)) {
            block += 1;
            start = self.layout.start(block);
        }
        start.min(span.end)..span.end
    }

    /// The piece as a chunk, or nothing where there is nothing to read.
    pub(super) fn chunk(&self, piece: &Piece) -> Option<Chunk> {
        self.chunk_found_by(piece, self.words(&piece.span, &piece.path))
    }

    /// The piece as a chunk of which only `words` are embedded.
    pub(super) fn chunk_found_by(&self, piece: &Piece, words: Range<usize>) -> Option<Chunk> {
        let layout = &self.layout;
        let body = join([layout.read(&piece.before), layout.read(&words), layout.read(&piece.after)]);
        if body.is_empty() && words.start == piece.span.start {
            return None;
        }
        let (context, context_tokens) = self.context(&piece.path);
        let spans = [&piece.before, &words, &piece.after];
        let span = layout.trim(&piece.span);
        Some(Chunk {
            text: join([layout.show(&piece.before), layout.show(&piece.span), layout.show(&piece.after)]),
            embedding_text: join([context.join(" › "), body]),
            heading_path: piece.path.iter().map(|&heading| layout.headings[heading].title.clone()).collect(),
            pages: self.pages(&span),
            span,
            tokens: context_tokens + spans.map(|span| self.ruler.count(span)).iter().sum::<usize>(),
        })
    }

    /// The parts of the line `title › heading › …` and its tokens. It takes at most half of a chunk: the title goes first,
    /// then the outermost headings.
    fn context(&self, path: &[usize]) -> (Vec<&str>, usize) {
        const SEPARATOR: usize = 1;
        let headings = path.iter().map(|&heading| &self.layout.headings[heading]);
        let title = self.document.title.trim();
        let repeated = headings.clone().next().is_some_and(|top| top.title.eq_ignore_ascii_case(title));
        let mut parts = Vec::with_capacity(1 + path.len());
        if !title.is_empty() && !repeated {
            parts.push((title, self.title_tokens + SEPARATOR));
        }
        parts.extend(headings.map(|heading| (heading.title.as_str(), self.ruler.count(&heading.words) + SEPARATOR)));
        let mut tokens = parts.iter().map(|part| part.1).sum::<usize>();
        let mut dropped = 0;
        while tokens > self.settings.size / 2 {
            tokens -= parts[dropped].1;
            dropped += 1;
        }
        (parts[dropped..].iter().map(|part| part.0).collect(), tokens)
    }

    fn pages(&self, span: &Range<usize>) -> Option<(u32, u32)> {
        let starts = self.document.page_starts;
        let page = |offset| u32::try_from(starts.partition_point(|&start| start <= offset).max(1)).unwrap_or(u32::MAX);
        (!starts.is_empty()).then(|| (page(span.start), page(span.end.saturating_sub(1).max(span.start))))
    }
}

fn join<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}
