//! Counting tokens: a document is tokenised once, a stretch of it is then counted by two binary searches.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokenizers::Tokenizer;

use super::layout::Layout;

/// How tokens are counted: as the embedding model does, or estimated. Keep one for many documents: it remembers words.
#[derive(Clone)]
pub struct TokenCounter(Option<Arc<Exact>>);

struct Exact {
    tokenizer: Tokenizer,
    vocabulary: Mutex<Vocabulary>,
}

impl TokenCounter {
    /// Counts with the model's own tokenizer, whatever truncation and padding it is set to.
    pub fn exact(tokenizer: &Tokenizer) -> Self {
        let mut tokenizer = tokenizer.clone();
        tokenizer.with_padding(None);
        if let Some(truncation) = tokenizer.get_truncation_mut() {
            truncation.max_length = usize::MAX;
        }
        Self(Some(Arc::new(Exact { tokenizer, vocabulary: Mutex::default() })))
    }

    /// Estimates, for a model behind an API: a token per started 5 ASCII letters, 3 digits, 3 letters of another
    /// alphabet, 2 of an abugida or abjad, and per ideograph or sign. On English prose and code this is a little more than
    /// WordPiece or byte-pair tokenizers need, so a chunk seldom exceeds its size.
    pub fn approximate() -> Self {
        Self(None)
    }

    /// Tokens of `text`, without special tokens.
    pub fn count(&self, text: &str) -> usize {
        let mut tokens = 0;
        self.each_token(text, |_| tokens += 1);
        tokens
    }

    /// Calls `found` with the byte offset at which each token begins, in order.
    fn each_token(&self, text: &str, mut found: impl FnMut(usize)) {
        let Some(exact) = &self.0 else { return estimate(text, &mut found) };
        // Whoever finds it taken starts anew rather than wait.
        let (mut shared, mut own) = (exact.vocabulary.try_lock().ok(), Vocabulary::default());
        let vocabulary = shared.as_deref_mut().unwrap_or(&mut own);
        let mut start = 0;
        for word in text.split_inclusive(char::is_whitespace) {
            let mut rest = word.trim_end();
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(rest.floor_char_boundary(LONGEST_PART));
                vocabulary.each_token(&exact.tokenizer, part, |offset| found(start + offset));
                start += part.len();
                rest = behind;
            }
            start += word.len() - word.trim_end().len();
        }
    }
}

/// Longer words are tokenised in parts, so that they take little memory: to tokenise needs some fifty bytes per byte.
const LONGEST_PART: usize = 256;

/// Where the tokens of each word met so far begin. Tokenizers split at white space anyway, texts repeat most of their
/// words, and to look one up is many times cheaper than to tokenise it again.
#[derive(Default)]
struct Vocabulary {
    words: HashMap<Box<str>, Range<usize>>,
    offsets: Vec<usize>,
}

impl Vocabulary {
    fn each_token(&mut self, tokenizer: &Tokenizer, word: &str, found: impl FnMut(usize)) {
        let tokens = match self.words.get(word) {
            Some(tokens) => tokens.clone(),
            None => self.learn(tokenizer, word),
        };
        self.offsets[tokens].iter().copied().for_each(found);
    }

    fn learn(&mut self, tokenizer: &Tokenizer, word: &str) -> Range<usize> {
        const MOST_WORDS: usize = 50_000;
        if self.words.len() == MOST_WORDS {
            *self = Self::default();
        }
        let first = self.offsets.len();
        match tokenizer.encode(word, false) {
            Ok(encoding) => self.offsets.extend(encoding.get_offsets().iter().map(|token| token.0)),
            Err(_) => estimate(word, &mut |offset| self.offsets.push(offset)),
        }
        let tokens = first..self.offsets.len();
        self.words.insert(word.into(), tokens.clone());
        tokens
    }
}

impl fmt::Debug for TokenCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "TokenCounter::exact" } else { "TokenCounter::approximate" })
    }
}

fn estimate(text: &str, found: &mut impl FnMut(usize)) {
    let (mut running, mut left) = (0, 0_u8);
    for (offset, letter) in text.char_indices() {
        let (class, per_token) = match letter {
            _ if letter.is_whitespace() => (0, 0),
            'a'..='z' | 'A'..='Z' => (1, 5),
            '0'..='9' => (2, 3),
            '\0'..='\x7f' => (3, 1),
            '\u{80}'..='\u{5ff}' => (4, 3),
            '\u{600}'..='\u{1fff}' => (5, 2),
            _ => (6, 1),
        };
        if class != running || left == 0 {
            (running, left) = (class, per_token);
            if per_token > 0 {
                found(offset);
            }
        }
        left = left.saturating_sub(1);
    }
}

/// Where each token of a document begins; markup that is not read has none.
#[derive(Debug)]
pub(super) struct Ruler {
    starts: Vec<u32>,
    end: usize,
}

