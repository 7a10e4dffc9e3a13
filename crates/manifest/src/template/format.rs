//! Go's `fmt`: default formatting and `printf`, over bytes.
//!
//! What shows a memory address or the Go name of a type of ours is refused, as is a whole secret
//! or certificate: we could only guess at what Go would print.

use super::buffer::Buffer;
use super::float;
use super::quote;
use super::rune::{chars, count};
use super::value::Value;

/// Flags, width and precision of a verb.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `%#v`
    pub(super) go_syntax: bool,
}

/// Writes values as text.
pub(super) struct Printer<'o> {
    pub(super) out: &'o mut Buffer,
    pub(super) flags: Flags,
    pub(super) refusal: Option<String>,
}

impl<'o> Printer<'o> {
    pub(super) fn new(out: &'o mut Buffer) -> Self {
        Self { out, flags: Flags::default(), refusal: None }
    }

    /// Why the output must not be used, if so.
    pub(super) fn finish(self) -> Result<(), String> {
        self.refusal.map_or(Ok(()), Err)
    }

    pub(super) fn refuse(&mut self, reason: &str) {
        self.refusal.get_or_insert_with(|| reason.to_owned());
    }

    /// Operands side by side, with a blank between two that are no strings.
    pub(super) fn print(&mut self, values: &[Value<'_>]) {
        let mut after_string = true;
        for value in values {
            let is_string = matches!(value, Value::Text(_));
            if !is_string && !after_string {
                self.out.push(b' ');
            }
            self.value(value, 'v');
            after_string = is_string;
        }
    }

    /// Operands with blanks between them and a line feed at the end.
    pub(super) fn println(&mut self, values: &[Value<'_>]) {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b' ');
            }
            self.value(value, 'v');
        }
        self.out.push(b'\n');
    }

    /// One value under a verb.
    pub(super) fn value(&mut self, value: &Value<'_>, verb: char) {
        match (verb, value) {
            ('T' | 'v', Value::Invalid) => self.padded(b"<nil>"),
            (_, Value::Invalid) => self.bad_verb(value, verb),
            ('T', value) if is_basic(value) => self.string(value.type_name().as_bytes()),
            ('T', _) => self.refuse("printing the type of this value is not supported"),
            ('p', Value::Bytes(_) | Value::Strings(_) | Value::Secrets(_)) => {
                self.refuse("printing an address is not supported");
            }
            ('p', value) => self.bad_verb(value, verb),
            _ => self.typed(value, verb),
        }
    }

    fn typed(&mut self, value: &Value<'_>, verb: char) {
        match value {
            Value::Bool(flag) if matches!(verb, 't' | 'v') => self.padded(if *flag { b"true" } else { b"false" }),
            Value::Int(number) => self.integer(number.unsigned_abs(), *number < 0, true, value, verb),
            Value::Uint(number) => self.integer(*number, false, false, value, verb),
            Value::Byte(number) => self.integer(u64::from(*number), false, false, value, verb),
            Value::Float(number) => self.float(*number, value, verb),
            Value::Text(text) => self.text(text.as_slice(), value, verb),
            Value::Bytes(list) => match verb {
                's' => self.string(list.as_slice()),
                'x' | 'X' => self.hex(list.as_slice(), verb == 'X'),
                'q' => self.quoted(list.as_slice()),
                _ if self.flags.go_syntax || verb == 'w' => {
                    self.refuse("printing the type of this value is not supported");
                }
                _ => self.list(list.as_slice().iter().map(|byte| Value::Byte(*byte)), verb),
            },
            Value::Strings(_) if self.flags.go_syntax || verb == 'w' => {
                self.refuse("printing the type of this value is not supported");
            }
            Value::Strings(list) => self.list(list.as_slice().iter().map(|text| Value::open_text(text)), verb),
            Value::Secret(_) | Value::Secrets(_) => {
                self.refuse("printing a whole secret is not supported; use one of its parts, or pem, hex or base64");
            }
            Value::Certificate(_) => {
                self.refuse("printing a whole certificate is not supported; use pem, hex or base64");
            }
            Value::Name(_) | Value::Record(_) => {
                self.refuse("printing this structure is not supported; use one of its fields");
            }
            Value::Bool(_) | Value::Invalid => self.bad_verb(value, verb),
        }
    }

