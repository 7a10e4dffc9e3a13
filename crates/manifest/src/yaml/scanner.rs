//! From text to tokens, as YAML 1.1 has them and as the reader behind upstream's command line finds them.
//!
//! A plain scalar is known to be a key only once the `:` behind it is seen, so tokens wait in a queue while something
//! in it may still turn out to be a key. Nothing is read further than that: what stands behind the first document is
//! never looked at.

use std::collections::VecDeque;

use super::YamlError;
use super::cursor::{Cursor, Mark};

/// A token and where it starts.
#[derive(Debug)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// `%YAML`: whether it is version 1.1.
    Version(bool),
    /// `%TAG`: handle and prefix.
    TagPrefix(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequence,
    BlockMapping,
    BlockEnd,
    FlowSequence,
    FlowSequenceEnd,
    FlowMapping,
    FlowMappingEnd,
    FlowEntry,
    BlockEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Handle and suffix.
    Tag(String, String),
    Scalar {
        text: String,
        is_plain: bool,
    },
    End,
}

/// Where a key may have started, on one level of flow collections.
#[derive(Clone, Copy)]
struct SimpleKey {
    is_possible: bool,
    /// Nothing but a key can stand here.
    is_required: bool,
    /// Number of its first token.
    token: usize,
    mark: Mark,
}

/// A key must end within this many characters, and on its line.
const MAX_KEY: usize = 1024;

pub(super) struct Scanner {
    pub(super) cursor: Cursor,
    queue: VecDeque<Token>,
    /// How many tokens were taken from the queue.
    taken: usize,
    /// Column of the block collection we are in; -1 outside of any.
    pub(super) indent: isize,
    indents: Vec<isize>,
    pub(super) flow_level: usize,
    pub(super) is_key_allowed: bool,
    keys: Vec<SimpleKey>,
}

impl Scanner {
    pub(super) fn new(text: &str) -> Self {
        let cursor = Cursor::new(text);
        let key = SimpleKey { is_possible: false, is_required: false, token: 0, mark: cursor.mark() };
        Self {
            cursor,
            queue: VecDeque::new(),
            taken: 0,
            indent: -1,
            indents: Vec::new(),
            flow_level: 0,
            is_key_allowed: true,
            keys: vec![key],
        }
    }

    /// The next token, which stays there.
    pub(super) fn peek(&mut self) -> Result<&Token, YamlError> {
        while self.must_read_on()? {
            self.fetch()?;
        }
        // The loop ends only with a token in the queue.
        self.queue.front().ok_or_else(|| self.cursor.mark().error("no token"))
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Result<Token, YamlError> {
        self.peek()?;
        self.taken += 1;
        let mark = self.cursor.mark();
        Ok(self.queue.pop_front().unwrap_or(Token { kind: TokenKind::End, mark }))
    }

    /// Whether the first token of the queue is not known yet, or may still turn out to be a key.
    fn must_read_on(&mut self) -> Result<bool, YamlError> {
        if self.queue.is_empty() {
            return Ok(true);
        }
        let first = self.taken;
        match self.keys.iter().rposition(|key| key.is_possible && key.token == first) {
            Some(level) => self.is_key_valid(level),
            None => Ok(false),
        }
    }

    fn push(&mut self, kind: TokenKind, mark: Mark) {
        self.queue.push_back(Token { kind, mark });
    }

    /// Reads one more token, and those that its indentation implies.
    fn fetch(&mut self) -> Result<(), YamlError> {
        self.skip_gap();
        self.close_blocks(self.cursor.column());
        let mark = self.cursor.mark();
        let Some(c) = self.cursor.peek() else { return self.fetch_end() };
        let in_flow = self.flow_level > 0;
        let is_followed_by_gap = self.cursor.is_gap_at(1);
        match c {
            '%' if mark.column == 0 => {
                self.leave_document()?;
                let kind = self.directive()?;
                self.push(kind, mark);
                Ok(())
            }
            '-' if self.cursor.is_document_mark('-') => self.fetch_document_mark(TokenKind::DocumentStart),
            '.' if self.cursor.is_document_mark('.') => self.fetch_document_mark(TokenKind::DocumentEnd),
            '[' => self.fetch_flow_start(TokenKind::FlowSequence),
            '{' => self.fetch_flow_start(TokenKind::FlowMapping),
            ']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            '}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            ',' => {
                self.drop_key()?;
                self.is_key_allowed = true;
                self.fetch_indicator(TokenKind::FlowEntry)
            }
            '-' if is_followed_by_gap => self.fetch_block_entry(),
            '?' if in_flow || is_followed_by_gap => self.fetch_key(),
            ':' if in_flow || is_followed_by_gap => self.fetch_value(),
            '*' => self.fetch_possible_key(|scanner| scanner.anchor().map(TokenKind::Alias)),
            '&' => self.fetch_possible_key(|scanner| scanner.anchor().map(TokenKind::Anchor)),
            '!' => self.fetch_possible_key(Self::tag),
            '|' | '>' if !in_flow => {
                self.drop_key()?;
                self.is_key_allowed = true;
                let text = self.block_scalar(c == '|')?;
                self.push(TokenKind::Scalar { text, is_plain: false }, mark);
                Ok(())
            }
            '\'' | '"' => self.fetch_possible_key(|scanner| {
                let text = scanner.quoted_scalar(c == '\'')?;
                Ok(TokenKind::Scalar { text, is_plain: false })
            }),
            _ if self.can_start_plain(c) => self.fetch_possible_key(|scanner| {
                let text = scanner.plain_scalar()?;
                Ok(TokenKind::Scalar { text, is_plain: true })
            }),
            _ => Err(mark.error("found character that cannot start any token")),
        }
    }

