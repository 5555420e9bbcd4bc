//! A document's structure: where blocks begin, what the headings are, which bytes carry no words.

mod reader;

use std::ops::Range;

use pulldown_cmark::{HeadingLevel, Options, Parser};
use reader::Reader;

/// The structure of a document. Blocks follow each other without gaps: each reaches to the start of the next.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) markdown: &'a str,
    pub(super) blocks: Vec<Block>,
    pub(super) headings: Vec<Heading>,
    /// Markup without words, in order: emphasis marks, link targets, table rules; includes `hidden`.
    pub(super) unread: Vec<Range<usize>>,
    /// What a reader of the page would not see, in order: link definitions, comments, rules, data URIs.
    pub(super) hidden: Vec<Range<usize>>,
    /// Inline code and links, in order: no sentence ends inside.
    pub(super) solid: Vec<Range<usize>>,
}

/// A leaf of the document: a heading, a paragraph, a list item's text, a table, a code block.
#[derive(Debug)]
pub(super) struct Block {
    /// Start of its first line, list markers included.
    pub(super) start: usize,
    /// How weak a cut in front of it is: 0 between top-level blocks, more inside lists and quotes.
    pub(super) border: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Index into [`Layout::headings`].
    Heading(usize),
    /// Text whose first word is at `body`.
    Text { body: usize },
    /// A block of raw HTML.
    Html,
    /// Code; `fence` is the opening fence with its info string, empty for indented code.
    Code { fence: Range<usize> },
    /// A table whose first row below the header is at `body`.
    Table { header: usize, body: usize },
}

/// A heading at the top level of the document.
#[derive(Debug)]
pub(super) struct Heading {
    pub(super) title: String,
    /// The stretch of the document its title was read from.
    pub(super) words: Range<usize>,
    level: HeadingLevel,
    parent: Option<usize>,
}

impl<'a> Layout<'a> {
    pub(super) fn of(markdown: &'a str) -> Self {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS;
        let parser = Parser::new_ext(markdown, options);
        let hidden = parser.reference_definitions().iter().map(|(_, definition)| definition.span.clone()).collect();
        let layout = Self { markdown, blocks: vec![], headings: vec![], unread: vec![], hidden, solid: vec![] };
        let mut reader = Reader::new(layout);
        for (event, span) in parser.into_offset_iter() {
            reader.read(event, span);
        }
        let mut layout = reader.layout;
        layout.unread.extend_from_slice(&layout.hidden);
        put_in_order(&mut layout.unread);
        put_in_order(&mut layout.hidden);
        layout
    }

    /// Start of block `index`; the end of the document for the index after the last block.
    pub(super) fn start(&self, index: usize) -> usize {
        match index {
            0 => 0,
            _ => self.blocks.get(index).map_or(self.markdown.len(), |block| block.start),
        }
    }

    pub(super) fn span(&self, index: usize) -> Range<usize> {
        self.start(index)..self.start(index + 1)
    }

    /// Index of the block that holds `offset`.
    pub(super) fn block_at(&self, offset: usize) -> usize {
        self.blocks.partition_point(|block| block.start <= offset).saturating_sub(1)
    }

    /// The heading that block `index` is, if it is one.
    pub(super) fn heading(&self, index: usize) -> Option<usize> {
        match self.blocks.get(index)?.kind {
            Kind::Heading(heading) => Some(heading),
            _ => None,
        }
    }

    /// `heading` and those above it, outermost first.
    pub(super) fn path(&self, heading: Option<usize>) -> Vec<usize> {
        let mut path: Vec<usize> = std::iter::successors(heading, |&heading| self.headings[heading].parent).collect();
        path.reverse();
        path
    }

    /// The stretch as a person is shown it.
    pub(super) fn show(&self, span: &Range<usize>) -> String {
        let text = without(self.markdown, span, &self.hidden);
        let mut text = &text[tidy(&text)];
        // The quote marks of a blank line, or of a quote that begins below.
        while let Some((above, _)) = text.rsplit_once('\n').filter(|(_, last)| last.trim_matches(['>', ' ']).is_empty())
        {
            text = above.trim_end();
        }
        text.to_owned()
    }

    /// The stretch as an embedding model is given it.
    pub(super) fn read(&self, span: &Range<usize>) -> String {
        without(self.markdown, span, &self.unread).trim().to_owned()
    }

    /// The stretch without blank lines around it.
    pub(super) fn trim(&self, span: &Range<usize>) -> Range<usize> {
        let inner = tidy(&self.markdown[span.clone()]);
        span.start + inner.start..span.start + inner.end
    }
}

/// The ranges of an ordered list that reach into `span`.
pub(super) fn within<'r>(ranges: &'r [Range<usize>], span: &Range<usize>) -> &'r [Range<usize>] {
    let first = ranges.partition_point(|range| range.end <= span.start);
    let last = ranges.partition_point(|range| range.start < span.end);
    &ranges[first..last.max(first)]
}

fn put_in_order(ranges: &mut Vec<Range<usize>>) {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let overlap = next.start < last.end;
        if overlap {
            last.end = last.end.max(next.end);
        }
        overlap
    });
}

fn without(markdown: &str, span: &Range<usize>, cuts: &[Range<usize>]) -> String {
    let mut text = String::with_capacity(span.len());
    let mut from = span.start;
    for cut in within(cuts, span) {
        if from < cut.start {
            text.push_str(&markdown[from..cut.start]);
        }
        from = from.max(cut.end);
        if text.is_empty() || text.ends_with("\n\n") {
            let rest = &markdown[from.min(span.end)..span.end];
            from += rest.len() - rest.trim_start_matches('\n').len();
        }
    }
    if from < span.end {
        text.push_str(&markdown[from..span.end]);
    }
    text
}

/// `text` from the first line that is not blank, indentation included, to its last word.
fn tidy(text: &str) -> Range<usize> {
    let end = text.trim_end().len();
    let indented = end - text[..end].trim_start().len();
    text[..indented].rfind('\n').map_or(0, |newline| newline + 1)..end
}
