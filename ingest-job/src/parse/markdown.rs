//! Markdown as it is, without its front matter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};
use serde_json::Value;

use super::ParsedDocument;

/// The title is the front matter's. A page of nothing but front matter, the index of a folder, says what it says there.
pub(super) fn parse(text: &str) -> ParsedDocument {
    let (fields, body) = split_front_matter(text);
    let field = |name: &str| match fields.get(name) {
        Some(Value::String(value)) => Some(value.clone()),
        Some(Value::Number(value)) => Some(value.to_string()),
        _ => None,
    };
    let title = field("title");
    let markdown = match (&title, body.trim()) {
        (Some(title), "") => format!("# {title}\n\n{}\n", field("description").unwrap_or_default()),
        _ => without_unseen(body).into_owned(),
    };
    ParsedDocument { title, markdown, page_starts: Vec::new() }
}

/// The text of the first level 1 heading.
pub(super) fn first_heading(markdown: &str) -> Option<String> {
    headings(markdown).find(|(level, _)| *level == HeadingLevel::H1).map(|(_, text)| text)
}

/// What a page is headed: its first level 1 heading, or the first of any level where it has none.
pub(super) fn title_heading(markdown: &str) -> Option<String> {
    first_heading(markdown).or_else(|| headings(markdown).next().map(|(_, text)| text))
}

fn headings(markdown: &str) -> impl Iterator<Item = (HeadingLevel, String)> {
    let mut heading: Option<(HeadingLevel, String)> = None;
    Parser::new(markdown).filter_map(move |event| {
        match (&mut heading, event) {
            (None, Event::Start(Tag::Heading { level, .. })) => heading = Some((level, String::new())),
            (Some((_, text)), Event::Text(part) | Event::Code(part)) => text.push_str(&part),
            (Some((_, text)), Event::SoftBreak | Event::HardBreak) => text.push(' '),
            (Some(_), Event::End(TagEnd::Heading(_))) => return heading.take(),
            _ => {}
        }
        None
    })
}

/// Front matter is YAML between `---` lines at the very start; a rule at the start of a text is not.
fn split_front_matter(text: &str) -> (BTreeMap<String, Value>, &str) {
    let parts = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n").or_else(|| Some((rest.trim_end().strip_suffix("\n---")?, ""))));
    match parts.map(|(yaml, body)| (serde_saphyr::from_str(yaml), body)) {
        Some((Ok(fields), body)) => (fields, body),
        _ => (BTreeMap::new(), text),
    }
}

/// Takes out what no reader of the page sees: HTML comments, and the lines that tell a site generator what to put in
/// their place. Comments in code are text and stay; code that is nothing but such lines goes whole.
fn without_unseen(markdown: &str) -> Cow<'_, str> {
    if !markdown.contains("<!--") && !markdown.contains("{{") {
        return Cow::Borrowed(markdown);
    }
    let mut unseen: Vec<Range<usize>> = Vec::new();
    for (event, range) in Parser::new(markdown).into_offset_iter() {
        match event {
            Event::Start(Tag::HtmlBlock) | Event::InlineHtml(_) => unseen.extend(comments(markdown, range)),
            Event::Start(Tag::Paragraph) => unseen.extend(template_lines(markdown, range)),
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                let lines = template_lines(markdown, range.clone());
                let code = markdown[range.clone()].lines().count();
                // Two lines are the fence.
                let nothing_else = !lines.is_empty() && lines.len() + 2 >= code;
                unseen.extend(if nothing_else { vec![range] } else { lines });
            }
            _ => {}
        }
    }
    unseen.sort_by_key(|range| range.start);
    let mut kept = String::with_capacity(markdown.len());
    let mut done = 0;
    for range in unseen.into_iter().filter(|range| !range.is_empty()) {
        kept.push_str(markdown.get(done..range.start).unwrap_or_default());
        done = done.max(range.end);
    }
    kept.push_str(&markdown[done..]);
    Cow::Owned(kept)
}

fn comments(markdown: &str, within: Range<usize>) -> Vec<Range<usize>> {
    let mut comments = Vec::new();
    let mut at = within.start;
    while let Some(start) = markdown[at..within.end].find("<!--").map(|found| at + found) {
        at = markdown[start..within.end].find("-->").map_or(within.end, |found| start + found + 3);
        comments.push(start..at);
    }
    comments
}

/// Lines of nothing but `{{#include …}}` (mdBook), `{{< … >}}` or `{{% … %}}` (Hugo).
fn template_lines(markdown: &str, within: Range<usize>) -> Vec<Range<usize>> {
    let mut start = within.start;
    let mut lines = Vec::new();
    for line in markdown[within].split_inclusive('\n') {
        let words = line.trim();
        if ["{{#", "{{<", "{{%"].iter().any(|mark| words.starts_with(mark)) && words.ends_with("}}") {
            lines.push(start..start + line.len());
        }
        start += line.len();
    }
    lines
}

/// Follows code fences line by line.
#[derive(Debug, Default)]
pub(super) struct Fence {
    open: Option<&'static str>,
}

impl Fence {
    /// Whether the next `line` belongs to a fenced block, its marks included.
    pub(super) fn holds(&mut self, line: &str) -> bool {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (self.open, mark) {
            (None, None) => false,
            (None, Some(mark)) => {
                self.open = Some(mark);
                true
            }
            (Some(open), mark) => {
                if mark == Some(open) {
                    self.open = None;
                }
                true
            }
        }
    }
}