    fn list<'v>(&mut self, items: impl Iterator<Item = Value<'v>>, verb: char) {
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b' ');
            }
            self.typed(&item, verb);
            if self.out.overflowed() || self.refusal.is_some() {
                return;
            }
        }
        self.out.push(b']');
    }

    /// `%!verb(type=value)`
    pub(super) fn bad_verb(&mut self, value: &Value<'_>, verb: char) {
        self.out.extend(b"%!");
        self.out.push_char(verb);
        self.out.push(b'(');
        if value.is_valid() {
            if !is_basic(value) {
                return self.refuse("printing the type of this value is not supported");
            }
            self.out.extend(value.type_name().as_bytes());
            self.out.push(b'=');
            self.typed(value, 'v');
        } else {
            self.out.extend(b"<nil>");
        }
        self.out.push(b')');
    }

    fn text(&mut self, text: &[u8], value: &Value<'_>, verb: char) {
        match verb {
            'v' if self.flags.go_syntax => self.quoted(text),
            'v' | 's' => self.string(text),
            'x' | 'X' => self.hex(text, verb == 'X'),
            'q' => self.quoted(text),
            _ => self.bad_verb(value, verb),
        }
    }

    fn integer(&mut self, magnitude: u64, negative: bool, signed: bool, value: &Value<'_>, verb: char) {
        // Characters are made of the number's bits.
        let bits = if negative { magnitude.wrapping_neg() } else { magnitude };
        match verb {
            'v' if self.flags.go_syntax && !signed => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.digits(magnitude, negative, Radix::Hex, verb);
                self.flags.sharp = sharp;
            }
            'v' | 'd' => self.digits(magnitude, negative, Radix::Decimal, verb),
            'b' => self.digits(magnitude, negative, Radix::Binary, verb),
            'o' | 'O' => self.digits(magnitude, negative, Radix::Octal, verb),
            'x' => self.digits(magnitude, negative, Radix::Hex, verb),
            'X' => self.digits(magnitude, negative, Radix::UpperHex, verb),
            'c' => self.padded(quote::char_of(bits).encode_utf8(&mut [0; 4]).as_bytes()),
            'q' => {
                let mut quoted = Buffer::new(16, usize::MAX);
                quote::append_char(&mut quoted, quote::char_of(bits), self.flags.plus);
                self.padded(&quoted.into_bytes());
            }
            'U' => self.unicode(bits),
            _ => self.bad_verb(value, verb),
        }
    }

    fn digits(&mut self, magnitude: u64, negative: bool, radix: Radix, verb: char) {
        let flags = self.flags;
        let precision = match (flags.precision, flags.width) {
            // A zero with a precision of zero is nothing but padding.
            (Some(0), width) if magnitude == 0 => {
                return self.out.fill(b' ', width.unwrap_or(0));
            }
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => {
                width.saturating_sub(usize::from(negative || flags.plus || flags.space))
            }
            _ => 0,
        };
        let digits = match radix {
            Radix::Binary => format!("{magnitude:b}"),
            Radix::Octal => format!("{magnitude:o}"),
            Radix::Decimal => magnitude.to_string(),
            Radix::Hex => format!("{magnitude:x}"),
            Radix::UpperHex => format!("{magnitude:X}"),
        };
        let zeros = precision.saturating_sub(digits.len());
        let prefix = match radix {
            Radix::Binary if flags.sharp => "0b",
            Radix::Octal if flags.sharp && zeros == 0 && !digits.starts_with('0') => "0",
            Radix::Hex if flags.sharp => "0x",
            Radix::UpperHex if flags.sharp => "0X",
            _ => "",
        };
        let sign = match negative {
            true => "-",
            false if flags.plus => "+",
            false if flags.space => " ",
            false => "",
        };
        let octal = if verb == 'O' { "0o" } else { "" };
        let length = sign.len() + octal.len() + prefix.len() + zeros + digits.len();
        let padding = flags.width.unwrap_or(0).saturating_sub(length);
        if !flags.minus {
            self.out.fill(b' ', padding);
        }
        self.out.extend(sign.as_bytes());
        self.out.extend(octal.as_bytes());
        self.out.extend(prefix.as_bytes());
        self.out.fill(b'0', zeros);
        self.out.extend(digits.as_bytes());
        if flags.minus {
            self.out.fill(b' ', padding);
        }
    }

    /// `U+0078`, or with `#` also the character.
    fn unicode(&mut self, number: u64) {
        let digits = format!("{number:X}");
        let zeros = self.flags.precision.unwrap_or(0).max(4).saturating_sub(digits.len());
        let shown = u32::try_from(number).ok().and_then(char::from_u32).filter(|c| super::rune::is_print(*c));
        let shown = shown.filter(|_| self.flags.sharp).map(|c| format!(" '{c}'")).unwrap_or_default();
        let length = 2 + zeros + digits.len() + count(shown.as_bytes());
        let padding = self.flags.width.unwrap_or(0).saturating_sub(length);
        if !self.flags.minus {
            self.out.fill(b' ', padding);
        }
        self.out.extend(b"U+");
        self.out.fill(b'0', zeros);
        self.out.extend(digits.as_bytes());
        self.out.extend(shown.as_bytes());
        if self.flags.minus {
            self.out.fill(b' ', padding);
        }
    }

    fn float(&mut self, number: f64, value: &Value<'_>, verb: char) {
        let (form, precision) = match verb {
            'v' => ('g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => (verb, None),
            'f' | 'e' | 'E' => (verb, Some(6)),
            'F' => ('f', Some(6)),
            _ => return self.bad_verb(value, verb),
        };
        float::print(self, number, form, self.flags.precision.or(precision), verb);
    }

    fn string(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        self.padded(text);
    }

    /// As many characters as the precision allows.
    fn truncated<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let Some(precision) = self.flags.precision else { return text };
        let length = chars(text).take(precision).map(|(_, encoded)| encoded.len()).sum();
        text.get(..length).unwrap_or(text)
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        let mut out = Buffer::new(text.len() + 2, usize::MAX);
        // %#v keeps its own flag; its quotes are always double ones.
        if self.flags.sharp && quote::can_backquote(text) {
            out.push(b'`');
            out.extend(text);
            out.push(b'`');
        } else {
            quote::append(&mut out, text, self.flags.plus);
        }
        self.padded(&out.into_bytes());
    }

    fn hex(&mut self, bytes: &[u8], upper: bool) {
        let flags = self.flags;
        let bytes = bytes.get(..flags.precision.unwrap_or(usize::MAX).min(bytes.len())).unwrap_or_default();
        if bytes.is_empty() {
            return self.padding(flags.width.unwrap_or(0));
        }
        let prefix: &[u8] = match (flags.sharp, upper) {
            (false, _) => b"",
            (true, false) => b"0x",
            (true, true) => b"0X",
        };
        let units = if flags.space { bytes.len() } else { 1 };
        let length = bytes.len() * 2 + prefix.len() * units + (units - 1);
        let padding = flags.width.unwrap_or(0).saturating_sub(length);
        if !flags.minus {
            self.padding(padding);
        }
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 && flags.space {
                self.out.push(b' ');
            }
            if index == 0 || flags.space {
                self.out.extend(prefix);
            }
            let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
            for nibble in [byte >> 4, byte & 15] {
                self.out.push(digits.get(usize::from(nibble)).copied().unwrap_or_default());
            }
        }
        if flags.minus {
            self.padding(padding);
        }
    }

    /// A text filled up to the width.
    pub(super) fn padded(&mut self, text: &[u8]) {
        let missing = match self.flags.width {
            None | Some(0) => 0,
            Some(width) => width.saturating_sub(count(text)),
        };
        if !self.flags.minus {
            self.padding(missing);
        }
        self.out.extend(text);
        if self.flags.minus {
            self.padding(missing);
        }
    }

    /// Zeros only to the left.
    pub(super) fn padding(&mut self, count: usize) {
        self.out.fill(if self.flags.zero && !self.flags.minus { b'0' } else { b' ' }, count);
    }
}

#[derive(Clone, Copy)]
enum Radix {
    Binary,
    Octal,
    Decimal,
    Hex,
    UpperHex,
}

/// Numbers, booleans and strings: what has a type of Go's own.
pub(super) fn is_basic(value: &Value<'_>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Byte(_) | Value::Float(_) | Value::Text(_))
}
