//! Citations in a model's text: found, checked, renumbered, while the text streams.
//!
//! The model cites passages by their number in the prompt. The visitor sees sources numbered by first
//! use; passages of one section are one source. A number that stands for no passage disappears, and
//! with it the space before it. Code spans and fences are left alone: `array[1]` is no citation.
//!
//! The rewriter goes character by character, so where the text is cut into pieces cannot matter.

use std::fmt::Write;
use std::ops::Range;

use crate::retrieve::Passage;

mod code;

use code::CodeTracker;

/// Longest text between brackets that can be a citation, in bytes.
const LONGEST_MARKER: usize = 40;
/// Words models put before the number.
const MARKER_WORDS: [&str; 8] = ["passages", "passage", "sources", "source", "citation", "document", "doc", "ref"];

/// Rewrites one answer.
pub(super) struct CitationRewriter {
    /// The source of each passage, by number in the prompt minus 1.
    sources: Vec<usize>,
    cited: Vec<Cited>,
    /// What the visitor has.
    text: String,
    code: CodeTracker,
    /// White space not yet written: it goes with a citation that is dropped.
    space: String,
    /// An opening bracket and what may become a citation.
    marker: Option<String>,
    /// A citation was dropped after `space`.
    dropped: bool,
    /// Sources cited since the last other text.
    run: Vec<usize>,
    escaped: bool,
}

/// A source in use; its position plus 1 is the visitor's number.
pub(super) struct Cited {
    source: usize,
    /// Index of the passage cited first.
    pub(super) passage: usize,
    /// Bytes of the text when it was cited first: what it vouches for ends there.
    pub(super) at: usize,
}

impl CitationRewriter {
    /// For an answer from these passages, numbered from 1.
    pub(super) fn new(passages: &[Passage]) -> Self {
        let first = |p: &Passage| passages.iter().position(|other| same_source(p, other));
        Self {
            sources: passages.iter().filter_map(first).collect(),
            cited: Vec::new(),
            text: String::new(),
            code: CodeTracker::default(),
            space: String::new(),
            marker: None,
            dropped: false,
            run: Vec::new(),
            escaped: false,
        }
    }

    /// Takes the next piece; gives what can be shown.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let before = self.text.len();
        piece.chars().for_each(|c| self.feed(c));
        self.text[before..].to_owned()
    }

    /// The end of the answer: what was held back, the whole text, and its sources.
    pub(super) fn finish(mut self) -> (String, String, Vec<Cited>) {
        let before = self.text.len();
        self.give_up_marker();
        (self.text[before..].to_owned(), self.text, self.cited)
    }

    fn feed(&mut self, c: char) {
        let code = self.code.feed(c);
        if let Some(marker) = &mut self.marker {
            let closes = matches!(c, ']' | '］' | '】');
            if closes || (is_marker_char(c) && marker.len() < LONGEST_MARKER) {
                marker.push(c);
                if closes {
                    self.close_marker();
                }
                return;
            }
            self.give_up_marker();
        }
        let escaped = self.escaped;
        self.escaped = c == '\\' && !escaped;
        match c {
            _ if code => self.write(c),
            '[' | '［' | '【' if !escaped => self.marker = Some(c.to_string()),
            _ if c.is_whitespace() => {
                if std::mem::take(&mut self.dropped) {
                    self.space.clear();
                }
                self.space.push(c);
            }
            _ => self.write(c),
        }
    }

    /// Writes a character that is no part of a citation.
    fn write(&mut self, c: char) {
        let stands_alone = c.is_alphanumeric() || matches!(c, '(' | '`' | '*' | '_' | '"');
        if std::mem::take(&mut self.dropped) && !stands_alone {
            self.space.clear();
        }
        let after_citation = !self.run.is_empty() && self.space.is_empty();
        self.run.clear();
        self.write_space();
        // "[1](…)" and, at the start of a line, "[1]: …" would make a link of the citation.
        if after_citation && (c == '(' || (c == ':' && self.line_is_one_citation())) {
            self.text.push(' ');
        }
        self.text.push(c);
    }

    fn write_space(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str(&self.space);
        }
        self.space.clear();
    }

    fn line_is_one_citation(&self) -> bool {
        let line = self.text.rsplit('\n').next().unwrap_or_default().trim_start();
        line.starts_with('[') && line.matches('[').count() == 1 && line.ends_with(']')
    }

    fn give_up_marker(&mut self) {
        for c in self.marker.take().unwrap_or_default().chars() {
            self.write(c);
        }
    }

    fn close_marker(&mut self) {
        let Some(numbers) = self.marker.as_deref().and_then(numbers_in) else {
            return self.give_up_marker();
        };
        self.marker = None;
        let mut written = false;
        for number in numbers {
            let passage = (number as usize).wrapping_sub(1);
            let Some(&source) = self.sources.get(passage) else { continue };
            if self.run.contains(&source) {
                continue;
            }
            if !std::mem::replace(&mut written, true) {
                self.write_space();
            }
            self.run.push(source);
            let shown = self.number_of(source, passage);
            // Writing to a String cannot fail.
            let _ = write!(self.text, "[{shown}]");
        }
        self.dropped = !written;
    }

    /// The visitor's number of a source.
    fn number_of(&mut self, source: usize, passage: usize) -> usize {
        let known = self.cited.iter().position(|cited| cited.source == source);
        let index = known.unwrap_or_else(|| {
            self.cited.push(Cited { source, passage, at: self.text.len() });
            self.cited.len() - 1
        });
        index + 1
    }
}

