//! Cuts a template into tokens.
//!
//! A port of behaviour, not of form: which bytes make a token, on which line it starts and how a
//! fault is worded are those of Go's `text/template`, because users see positions and messages.
//! The input is bytes; outside of actions they need not be UTF-8.

use std::borrow::Cow;

use super::quote;
use super::rune::{decode, is_alphanumeric, is_print, is_space};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// The text is a message.
    Error,
    Bool,
    /// A printable ASCII character without other meaning.
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Keyword(Keyword),
}

/// Words with a meaning of their own. The dot is one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    EndBlock,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A token with its place.
#[derive(Debug, Clone)]
pub(super) struct Item<'s> {
    pub(super) token: Token,
    /// Byte offset in the template.
    pub(super) pos: usize,
    /// As written; for [`Token::Error`] the message.
    pub(super) text: Cow<'s, [u8]>,
    /// Counted from 1.
    pub(super) line: usize,
}

impl Item<'_> {
    /// The token as error messages show it.
    pub(super) fn describe(&self) -> String {
        match self.token {
            Token::End => "EOF".to_owned(),
            Token::Error => String::from_utf8_lossy(&self.text).into_owned(),
            Token::Keyword(_) => format!("<{}>", String::from_utf8_lossy(&self.text)),
            _ if self.text.len() > 10 => {
                let head: usize = super::rune::chars(&self.text).take(10).map(|(_, encoded)| encoded.len()).sum();
                format!("{}...", quote::to_string(self.text.get(..head).unwrap_or_default()))
            }
            _ => quote::to_string(&self.text),
        }
    }
}

const LEFT: &[u8] = b"{{";
const RIGHT: &[u8] = b"}}";
/// Tokens of one template. Its tree takes many times the room of its text.
const MAX_TOKENS: usize = 500_000;
/// A blank and a minus sign, in either order.
const TRIM_MARKER: usize = 2;

