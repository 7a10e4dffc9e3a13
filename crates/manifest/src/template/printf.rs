//! `printf`: works through a format and has the verbs printed.
//!
//! What is malformed is shown in the output, in Go's words, rather than being an error.

use super::format::{Flags, Printer, is_basic};
use super::rune::decode;
use super::value::Value;

/// Prints values as a format says.
pub(super) fn print(printer: &mut Printer<'_>, format: &[u8], values: &[Value<'_>]) {
    Directives { rest: format, values, next: 0, reordered: false, good_index: true }.run(printer);
}

/// Widths and precisions beyond this are refused by Go.
const MAX_NUMBER: usize = 1_000_000;

/// Works through a format.
struct Directives<'f, 'v, 'a> {
    rest: &'f [u8],
    values: &'v [Value<'a>],
    next: usize,
    reordered: bool,
    good_index: bool,
}

impl Directives<'_, '_, '_> {
    fn run(&mut self, printer: &mut Printer<'_>) {
        while !self.rest.is_empty() && !printer.out.overflowed() && printer.refusal.is_none() {
            let literal = self.rest.iter().position(|b| *b == b'%').unwrap_or(self.rest.len());
            let (text, rest) = self.rest.split_at_checked(literal).unwrap_or((self.rest, b""));
            printer.out.extend(text);
            self.rest = rest;
            if self.take(b'%') && !self.directive(printer) {
                return self.extra(printer);
            }
        }
        self.extra(printer);
    }

    fn take(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// One verb with all that stands before it. `false` if the format ended too early.
    fn directive(&mut self, printer: &mut Printer<'_>) -> bool {
        self.good_index = true;
        let mut flags = Flags::default();
        while let Some((flag, rest)) = self.rest.split_first() {
            match flag {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.rest = rest;
        }
        printer.flags = flags;
        let mut after_index = self.index();
        if self.take(b'*') {
            self.star_width(printer);
            after_index = false;
        } else {
            printer.flags.width = self.number();
            if after_index && printer.flags.width.is_some() {
                self.good_index = false;
            }
        }
        if self.rest.len() > 1 && self.take(b'.') {
            if after_index {
                self.good_index = false;
            }
            after_index = self.index();
            if self.take(b'*') {
                self.star_precision(printer);
                after_index = false;
            } else {
                printer.flags.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        let Some((verb, width)) = decode(self.rest) else {
            printer.out.extend(b"%!(NOVERB)");
            return false;
        };
        self.rest = self.rest.get(width..).unwrap_or_default();
        if verb == '%' {
            printer.out.push(b'%');
        } else if !self.good_index {
            bad(printer, verb, "(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            if matches!(verb, 'v' | 'w') {
                printer.flags.go_syntax = std::mem::take(&mut printer.flags.sharp);
                printer.flags.plus = false;
            }
            self.next += 1;
            printer.value(value, verb);
        } else {
            bad(printer, verb, "(MISSING)");
        }
        true
    }

    fn star_width(&mut self, printer: &mut Printer<'_>) {
        let given = self.integer();
        if given.is_none() {
            printer.out.extend(b"%!(BADWIDTH)");
        }
        if given.is_some_and(|width| width < 0) {
            printer.flags.minus = true;
            printer.flags.zero = false;
        }
        printer.flags.width = given.and_then(|width| usize::try_from(width.unsigned_abs()).ok());
    }

    fn star_precision(&mut self, printer: &mut Printer<'_>) {
        printer.flags.precision = self.integer().and_then(|precision| usize::try_from(precision).ok());
        if printer.flags.precision.is_none() {
            printer.out.extend(b"%!(BADPREC)");
        }
    }

    /// The next value as a width or precision.
    fn integer(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let number = match value {
            Value::Int(number) => *number,
            Value::Uint(number) => i64::try_from(*number).ok()?,
            Value::Byte(number) => i64::from(*number),
            _ => return None,
        };
        (number.unsigned_abs() <= MAX_NUMBER as u64).then_some(number)
    }

    /// Decimal digits; a number too large swallows the format, as in Go.
    fn number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some((digit, rest)) = self.rest.split_first().filter(|(digit, _)| digit.is_ascii_digit()) {
            let value = number.unwrap_or(0);
            if value > MAX_NUMBER {
                self.rest = b"";
                return None;
            }
            number = Some(value * 10 + usize::from(digit - b'0'));
            self.rest = rest;
        }
        number
    }

    /// An explicit argument index, `[n]`. Whether there was one.
    fn index(&mut self) -> bool {
        if self.rest.first() != Some(&b'[') {
            return false;
        }
        self.reordered = true;
        let close = self.rest.iter().position(|b| *b == b']').filter(|_| self.rest.len() >= 3);
        let Some(close) = close else {
            self.good_index = false;
            self.rest = self.rest.get(1..).unwrap_or_default();
            return false;
        };
        let (inside, rest) = self.rest.split_at_checked(close).unwrap_or_default();
        let digits = inside.get(1..).unwrap_or_default();
        self.rest = rest.get(1..).unwrap_or_default();
        let index = parse_index(digits);
        match index.and_then(|index| index.checked_sub(1)) {
            Some(index) if index < self.values.len() => {
                self.next = index;
                true
            }
            _ => {
                self.good_index = false;
                index.is_some()
            }
        }
    }

    /// What was given beyond the verbs.
    fn extra(&self, printer: &mut Printer<'_>) {
        let Some(extra) = self.values.get(self.next..).filter(|extra| !self.reordered && !extra.is_empty()) else {
            return;
        };
        printer.flags = Flags::default();
        printer.out.extend(b"%!(EXTRA ");
        for (index, value) in extra.iter().enumerate() {
            if index > 0 {
                printer.out.extend(b", ");
            }
            if value.is_valid() && !is_basic(value) {
                return printer.refuse("printing the type of this value is not supported");
            }
            if value.is_valid() {
                printer.out.extend(value.type_name().as_bytes());
                printer.out.push(b'=');
            }
            printer.value(value, 'v');
        }
        printer.out.push(b')');
    }
}

fn parse_index(digits: &[u8]) -> Option<usize> {
    let mut number = None;
    for digit in digits {
        let value = number.unwrap_or(0);
        if !digit.is_ascii_digit() || value > MAX_NUMBER {
            return None;
        }
        number = Some(value * 10 + usize::from(digit - b'0'));
    }
    number
}

fn bad(printer: &mut Printer<'_>, verb: char, what: &str) {
    printer.out.extend(b"%!");
    printer.out.push_char(verb);
    printer.out.extend(what.as_bytes());
}
