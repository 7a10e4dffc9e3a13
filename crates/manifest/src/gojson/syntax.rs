//! Is it JSON? One pass over the bytes, no recursion, memory of one bit of state a nesting level; the error texts
//! are Go's, because upstream passes them to its clients.

use super::error::{Error, ErrorKind};
use super::value::Value;

/// Deepest nesting of arrays and objects, as in Go.
pub const MAX_DEPTH: usize = 10_000;

/// How much of the input must be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One value and nothing but white space around it.
    Whole,
    /// One value; what follows is not looked at.
    First,
}

/// Finds the JSON value in the input.
///
/// # Errors
/// The first mistake.
pub fn scan(input: &[u8], mode: Mode) -> Result<Value<'_>, Error> {
    let mut scanner = Scanner { input, mode, at: 0, open: Vec::new() };
    scanner.skip_space();
    let start = scanner.at;
    let outcome = scanner.value().and_then(|()| {
        let end = scanner.at;
        if mode == Mode::Whole {
            scanner.skip_space();
            if let Some(byte) = scanner.peek() {
                return Err(scanner.unexpected(byte, "after top-level value"));
            }
        }
        Ok(end)
    });
    match outcome {
        Ok(end) => Ok(Value::proven(input, start, end)),
        Err(Fault::At(offset, kind, text)) => Err(Error::new(kind, "", offset, text)),
        Err(Fault::End) => {
            let (kind, text) = match mode {
                Mode::First if start == input.len() => (ErrorKind::Empty, "EOF"),
                Mode::First => (ErrorKind::Truncated, "unexpected EOF"),
                Mode::Whole if start == input.len() => (ErrorKind::Empty, "unexpected end of JSON input"),
                Mode::Whole => (ErrorKind::Truncated, "unexpected end of JSON input"),
            };
            Err(Error::new(kind, "", input.len(), text))
        }
    }
}

/// White space between tokens.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

enum Fault {
    /// The input ends inside a value.
    End,
    At(usize, ErrorKind, String),
}

/// What a container is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

struct Scanner<'a> {
    input: &'a [u8],
    mode: Mode,
    at: usize,
    open: Vec<Container>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn next(&self) -> Result<u8, Fault> {
        self.peek().ok_or(Fault::End)
    }

    /// The next byte of a literal or escape. Go ends a whole document with a virtual space, which is what its error
    /// names if the document is cut short right here.
    fn next_inside(&self) -> Result<u8, Fault> {
        match self.mode {
            Mode::Whole => Ok(self.peek().unwrap_or(b' ')),
            Mode::First => self.next(),
        }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn unexpected(&self, byte: u8, context: &str) -> Fault {
        let text = format!("invalid character {} {context}", quote(byte));
        Fault::At(self.at, ErrorKind::Syntax, text)
    }

    /// One whole value with everything inside it.
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            // A value starts here; `true`: a container was opened that is not empty, so its first value comes next.
            if self.begin_value()? {
                continue;
            }
            // A value has ended here; close containers until one goes on.
            loop {
                let Some(container) = self.open.last().copied() else { return Ok(()) };
                if self.goes_on(container)? {
                    break;
                }
                self.open.pop();
            }
        }
    }

    fn begin_value(&mut self) -> Result<bool, Fault> {
        self.skip_space();
        match self.next()? {
            b'[' => {
                self.enter(Container::Array)?;
                if self.next()? == b']' {
                    return Ok(self.leave_empty());
                }
                Ok(true)
            }
            b'{' => {
                self.enter(Container::Object)?;
                if self.next()? == b'}' {
                    return Ok(self.leave_empty());
                }
                self.key()?;
                Ok(true)
            }
            b'"' => self.string().map(|()| false),
            b't' => self.word(b"true", "true").map(|()| false),
            b'f' => self.word(b"false", "false").map(|()| false),
            b'n' => self.word(b"null", "null").map(|()| false),
            b'-' | b'0'..=b'9' => self.number().map(|()| false),
            byte => Err(self.unexpected(byte, "looking for beginning of value")),
        }
    }

    fn enter(&mut self, container: Container) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            let text = format!("invalid character {} exceeded max depth", quote(self.next()?));
            return Err(Fault::At(self.at, ErrorKind::TooDeep, text));
        }
        self.open.push(container);
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn leave_empty(&mut self) -> bool {
        self.at += 1;
        self.open.pop();
        false
    }

    /// After a value inside a container: whether another one follows (`,`) or the container ends.
    fn goes_on(&mut self, container: Container) -> Result<bool, Fault> {
        self.skip_space();
        match (container, self.next()?) {
            (Container::Array, b',') => {
                self.at += 1;
                Ok(true)
            }
            (Container::Object, b',') => {
                self.at += 1;
                self.skip_space();
                self.key()?;
                Ok(true)
            }
            (Container::Array, b']') | (Container::Object, b'}') => {
                self.at += 1;
                Ok(false)
            }
            (Container::Array, byte) => Err(self.unexpected(byte, "after array element")),
            (Container::Object, byte) => Err(self.unexpected(byte, "after object key:value pair")),
        }
    }

    fn key(&mut self) -> Result<(), Fault> {
        match self.next()? {
            b'"' => self.string()?,
            byte => return Err(self.unexpected(byte, "looking for beginning of object key string")),
        }
        self.skip_space();
        match self.next()? {
            b':' => self.at += 1,
            byte => return Err(self.unexpected(byte, "after object key")),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.next()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                byte if byte < 0x20 => return Err(self.unexpected(byte, "in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.next_inside()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    let byte = self.next_inside()?;
                    if !byte.is_ascii_hexdigit() {
                        return Err(self.unexpected(byte, "in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            byte => return Err(self.unexpected(byte, "in string escape code")),
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8], name: &str) -> Result<(), Fault> {
        for expected in word {
            let byte = self.next_inside()?;
            if byte != *expected {
                let expected = char::from(*expected);
                return Err(self.unexpected(byte, &format!("in literal {name} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next_inside()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            byte => return Err(self.unexpected(byte, "in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.next_inside()?, b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn some_digits(&mut self, context: &str) -> Result<(), Fault> {
        let byte = self.next_inside()?;
        if !byte.is_ascii_digit() {
            return Err(self.unexpected(byte, context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

/// A byte as Go quotes it: as the character of that number, whatever encoding it came from.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x00..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
