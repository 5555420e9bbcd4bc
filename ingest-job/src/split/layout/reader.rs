//! The one pass over the Markdown parser's events.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Tag, TagEnd};

use super::{Block, Heading, Kind, Layout};

/// Lists and quotes nested deeper than this are cut as if they were this deep.
const DEEPEST: usize = 6;
/// Longer headings are text that was only formatted as one.
const LONGEST_HEADING: usize = 200;
/// Longer link targets are data, not addresses.
const LONGEST_TARGET: usize = 2000;

/// Takes the events of the Markdown parser and fills in a layout.
pub(super) struct Reader<'a> {
    pub(super) layout: Layout<'a>,
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
    pub(super) fn new(layout: Layout<'a>) -> Self {
        Self { layout, depth: 0, opened: None, line_end: 0, leaf: Leaf::None, inline: vec![], title: None }
    }

    pub(super) fn read(&mut self, event: Event<'_>, span: Range<usize>) {
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
                } else if html.starts_with("</") && html.find('>') == Some(html.len() - 1) {
                    self.layout.unread.push(span);
                }
            }
            Tag::Table(_) => {
                self.begin(Kind::Table { header: span.start, body: span.end }, span.start, Leaf::Text);
                let rule = line_end(self.layout.markdown, span.start) + 1;
                self.layout.unread.push(rule..(line_end(self.layout.markdown, rule) + 1).min(span.end));
            }
            Tag::TableRow => {
                if let Some(Block { kind: Kind::Table { body, .. }, .. }) = self.layout.blocks.last_mut() {
                    *body = span.start.min(*body);
                }
            }
            Tag::List(_) | Tag::Item | Tag::BlockQuote(_) | Tag::FootnoteDefinition(_) => {
                self.opened.get_or_insert((self.depth, span.start));
                self.depth += 1;
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
                self.depth -= 1;
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
        let (depth, from) =
            self.opened.take().map_or((self.depth, start), |(depth, from)| (depth.min(self.depth), from));
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
        let parent =
            std::iter::successors(above, |&above| headings[above].parent).find(|&above| headings[above].level < level);
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
