//! One pass of the Markdown parser: where blocks begin, what the headings are, which bytes carry no words.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

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
        while let Some((above, _)) = text.rsplit_once('\n').filter(|(_, last)| last.trim_matches(['>', ' ']).is_empty()) {
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

/// Lists and quotes nested deeper than this are cut as if they were this deep.
const DEEPEST: usize = 6;
/// Longer headings are text that was only formatted as one.
const LONGEST_HEADING: usize = 200;
/// Longer link targets are data, not addresses.
const LONGEST_TARGET: usize = 2000;

struct Reader<'a> {
    layout: Layout<'a>,
    depth: usize,
    /// Border and offset of the outermost list, item or quote that has begun since the last block.
    opened: Option<(usize, usize)>,
    /// End of the line on which the last block begins.
    line_end: usize,
    leaf: Leaf,
    /// Content so far of the emphasis and links around the current text.
    inline: Vec<Option<Range<usize>>>,
    /// The heading being read.
    title: Option<(String, Range<usize>)>,
}

#[derive(PartialEq, Eq)]
enum Leaf {
    None,
    Text,
    Verbatim,
}

impl<'a> Reader<'a> {
    fn new(layout: Layout<'a>) -> Self {
        Self { layout, depth: 0, opened: None, line_end: 0, leaf: Leaf::None, inline: vec![], title: None }
    }

