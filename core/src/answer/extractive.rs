//! Answers without a chat model: the best sentences of the passages, word for word.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

use super::citations::same_source;
use super::markdown::{Unit, UnitKind, units};
use super::relevance::{coverage, terms};
use super::{Answer, AnswerKind, BotProfile, Citation, fallback};
use crate::chat::TokenUsage;
use crate::embed::{EmbedError, Embedder};
use crate::lexical::{Language, Term};
use crate::retrieve::Passage;

/// Passages looked at, candidates compared with the question by meaning, and quotes given, at most.
const PASSAGES: usize = 8;
const CANDIDATES: usize = 20;
const QUOTES: usize = 3;
/// What a quote's score is made of: its meaning, its words, and its passage's retrieval score.
const MEANING: f32 = 0.5;
const WORDS: f32 = 0.25;
const PASSAGE: f32 = 0.25;
/// What code has ahead of prose when the question asks how to do something.
const EXAMPLE: f32 = 0.1;
const HOW: [&str; 7] = ["how", "wie", "comment", "cómo", "como", "come", "hoe"];
/// A further quote's score must be this share of the best one's.
const NEAR_THE_BEST: f32 = 0.8;
/// Two quotes with a cosine above this say the same.
const SAME_MEANING: f32 = 0.85;
/// Characters of a candidate that are compared with the question.
const COMPARED: usize = 300;
/// A sentence shorter than this (in characters) is quoted with the next one.
const SHORT: usize = 60;
/// First words of a sentence that cannot stand without the one before it.
const LEANING: [&str; 12] =
    ["it", "this", "that", "these", "those", "they", "such", "however", "therefore", "instead", "also", "otherwise"];

/// Some neighbouring units of one passage.
#[derive(Clone, Debug, PartialEq)]
struct Quote {
    passage: usize,
    units: Range<usize>,
}

/// Quotes what answers `question` best.
pub(super) async fn answer(
    question: &str,
    passages: &[Passage],
    bot: &BotProfile,
    embedder: &dyn Embedder,
) -> Result<Answer, EmbedError> {
    let passages = &passages[..passages.len().min(PASSAGES)];
    let units: Vec<Vec<Unit>> = passages.iter().map(|passage| units(&passage.text)).collect();
    let candidates = candidates(&terms(question, &bot.languages), &bot.languages, passages, &units);
    if candidates.is_empty() {
        return Ok(fallback(bot, TokenUsage::default()));
    }
    let mut texts = vec![question.to_owned()];
    texts.extend(candidates.iter().map(|(quote, _)| compared(&in_place(quote, passages, &units[quote.passage]))));
    let vectors = embedder.embed(&texts).await?;
    let (asked, told) = vectors.split_first().expect("as many vectors as texts");
    let asks_how = HOW.contains(&first_word(question).as_str());
    let scored: Vec<Scored> = candidates
        .into_iter()
        .zip(told)
        .map(|((quote, words), vector)| Scored {
            score: MEANING * cosine(asked, vector)
                + WORDS * words
                + PASSAGE * passages[quote.passage].score
                + if asks_how && units[quote.passage][quote.units.end - 1].is_code() { EXAMPLE } else { 0.0 },
            quote,
            vector,
        })
        .collect();
    let quotes = choose(scored).into_iter().map(|quote| whole(quote, &units)).collect();
    Ok(compose(in_reading_order(quotes, passages), passages, &units))
}

/// The passage's words that best support what was just said; for the citation of a written answer.
pub(super) fn support(said: &str, passage: &Passage, languages: &[Language]) -> String {
    let last = said.trim_end_matches(|c: char| !c.is_alphanumeric());
    let claim = last.rsplit(['\n', '.', '!', '?']).find(|part| !part.trim().is_empty());
    let claim = terms(claim.unwrap_or_default(), languages);
    let units = units(&passage.text);
    let share = |unit: &Unit| coverage(&claim, &terms(&unit.text, languages));
    let shares = units.iter().rev().map(|unit| (share(unit), unit));
    let best = shares.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map_or_else(|| passage.text.trim().to_owned(), |(_, unit)| unit.text.clone())
}

/// The quotes worth comparing by meaning, each with the share of the question's words it holds.
fn candidates(
    question: &BTreeSet<Term>,
    languages: &[Language],
    passages: &[Passage],
    units: &[Vec<Unit>],
) -> Vec<(Quote, f32)> {
    let mut all: Vec<(Quote, f32)> = Vec::new();
    for (passage, units) in units.iter().enumerate() {
        for (at, unit) in units.iter().enumerate() {
            let from = match unit.kind {
                UnitKind::Block => introduction(units, at),
                // It only introduces what follows.
                UnitKind::Sentence if unit.text.ends_with(':') => continue,
                UnitKind::Sentence => at,
            };
            let quote = Quote { passage, units: from..at + 1 };
            let words = coverage(question, &terms(&in_place(&quote, passages, units), languages));
            all.push((quote, words));
        }
    }
    let promise = |(quote, words): &(Quote, f32)| {
        // A passage's first sentence tells what it is about.
        let opens = if quote.units.start == 0 { 0.2 } else { 0.0 };
        words + passages[quote.passage].score + opens
    };
    all.sort_by(|a, b| promise(b).total_cmp(&promise(a)));
    all.truncate(CANDIDATES);
    all
}

