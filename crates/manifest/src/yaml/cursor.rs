//! A place in the text: characters ahead, line and column. YAML 1.1 ends lines at NEL, LS and PS too.

use super::YamlError;

/// Reads characters one by one.
pub(super) struct Cursor {
    chars: Vec<char>,
    at: usize,
    line: usize,
    column: isize,
}

/// Where something starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// In characters from the start of the text.
    pub index: usize,
    /// From 1.
    pub line: usize,
    /// From 0.
    pub column: isize,
}

impl Mark {
    pub(super) fn error(self, text: impl Into<String>) -> YamlError {
        YamlError::Syntax { line: self.line, column: self.column.unsigned_abs() + 1, text: text.into() }
    }
}

impl Cursor {
    pub(super) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0, line: 1, column: 0 }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { index: self.at, line: self.line, column: self.column }
    }

    pub(super) fn column(&self) -> isize {
        self.column
    }

    /// The character here; `None` at the end.
    pub(super) fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, offset: usize) -> Option<char> {
        self.chars.get(self.at + offset).copied()
    }

    pub(super) fn is(&self, c: char) -> bool {
        self.peek() == Some(c)
    }

    pub(super) fn is_end(&self) -> bool {
        self.peek().is_none()
    }

    /// A space or a tab.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self.peek(), Some(' ' | '\t'))
    }

    pub(super) fn is_break(&self) -> bool {
        self.peek().is_some_and(is_break)
    }

    /// The end of a line or of the text.
    pub(super) fn is_line_end(&self) -> bool {
        self.peek().is_none_or(is_break)
    }

    /// A space, a tab, or the end of a line or of the text.
    pub(super) fn is_gap_at(&self, offset: usize) -> bool {
        self.peek_at(offset).is_none_or(|c| is_break(c) || matches!(c, ' ' | '\t'))
    }

    /// `---` or `...` that stands alone at the start of a line.
    pub(super) fn is_document_mark(&self, c: char) -> bool {
        self.column == 0 && (0..3).all(|offset| self.peek_at(offset) == Some(c)) && self.is_gap_at(3)
    }

    /// Passes one character of a line.
    pub(super) fn skip(&mut self) {
        self.at += 1;
        self.column += 1;
    }

    /// Passes some characters of a line.
    pub(super) fn skip_many(&mut self, count: usize) {
        (0..count).for_each(|_| self.skip());
    }

    /// Passes blanks.
    pub(super) fn skip_blanks(&mut self) {
        while self.is_blank() {
            self.skip();
        }
    }

    /// Passes everything up to the end of the line.
    pub(super) fn skip_to_line_end(&mut self) {
        while !self.is_line_end() {
            self.skip();
        }
    }

    /// Takes one character of a line.
    pub(super) fn read(&mut self, into: &mut String) {
        if let Some(c) = self.peek() {
            into.push(c);
            self.skip();
        }
    }

    /// Takes the end of a line, if it is here: as a line feed, but for LS and PS, which are kept.
    pub(super) fn read_break(&mut self, into: &mut String) {
        let Some(c) = self.peek().filter(|c| is_break(*c)) else { return };
        into.push(if matches!(c, '\u{2028}' | '\u{2029}') { c } else { '\n' });
        self.skip_break();
    }

    /// Counts the last line as ended.
    pub(super) fn end_line(&mut self) {
        if self.column != 0 {
            self.line += 1;
            self.column = 0;
        }
    }

    /// Passes the end of a line, if it is here.
    pub(super) fn skip_break(&mut self) {
        if self.is_break() {
            let is_pair = self.is('\r') && self.peek_at(1) == Some('\n');
            self.at += if is_pair { 2 } else { 1 };
            self.line += 1;
            self.column = 0;
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Characters of anchors and tag handles.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}