    fn read(&mut self, event: Event<'_>, span: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(&tag, span),
            Event::End(tag) => self.end(tag, span),
            Event::Rule => self.layout.hidden.push(span),
            Event::Html(_) => {}
            _ if self.leaf == Leaf::Verbatim => {}
            Event::InlineHtml(html) if html.starts_with("<!--") => {
                self.inline(&span);
                self.layout.hidden.push(span);
            }
            Event::Code(code) => {
                self.inline(&span);
                let ticks = self.layout.markdown[span.clone()].bytes().take_while(|&byte| byte == b'`').count();
                self.layout.unread.push(span.start..span.start + ticks);
                self.layout.unread.push(span.end - ticks..span.end);
                self.title_words(&code, &span);
                self.solid(span);
            }
            Event::Text(text) => {
                self.inline(&span);
                self.title_words(&text, &span);
            }
            Event::SoftBreak | Event::HardBreak => self.title_words(" ", &span),
            _ => self.inline(&span),
        }
    }

    fn start(&mut self, tag: &Tag<'_>, span: Range<usize>) {
        match tag {
            Tag::Paragraph => self.begin(Kind::Text { body: span.start }, span.start, Leaf::Text),
            Tag::Heading { .. } => {
                self.begin(Kind::Text { body: span.start }, span.start, Leaf::Text);
                self.title = (self.depth == 0).then(|| (String::new(), span.end..span.end));
            }
            Tag::CodeBlock(kind) => {
                let fence = match kind {
                    CodeBlockKind::Fenced(_) => span.start..line_end(self.layout.markdown, span.start).min(span.end),
                    CodeBlockKind::Indented => span.start..span.start,
                };
                self.begin(Kind::Code { fence }, span.start, Leaf::Verbatim);
            }
            Tag::HtmlBlock => {
                self.begin(Kind::Html, span.start, Leaf::Verbatim);
                let html = self.layout.markdown[span.clone()].trim();
                if html.starts_with("<!--") && html.ends_with("-->") {
                    self.layout.hidden.push(span);
                } else if html.starts_with("</") {
                    self.layout.unread.push(span);
                }
            }
            Tag::Table(_) => {
                self.begin(Kind::Table { header: span.start, body: span.end }, span.start, Leaf::Text);
                let rule = line_end(self.layout.markdown, span.start) + 1;
                self.layout.unread.push(rule..line_end(self.layout.markdown, rule));
            }
            Tag::TableRow => {
                if let Some(Block { kind: Kind::Table { body, .. }, .. }) = self.layout.blocks.last_mut() {
                    *body = span.start.min(*body);
                }
            }
            Tag::List(_) | Tag::Item | Tag::BlockQuote(_) | Tag::FootnoteDefinition(_) => {
                self.opened.get_or_insert((self.depth, span.start));
                self.depth = self.depth + 1;
                self.leaf = Leaf::None;
            }
            Tag::Emphasis | Tag::Strong | Tag::Strikethrough => self.open_inline(&span),
            Tag::Link { .. } | Tag::Image { .. } => {
                self.open_inline(&span);
                self.solid(span);
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, span: Range<usize>) {
        match tag {
            TagEnd::Heading(level) => {
                self.leaf = Leaf::None;
                self.end_heading(level);
            }
            TagEnd::Paragraph | TagEnd::CodeBlock | TagEnd::HtmlBlock | TagEnd::Table => self.leaf = Leaf::None,
            TagEnd::List(_) | TagEnd::Item | TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition => {
                self.depth = self.depth - 1;
                self.leaf = Leaf::None;
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image => {
                self.close_inline(span);
            }
            _ => {}
        }
    }

    /// Begins a block on the line of `start`, or of the list or quote that opens with it.
    fn begin(&mut self, kind: Kind, start: usize, leaf: Leaf) {
        self.leaf = leaf;
        let (depth, from) = self.opened.take().map_or((self.depth, start), |(depth, from)| (depth.min(self.depth), from));
        let markdown = self.layout.markdown;
        let Some(last) = self.layout.blocks.last() else {
            self.layout.blocks.push(Block { start: 0, border: 0, kind });
            self.line_end = line_end(markdown, from);
            return;
        };
        if from >= self.line_end {
            let border = depth.min(DEEPEST) + attachment(last, &kind, &markdown[last.start..from], &markdown[start..]);
            let start = markdown[..from].rfind('\n').map_or(0, |newline| newline + 1);
            self.layout.blocks.push(Block { start, border, kind });
            self.line_end = line_end(markdown, from);
        }
    }

    fn end_heading(&mut self, level: HeadingLevel) {
        let Some((title, words)) = self.title.take() else { return };
        let title = title.trim();
        if title.is_empty() || title.len() > LONGEST_HEADING {
            return;
        }
        let Some(block) = self.layout.blocks.last_mut() else { return };
        let headings = &mut self.layout.headings;
        let above = headings.len().checked_sub(1);
        let parent = std::iter::successors(above, |&above| headings[above].parent).find(|&above| headings[above].level < level);
        block.kind = Kind::Heading(headings.len());
        headings.push(Heading { title: title.to_owned(), words, level, parent });
    }

    fn title_words(&mut self, text: &str, span: &Range<usize>) {
        if let Some((title, words)) = &mut self.title {
            title.push_str(text);
            *words = words.start.min(span.start)..span.end;
        }
    }

    /// Notes that `span` is content: of the paragraph (a tight list item has no other sign of one) and of the markup around.
    fn inline(&mut self, span: &Range<usize>) {
        if self.leaf == Leaf::None {
            self.begin(Kind::Text { body: span.start }, span.start, Leaf::Text);
        }
        if let Some(content) = self.inline.last_mut() {
            content.get_or_insert_with(|| span.clone()).end = span.end;
        }
    }

    fn open_inline(&mut self, span: &Range<usize>) {
        self.inline(span);
        self.inline.push(None);
    }

    fn close_inline(&mut self, span: Range<usize>) {
        let Some(content) = self.inline.pop() else { return };
        let content = content.unwrap_or(span.end..span.end);
        let (head, tail) = (span.start..content.start, content.end..span.end);
        if head.len() + tail.len() > LONGEST_TARGET {
            self.layout.hidden.extend([head.clone(), tail.clone()]);
        }
        self.layout.unread.extend([head, tail]);
    }

    fn solid(&mut self, span: Range<usize>) {
        if self.layout.solid.last().is_none_or(|last| last.end <= span.start) {
            self.layout.solid.push(span);
        }
    }
}

/// How much the block that starts with `next` belongs to the one before, `last`: 2 for the tags around something, 1 for
/// code, a table or raw HTML after the text that speaks of it, and for anything after a colon.
fn attachment(last: &Block, kind: &Kind, source: &str, next: &str) -> usize {
    let closing_tag = *kind == Kind::Html && next.starts_with("</");
    match last.kind {
        Kind::Heading(_) => 0,
        _ if closing_tag => 2,
        Kind::Html if source.trim().lines().nth(1).is_none() && !source.starts_with("</") => 2,
        Kind::Text { .. } if matches!(kind, Kind::Code { .. } | Kind::Table { .. } | Kind::Html) => 1,
        Kind::Text { .. } if source.trim_end().ends_with(':') => 1,
        _ => 0,
    }
}

/// Offset of the newline that ends the line of `offset`.
fn line_end(markdown: &str, offset: usize) -> usize {
    markdown[offset..].find('\n').map_or(markdown.len(), |newline| offset + newline)
}
