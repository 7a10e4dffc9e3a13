//! A proven JSON value: a view of the bytes it was found in. Nothing is copied and nothing is built, so a hostile
//! document costs no more memory than its own bytes, and dropping one never recurses.

use std::borrow::Cow;
use std::fmt;

use super::error::{Error, ErrorKind};
use super::object::Object;
use super::syntax::is_space;

/// The JSON type of a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number literal.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The name in error texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// One JSON value inside an input that [`super::syntax`] has checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    input: &'a [u8],
    start: usize,
    end: usize,
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies hold secrets as often as not.
        write!(f, "Value({} at {}..{})", self.kind().name(), self.start, self.end)
    }
}

impl<'a> Value<'a> {
    /// Only for ranges that the scanner found to be exactly one value.
    pub(super) fn proven(input: &'a [u8], start: usize, end: usize) -> Self {
        Self { input, start, end }
    }

    /// The JSON type.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.text().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The JSON text of this value, as it was written.
    #[must_use]
    pub fn text(self) -> &'a [u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Where it starts in the input.
    #[must_use]
    pub fn offset(self) -> usize {
        self.start
    }

    /// The value as the fields of a request named `name` (as it stands in Go's error texts); `null` has no fields.
    ///
    /// # Errors
    /// If it is neither an object nor `null`.
    pub fn object(self, name: &'static str) -> Result<Object<'a>, Error> {
        match self.kind() {
            Kind::Object | Kind::Null => Ok(Object::new(self, name)),
            kind => Err(Error::new(
                ErrorKind::WrongType,
                "",
                self.start,
                format!("json: cannot unmarshal {} into Go value of type {name}", kind.name()),
            )),
        }
    }

    /// The literal of a number, or `None`.
    #[must_use]
    pub fn number(self) -> Option<&'a str> {
        if self.kind() != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.text()).ok()
    }

    /// The content of a string, or `None`. Invalid UTF-8 and lone surrogates become U+FFFD.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        let [b'"', inner @ .., b'"'] = self.text() else { return None };
        Some(unescape(inner))
    }

    /// The elements of an array, in order; nothing for other types.
    pub fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let mut walk = Walk::inside(self, Kind::Array);
        std::iter::from_fn(move || walk.next_value())
    }

    /// Names and values of an object, in document order with duplicates; nothing for other types.
    pub fn entries(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        let mut walk = Walk::inside(self, Kind::Object);
        std::iter::from_fn(move || {
            let name = walk.next_value()?.string()?;
            Some((name, walk.next_value()?))
        })
    }
}

/// Steps through the tokens of one container of a proven value.
struct Walk<'a> {
    input: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Walk<'a> {
    fn inside(value: Value<'a>, kind: Kind) -> Self {
        if value.kind() == kind {
            // Without the brackets.
            Self { input: value.input, at: value.start + 1, end: value.end.saturating_sub(1) }
        } else {
            Self { input: value.input, at: value.end, end: value.end }
        }
    }

    /// The next value at this level; separators are skipped, which is safe as the syntax is proven.
    fn next_value(&mut self) -> Option<Value<'a>> {
        while self.at < self.end && self.input.get(self.at).is_some_and(|b| is_space(*b) || matches!(b, b',' | b':')) {
            self.at += 1;
        }
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        self.at = value_end(self.input, start).min(self.end);
        Some(Value::proven(self.input, start, self.at))
    }
}

/// The end of the proven value that starts here.
fn value_end(input: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = input.get(at) {
        match byte {
            b'"' => at = string_end(input, at),
            b'[' | b'{' => {
                depth += 1;
                at += 1;
                continue;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b',' | b':' => {
                at += 1;
                continue;
            }
            byte if is_space(*byte) => {
                at += 1;
                continue;
            }
            _ => at = literal_end(input, at),
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(input: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = input.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn literal_end(input: &[u8], start: usize) -> usize {
    let rest = input.get(start..).unwrap_or_default();
    start
        + rest
            .iter()
            .position(|byte| is_space(*byte) || matches!(byte, b',' | b':' | b']' | b'}'))
            .unwrap_or(rest.len())
}

/// Text of a string literal without its quotes.
fn unescape(inner: &[u8]) -> Cow<'_, str> {
    if !inner.contains(&b'\\')
        && let Ok(text) = std::str::from_utf8(inner)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'\\' {
            rest = unescape_one(after, &mut text);
            continue;
        }
        let run = rest.split(|byte| *byte == b'\\').next().unwrap_or(rest);
        push_lossy(run, &mut text);
        rest = rest.get(run.len()..).unwrap_or_default();
    }
    Cow::Owned(text)
}

/// One escape; `rest` starts after its backslash. Answers what follows it.
fn unescape_one<'a>(rest: &'a [u8], text: &mut String) -> &'a [u8] {
    let Some((code, after)) = rest.split_first() else { return rest };
    text.push(match code {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (unit, after) = utf16_unit(after);
            if let Some(c) = char::from_u32(unit) {
                text.push(c);
                return after;
            }
            // A surrogate: with its other half one character, alone U+FFFD, and the next escape stands for itself.
            if let Some(low) = after.strip_prefix(b"\\u") {
                let (low, after_low) = utf16_unit(low);
                let pair = [u16::try_from(unit).unwrap_or(0), u16::try_from(low).unwrap_or(0)];
                if let Some(Ok(c)) = char::decode_utf16(pair).next() {
                    text.push(c);
                    return after_low;
                }
            }
            text.push(char::REPLACEMENT_CHARACTER);
            return after;
        }
        other => char::from(*other),
    });
    after
}

fn utf16_unit(rest: &[u8]) -> (u32, &[u8]) {
    let (digits, after) = rest.split_at_checked(4).unwrap_or((rest, &[]));
    let unit = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    (unit.unwrap_or(0xfffd), after)
}

/// Go replaces each invalid byte by itself, where Rust's own lossy conversion replaces maximal parts.
fn push_lossy(mut bytes: &[u8], text: &mut String) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                return;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at_checked(error.valid_up_to()).unwrap_or((bytes, &[]));
                text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                text.push(char::REPLACEMENT_CHARACTER);
                bytes = rest.get(1..).unwrap_or_default();
            }
        }
    }
}
