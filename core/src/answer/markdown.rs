//! A passage's Markdown cut into what can be quoted: sentences, and blocks that only make sense whole.

use unicode_segmentation::UnicodeSegmentation;

/// A list longer than this (in characters) is quoted by item, not whole.
const LONGEST_WHOLE_LIST: usize = 600;

/// Something that can be quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) kind: UnitKind,
    /// Markdown that stands on its own: links are their text, HTML is gone.
    pub(super) text: String,
    /// Units of the same paragraph share a number.
    pub(super) paragraph: usize,
}

/// What a [`Unit`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    /// A sentence.
    Sentence,
    /// A code fence, a table or a list.
    Block,
}

impl Unit {
    /// Whether it is a code block.
    pub(super) fn is_code(&self) -> bool {
        fence_of(self.text.trim_start()).is_some() || is_indented(&self.text)
    }
}

/// The units of a passage, in reading order, without its headings.
pub(super) fn units(markdown: &str) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for block in blocks(markdown) {
        let (kind, texts) = match block {
            Block::Whole(text) => (UnitKind::Block, vec![text]),
            Block::Prose(text) => (UnitKind::Sentence, sentences(&plain(&text))),
            Block::List(items) => {
                let items: Vec<String> = items.iter().map(|item| plain(item)).collect();
                if items.iter().map(String::len).sum::<usize>() <= LONGEST_WHOLE_LIST {
                    (UnitKind::Block, vec![items.join("\n")])
                } else {
                    let cut = items.iter().flat_map(|item| sentences(without_bullet(item)));
                    (UnitKind::Sentence, cut.collect())
                }
            }
        };
        let paragraph = units.last().map_or(0, |unit| unit.paragraph + 1);
        let texts = texts.into_iter().filter(|text| text.chars().any(char::is_alphanumeric));
        units.extend(texts.map(|text| Unit { kind, text, paragraph }));
    }
    units
}

enum Block {
    Prose(String),
    List(Vec<String>),
    /// Code or a table: quoted as it is.
    Whole(String),
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if let Some(fence) = fence_of(start) {
            let mut code = vec![line];
            for line in lines.by_ref() {
                code.push(line);
                if line.trim_start().starts_with(fence) && line.trim().chars().all(|c| fence.contains(c)) {
                    break;
                }
            }
            if !code.last().is_some_and(|last| code.len() > 1 && last.trim_start().starts_with(fence)) {
                code.push(fence);
            }
            blocks.push(Block::Whole(code.join("\n")));
        } else if start.starts_with('|') {
            let mut table = vec![line];
            while let Some(row) = lines.next_if(|row| row.trim_start().starts_with('|')) {
                table.push(row);
            }
            blocks.push(Block::Whole(table.join("\n")));
        } else if is_indented(line) && !matches!(blocks.last(), Some(Block::List(_))) {
            let mut code = vec![line];
            while let Some(line) = lines.next_if(|next| is_indented(next) || next.trim().is_empty()) {
                code.push(line);
            }
            blocks.push(Block::Whole(code.join("\n").trim_end().to_owned()));
        } else if start.starts_with('#') || start.is_empty() || is_definition(start) {
            // Headings stand in the citation; link definitions name no text.
        } else if bullet_length(start) > 0 {
            let mut items = vec![line.to_owned()];
            while let Some(line) = lines.next_if(|next| continues_list(next)) {
                match items.last_mut() {
                    Some(item) if bullet_length(line.trim_start()) == 0 => {
                        item.push(' ');
                        item.push_str(line.trim());
                    }
                    _ => items.push(line.to_owned()),
                }
            }
            blocks.push(Block::List(items));
        } else {
            let mut prose = start.trim_start_matches(['>', ' ']).to_owned();
            while let Some(line) = lines.next_if(|next| continues_prose(next)) {
                prose.push(' ');
                prose.push_str(line.trim_start_matches(['>', ' ']).trim_end());
            }
            blocks.push(Block::Prose(prose));
        }
    }
    blocks
}

