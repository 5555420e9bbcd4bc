//! Which characters of a Markdown text belong to code.

/// Knows whether the text has just entered, is in, or has just left Markdown code.
#[derive(Default)]
pub(super) struct CodeTracker {
    open: Option<Code>,
    /// The run of backticks or tildes being read: the character, how many, and whether it began a line.
    ticks: Option<(char, usize, bool)>,
    /// Something other than indentation, quote and list marks stands on this line.
    inside_line: bool,
    line_is_blank: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Code {
    Span(usize),
    Fence(char, usize),
}

impl CodeTracker {
    /// Takes the next character; true if it belongs to code, its marks included.
    pub(super) fn feed(&mut self, c: char) -> bool {
        match &mut self.ticks {
            Some((mark, count, _)) if *mark == c => {
                *count += 1;
                return true;
            }
            Some(_) => self.end_run(),
            None => {}
        }
        if c == '`' || (c == '~' && !self.inside_line) {
            self.ticks = Some((c, 1, !self.inside_line));
            self.inside_line = true;
            self.line_is_blank = false;
            return true;
        }
        if c == '\n' {
            // A code span cannot reach over a blank line.
            if self.line_is_blank && matches!(self.open, Some(Code::Span(_))) {
                self.open = None;
            }
            self.inside_line = false;
            self.line_is_blank = true;
        } else {
            self.line_is_blank &= c.is_whitespace();
            self.inside_line |= !(c.is_whitespace() || c.is_ascii_digit() || ">-*+.)".contains(c));
        }
        self.open.is_some()
    }

    fn end_run(&mut self) {
        let Some((mark, count, begins_line)) = self.ticks.take() else { return };
        self.open = match self.open {
            None if begins_line && count >= 3 => Some(Code::Fence(mark, count)),
            None if mark == '`' => Some(Code::Span(count)),
            Some(Code::Span(open)) if mark == '`' && open == count => None,
            Some(Code::Fence(fence, open)) if begins_line && fence == mark && count >= open => None,
            unchanged => unchanged,
        };
    }
}
