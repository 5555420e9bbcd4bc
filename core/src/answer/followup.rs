//! What to search for when a question leans on what was said before.

use std::collections::{BTreeSet, HashSet};

use unicode_segmentation::UnicodeSegmentation;

use super::relevance::terms;
use super::{Question, Role, Turn};
use crate::lexical::{Language, Term};

/// Words that point back, with how many words of its own a question may have and still need them.
const POINTERS: [(usize, &[&str]); 2] = [
    (
        5,
        &[
            "it", "its", "they", "them", "their", "he", "she", "her", "him", "es", "ihn", "ihm", "dessen", "damit",
            "davon", "dafür", "lo", "la", "le", "les", "eso", "esto", "ello", "cela", "ça", "celui", "ciò", "isso",
            "isto", "dit",
        ],
    ),
    (
        3,
        &[
            "this",
            "that",
            "these",
            "those",
            "there",
            "one",
            "ones",
            "same",
            "else",
            "other",
            "another",
            "instead",
            "above",
            "former",
            "latter",
            "previous",
            "das",
            "dies",
            "diese",
            "dieser",
            "dort",
            "andere",
            "stattdessen",
        ],
    ),
];
/// First words of a question that goes on from the last one.
const CONNECTIVES: [&str; 18] = [
    "and", "but", "or", "so", "then", "also", "und", "aber", "oder", "y", "pero", "et", "mais", "e", "ma", "mas", "en",
    "maar",
];
/// First words of a piece of a question: "for hashes?", "in Python?".
const PREPOSITIONS: [&str; 14] =
    ["for", "in", "with", "without", "on", "from", "as", "using", "für", "mit", "ohne", "bei", "con", "pour"];
/// Words that ask for something without saying about what: "tell me more", "an example?".
const ASKING: &str =
    "tell explain elaborate example show give please help mean detail go continue understand Beispiel erkläre";
/// Words of its own that a question with a connective may have.
const CONTINUED: usize = 4;
/// Names taken from the last answer.
const MOST_NAMES: usize = 4;

/// The text to search passages with: the question, and before it what it leans on.
pub fn search_text(question: &Question) -> String {
    let text = question.text.trim();
    let Some(at) = question.history.iter().rposition(|turn| turn.role == Role::Visitor) else {
        return text.to_owned();
    };
    if !leans(text) {
        return text.to_owned();
    }
    // The question before may lean on the one before it.
    let earlier = Question { text: question.history[at].content.clone(), history: question.history[..at].to_vec() };
    let mut parts = vec![search_text(&earlier)];
    parts.extend(names(&question.history[at..]));
    parts.push(text.to_owned());
    parts.join(" ")
}

/// The words of a question in the language it is asked in, which need not be that of the documents.
fn words_of(text: &str) -> BTreeSet<Term> {
    terms(text, &[Language::detect(text)])
}

/// Whether a question cannot be understood alone.
fn leans(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.unicode_words().collect();
    let own = words_of(text).difference(&words_of(ASKING)).count();
    let starts = |list: &[&str]| words.first().is_some_and(|word| list.contains(word));
    own == 0
        || starts(&CONNECTIVES) && own <= CONTINUED
        || starts(&PREPOSITIONS) && words.len() <= 4
        || (lower.starts_with("what about") || lower.starts_with("how about")) && own <= CONTINUED
        || POINTERS.iter().any(|(most, list)| own <= *most && words.iter().any(|word| list.contains(word)))
}

/// The things the last answer talks about: its code spans, then words in capitals.
fn names(turns: &[Turn]) -> Vec<String> {
    let Some(answer) = turns.iter().rev().find(|turn| turn.role == Role::Assistant) else {
        return Vec::new();
    };
    let prose = answer.content.split("```").step_by(2).collect::<Vec<_>>().join(" ");
    let spans = prose.split('`').skip(1).step_by(2).filter(|span| (2..=40).contains(&span.len()));
    let capitals = prose
        .unicode_words()
        .filter(|word| word.len() > 2 && word.chars().all(|c| c.is_uppercase() || c.is_numeric() || c == '_'));
    let mut seen = HashSet::new();
    spans.chain(capitals).filter(|name| seen.insert(*name)).take(MOST_NAMES).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(history: &[(Role, &str)], text: &str) -> String {
        let turn = |(role, content): &(Role, &str)| Turn { role: *role, content: (*content).into() };
        search_text(&Question { text: text.into(), history: history.iter().map(turn).collect() })
    }

    const EXPIRE: [(Role, &str); 2] = [
        (Role::Visitor, "How do I expire a key after ten seconds?"),
        (Role::Assistant, "Call `EXPIRE mykey 10` [1]. The TTL command shows what is left [2].\n```\nNOT `this`\n```"),
    ];

    #[test]
    fn a_question_that_leans_brings_what_it_leans_on() {
        assert_eq!(
            asked(&EXPIRE, "And how do I undo it?"),
            "How do I expire a key after ten seconds? EXPIRE mykey 10 EXPIRE TTL And how do I undo it?"
        );
        for text in [
            "why?",
            "Can it be negative?",
            "what about hashes?",
            "for hashes?",
            "and in Python?",
            "Is there another way?",
            "tell me more",
            "Und wie mache ich das rückgängig?",
            "What happens to its value?",
        ] {
            let found = asked(&EXPIRE, text);
            assert!(found.starts_with("How do I expire") && found.ends_with(text), "{found}");
        }
    }

    #[test]
    fn a_question_that_stands_alone_is_left_alone() {
        for text in [
            "What does the ? operator do?",
            "How do I create a Redis cluster with six nodes?",
            "What is ownership?",
            "How do I list all members of a sorted set?",
            "Was ist ein Trait?",
        ] {
            assert_eq!(asked(&EXPIRE, text), text);
            assert_eq!(asked(&[], text), text);
        }
        assert_eq!(asked(&[], "And how do I undo it?"), "And how do I undo it?");
    }

    #[test]
    fn a_chain_of_such_questions_reaches_back_to_its_start() {
        let mut history = EXPIRE.to_vec();
        history.extend([(Role::Visitor, "And how do I undo it?"), (Role::Assistant, "With `PERSIST` [1].")]);
        let found = asked(&history, "Does it work for hashes?");
        assert!(found.contains("expire a key") && found.contains("PERSIST"), "{found}");
    }
}