fn fence_of(start: &str) -> Option<&'static str> {
    ["```", "~~~"].into_iter().find(|fence| start.starts_with(fence))
}

/// Code by indentation.
fn is_indented(line: &str) -> bool {
    (line.starts_with("    ") || line.starts_with('\t')) && !line.trim().is_empty()
}

fn is_definition(start: &str) -> bool {
    start.starts_with('[') && start.split_once("]: ").is_some_and(|(label, _)| !label.contains(' '))
}

/// Bytes of a list mark with its space, 0 if there is none.
fn bullet_length(start: &str) -> usize {
    let digits = start.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &start[digits..];
    let mark = match digits {
        0 => ["- ", "* ", "+ "].iter().any(|mark| rest.starts_with(mark)),
        1..=3 => rest.starts_with(". ") || rest.starts_with(") "),
        _ => false,
    };
    if mark { digits + 2 } else { 0 }
}

fn without_bullet(item: &str) -> &str {
    let start = item.trim_start();
    &start[bullet_length(start)..]
}

fn continues_list(line: &str) -> bool {
    let start = line.trim_start();
    bullet_length(start) > 0 || (!start.is_empty() && line.starts_with([' ', '\t']) && fence_of(start).is_none())
}

fn continues_prose(line: &str) -> bool {
    let start = line.trim_start();
    !(start.is_empty()
        || start.starts_with(['#', '|'])
        || fence_of(start).is_some()
        || bullet_length(start) > 0
        || is_definition(start))
}

/// Sentences of one paragraph.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    for piece in paragraph.split_sentence_bounds() {
        match sentences.last_mut() {
            // An abbreviation or a code span was cut, or the piece is too small to be a sentence.
            Some(last) if is_unfinished(last) || piece.trim().chars().count() < 4 => last.push_str(piece),
            _ => sentences.push(piece.to_owned()),
        }
    }
    sentences.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

fn is_unfinished(sentence: &str) -> bool {
    const ABBREVIATIONS: [&str; 8] = ["e.g.", "i.e.", "etc.", "vs.", "cf.", "Mr.", "Dr.", "No."];
    sentence.matches('`').count() % 2 == 1 || ABBREVIATIONS.iter().any(|short| sentence.trim_end().ends_with(short))
}

/// Prose without links, images and HTML; brackets that look like a citation are escaped.
fn plain(markdown: &str) -> String {
    let mut plain = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some(at) = rest.find(['`', '[', '<', '!']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (shown, length) = code_span(rest)
            .or_else(|| image(rest))
            .or_else(|| link(rest))
            .or_else(|| html_tag(rest))
            .unwrap_or_else(|| (rest[..1].to_owned(), 1));
        plain.push_str(&shown);
        rest = &rest[length..];
    }
    plain + rest
}

fn code_span(text: &str) -> Option<(String, usize)> {
    let ticks = text.bytes().take_while(|b| *b == b'`').count();
    let end = (ticks > 0).then(|| text[ticks..].find(&text[..ticks]))??;
    let length = end + 2 * ticks;
    Some((text[..length].to_owned(), length))
}

fn image(text: &str) -> Option<(String, usize)> {
    let (_, length) = link(text.strip_prefix('!')?)?;
    Some((String::new(), length + 1))
}

/// `[text](url)`, `[text][label]`: the text. `[1]`: escaped. Other brackets: as they are.
fn link(text: &str) -> Option<(String, usize)> {
    let end = closing(text, '[', ']')?;
    let inner = &text[1..end];
    let after = &text[end + 1..];
    let target = match after.chars().next() {
        Some('(') => closing(after, '(', ')'),
        Some('[') => closing(after, '[', ']'),
        _ => None,
    };
    match target {
        Some(target) => Some((plain(inner), end + 1 + target + 1)),
        None if inner.bytes().all(|b| b.is_ascii_digit() || b", ".contains(&b)) => {
            Some((format!("\\[{inner}\\]"), end + 1))
        }
        None => Some((format!("[{}]", plain(inner)), end + 1)),
    }
}

