//! Markdown as it is, without its front matter.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
use serde_json::Value;

use super::ParsedDocument;

/// The title is the front matter's.
pub(super) fn parse(text: &str) -> ParsedDocument {
    let (title, body) = split_front_matter(text);
    ParsedDocument { title, markdown: body.to_owned(), page_starts: Vec::new() }
}

/// The text of the first level 1 heading.
pub(super) fn first_heading(markdown: &str) -> Option<String> {
    let mut heading: Option<String> = None;
    for event in Parser::new(markdown) {
        match (&mut heading, event) {
            (None, Event::Start(Tag::Heading { level: HeadingLevel::H1, .. })) => heading = Some(String::new()),
            (Some(text), Event::Text(part) | Event::Code(part)) => text.push_str(&part),
            (Some(text), Event::SoftBreak | Event::HardBreak) => text.push(' '),
            (Some(_), Event::End(TagEnd::Heading(_))) => return heading,
            _ => {}
        }
    }
    None
}

/// Front matter is YAML between `---` lines at the very start; a rule at the start of a text is not.
fn split_front_matter(text: &str) -> (Option<String>, &str) {
    let Some((yaml, body)) = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n").or_else(|| Some((rest.strip_suffix("\n---")?, ""))))
    else {
        return (None, text);
    };
    let Ok(fields) = serde_saphyr::from_str::<BTreeMap<String, Value>>(yaml) else {
        return (None, text);
    };
    let title = match fields.get("title") {
        Some(Value::String(title)) => Some(title.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    (title, body)
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
