//! Drops the `<think>…</think>` with which some local reasoning models begin their answers.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A filter over the pieces of one answer.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    state: State,
    /// Text not yet known to belong to the thought or to the answer.
    held: String,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    Thinking,
    Answering,
}

impl Thoughts {
    /// Takes the next piece; gives what of it belongs to the answer.
    pub(super) fn push(&mut self, piece: &str) -> String {
        if matches!(self.state, State::Answering) {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        if matches!(self.state, State::Start) {
            let begun = self.held.trim_start();
            if begun.len() < OPEN.len() && OPEN.starts_with(begun) {
                return String::new();
            }
            if !begun.starts_with(OPEN) {
                self.state = State::Answering;
                return std::mem::take(&mut self.held);
            }
            self.state = State::Thinking;
        }
        let Some(end) = self.held.find(CLOSE) else {
            return String::new();
        };
        let rest = self.held[end + CLOSE.len()..].trim_start().to_owned();
        self.held.clear();
        if rest.is_empty() {
            // White space may still follow: what comes next is looked at as a start again.
            self.state = State::Start;
        } else {
            self.state = State::Answering;
        }
        rest
    }

    /// The end of the answer: what was held back and is no thought.
    pub(super) fn finish(&mut self) -> String {
        match self.state {
            State::Thinking => String::new(),
            State::Start | State::Answering => std::mem::take(&mut self.held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(pieces: &[&str]) -> String {
        let mut thoughts = Thoughts::default();
        let said: String = pieces.iter().map(|piece| thoughts.push(piece)).collect();
        said + &thoughts.finish()
    }

    #[test]
    fn a_leading_thought_is_dropped_however_it_is_cut() {
        assert_eq!(through(&["<think>hm</think>\n\nYes"]), "Yes");
        assert_eq!(through(&["\n<th", "ink>a", " b</thi", "nk>", "Yes"]), "Yes");
        assert_eq!(through(&["<think>never ends"]), "");
    }

    #[test]
    fn other_text_passes_unchanged() {
        assert_eq!(through(&["<", "thing> and <think>"]), "<thing> and <think>");
        assert_eq!(through(&["<th"]), "<th");
        assert_eq!(through(&["Use ", "`<think>x</think>`"]), "Use `<think>x</think>`");
    }
}