    fn can_start_plain(&self, c: char) -> bool {
        match c {
            '-' => !matches!(self.cursor.peek_at(1), Some(' ' | '\t')),
            '?' | ':' => self.flow_level == 0 && !self.cursor.is_gap_at(1),
            ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => false,
            _ => !self.cursor.is_gap_at(0),
        }
    }

    /// Passes white space, line ends and comments.
    fn skip_gap(&mut self) {
        loop {
            if self.cursor.column() == 0 && self.cursor.is('\u{feff}') {
                self.cursor.skip();
            }
            // Tabs are for where they cannot be taken for indentation.
            while self.cursor.is(' ') || (self.flow_level > 0 || !self.is_key_allowed) && self.cursor.is('\t') {
                self.cursor.skip();
            }
            if self.cursor.is('#') {
                self.cursor.skip_to_line_end();
            }
            if !self.cursor.is_break() {
                return;
            }
            self.cursor.skip_break();
            if self.flow_level == 0 {
                self.is_key_allowed = true;
            }
        }
    }

    fn fetch_end(&mut self) -> Result<(), YamlError> {
        // The end ends the line, and with it whatever might have been a key.
        self.cursor.end_line();
        self.leave_document()?;
        self.push(TokenKind::End, self.cursor.mark());
        Ok(())
    }

    fn fetch_document_mark(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.leave_document()?;
        self.push(kind, self.cursor.mark());
        self.cursor.skip_many(3);
        Ok(())
    }

    fn leave_document(&mut self) -> Result<(), YamlError> {
        self.close_blocks(-1);
        self.drop_key()?;
        self.is_key_allowed = false;
        Ok(())
    }