/// Where the sentence that introduces the block at `at` stands, or `at` if nothing does.
fn introduction(units: &[Unit], at: usize) -> usize {
    let sentence = |back: usize| {
        let before = at.checked_sub(back)?;
        let unit = &units[before];
        (unit.kind == UnitKind::Sentence && unit.paragraph + back == units[at].paragraph).then_some(before)
    };
    match (sentence(1), sentence(2)) {
        // Between them stands a caption, such as the name of a file.
        (Some(_), Some(before)) if units[before].text.ends_with(':') => before,
        (Some(before), _) => before,
        (None, _) => at,
    }
}

/// A quote's words under the name of their place; `units` are those of its passage.
fn in_place(quote: &Quote, passages: &[Passage], units: &[Unit]) -> String {
    let passage = &passages[quote.passage];
    let mut text = passage.title.clone();
    let heading = passage.heading_path.last().filter(|heading| **heading != passage.title);
    for part in heading.into_iter().chain(units[quote.units.clone()].iter().map(|unit| &unit.text)) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{part}");
    }
    text
}

fn compared(text: &str) -> String {
    text.chars().take(COMPARED).collect()
}

fn first_word(text: &str) -> String {
    text.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty()).unwrap_or_default().to_lowercase()
}

struct Scored<'a> {
    score: f32,
    quote: Quote,
    vector: &'a [f32],
}

/// The best quotes that say different things.
fn choose(mut scored: Vec<Scored>) -> Vec<Quote> {
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    let enough = scored.first().map_or(0.0, |best| best.score * NEAR_THE_BEST);
    let mut chosen: Vec<Scored> = Vec::new();
    for next in scored {
        let known = chosen.iter().any(|other| cosine(other.vector, next.vector) > SAME_MEANING);
        if next.score >= enough && !known && chosen.len() < QUOTES {
            chosen.push(next);
        }
    }
    chosen.into_iter().map(|scored| scored.quote).collect()
}

/// Widens a quote to what it needs to be understood.
fn whole(mut quote: Quote, units: &[Vec<Unit>]) -> Quote {
    let units = &units[quote.passage];
    let first = &units[quote.units.start];
    let leans = LEANING.contains(&first_word(&first.text).as_str());
    if leans && quote.units.start > 0 && units[quote.units.start - 1].paragraph == first.paragraph {
        quote.units.start -= 1;
    }
    let last = &units[quote.units.end - 1];
    let short = last.kind == UnitKind::Sentence && last.text.chars().count() < SHORT;
    if short && units.get(quote.units.end).is_some_and(|next| next.paragraph == last.paragraph) {
        quote.units.end += 1;
    }
    quote
}

/// Quotes of one document together and by position, documents by rank; overlapping ones joined.
fn in_reading_order(mut quotes: Vec<Quote>, passages: &[Passage]) -> Vec<Quote> {
    let rank = |quote: &Quote| {
        let document = passages[quote.passage].document_id;
        passages.iter().position(|passage| passage.document_id == document)
    };
    quotes.sort_by_key(|quote| (rank(quote), passages[quote.passage].span.start, quote.passage, quote.units.start));
    let mut joined: Vec<Quote> = Vec::new();
    for quote in quotes {
        match joined.last_mut() {
            Some(last) if last.passage == quote.passage && quote.units.start <= last.units.end => {
                last.units.end = last.units.end.max(quote.units.end);
            }
            _ => joined.push(quote),
        }
    }
    joined
}

/// Block quotes, each with its citation.
fn compose(quotes: Vec<Quote>, passages: &[Passage], units: &[Vec<Unit>]) -> Answer {
    let mut cited: Vec<&Passage> = Vec::new();
    let mut citations = Vec::new();
    let mut parts = Vec::new();
    for quote in quotes {
        let units = &units[quote.passage][quote.units];
        let text = markdown_of(units);
        let passage = &passages[quote.passage];
        let known = cited.iter().position(|other| same_source(other, passage));
        let number = known.unwrap_or_else(|| {
            cited.push(passage);
            let number = u32::try_from(cited.len()).unwrap_or(u32::MAX);
            citations.push(Citation::new(number, passage, &text));
            cited.len() - 1
        }) + 1;
        let inline = units.last().is_some_and(|last| last.kind == UnitKind::Sentence);
        let text = format!("{text}{}[{number}]", if inline { " " } else { "\n\n" });
        parts.push(text.lines().map(quoted).collect::<Vec<_>>().join("\n"));
    }
    Answer {
        text: parts.join("\n\n"),
        kind: AnswerKind::Extractive,
        answerable: true,
        citations,
        usage: TokenUsage::default(),
        truncated: false,
    }
}

fn quoted(line: &str) -> String {
    if line.is_empty() { ">".to_owned() } else { format!("> {line}") }
}

fn markdown_of(units: &[Unit]) -> String {
    let mut text = String::new();
    for (at, unit) in units.iter().enumerate() {
        let same = at > 0 && units[at - 1].paragraph == unit.paragraph;
        text.push_str(if at == 0 {
            ""
        } else if same {
            " "
        } else {
            "\n\n"
        });
        text.push_str(&unit.text);
    }
    text
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
