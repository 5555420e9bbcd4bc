//! Sentences of a Markdown document.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::layout::{Kind, Layout, within};
use super::plan::{Piece, Plan};

/// A sentence, or a table or code block: the smallest unit of three of the strategies. Sentences follow each other
/// without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    /// With the headings in front of it.
    pub(super) span: Range<usize>,
    /// Start of its own words.
    pub(super) words: usize,
    /// The innermost heading it is under.
    pub(super) heading: Option<usize>,
}

impl Sentence {
    fn of(words: Range<usize>, heading: Option<usize>) -> Self {
        Self { words: words.start, span: words, heading }
    }

    pub(super) fn words(&self) -> Range<usize> {
        self.words..self.span.end
    }
}

impl Plan<'_> {
    /// All sentences of the document, those that are too large for a chunk in several parts.
    pub(super) fn sentences(&self) -> Vec<Sentence> {
        let layout = &self.layout;
        let mut sentences: Vec<Sentence> = Vec::new();
        let (mut heading, mut from) = (None, 0);
        for (index, block) in layout.blocks.iter().enumerate() {
            let span = layout.span(index);
            if let Kind::Heading(title) = block.kind {
                heading = Some(title);
                continue;
            }
            let path = layout.path(heading);
            let mut room = self.room(&path);
            // The headings in front go with the first sentence, unless they are a text of their own.
            let above = self.cost(&(from..span.start), &path);
            if above > room / 2 {
                sentences.extend(
                    self.by_words(&(from..span.start), &path, room).into_iter().map(|part| Sentence::of(part, heading)),
                );
                from = span.start;
            } else {
                room -= above;
            }
            let parts = match block.kind {
                Kind::Text { .. } | Kind::Html => starts(layout, index),
                _ => vec![span.start],
            };
            let ends = parts[1..].iter().copied().chain([span.end]);
            for part in parts.iter().zip(ends).flat_map(|(&start, end)| self.finer(index, start..end, room)) {
                sentences.push(Sentence { words: part.start, span: from..part.end, heading });
                from = part.end;
            }
        }
        let end = layout.markdown.len();
        if from < end {
            let path = layout.path(heading);
            let parts = self.by_words(&(from..end), &path, self.room(&path));
            sentences.extend(parts.into_iter().map(|part| Sentence::of(part, heading)));
        }
        sentences
    }

    /// Neighbouring sentences as one piece, under the headings all of them are under.
    pub(super) fn piece(&self, sentences: &[Sentence]) -> Piece {
        let (first, last) = (&sentences[0], &sentences[sentences.len() - 1]);
        let (mut path, end) = (self.layout.path(first.heading), self.layout.path(last.heading));
        path.truncate(path.iter().zip(&end).take_while(|(one, other)| one == other).count());
        Piece::plain(first.span.start..last.span.end, path)
    }

    /// `span` of block `index` as it is where it costs at most `room`, otherwise cut between lines or words.
    fn finer(&self, index: usize, span: Range<usize>, room: usize) -> Vec<Range<usize>> {
        if self.ruler.count(&span) <= room {
            return vec![span];
        }
        match self.layout.blocks[index].kind {
            Kind::Text { .. } | Kind::Html | Kind::Heading(_) => self.by_words(&span, &[], room),
            Kind::Code { .. } | Kind::Table { .. } => self.by_lines(&span, index, &[], room),
        }
    }
}

/// Where the sentences of text block `index` begin; the first is the start of the block.
pub(super) fn starts(layout: &Layout<'_>, index: usize) -> Vec<usize> {
    let block = layout.span(index);
    let text = masked(layout, index);
    let mut starts = vec![block.start];
    let mut from = 0;
    for (at, _) in text.split_sentence_bound_indices().skip(1) {
        if ends_sentence(&text[from..at]) {
            starts.push(block.start + at);
            from = at;
        }
    }
    if starts.len() > 1 && !text[from..].contains(char::is_alphanumeric) {
        starts.pop();
    }
    starts
}