    fn fetch_indicator(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.push(kind, self.cursor.mark());
        self.cursor.skip();
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.save_key()?;
        self.keys.push(SimpleKey { is_possible: false, is_required: false, token: 0, mark: self.cursor.mark() });
        self.flow_level += 1;
        self.is_key_allowed = true;
        self.fetch_indicator(kind)
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.drop_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            self.keys.pop();
        }
        self.is_key_allowed = false;
        self.fetch_indicator(kind)
    }

    fn fetch_block_entry(&mut self) -> Result<(), YamlError> {
        if self.flow_level == 0 {
            let mark = self.cursor.mark();
            if !self.is_key_allowed {
                return Err(mark.error("block sequence entries are not allowed in this context"));
            }
            self.open_block(mark, None, TokenKind::BlockSequence);
        }
        self.drop_key()?;
        self.is_key_allowed = true;
        self.fetch_indicator(TokenKind::BlockEntry)
    }

    fn fetch_key(&mut self) -> Result<(), YamlError> {
        if self.flow_level == 0 {
            let mark = self.cursor.mark();
            if !self.is_key_allowed {
                return Err(mark.error("mapping keys are not allowed in this context"));
            }
            self.open_block(mark, None, TokenKind::BlockMapping);
        }
        self.drop_key()?;
        self.is_key_allowed = self.flow_level == 0;
        self.fetch_indicator(TokenKind::Key)
    }

    fn fetch_value(&mut self) -> Result<(), YamlError> {
        let level = self.keys.len() - 1;
        let key = self.keys.get(level).copied();
        if let Some(key) = key
            && self.is_key_valid(level)?
        {
            // What stands before was a key after all.
            self.insert(key.token, Token { kind: TokenKind::Key, mark: key.mark });
            self.open_block(key.mark, Some(key.token), TokenKind::BlockMapping);
            self.forget_key();
            self.is_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                let mark = self.cursor.mark();
                if !self.is_key_allowed {
                    return Err(mark.error("mapping values are not allowed in this context"));
                }
                self.open_block(mark, None, TokenKind::BlockMapping);
            }
            self.is_key_allowed = self.flow_level == 0;
        }
        self.fetch_indicator(TokenKind::Value)
    }

    /// A token that may be the start of a key; none may follow it directly.
    fn fetch_possible_key(
        &mut self,
        scan: impl FnOnce(&mut Self) -> Result<TokenKind, YamlError>,
    ) -> Result<(), YamlError> {
        self.save_key()?;
        self.is_key_allowed = false;
        let mark = self.cursor.mark();
        let kind = scan(self)?;
        self.push(kind, mark);
        Ok(())
    }

    fn insert(&mut self, number: usize, token: Token) {
        let index = number.saturating_sub(self.taken).min(self.queue.len());
        self.queue.insert(index, token);
    }

    /// Starts a block collection, if this column is further in than the one we are in; before the token of that
    /// number, else at the end of the queue.
    fn open_block(&mut self, mark: Mark, before: Option<usize>, kind: TokenKind) {
        if self.flow_level == 0 && self.indent < mark.column {
            self.indents.push(self.indent);
            self.indent = mark.column;
            let token = Token { kind, mark };
            match before {
                Some(number) => self.insert(number, token),
                None => self.queue.push_back(token),
            }
        }
    }

    /// Ends the block collections that are further in than a column.
    fn close_blocks(&mut self, column: isize) {
        while self.flow_level == 0 && self.indent > column {
            self.push(TokenKind::BlockEnd, self.cursor.mark());
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    /// Notes that a key may start here.
    fn save_key(&mut self) -> Result<(), YamlError> {
        if !self.is_key_allowed {
            return Ok(());
        }
        self.drop_key()?;
        let mark = self.cursor.mark();
        let key = SimpleKey {
            is_possible: true,
            is_required: self.flow_level == 0 && self.indent == mark.column,
            token: self.taken + self.queue.len(),
            mark,
        };
        if let Some(last) = self.keys.last_mut() {
            *last = key;
        }
        Ok(())
    }

    /// Gives up the key that may have started on this level.
    fn drop_key(&mut self) -> Result<(), YamlError> {
        match self.keys.last() {
            Some(key) if key.is_possible && key.is_required => Err(key.mark.error("could not find expected ':'")),
            _ => {
                self.forget_key();
                Ok(())
            }
        }
    }

    fn forget_key(&mut self) {
        if let Some(key) = self.keys.last_mut() {
            key.is_possible = false;
        }
    }

    /// Whether what started there can still be a key.
    fn is_key_valid(&mut self, level: usize) -> Result<bool, YamlError> {
        let here = self.cursor.mark();
        let Some(key) = self.keys.get_mut(level).filter(|key| key.is_possible) else { return Ok(false) };
        if key.mark.line < here.line || key.mark.index + MAX_KEY < here.index {
            if key.is_required {
                return Err(key.mark.error("could not find expected ':'"));
            }
            key.is_possible = false;
        }
        Ok(key.is_possible)
    }
}
