//! Anchors, aliases, tags and directives.

use super::YamlError;
use super::cursor::{Mark, is_word};
use super::scanner::{Scanner, TokenKind};

impl Scanner {
    /// The name after `&` or `*`.
    pub(super) fn anchor(&mut self) -> Result<String, YamlError> {
        let start = self.cursor.mark();
        self.cursor.skip();
        let name = self.word();
        let is_ended = self.cursor.is_gap_at(0)
            || matches!(self.cursor.peek(), Some('?' | ':' | ',' | ']' | '}' | '%' | '@' | '`'));
        if name.is_empty() || !is_ended {
            return Err(start.error("did not find expected alphabetic or numeric character"));
        }
        Ok(name)
    }

    /// `!handle!suffix`, `!suffix`, `!` or `!<uri>`.
    pub(super) fn tag(&mut self) -> Result<TokenKind, YamlError> {
        let start = self.cursor.mark();
        let (handle, suffix) = if self.cursor.peek_at(1) == Some('<') {
            self.cursor.skip_many(2);
            let uri = self.tag_uri(String::new(), false, start)?;
            if !self.cursor.is('>') {
                return Err(start.error("did not find the expected '>'"));
            }
            self.cursor.skip();
            (String::new(), uri)
        } else {
            let handle = self.tag_handle(false, start)?;
            if handle.len() > 1 && handle.ends_with('!') {
                (handle, self.tag_uri(String::new(), false, start)?)
            } else {
                // No handle after all, but the first part of a local tag.
                let suffix = self.tag_uri(handle.chars().skip(1).collect(), true, start)?;
                if suffix.is_empty() { (suffix, handle) } else { ("!".to_owned(), suffix) }
            }
        };
        if !self.cursor.is_gap_at(0) {
            return Err(start.error("did not find expected whitespace or line break"));
        }
        Ok(TokenKind::Tag(handle, suffix))
    }

    fn tag_handle(&mut self, is_directive: bool, start: Mark) -> Result<String, YamlError> {
        if !self.cursor.is('!') {
            return Err(start.error("did not find expected '!'"));
        }
        self.cursor.skip();
        let mut handle = format!("!{}", self.word());
        if self.cursor.is('!') {
            self.cursor.read(&mut handle);
        } else if is_directive && handle != "!" {
            return Err(start.error("did not find expected '!'"));
        }
        Ok(handle)
    }

    /// The characters of a URI; `head` was read before.
    fn tag_uri(&mut self, head: String, has_head: bool, start: Mark) -> Result<String, YamlError> {
        let mut uri = head.into_bytes();
        let mut is_given = has_head;
        while let Some(c) = self.cursor.peek().filter(|c| is_word(*c) || ";/?:@&=+$,.!~*'()[]%".contains(*c)) {
            if c == '%' {
                let digits: String = [1, 2].iter().filter_map(|offset| self.cursor.peek_at(*offset)).collect();
                let octet = hex::decode(&digits).ok().and_then(|octets| octets.first().copied());
                let octet = octet.ok_or_else(|| start.error("did not find URI escaped octet"))?;
                uri.push(octet);
                self.cursor.skip_many(3);
            } else {
                uri.extend(c.encode_utf8(&mut [0; 4]).bytes());
                self.cursor.skip();
            }
            is_given = true;
        }
        if !is_given {
            return Err(start.error("did not find expected tag URI"));
        }
        String::from_utf8(uri).map_err(|_| start.error("found an incorrect UTF-8 octet"))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while self.cursor.peek().is_some_and(is_word) {
            self.cursor.read(&mut word);
        }
        word
    }

    /// `%YAML` or `%TAG`.
    pub(super) fn directive(&mut self) -> Result<TokenKind, YamlError> {
        let start = self.cursor.mark();
        self.cursor.skip();
        let name = self.word();
        if name.is_empty() {
            return Err(start.error("could not find expected directive name"));
        }
        if !self.cursor.is_gap_at(0) {
            return Err(start.error("found unexpected non-alphabetical character"));
        }
        self.cursor.skip_blanks();
        let kind = match name.as_str() {
            "YAML" => self.version(start)?,
            "TAG" => {
                let handle = self.tag_handle(true, start)?;
                if !self.cursor.is_blank() {
                    return Err(start.error("did not find expected whitespace"));
                }
                self.cursor.skip_blanks();
                let prefix = self.tag_uri(String::new(), false, start)?;
                if !self.cursor.is_gap_at(0) {
                    return Err(start.error("did not find expected whitespace or line break"));
                }
                TokenKind::TagPrefix(handle, prefix)
            }
            _ => return Err(start.error("found unknown directive name")),
        };
        self.cursor.skip_blanks();
        if self.cursor.is('#') {
            self.cursor.skip_to_line_end();
        }
        if !self.cursor.is_line_end() {
            return Err(start.error("did not find expected comment or line break"));
        }
        self.cursor.skip_break();
        Ok(kind)
    }

    fn version(&mut self, start: Mark) -> Result<TokenKind, YamlError> {
        let major = self.version_number(start)?;
        if !self.cursor.is('.') {
            return Err(start.error("did not find expected digit or '.' character"));
        }
        self.cursor.skip();
        let minor = self.version_number(start)?;
        Ok(TokenKind::Version((major, minor) == (1, 1)))
    }

    fn version_number(&mut self, start: Mark) -> Result<u32, YamlError> {
        let mut digits = String::new();
        while self.cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.cursor.read(&mut digits);
        }
        match digits.len() {
            1 | 2 => digits.parse().map_err(|_| start.error("did not find expected version number")),
            _ => Err(start.error("did not find expected version number")),
        }
    }
}
