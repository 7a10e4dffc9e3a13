//! The text of scalars: blocks (`|`, `>`), quotes, and plain text, with their rules for line ends.

use super::YamlError;
use super::cursor::Mark;
use super::scanner::Scanner;

/// Line ends that were passed and not yet put into the text: the first, and those after it.
#[derive(Default)]
struct Breaks {
    first: String,
    more: String,
}

impl Breaks {
    /// Folds: a single line feed becomes a space, of several the first is dropped.
    fn fold_into(&mut self, text: &mut String) {
        if !self.first.starts_with('\n') {
            text.push_str(&self.first);
        } else if self.more.is_empty() {
            text.push(' ');
        }
        text.push_str(&self.more);
        self.first.clear();
        self.more.clear();
    }
}

/// What becomes of the line ends behind a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}

impl Scanner {
    /// A block scalar, literal or folded.
    pub(super) fn block_scalar(&mut self, is_literal: bool) -> Result<String, YamlError> {
        let start = self.cursor.mark();
        self.cursor.skip();
        let (chomping, increment) = self.block_header(start)?;
        let mut indent = increment.map_or(0, |increment| self.indent.max(0) + increment);
        let mut text = String::new();
        let mut breaks = Breaks::default();
        self.block_breaks(&mut indent, &mut breaks.more, start)?;
        let mut was_indented = false;
        while self.cursor.column() == indent && !self.cursor.is_end() {
            // Lines that are indented further keep their line ends.
            let is_indented = self.cursor.is_blank();
            if !is_literal && !was_indented && !is_indented && breaks.first.starts_with('\n') {
                if breaks.more.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&breaks.first);
            }
            text.push_str(&breaks.more);
            breaks = Breaks::default();
            was_indented = is_indented;
            while !self.cursor.is_line_end() {
                self.cursor.read(&mut text);
            }
            self.cursor.read_break(&mut breaks.first);
            self.block_breaks(&mut indent, &mut breaks.more, start)?;
        }
        if chomping != Chomping::Strip {
            text.push_str(&breaks.first);
        }
        if chomping == Chomping::Keep {
            text.push_str(&breaks.more);
        }
        Ok(text)
    }

    /// `+`, `-` and the indentation, in any order, to the end of the line.
    fn block_header(&mut self, start: Mark) -> Result<(Chomping, Option<isize>), YamlError> {
        let mut increment = self.indentation_indicator(start)?;
        let chomping = match self.cursor.peek() {
            Some('+') => Chomping::Keep,
            Some('-') => Chomping::Strip,
            _ => Chomping::Clip,
        };
        if chomping != Chomping::Clip {
            self.cursor.skip();
            if increment.is_none() {
                increment = self.indentation_indicator(start)?;
            }
        }
        self.cursor.skip_blanks();
        if self.cursor.is('#') {
            self.cursor.skip_to_line_end();
        }
        if !self.cursor.is_line_end() {
            return Err(start.error("did not find expected comment or line break"));
        }
        self.cursor.skip_break();
        Ok((chomping, increment))
    }

    fn indentation_indicator(&mut self, start: Mark) -> Result<Option<isize>, YamlError> {
        let digit = self.cursor.peek().and_then(|c| c.to_digit(10));
        if digit == Some(0) {
            return Err(start.error("found an indentation indicator equal to 0"));
        }
        if digit.is_some() {
            self.cursor.skip();
        }
        Ok(digit.and_then(|digit| isize::try_from(digit).ok()))
    }

    /// Passes indentation and empty lines; finds the indentation of the block if it is 0, that is, not known yet.
    fn block_breaks(&mut self, indent: &mut isize, breaks: &mut String, start: Mark) -> Result<(), YamlError> {
        let mut deepest = 0;
        loop {
            while (*indent == 0 || self.cursor.column() < *indent) && self.cursor.is(' ') {
                self.cursor.skip();
            }
            deepest = deepest.max(self.cursor.column());
            if (*indent == 0 || self.cursor.column() < *indent) && self.cursor.is('\t') {
                return Err(start.error("found a tab character where an indentation space is expected"));
            }
            if !self.cursor.is_break() {
                break;
            }
            self.cursor.read_break(breaks);
        }
        if *indent == 0 {
            *indent = deepest.max(self.indent + 1).max(1);
        }
        Ok(())
    }

    /// A scalar in single or double quotes.
    pub(super) fn quoted_scalar(&mut self, is_single: bool) -> Result<String, YamlError> {
        let start = self.cursor.mark();
        let quote = if is_single { '\'' } else { '"' };
        self.cursor.skip();
        let mut text = String::new();
        loop {
            if self.cursor.is_document_mark('-') || self.cursor.is_document_mark('.') {
                return Err(start.error("found unexpected document indicator"));
            }
            if self.cursor.is_end() {
                return Err(start.error("found unexpected end of stream"));
            }
            let is_line_escaped = self.quoted_word(is_single, &mut text, start)?;
            if self.cursor.is(quote) {
                self.cursor.skip();
                return Ok(text);
            }
            self.quoted_gap(is_line_escaped, &mut text);
        }
    }

    /// Up to the next gap or the closing quote. `true` if it ends with an escaped line end.
    fn quoted_word(&mut self, is_single: bool, text: &mut String, start: Mark) -> Result<bool, YamlError> {
        while !self.cursor.is_gap_at(0) {
            match (self.cursor.peek(), is_single) {
                (Some('\''), true) if self.cursor.peek_at(1) == Some('\'') => {
                    text.push('\'');
                    self.cursor.skip_many(2);
                }
                (Some('\''), true) | (Some('"'), false) => break,
                (Some('\\'), false) => {
                    self.cursor.skip();
                    if self.cursor.is_break() {
                        self.cursor.skip_break();
                        return Ok(true);
                    }
                    let c = self.escape(start)?;
                    text.push(c);
                }
                _ => self.cursor.read(text),
            }
        }
        Ok(false)
    }

    /// White space within quotes: kept within a line, folded around line ends.
    fn quoted_gap(&mut self, is_line_escaped: bool, text: &mut String) {
        let mut has_break = is_line_escaped;
        let mut blanks = String::new();
        let mut breaks = Breaks::default();
        while self.cursor.is_blank() || self.cursor.is_break() {
            if self.cursor.is_break() {
                let target = if has_break { &mut breaks.more } else { &mut breaks.first };
                self.cursor.read_break(target);
                has_break = true;
            } else if has_break {
                self.cursor.skip();
            } else {
                self.cursor.read(&mut blanks);
            }
        }
        if has_break { breaks.fold_into(text) } else { text.push_str(&blanks) }
    }

    /// The character that an escape stands for; its backslash is passed.
    fn escape(&mut self, start: Mark) -> Result<char, YamlError> {
        let code = self.cursor.peek();
        self.cursor.skip();
        let digits = match code {
            Some('0') => return Ok('\0'),
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('t' | '\t') => return Ok('\t'),
            Some('n') => return Ok('\n'),
            Some('v') => return Ok('\u{b}'),
            Some('f') => return Ok('\u{c}'),
            Some('r') => return Ok('\r'),
            Some('e') => return Ok('\u{1b}'),
            Some(c @ (' ' | '"' | '\'' | '\\')) => return Ok(c),
            Some('N') => return Ok('\u{85}'),
            Some('_') => return Ok('\u{a0}'),
            Some('L') => return Ok('\u{2028}'),
            Some('P') => return Ok('\u{2029}'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(start.error("found unknown escape character")),
        };
        let mut value: u32 = 0;
        for _ in 0..digits {
            let digit = self.cursor.peek().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| start.error("did not find expected hexdecimal number"))?;
            value = value.wrapping_mul(16).wrapping_add(digit);
            self.cursor.skip();
        }
        char::from_u32(value).ok_or_else(|| start.error("found invalid Unicode character escape code"))
    }

    /// A scalar without quotes.
    pub(super) fn plain_scalar(&mut self) -> Result<String, YamlError> {
        let start = self.cursor.mark();
        let indent = self.indent + 1;
        let mut text = String::new();
        let mut blanks = String::new();
        let mut breaks = Breaks::default();
        let mut has_break = false;
        while !self.cursor.is_document_mark('-') && !self.cursor.is_document_mark('.') && !self.cursor.is('#') {
            while !self.cursor.is_gap_at(0) && !self.ends_plain() {
                if has_break {
                    breaks.fold_into(&mut text);
                    has_break = false;
                } else {
                    text.push_str(&blanks);
                }
                blanks.clear();
                self.cursor.read(&mut text);
            }
            if self.cursor.is_end() || !self.cursor.is_gap_at(0) {
                break;
            }
            while self.cursor.is_blank() || self.cursor.is_break() {
                if self.cursor.is_break() {
                    let target = if has_break { &mut breaks.more } else { &mut breaks.first };
                    self.cursor.read_break(target);
                    has_break = true;
                } else if has_break {
                    if self.cursor.column() < indent && self.cursor.is('\t') {
                        return Err(start.error("found a tab character that violates indentation"));
                    }
                    self.cursor.skip();
                } else {
                    self.cursor.read(&mut blanks);
                }
            }
            if self.flow_level == 0 && self.cursor.column() < indent {
                break;
            }
        }
        if has_break {
            self.is_key_allowed = true;
        }
        Ok(text)
    }

    /// Whether the character here ends a plain scalar.
    fn ends_plain(&self) -> bool {
        match self.cursor.peek() {
            Some(':') => self.cursor.is_gap_at(1),
            Some(',' | '?' | '[' | ']' | '{' | '}') => self.flow_level > 0,
            _ => false,
        }
    }
}
