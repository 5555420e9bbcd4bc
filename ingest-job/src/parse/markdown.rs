//! Markdown as it is, without its front matter.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
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
        _ => without_comments(body).into_owned(),
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

/// Takes out HTML comments, which no reader of the page sees; in code they are text and stay.
fn without_comments(markdown: &str) -> Cow<'_, str> {
    if !markdown.contains("<!--") {
        return Cow::Borrowed(markdown);
    }
    let mut kept = String::with_capacity(markdown.len());
    let mut done = 0;
    for (event, range) in Parser::new(markdown).into_offset_iter() {
        if !matches!(event, Event::Start(Tag::HtmlBlock) | Event::InlineHtml(_)) {
            continue;
        }
        let mut at = range.start;
        while let Some(start) = markdown[at..range.end].find("<!--").map(|found| at + found) {
            at = markdown[start..range.end].find("-->").map_or(range.end, |found| start + found + 3);
            kept.push_str(&markdown[done..start]);
            done = at;
        }
    }
    kept.push_str(&markdown[done..]);
    Cow::Owned(kept)
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