/// Whether two passages are one source to a visitor: the same section on the same pages.
pub(super) fn same_source(a: &Passage, b: &Passage) -> bool {
    (a.document_id, &a.heading_path, a.pages) == (b.document_id, &b.heading_path, b.pages)
}

/// The text without any citation.
pub(super) fn without_markers(text: &str) -> String {
    let mut rewriter = CitationRewriter::new(&[]);
    rewriter.push(text);
    rewriter.finish().1
}

/// Where an [`Answer`](super::Answer)'s text cites: the number and the place, in characters, of each `[1]`.
pub fn citation_places(text: &str) -> Vec<(u32, Range<usize>)> {
    let mut code = CodeTracker::default();
    let mut places = Vec::new();
    let mut marker: Option<(usize, String)> = None;
    let mut escaped = false;
    for (at, c) in text.chars().enumerate() {
        marker = match (c, marker) {
            _ if code.feed(c) => None,
            ('[', _) if !escaped => Some((at, String::new())),
            (']', Some((start, digits))) => {
                places.extend(number(&digits).map(|number| (number, start..at + 1)));
                None
            }
            (_, Some((start, mut digits))) if c.is_ascii_digit() => {
                digits.push(c);
                Some((start, digits))
            }
            _ => None,
        };
        escaped = c == '\\' && !escaped;
    }
    places
}

fn is_marker_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '０'..='９' | ' ' | ',' | ';' | ':' | '、' | '，' | '；' | '&' | '-' | '–' | '^' | '†' | '#')
}

/// The numbers of `[1]`, `[1, 2]`, `[1-3]`, `[^1]`, `［１］`, `[passage 2]`, `【1†source】`.
fn numbers_in(marker: &str) -> Option<Vec<u32>> {
    let inner: String = marker
        .chars()
        .filter(|c| !matches!(c, '[' | ']' | '［' | '］' | '【' | '】'))
        .map(|c| match c {
            '０'..='９' => char::from_digit(u32::from(c) - u32::from('０'), 10).unwrap_or(c),
            '–' => '-',
            _ => c.to_ascii_lowercase(),
        })
        .collect();
    let inner = inner.split(['†', ':']).next().unwrap_or_default().trim();
    let inner = inner.trim_start_matches(['^', '#']);
    let inner = MARKER_WORDS.iter().find_map(|word| inner.strip_prefix(word)).unwrap_or(inner);
    let mut numbers = Vec::new();
    for part in inner.split([',', ';', '、', '，', '；', '&', ' ', '^', '#']).filter(|p| !p.is_empty()) {
        match part.split_once('-') {
            None => numbers.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                // A longer range cites nothing in particular.
                numbers.extend((first..=last).take(10));
            }
        }
    }
    (!numbers.is_empty()).then_some(numbers)
}

fn number(digits: &str) -> Option<u32> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // One too large for a u32 stands for no passage either.
    all_digits.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