impl Ruler {
    pub(super) fn new(layout: &Layout<'_>, counter: &TokenCounter) -> Self {
        let text = layout.markdown;
        let mut unread = layout.unread.iter().peekable();
        let mut marks = Marks { text, starts: Vec::with_capacity(text.len() / 4), reached: 0, hidden: &layout.hidden };
        counter.each_token(text, |start| {
            while unread.next_if(|range| range.end <= start).is_some() {}
            if unread.peek().is_none_or(|range| start < range.start) {
                marks.push(start);
            }
        });
        marks.fill_to(text.len());
        Self { starts: marks.starts, end: text.len() }
    }

    /// Tokens that begin within `span`.
    pub(super) fn count(&self, span: &Range<usize>) -> usize {
        self.index(span.end).saturating_sub(self.index(span.start))
    }

    /// The farthest end of a stretch from `start` that has `tokens` tokens.
    pub(super) fn reach(&self, start: usize, tokens: usize) -> usize {
        self.starts.get(self.index(start) + tokens).map_or(self.end, |&end| end as usize)
    }

    fn index(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| (start as usize) < offset)
    }
}

/// Gathers token starts. What a tokenizer passes over or takes for a single unknown token (a megabyte without a space, a
/// thousand images) still takes room in a chunk: in a stretch of over 256 bytes each 64 bytes count as one token.
struct Marks<'a> {
    text: &'a str,
    starts: Vec<u32>,
    reached: usize,
    hidden: &'a [Range<usize>],
}

impl Marks<'_> {
    fn push(&mut self, start: usize) {
        self.fill_to(start);
        self.mark(start);
        self.reached = start;
    }

    fn fill_to(&mut self, end: usize) {
        while let Some((range, rest)) = self.hidden.split_first().filter(|(range, _)| range.end <= end) {
            self.fill(range.start);
            self.reached = self.reached.max(range.end);
            self.hidden = rest;
        }
        self.fill(end);
    }

    fn fill(&mut self, end: usize) {
        const LONGEST: usize = 256;
        const STEP: usize = 64;
        if end.saturating_sub(self.reached) > LONGEST {
            for offset in (self.reached + STEP..end).step_by(STEP) {
                self.mark(self.text.floor_char_boundary(offset));
            }
            self.reached = end;
        }
    }

    fn mark(&mut self, start: usize) {
        self.starts.push(u32::try_from(start).expect("a document is far smaller than 4 GiB"));
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::wordpiece::WordPiece;
    use tokenizers::normalizers::BertNormalizer;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
    use tokenizers::{PaddingParams, PaddingStrategy, TruncationParams};

    use super::*;

    fn tokenizer() -> Tokenizer {
        let mut ids = 0..;
        let vocabulary = ["[UNK]", "the", "apple", "tree", "##s", "grow", "##ing", ".", ",", "-", "e", "漢"]
            .map(|word| (word.to_owned(), ids.next().unwrap()));
        let model = WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".to_owned()).build().unwrap();
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(BertNormalizer::default())).unwrap();
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        tokenizer
    }

    #[test]
    fn the_exact_count_is_the_tokenizers_own_without_its_limits() {
        let plain = tokenizer();
        let mut limited = tokenizer();
        limited.with_truncation(Some(TruncationParams { max_length: 3, ..Default::default() })).unwrap();
        limited.with_padding(Some(PaddingParams { strategy: PaddingStrategy::Fixed(3), ..Default::default() }));
        let counter = TokenCounter::exact(&limited);
        for text in
            ["", " ", "The trees, growing.", "é-é  漢漢x\u{a0}apples\n\nunknown the", "the ".repeat(50).as_str()]
        {
            assert_eq!(counter.count(text), plain.encode(text, false).unwrap().len(), "{text:?}");
            assert_eq!(counter.count(text), counter.count(text));
        }
    }

    #[test]
    fn stretches_add_up_and_reach_is_the_inverse_of_count() {
        let markdown = "The **apple** trees grow. [The é tree](https://x.y), growing.";
        for counter in [TokenCounter::exact(&tokenizer()), TokenCounter::approximate()] {
            let ruler = Ruler::new(&Layout::of(markdown), &counter);
            let whole = ruler.count(&(0..markdown.len()));
            assert!(whole < counter.count(markdown));
            for (middle, _) in markdown.char_indices() {
                assert_eq!(ruler.count(&(0..middle)) + ruler.count(&(middle..markdown.len())), whole);
            }
            for tokens in 1..whole {
                assert_eq!(ruler.count(&(0..ruler.reach(0, tokens))), tokens);
            }
            assert_eq!(ruler.reach(0, whole), markdown.len());
        }
    }

    #[test]
    fn the_estimate_counts_by_kind_of_letter() {
        let count = |text| TokenCounter::approximate().count(text);
        assert_eq!(count("apple"), 1);
        assert_eq!(count("apples"), 2);
        assert_eq!(count("1234"), 2);
        assert_eq!(count("a-b"), 3);
        assert_eq!(count("яблоко"), 2);
        assert_eq!(count("漢字"), 2);
        assert_eq!(count(" \n\t"), 0);
    }
}
