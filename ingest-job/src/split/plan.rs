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

/// What a chunk's context line names.
struct Context<'a> {
    title: Option<&'a str>,
    /// How many headings, counted from the innermost.
    headings: usize,
    tokens: usize,
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
        self.settings.size - self.context(path).tokens
    }

    /// Tokens of the piece as a chunk, with its context line.
    pub(super) fn tokens(&self, piece: &Piece) -> usize {
        let repeated = self.ruler.count(&piece.before) + self.ruler.count(&piece.after);
        self.context(&piece.path).tokens + repeated + self.cost(&piece.span, &piece.path)
    }

    /// Tokens of a stretch as it is embedded under `path`, without the context line.
    pub(super) fn cost(&self, span: &Range<usize>, path: &[usize]) -> usize {
        self.ruler.count(&self.words(span, path))
    }

    /// The part of a stretch that is embedded: what follows the headings its context line already names.
    pub(super) fn words(&self, span: &Range<usize>, path: &[usize]) -> Range<usize> {
        let mut start = span.start;
        let mut block = self.layout.block_at(start);
        if self.layout.heading(block).is_some() {
            let named = &path[path.len() - self.context(path).headings..];
            while start < span.end && self.layout.heading(block).is_some_and(|heading| named.contains(&heading)) {
                block += 1;
                start = self.layout.start(block);
            }
        }
        start.min(span.end)..span.end
    }

    /// The piece as a chunk, or nothing where there is nothing to read.
    pub(super) fn chunk(&self, piece: &Piece) -> Option<Chunk> {
        let words = self.words(&piece.span, &piece.path);
        let readable = !self.layout.read(&piece.span).is_empty();
        readable.then(|| self.build(piece, &words))
    }

    /// The piece as a chunk of which only `words` are embedded, or nothing where these are none.
    pub(super) fn chunk_found_by(&self, piece: &Piece, words: &Range<usize>) -> Option<Chunk> {
        let readable = !self.layout.read(words).is_empty();
        readable.then(|| self.build(piece, words))
    }

    fn build(&self, piece: &Piece, words: &Range<usize>) -> Chunk {
        let layout = &self.layout;
        let embedded = [&piece.before, words, &piece.after];
        let own_tokens = embedded.map(|span| self.ruler.count(span)).iter().sum::<usize>();
        let mut context = self.context(&piece.path);
        if context.tokens + own_tokens > self.settings.size {
            // A heading that is found by its own words, and so long that naming it twice would not fit.
            context = Context { title: None, headings: 0, tokens: 0 };
        }
        let shown = [&piece.before, &piece.span, &piece.after];
        let span = layout.trim(&piece.span);
        Chunk {
            text: join(&shown.map(|span| layout.show(span))),
            embedding_text: join(&[self.line(&context, &piece.path), join(&embedded.map(|span| layout.read(span)))]),
            heading_path: piece.path.iter().map(|&heading| layout.headings[heading].title.clone()).collect(),
            pages: self.pages(&span),
            span,
            tokens: context.tokens + own_tokens,
        }
    }

    /// The line `title › heading › …`. It takes at most half of a chunk: the title goes first, then the outermost headings.
    fn context(&self, path: &[usize]) -> Context<'_> {
        const SEPARATOR: usize = 1;
        let title = self.document.title.trim();
        let named = path.first().is_some_and(|&top| self.layout.headings[top].title.eq_ignore_ascii_case(title));
        let title = Some(title).filter(|title| !title.is_empty() && !named);
        let mut context =
            Context { title, headings: path.len(), tokens: title.map_or(0, |_| self.title_tokens + SEPARATOR) };
        let heading_tokens = |&heading: &usize| self.ruler.count(&self.layout.headings[heading].words) + SEPARATOR;
        context.tokens += path.iter().map(heading_tokens).sum::<usize>();
        let most = self.settings.size / 2;
        if context.tokens > most && context.title.take().is_some() {
            context.tokens -= self.title_tokens + SEPARATOR;
        }
        for heading in path {
            if context.tokens > most {
                context.tokens -= heading_tokens(heading);
                context.headings -= 1;
            }
        }
        context
    }

    fn line(&self, context: &Context<'_>, path: &[usize]) -> String {
        let headings = path[path.len() - context.headings..].iter();
        let titles = headings.map(|&heading| self.layout.headings[heading].title.as_str());
        context.title.into_iter().chain(titles).collect::<Vec<_>>().join(" › ")
    }

    fn pages(&self, span: &Range<usize>) -> Option<(u32, u32)> {
        let starts = self.document.page_starts;
        let page = |offset| u32::try_from(starts.partition_point(|&start| start <= offset).max(1)).unwrap_or(u32::MAX);
        (!starts.is_empty()).then(|| (page(span.start), page(span.end.saturating_sub(1).max(span.start))))
    }
}

fn join(parts: &[String]) -> String {
    parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n")
}