/// The scanner.
pub(super) struct Lexer<'s> {
    input: &'s [u8],
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    paren_depth: usize,
    inside_action: bool,
    /// Tokens still allowed.
    left: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(input: &'s [u8]) -> Self {
        Self { input, pos: 0, start: 0, line: 1, start_line: 1, paren_depth: 0, inside_action: false, left: MAX_TOKENS }
    }

    /// The next token. After an error or the end there is nothing but [`Token::End`].
    pub(super) fn next_item(&mut self) -> Item<'s> {
        if self.left == 0 && !self.input.is_empty() {
            return self.error("template has too many parts".to_owned());
        }
        self.left = self.left.saturating_sub(1);
        if self.inside_action { self.inside() } else { self.text() }
    }

    fn rest(&self) -> &'s [u8] {
        self.input.get(self.pos..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        decode(self.rest()).map(|(c, _)| c)
    }

    fn next(&mut self) -> Option<char> {
        let (c, width) = decode(self.rest())?;
        self.pos += width;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let yes = self.peek().is_some_and(wanted);
        if yes {
            self.next();
        }
        yes
    }

    fn accept_run(&mut self, wanted: impl Fn(char) -> bool) {
        while self.accept(&wanted) {}
    }

    fn emit(&mut self, token: Token) -> Item<'s> {
        let text = Cow::Borrowed(self.input.get(self.start..self.pos).unwrap_or_default());
        let item = Item { token, pos: self.start, text, line: self.start_line };
        self.start = self.pos;
        self.start_line = self.line;
        item
    }

    /// Skips what was passed over without [`Self::next`].
    fn ignore(&mut self) {
        self.line += newlines(self.input.get(self.start..self.pos).unwrap_or_default());
        self.start = self.pos;
        self.start_line = self.line;
    }

    fn error(&mut self, message: String) -> Item<'s> {
        let item = Item {
            token: Token::Error,
            pos: self.start,
            text: Cow::Owned(message.into_bytes()),
            line: self.start_line,
        };
        self.input = b"";
        self.pos = 0;
        self.start = 0;
        item
    }

    fn text(&mut self) -> Item<'s> {
        loop {
            let Some(length) = find(self.rest(), LEFT) else {
                self.pos = self.input.len();
                if self.pos > self.start {
                    self.line += newlines(self.input.get(self.start..).unwrap_or_default());
                    return self.emit(Token::Text);
                }
                return self.emit(Token::End);
            };
            if length > 0 {
                self.pos += length;
                let after = self.input.get(self.pos + LEFT.len()..).unwrap_or_default();
                let trim = if starts_left_trim(after) {
                    trailing_space(self.input.get(self.start..self.pos).unwrap_or_default())
                } else {
                    0
                };
                self.pos -= trim;
                self.line += newlines(self.input.get(self.start..self.pos).unwrap_or_default());
                let item = self.emit(Token::Text);
                self.pos += trim;
                self.ignore();
                if !item.text.is_empty() {
                    return item;
                }
            }
            self.pos += LEFT.len();
            let after = self.rest();
            let marker = if starts_left_trim(after) { TRIM_MARKER } else { 0 };
            if after.get(marker..).unwrap_or_default().starts_with(b"/*") {
                self.pos += marker;
                self.ignore();
                if let Some(error) = self.comment() {
                    return error;
                }
                continue;
            }
            let item = self.emit(Token::LeftDelim);
            self.inside_action = true;
            self.pos += marker;
            self.ignore();
            self.paren_depth = 0;
            return item;
        }
    }

    /// Skips a comment with its right delimiter.
    fn comment(&mut self) -> Option<Item<'s>> {
        self.pos += 2;
        let Some(length) = find(self.rest(), b"*/") else {
            return Some(self.error("unclosed comment".to_owned()));
        };
        self.pos += length + 2;
        let (delim, trim) = self.at_right_delim();
        if !delim {
            return Some(self.error("comment ends before closing delimiter".to_owned()));
        }
        self.line += newlines(self.input.get(self.start..self.pos).unwrap_or_default());
        self.start = self.pos;
        if trim {
            self.pos += TRIM_MARKER;
        }
        self.pos += RIGHT.len();
        if trim {
            self.pos += leading_space(self.rest());
        }
        self.ignore();
        None
    }

    /// Whether a right delimiter is next, and whether it trims.
    fn at_right_delim(&self) -> (bool, bool) {
        let rest = self.rest();
        if starts_right_trim(rest) && rest.get(TRIM_MARKER..).unwrap_or_default().starts_with(RIGHT) {
            return (true, true);
        }
        (rest.starts_with(RIGHT), false)
    }

    fn right_delim(&mut self) -> Item<'s> {
        let (_, trim) = self.at_right_delim();
        if trim {
            self.pos += TRIM_MARKER;
            self.ignore();
        }
        self.pos += RIGHT.len();
        let item = self.emit(Token::RightDelim);
        if trim {
            self.pos += leading_space(self.rest());
            self.ignore();
        }
        self.inside_action = false;
        item
    }

    fn inside(&mut self) -> Item<'s> {
        if self.at_right_delim().0 {
            if self.paren_depth == 0 {
                return self.right_delim();
            }
            return self.error("unclosed left paren".to_owned());
        }
        let Some(c) = self.peek() else {
            return self.error("unclosed action".to_owned());
        };
        if is_space(c) {
            return self.space();
        }
        // A number may start with its sign or its point; a point before anything else starts a field.
        let after = decode(self.rest()).and_then(|(_, width)| self.rest().get(width).copied());
        if matches!(c, '+' | '-' | '0'..='9') || (c == '.' && after.is_none_or(|b| b.is_ascii_digit())) {
            return self.number();
        }
        if is_alphanumeric(c) {
            return self.identifier();
        }
        self.next();
        match c {
            '=' => self.emit(Token::Assign),
            ':' if self.accept(|c| c == '=') => self.emit(Token::Declare),
            ':' => self.error("expected :=".to_owned()),
            '|' => self.emit(Token::Pipe),
            '"' => self.quoted('"', Token::String, "unterminated quoted string"),
            '\'' => self.quoted('\'', Token::CharConstant, "unterminated character constant"),
            '`' => self.raw_quoted(),
            '$' => self.field_or_variable(Token::Variable),
            '.' => self.field_or_variable(Token::Field),
            '(' => {
                self.paren_depth += 1;
                self.emit(Token::LeftParen)
            }
            ')' if self.paren_depth > 0 => {
                self.paren_depth -= 1;
                self.emit(Token::RightParen)
            }
            ')' => self.error("unexpected right paren".to_owned()),
            _ if c.is_ascii() && is_print(c) => self.emit(Token::Char),
            _ => self.error(format!("unrecognized character in action: {}", quote::code_point(c))),
        }
    }

    /// A run of blanks, short of the one that belongs to a trimming right delimiter.
    fn space(&mut self) -> Item<'s> {
        let mut last = self.pos;
        let mut count = 0;
        while self.peek().is_some_and(is_space) {
            last = self.pos;
            self.next();
            count += 1;
        }
        let tail = self.input.get(last..).unwrap_or_default();
        if starts_right_trim(tail) && tail.get(TRIM_MARKER..).unwrap_or_default().starts_with(RIGHT) {
            if tail.first() == Some(&b'\n') {
                self.line -= 1;
            }
            self.pos = last;
            if count == 1 {
                return self.right_delim();
            }
        }
        self.emit(Token::Space)
    }

    fn identifier(&mut self) -> Item<'s> {
        self.accept_run(is_alphanumeric);
        if let Some(error) = self.bad_terminator() {
            return error;
        }
        let word = self.input.get(self.start..self.pos).unwrap_or_default();
        let token = match word {
            b"block" => Token::Keyword(Keyword::Block),
            b"break" => Token::Keyword(Keyword::Break),
            b"continue" => Token::Keyword(Keyword::Continue),
            b"define" => Token::Keyword(Keyword::Define),
            b"else" => Token::Keyword(Keyword::Else),
            b"end" => Token::Keyword(Keyword::EndBlock),
            b"if" => Token::Keyword(Keyword::If),
            b"nil" => Token::Keyword(Keyword::Nil),
            b"range" => Token::Keyword(Keyword::Range),
            b"template" => Token::Keyword(Keyword::Template),
            b"with" => Token::Keyword(Keyword::With),
            b"true" | b"false" => Token::Bool,
            _ => Token::Identifier,
        };
        self.emit(token)
    }

    fn field_or_variable(&mut self, token: Token) -> Item<'s> {
        if self.at_terminator() {
            return self.emit(if token == Token::Variable { token } else { Token::Keyword(Keyword::Dot) });
        }
        self.accept_run(is_alphanumeric);
        match self.bad_terminator() {
            Some(error) => error,
            None => self.emit(token),
        }
    }

    /// Whether a name may end here.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with(RIGHT),
        }
    }

    fn bad_terminator(&mut self) -> Option<Item<'s>> {
        if self.at_terminator() {
            return None;
        }
        let c = self.peek()?;
        Some(self.error(format!("bad character {}", quote::code_point(c))))
    }

    fn quoted(&mut self, close: char, token: Token, unterminated: &str) -> Item<'s> {
        loop {
            match self.next() {
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return self.error(unterminated.to_owned());
                    }
                }
                None | Some('\n') => return self.error(unterminated.to_owned()),
                Some(c) if c == close => return self.emit(token),
                Some(_) => {}
            }
        }
    }

    fn raw_quoted(&mut self) -> Item<'s> {
        loop {
            match self.next() {
                None => return self.error("unterminated raw quoted string".to_owned()),
                Some('`') => return self.emit(Token::RawString),
                Some(_) => {}
            }
        }
    }

    fn number(&mut self) -> Item<'s> {
        if !self.scan_number() {
            return self.bad_number();
        }
        if !matches!(self.peek(), Some('+' | '-')) {
            return self.emit(Token::Number);
        }
        let imaginary = self.scan_number() && self.input.get(self.pos.wrapping_sub(1)) == Some(&b'i');
        if imaginary { self.emit(Token::Complex) } else { self.bad_number() }
    }

    fn bad_number(&mut self) -> Item<'s> {
        let text = self.input.get(self.start..self.pos).unwrap_or_default();
        self.error(format!("bad number syntax: {}", quote::to_string(text)))
    }

    /// Passes over what looks like a number. Whether it is one is found when it is converted.
    fn scan_number(&mut self) -> bool {
        self.accept(|c| matches!(c, '+' | '-'));
        let mut radix = 10;
        if self.accept(|c| c == '0') {
            radix = if self.accept(|c| matches!(c, 'x' | 'X')) {
                16
            } else if self.accept(|c| matches!(c, 'o' | 'O')) {
                8
            } else if self.accept(|c| matches!(c, 'b' | 'B')) {
                2
            } else {
                10
            };
        }
        let digit = move |c: char| c == '_' || c.is_digit(radix);
        self.accept_run(digit);
        if self.accept(|c| c == '.') {
            self.accept_run(digit);
        }
        let exponent = match radix {
            10 => self.accept(|c| matches!(c, 'e' | 'E')),
            16 => self.accept(|c| matches!(c, 'p' | 'P')),
            _ => false,
        };
        if exponent {
            self.accept(|c| matches!(c, '+' | '-'));
            self.accept_run(|c| c == '_' || c.is_ascii_digit());
        }
        self.accept(|c| c == 'i');
        if self.accept(is_alphanumeric) {
            return false;
        }
        true
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn is_space_byte(byte: u8) -> bool {
    is_space(char::from(byte))
}

fn starts_left_trim(bytes: &[u8]) -> bool {
    matches!(bytes, [b'-', space, ..] if is_space_byte(*space))
}

fn starts_right_trim(bytes: &[u8]) -> bool {
    matches!(bytes, [space, b'-', ..] if is_space_byte(*space))
}

fn trailing_space(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|&&b| is_space_byte(b)).count()
}

fn leading_space(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| is_space_byte(b)).count()
}