/// Where the bracket that `text` begins with closes.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.checked_sub(1)?;
        }
        if depth == 0 {
            return (at > 0).then_some(at);
        }
    }
    None
}

fn html_tag(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix('<')?;
    let is_tag = inner.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
    let end = is_tag.then(|| inner.find('>'))??;
    Some((String::new(), end + 2))
}

/// At most `longest` characters of `text`, cut at a word.
pub(super) fn shorten(text: &str, longest: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(longest) else {
        return text.to_owned();
    };
    let kept = &text[..end];
    let kept = kept.rfind(char::is_whitespace).map_or(kept, |space| &kept[..space]);
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(markdown: &str) -> Vec<String> {
        units(markdown).into_iter().map(|unit| unit.text).collect()
    }

    #[test]
    fn prose_is_cut_into_sentences_that_stand_alone() {
        let markdown = "# Title\n\nSet a [timeout](/topics/ttl) on\n`key. Or` more, e.g. ten. Then [deleted][del] <b>now</b> [1].\n\n[del]: /commands/del\n> Quoted ![x](y.png)text.";
        assert_eq!(
            texts(markdown),
            ["Set a timeout on `key. Or` more, e.g. ten.", "Then deleted now \\[1\\].", "Quoted text."]
        );
    }

    #[test]
    fn code_tables_and_short_lists_stay_whole() {
        let code = "```cli\nSET a 1\n\nGET a\n```";
        let table = "| a | b |\n|---|---|\n| 1 | 2 |";
        let list = "* `NX` -- only\n  new\n* `XX`";
        let units = units(&format!("For example:\n\n{code}\n\n{table}\nAfter it.\n\n{list}"));
        let found: Vec<(UnitKind, &str)> = units.iter().map(|u| (u.kind, u.text.as_str())).collect();
        assert_eq!(
            found,
            [
                (UnitKind::Sentence, "For example:"),
                (UnitKind::Block, code),
                (UnitKind::Block, table),
                (UnitKind::Sentence, "After it."),
                (UnitKind::Block, "* `NX` -- only new\n* `XX`"),
            ]
        );
    }

    #[test]
    fn indented_code_is_code_but_not_inside_a_list() {
        let found = units(
            "Add this line:\n\n    replicaof 1.2.3.4 6379\n\n    port 1\n\nDone now.\n\n1. One\n\n    More of it.",
        );
        let code: Vec<&str> = found.iter().filter(|unit| unit.is_code()).map(|unit| unit.text.as_str()).collect();
        assert_eq!(code, ["    replicaof 1.2.3.4 6379\n\n    port 1"]);
        assert_eq!(found.last().unwrap().text, "More of it.");
    }

    #[test]
    fn a_long_list_is_cut_by_item_and_an_open_fence_is_closed() {
        let list: Vec<String> = (0..30).map(|n| format!("{n}. Item number {n} of the list.")).collect();
        assert_eq!(texts(&list.join("\n"))[3], "Item number 3 of the list.");
        assert_eq!(texts("```\ncut off"), ["```\ncut off\n```"]);
    }

    #[test]
    fn odd_markup_loses_nothing_and_never_panics() {
        for text in ["a ] b [ c", "a < b and c > d", "[unclosed](x", "`tick", "![", "é[ü](ö)", "<é>"] {
            assert!(!plain(text).is_empty(), "{text}");
        }
        assert_eq!(plain("a < b [x y] `[1]` [t [u](v)](w)"), "a < b [x y] `[1]` t u");
    }

    #[test]
    fn shortening_cuts_at_a_word() {
        assert_eq!(shorten("one two three", 9), "one two…");
        assert_eq!(shorten("one", 3), "one");
    }
}
