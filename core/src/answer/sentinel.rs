//! The word with which the model says that the passages hold no answer, taken out of its text.

/// The word itself; the prompt asks for it in double square brackets.
pub(super) const NO_ANSWER: &str = "NO_ANSWER";

/// What models put around it: brackets, code and bold marks, a full stop.
const WRAPPING: [char; 4] = ['[', ']', '`', '*'];

/// A filter over the pieces of one answer that never lets the sentinel through, whole or in part.
#[derive(Debug, Default)]
pub(super) struct SentinelFilter {
    held: String,
    /// The sentinel has come.
    seen: bool,
    /// The sentinel has just come: what wraps it from behind goes too.
    closing: bool,
    /// Something else came before the sentinel.
    spoken: bool,
}

/// What the model's use of the sentinel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It never came.
    Answered,
    /// It came first: there is no answer.
    Declined,
    /// It came after other text, which is already with the visitor.
    Doubted,
}

impl SentinelFilter {
    /// Takes the next piece; gives what can be shown.
    pub(super) fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let mut shown = String::new();
        self.drop_closing();
        while let Some(at) = self.held.find(NO_ANSWER) {
            let after = self.held.split_off(at + NO_ANSWER.len());
            self.held.truncate(self.held[..at].trim_end_matches(WRAPPING).len());
            self.show(self.held.len(), &mut shown);
            self.held = after;
            self.seen = true;
            self.closing = true;
            self.drop_closing();
        }
        self.show(self.held.len() - undecided(&self.held), &mut shown);
        shown
    }

    /// The end of the answer: what was held back, and what the sentinel meant.
    pub(super) fn finish(mut self) -> (String, Verdict) {
        let mut shown = String::new();
        self.show(self.held.len(), &mut shown);
        (shown, self.verdict())
    }

    /// What the sentinel means so far.
    pub(super) fn verdict(&self) -> Verdict {
        match (self.seen, self.spoken) {
            (false, _) => Verdict::Answered,
            (true, false) => Verdict::Declined,
            (true, true) => Verdict::Doubted,
        }
    }

    fn show(&mut self, bytes: usize, shown: &mut String) {
        let text = &self.held[..bytes];
        self.spoken |= !self.seen && !text.trim().is_empty();
        shown.push_str(text);
        self.held.drain(..bytes);
    }

    fn drop_closing(&mut self) {
        if self.closing {
            let rest = self.held.trim_start_matches(WRAPPING).len();
            self.held.drain(..self.held.len() - rest);
            self.closing = rest == 0;
        }
    }
}

/// Bytes at the end of `text` that may turn out to belong to the sentinel.
fn undecided(text: &str) -> usize {
    let begun = (1..NO_ANSWER.len()).rev().find(|&length| text.ends_with(&NO_ANSWER[..length])).unwrap_or(0);
    let before = &text[..text.len() - begun];
    text.len() - before.trim_end_matches(WRAPPING).len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(pieces: &[&str]) -> (String, Verdict) {
        let mut filter = SentinelFilter::default();
        let shown: String = pieces.iter().map(|piece| filter.push(piece)).collect();
        let (rest, verdict) = filter.finish();
        (shown + &rest, verdict)
    }

    #[test]
    fn the_sentinel_is_found_in_every_dress_and_never_shown() {
        for said in ["[[NO_ANSWER]]", "NO_ANSWER", "`[NO_ANSWER]`", " **[[NO_ANSWER]]**"] {
            let (text, verdict) = through(&[said]);
            assert_eq!((text.trim(), verdict), ("", Verdict::Declined), "{said}");
        }
        assert_eq!(through(&["[", "[NO_", "ANSW", "ER]", "]"]), (String::new(), Verdict::Declined));
    }

    #[test]
    fn after_other_words_it_only_casts_doubt() {
        assert_eq!(through(&["Not said. [[NO_ANSWER]]"]), ("Not said. ".to_owned(), Verdict::Doubted));
    }

    #[test]
    fn what_only_begins_like_it_is_text() {
        for said in ["NO", "[[N", "NO_ANSWE", "**bold** [1]", "NO_ANS NO_"] {
            assert_eq!(through(&[said]), (said.to_owned(), Verdict::Answered));
        }
    }

    proptest! {
        #[test]
        fn cutting_the_text_changes_nothing(
            pieces in prop::collection::vec("[a\\[\\]`* ]{0,3}|NO_|NO|ANSWER|NO_ANSWER|\\[\\[NO_ANSWER\\]\\]", 0..8),
        ) {
            let whole = pieces.concat();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(through(&pieces), through(&[&whole]));
            let letters: Vec<String> = whole.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            let (text, verdict) = through(&letters);
            prop_assert!(!text.contains(NO_ANSWER) || verdict != Verdict::Answered);
            prop_assert_eq!((text, verdict), through(&[&whole]));
        }
    }
}