/// The block's text with the same offsets, in a form whose sentences the Unicode rules find: line breaks are spaces, inline
/// code, links and list markers are one word, other markup closes like a bracket.
fn masked(layout: &Layout<'_>, index: usize) -> String {
    let span = layout.span(index);
    let mut text = layout.markdown[span.clone()].to_owned().into_bytes();
    let mut fill = |ranges: &[Range<usize>], with: u8| {
        for range in ranges {
            text[range.start.max(span.start) - span.start..range.end.min(span.end) - span.start].fill(with);
        }
    };
    fill(within(&layout.unread, &span), b')');
    fill(within(&layout.hidden, &span), b' ');
    fill(within(&layout.solid, &span), b'X');
    if let Kind::Text { body } = layout.blocks[index].kind {
        let marker = span.start..body.clamp(span.start, span.end);
        fill(std::slice::from_ref(&marker), b'X');
    }
    text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether `text`, which Unicode takes for a sentence, ends as one: with a space or a full-width stop, not at an
/// abbreviation or an initial, and not without a word.
fn ends_sentence(text: &str) -> bool {
    let sentence = text.trim_end();
    if sentence.len() == text.len() && text.ends_with(|last: char| last.is_ascii()) {
        return false;
    }
    let last = sentence.rsplit([' ', '(']).next().unwrap_or_default();
    let initial = last.strip_suffix('.').is_some_and(|name| name.len() == 1 && name.starts_with(char::is_uppercase));
    !initial && !is_abbreviation(last) && sentence.contains(char::is_alphanumeric)
}

/// Abbreviations that stand before the word they belong to, so that no sentence ends with them.
fn is_abbreviation(word: &str) -> bool {
    const ABBREVIATIONS: [&str; 34] = [
        "al.", "approx.", "bzw.", "ca.", "cf.", "ch.", "d.h.", "dr.", "e.g.", "ed.", "eq.", "fig.", "figs.", "gen.",
        "i.e.", "incl.", "mr.", "mrs.", "ms.", "no.", "nos.", "nr.", "p.", "pp.", "prof.", "resp.", "rev.", "sec.",
        "sr.", "st.", "viz.", "vol.", "vs.", "z.b.",
    ];
    word.len() <= 7 && ABBREVIATIONS.binary_search(&word.to_ascii_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, expected: &[&str]) {
        let layout = Layout::of(markdown);
        let starts: Vec<usize> = (0..layout.blocks.len()).flat_map(|block| starts(&layout, block)).collect();
        let ends = starts[1..].iter().copied().chain([markdown.len()]);
        let sentences: Vec<&str> = starts.iter().zip(ends).map(|(&start, end)| markdown[start..end].trim()).collect();
        assert_eq!(sentences, expected);
    }

    #[test]
    fn a_sentence_goes_on_across_lines_and_abbreviations() {
        check("One is\nlong. Two!\nThree?", &["One is\nlong.", "Two!", "Three?"]);
        check(
            "Dr. Who, e.g. J. R. Smith (cf. Fig. 3) paid 3.50. He left.",
            &["Dr. Who, e.g. J. R. Smith (cf. Fig. 3) paid 3.50.", "He left."],
        );
        check(
            "He said “Go.” Then he went... home. \"No!\" she said.",
            &["He said “Go.”", "Then he went... home.", "\"No!\"", "she said."],
        );
    }

    #[test]
    fn no_sentence_ends_inside_code_or_a_link() {
        check("What does `a? b` do? It works.", &["What does `a? b` do?", "It works."]);
        check(
            "The `?` operator. **Bold.** See [A. Then b.](x). `c` is next.",
            &["The `?` operator.", "**Bold.**", "See [A. Then b.](x).", "`c` is next."],
        );
    }

    #[test]
    fn list_markers_and_lone_marks_are_no_sentences() {
        check("1. First. Really.\n2. Second.\n   - Third. !", &["1. First.", "Really.", "2. Second.", "- Third. !"]);
    }

    #[test]
    fn scripts_without_spaces_have_sentences() {
        check("今日は晴れ。明日は雨！本当？はい", &["今日は晴れ。", "明日は雨！", "本当？", "はい"]);
        check("यह पहला है। यह दूसरा है।", &["यह पहला है।", "यह दूसरा है।"]);
    }
}
